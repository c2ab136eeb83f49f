"""The zoo: published parameters and multiply-accumulates, and outputs that a second implementation gives."""

import json

import numpy as np
import pytest
import torch

from datasets.records import InputError
from datasets.spaces.zoo import NAMES, Zoo
from measure.base import make_input
from measure.builders.numpy_reference import evaluate
from measure.builders.torch_module import NetworkModule
from measure.builders.weights import make_weights
from tests.conftest import run

TORCHVISION = "torchvision's page of the network: num_params and GFLOPS (which are multiply-accumulates)"
KERAS = "trainable parameters of keras.applications, multiply-adds of the paper"
PUBLISHED = {  # name: parameters, multiply-accumulates, the last digit that is published, where they stand
    "lenet5": (61_706, 416_520, 1, "LeCun et al. 1998, section II.B, summed by hand with all of C3's connections"),
    "alexnet": (61_100_840, 0.71e9, 1e7, TORCHVISION),
    "vgg16": (138_357_544, 15.47e9, 1e7, TORCHVISION),
    "resnet18": (11_689_512, 1.81e9, 1e7, TORCHVISION),
    "resnet50": (25_557_032, 4.09e9, 1e7, TORCHVISION),
    "mobilenet_v1": (4_231_976, 569e6, 1e6, KERAS + " (Howard et al. 2017, table 4)"),
    "mobilenet_v2": (3_504_872, 0.30e9, 1e7, TORCHVISION),
    "nasnet_mobile": (5_289_978, 564e6, 1e6, KERAS + " (Zoph et al. 2018, table 3)"),
    "squeezenet": (1_248_424, 0.82e9, 1e7, TORCHVISION),
}


@pytest.mark.parametrize("name", NAMES)
def test_published_parameters_and_multiply_accumulates(name: str) -> None:
    table = Zoo().totals(Zoo().parse([name])).iloc[0]
    params, macs, digit, _ = PUBLISHED[name]
    assert table["params"] == params
    assert abs(table["macs"] - macs) <= digit / 2 and table["flops"] == 2 * table["macs"]


def test_keras_counts_and_computes_the_same() -> None:
    done = run("-m", "tests.references.keras_networks")
    theirs = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else pytest.fail(done.stderr)
    assert {name: network["params"] for name, network in theirs.items()} == {
        name: PUBLISHED[name][0] for name in ("nasnet_mobile", "mobilenet_v1", "mobilenet_v2")
    }
    assert max(theirs[name]["error"] for name in ("nasnet_mobile", "mobilenet_v1")) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_network_computes_the_same_in_torch(name: str) -> None:
    network = Zoo(image=32 if name == "lenet5" else 64, classes=10).expand(Zoo().parse([name])[0])
    weights, x = make_weights(network), make_input(network, 2)
    expected = evaluate(network, weights, x)
    with torch.inference_mode():
        y = NetworkModule(network, weights)(torch.from_numpy(x)).numpy()
    assert y.shape == (2, 10)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_an_image_that_is_too_small_is_one_sentence() -> None:
    with pytest.raises(
        InputError, match="Nothing is left of an image of 16 pixels inside of alexnet; give .* a larger"
    ):
        Zoo(image=16).expand(Zoo().parse(["alexnet"])[0])
