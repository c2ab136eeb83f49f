"""Single operations: what runtimes compute, how they are sampled, and that their tables are data sets."""

from pathlib import Path

import numpy as np
import pytest

from datasets.blocks.operations import Operation
from datasets.measured import Measured
from datasets.networks.onnx_file import read_onnx
from datasets.records import Architectures
from datasets.spaces import parse_space, save_operation
from datasets.spaces.attention import Attention
from datasets.spaces.cached_attention import CachedAttention
from datasets.spaces.elementwise import Elementwise
from datasets.spaces.linear import Linear
from datasets.spaces.smooth import Smooth
from encoders.layer import LayerPhysics
from measure.backends.eager import Eager
from measure.backends.ort import OnnxRuntime
from measure.backends.ov import OpenVino
from measure.base import Backend
from predictors.trees import XGBoost
from tests.conftest import implementations, made_up, needs, run

OPERATIONS = implementations("datasets.spaces", Operation)
every_operation = pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.kind)


def of_every_word(space: Operation) -> Architectures:
    """Small operations in which every word occurs, few as they are."""
    archs, words = space.sample(300, np.random.default_rng(3)), set[tuple[int, int]]()
    chosen = []
    for row, decisions in enumerate(archs.decisions.tolist()):
        own = {(i, decisions[i]) for i, f in enumerate(space.features) if f.words}
        if not own <= words or len(chosen) < 2:
            words |= own
            chosen.append(row)
    assert len(words) == sum(len(f.words) for f in space.features)
    return archs[np.array(chosen)]


@every_operation
@pytest.mark.parametrize("backend", [OnnxRuntime(), OpenVino()], ids=lambda backend: backend.runtime)
def test_runtimes_compute_operations_of_every_word(kind: type[Operation], backend: Backend) -> None:
    needs(*backend.packages)
    space = kind(megabytes=1, megamacs=4)
    for arch in of_every_word(space):
        assert backend.session(space.expand(arch)).fetch()[0].size, arch.key


@every_operation
def test_an_operation_s_network_is_that_of_its_file(kind: type[Operation], tmp_path: Path) -> None:
    space = kind(megabytes=1, megamacs=4)
    for arch in of_every_word(space)[:4]:
        network = space.expand(arch)
        shapes = save_operation(network, tmp_path / "operation.onnx")
        model = read_onnx(tmp_path / "operation.onnx")
        assert (model.network.to_json(), model.shapes) == (network.to_json(), shapes), arch.key


@every_operation
def test_half_of_the_channels_are_multiples_and_the_limits_are_kept(kind: type[Operation]) -> None:
    space = kind(megabytes=64, megamacs=500)
    archs = space.sample(2000, np.random.default_rng(0))
    assert archs[:200] == space.sample(200, np.random.default_rng(0))
    totals, values = space.totals(archs), space.values(archs)
    assert (totals["peak_bytes"] + 4 * totals["params"]).max() <= 64e6 and totals["macs"].max() <= 500e6
    for f in space.features:
        if f.multiples and f.high > 64:
            assert 0.4 < np.mean(values[f.name] % 8 == 0) < 0.8, f.name
        assert values[f.name].min() < f.low + 0.1 * (f.high - f.low), f.name


def test_a_side_as_long_as_the_batch_is_not_taken_for_it() -> None:
    space = Elementwise()
    (arch,) = space.parse(["batch=16,channels=4,size=16,function=div,second=row"])
    assert OnnxRuntime().session(space.expand(arch)).fetch()[0].shape == (16, 4, 16, 16)


def test_attention_written_out_computes_what_the_op_does() -> None:
    for space, key in (
        (Attention(), "batch=2,heads=2,group=4,size=40,rows=6,mask=causal,form="),
        (Attention(), "batch=2,heads=2,group=4,size=40,rows=6,mask=added,form="),
        (CachedAttention(), "batch=2,heads=2,group=4,size=40,rows=3,past=9,form="),
    ):
        found = [
            OnnxRuntime().session(space.expand(arch)).fetch() for arch in space.parse([key + "op", key + "written"])
        ]
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_runtime_without_onnx_files_says_that_it_does_not_run_operations() -> None:
    space = Smooth()
    (arch,) = space.parse(["batch=1,rows=4,channels=8,function=gelu"])
    with pytest.raises(Exception, match="eager does not run .onnx files.* a runtime that runs .onnx files themselves"):
        Eager().session(space.expand(arch))


def test_operations_are_predicted_from_their_sizes_words_and_work() -> None:
    space = Linear(megabytes=8, megamacs=50)
    m = made_up(space.sample(60, np.random.default_rng(0)))
    encoder = LayerPhysics()
    assert {"rows", "bias_yes", "inner_mod_8", "macs_elements", "nodes"} <= set(encoder.names(space))
    predictor = XGBoost(encoder=encoder, trees=30).fit(m)
    assert np.isfinite(predictor.predict_all(m.architectures)).all()


def test_a_measured_table_of_operations_is_a_data_set(tmp_path: Path) -> None:
    space, table, journal = "softmax(megabytes=1,megamacs=1)", tmp_path / "softmax.parquet", tmp_path / "journal.jsonl"
    options = ("--space", space, "--subjects.limit", 2, "--timing.protocol", "layer", "--journal", journal)
    measured = run("-m", "measure", "run", *options)
    assert measured.returncode == 0, measured.stderr
    made = run("-m", "measure", "table", "--journal", journal, "--out", table, "--unstable", "true")
    assert made.returncode == 0, made.stderr
    m = Measured(table).measurements()
    assert m.architectures.space == parse_space(space) and len(m.architectures) == 2
    described = run("-m", "datasets", "describe", table)
    assert described.returncode == 0 and "softmax" in described.stdout, described.stderr
