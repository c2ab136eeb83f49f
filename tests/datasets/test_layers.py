"""Single layers: PerfNetRT's tables, the limits, and that runtimes compute them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from datasets.blocks.layers import LayerSpace
from datasets.records import Architectures, InputError
from datasets.spaces import parse_space
from datasets.spaces.convolution import Convolution
from datasets.spaces.dense import Dense
from datasets.spaces.pooling import Pooling
from measure.backends.eager import Eager
from measure.backends.ort import OnnxRuntime
from measure.base import Backend

every_layer = pytest.mark.parametrize("kind", [Convolution, Pooling, Dense], ids=lambda kind: kind.kind)


def test_the_ranges_are_the_paper_s() -> None:
    """Section IV.B counts 7.33e14 convolutions, as Table I does; its 7.33e10 pooling and 2.14e9 dense layers are twice
    and half of what Tables II and III allow."""
    assert math.prod(Convolution.num_choices) == pytest.approx(7.33e14, rel=2e-3)
    assert math.prod(Pooling.num_choices) == pytest.approx(7.33e10 / 2, rel=2e-3)
    assert math.prod(Dense.num_choices) == pytest.approx(2.14e9 * 2, rel=5e-3)


@every_layer
def test_samples_keep_the_limits_reach_the_ends_and_only_grow(kind: type[LayerSpace]) -> None:
    space = kind(megabytes=64, megamacs=500)
    archs = space.sample(3000, np.random.default_rng(0))
    assert archs[:200] == space.sample(200, np.random.default_rng(0))
    totals, table = space.totals(archs), space.table(archs)
    assert (totals["peak_bytes"] + 4 * totals["params"]).max() <= 64e6 and totals["macs"].max() <= 500e6
    for feature in space.features:
        values = table[feature.column]
        assert values.min() == feature.low and values.max() >= 0.9 * feature.high
        if feature.log:  # every fourfold range has its share (the limits take some of the largest)
            assert (np.histogram(values, 4.0 ** np.arange(0, math.log(feature.high, 4) + 1))[0] > 90).all(), feature


@every_layer
def test_layers_beyond_a_smaller_space_are_the_others(kind: type[LayerSpace]) -> None:
    small = kind(megabytes=16, megamacs=20)
    large = kind(megabytes=64, megamacs=500, beyond_megabytes=16, beyond_megamacs=20)
    assert parse_space(str(large)) == large and large.smaller() == small == small.smaller()
    archs = large.sample(300, np.random.default_rng(0))
    assert large.feasible(archs).all() and not small.feasible(archs).any()
    assert replace(large, beyond_megabytes=0, beyond_megamacs=0).feasible(archs).all()
    memory_alone = replace(large, beyond_megamacs=0).sample(100, np.random.default_rng(0))
    assert (large.totals(memory_alone)["peak_bytes"] + 4 * large.totals(memory_alone)["params"]).min() > 16e6


def test_dense_layers_may_be_wider_than_the_paper_s() -> None:
    space = parse_space("dense(megabytes=512,megamacs=15000,widest=32768)")
    archs = space.sample(2000, np.random.default_rng(0))
    assert parse_space(str(space)) == space and space.table(archs)["dimension_input"].max() > 20_000
    assert space.parse(archs.keys) == archs and max(Dense().num_choices) == 4096
    first = "batch=64,in=25088,out=4096,act=relu,bias=1"  # VGG16's first dense layer
    assert space.expand(space.parse([first])[0]).ops[1].attrs["shape"] == (4096,)
    with pytest.raises(InputError, match="in=1..4096"):
        Dense().parse([first])


@pytest.mark.parametrize(
    "text, why",
    [
        ("dense(megabytes=128,megamacs=400,beyond_megamacs=400)", "no layers"),
        ("convolution(megabytes=8,megamacs=9,beyond_megabytes=8,beyond_megamacs=9)", "no layers"),
        ("dense(megabytes=512,megamacs=15000,beyond_megamacs=2000)", "hardly any"),
    ],
)
def test_limits_that_leave_no_layers_are_one_sentence(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_space(text).sample(1, np.random.default_rng(0))


@every_layer
@pytest.mark.parametrize("backend", [OnnxRuntime(), Eager()], ids=lambda backend: backend.runtime)
def test_runtimes_compute_every_layer_with_its_own_batch(kind: type[LayerSpace], backend: Backend) -> None:
    space = kind(megabytes=2, megamacs=5)
    archs = space.sample(12, np.random.default_rng(1))
    for arch, batch in zip(archs, space.table(archs)["batch_size"], strict=True):
        assert backend.session(space.expand(arch)).fetch()[0].shape[0] == batch, arch.key


def test_a_layer_whose_output_is_zero_is_no_failure() -> None:
    network = Pooling().expand(Pooling().parse(["batch=1,size=1,kernel=1,in=1,stride=1,pad=same,act=relu"])[0])
    outputs = [OnnxRuntime().session(network, seed).fetch()[0].item() for seed in range(8)]
    assert min(outputs) == 0 < max(outputs)


def test_a_convolution_s_features_and_its_network() -> None:
    space = Convolution()
    archs = space.parse(["batch=4,size=57,kernel=3,in=64,out=128,stride=2,pad=same,act=relu,bias=1"])
    assert space.table(archs).iloc[0].to_dict() == {
        "batch_size": 4, "matrix_size": 57, "kernel_size": 3, "channel_input": 64, "channel_output": 128, "strides": 2,
        "padding": 1, "activate_function": 1, "bias": 1}  # fmt: skip
    (op,) = archs[0].ops
    assert op.kind == "convolution" and op.attrs == space.table(archs).iloc[0].to_dict()
    network = space.expand(archs[0])
    assert [(op.kind, op.attrs["shape"]) for op in network.ops] == [
        ("input", (64, 57, 57)), ("conv", (128, 29, 29)), ("relu", (128, 29, 29))]  # fmt: skip
    assert space.totals(archs)["macs"][0] == 4 * 29**2 * 128 * 64 * 9


def test_padding_that_adds_nothing_does_not_matter() -> None:
    space = Pooling()
    text = "batch=1,size={},kernel=2,in=8,stride=2,pad={},act=none"
    even, odd = ([text.format(size, pad) for pad in ("same", "valid")] for size in (8, 9))
    one, other = space.canonical(space.parse(even))
    assert one == other == even[1]
    assert space.canonical(space.parse(odd)) == odd


def test_a_layer_without_output_or_a_limit_without_layers_is_one_sentence() -> None:
    text = "batch=1,size=2,kernel=5,in=8,stride=1,pad=valid,act=none"
    with pytest.raises(InputError, match="has no output: its window does not fit in its input; write pad=same"):
        Pooling().parse([text])
    impossible = Architectures(Pooling(), np.array([[0, 1, 4, 7, 0, 0, 0]]))
    assert impossible.keys == [text] and not Pooling().feasible(impossible).any()
    with pytest.raises(InputError, match="megabytes has to be between 1 and"):
        parse_space("dense(megabytes=0)")
