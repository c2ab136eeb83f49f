"""Contract of the encoders, on every one that is there."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.records import Architectures, Device, InputError, Space
from datasets.spaces.convolution import Convolution
from datasets.spaces.dense import Dense
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench201 import OPS, NasBench201
from datasets.spaces.ofa import OFA
from encoders.base import (
    DeviceEncoder,
    GraphBatch,
    GraphEncoder,
    SparseGraphEncoder,
    SparseGraphs,
    VectorEncoder,
)
from encoders.cell import CellGraph, CellOneHot
from encoders.device import DeviceSpecs
from encoders.flat import PHYSICAL, FlatVector, Totals, Work
from encoders.layer import LayerFeatures, LayerPhysics, LayerWork
from encoders.paths import LAUNCH, CellPaths, LongestPath
from tests.conftest import implementations

SPARSE = [one for cls in implementations("encoders", SparseGraphEncoder) for one in cls.examples()]
ENCODERS = [one for kind in (GraphEncoder, VectorEncoder) for cls in implementations("encoders", kind)
            for one in cls.examples()]  # fmt: skip
OF_DEVICES = [cls.examples()[0] for cls in implementations("encoders", DeviceEncoder)]
TWO = [Device("a", "f", "gpu", features={"cores": 1000}), Device("b", "f", "dsp", batch=8)]
SPACES = [one for cls in implementations("datasets.spaces", Space) for one in cls.examples()]


def name(thing: object) -> str:
    return type(thing).__name__


def arrays(encoded: np.ndarray | GraphBatch | SparseGraphs) -> list[np.ndarray]:
    return [encoded] if isinstance(encoded, np.ndarray) else list(encoded)


def suits(encoder: GraphEncoder | VectorEncoder, space: Space) -> bool:
    """Whether an encoder takes a space; `num_features` is what has to refuse the others, in one sentence."""
    try:
        return encoder.num_features(space) >= 0
    except InputError as refused:
        assert "\n" not in str(refused)
        return False
    except (AttributeError, NotImplementedError) as error:
        pytest.fail(f"{name(encoder)}.num_features has to raise an InputError for {name(space)}, not {error!r}")


@pytest.mark.parametrize("space", SPACES, ids=name)
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_a_batch_is_its_rows_and_a_pure_function(space: Space, seed: int, n: int) -> None:
    archs = space.sample(n, np.random.default_rng(seed))
    for encoder in ENCODERS:
        if suits(encoder, space):
            assert_a_batch_is_its_rows(encoder, archs)
        else:
            with pytest.raises(InputError):
                encoder(archs)


def assert_a_batch_is_its_rows(encoder: GraphEncoder | VectorEncoder, archs: Architectures) -> None:
    """Also that equal calls give equal arrays, and that graphs have no edges from or to padding."""
    whole = arrays(encoder(archs))
    again = arrays(encoder(archs))
    rows = [arrays(encoder(archs[i : i + 1])) for i in range(len(archs))]
    for k, array in enumerate(whole):
        assert array.dtype == np.float32 and len(array) == len(archs) and np.isfinite(array).all(), encoder
        np.testing.assert_array_equal(array, again[k], repr(encoder))
        np.testing.assert_array_equal(array, np.concatenate([row[k] for row in rows]), repr(encoder))
    assert whole[0].shape[-1] == encoder.num_features(archs.space), encoder
    if isinstance(encoder, GraphEncoder):
        _, adjacency, mask = whole
        assert not (adjacency * (1 - mask[:, :, None] * mask[:, None, :])).any(), encoder


@pytest.mark.parametrize("space", SPACES, ids=name)
@pytest.mark.parametrize("encoder", SPARSE, ids=name)
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6))
def test_sparse_graphs_stand_one_after_another(encoder: SparseGraphEncoder, space: Space, seed: int, n: int) -> None:
    archs = space.sample(n, np.random.default_rng(seed))
    whole, rows = encoder(archs), [encoder(archs[i : i + 1]) for i in range(n)]
    assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in whole)
    np.testing.assert_array_equal(whole.sizes, np.concatenate([row.sizes for row in rows]))
    np.testing.assert_array_equal(whole.nodes, np.concatenate([row.nodes for row in rows]))
    starts = np.cumsum(whole.sizes) - whole.sizes[:, 0]
    np.testing.assert_array_equal(
        whole.edges, np.concatenate([row.edges + start for row, start in zip(rows, starts, strict=True)])
    )
    np.testing.assert_array_equal(whole.graph[:, 0], np.repeat(np.arange(n), whole.sizes[:, 0].astype(int)))
    assert whole.nodes.shape[1] == encoder.num_features(space)
    graph_of = whole.graph[whole.edges.astype(int), 0]
    assert (graph_of[:, 0] == graph_of[:, 1]).all(), "an edge leads from one graph to another"
    assert (whole.edges[:, 0] < whole.edges[:, 1]).all(), "nodes follow their producers"


@pytest.mark.parametrize("encoder", ENCODERS, ids=name)
def test_every_encoder_suits_a_space(encoder: GraphEncoder | VectorEncoder) -> None:
    assert any(suits(encoder, space) for space in SPACES)


@pytest.mark.parametrize(
    "cls", {type(one): None for one in [*ENCODERS, *SPARSE, *OF_DEVICES]}, ids=lambda cls: cls.__name__
)
def test_every_field_matters(cls: Any) -> None:
    first, *others = cls.examples()
    if cls in map(type, OF_DEVICES):
        arguments: list[Any] = [TWO]
    else:
        arguments = [space.sample(30, np.random.default_rng(0)) for space in SPACES if suits(first, space)]

    def outcome(one: Any, argument: Any) -> object:
        try:
            return [array.tolist() for array in arrays(one(argument))]
        except InputError as error:
            return str(error)

    for field in fields(cls):
        value = getattr(first, field.name)
        more = [not value] if isinstance(value, bool) else [getattr(other, field.name) for other in others]
        more = [one for one in more if one != value]
        assert more, f"let {cls.__name__}.examples() give one with another {field.name}"
        changed = [replace(first, **{field.name: one}) for one in more]
        assert any(outcome(first, a) != outcome(one, a) for one in changed for a in arguments), field.name


@pytest.mark.parametrize("encoder", [CellGraph(), CellOneHot(), FlatVector()], ids=name)
def test_unpruned_encoders_tell_all_cells_apart(encoder: GraphEncoder | VectorEncoder, space: NasBench201) -> None:
    rows = np.concatenate([a.reshape(15_625, -1) for a in arrays(encoder(space.all()))], axis=1)
    assert len(np.unique(rows, axis=0)) == 15_625


def cell(space: NasBench201, *ops: str) -> Architectures:
    return Architectures(space, [[OPS.index(op) for op in ops]])


def test_pruning_as_brp_nas_does_it(space: NasBench201) -> None:
    """8,686 graphs are left of the 15,284 cells with a path (so BRP-NAS's own encoding, counted from its code)."""
    archs = space.all()
    archs = archs[space.connected(archs)]
    graphs = CellGraph(pruned=True)(archs)
    rows = np.concatenate([a.reshape(len(archs), -1) for a in graphs], axis=1)
    assert len(np.unique(rows, axis=0)) == 8_686


def test_pruned_graphs_hold_only_what_lies_on_a_path(space: NasBench201) -> None:
    # 1 <- 0 conv3x3, 3 <- 1 skip: the conv goes straight to the output; 2 <- 0 conv1x1 reaches nothing
    arch = cell(space, "nor_conv_3x3", "nor_conv_1x1", "none", "none", "skip_connect", "none")
    batch = CellGraph(pruned=True, global_node=False)(arch)
    assert batch.mask[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    edges = np.argwhere(batch.adjacency[0]).tolist()
    assert edges == [[0, 2], [2, 1]]
    assert batch.nodes[0, 3:].sum() == 0


@pytest.mark.parametrize("space", [FBNet(), OFA()], ids=name)
def test_pruned_chains_hold_the_blocks_that_do_something(space: Space) -> None:
    """One graph a canonical text, but for where its nodes stand: a skip that passes its input on is joined over."""
    archs = space.sample(200, np.random.default_rng(0))
    batch = CellGraph(pruned=True, global_node=False)(archs)
    kinds = batch.nodes.argmax(-1)
    for i, arch in enumerate(archs):
        there = [op.kind for op in arch.ops if op.kind != "skip_connect"]
        chain = np.flatnonzero(batch.mask[i])
        assert [space.kinds[kind] for kind in kinds[i, chain]] == there
        assert np.argwhere(batch.adjacency[i]).tolist() == np.stack([chain[:-1], chain[1:]], axis=1).tolist()


def test_the_global_node_sees_every_node(space: NasBench201) -> None:
    batch = CellGraph()(space.sample(5, np.random.default_rng(0)))
    np.testing.assert_array_equal(batch.adjacency[:, 0], batch.mask)
    assert batch.adjacency[:, 1:, 0].sum() == 0
    assert (batch.nodes.sum(-1) == batch.mask).all()


def test_paths_spell_what_they_pass(space: NasBench201) -> None:
    """Of the four ways from node 0 to node 3, one is a single op, two are pairs, one passes a `none`."""
    ops = ("skip_connect", "nor_conv_1x1", "none", "nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3")
    row = CellPaths()(cell(space, *ops))[0]
    skip, one, three, pool = range(4)  # the kinds in the order of the space, without none
    singles, pairs = 0, 4
    expected = np.zeros(84)
    expected[singles + three] = 1  # 3 <- 0
    expected[pairs + 4 * skip + three] = 1  # 1 <- 0, 3 <- 1
    expected[pairs + 4 * one + pool] = 1  # 2 <- 0, 3 <- 2
    np.testing.assert_array_equal(row, expected)
    archs = space.all()
    np.testing.assert_array_equal(CellPaths()(archs).any(axis=1), space.connected(archs))


def test_leti_s_vector_has_its_length(space: NasBench201) -> None:
    """2 + n^2 + n: 58 numbers for the 7 nodes of NAS-Bench-101, 74 for the 8 of NAS-Bench-201."""
    archs = space.sample(3, np.random.default_rng(0))
    assert FlatVector()(archs).shape == (3, 2 + 8**2 + 8)
    np.testing.assert_array_equal(FlatVector()(archs)[:, 0], space.totals(archs)["flops"])


def test_an_unknown_total_is_named(space: NasBench201) -> None:
    with pytest.raises(InputError, match="no total 'flop'; there are macs, flops"):
        Totals(("flop",))(space.all()[:2])


@pytest.mark.parametrize("cls", implementations("encoders", DeviceEncoder), ids=lambda cls: cls.__name__)
def test_devices_are_rows_too(cls: type[DeviceEncoder]) -> None:
    encoder = cls.examples()[0]
    whole = encoder(TWO)
    assert whole.dtype == np.float32 and whole.shape == (2, encoder.num_features) and np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, np.concatenate([encoder(TWO[:1]), encoder(TWO[1:])]))
    np.testing.assert_array_equal(whole, encoder(TWO))
    assert encoder([]).shape == (0, encoder.num_features) and (whole[0] != whole[1]).any()


def test_specs_say_what_is_known() -> None:
    encoder = DeviceSpecs(("cores", "clock_ghz", "batch"), ("gpu", "dsp"))
    np.testing.assert_allclose(encoder(TWO)[0], [3, 1, 0, 0, 0, 1, 1, 0])
    np.testing.assert_allclose(encoder(TWO)[1], [0, 0, 0, 0, np.log10(8), 1, 0, 1], rtol=1e-6)
    with pytest.raises(InputError, match="'c' is of kind 'abacus'; this encoder has gpu, dsp"):
        encoder([Device("c", "f", "abacus")])
    with pytest.raises(InputError, match="'c' has cores = 0, which has no logarithm"):
        encoder([Device("c", "f", "gpu", features={"cores": 0})])


# Single layers


def test_layers_as_perfnetrt_tells_them_and_as_a_kernel_sees_them() -> None:
    space = Convolution()
    archs = space.parse(["batch=4,size=57,kernel=3,in=60,out=130,stride=2,pad=same,act=relu,bias=1"])
    np.testing.assert_array_equal(LayerFeatures()(archs), [[4, 57, 3, 60, 130, 2, 1, 1, 1]])
    logs = LayerFeatures(log=True)(archs)[0]
    np.testing.assert_allclose(np.exp(logs[[0, 1, 3, 4]]), [4, 57, 60, 130], rtol=1e-6)
    pixels, depth = 4 * 29**2, 60 * 9
    moved = 4 * (4 * 57**2 * 60 + 3 * pixels * 130 + 130 * (depth + 1))
    np.testing.assert_allclose(LayerWork()(archs), [[pixels * 130 * depth / 1e6, moved / 1e6]], rtol=1e-6)
    told = dict(zip(LayerPhysics().names(space), LayerPhysics()(archs)[0], strict=True))
    assert told["side"] == pytest.approx(np.log(29)) and told["depth"] == pytest.approx(np.log(depth))
    assert told["in_mod_8"] == 4 and told["in_to_8"] == pytest.approx(np.log(64 / 60))
    assert told["operations_16"] == pytest.approx(np.log(pixels * 9 * 64 * 144))
    assert told["tiles_128x128"] == pytest.approx(np.log(np.ceil(pixels / 128) * 2)) and not told["winograd"]
    assert told["padding"] == 2, "28 strides of 2 and a kernel of 3 reach 59"
    dense = LayerPhysics().names(Dense())
    assert "winograd" not in dense and "in_mod_8" in dense


def test_the_longest_path_is_that_of_the_slowest_branch(space: NasBench201) -> None:
    """Two convolutions beside each other are as long as one; dead ones, skips and what is no path count nothing."""
    conv, skip, pool, none = "nor_conv_3x3", "skip_connect", "avg_pool_3x3", "none"
    cells = [
        cell(space, conv, none, skip, none, none, conv),  # one after the other, a skip between them
        cell(space, conv, conv, none, none, skip, skip),  # beside each other
        cell(space, none, none, none, conv, none, none),
        cell(space, conv, none, none, skip, none, none),  # the convolution reaches no output
        cell(space, none, none, none, pool, none, none),
        cell(space, conv, none, none, none, none, conv),
    ]
    flops, _, ops, both = np.concatenate([LongestPath()(archs) for archs in cells]).T
    np.testing.assert_allclose(flops, [2, 1, 1, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(ops, [2, 1, 1, 0, 1, 0])
    np.testing.assert_allclose(both, flops + LAUNCH * ops, atol=1e-5)  # the same path is the longest in both
    assert LongestPath().num_features(FBNet()) == 0, "chains have no branches"


def test_work_counts_ops_of_cells_and_adds_up_chains(space: NasBench201) -> None:
    dead = cell(space, "nor_conv_3x3", "none", "none", "skip_connect", "none", "none")
    kinds = list(space.kinds)
    for live, convolutions in ((False, 1), (True, 0)):
        counts = Work(live=live)(dead)[0]
        assert counts[kinds.index("nor_conv_3x3")] == convolutions and counts[kinds.index("skip_connect")] == 1
    chain = FBNet().sample(5, np.random.default_rng(0))
    np.testing.assert_array_equal(Work()(chain), Totals(PHYSICAL)(chain))
