"""Operations of networks: what they are, their features, and their prices by tables of single operations."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from datasets.blocks.operations import Operation
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.networks.ops import VIEWS
from datasets.networks.torch_module import read_module
from datasets.records import InputError, Measurements, Networks
from encoders.flat import Totals
from encoders.operation import OperationFeatures
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.commands.learning import layerwise
from predictors.linear import Linear
from predictors.networks.coefficients import COEFFICIENTS
from predictors.networks.energy import Energies
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.operation_costs import like
from predictors.networks.operations import OPERATIONS, operations
from predictors.networks.pieces import pieces
from predictors.networks.price import price, read_network
from predictors.trees import XGBoost
from tests.conftest import implementations
from tests.datasets.test_operations import of_every_word
from tests.doubles.toy_layers import DEVICES, law, layer_table, layer_tables, table, write

SPACES: dict[str, type[Operation]] = {space().kind: space for space in implementations("datasets.spaces", Operation)}
FAST, SLOW = DEVICES
LAYER = Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes")))


def measured(kind: str) -> Measurements:
    """Made-up times of operations on the first device only."""
    archs = SPACES[kind](megabytes=4, megamacs=20).sample(60, np.random.default_rng(0))
    work = archs.space.totals(archs)[["macs", "moved_bytes"]].to_numpy()
    return table(archs, {"latency_ms": 0.005 + 2 * law(work, (1,))}, kind, (FAST,))


def learnt(*kinds: str) -> Learnt:
    layers = {kind: layer_table(kind) for kind in LAYERS}
    made = replace(
        Learnt.with_layer(LAYER), operation=XGBoost(trees=60, metric="latency_ms", encoder=OperationFeatures())
    )
    return made.fit(layers | {kind: measured(kind) for kind in kinds})


@pytest.fixture(scope="module")
def costs() -> Learnt:
    """Knows layers on two devices, and four kinds of operations on one of them."""
    return learnt("matmul", "smooth", "attention", "grouped_convolution")


def test_every_kind_of_operations_has_a_space() -> None:
    assert set(OPERATIONS) == set(SPACES)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_point_of_a_space_is_one_operation_of_its_kind_with_equal_features(kind: str) -> None:
    space = SPACES[kind](megabytes=1, megamacs=4)
    for network in map(space.expand, of_every_word(space)):
        (found,) = operations(network)
        same = found.kind == kind or (kind, found.kind) in (
            ("reduction", "average_pooling"),  # a mean over an image
            ("grouped_convolution", "depthwise_convolution"),  # of one channel a group
        )
        kinds = tuple(sorted({op.kind for op in network.ops} - {"input", *VIEWS}))
        whole, part = OperationFeatures(kinds)(Networks([network, found.network]))
        assert same and whole == pytest.approx(part), network.key


def test_a_network_of_one_operation_costs_what_its_predictor_says(costs: Learnt) -> None:
    for kind in ("matmul", "smooth", "attention", "grouped_convolution"):
        archs = SPACES[kind](megabytes=4, megamacs=20).sample(30, np.random.default_rng(1))
        predictor = costs.operations.predictors[kind]
        alone = np.maximum(predictor.predict_all(Networks.of(archs))[:, 0], 1e-6)
        whole = [terms.sum(axis=0)[0] for terms in costs.network_terms(Networks.of(archs))]
        term = COEFFICIENTS.index("operation" if kind == "smooth" else "product")
        session = costs.machine[0, 2]
        within = np.array([(each == 1).all() for each in costs.beyond(Networks.of(archs))])
        for terms, ms in zip(np.array(whole)[within], alone[within], strict=True):
            assert terms[term] == pytest.approx(max(ms - session, 0.1 * ms))
            assert terms[COEFFICIENTS.index("call")] == pytest.approx(1)
            assert np.count_nonzero(terms) == 2 + (kind == "grouped_convolution")  # cold weights
        assert within.sum() > 10


def test_devices_and_operations_without_a_table_cost_what_they_did(costs: Learnt) -> None:
    before, network = learnt(), vit_block()
    (with_, without) = (each.network_terms(Networks([network]))[0] for each in (costs, before))
    assert (with_[:, 1] == without[:, 1]).all() and not np.allclose(with_[:, 0], without[:, 0])
    known = {row for o in operations(network) if o.kind in costs.operations.predictors for row in o.rows}
    others = [row for row in range(len(with_)) if row not in known]
    assert others and (with_[others] == without[others]).all()


def test_networks_cost_the_same_together_and_alone(costs: Learnt) -> None:
    """Operations that several of them have are priced once, and each gets its own terms."""
    networks = [vit_block(), vit_block(), *(read_network(f"zoo:{name}") for name in ("mobilenet_v2", "lenet5"))]
    for network, terms in zip(networks, costs.network_terms(Networks(networks)), strict=True):
        assert np.array_equal(terms, costs.network_terms(Networks([network]))[0], equal_nan=True)


def vit_block() -> Network:
    block = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    return read_module(block.eval(), (torch.zeros(1, 10, 32),), "block")


def regnet_stage() -> Network:
    net = NetworkBuilder()
    x = net.add("input", (16, 28, 28))
    for _ in range(2):
        y = net.conv_bn(net.conv_bn(x, 16, 1, act="relu"), 16, 3, groups=4, act="relu", pad=1)
        gate = net.conv(net.conv(net.add("global_avg_pool", (16, 1, 1), y), 4, 1, bias=1), 16, 1, bias=1)
        y = net.pointwise("mul", y, net.pointwise("sigmoid", gate))
        x = net.pointwise("relu", net.pointwise("add", net.conv_bn(y, 16, 1), x))
    return net.finish("", "")


def recurrent_net() -> Network:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.rnn, self.head = nn.Embedding(50, 16), nn.LSTM(16, 24, batch_first=True), nn.Linear(24, 5)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(self.words(ids))[0].mean(dim=1)).softmax(-1)

    return read_module(Recurrent().eval(), (torch.zeros(1, 7, dtype=torch.int64),), "recurrent")


@pytest.mark.parametrize(
    ("made", "kinds"),
    [(vit_block, {"layer_norm", "attention", "linear", "smooth", "elementwise"}),
     (regnet_stage, {"grouped_convolution", "elementwise", "average_pooling"}),
     (recurrent_net, {"gather", "recurrent", "reduction", "softmax"})],
)  # fmt: skip
def test_every_op_of_a_transformer_a_stage_and_a_recurrent_network_has_a_table(made: object, kinds: set[str]) -> None:
    network = made()  # type: ignore[operator]
    found = operations(network)
    rows = {row for operation in found for row in operation.rows}
    left = [piece.op for row, piece in enumerate(pieces(network)) if row not in rows and piece.kind not in LAYERS]
    assert kinds <= {operation.kind for operation in found} and set(left) <= set(VIEWS)
    assert len(rows) == sum(len(operation.rows) for operation in found)


def test_what_is_far_from_the_measured_operations_widens_the_interval(costs: Learnt) -> None:
    space, predictor = SPACES["matmul"](), LayerSum.summing(costs)
    near, far = (f"batch=1,heads=8,rows={n},inner={n},columns={n}" for n in (128, 1024))
    networks = Networks.of(space.parse([near, far]))
    ratios = costs.beyond(networks)
    assert ratios[0].tolist() == [[1, 1]] and ratios[1][0, 0] > 100 and ratios[1][0, 1] == 1
    found = [price(predictor, network, FAST) for network in networks]
    assert found[1].high / found[1].low > 2 * found[0].high / found[0].low
    assert "times the work" in " ".join(found[1].warnings) and not found[0].warnings


def test_operations_are_in_the_saved_file_and_files_without_them_are_read(costs: Learnt, tmp_path: Path) -> None:
    network = Networks([vit_block(), regnet_stage()])
    predictor = LayerSum.summing(costs)
    predictor.save(tmp_path / "p.pt")
    again = Predictor.load(tmp_path / "p.pt")
    assert (
        isinstance(again, LayerSum) and again.predict_all(network).tolist() == predictor.predict_all(network).tolist()
    )
    assert isinstance(again.layers, Learnt) and again.layers.operations.deviations == costs.operations.deviations
    for like_it in (LayerSum.summing(learnt()), Energies.like(LayerSum.summing(learnt()))):
        state, old = like_it.state(), [name not in ("product", "operation") for name in like_it.layers.terms]
        del state["layers"]["operations"]
        for part in state["calibrations"]:
            part["coefficients"], part["covariance"] = part["coefficients"][old], part["covariance"][np.ix_(old, old)]
        expected = like_it.predict_all(network)
        like_it.restore(state)
        assert like_it.predict_all(network).tolist() == expected.tolist()


@pytest.mark.parametrize("broken", ["kind", "extents", "deviations", "encoder"])
def test_a_damaged_file_of_operations_is_refused(costs: Learnt, broken: str) -> None:
    state, fresh = costs.state(), Learnt.with_layer(LAYER)
    own = state["operations"]["matmul"]
    if broken == "kind":
        state["operations"] = {"knitting": own}
    elif broken == "encoder":
        state["operations"]["matmul"] = state["dense"] | {name: own[name] for name in ("extents", "deviations")}
    else:
        own[broken] = {"extents": np.full((2, 2), -1.0), "deviations": {FAST.name: -1.0}}[broken]
    with pytest.raises((ValueError, KeyError)):
        fresh.restore(state, "here")


def test_layerwise_reads_tables_of_operations_beside_those_of_layers(tmp_path: Path, capsys: object) -> None:
    shutil.copytree(layer_tables(60), tmp_path / "tables")
    for kind in ("softmax", "reduction"):
        write(measured(kind), tmp_path / "tables")
    layerwise(tmp_path / "p.pt", LAYER, tmp_path / "tables", networks="")
    found = Predictor.load(tmp_path / "p.pt")
    assert isinstance(found, LayerSum) and isinstance(found.layers, Learnt)
    assert set(found.layers.operations.predictors) == {"softmax", "reduction"} <= set(found.metadata_["tables"])
    assert {"softmax", "reduction"} <= set(found.metadata_["errors"][FAST.name])
    layerwise(tmp_path / "slow.pt", LAYER, tmp_path / "tables", networks="", devices=SLOW.name)
    slow = Predictor.load(tmp_path / "slow.pt")
    assert isinstance(slow, LayerSum) and isinstance(slow.layers, Learnt) and not slow.layers.operations.predictors
    shutil.copy(tmp_path / "tables" / "softmax.parquet", tmp_path / "tables" / "matmul.parquet")
    with pytest.raises(InputError, match="The table of matmul operations is of softmax"):
        layerwise(tmp_path / "p2.pt", LAYER, tmp_path / "tables", networks="")
    few = measured("matmul").where(archs=np.arange(4))
    with pytest.raises(InputError, match="table of matmul operations has 4; measure 5 or more"):
        learnt().operations.fit({"matmul": few}, LAYER, 0.1, 0)


def test_predictors_that_encode_nothing_themselves_leave_operations_to_trees() -> None:
    assert isinstance(like(LAYER), Linear) and type(like(Blend())).__name__ == "XGBoost"


def test_a_transposition_that_moves_the_batch_is_none_of_sides() -> None:
    """A tensor of one side beside the batch has no last two sides."""
    net = NetworkBuilder()
    x = net.add("input", (8,))
    scores = net.add("MatMul", (8, 8), net.add("Transpose", (8, 1), x), x, macs=64)
    shares = net.add("softmax", (8, 8), scores)
    net.add("MatMul", (8, 8), shares, net.add("Transpose", (8, 1), x), macs=512)
    assert [found.kind for found in operations(Network.of(net.ops, net.edges))]
