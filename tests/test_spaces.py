"""Contract of `Space`, on every space that is there, and NAS-Bench-201's published facts."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datasets.analysis import totals
from datasets.records import Architectures, InputError, Space
from datasets.spaces import parse_space
from datasets.spaces.nasbench201 import OPS, NasBench201
from measure.build.torch_module import Network
from measure.build.weights import make_weights
from tests.conftest import implementations
from tests.reference_nasbench201 import Network as Reference

SPACES = [cls() for cls in implementations("datasets.spaces", Space)]
every_space = pytest.mark.parametrize("space", SPACES, ids=str)


@every_space
def test_text_form_comes_back(space: Space) -> None:
    assert parse_space(str(space)) == space
    assert parse_space(type(space).__module__.split(".")[-1]) == type(space)()


@every_space
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 20))
def test_parse_is_the_inverse_of_format(space: Space, seed: int, n: int) -> None:
    archs = space.sample(n, np.random.default_rng(seed))
    assert space.parse(archs.keys) == archs
    assert [arch.key for arch in archs] == archs.keys


@every_space
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mutation_changes_one_decision_and_is_a_neighbour(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    archs = space.sample(5, rng)
    mutants = space.mutate(archs, rng)
    assert ((archs.decisions != mutants.decisions).sum(1) == 1).all()
    near = space.neighbours(archs[:1])
    assert len(set(near.keys)) == len(near) == sum(n - 1 for n in space.num_choices)
    assert mutants.keys[0] in near.keys


@every_space
def test_graphs_are_acyclic_and_architectures_in_topological_order(space: Space) -> None:
    archs = space.sample(50, np.random.default_rng(0))
    kinds, adjacency = space.graph(archs)
    assert kinds.shape == adjacency.shape[:2] and kinds.max() < len(space.kinds)
    assert not np.linalg.matrix_power(adjacency[0].astype(int), adjacency.shape[1]).any()
    for arch in archs:
        for view in (arch, space.expand(arch)):
            assert all(source < target for source, target, _ in view.edges)
            for op, sources in zip(view.ops, view.inputs(), strict=True):
                assert op.kind != "add" or len(sources) == 2


@every_space
def test_vectorised_totals_are_those_of_the_expanded_network(space: Space) -> None:
    archs = space.sample(200, np.random.default_rng(1))
    table = space.totals(archs)
    for i, arch in enumerate(archs):
        assert table.iloc[i].to_dict() == totals(space.expand(arch))


@pytest.mark.parametrize(
    "one, other, same",
    [
        # a branch that reaches nothing, or comes from nothing, does not matter
        ("none,skip_connect,nor_conv_3x3,nor_conv_1x1,none,none", "none,none,none,nor_conv_1x1,none,none", True),
        # a skipped sum is part of the sum it joins, wherever it was formed
        ("nor_conv_1x1,none,none,avg_pool_3x3,skip_connect,none",
         "none,nor_conv_1x1,none,avg_pool_3x3,none,skip_connect", True),
        ("none,none,none,nor_conv_1x1,none,none", "none,none,none,nor_conv_3x3,none,none", False),
        # the same op twice is twice the work
        ("nor_conv_1x1,none,none,nor_conv_1x1,skip_connect,none", "none,none,none,nor_conv_1x1,none,none", False),
    ],
)  # fmt: skip
def test_canonical_joins_cells_that_do_the_same_work(space: NasBench201, one: str, other: str, same: bool) -> None:
    archs = Architectures(space, [[OPS.index(op) for op in text.split(",")] for text in (one, other)])
    left, right = space.canonical(archs)
    assert (left == right) is same


@pytest.mark.parametrize("key", ["", "|a~0|", "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|", "x" * 500])
def test_a_malformed_or_unknown_cell_is_one_sentence(space: NasBench201, key: str) -> None:
    with pytest.raises(InputError, match="is not a NAS-Bench-201 cell|is not an op of NAS-Bench-201"):
        space.parse([key])


@settings(deadline=None)
@given(st.text())
def test_any_other_text_is_refused_not_misread(text: str) -> None:
    try:
        archs = NasBench201().parse([text])
    except InputError:
        return
    assert archs.keys == [text]


@pytest.mark.parametrize(
    "text", ["nasbench999", "nasbench201(cells=x)", "nasbench201(depth=3)", "nasbench201)", "../x"]
)
def test_an_unknown_space_or_parameter_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError):
        parse_space(text)


def test_decisions_out_of_range_are_refused(space: NasBench201) -> None:
    with pytest.raises(InputError, match="out of range"):
        Architectures(space, np.full((1, 6), 5))
    with pytest.raises(InputError, match="6 decisions"):
        Architectures(space, np.zeros((1, 5)))


# Facts about NAS-Bench-201


def test_published_parameters_and_flops(space: NasBench201) -> None:
    """Smallest and largest of the benchmark's own tables (CIFAR-10, CIFAR-100). Their FLOPs are multiply-accumulates
    and count one addition of bias a class."""
    for classes, low, high in ((10, (0.073306, 7.78305), (1.531546, 220.11969)),
                               (100, (0.079156, 7.7889), (1.537396, 220.12554))):  # fmt: skip
        table = NasBench201(classes=classes).totals(space.all())
        flops = table["macs"] + classes
        assert (table["params"].min() / 1e6, flops.min() / 1e6) == pytest.approx(low, abs=1e-9)
        assert (table["params"].max() / 1e6, flops.max() / 1e6) == pytest.approx(high, abs=1e-9)


def test_counts_of_classes(space: NasBench201) -> None:
    archs = space.all()
    unique, canonical = space.unique_string(archs), space.canonical(archs)
    assert len(archs) == len(set(archs.keys)) == 15_625
    assert len(set(unique)) == 6_466
    assert len(set(canonical)) == len(set(zip(unique, canonical, strict=True))) - (6_466 - 4_930) == 4_930
    assert len(set(zip(unique, canonical, strict=True))) == 6_466, "a class of canonical is a union of unique strings"
    assert space.connected(archs).sum() == 15_284


def test_unique_string_reproduces_the_published_column(space: NasBench201, public_data: Path) -> None:
    path = public_data / "nats-bench-landscape" / "nats_bench.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here (a public table without a licence: it is not shipped)")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    archs = space.parse([row["ArchitectureString"] for row in rows])
    assert space.unique_string(archs) == [row["UniqueString"] for row in rows]


def test_counts_equal_a_module_written_independently(space: NasBench201) -> None:
    small = NasBench201(cells=1)
    archs = small.sample(200, np.random.default_rng(3))
    table, standard = small.totals(archs), space.totals(Architectures(space, archs.decisions))
    x = torch.zeros(1, 3, 32, 32)
    for i, decisions in enumerate(archs.decisions.tolist()):
        module = Reference(decisions, n=1).eval()
        assert sum(p.numel() for p in Reference(decisions).parameters()) == standard["params"][i]
        assert sum(p.numel() for p in module.parameters()) == table["params"][i]
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(x)
        assert counter.get_total_flops() == table["flops"][i]


@torch.inference_mode()
def test_the_expanded_network_computes_what_the_independent_module_does(space: NasBench201) -> None:
    small = NasBench201(cells=2)
    archs = small.sample(25, np.random.default_rng(4))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    for arch, decisions in zip(archs, archs.decisions.tolist(), strict=True):
        network = small.expand(arch)
        ours, theirs = Network(network, make_weights(network), batch=2), Reference(decisions, n=2).eval()
        for kind in layers:
            pairs = zip(_execution_order(ours, kind), _execution_order(theirs, kind), strict=True)
            for one, other in pairs:
                other.load_state_dict(one.state_dict())
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def _execution_order(module: nn.Module, kind: type) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, kind)]


def test_op_names_are_the_benchmark_s_own() -> None:
    assert OPS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
