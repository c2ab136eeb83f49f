"""Tables: drift is taken out of journals, repeats become medians, files are read as data sets."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from datasets.files.table_file import read_table
from datasets.measured import Measured
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.campaign import read_journal
from measure.table import differences, repeatability, to_table, write_table
from predictors.commands.learning import _doubts
from predictors.unsupported import doubts
from tests.conftest import run
from tests.doubles.journal_rows import latency_row

TINY = NasBench201(channels=4, cells=1)


def test_measure_resume_tabulate_and_read(tmp_path: Path) -> None:
    journal, table = tmp_path / "journal.jsonl", tmp_path / "cells.parquet"
    command = ("-m", "measure", "run", "--space", str(TINY), "--backend", "ort,ort:int8", "--limit", "3",
               "--timing.repeats", "2", "--host", "pc", "--journal", journal)  # fmt: skip
    first = run(*command)
    assert "12 rows measured (0 failed" in first.stdout, first.stdout + first.stderr
    assert "on pc_ort_int8_1: " in first.stdout and " ms (raw " in first.stdout and ", p99 <= " in first.stdout
    assert "0 rows measured (0 failed, 0 unstable); 12 in" in run(*command).stdout

    rows = [{**row, "stable": True} for row in read_journal(journal)]  # tiny networks on a busy machine are not
    assert all(row["single_runs"]["count"] >= 459 and row["processors"] and row["interrupted"] <= 1 for row in rows)
    values, meta = to_table(rows)
    assert values["metric"].value_counts().to_dict() == {"latency_ms": 6, "init_ms": 6, "first_ms": 6}
    assert set(values["repeats"]) == {2}
    assert {d["name"] for d in meta["devices"]} == {"pc_ort_fp32_1", "pc_ort_int8_1"}
    timed = values[values["metric"] == "latency_ms"]
    assert ((timed["p10"] <= timed["value"]) & (timed["value"] <= timed["p90"])).all()
    write_table(values, meta, table)
    m = Measured(table).measurements()
    assert m.matrix("latency_ms").shape == (3, 2) and str(m.architectures.space) == str(TINY)
    assert "protocol" in json.loads(pq.read_schema(table).metadata[b"gnomon"])

    judged = repeatability(values)
    assert list(judged["cells"]) == [3] * 6 and (judged["corrected_worst"] >= judged["corrected_median"]).all()
    printed = run("-m", "measure", "repeatability", "--file", table)
    assert "pc_ort_int8_1" in printed.stdout, printed.stderr


def test_drift_is_taken_out_and_bad_rows_are_counted() -> None:
    """The second cell was measured while the machine ran at half speed: its milliseconds are those at median speed."""
    rows = [latency_row("a", 2.0, 1.0), latency_row("b", 2.0, 2.0), latency_row("c", 3.0, 1.0)]
    failed = {"space": "s", "key": "e", "error": "x", "device": {"name": "d"}, "repeat": 0}
    rows += [
        latency_row("d", 1, 1, stable=False),
        latency_row("d", 1, 1, stable=False),
        latency_row("b", 9, 1, stable=False),
        failed,
    ]
    values, meta = to_table(rows)
    assert dict(zip(values["key"], values["value"], strict=True)) == {"a": 2.0, "b": 2.0, "c": 3.0}
    assert meta["left_out"] == {"failed": 1, "unstable": 1}
    with pytest.raises(InputError, match="None of the 1 rows"):
        to_table(rows[3:4])
    with pytest.raises(InputError, match="No architecture was measured twice"):
        repeatability(values)


def test_unstable_rows_that_are_kept_are_counted_and_learners_are_warned_of_them(
    tmp_path: Path,
) -> None:
    rows = [latency_row("a", 2.0, 1.0), latency_row("b", 1, 1, stable=False), latency_row("a", 9, 1, stable=False)]
    values, meta = to_table(rows, unstable=True)
    assert len(values) == 2 and meta["unstable"] == 1 and to_table(rows)[1]["unstable"] == 0
    write_table(values, meta, tmp_path / "t.parquet")
    (sentence,) = _doubts(f"{tmp_path / 't.parquet'},other.csv")
    assert sentence.startswith("of the 2 samples in t.parquet the runs of 1 varied by more than a tenth")
    assert doubts(SimpleNamespace(metadata_={"adapted": {"doubts": [sentence, 3]}})) == [sentence]
    assert doubts(SimpleNamespace(metadata_={"adapted": {"doubts": "x"}})) == []
    hostile = {**meta, "unstable": "many", "unreliable": {"d": "a\x1b[2J\n" + "b" * 5000, "e": 3}}
    write_table(values, hostile, tmp_path / "t.parquet")
    first, second = _doubts(str(tmp_path / "t.parquet"))
    assert len(first) < 500 and first.isprintable() and ", 3; " in second
    (shown,) = doubts(SimpleNamespace(metadata_={"adapted": {"doubts": ["a\x1b[2J\n" + "b" * 5000]}}))
    assert len(shown) < 500 and shown.isprintable()


def test_repeats_become_their_median_and_their_variation_is_told() -> None:
    rows = [latency_row("a", ratio, 1.0, repeat=i) for i, ratio in enumerate((1.0, 1.1, 1.2))] + [
        latency_row("b", 5.0, 1.0)
    ]
    values, _ = to_table(rows)
    assert dict(zip(values["key"], values["value"], strict=True)) == {"a": 1.1, "b": 5.0}
    (judged,) = repeatability(values).to_dict("records")
    assert judged["cells"] == 1 and judged["repeats"] == 3
    assert judged["corrected_median"] == judged["raw_worst"] == pytest.approx(100 * 0.1 / 1.1)


def test_what_was_measured_again_is_compared_whatever_the_machine_s_speed(tmp_path: Path) -> None:
    rows = [latency_row("a", ratio, 1.0, repeat=i) for i, ratio in enumerate((1.0, 1.1, 1.2))] + [
        latency_row("b", 5.0, 1.0)
    ]
    write_table(*to_table(rows), tmp_path / "first.parquet")
    write_table(
        *to_table([latency_row("a", 1.1, 7.0), latency_row("b", 4.0, 7.0), latency_row("c", 9.0, 7.0)]),
        tmp_path / "again.parquet",
    )
    (judged,) = differences(*read_table(tmp_path / "first.parquet"), *read_table(tmp_path / "again.parquet")).to_dict(
        "records"
    )
    assert judged["cells"] == 2 and judged["worst"] == pytest.approx(20, rel=1e-4)
    assert judged["median"] == pytest.approx(10, rel=1e-4) and judged["stated"] == pytest.approx(100 / 11, rel=1e-4)


def test_phases_become_metrics_and_their_drift_is_taken_out() -> None:
    phases = {"phases": {"post": {"ratio": 1.8}}, "pre_ms": 0.25, "post_ms": 1.75, "clock_ns": {}}
    rows = [
        latency_row("a", 2.0, 1.0, **phases),
        latency_row("b", 2.0, 2.0, phases={}, pre_ms=1.0),
        latency_row("c", 1.0, 1.0),
    ]
    values, _ = to_table(rows)
    found = values.set_index(["key", "metric"])["value"].to_dict()
    assert found["a", "latency_ms"] == 2.0 and found["a", "post_ms"] == 1.8  # its own ratio
    assert found["a", "pre_ms"] == 0.25 and found["b", "pre_ms"] == 0.5  # at half speed
    assert len(values) == 6
