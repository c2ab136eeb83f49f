"""Phones, with the real `adb` client, which talks to a server of the tests'; its phone really runs what is pushed."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.networks.builder import NetworkBuilder
from datasets.records import Architecture, InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.backends import parse_backend
from measure.backends.android import AndroidCPU, AndroidGPU, AndroidNNAPI, AndroidSession
from measure.base import make_input
from measure.builders.nhwc import to_nhwc
from measure.campaign import Journal, pending, read_journal, run_campaign
from measure.doctor import _android
from measure.remote import adb
from measure.remote.benchmark_model import PROGRAM, SOURCE, BenchmarkFailed, delegation, failure, parse
from measure.subjects import shaped
from measure.timing import PROTOCOLS, Timing
from tests.conftest import ROOT, needs, run
from tests.doubles.adb_server import AdbServer

QUICK = Timing(warmup=1, pairs=3, max_rounds=1, max_deviation=100.0)
TINY = NasBench201(channels=4, cells=1)
CELL = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
CLASSES = (AndroidCPU, AndroidGPU, AndroidNNAPI)

needs_adb = pytest.mark.skipif(shutil.which("adb") is None, reason="the adb client is not installed")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    needs("ai_edge_litert")
    for name in ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS", "ADB_SERVER_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def phone(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    with AdbServer(tmp_path) as server:
        environment.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield server
    assert not listens(server.port), "the client has started a server of its own"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The report

REPORT = """INFO: STARTING!
INFO: Created TensorFlow Lite delegate for GPU.
VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
INFO: The input model file size (MB): 4.2761
INFO: Initialized session in 1361.24ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=5 first=125113 curr=112537 min=111758 max=125113 avg=115344 std=4959 p5=111758 median=112912 p95=125113

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=119614 curr=115889 min=111842 max=119614 avg=115246 std=1329 p5=112107 median=115350 p95=116620

INFO: Inference timings in us: Init: 1361236, First inference: 125113, Warmup (avg): 115344, Inference (avg): 115246
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=132.816 overall=132.816
"""
"""What an Android phone printed in 2024 (shortened); before 2022 there were neither `INFO: ` nor percentiles."""
OLD = re.sub(r"^INFO: | p5=.*$", "", REPORT, flags=re.MULTILINE).replace(
    "Memory footprint delta from the start of the tool", "Peak memory footprint"
)


@pytest.mark.parametrize("text", [REPORT, OLD])
def test_reports_of_both_ages_are_read(text: str) -> None:
    report = parse(text)
    assert (report.runs, report.mean_ms, report.std_ms) == (50, 115.246, 1.329)
    assert (report.min_ms, report.max_ms, report.init_ms, report.first_ms) == (111.842, 119.614, 1361.236, 125.113)
    assert report.memory_mb == 132.816 and report.whole


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=60), st.booleans())
def test_any_times_come_back_to_six_digits(times: list[int], old: bool) -> None:
    """Where all runs take the same time TensorFlow prints one number instead of six."""
    mean = f"{np.mean(times):.6g}"
    statistics = (
        f"first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} avg={mean} std={int(np.std(times))}"
    )
    statistics = statistics if len(set(times)) > 1 else f"curr={times[0]}" + " (all same)" * (len(times) > 1)
    text = re.sub(r"count=50 .*?(?= p5|\n)", f"count={len(times)} {statistics}", OLD if old else REPORT)
    report = parse(re.sub(r"Inference \(avg\): .*", f"Inference (avg): {mean}", text))
    assert report.runs == len(times) and report.mean_ms == pytest.approx(np.mean(times) / 1000, rel=1e-5)
    assert (report.min_ms, report.max_ms) == (min(times) / 1000, max(times) / 1000)


@given(st.integers(0, len(REPORT)), st.booleans())
def test_a_report_that_breaks_off_gives_its_numbers_or_none(length: int, old: bool) -> None:
    """A number that is cut in its middle would be a wrong one."""
    text = OLD if old else REPORT
    try:
        report = parse(text[:length])
    except BenchmarkFailed as error:
        assert "breaks off before its timings" in str(error)
    else:
        whole = parse(text)
        assert report in (whole, type(whole)(**{**vars(whole), "memory_mb": None}))


@given(st.text(alphabet="count=avgmin max:\n0123456789.eINFO()", max_size=200))
def test_no_text_but_a_report_is_taken_for_one(noise: str) -> None:
    with pytest.raises(BenchmarkFailed):
        parse(noise)


@pytest.mark.parametrize("mean, sentence", [("115.246", "contradicts itself"), ("nan", "holds 'nan' where a time"),
                                            ("-115246", "holds '-115246' where a time")])  # fmt: skip
def test_a_mean_that_cannot_be_is_refused(mean: str, sentence: str) -> None:
    with pytest.raises(BenchmarkFailed, match=sentence):
        parse(REPORT.replace("Inference (avg): 115246", f"Inference (avg): {mean}"))


GRAPH = "the model graph will be"


@pytest.mark.parametrize(
    "text, expected",
    [
        (REPORT, (True, "all of its operators")),
        (f"Applied GPU delegate, and {GRAPH} completely executed w/ the delegate.", (True, "all of its operators")),
        (f"Explicitly applied NNAPI delegate, and {GRAPH} partially executed by the delegate w/ 11 delegate kernels.",
         (False, "some of its operators, in 11 delegate kernels")),
        ("VERBOSE: Replacing 54 out of 559 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions.\n"
         f"Explicitly applied GPU delegate, and {GRAPH} partially executed by the delegate w/ 3 delegate kernels.",
         (False, "54 of its 559 operators, in 3 delegate kernels")),
        ("Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.",
         (False, "none of its operators")),
        ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nVERBOSE: Replacing 9 out of 9 node(s) with delegate "
         "(TfLiteXNNPackDelegate) node, yielding 1 partitions for the whole graph.", (False, "")),
    ],
)  # fmt: skip
def test_how_much_is_delegated(text: str, expected: tuple[bool, str]) -> None:
    assert delegation(text) == expected


def test_why_a_process_failed() -> None:
    assert failure(139, "Segmentation fault") == "benchmark_model crashed with SIGSEGV"
    assert failure(1, "INFO: a\nERROR: Failed to apply GPU delegate.\nINFO: b\n").endswith(
        "1: Failed to apply GPU delegate."
    )
    assert failure(127, "sh: not found\n").endswith("status 127: sh: not found")


# The bridge


@needs_adb
@pytest.mark.parametrize(
    "states, serial, sentence",
    [
        ({}, None, "no Android device is connected; connect one and allow USB debugging on it"),
        ({"a": "unauthorized"}, None, "device a does not trust this computer yet; unlock it and allow USB debugging"),
        ({"a": "offline"}, None, "device a is offline; connect it anew"),
        ({"a": "device", "b": "device"}, None, "several devices are connected; set ANDROID_SERIAL to one of a, b"),
        ({"a": "device", "b": "offline"}, "c", "no device c is connected; set ANDROID_SERIAL to one of a, b"),
        ({"a": "device", "b": "device"}, "b", ""),
    ],
)
def test_what_is_wrong_with_the_connection_is_one_sentence(
    states: dict, serial: str | None, sentence: str, phone: AdbServer, environment: pytest.MonkeyPatch
) -> None:
    phone.states = states
    if serial:
        environment.setenv("ANDROID_SERIAL", serial)
    assert adb.problem() == sentence
    for cls in CLASSES:
        why = cls().unavailable()
        assert why == (f"Backend {cls.runtime} is not available here, because {sentence}." if sentence else "")
    found = _android()
    assert found["found"] + "; " * bool(found["todo"]) + found["todo"] == (
        f"not available here, because {sentence}" if sentence else "a device; b device"
    )


@needs_adb
def test_without_a_server_none_is_started(environment: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    assert "no adb server is running" in AndroidCPU().unavailable()
    with pytest.raises(adb.AdbError, match="no adb server is running"):
        adb.shell("true")
    assert not listens(port)


def test_without_the_client_that_is_said(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PATH", "")
    with pytest.raises(InputError, match="android_gpu is not available here, because adb is not installed"):
        parse_backend("android_gpu", "host")


@needs_adb
def test_without_benchmark_model_where_to_get_it(phone: AdbServer) -> None:
    (phone.root / "benchmark_model").chmod(0o644)
    with pytest.raises(
        InputError, match="the device has no /data/local/tmp/benchmark_model; download https://.* chmod"
    ):
        parse_backend("android_cpu:int8", "host")


@needs_adb
@pytest.mark.parametrize("shell_v2", [True, False])
def test_commands_and_files_on_phones_of_both_ages(shell_v2: bool, phone: AdbServer) -> None:
    """Before Android 7, adb reported no exit status and lines ended as on a terminal."""
    phone.shell_v2 = shell_v2
    assert adb.shell("echo one; echo two >&2; exit 3") == adb.Ran("one\ntwo\n", 3)
    content = os.urandom(200_000)
    with adb.pushed({"a": content, "b": b""}) as folder:
        assert adb.shell(f"ls {folder}").output.split() == ["a", "b"]
        assert adb.pulled(f"{folder}/a") == content
        with pytest.raises(adb.AdbError, match=r"`adb pull` failed: "):
            adb.pulled(f"{folder}/c")
    assert phone.left() == []


# Measuring


@needs_adb
@pytest.mark.parametrize("cls", CLASSES)
def test_a_phone_computes_what_the_network_says_and_sees_its_input(cls: type[AndroidCPU], phone: AdbServer) -> None:
    for precision in cls.precisions:
        session = cls(precision=precision, batch=2, timing=QUICK).session(CELL)
        first = session.fetch()[0]
        session.bind([to_nhwc(make_input(CELL, 2, seed=99))])
        session.run()
        assert first.shape == (2, 10) and np.abs(session.fetch()[0] - first).max() > 0.01
    assert phone.left() == []


@needs_adb
def test_processes_alternate_and_make_the_runs_that_leti_asks_for(phone: AdbServer) -> None:
    backend = AndroidCPU(together=100, threads=2, cores="1", warmup_s=0.25)
    assert backend.timing.pairs == PROTOCOLS["mobile"]["pairs"] == 300 and backend.timing.by == "wall"
    reference = backend.session(CELL)
    phone.commands.clear()
    repeats = backend.timed(backend.session(CELL), reference)
    timed = [re.search(r"--graph=\S*/(\w+)", line)[1] for line in phone.commands if "--num_runs=100" in line]
    assert timed == ["network", "reference"] * 3 * repeats.rounds and repeats.clocks.shape == (3, 4)
    assert sum(network["runs"] for network, _ in repeats.more["reports"]) == 300
    assert repeats.ratio == pytest.approx(1, abs=0.5) and repeats.more["init_ms"] > 0
    assert repeats.more["device_after"] == {"battery_celsius": 29.1, "thermal_status": 0.0}
    line = next(line for line in phone.commands if "--num_runs=100" in line)
    assert "taskset 1 /data/local/tmp/benchmark_model" in line
    assert "--num_threads=2" in line and "--warmup_min_secs=0.25" in line and "--warmup_runs=5" in line
    assert backend.versions()["device"] == "Made-up Phone 1 (arm64-v8a)" and phone.left() == []


@needs_adb
def test_what_delegates_are_told(phone: AdbServer) -> None:
    assert AndroidCPU().flags() == {}
    assert AndroidGPU().flags() == {"use_gpu": True, "gpu_precision_loss_allowed": False}
    assert AndroidGPU("fp16").flags() == {"use_gpu": True, "gpu_precision_loss_allowed": True}
    AndroidNNAPI(timing=QUICK).session(CELL)
    assert any("--use_nnapi=true --disable_nnapi_cpu=true" in line for line in phone.commands)


@needs_adb
@pytest.mark.parametrize(
    "cls, faults, error",
    [
        (AndroidCPU, {"crash": "SIGSEGV"}, "BenchmarkFailed: benchmark_model crashed with SIGSEGV"),
        (AndroidCPU, {"truncate": 300}, "BenchmarkFailed: benchmark_model's report breaks off before its timings"),
        (AndroidCPU, {"slow": 1}, "BenchmarkFailed: benchmark_model stopped after 1 of 2 runs: they take too long"),
        (AndroidCPU, {"silent": True}, "BenchmarkFailed: benchmark_model left no output to check; push a newer one"),
        (AndroidCPU, {"wrong": True}, "WrongOutput: The output is off by"),
        (AndroidGPU, {"error": "Failed to apply GPU delegate."}, "exit status 1: Failed to apply GPU delegate."),
        (AndroidGPU, {"partial": 10}, "NotDelegated: GPU executes none of its operators; by what is known of gpu, it"),
    ],
)
def test_what_fails_on_the_phone_is_a_row_that_says_why(
    cls: type[AndroidCPU], faults: dict, error: str, phone: AdbServer, tmp_path: Path
) -> None:
    backend = cls(timing=Timing(warmup=1, pairs=6, max_rounds=1))
    archs = [CELL]
    journal = Journal(tmp_path / "journal.jsonl")
    phone.script(**faults)
    (row,) = run_campaign(archs, pending(archs, [backend], journal), journal, shaped)
    assert error in row["error"] and "ratio" not in row and "\n" not in row["error"]
    assert phone.left() == []


@needs_adb
def test_what_is_not_delegated_whole_says_how_much_and_why(phone: AdbServer) -> None:
    net = NetworkBuilder()
    net.add("global_avg_pool", (8,), net.conv(net.add("input", (4, 8, 8)), 8, 3, groups=2))
    grouped = net.finish("made-up", "grouped")
    phone.script(partial=3)
    with pytest.raises(
        RuntimeError, match=r"^GPU executes 7 of its 10 operators, in 2 delegate kernels; by what is known"
    ):
        AndroidGPU(timing=QUICK).session(grouped)
    with pytest.raises(RuntimeError, match=r"^NNAPI executes 7 of its 10 .*; nnapi30 refuses operator 0, CONV_2D: "):
        AndroidNNAPI(timing=QUICK).session(grouped)
    assert isinstance(AndroidCPU(timing=QUICK).session(grouped), AndroidSession)  # no delegate is requested


@needs_adb
def test_a_phone_that_goes_away_costs_rows_until_it_is_back(phone: AdbServer, tmp_path: Path) -> None:
    backend, journal = AndroidCPU(timing=QUICK), Journal(tmp_path / "journal.jsonl")
    archs: list[Architecture] = [CELL]
    phone.dies_at = "/gnomon/reference "  # among the timed processes
    (row,) = run_campaign(archs, pending(archs, [backend], journal), journal, shaped)
    assert row["error"] == "AdbError: the device went away in the middle of a command; connect it anew"
    (row,) = run_campaign(archs, pending(archs, [backend], journal, retry=True), journal, shaped)
    assert row["error"].startswith("AdbError: `adb shell` failed: no devices")
    phone.states, phone.dies_at = {"phone-1": "device"}, ""
    (row,) = run_campaign(archs, pending(archs, [backend], journal, retry=True), journal, shaped)
    assert row["ratio"] > 0 and phone.left() == []  # what the broken row left behind is gone, too


@needs_adb
def test_a_campaign_on_a_phone_becomes_a_table(phone: AdbServer, tmp_path: Path) -> None:
    journal, table = tmp_path / "journal.jsonl", tmp_path / "table.parquet"
    phone.script(old=True)
    what = ["--space", "nasbench201(channels=4,cells=1)", "--backend", "android_cpu,android_gpu", "--limit", "2"]
    command = ["-m", "measure", "run", *what, "--journal", str(journal), "--host", "pixel", "--protocol", "quick"]
    done = run(*command)
    assert done.returncode == 0 and "4 rows measured (0 failed" in done.stdout, done.stdout + done.stderr
    rows = read_journal(journal)
    assert {row["device"]["name"] for row in rows} == {"pixel_android_cpu_fp32_1", "pixel_android_gpu_fp32_1"}
    assert {row["device"]["kind"] for row in rows} == {"mobile-cpu", "mobile-gpu"}
    assert all(len(row["reports"]) == 3 and row["protocol"]["by"] == "wall" for row in rows)
    assert all(row["versions"]["android"] == "14" and len(row["versions"]["benchmark_model"]) == 12 for row in rows)
    summary = ["-m", "measure", "table", "--journal", str(journal), "--out", str(table), "--unstable", "true"]
    assert run(*summary).returncode == 0  # tiny networks on a busy machine are unstable
    values = pd.read_parquet(table)
    assert len(values) == 12 and set(values["metric"]) == {"latency_ms", "init_ms", "first_ms"}
    assert (values["value"] > 0).all()
    assert phone.left() == []
    done = run(*command, "--phases", "true")
    assert done.returncode == 2 and "Backend android_cpu runs on another device, which reports no phases" in done.stderr


def test_the_page_on_phones_names_the_program_and_its_place() -> None:
    text = (ROOT / "docs" / "how_to" / "other_machines.md").read_text()
    assert f"curl -LO {SOURCE}" in text and f"adb push {SOURCE.rpartition('/')[2]} {PROGRAM}" in text
    assert f"chmod +x {PROGRAM}" in text and adb.FOLDER in text
    runtimes = {backend.runtime for backend in (AndroidCPU, AndroidGPU, AndroidNNAPI)}
    assert set(re.findall(r"\bandroid_(?!aarch64)[a-z]+\b", text)) == runtimes
