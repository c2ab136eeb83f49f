"""Networks: one JSON form, named ends, cutting, weights in files, many of them as measurements."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datasets.measured import Measured
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.collection import AnyNetwork, Networks
from datasets.networks.memory import alive
from datasets.networks.model import read_weights, weights_to_npz
from datasets.networks.network import SMALLEST, Network, Port, of_key
from datasets.networks.ops import taps, window
from datasets.networks.parts import cut, entries, label
from datasets.networks.reading import read_model
from datasets.records import Device, InputError, Measurements, Op
from datasets.spaces import parse_space
from datasets.spaces.convolution import Convolution
from datasets.spaces.nasbench201 import NasBench201
from datasets.splits import HeldOutArchitectures
from datasets.tabulate import tabulate
from measure.builders.weights import make_weights
from tests.conftest import made_up

TINY = NasBench201(cells=1)


def forked() -> Network:
    """Two inputs, two outputs; one of these is read by another op too."""
    net = NetworkBuilder(batch=2)
    image, mask = net.add("input", (4, 8, 8)), net.add("input", (4, 8, 8))
    conv = net.conv(image, 4, 3)
    net.pointwise("relu", net.pointwise("mul", conv, mask))
    ends = Port("image", image), Port("mask", mask, "int64")
    return replace(net.finish("made-up", "forked"), inputs=ends, outputs=(Port("raw", conv), Port("masked", 4)))


@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_elements_of_a_window_on_the_image_are_counted(
    size: int, kernel: int, stride: int, dilation: int, pad: int
) -> None:
    op = Op("conv", {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad, "shape": ()})
    out, _ = window(op, (1, size, size))
    assume(out > 0)
    on = [0 <= i * stride + k * dilation - pad < size for i in range(out) for k in range(kernel)]
    counted = taps(replace(op, attrs={**op.attrs, "shape": (1, out, out)}), (1, size, size))
    assert counted == pytest.approx((sum(on) / out) ** 2)


def test_a_window_of_any_size_is_counted_at_once() -> None:
    op = Op("conv", {"kernel": 10**9, "pad": 10**9, "shape": (1, 10**9 + 2, 10**9 + 2)})
    assert 0 < taps(op, (1, 1, 1)) <= 1.0


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_the_json_form_reads_back_to_the_same_network(decisions: list[int]) -> None:
    network = TINY.expand(TINY.architecture(np.array(decisions, np.int8)))
    assert Network.from_json(network.to_json(), network.space, network.key) == network
    named = Network.of(network.ops, network.edges)
    assert named.key == network.to_json() and of_key(named.key) == named


def test_the_json_form_keeps_batch_names_and_element_types() -> None:
    network = forked()
    again = Network.from_json(network.to_json(), network.space, network.key)
    assert again == network and again.batch == 2 and [port.dtype for port in again.inputs] == ["float32", "int64"]
    assert of_key(SMALLEST.key) is SMALLEST and SMALLEST.outputs == (Port("y", 1),)


@pytest.mark.parametrize(
    "text",
    ["", "3", "[]", "[[], []]", '[[["relu", {}]], []]', '[[["relu", {"shape": [-1]}]], []]',
     '[[["relu", {"shape": "ab"}]], []]',
     '[[["input", {"shape": [1]}]], [[0, 1, 0]]]', '[[["a", {"shape": [1]}], ["b", {"shape": [1]}]], [[1, 0, 0]]]',
     '[[["a", {"shape": [1]}]], [], {"batch": -2}]', '[[["a", {"shape": [1]}]], [], {"outputs": [["y", 9]]}]',
     '[[["a", {"shape": [1]}]], [], 7]', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_network_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="not a network's JSON form") as caught:
        Network.from_json(text)
    assert len(str(caught.value)) < 300


def test_outputs_are_never_folded_away_and_stay_alive() -> None:
    network = forked()
    assert entries(network) == [[2], [3, 4]]  # the convolution is an output, so the product is not folded into it
    assert entries(replace(network, outputs=(Port("raw", 2),))) == [[2]]
    kept, freed = (alive(replace(network, outputs=ends), 1)[-1] for ends in (network.outputs, (Port("y", 4),)))
    assert kept == freed + 4 * 4 * 8 * 8
    assert label(network, [2]) == "conv 3/1 4x8x8 -> 4x8x8" and label(cut(network, [3, 4])).startswith("mul+relu")


def test_weights_in_a_file(tmp_path: Path) -> None:
    network = TINY.expand(TINY.sample(1, np.random.default_rng(0))[0])
    weights, path = make_weights(network), tmp_path / "weights.npz"
    path.write_bytes(weights_to_npz(weights))
    again = read_weights(path)
    assert again.keys() == weights.keys()
    for node, arrays in weights.items():
        assert arrays.keys() == again[node].keys()
        assert all((again[node][name] == value).all() for name, value in arrays.items())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        read_weights(path)


def test_a_layer_fixes_its_batch() -> None:
    space = Convolution()
    (layer,) = space.sample(1, np.random.default_rng(4))
    network = space.expand(layer)
    assert (
        network.batch == int(space.values(space.parse([layer.key]))["batch"][0]) and "batch" not in network.ops[0].attrs
    )
    assert totals(network)["macs"] == space.totals(space.parse([layer.key]))["macs"].item()


@pytest.mark.parametrize(
    "name", ["zoo:resnet18", f"nasbench201(cells=1):{TINY.sample(1, np.random.default_rng(1)).keys[0]}"]
)
def test_a_network_is_named_by_its_space(name: str) -> None:
    assert read_model(name).network.key == name.partition(":")[2]


@pytest.mark.parametrize("name", ["absent.onnx", "absent.keras", "resnet18", "zoo:resnet19", "nowhere:a", ""])
def test_a_wrong_name_of_a_network_is_one_sentence(name: str) -> None:
    with pytest.raises(InputError):
        read_model(name)


# Many networks


def networks(n: int = 8) -> Networks:
    return Networks.of(TINY.sample(n, np.random.default_rng(2)))


def test_networks_are_indexed_as_architectures_are() -> None:
    archs = TINY.sample(8, np.random.default_rng(2))
    many = Networks.of(archs)
    assert many.keys == archs.keys and len(many) == 8 and many[3].key == archs[3].key
    assert many[2:4] == many[np.array([2, 3])] == many[[2, 3]] != many[1:3]
    pd.testing.assert_frame_equal(many.space.totals(many), TINY.totals(archs)[many.space.totals(many).columns])
    assert parse_space(str(many.space)) == many.space == AnyNetwork()
    with pytest.raises(InputError, match="no decisions"):
        _ = many.decisions


def test_tables_of_several_spaces_join_as_networks() -> None:
    cells = made_up(TINY.sample(40, np.random.default_rng(0)), num_devices=2)
    layers = made_up(Convolution().sample(30, np.random.default_rng(1)), num_devices=1)
    whole = Measurements.concat([cells, layers])
    assert isinstance(whole.architectures, Networks) and len(whole.architectures) <= 70
    assert [device.name for device in whole.devices] == ["toy_0", "toy_1"]
    assert len(whole.table) == len(cells.table) + len(layers.table)
    value = layers.matrix("latency_ms")[5, 0]
    row = whole.architectures.keys.index(layers.architectures.keys[5])
    assert whole.matrix("latency_ms")[row, 0] == value and np.isnan(whole.matrix("latency_ms")[row, 1])
    assert whole.fingerprint() != cells.fingerprint() and len(whole.fingerprint()) == 16
    parts = HeldOutArchitectures()(whole, np.random.default_rng(0))
    assert not set(parts.train.architectures.keys) & set(parts.test.architectures.keys)


def test_tables_of_one_space_join_as_architectures() -> None:
    archs = TINY.sample(10, np.random.default_rng(0))
    one, two = (made_up(part, num_devices=1) for part in (archs[:6], archs[6:]))
    whole = Measurements.concat([one, two])
    assert whole.architectures.space == TINY and sorted(whole.architectures.keys) == sorted(set(archs.keys))
    other = replace(two.devices[0], batch=7)
    with pytest.raises(InputError, match="describe the device 'toy_0' differently"):
        Measurements.concat([one, Measurements(two.architectures, [other], two.table, "two")])


def test_a_table_of_files_is_a_data_set_without_the_files() -> None:
    many = networks(6)
    rows = [
        {"space": "onnx", "key": f"m{i}.onnx:{i:012x}", "device": "d", "metric": "latency_ms", "value": 1.0 + i,
         "network": network.to_json()}
        for i, network in enumerate(many)
    ]  # fmt: skip
    m = tabulate(pd.DataFrame(rows), [Device("d", "f", "server-cpu")], "files")
    assert isinstance(m.architectures, Networks) and m.architectures.keys[2] == "m2.onnx:000000000002"
    assert m.architectures[2].ops == many[2].ops
    with pytest.raises(InputError, match="does not hold the network of 'm0.onnx"):
        tabulate(pd.DataFrame(rows).drop(columns="network"), [Device("d", "f", "server-cpu")], "files")


def test_the_bundled_tables_of_layers_are_data_sets() -> None:
    m = Measured(Path("datasets/bundled/lookup/nasbench201.parquet")).measurements()
    assert isinstance(m.architectures, Networks) and len(m.architectures) > 20
    assert (m.architectures.space.totals(m.architectures)["kernels"] >= 1).all()
