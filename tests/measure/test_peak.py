"""Peak memory of fresh processes: rows, tables, the command, and processes that fail."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import SMALLEST, Network
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.backends import backend_classes
from measure.backends.ort import OnnxRuntime
from measure.base import Backend
from measure.bench import Bench
from measure.campaign import Journal, distinct_sample, pending, read_journal, run_campaign
from measure.child_build import ChildFailed, call_in_child
from measure.peak import LEAST_MB, Stages, measure_peak, peak_row
from measure.table import to_table
from measure.timing import PROTOCOLS, Timing
from tests.conftest import run
from tests.doubles.journal_rows import latency_row

linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc/self/status")
TINY, ORT = NasBench201(channels=4, cells=1), OnnxRuntime(timing=Timing(**PROTOCOLS["quick"]))


class Crashing(OnnxRuntime):
    """A backend whose sessions end their process."""

    def load(self, artefact: Path, shapes: Any = ()) -> Any:
        os.abort()


def dense(features: int) -> Network:
    """Three layers of features x features weights."""
    net = NetworkBuilder()
    x = net.add("input", (features,))
    for _ in range(3):
        x = net.add("dense", (features,), x)
    return Network.of(net.ops, net.edges)


@linux
def test_a_network_takes_its_weights_and_the_smallest_network_takes_nothing() -> None:
    smallest, again = (measure_peak(ORT, partial(ORT.built, SMALLEST)) for _ in range(2))
    assert abs(again.peak - smallest.peak) < 3 and smallest.peak > 20, "the interpreter and numpy alone take this"
    weights = 3 * 4 * 1500**2 / 1e6
    found = peak_row(measure_peak(ORT, partial(ORT.built, dense(1500))), smallest)
    assert 0.9 * weights < found["peak_mb"] < 4 * weights, found
    assert found["memory"]["loaded_mb"] <= found["peak_mb"] + 1 <= found["memory"]["process_mb"]


def test_what_a_network_takes_is_never_below_the_least() -> None:
    row = peak_row(Stages(50, 49, 60, 1), Stages(51, 50, 60.001, 1))
    assert row["peak_mb"] == LEAST_MB and row["memory"] == {"loading_mb": LEAST_MB, "loaded_mb": LEAST_MB,
                                                            "process_mb": 60}  # fmt: skip


@linux
def test_rows_hold_the_peak_and_tables_leave_it_uncorrected(tmp_path: Path) -> None:
    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "journal.jsonl")
    tasks = pending(archs, [ORT], journal, memory=True)
    (result,) = run_campaign(archs, tasks, journal, bench=Bench(memory=True))
    assert result["raw_ms"] > 0 and 0 < result["peak_mb"] < 50 and json.loads(json.dumps(result)) == result
    result["stable"] = True
    assert pending(archs, [ORT], journal, memory=True) == []
    assert len(pending(archs, [ORT], journal, energy=True, memory=True)) == 1

    slow = latency_row("b", 2.0, 2 * result["reference_ms"], peak_mb=7.5, memory={"process_mb": 70})
    values, _ = to_table([*(row | {"stable": True} for row in read_journal(journal.path)), slow])
    values = values.set_index(["key", "metric"])["value"]
    assert values["b", "peak_mb"] == 7.5 and values[archs.keys[0], "peak_mb"] == result["peak_mb"]


@linux
def test_a_process_that_dies_leaves_the_row_its_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = Crashing()
    with pytest.raises(ChildFailed, match=r"^The process for the peak memory on ort was killed by SIGABRT"):
        measure_peak(crashing, partial(ORT.built, SMALLEST))
    archs = distinct_sample(TINY, 1, 0)
    monkeypatch.setattr("measure.bench.measure_peak", partial(_dying, measure_peak))
    row = Bench(memory=True)(ORT, archs[0], lambda arch, batch: ORT.wanted(TINY.expand(arch)).model)
    assert row["raw_ms"] > 0 and "peak_mb" not in row and "was killed by SIGABRT" in row["memory"]["error"]


def _dying(measure: Any, backend: Backend, build: Any) -> Stages:
    return measure(Crashing(), build)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (partial(int, "x"), r"^raised ValueError"),
        (os.abort, r"^was killed by SIGABRT"),
        (partial(os._exit, 3), "^ended with exit code 3 and no answer$"),
    ],
)
def test_a_call_in_a_child_says_how_it_ended(call: Any, sentence: str) -> None:
    with pytest.raises(ChildFailed, match=sentence):
        call_in_child(call, 60)


def test_a_call_in_a_child_returns_its_result() -> None:
    np.testing.assert_array_equal(call_in_child(partial(np.arange, 3), 60), [0, 1, 2])


def test_other_devices_have_no_peak_memory() -> None:
    phone = next(cls() for cls in backend_classes().values() if cls.remote)
    with pytest.raises(InputError, match="runs on another device, which reports no peak memory; leave --memory out"):
        measure_peak(phone, partial(ORT.built, SMALLEST))


@linux
def test_the_command_prints_the_peak_or_refuses(tmp_path: Path) -> None:
    command = ("-m", "measure", "run", "--space", str(TINY), "--limit", 1, "--memory", "true", "--protocol", "quick",
               "--journal", tmp_path / "journal.jsonl")  # fmt: skip
    for more in (("--subjects.block", "true"), ("--ssh", "nowhere", "--host", "there")):
        done = run(*command, *more)
        assert done.returncode == 2 and "The peak memory is that of whole networks on this host" in done.stderr
    done = run(*command)
    assert done.returncode == 0 and " MB" in done.stdout, done.stderr


@pytest.mark.parametrize("damage", [{"peak_mb": -1.0}, {"peak_mb": "much"}, {"memory": 3}])
def test_a_journal_with_a_faulty_peak_is_a_sentence(damage: dict, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(latency_row("a", 1.0, 1.0) | damage) + "\n")
    with pytest.raises(InputError, match=f"line 1: field '{next(iter(damage))}' must be"):
        read_journal(path)
