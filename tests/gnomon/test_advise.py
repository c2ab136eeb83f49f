"""`python -m gnomon advise`: edits that are valid, their gains, what is measured, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from datasets.cli import main
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.networks.parts import entries
from datasets.records import Networks
from gnomon.advise import Advised, advise
from gnomon.commands.advise import advise as command
from gnomon.edits import Edit, edits
from gnomon.verify import measured_gain, verified
from measure.backends import parse_backend
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from predictors.networks.layer_sum import LayerSum
from predictors.networks.price import read_network
from predictors.networks.shipped import load

DEVICE = "milan_ort_fp32_1"


@pytest.fixture(scope="module")
def pricer() -> LayerSum:
    return load()


def build(write: Callable[[NetworkBuilder, int], int], *shape: int) -> Network:
    net = NetworkBuilder()
    write(net, net.add("input", shape))
    return net.finish("layers", "small")


def found(network: Network) -> dict[str, list[Edit]]:
    """The edits of a network by kind, all of whose pieces take as long."""
    by_kind: dict[str, list[Edit]] = {}
    for each in edits(network, [1.0] * len(entries(network))):
        by_kind.setdefault(each.kind, []).append(each)
    return by_kind


def mobile(net: NetworkBuilder, x: int) -> int:
    """Blocks with all that is edited: a large kernel, a gate, activations, a padding, a shuffle, a norm by itself."""
    x = net.add("pad", (3, 34, 34), x, pad=(1, 1, 1, 1))
    x = net.pointwise("hswish", net.pointwise("bn", net.conv(x, 16, 3, 2, pad=0)))
    y = net.conv_bn(x, 16, 5, groups=16, act="hswish")
    gate = net.conv(net.add("global_avg_pool", (16, 1, 1), y), 16, 1, bias=1)
    y = net.pointwise("mul", y, net.pointwise("hsigmoid", gate))
    x = net.pointwise("add", x, net.conv_bn(y, 16, 1))
    x = net.add("shuffle", net.shape(x), x, groups=2)
    x = net.conv(net.pointwise("relu", net.pointwise("bn", x)), 32, 3)
    return net.add("dense", (10,), net.add("global_avg_pool", (32,), x))


def test_edits_of_all_kinds_give_networks_that_run() -> None:
    network = build(mobile, 3, 32, 32)
    by_kind = found(network)
    assert {kind: [each.text for each in own] for kind, own in by_kind.items()} == {
        "width": ["channels of conv4 32 -> 24"],  # those of the shuffle are fixed
        "kernel": ["convolution to 32x16x16 3x3 -> 1x1", "1 x grouped convolution 5x5 -> 3x3"],
        "resolution": ["image 32x32 -> 28x28", "image 32x32 -> 24x24"],
        "activation": ["2 x hswish -> relu"],
        "normalisation": ["without 1 x bn"],
        "fusion": ["1 x padding as part of the convolution behind it", "without 1 x shuffle of channels",
                   "without 1 x gate of channels (squeeze and excitation)"],
    }  # fmt: skip
    for own in by_kind.values():
        for each in own:
            model = build_onnx(each.network, make_weights(each.network))
            session = onnxruntime.InferenceSession(model.SerializeToString())
            (port,) = session.get_inputs()
            (y,) = session.run(None, {port.name: np.ones(port.shape, np.float32)})
            assert y.shape == (1, 10) and np.isfinite(y).all()


def test_a_padding_that_a_convolution_takes_over_changes_no_output() -> None:
    network = build(mobile, 3, 32, 32)
    merged = found(network)["fusion"][0].network
    x, outputs = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32), []
    for each in (network, merged):
        session = onnxruntime.InferenceSession(build_onnx(each, make_weights(each)).SerializeToString())
        outputs.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-5)


def test_edits_that_cannot_be_applied_are_not_offered() -> None:
    plain = build(lambda net, x: net.pointwise("relu", net.conv(x, 8, 1)), 8, 4, 4)
    assert found(plain) == {}  # its channels are those of the output
    tokens = build(lambda net, x: net.add("MatMul", (16, 8), x, params=64, macs=16 * 64), 16, 8)
    assert found(tokens) == {}


def test_the_largest_gains_come_first_and_lie_in_their_intervals(pricer: LayerSum) -> None:
    advised = advise("zoo:mobilenet_v2", DEVICE, 5, pricer)
    gains = [each.gain for each in advised.edits]
    assert len(gains) == 5 and gains == sorted(gains, reverse=True) and gains[0] > 0.3
    assert all(each.low < each.gain < each.high < 1 for each in advised.edits)
    for each in advised.edits:
        ms = pricer.predict(Networks([each.network]), each.device)[0]
        assert ms == pytest.approx(each.ms) and each.gain == pytest.approx(1 - ms / advised.ms)
    assert [*advised.to_frame()["edit"]] == [each.edit for each in advised.edits]
    narrow = advise("zoo:mobilenet_v2", DEVICE, 5, pricer, level=0.5).edits[0]
    assert advised.edits[0].low < narrow.low < narrow.high < advised.edits[0].high


def test_an_edit_of_one_layer_is_known_better_than_one_of_all(pricer: LayerSum) -> None:
    edited = {each.edit: each for each in advise("zoo:resnet18", DEVICE, 9, pricer).edits}
    whole = edited["75 % of the channels of all layers"]
    single = next(each for each in edited.values() if each.kind == "kernel")
    assert single.high - single.low < (whole.high - whole.low) / 2


def test_another_precision_of_the_device_is_an_edit(pricer: LayerSum) -> None:
    (on, *_), (c, *_) = pricer.devices_, pricer.calibrations_
    int8 = replace(on, name=on.name.replace("fp32", "int8"), precision="int8")
    both = pricer.with_devices([on, int8], [c, replace(c, coefficients=c.coefficients / 3)])
    first = advise("zoo:resnet18", on.name, 5, both).edits[0]
    assert (first.kind, first.edit, first.device) == ("precision", "fp32 -> int8", int8)
    assert first.gain == pytest.approx(2 / 3) and first.low < first.gain < first.high
    without = advise("zoo:resnet18", "genoa_litert_fp32_1", 20, pricer).edits
    assert not [each for each in without if each.kind == "precision"]


def chain(layers: int) -> Network:
    def write(net: NetworkBuilder, x: int) -> int:
        for _ in range(layers):
            x = net.conv(x, 32, 3)
        return x

    return build(write, 32, 28, 28)


def test_the_gain_of_half_of_the_layers_is_measured() -> None:
    assert measured_gain(chain(12), chain(6), parse_backend("ort")) == pytest.approx(0.5, abs=0.15)


def test_the_first_edits_are_measured_and_what_cannot_be_built_is_said(pricer: LayerSum) -> None:
    advised = advise(read_network("zoo:lenet5"), DEVICE, 3, pricer)
    seen = list[str]()
    done = verified(advised, 1, after=lambda each: seen.append(each.edit))
    assert [each.measured is not None for each in done.edits] == [True, False, False] and seen == [done.edits[0].edit]
    assert -1 < done.edits[0].measured < 1  # type: ignore[operator]
    strange = build(lambda net, x: net.add("Nonsense", net.shape(x), net.conv(x, 8, 3)), 3, 16, 16)
    (note,) = verified(with_network(advised, strange), 1).notes[-1:]
    assert "was not measured" in note and "Nonsense" in note


def with_network(advised: Advised, network: Network) -> Advised:
    return replace(advised, edits=(replace(advised.edits[0], network=network),))


def run(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        main([command], prog="python -m gnomon", arguments=[*map(str, words)], positional=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("zoo:lenet5", "--device", DEVICE) == 0
    out = capsys.readouterr().out
    assert "zoo:lenet5" in out and "saves" in out and "width" in out
    assert run("zoo:lenet5", "--device", DEVICE, "--number", 2, "--json", "true") == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["edits"]) == 2 and record["device"] == DEVICE
    assert Network.from_json(record["edits"][0]["network"]).ops


@pytest.mark.parametrize(
    "words, fault",
    [
        (("missing.onnx",), "missing.onnx"),
        (("zoo:lenet5", "--level", "1"), "must lie between 0 and 1"),
        (("zoo:lenet5", "--number", "0"), "--number must be at least 1"),
        (("zoo:lenet5", "--verify", "-1"), "--verify must be at least 0"),
        (("zoo:lenet5", "--device", "nowhere"), "nowhere"),
        (("nonsense",), "nonsense"),
    ],
)
def test_faulty_input_is_refused_in_a_sentence(
    words: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) != 0
    assert fault in capsys.readouterr().err
