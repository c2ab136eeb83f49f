"""Correction for drift: reference times, rows that other work made unreliable, and how both are shown."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.backends.ort import OnnxRuntime
from measure.bench import _beside
from measure.campaign import Journal, distinct_sample, pending, read_journal
from measure.commands.measuring import SHOWN, measure_pending
from measure.commands.tables import table as table_of
from measure.drift import FEW, References, unreliable_devices, without_replaced
from measure.percentiles import percentiles
from measure.rows import Row, check_row
from measure.shown import figures, row_text, rows_text
from measure.table import to_table
from measure.timing import Repeats, Timing
from tests.doubles.journal_rows import latency_row

QUIET = {"interrupted": 0.02, "load": 1.0, "processors": 2}
SINGLE = {
    "single_runs": {"count": 1000, "median": 17.9, "p90": 18.8, "p90_bound": 19.1, "p99": 19.5, "p99_bound": 19.9}
}


def test_milliseconds_are_those_of_the_device_s_median_speed() -> None:
    rows = [latency_row(key, 2.0, ms, **QUIET) for key, ms in (("a", 1.0), ("b", 1.1), ("c", 1.2))]
    references = References(rows)
    assert references.ms("d") == 1.1 and [references.corrected_ms(row) for row in rows] == [2.2] * 3


@pytest.mark.parametrize(
    ("signs", "why"),
    [
        ({}, ""),
        ({"interrupted": 0.3}, "other work interrupted 30 % of the pairs of runs"),
        ({"load": 2.5}, "the load of this machine was 2.5 on 2 processors"),
    ],
)
def test_a_small_journal_under_load_is_unreliable_and_not_stable(signs: dict, why: str) -> None:
    row = latency_row("a", 2.0, 1.0, **{**QUIET, **signs})
    assert References([row]).why_unreliable(row) == why
    expected = {"d": f"1 of 1 rows are unreliable: of the first, {why}"} if why else {}
    assert unreliable_devices([row]) == expected == to_table([row])[1]["unreliable"]
    assert row_text(row, References([row])).endswith(f", unreliable: {why}" if why else "(raw 2)")


def test_few_rows_of_a_slow_machine_do_not_decide_its_speed() -> None:
    """One row was measured while the machine was quiet and two while it ran 2.6 times slower."""
    rows = [latency_row("a", 2.0, 1.0), latency_row("b", 2.0, 2.6), latency_row("c", 2.0, 2.6)]
    references = References(rows)
    assert references.ms("d") == 1.0 and references.why_unreliable(rows[0]) == ""
    assert references.why_unreliable(rows[1]) == "the reference network took 2.6 times its fastest time"
    values, meta = to_table(rows)
    assert values["value"].tolist() == [2.0] * 3 and meta["unreliable"]["d"].startswith("2 of 3 rows are unreliable")


def test_in_a_long_journal_only_interrupted_rows_are_unreliable() -> None:
    rows = [latency_row(str(i), 2.0, 1.0 + 0.5 * (i % 2), **{**QUIET, "load": 5.0}) for i in range(FEW)]
    assert not unreliable_devices(rows) and References(rows).ms("d") == 1.25
    rows.append(latency_row("x", 2.0, 9.0, **{**QUIET, "interrupted": 0.6}))
    assert References(rows).ms("d") == 1.25
    assert unreliable_devices(rows)["d"].startswith(f"1 of {FEW + 1} rows are unreliable: of the first, other work")


def test_old_rows_without_signs_of_other_work_are_reliable() -> None:
    old = latency_row("a", 2.0, 1.0, load=7.0)
    assert not unreliable_devices([old]) and check_row(old, "here") == old
    values, _ = to_table([old])
    assert list(values["metric"]) == ["latency_ms"] and not any(name.startswith("single") for name in values)


def test_a_reliable_row_replaces_the_unreliable_one_of_the_same_measurement(tmp_path: Path) -> None:
    space = NasBench201(channels=4, cells=1)
    archs, ort = distinct_sample(space, 1, 0), OnnxRuntime(host="pc")
    made = {"space": str(space), "device": ort.device().to_dict()}
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(latency_row(archs.keys[0], 5.0, 3.0, **made, **{**QUIET, "interrupted": 0.9}))
    assert pending(archs, [ort], journal) == [] and len(pending(archs, [ort], journal, retry=True)) == 1
    journal.append(latency_row(archs.keys[0], 2.0, 1.0, **made, **QUIET))
    assert pending(archs, [ort], journal, retry=True) == []
    assert without_replaced(journal.rows) == journal.rows[1:]
    values, meta = to_table(read_journal(journal.path))
    assert values["value"].tolist() == [2.0] and values["repeats"].tolist() == [1] and not meta["unreliable"]


def test_an_unstable_row_replaces_no_stable_one() -> None:
    rows = [latency_row("a", 5.0, 3.0, **{**QUIET, "interrupted": 0.9}), latency_row("a", 2.0, 1.0, stable=False)]
    assert without_replaced(rows) == rows


def test_by_the_wall_clock_context_switches_show_what_was_interrupted() -> None:
    network = SimpleNamespace(session=SimpleNamespace(run=lambda: None), init_ms=5.0, first_ms=2.0)
    backend = SimpleNamespace(timing=Timing(single_runs=3))
    clocks = Repeats(np.ones((10, 4)), np.ones(10, bool), rounds=2, by="wall")
    found = [_beside(backend, network, clocks, switches) for switches in (0, 5, 400)]  # type: ignore[arg-type]
    assert [row["interrupted"] for row in found] == [0, 0.25, 1]
    assert found[0]["first_ms"] == 2 and found[0]["init_ms"] == 5 and found[0]["single_runs"]["count"] == 3
    by_cpu = _beside(backend, network, replace(clocks, by="cpu", interrupted=0.1), 400)  # type: ignore[arg-type]
    assert by_cpu["interrupted"] == 0.1


# Single runs and first runs are columns and metrics of tables


def test_single_runs_are_columns_of_the_latency_and_the_first_run_a_metric() -> None:
    few = {"single_runs": percentiles([1.0, 2.0, 3.0])}
    rows = [
        latency_row("a", 2.0, 1.0, repeat=0, first_ms=3.0, init_ms=40.0, **SINGLE),
        latency_row("a", 2.0, 1.0, repeat=1, first_ms=5.0, init_ms=60.0, **SINGLE),
        latency_row("b", 2.0, 1.0, **few),
    ]
    rows[1]["single_runs"] = {**SINGLE["single_runs"], "median": 18.1, "p99_bound": 25.0}
    values, _ = to_table(rows)
    found = values.set_index(["key", "metric"])
    assert found.loc[("a", "first_ms"), "value"] == 4 and found.loc[("a", "init_ms"), "value"] == 50
    whole = found.loc[("a", "latency_ms")]
    assert whole["single_median"] == 18 and whole["single_p99_bound"] == 25 and whole["single_count"] == 1000
    assert found.loc[("b", "latency_ms"), "single_p99"] == 3 and found["single_p99_bound"].count() == 1
    assert found.loc[("a", "first_ms"), ["single_median", "spread"]].isna().all()


@pytest.mark.parametrize(
    ("field", "value"), [("single_runs", 3), ("single_runs", {"p99_bound": "x"}), ("interrupted", -1), ("first_ms", 0)]
)
def test_damaged_fields_are_refused_by_their_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"here: field '({field}|p99_bound)"):
        check_row(latency_row("a", 2.0, 1.0, **{field: value}), "here")


# What the terminal shows


def test_a_row_begins_with_corrected_milliseconds() -> None:
    row = latency_row("resnet18", 17.6, 18.1 / 17.6, **QUIET, **SINGLE)
    references = References([*(latency_row(str(i), 1, 1.0, **QUIET) for i in range(5)), row])
    assert row_text(row, references) == "resnet18 on d: 17.6 ms (raw 18.1), p99 <= 19.9"
    few = {**row, "single_runs": percentiles([18.0] * 57), "stable": False, "energy_mj": 12.34}
    assert row_text(few, references) == (
        "resnet18 on d: 17.6 ms (raw 18.1), p90 <= 18, p99 needs 459 runs, 12.34 mJ, unstable"
    )
    for error, shown in (("Timeout", "Timeout"), ("WrongOutput: It is off.", "It is off."), ("Fail: no", "Fail: no")):
        assert row_text({**row, "error": error}, references) == f"resnet18 on d: {shown}"
    assert [figures(ms) for ms in (0.01234, 1.0, 999.4, 999.6, 12345.6)] == ["0.0123", "1", "999", "1000", "12346"]


def test_a_run_ends_with_a_table_of_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    journal, made = Journal(tmp_path / "journal.jsonl"), []

    def measure(archs: object, tasks: list, log: Journal, prepare: object, metric: str):
        for number, _ in enumerate(tasks):
            signs = {"interrupted": 0.6} if number == 0 else {}
            row: Row = latency_row(f"net{number}", 2.0, 1.0, first_ms=3.0, **{**QUIET, **signs}, **SINGLE)
            row |= {"stable": number not in (1, 2, 3)}
            made.append(row)
            log.append(row)
            yield row

    archs = distinct_sample(NasBench201(channels=4, cells=1), SHOWN + 5, 0)
    chosen = (archs, None)
    assert measure_pending(measure, chosen, [OnnxRuntime(host="pc")], journal, "latency_ms", 1, False) == (SHOWN + 5, 0)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("net0 on d: 2 ms (raw 2), p99 <= 19.9, unreliable: other work interrupted 60 %")
    assert lines[SHOWN + 5] == f"The last {SHOWN} rows:"
    table = lines[SHOWN + 6 :]
    assert table[0].split() == ["network", "device", "ms", "raw", "p90", "<=", "p99", "<=", "first", "run", "session"]
    assert len(table) == SHOWN + 3 and table[-3].split() == f"net{SHOWN + 4} d 2 2 19.1 19.9 3 -".split()
    assert table[-2].startswith("ms: the ratio to the reference network, times its usual time")
    assert "d: of the journal, 1 of 25 rows are unreliable: of the first, other work" in err
    assert "--retry true measures them again" in err
    assert (
        "d: 3 of 25 architectures in the journal have no stable row" in err and "`measure table` leaves them out" in err
    )
    assert "--unstable true" in err
    table_of(journal.path, tmp_path / "table.parquet")
    assert "d: of the rows in this table, 1 of 22 rows are unreliable" in (err := capsys.readouterr().err)
    assert "they stay in it. `measure run --retry true` measures them again" in err
    assert rows_text(made[:1], References(made)).endswith("unreliable")
