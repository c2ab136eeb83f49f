"""Measuring, on real runtimes: builders agree, wrong networks are caught, journals survive, tables add up."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets.files.table_file import read_table
from datasets.measured import Measured
from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Model
from datasets.records import Architecture, Architectures, InputError, Space
from datasets.spaces.convnet import ConvNet
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench101 import NasBench101
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.ofa import OFA
from measure.backends import parse_backend
from measure.backends.ort import OnnxRuntime
from measure.base import Backend, WrongOutput, compare_output, expected_output, make_input, reference_network
from measure.builders.numpy_reference import evaluate
from measure.builders.weights import make_weights
from measure.campaign import Journal, distinct_sample, pending, read_journal, run_campaign
from measure.table import differences, repeatability, to_table, write_table
from measure.timing import Repeats, Timing
from studies.measure.study import kill_campaign
from tests.conftest import ROOT, implementations, run

QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
T = TypeVar("T")
TINY = NasBench201(channels=4, cells=1)
BACKENDS = [cls(precision=p, timing=QUICK) for cls in implementations("measure.backends", Backend)
            for p in cls.precisions]  # fmt: skip


def here(backends: list[Backend]) -> pytest.MarkDecorator:
    """A test of each of these backends, skipped with the backend's own reason where it cannot run."""
    cases = []
    for b in backends:
        skip = pytest.mark.skipif(bool(reason := b.unavailable()), reason=reason)
        cases.append(pytest.param(b, marks=skip, id=f"{b.runtime}-{b.precision}"))
    return pytest.mark.parametrize("backend", cases)


def a_few_seconds_of(items: Iterable[T], seconds: float = 3.0) -> Iterator[T]:
    """At least one of them, and no other once the time is up: some runtimes take long to build a network."""
    end = time.monotonic() + seconds
    for item in items:
        yield item
        if time.monotonic() > end:
            return


every_quick_backend = here([b for b in BACKENDS if not b.slow_to_build])
every_runtime = here([b for b in BACKENDS if b.precision == "fp32" and not b.slow_to_build])


@every_quick_backend
@pytest.mark.parametrize("batch", [1, 3])
def test_a_session_computes_what_the_network_says(backend: Backend, batch: int) -> None:
    """Against the numpy reference, on random cells (`session` raises where the output is not the network's)."""
    space = NasBench201(cells=1)
    backend = type(backend)(precision=backend.precision, batch=batch)
    for arch in a_few_seconds_of(distinct_sample(space, 6, seed=batch)):
        session = backend.session(space.expand(arch), seed=batch)
        assert session.fetch().shape == (batch, 10)


@here([b for b in BACKENDS if b.slow_to_build])
def test_what_is_slow_to_build_computes_a_small_network_and_sees_its_input(backend: Backend) -> None:
    network = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
    session = backend.session(network)
    first = session.fetch()
    session.bind(make_input(network, 1, seed=99))
    session.run()
    assert np.abs(session.fetch() - first).max() > 0.01


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
    for arch in a_few_seconds_of(Architectures(space, archs)):
        assert backend.session(space.expand(arch)).fetch().shape == (2, 10)


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
    assert backend.session(space.expand(space.parse([key])[0])).fetch().shape == (2, 10)


@every_runtime
def test_cells_that_truncate_project_and_concatenate(backend: Backend) -> None:
    """Seven channels are shared by three vertices; the first vertex is wider than two of those that read it."""
    space = NasBench101(channels=7, cells=1, image=9)
    keys = ["conv3x3+maxpool3x3+conv1x1+conv3x3:0.1.01.1.0234", ":0", *space.sample(3, np.random.default_rng(0)).keys]
    for arch in space.parse(keys):
        network = space.expand(arch)
        assert backend.session(network).fetch().shape == (1, 10)
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
    np.testing.assert_allclose(backend.session(every_op()).fetch().sum(1), 1, rtol=1e-4)


@every_quick_backend
def test_a_session_sees_its_input(backend: Backend) -> None:
    network = reference_network()
    session = backend.session(network)
    first = session.fetch()
    x = make_input(network, 1, seed=99)
    session.bind(x)
    x[:] = 0  # the caller's memory is the caller's again
    session.run()
    assert np.abs(session.fetch() - first).max() > 0.01
    np.testing.assert_array_equal(session.fetch(), session.fetch())


@pytest.mark.parametrize("fault", ["shape", "scale", "nan", "zero"])
def test_a_wrong_output_is_caught(fault: str) -> None:
    network = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
    weights, x = make_weights(network), make_input(network, 2)
    y = evaluate(network, weights, x)
    assert compare_output(y, expected_output(Model(network, weights), x), "fp32") == 0
    faults = {"shape": y[:1], "scale": 1.01 * y, "nan": np.where(y > 0, np.nan, y), "zero": 0 * y}
    with pytest.raises(WrongOutput, match="off by|has shape"):
        compare_output(faults[fault], expected_output(Model(network, weights), x), "fp32")


def test_an_empty_model_is_a_failed_row_not_a_fast_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import measure.builders.onnx_graph as onnx_graph

    build = onnx_graph.build_onnx

    def empty(network, weights, batch=1):
        model = build(network, weights, batch)
        if len(network.ops) > len(reference_network().ops):  # the reference stays sound
            for tensor in model.graph.initializer:
                tensor.raw_data = bytes(len(tensor.raw_data))
        return model

    monkeypatch.setattr(onnx_graph, "build_onnx", empty)
    journal = Journal(tmp_path / "journal.jsonl")
    space = NasBench201(cells=2)
    archs, backends = distinct_sample(space, 1, 0), [OnnxRuntime(timing=QUICK)]
    (row,) = run_campaign(archs, pending(archs, backends, journal), journal)
    assert row["error"].startswith("WrongOutput: The output is off by")
    assert "raw_ms" not in row
    assert pending(archs, backends, journal) == [] and len(pending(archs, backends, journal, retry=True)) == 1


@every_quick_backend
def test_a_live_device_is_a_cost(backend: Backend) -> None:
    archs = distinct_sample(TINY, 2, seed=0)
    cost = backend.on(backend.device())
    assert (cost(archs) > 0).all()
    with pytest.raises(InputError, match="measures latency_ms of"):
        backend.on(backend.device(), "energy_mj")


class Clockwork:
    """A session whose every run takes the next of given milliseconds of CPU time."""

    def __init__(self, *milliseconds: float) -> None:
        self.milliseconds = list(milliseconds)
        self.runs = 0

    def run(self) -> None:
        end = time.process_time() + self.milliseconds[self.runs % len(self.milliseconds)] / 1000
        self.runs += 1
        while time.process_time() < end:
            pass


def test_timing_pairs_every_run_and_reports_the_ratio() -> None:
    network, reference = Clockwork(2.0), Clockwork(1.0)
    repeats = Timing(warmup=2, pairs=11)(network.run, reference.run)
    pairs = len(repeats.clocks)
    assert 11 <= pairs <= 22 and repeats.clocks.shape[1] == 4  # what was preempted is measured again
    found = 2 + 3  # warm-up, and how many runs make one reading: one
    assert network.runs >= found + 11 * repeats.rounds
    assert reference.runs - found == 2 * (network.runs - found)  # each time once untimed
    assert repeats.ratio == pytest.approx(2.0, rel=0.1)


def test_an_unstable_round_is_repeated_up_to_the_bound() -> None:
    wild = Clockwork(0.6, 6.0)
    repeats = Timing(warmup=0, pairs=10, max_rounds=3)(wild.run, Clockwork(0.6).run)
    assert repeats.rounds == 3 and repeats.deviation > 0.1
    calm = Timing(warmup=0, pairs=10, max_rounds=3, max_deviation=2.0)(Clockwork(0.6, 6.0).run, Clockwork(0.6).run)
    assert calm.rounds == 1


def test_preempted_pairs_are_dropped() -> None:
    timing = Timing(pairs=4)
    clocks = np.array([[1.0, 1.0, 0.5, 0.5], [3.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.9, 0.5], [1.01, 1.0, 0.5, 0.5]])
    kept = timing.undisturbed(clocks[:, [0, 2]], clocks[:, [1, 3]])
    assert kept.tolist() == [True, False, False, True]
    repeats = Repeats(clocks, kept, 1)
    assert repeats.ratio == 2.0 and repeats.raw_ms == pytest.approx(1.005)


def test_sampling_is_distinct_connected_and_grows() -> None:
    few, many = distinct_sample(TINY, 20, seed=3), distinct_sample(TINY, 50, seed=3)
    assert many.keys[:20] == few.keys
    assert len(set(TINY.canonical(many))) == 50 and TINY.connected(many).all()
    with pytest.raises(InputError, match="ask for fewer than 6000"):
        distinct_sample(TINY, 6000, seed=0)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("ort:int4", "Backend ort has no precision 'int4'; it has fp32, int8"),
        ("orrt", "There is no backend 'orrt'; there are .*compiled, "),
        ("ort:fp32:x", "does not name a backend"),
        ("ort:fp32:1:2", "does not name a backend"),
    ],
)
def test_an_unknown_backend_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_backend(text, "host")
    assert parse_backend("ort:int8:4", "pc").device().name == "pc_ort_int8_4"


# Journals


def test_a_torn_line_is_cut_off_and_whole_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    row = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "metric": "latency_ms", "error": "it failed"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row)[:17])
    journal = Journal(path)
    assert journal.rows == [row]
    journal.append({**row, "repeat": 1})
    assert [r["repeat"] for r in read_journal(path)] == [0, 1]


def test_a_foreign_file_or_a_second_writer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(InputError, match="line 1 is not a row of a journal"):
        Journal(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "hello\n"
    first = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(InputError, match="Another process is writing"):
        Journal(tmp_path / "journal.jsonl")
    first.file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    row = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "metric": "latency_ms", "error": "it failed"}
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(row)
    with Path("/dev/full").open("ab", buffering=0) as full:
        journal.file, whole = full, journal.file
        with pytest.raises(
            InputError, match="No space left on device. Make room .* the 1 rows measured so far are safe"
        ):
            journal.append(row)
        journal.file = whole
    journal.append(row)
    assert read_journal(journal.path) == [row, row]


def test_a_campaign_whose_disk_fills_up_keeps_whole_rows_and_goes_on(tmp_path: Path) -> None:
    """Files may not grow beyond a limit: the system's own error in the middle of a row."""
    path = tmp_path / "journal.jsonl"
    command = ("-m", "measure", "run", "--space", str(TINY), "--limit", "4", "--journal", path)
    size = 2_000_000  # what a journal full of earlier rows leaves room for: two rows and a half
    earlier = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "error": "x" * (size - 13_000)}
    path.write_text(json.dumps(earlier) + "\n")
    done = run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert done.returncode == 2 and "error: Cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
    saved = read_journal(path)
    assert 1 < len(saved) < 5 and path.read_bytes().endswith(b"\n")
    assert run(*command).returncode == 0
    assert read_journal(path)[: len(saved)] == saved and len(read_journal(path)) == 5


def test_kill_nine_loses_doubles_and_tears_nothing(tmp_path: Path) -> None:
    """A real campaign, killed at random moments, then run to its end; `python -m studies.measure.study` kills more."""
    told = kill_campaign(tmp_path / "journal.jsonl", kills=3)
    assert told["kills"] == 3 and told["rows"] >= 40
    assert told["lost"] == told["doubled"] == told["torn"] == 0


def test_ctrl_c_stops_in_words_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    command = [sys.executable, "-m", "measure", "run", "--space", str(TINY), "--limit", "20", "--journal", str(path)]
    # A shell's background jobs ignore SIGINT and hand that on; a person's terminal does not.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **heed)
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.endswith("error: Interrupted; run the same command again to go on.\n")
    measured = len(read_journal(path))
    assert 0 < measured < 20
    assert f"{20 - measured} rows measured (0 failed" in run(*command[1:]).stdout


# The command line and the table


def test_measure_resume_tabulate_and_read(tmp_path: Path) -> None:
    journal, table = tmp_path / "journal.jsonl", tmp_path / "cells.parquet"
    command = ("-m", "measure", "run", "--space", str(TINY), "--backend", "ort,ort:int8", "--limit", "3",
               "--timing.repeats", "2", "--host", "pc", "--journal", journal)  # fmt: skip
    first = run(*command)
    assert "12 rows measured (0 failed" in first.stdout, first.stdout + first.stderr
    assert "0 rows measured (0 failed, 0 unstable); 12 in" in run(*command).stdout

    rows = [{**row, "stable": True} for row in read_journal(journal)]  # tiny networks on a busy machine are not
    values, meta = to_table(rows)
    assert len(values) == 6 and set(values["repeats"]) == {2}
    assert {d["name"] for d in meta["devices"]} == {"pc_ort_fp32_1", "pc_ort_int8_1"}
    assert ((values["p10"] <= values["value"]) & (values["value"] <= values["p90"])).all()
    write_table(values, meta, table)
    m = Measured(table).measurements()
    assert m.matrix("latency_ms").shape == (3, 2) and str(m.architectures.space) == str(TINY)
    assert "protocol" in json.loads(pq.read_schema(table).metadata[b"gnomon"])

    judged = repeatability(values)
    assert list(judged["cells"]) == [3, 3] and (judged["corrected_worst"] >= judged["corrected_median"]).all()
    printed = run("-m", "measure", "repeatability", "--file", table)
    assert "pc_ort_int8_1" in printed.stdout, printed.stderr


def row(key: str, ratio: float, reference: float, **more: object) -> dict:
    return {"space": "nasbench201", "key": key, "device": {"name": "d", "family": "f", "kind": "k"}, "repeat": 0,
            "metric": "latency_ms", "ratio": ratio, "raw_ms": ratio * reference, "reference_ms": reference,
            "deviation": 0.01, "quantiles": [ratio] * 4, "stable": True, "date": "2026-01-01", "protocol": {},
            "versions": {}, "host": {}, **more}  # fmt: skip


def test_drift_is_taken_out_and_bad_rows_are_counted() -> None:
    """The second cell was measured while the machine ran at half speed: its milliseconds are told at median speed."""
    rows = [row("a", 2.0, 1.0), row("b", 2.0, 2.0), row("c", 3.0, 1.0)]
    failed = {"space": "s", "key": "e", "error": "x", "device": {"name": "d"}, "repeat": 0}
    rows += [row("d", 1, 1, stable=False), row("d", 1, 1, stable=False), row("b", 9, 1, stable=False), failed]
    values, meta = to_table(rows)
    assert dict(zip(values["key"], values["value"], strict=True)) == {"a": 2.0, "b": 2.0, "c": 3.0}
    assert meta["left_out"] == {"failed": 1, "unstable": 1}
    with pytest.raises(InputError, match="None of the 1 rows"):
        to_table(rows[3:4])
    with pytest.raises(InputError, match="No architecture was measured twice"):
        repeatability(values)


def test_repeats_become_their_median_and_their_variation_is_told() -> None:
    rows = [row("a", ratio, 1.0, repeat=i) for i, ratio in enumerate((1.0, 1.1, 1.2))] + [row("b", 5.0, 1.0)]
    values, _ = to_table(rows)
    assert dict(zip(values["key"], values["value"], strict=True)) == {"a": 1.1, "b": 5.0}
    (judged,) = repeatability(values).to_dict("records")
    assert judged["cells"] == 1 and judged["repeats"] == 3
    assert judged["corrected_median"] == judged["raw_worst"] == pytest.approx(100 * 0.1 / 1.1)


def test_what_was_measured_again_is_compared_whatever_the_machine_s_speed(tmp_path: Path) -> None:
    rows = [row("a", ratio, 1.0, repeat=i) for i, ratio in enumerate((1.0, 1.1, 1.2))] + [row("b", 5.0, 1.0)]
    write_table(*to_table(rows), tmp_path / "first.parquet")
    write_table(*to_table([row("a", 1.1, 7.0), row("b", 4.0, 7.0), row("c", 9.0, 7.0)]), tmp_path / "again.parquet")
    (judged,) = differences(*read_table(tmp_path / "first.parquet"), *read_table(tmp_path / "again.parquet")).to_dict(
        "records"
    )
    assert judged["cells"] == 2 and judged["worst"] == pytest.approx(20, rel=1e-4)
    assert judged["median"] == pytest.approx(10, rel=1e-4) and judged["stated"] == pytest.approx(100 / 11, rel=1e-4)
