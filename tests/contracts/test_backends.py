"""Contract of `Backend`, on every runtime and precision that is there: it computes the network's output."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from datasets.networks.builder import NetworkBuilder
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import Architecture, Architectures, InputError, Space
from datasets.spaces.convnet import ConvNet
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench101 import NasBench101
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.ofa import OFA
from measure.base import Backend, make_input, reference_network
from measure.campaign import distinct_sample
from measure.timing import Timing
from tests.conftest import implementations
from tests.doubles.network_files import MAKERS

QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
T = TypeVar("T")
TINY = NasBench201(channels=4, cells=1)
BACKENDS = [cls(precision=p, timing=QUICK) for cls in implementations("measure.backends", Backend)
            for p in cls.precisions]  # fmt: skip


def on_each(backends: list[Backend]) -> pytest.MarkDecorator:
    """Runs a test on each backend, skipped with the backend's own reason where it cannot run."""
    cases = []
    for b in backends:
        skip = pytest.mark.skipif(bool(reason := b.unavailable()), reason=reason)
        cases.append(pytest.param(b, marks=skip, id=f"{b.runtime}-{b.precision}"))
    return pytest.mark.parametrize("backend", cases)


def for_some_seconds(items: Iterable[T], seconds: float = 3.0) -> Iterator[T]:
    """The first items until the time is up, at least one: some runtimes take long to build a network."""
    end = time.monotonic() + seconds
    for item in items:
        yield item
        if time.monotonic() > end:
            return


every_quick_backend = on_each([b for b in BACKENDS if not b.slow_to_build])
every_runtime = on_each([b for b in BACKENDS if b.precision == "fp32" and not b.slow_to_build])


@every_quick_backend
@pytest.mark.parametrize("batch", [1, 3])
def test_a_session_computes_what_the_network_says(backend: Backend, batch: int) -> None:
    """Against the numpy reference, on random cells (`session` raises where the output is not the network's)."""
    space = NasBench201(cells=1)
    backend = type(backend)(precision=backend.precision, batch=batch)
    for arch in for_some_seconds(distinct_sample(space, 6, seed=batch)):
        session = backend.session(space.expand(arch), seed=batch)
        assert session.fetch()[0].shape == (batch, 10)


@on_each([b for b in BACKENDS if b.slow_to_build])
def test_what_is_slow_to_build_computes_a_small_network_and_sees_its_input(backend: Backend) -> None:
    network = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
    session = backend.session(network)
    first = session.fetch()[0]
    session.bind([backend.layout(make_input(network, 1, seed=99))])
    session.run()
    assert np.abs(session.fetch()[0] - first).max() > 0.01


@every_runtime
@pytest.mark.parametrize("space", [FBNet(image=32, classes=10, reduction=8), OFA(classes=10)], ids=str)
def test_every_op_of_the_chains_computes_what_it_should(backend: Backend, space: Space) -> None:
    """Squeeze-and-excitation, h-swish, channel shuffles, grouped convolutions and odd images, in both builders."""
    archs = space.sample(3, np.random.default_rng(0)).decisions.copy()
    if isinstance(space, OFA):
        archs[:, -1] = 1  # 132 pixels: odd after two halvings
    else:
        archs[:, ::5] = 1  # k3_e1_g2
    backend = type(backend)(batch=2, timing=QUICK)
    for arch in for_some_seconds(Architectures(space, archs)):
        assert backend.session(space.expand(arch)).fetch()[0].shape == (2, 10)


@every_runtime
@pytest.mark.parametrize(
    "key",
    ["k3s1_w10_silu|s2_plain_k3_w8_x1|max3_biased_k5_w14_x1|avg2_basic_k7_w8_x2|s2_bottleneck_k3_w12_x1"
     "|s1_separable_k5_w10_x1|flat_d128_d0",
     "k4s4_w8_tanh|s1_inverted_k3_w8_x2|avg2_excited_k5_w8_x2|max3_fire_k7_w20_x1|s2_branched_k3_w10_x1"
     "|s2_separable_k7_w8_x1|gap_d0_d0"],
)  # fmt: skip
def test_every_block_of_random_networks_computes_what_it_should(backend: Backend, key: str) -> None:
    """On images that are odd on the way, which paddings of every kind follow from."""
    space = ConvNet(image=29, classes=10)
    backend = type(backend)(batch=2, timing=QUICK)
    assert backend.session(space.expand(space.parse([key])[0])).fetch()[0].shape == (2, 10)


@every_runtime
def test_cells_that_truncate_project_and_concatenate(backend: Backend) -> None:
    """Seven channels are shared by three vertices; the first vertex is wider than two of those that read it."""
    space = NasBench101(channels=7, cells=1, image=9)
    keys = ["conv3x3+maxpool3x3+conv1x1+conv3x3:0.1.01.1.0234", ":0", *space.sample(3, np.random.default_rng(0)).keys]
    for arch in space.parse(keys):
        network = space.expand(arch)
        assert backend.session(network).fetch()[0].shape == (1, 10)
        assert arch.key != keys[0] or "truncate" in {op.kind for op in network.ops}


def every_op() -> Architecture:
    """One network with all of the vocabulary, kernels and paddings that are not square among it."""
    net = NetworkBuilder()
    x = net.add("input", (4, 13, 11))
    x = net.add("conv", (8, 7, 9), x, kernel=(3, 5), stride=(2, 1), pad=(1, 2, 1, 0), bias=1)
    x = net.add("conv", (8, 7, 9), net.pointwise("relu6", x), kernel=3, pad=2, dilation=2, groups=4)
    x = net.pointwise("bn", net.pointwise("silu", x))
    y = net.pool("max_pool", x, 3, 2, (0, 1, 1, 1))
    z = net.pool("avg_pool", x, 3, 2, (0, 1, 1, 1))
    x = net.concat(net.pointwise("tanh", y), z, net.pointwise("sigmoid", y))
    x = net.add("pad", (24, 4, 5), x, pad=(-1, 1, 2, -1))
    x = net.pointwise("shuffle", net.pool("max_pool", x, 2, 1, 1), groups=3)
    x = net.add("avg_pool", (24, 5, 6), x, kernel=3, pad=1, include_pad=1)
    x = net.add("truncate", (23, 5, 6), x)
    x = net.add("dense", (16,), net.pointwise("hswish", x))
    net.pointwise("softmax", x)
    return net.finish("made-up", "every op")


@every_runtime
def test_every_op_of_the_vocabulary_computes_what_it_should(backend: Backend) -> None:
    backend = type(backend)(batch=2, timing=QUICK)
    np.testing.assert_allclose(backend.session(every_op()).fetch()[0].sum(1), 1, rtol=1e-4)


@every_quick_backend
def test_a_session_sees_its_input(backend: Backend) -> None:
    network = reference_network()
    session = backend.session(network)
    first = session.fetch()[0]
    x = backend.layout(make_input(network, 1, seed=99))
    session.bind([x])
    x[:] = 0  # the caller's memory is the caller's again
    session.run()
    assert np.abs(session.fetch()[0] - first).max() > 0.01
    np.testing.assert_array_equal(session.fetch()[0], session.fetch()[0])


@on_each([b for b in BACKENDS if b.files and b.precision == "fp32"])
def test_files_with_several_inputs_and_outputs_run_as_they_are(backend: Backend, tmp_path: Path) -> None:
    for suffix in backend.files:
        model = read_model(MAKERS[suffix](tmp_path / f"network{suffix}"), 1, sizes=Sizes(size="sequence=6"))
        found = backend.loaded(partial(backend.built, model))
        assert backend.own_file(model) == model.source and found.notes == ()
        assert len(found.inputs) == len(found.session.fetch()) == 2
        before = [y.copy() for y in found.session.fetch()]
        found.session.bind([np.zeros_like(x) for x in found.inputs])
        found.session.run()
        assert not np.array_equal(before[0], found.session.fetch()[0])


@every_quick_backend
def test_a_live_device_is_a_cost(backend: Backend) -> None:
    archs = distinct_sample(TINY, 2, seed=0)
    cost = backend.on(backend.device())
    assert (cost(archs) > 0).all()
    with pytest.raises(InputError, match="measures latency_ms of"):
        backend.on(backend.device(), "energy_mj")
