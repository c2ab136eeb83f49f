"""Contract of `Space`, on every space that is there, and what is published about each."""

import csv
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datasets.networks.analysis import totals
from datasets.public.help import CIFAR_FBNET
from datasets.records import Architecture, Architectures, InputError, Space
from datasets.spaces import LIMITS, parse_space
from datasets.spaces.convnet import STAGES, ConvNet
from datasets.spaces.convolution import Convolution
from datasets.spaces.dense import Dense
from datasets.spaces.efficientnet import EfficientNet
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench101 import NasBench101
from datasets.spaces.nasbench201 import OPS, NasBench201
from datasets.spaces.ofa import OFA
from datasets.spaces.pooling import Pooling
from datasets.triple import to_triple
from measure.builders.torch_module import NetworkModule
from measure.builders.weights import make_weights
from tests.conftest import implementations
from tests.references import fbnet as reference_fbnet
from tests.references import nasbench101 as reference_nasbench101
from tests.references import nasbench201 as reference_nasbench201
from tests.references import ofa as reference_ofa

SPACES = [one for cls in implementations("datasets.spaces", Space) for one in cls.examples()]
every_space = pytest.mark.parametrize("space", SPACES, ids=str)


@every_space
def test_text_form_comes_back(space: Space) -> None:
    assert parse_space(str(space)) == space
    assert parse_space(type(space).__module__.split(".")[-1]) == type(space)()


@every_space
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 20))
def test_parse_is_the_inverse_of_format(space: Space, seed: int, n: int) -> None:
    archs = space.sample(n, np.random.default_rng(seed))
    assert space.parse(archs.keys) == archs
    assert [arch.key for arch in archs] == archs.keys


@every_space
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_decisions_can_be_repaired_and_what_is_valid_stays(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.integers(0, space.num_choices, (20, len(space.num_choices)))
    assert len(Architectures(space, space.repair(free))) == 20
    archs = space.sample(20, rng)
    assert Architectures(space, space.repair(archs.decisions)) == archs


@every_space
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mutation_is_a_neighbour_and_neighbours_are_mutual(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    archs = space.sample(5, rng)
    mutants = space.mutate(archs, rng)
    near = space.neighbours(archs[:1])
    assert len(set(near.keys)) == len(near) and archs.keys[0] not in near.keys
    assert len(mutants) == 5 and mutants.keys[0] in near.keys
    assert archs.keys[0] in space.neighbours(near[[rng.integers(len(near))]]).keys
    assert space.feasible(archs).all() and space.feasible(mutants).all() and space.feasible(near).all()
    one_off = one_decision_off(space, archs.decisions[0])
    assert set(one_off) <= {tuple(row) for row in near.decisions.tolist()}
    if type(space).valid is Space.valid:  # where decisions are free, nothing else is near
        assert len(near) == len(one_off)
        assert ((archs.decisions != mutants.decisions).sum(1) == 1).all()


def one_decision_off(space: Space, row: np.ndarray) -> list[tuple[int, ...]]:
    """All architectures that can exist and differ from one in one decision, by trying."""
    changes = [(i, value) for i, n in enumerate(space.num_choices) for value in range(n) if value != row[i]]
    tried = np.repeat(row[None], len(changes), axis=0)
    tried[np.arange(len(tried)), [i for i, _ in changes]] = [value for _, value in changes]
    tried = Architectures(space, tried[space.valid(tried)])
    return [tuple(row) for row in tried.decisions[space.feasible(tried)].tolist()]


@every_space
def test_graphs_are_acyclic_and_architectures_in_topological_order(space: Space) -> None:
    archs = space.sample(50, np.random.default_rng(0))
    if space.kinds:
        kinds, adjacency = space.graph(archs)
        assert kinds.shape == adjacency.shape[:2] and kinds.max() < len(space.kinds)
        assert not np.linalg.matrix_power(adjacency[0].astype(int), adjacency.shape[1]).any()
    else:
        with pytest.raises(InputError, match="choose an encoder or a predictor that reads no graph"):
            space.graph(archs)
    for arch in archs:
        for view in (arch, space.expand(arch)):
            assert all(source < target for source, target, _ in view.edges)
            for op, sources in zip(view.ops, view.sources(), strict=True):
                assert op.kind != "add" or len(sources) == 2
                assert min(op.attrs.get("shape", (1,))) > 0


@every_space
def test_vectorised_totals_are_those_of_the_expanded_network(space: Space) -> None:
    archs = space.sample(60, np.random.default_rng(1))
    table = space.totals(archs)
    for i, arch in enumerate(archs):
        assert table.iloc[i].to_dict() == totals(space.expand(arch))


@every_space
def test_what_is_left_of_live_architectures_is_all_of_them(space: Space) -> None:
    archs = space.sample(60, np.random.default_rng(2))
    live = space.live(archs)
    assert space.canonical(live) == space.canonical(archs) and space.live(live).keys == live.keys
    assert (space.totals(live)["macs"] <= space.totals(archs)["macs"]).all()


def test_dead_branches_are_not_live(space: NasBench201) -> None:
    """Node 1 leads nowhere; nothing leads to node 2."""
    dead = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    assert space.live(space.parse([dead])).keys == ["|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"]
    archs = space.all()
    whole, live = space.totals(archs), space.totals(space.live(archs))
    assert (live["macs"] < whole["macs"]).sum() == 4_250 and len(set(space.live(archs).keys)) == 9_445
    constant = ~space.connected(archs)
    assert set(space.live(archs[np.flatnonzero(constant)]).keys) == {"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"}


@every_space
def test_no_architectures_are_no_rows(space: Space) -> None:
    none = space.sample(0, np.random.default_rng(0))
    assert len(space.totals(none)) == len(none.keys) == len(space.canonical(none)) == len(space.connected(none)) == 0
    if space.kinds:
        assert space.graph(none)[0].shape == space.graph(space.sample(1, np.random.default_rng(0)))[0][:0].shape


MALFORMED = [
    "", "|a~0|", "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|", "x" * 500, "skip|skip", "r128",
    "|".join(["k3_e1", *["k9_e1,k3_e1,k3_e1,k3_e1"] * 5, "skip"]), "|".join(["r128", *["k3e3;k3e3,k3e3,k3e3"] * 5]),
    "conv3x3+conv5x5:0.1.2", "conv3x3:0.1.1", "conv3x3:1.0", "conv3x3:0.01.2", "conv3x3:0", "conv3x3+conv3x3:0.0.1",
    "+".join(["conv3x3"] * 5) + ":0.01.012.01.012.5", "+".join(["conv3x3"] * 6) + ":0.1.2.3.4.5.6",
    "|".join(["k3s2_w16_relu", *["s1_plain_k3_w16_x1"] * 4, "gap_d0_d0"]),
    "_".join(["k3s2|w16|relu", *["s1_plain_k3_w16_x1"] * 5, "gap_d0_d0"]),
    "|".join(["k3s2_w16_relu", *["s1_plain_k3_w17_x1"] * 5, "gap_d0_d0"]),
    "|".join(["r130", *["k3e3,k3e3,k3e3,k3e3"] * 5]), "|".join(["r128", *["k3e3,k3e3,k3e5,k3e3"] * 5]),
]  # fmt: skip


@every_space
def test_a_malformed_or_unknown_text_is_one_sentence(space: Space) -> None:
    for key in MALFORMED:
        with pytest.raises(
            InputError, match=r"is not an? (\w|-)+ (cell|network|layer); write|is not an? (op|block) of"
        ):
            space.parse([key])


@every_space
@settings(deadline=None, max_examples=40)
@given(
    st.text()
    | st.text("k3567_e12sipr,;|g48")
    | st.text("batch=in0123,o")
    | st.from_regex(r"k[34]s[124]_w(8|9)_relu(\|s1_plain_k[34]_w8_x1){5}\|gap_d0_d[01]", fullmatch=True)
    | st.from_regex(r"((conv3x3|conv1x1|maxpool3x3)\+){0,2}conv3x3:0(\.[0-6]{1,3}){1,4}", fullmatch=True)
)
def test_any_other_text_is_refused_not_misread(space: Space, text: str) -> None:
    try:
        archs = space.parse([text])
    except InputError:
        return
    assert archs.keys == [text]


@pytest.mark.parametrize(
    "text",
    [
        "nasbench999",
        "nasbench201(cells=x)",
        "nasbench201(depth=3)",
        "nasbench201)",
        "../x",
        "fbnet(reduction=4)",
        "nasbench101(channels=4)",
        "nasbench101(cells=0)",
        "convnet(image=0)",
        "__init__",
        "_x",
        "nasbench201(image=0)",
        "nasbench201(channels=0)",
        "nasbench201(cells=100000)",
        "nasbench201(image=3)",
        "nasbench201(5)",
        "nasbench201(cells=5,)",
        "nasbench201(cells=5,cells=6)",
        "nasbench201(cells=1_0)",
        "nasbench201(cells=" + "9" * 5000 + ")",
        "x" * 10_000,
        "",
        5,
        None,
    ],
)
def test_an_unknown_space_or_parameter_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_space(text)
    assert len(str(refused.value)) < 500


@every_space
def test_what_is_no_text_or_a_very_long_one_is_a_short_sentence(space: Space) -> None:
    keys: list[object] = [5, None, 1.5, b"x", ["x"], "", "x" * 10_000, "|" * 10_000, "9" * 5000]
    for key in keys:
        with pytest.raises(InputError) as refused:
            space.parse([key])  # type: ignore[list-item]
        assert len(str(refused.value)) < 500


@every_space
def test_parameters_have_limits_within_which_every_network_has_sizes(space: Space) -> None:
    names = [f.name for f in fields(space) if isinstance(getattr(space, f.name), int)]
    assert set(names) <= set(LIMITS)
    name = type(space).__module__.split(".")[-1]
    for key in names:
        least, most = LIMITS[key]
        for value in (least - 1, most + 1):
            if value != getattr(type(space)(), key):
                why = f"{key} has to be between|twice|no skeleton|leaves no|reduces"
                with pytest.raises(InputError, match=why if value >= 0 else "does not name a space"):
                    parse_space(f"{name}({key}={value})")
        for value in (most,) if key.startswith("mega") else (least, 5, most):  # few layers have little work
            try:
                one = parse_space(f"{name}({key}={value})")
                archs = one.sample(2, np.random.default_rng(0))
            except InputError:
                continue
            totals = one.totals(archs).to_numpy(float)
            assert np.isfinite(totals).all() and (totals >= 0).all()
            for arch in archs:
                assert all(min(op.attrs.get("shape", (1,))) >= 1 for op in one.expand(arch).ops), (str(one), arch.key)


@every_space
def test_decisions_out_of_range_are_refused(space: Space) -> None:
    n = len(space.num_choices)
    with pytest.raises(InputError, match="out of range"):
        Architectures(space, np.array([space.num_choices]))
    with pytest.raises(InputError, match=f"{n} decisions"):
        Architectures(space, np.zeros((1, n - 1)))


# Facts about NAS-Bench-201


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
    unique, canonical = reference_nasbench201.unique_strings(archs), space.canonical(archs)
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
    assert reference_nasbench201.unique_strings(archs) == [row["UniqueString"] for row in rows]


# Every space's network, written a second time


def independent(space: Space, arch: Architecture, decisions: list[int]) -> nn.Module:
    if isinstance(space, NasBench101):
        matrix, (_, *ops, _), _ = to_triple(arch)
        c, stacks, cells, classes = space.channels, space.stacks, space.cells, space.classes
        return reference_nasbench101.Network(matrix.tolist(), ops, c, stacks, cells, classes)
    if isinstance(space, NasBench201):
        return reference_nasbench201.Network(decisions, n=space.cells)
    return (reference_fbnet if isinstance(space, FBNet) else reference_ofa).Network(decisions, space)


def side(space: Space, arch: Architecture) -> int:
    return space.expand(arch).ops[0].attrs["shape"][1]


@pytest.mark.parametrize("space", [NasBench101(), NasBench201(cells=1), FBNet(), OFA()], ids=str)
def test_counts_equal_a_module_written_independently(space: Space) -> None:
    n, forwards = (80, 8) if isinstance(space, NasBench101) else (20, 20)
    archs = space.sample(n, np.random.default_rng(3))
    table = space.totals(archs)
    with torch.device("meta"):  # counts need no numbers
        for i, (arch, decisions) in enumerate(zip(archs, archs.decisions.tolist(), strict=True)):
            module = independent(space, arch, decisions).eval()
            assert sum(p.numel() for p in module.parameters()) == table["params"][i]
            if i >= forwards:
                continue
            macs: list[int] = []
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.register_forward_hook(lambda m, _, y, seen=macs: seen.append(m.weight[0].numel() * y.numel()))
            with torch.inference_mode():
                module(torch.zeros(1, 3, side(space, arch), side(space, arch)))
            assert 2 * sum(macs) == 2 * table["macs"][i] == table["flops"][i]


@pytest.mark.parametrize(
    "space",
    [NasBench101(channels=8, cells=2, image=9), NasBench201(cells=2), CIFAR_FBNET, FBNet(image=96), OFA()],
    ids=str,
)
@torch.inference_mode()
def test_the_expanded_network_computes_what_the_independent_module_does(space: Space) -> None:
    archs = space.sample(10, np.random.default_rng(4))
    if isinstance(space, OFA):  # the two smallest images, of which one is odd on the way
        archs = Architectures(space, np.c_[archs.decisions[:, :-1], np.arange(10) % 2])
    for arch, decisions in zip(archs, archs.decisions.tolist(), strict=True):
        network = space.expand(arch)
        ours, theirs = (
            NetworkModule(network, make_weights(network), batch=2),
            independent(space, arch, decisions).eval(),
        )
        for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
            pairs = zip(_execution_order(ours, kind), _execution_order(theirs, kind), strict=True)
            for one, other in pairs:
                other.load_state_dict(one.state_dict())
        x = torch.randn(2, 3, *[side(space, arch)] * 2, generator=torch.Generator().manual_seed(0))
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def _execution_order(module: nn.Module, kind: type) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, kind)]


def test_op_names_are_the_benchmark_s_own() -> None:
    assert OPS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def test_efficientnet_b0_is_the_published_one() -> None:
    """Parameters and MACs of torchvision's efficientnet_b0 (torchvision counts 0.386 GMACs)."""
    space = EfficientNet()
    b0 = space.parse(["e1k3l1s|e6k3l2s|e6k5l2s|e6k3l3s|e6k5l3s|e6k5l4s|e6k3l1s"])
    counted = totals(space.expand(b0[0]))
    assert counted["params"] == 5_288_548 and round(counted["macs"] / 1e6) == 386
    assert space.graph(b0)[0].shape == (1, 24)


# Facts about FBNet and OFA

FBNETS = {
    "a": "skip|k3_e3,k3_e1,skip,skip|k5_e6,k3_e3,k5_e1,k3_e3|k5_e6,k5_e3,k5_e1_g2,k5_e6|k3_e6,k5_e1_g2,k5_e3,k3_e1_g2"
         "|k5_e6,k5_e6,k5_e3,k5_e6|k5_e6",
    "c": "k3_e1|k3_e6,skip,k3_e1,k3_e1|k5_e6,k5_e3,k5_e6,k3_e6|k5_e6,k5_e3,k5_e6,k5_e6|k5_e6,k5_e6,k5_e6,k5_e3"
         "|k5_e6,k5_e6,k5_e6,k5_e6|k3_e6",
}  # fmt: skip
"""The authors' FBNet-A and -C, as their model definitions give them (facebookresearch/mobile-vision)."""


def test_published_fbnets() -> None:
    """Table 3 of the paper: FBNet-A has 249M multiply-accumulates and 4.3M parameters. FBNet-C's parameters are those
    that timm counts for its port (fbnetc_100, 5.57M)."""
    a = FBNet(head=1504).totals(FBNet().parse([FBNETS["a"]])).iloc[0]
    assert (int(a["macs"] / 1e6), round(a["params"] / 1e6, 1)) == (249, 4.3)
    assert round(FBNet().totals(FBNet().parse([FBNETS["c"]]))["params"][0] / 1e6, 2) == 5.57


def test_where_a_skip_stands_in_its_stage_does_not_matter_but_its_stage_and_convolution_do() -> None:
    space = FBNet()
    moved = FBNETS["a"].replace("k3_e3,k3_e1,skip,skip", "k3_e3,skip,k3_e1,skip")
    first = FBNETS["a"].replace("k3_e3,k3_e1,skip,skip", "skip,k3_e3,k3_e1,skip")
    other, same, different = space.canonical(space.parse([FBNETS["a"], moved, first]))
    assert other == same != different
    kinds, _ = space.graph(space.parse([first]))
    assert [space.kinds[kind] for kind in kinds[0, 1:4]] == ["skip_connect", "skip:16-24", "k3_e3:24-24"]


def test_chains_with_equal_canonical_texts_have_equal_totals() -> None:
    rng = np.random.default_rng(2)
    chains = FBNet().sample(1, rng).decisions.repeat(9**3, axis=0)
    chains[:, 2:5] = np.indices((9, 9, 9)).reshape(3, -1).T  # all blocks behind the first of the second stage
    near = [(space, space.sample(100, rng)) for space in (OFA(), ConvNet())]
    for archs in (
        Architectures(FBNet(), chains),
        *(Architectures(space, [*nets.decisions, *space.mutate(nets, rng).decisions]) for space, nets in near),
    ):
        classes = archs.space.totals(archs).groupby(archs.space.canonical(archs))
        assert (classes.nunique() == 1).all(axis=None) and len(classes) < len(archs)


def test_blocks_beyond_the_depth_do_not_exist() -> None:
    space = OFA()
    rest = "|k3e3,k3e3;k3e3,k3e3" * 4
    archs = space.parse([f"r128|k3e3,k5e4;k7e6,k7e6{rest}", f"r128|k3e3,k5e4;k3e3,k5e3{rest}"])
    one, other = space.canonical(archs)
    assert one == other == "r128|k3e3,k5e4" + "|k3e3,k3e3" * 4
    kinds, _ = space.graph(archs)
    assert (kinds[0] == kinds[1]).all() and space.kinds[kinds[0, 4]] == "skip_connect"
    assert len(space.expand(archs[0]).ops) == space.totals(archs)["kernels"][0] + 1


def test_a_space_too_large_to_list_says_so() -> None:
    with pytest.raises(InputError, match=r"has 1e\+21 architectures, too many to list"):
        FBNet().all()


# Facts about random networks


def test_random_networks_are_as_large_as_they_say_and_more_only_add_to_fewer() -> None:
    space = ConvNet()
    archs = space.sample(300, np.random.default_rng(5))
    macs = space.totals(archs)["macs"] / 1e6
    assert macs.between(1, space.megamacs).all()
    assert min((macs < 30).sum(), (macs > 100).sum()) > 60, "work is spread over two decades"
    assert space.sample(100, np.random.default_rng(5)) == archs[:100]
    with pytest.raises(InputError, match="give it other limits"):
        ConvNet(image=512, megamacs=1).sample(1, np.random.default_rng(0))


def test_layers_of_random_networks_are_layers_of_perfnetrt_s_tables() -> None:
    """All but depthwise convolutions, averages and what has no window: `parse` refuses what is out of range."""
    space, layers, found = ConvNet(image=511), {"conv": Convolution(), "max_pool": Pooling(), "dense": Dense()}, set()
    for arch in Architectures(space, ConvNet().sample(100, np.random.default_rng(6)).decisions):
        network = space.expand(arch)
        for op, sources in zip(network.ops, network.sources(), strict=True):
            if op.kind not in layers or op.attrs.get("groups", 1) > 1:
                continue
            found.add(op.kind)
            shape = network.ops[sources[0]].attrs["shape"]
            values = {
                "size": shape[-1],
                "in": shape[0],
                "bias": 1,
                **op.attrs,
                "batch": 1,
                "pad": "same",
                "act": "none",
            }
            values |= {"in": math.prod(shape)} if op.kind == "dense" else {}
            values["out"] = op.attrs["shape"][0]
            table = layers[op.kind]
            (layer,) = table.parse([",".join(f"{f.name}={values[f.name]}" for f in table.features)])
            *_, ours = table.expand(layer).ops
            assert {"bias": 1, **op.attrs} == {"bias": 1, **ours.attrs}
    assert found == set(layers)


def test_a_stage_that_does_not_exist_may_be_any() -> None:
    space = ConvNet()
    stages = ["s2_basic_k3_w32_x2", "max3_fire_k5_w64_x0", *["s1_plain_k3_w8_x0"] * (STAGES - 2)]
    keys = [["k3s2_w16_relu", *stages, "gap_d128_d0"], ["k3s2_w16_relu", *stages[::-1], "gap_d0_d128"]]
    archs = space.parse(["|".join(key) for key in keys])
    assert space.canonical(archs) == ["k3s2_w16_relu|s2_basic_k3_w32_x2|gap_d128"] * 2
    first, other = (space.expand(arch) for arch in archs)
    assert first.ops == other.ops and first.edges == other.edges
