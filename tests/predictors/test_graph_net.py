"""GraphNet: sums over the pieces of networks of any kinds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Device, Measurements, Networks
from encoders.kinds import KindTotals
from encoders.pieces import FEATURES, KINDS, NUMBERS, PADDING, QUANTITIES, PieceGraph
from predictors.blend import Blend
from predictors.export import OnnxPredictor, export
from predictors.graph_net import GraphNet
from predictors.linear import RelativeLine

DEVICE = Device("toy", "toy", "server-cpu")


def chain(widths: list[int], side: int = 16) -> Network:
    """Convolutions of 3x3 with ReLU, one after another."""
    net = NetworkBuilder()
    x = net.add("input", (widths[0], side, side))
    for width in widths[1:]:
        x = net.pointwise("relu", net.conv(x, width, 3))
    return Network.of(net.ops, net.edges)


def timed(networks: list[Network]) -> Measurements:
    """Networks whose every piece takes its work and its bytes, and a session of 0.1 ms."""
    graphs = PieceGraph()(Networks(networks))
    macs, moved = np.exp2(graphs.nodes[:, : len(QUANTITIES)].astype(float).T) - 1
    ms = np.bincount(graphs.graph[:, 0].astype(int), macs / 1e8 + moved / 1e7 + 0.01) + 0.1
    table = pd.DataFrame({"arch": range(len(ms)), "device": 0, "metric": "latency_ms", "value": ms})
    return Measurements(Networks(networks), [DEVICE], table, "toy")


def drawn(n: int, rng: np.random.Generator, most: int = 6) -> list[Network]:
    return [chain([int(w) for w in rng.integers(4, 64, rng.integers(2, most))], int(rng.choice([8, 16, 32])))
            for _ in range(n)]  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> GraphNet:
    return GraphNet(epochs=20, hidden=16).fit(timed(drawn(100, np.random.default_rng(0))))


def test_it_extrapolates_to_networks_ten_times_as_long(fitted: GraphNet) -> None:
    """A sum over pieces does not know how many there are; the factor of the whole network is at most e."""
    m = timed([chain([32] * n) for n in (40, 60)])
    ratio = fitted.predict_all(m.architectures)[:, 0] / m.matrix("latency_ms")[:, 0]
    assert np.abs(np.log(ratio)).max() < 0.35


def test_times_of_pieces_and_a_session_add_up_to_a_network(fitted: GraphNet) -> None:
    network = chain([16, 32, 32, 8])
    ms = fitted.piece_ms(Networks([network]))
    assert len(ms) == 1 and ms[0].shape == (4, 1) and (ms[0] > 0).all()
    np.testing.assert_allclose(ms[0].sum(), fitted.predict_all(Networks([network]))[0, 0], rtol=1e-5)


def test_without_edges_a_network_is_the_set_of_its_pieces() -> None:
    forward, backward = chain([16, 16, 16, 16]), chain([16, 16, 16, 16], 16)
    assert PieceGraph(context=False)(Networks([forward, backward])).edges.shape == (0, 2)
    assert PieceGraph()(Networks([forward])).edges.tolist() == [[0, 1], [1, 2]]


def test_views_are_no_pieces_and_edges_lead_over_them() -> None:
    net = NetworkBuilder()
    x = net.pointwise("relu", net.conv(net.add("input", (3, 8, 8)), 4, 3))
    x = net.add("Flatten", (256,), x)
    net.add("dense", (10,), x)
    graphs = PieceGraph()(Networks([Network.of(net.ops, net.edges)]))
    kinds = [KINDS[int(i)] for i in graphs.nodes[:, -len(KINDS) :].argmax(axis=1)]
    assert kinds == ["stem", "dense"] and graphs.edges.tolist() == [[0, 1]]


def test_features_are_what_a_piece_computes_and_moves() -> None:
    graphs = PieceGraph()(Networks([chain([3, 8], 16)]))
    values = dict(zip((*QUANTITIES, *NUMBERS), np.exp2(graphs.nodes[0].astype(float)) - 1, strict=False))
    assert graphs.nodes.shape == (1, FEATURES)
    assert values["macs"] == pytest.approx(3 * 9 * 8 * 256, rel=1e-5)
    assert values["read"] == pytest.approx(4 * 3 * 256, rel=1e-5)
    assert values["written"] == pytest.approx(4 * 8 * 256, rel=1e-5)
    assert values["window"] == pytest.approx(9, rel=1e-5) and values["cheap"] == pytest.approx(8 * 256, rel=1e-5)


@pytest.mark.parametrize(("channels", "skipped", "blocked"), [(12, 25, 1), (9, 25, 0), (7, 25, 1)])
def test_windows_beyond_the_image_and_blocks_of_channels_are_features(
    channels: int, skipped: float, blocked: int
) -> None:
    net = NetworkBuilder()
    net.conv(net.add("input", (channels, 1, 1)), 6, 5)
    graphs = PieceGraph(padding=True)(Networks([Network.of(net.ops, net.edges)]))
    values = dict(zip((*QUANTITIES, *NUMBERS, *PADDING), np.exp2(graphs.nodes[0].astype(float)) - 1, strict=False))
    assert graphs.nodes.shape == (1, FEATURES + len(PADDING))
    assert values["skipped"] == pytest.approx(skipped, rel=1e-5) and values["blocked"] == pytest.approx(blocked)


def test_an_export_predicts_networks_of_any_size_in_one_batch(fitted: GraphNet, tmp_path: Path) -> None:
    export(fitted, tmp_path / "predictor.onnx")
    exported = OnnxPredictor.load(tmp_path / "predictor.onnx")
    networks = Networks([chain([8, 8]), chain([16] * 40), chain([4, 8, 16, 32])])
    np.testing.assert_allclose(exported.predict_all(networks), fitted.predict_all(networks), rtol=1e-4)


def test_a_blend_with_a_line_is_one_predictor_with_one_export(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    line = RelativeLine(encoder=KindTotals(groups=False, log=False))
    blend = Blend(members=[GraphNet(epochs=2, hidden=8, layers=1), line], relative=True)
    blend.fit(timed(drawn(30, rng)), timed(drawn(10, rng)))
    assert (blend.chunk, blend.rows) == (GraphNet.chunk, GraphNet.rows)
    networks = Networks([chain([8, 8]), chain([16] * 40), chain([4, 8, 16, 32])])
    np.testing.assert_allclose(blend.weights_.sum(axis=0), 1)
    export(blend, tmp_path / "predictor.onnx")
    exported = OnnxPredictor.load(tmp_path / "predictor.onnx")
    np.testing.assert_allclose(exported.predict_all(networks), blend.predict_all(networks), rtol=1e-4)


def followed(kind: str, n: int = 20) -> Network:
    """Two convolutions, and as many ops of a kind after them."""
    net = NetworkBuilder()
    x = net.conv(net.conv(net.add("input", (16, 32, 32)), 32, 3), 32, 3)
    for _ in range(n):
        x = net.add(kind, (32, 32, 32), x)
    return Network.of(net.ops, net.edges)


def test_intervals_are_wider_where_ops_are_unknown_or_far_out(fitted: GraphNet) -> None:
    """Of convolutions with ReLU alone it knows nothing of a softmax, or of an op of which nobody can count the work."""

    def width(network: Network) -> float:
        low, high = fitted.belief(Networks([network]), DEVICE).interval(0.9)
        return float(np.log(high / low)[0])

    usual = width(chain([32, 32, 32]))
    assert width(chain([16, 48, 24, 40])) < 1.3 * usual
    for network in (followed("Softmax"), followed("com.example.Op"), chain([512, 4096, 4096], 256)):
        assert width(network) > 1.5 * usual, network


def test_one_network_that_has_a_kind_narrows_its_intervals() -> None:
    m = timed([*drawn(40, np.random.default_rng(0)), followed("Softmax", 5)])
    without = GraphNet(epochs=1, hidden=8, layers=1).fit(m.where(archs=np.arange(40)))
    assert without.seen_[KINDS.index("softmax")] == 0
    without.seen_ = without.seen_.copy()
    wide = without.belief(Networks([followed("Softmax")]), DEVICE).deviation
    without.seen_[KINDS.index("softmax")] = 1
    assert (without.belief(Networks([followed("Softmax")]), DEVICE).deviation < wide).all()
    assert GraphNet(epochs=1, hidden=8, layers=1).fit(m).seen_[KINDS.index("softmax")] == 1
