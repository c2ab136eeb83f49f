"""Groups of channels, look-up tables of layers, and the searches for widths."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.networks.parts import cut, entries
from datasets.records import Architecture, InputError, Networks
from datasets.spaces.small_zoo import SmallZoo
from datasets.spaces.zoo import Zoo
from measure.backends.ort import OnnxRuntime
from measure.campaign import Journal, pending, run_campaign
from measure.lookup import SMALLEST, listed_layers
from measure.table import quiet_rows, to_table, write_table
from measure.timing import Timing
from predictors.networks.layer_kinds import SizedLayer, read_layer
from predictors.networks.layer_sum import LayerSum
from predictors.networks.layer_table import LayerGrid, LayerTable
from predictors.networks.shipped import load
from predictors.networks.tabulated import Tabulated
from search.netadapt.channels import Groups, find_groups
from search.netadapt.grids import Grid, direct_networks, layers, layers_to_measure, open_network, predicted_table
from search.netadapt.widths import Binary, Exact, PricedNetwork, Sequential, WidthSearch

FIGURE_6 = (1.4, 1.12, 1, 0.9, 0.85, 0.8, 0.7, 0.61, 0.57, 0.48, 0.42, 0.29)
"""The paper's example: latencies with 96, 88, ... 8 channels; the constraint is 0.5."""


def zoo(name: str) -> Architecture:
    return Zoo().expand(Zoo().parse([name])[0])


def small(name: str) -> Architecture:
    return SmallZoo().expand(SmallZoo().parse([name])[0])


def test_the_equally_wide_resnet_is_made_of_the_resnets_layers() -> None:
    even, other = (find_groups(small(name)) for name in ("resnet_even", "resnet"))
    assert even.sizes.tolist() == [32] * 6 and [one.kind for one in even.layers] == [one.kind for one in other.layers]


def mixed(rng: np.random.Generator) -> Architecture:
    """A random network with everything that joins channels: additions, depthwise convolutions, a convolution around
    which its input is added, poolings, dense layers behind an image."""
    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (3, 8, 8)), int(rng.integers(2, 7) * 8), 3, act="relu")
    for choice in rng.integers(5, size=int(rng.integers(1, 5))):
        width = int(rng.integers(2, 7) * 8)
        if choice == 0:
            x = net.conv_bn(x, width, 1, act="relu")
        elif choice == 1:
            x = net.conv_bn(x, net.shape(x)[0], 3, groups=net.shape(x)[0], act="relu6")
        elif choice == 2:
            y = net.conv(net.conv_bn(x, width, 1, act="relu"), net.shape(x)[0], 3)
            x = net.pointwise("relu", net.pointwise("add", y, x))
        elif choice == 3:
            x = net.pointwise("add", net.conv(x, net.shape(x)[0], 3), x)
        elif net.shape(x)[1] > 2:
            x = net.pool("max_pool", x, 2, 2)
    x = net.pointwise("relu", net.add("dense", (int(rng.integers(2, 5) * 16),), x))
    net.add("dense", (10,), x)
    return net.finish("test", "mixed")


def known(table: LayerTable) -> int:
    """How many layers' latencies a table holds."""
    return sum(int(np.isfinite(grid.ms).sum()) for grid in table.grids.values())


def table_of(groups: Groups, grid: Grid, rng: np.random.Generator, monotone: bool) -> LayerTable:
    """Random latencies; monotone ones grow with both sides."""
    measured = layers_to_measure([groups], grid)
    if monotone:
        a, b, c = rng.uniform(0.1, 1, (3, len(measured)))
        kinds = {one.kind: i for i, one in enumerate(measured)}
        ms = [
            a[kinds[one.kind]] + b[kinds[one.kind]] * one.channels_in**0.8 + c[kinds[one.kind]] * one.channels_out**1.2
            for one in measured
        ]
    else:
        ms = list(rng.uniform(0.1, 1, len(measured)))
    return LayerTable.of(zip(measured, ms, strict=True), call_ms=0.01)


def exhaustive(search: WidthSearch, widths: np.ndarray, group: int, limit: float) -> int | None:
    """The largest candidate that keeps the limit, all of them looked up."""
    kept = [w for w in search.candidates(widths[group], group) if search.latency_ms(widths, group, w) <= limit]
    return max(kept, default=None)


@pytest.mark.parametrize(
    ("name", "groups", "layers_"), [("alexnet", 7, 11), ("mobilenet_v1", 14, 29), ("resnet18", 12, 31)]
)
def test_groups_of_published_networks(name: str, groups: int, layers_: int) -> None:
    network = zoo(name)
    found = find_groups(network)
    assert (len(found), len(found.layers)) == (groups, layers_)
    assert found.resized(found.sizes) == network
    half = found.sizes // 2
    narrow = found.resized(half)
    assert [one.network().key for one in found.priced(half)] == [cut(narrow, nodes).key for nodes in entries(narrow)]
    assert totals(narrow)["macs"] < 0.36 * totals(network)["macs"]
    assert narrow.ops[-1].attrs["shape"] == (1000,) and narrow.ops[0] == network.ops[0]
    with pytest.raises(InputError, match="must be 1 to"):
        found.resized(found.sizes + 1)
    with pytest.raises(InputError, match="no group 'conv99'"):
        found.widths({"conv99": 8})


def test_additions_and_depthwise_convolutions_share_a_width() -> None:
    resnet, mobile = find_groups(small("resnet")), find_groups(small("mobilenet_v1"))
    assert resnet.named(resnet.sizes) == {
        "conv1": 32,
        "conv2": 32,
        "conv4": 64,
        "conv5": 64,
        "conv7": 128,
        "conv8": 128,
    }
    network = mobile.resized(mobile.widths({"conv3": 40}))
    assert sum(op.attrs["shape"][0] == op.attrs.get("groups") == 40 for op in network.ops) == 1
    concat = find_groups(zoo("squeezenet"))  # what is concatenated keeps its width
    assert all(concat.sizes < 100) and len(concat) == 9


def test_a_network_of_a_file_has_the_same_groups(tmp_path: Path) -> None:
    import onnx

    from measure.builders.onnx_graph import build_onnx
    from measure.builders.weights import make_weights

    network = small("resnet")
    onnx.save(build_onnx(network, make_weights(network), 1), tmp_path / "model.onnx")
    read, own = find_groups(open_network(str(tmp_path / "model.onnx"), "")), find_groups(network)
    assert read.named(read.sizes) == own.named(own.sizes)


def test_kinds_say_all_but_the_channels() -> None:
    groups = find_groups(zoo("mobilenet_v1"))
    kinds = {one.kind for one in groups.layers}
    assert len(kinds) == 17  # the five equal blocks in the middle are two kinds
    for one in groups.priced(groups.sizes):
        assert read_layer(Network.from_json(one.network().key)) == one
    with pytest.raises(InputError, match="is not a network"):
        Network.from_json("one number")


def test_a_list_of_layers_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "layers.txt"
    layers("alexnet,resnet", path, grid=Grid(points=3), direct=2)
    listed, _ = listed_layers(path)
    assert listed[0] == SMALLEST and len(listed) == 1 + int(capsys.readouterr().out.split()[0])
    assert len(entries(listed[-1])) == 14  # a whole network
    groups = find_groups(small("alexnet"))
    assert all(row.ops[-1].attrs["shape"] == (10,) for row in direct_networks(groups, Grid(), 3, 0))
    assert Grid(points=0).axis(60, 8) == [8, 16, 24, 32, 40, 48, 56, 60]
    assert Grid(points=3).axis(128, 8) == [8, 32, 128] and Grid().axis(8, 64) == [8]
    with pytest.raises(InputError, match="no list of layers"):
        listed_layers(Path(__file__))


def test_tables_interpolate_as_scipy_does() -> None:
    from scipy.interpolate import RegularGridInterpolator

    rng = np.random.default_rng(0)
    groups = find_groups(small("alexnet"))
    table = table_of(groups, Grid(), rng, monotone=False)
    kind = groups.layers[4].kind
    grid = table.grids[kind]
    theirs = RegularGridInterpolator((grid.ins, grid.outs), grid.ms)
    ins, outs = rng.integers(grid.ins[0], grid.ins[-1] + 1, 50), rng.integers(grid.outs[0], grid.outs[-1] + 1, 50)
    ours = table.ms(np.full(50, table.number(kind)), ins, outs)
    np.testing.assert_allclose(ours, theirs(np.stack([ins, outs], axis=1)), rtol=1e-12)
    for i, o in ((grid.ins[0] - 1, 8), (grid.ins[-1] + 1, 8), (8, grid.outs[-1] + 1)):
        with pytest.raises(InputError, match="does not reach"):
            table.ms(np.array([table.number(kind)]), np.array([i]), np.array([o]))
    first = table.number(groups.layers[0].kind)  # three channels in, measured with no others
    with pytest.raises(InputError, match="does not reach"):
        table.ms(np.array([first]), np.array([4]), np.array([8]))


def test_holes_of_a_grid_are_filled() -> None:
    ins, outs = np.array([8, 16, 32, 64]), np.array([8, 24, 48])
    full = 1 + 0.1 * ins[:, None] + 0.2 * outs + 0.01 * ins[:, None] * outs
    holed = full.copy()
    holed[[1, 2, 0, 3], [1, 0, 0, 2]] = np.nan  # inside, on an edge, two corners
    np.testing.assert_allclose(LayerGrid(ins, outs, holed).whole(), full, rtol=1e-9)


def test_tables_are_read_from_what_measure_writes(tmp_path: Path) -> None:
    groups = find_groups(small("resnet"))
    measured = layers_to_measure([groups], Grid(points=2))
    assert direct_networks(groups, Grid(), 0, 0)[0] == groups.network
    listed = tmp_path / "layers.txt"
    layers("resnet", listed, grid=Grid(points=2), direct=1)
    keys = [SMALLEST.key, *(one.network().key for one in measured), listed.read_text().splitlines()[-1]]
    columns = {"space": "layers", "key": keys, "device": "here", "metric": "latency_ms"}
    frame = pd.DataFrame({**columns, "value": 0.5 + np.arange(len(keys)), "repeats": 1})
    path = tmp_path / "table.parquet"
    write_table(frame, {"devices": []}, path)
    costs = Tabulated(path).learn()
    table, whole = costs.table(0), costs.whole()
    assert (table.device, table.call_ms, known(table)) == ("here", 0.5, len(measured)) and whole is not None
    assert whole.matrix("latency_ms").tolist() == [[0.5 + len(keys) - 1]]
    priced = PricedNetwork(groups, table, factor=2.0)
    expected = sum(0.5 + keys.index(one.network().key) for one in groups.priced(groups.sizes)) - 13 * 0.5
    assert priced.latency_ms(groups.sizes) == pytest.approx(2 * expected, rel=1e-6) and priced.lookups == 14
    assert costs.on(costs.devices[0], less_calls=True)(Networks([groups.network]))[0] == pytest.approx(expected)
    with pytest.raises(InputError, match="has no layer"):
        PricedNetwork(find_groups(small("alexnet")), table)
    write_table(frame.assign(metric="cold_ms"), {"devices": []}, path)
    with pytest.raises(InputError, match="has no latency_ms of layers"):
        Tabulated(path).learn()


def test_a_table_is_measured_and_goes_on_where_it_was(tmp_path: Path) -> None:
    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (3, 8, 8)), 16, 3, act="relu")
    net.add("dense", (10,), net.conv_bn(x, 16, 3, groups=16, act="relu6"))
    groups = find_groups(net.finish("test", "tiny"))
    listed = tmp_path / "layers.txt"
    measured = layers_to_measure([groups], Grid(2))
    listed.write_text("".join(one.network().key + "\n" for one in measured))
    archs, prepare = listed_layers(listed)
    backend = OnnxRuntime(timing=Timing(pairs=3, warmup=1, max_rounds=1, floor_ms=0.0))
    for most in (3, 10):  # killed behind three rows, and run again
        journal = Journal(tmp_path / "journal.jsonl")
        tasks = pending(archs, [backend], journal)
        assert len(tasks) == (7 if most == 3 else 4)
        list(run_campaign(archs, tasks[:most], journal, prepare))
        journal.file.close()
    table, meta = to_table(journal.rows, unstable=True)
    write_table(table, meta, tmp_path / "table.parquet")
    priced = PricedNetwork(groups, LayerSum.tabulated(tmp_path / "table.parquet").table(None))
    assert known(priced.table) == len(measured) == 6 and priced.latency_ms(np.array([8])) > 0


def test_rows_of_a_slow_hour_count_only_where_there_are_no_others() -> None:
    def row(key: str, reference_ms: float) -> dict:
        return {"device": {"name": "here"}, "space": "layers", "key": key, "metric": "ms", "reference_ms": reference_ms}

    fast, slow, slower = row("a", 1.05), row("a", 1.4), row("b", 1.6)
    rows = [*(row("c", 1.0) for _ in range(9)), fast, slow, row("b", 1.9), slower, {"error": "it failed"}]
    kept = quiet_rows(rows, 1.1)
    assert [one for one in kept if one.get("key") != "c"] == [fast, slower, {"error": "it failed"}]
    assert len(kept) == 12


def figure_6() -> tuple[PricedNetwork, np.ndarray]:
    net = NetworkBuilder()
    x = net.conv(net.add("input", (3, 8, 8)), 104, 3)
    net.add("dense", (10,), net.add("global_avg_pool", (104,), x))
    groups = find_groups(net.finish("test", "figure 6"))
    conv, pool, dense = (one.kind for one in groups.layers)
    ms = dict(zip(range(96, 0, -8), FIGURE_6, strict=True)) | {104: 1.5}
    measured = [(SizedLayer(conv, 3, width), value) for width, value in ms.items()]
    measured += [
        (one, 0.0) for width in (8, 104) for one in (SizedLayer(pool, width, width), SizedLayer(dense, width, 10))
    ]
    return PricedNetwork(groups, LayerTable.of(measured)), groups.sizes


def test_the_papers_example() -> None:
    priced, widths = figure_6()
    sequential, binary = (search(widths, 0, 0.5) for search in (Sequential(priced), Binary(priced, threshold=1)))
    assert sequential is not None and binary is not None
    assert (sequential.width, sequential.tried, sequential.lookups) == (24, 10, 30)
    assert (binary.width, binary.tried, binary.lookups) == (24, 5, 15)
    exact = Exact(priced)
    first, again = exact(widths, 0, 0.5), exact(widths, 0, 0.5)
    assert first is not None and again is not None
    assert (first.width, again.width, first.tried, again.lookups) == (24, 24, 1, 0)
    coarse = Binary(priced)(widths, 0, 0.5)
    assert coarse is not None and coarse.tried == 10  # twelve widths are no more than the threshold
    for search in (Sequential(priced), Binary(priced, threshold=1), Exact(priced)):
        assert search(widths, 0, 0.28) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), points=st.sampled_from([0, 2, 3, 5]), monotone=st.booleans())
def test_searches_find_the_widest_network_that_keeps_the_limit(seed: int, points: int, monotone: bool) -> None:
    rng = np.random.default_rng(seed)
    groups = find_groups(mixed(rng))
    table = table_of(groups, Grid(points, dense=16), rng, monotone)
    sequential, binary, exact = (
        kind(PricedNetwork(groups, table), dense=16, **more)
        for kind, more in ((Sequential, {}), (Binary, {"threshold": 1}), (Exact, {}))
    )
    widths = groups.sizes.copy()
    for _ in range(8):
        group = int(rng.integers(len(groups)))
        limit = sequential.priced.latency_ms(widths) * rng.uniform(0.7, 1.05)
        expected = exhaustive(sequential, widths, group, limit)
        found = [search(widths, group, limit) for search in (sequential, exact, binary)]
        for one in found:
            assert one is None or sequential.latency_ms(widths, group, one.width) <= limit * (1 + 1e-8)
            assert one is None or one.latency_ms == pytest.approx(sequential.latency_ms(widths, group, one.width))
        agreeing = found if monotone else found[:2]
        assert [one and one.width for one in agreeing] == [expected] * len(agreeing)
        if found[0] is not None:
            assert found[0].lookups == found[0].tried * len(groups.layers)
            widths[group] = found[0].width


def test_only_what_touches_a_group_is_looked_up_again() -> None:
    rng = np.random.default_rng(0)
    groups = find_groups(zoo("mobilenet_v1"))
    exact = Exact(PricedNetwork(groups, table_of(groups, Grid(), rng, monotone=True)))
    widths = groups.sizes.copy()
    limit = 0.95 * exact.priced.latency_ms(widths)
    assert any([exact(widths, group, limit) for group in range(len(groups))])
    before = exact.priced.lookups
    widths[6] = 256
    assert any([exact(widths, group, limit) for group in range(len(groups))])
    again = exact.priced.lookups - before
    points = max(len(axis) for axis in exact._points)
    assert again <= 3 + 2 * points + 3 * len(groups)  # three layers, two neighbours' curves, each proposal once
    assert again < len(groups) * len(groups.layers) / 4


def test_any_sum_of_layers_predicts_the_table_of_a_network() -> None:
    groups, pricer = find_groups(small("alexnet")), load()
    on = pricer.devices_[0]
    priced = PricedNetwork(groups, predicted_table(pricer, on, groups))
    networks = Networks([groups.network, groups.resized(np.maximum(groups.sizes // 2, groups.steps()))])
    whole, half = pricer.predict(networks, on)
    assert priced.latency_ms(groups.sizes) == pytest.approx(whole, rel=1e-6)
    assert priced.latency_ms(np.maximum(groups.sizes // 2, groups.steps())) == pytest.approx(half, rel=0.1)
