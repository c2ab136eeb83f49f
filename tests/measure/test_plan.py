"""Campaigns that stand in files."""

import contextlib
import json
from pathlib import Path

import pandas as pd
import pytest

from datasets.records import InputError
from datasets.spaces import parse_space
from measure.backends import backend_classes
from measure.backends.ort import OnnxRuntime
from measure.base import available_cores
from measure.campaign import read_journal
from measure.commands.campaigns import campaign
from measure.commands.flags import Process
from measure.host import machine_name
from measure.plan import Part, Plan, read_plan
from tests.conftest import ROOT, run

PLANS = sorted((ROOT / "configs" / "campaigns").glob("*.yaml"))
TINY = """
parts:
- {space: "nasbench201(cells=1)", backend: ort, limit: 3, protocol: quick}
- {space: "nasbench201(cells=1)", backend: "ort:fp32:2", limit: 2, protocol: quick, phases: true}
again: 1
"""


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_plan_names_spaces_and_runtimes_that_exist(path: Path) -> None:
    for part in read_plan(path).parts:
        assert str(parse_space(part.space)).startswith(part.space.partition("(")[0])
        for text in part.backend.split(","):
            name, precision, *_ = [*text.split(":"), "fp32"]
            assert precision in backend_classes()[name].precisions


def test_repeats_lie_before_and_after_all_others() -> None:
    few, many = Part("a", "ort", 5), Part("b", "ort", 50)
    plan = Plan([few, many], again=20)
    stages = [(few, 5, 2), (many, 20, 2), (few, 5, 1), (many, 50, 1), (few, 5, 3), (many, 20, 3)]
    assert list(plan.stages()) == stages
    assert list(plan.stages(limit=7)) == [(few, 5, 1), (many, 7, 1)]


def test_a_plan_becomes_a_table_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan, out, journal = tmp_path / "plan.yaml", tmp_path / "cells.parquet", tmp_path / "cells.jsonl"
    plan.write_text(TINY)
    command = ("-m", "measure", "campaign", "--plan", plan, "--out", out, "--journal", journal)
    run(*command, "--limit", "1")  # on a busy machine neither row may be stable, and then there is no table yet
    assert len(journal.read_text().splitlines()) == 2
    run(*command)
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(rows) == (3 + 2) + (2 + 2)  # each architecture, and the first of each part twice more
    assert [row["repeat"] for row in rows].count(2) == 2
    journal.write_text("".join(json.dumps({**row, "stable": True}) + "\n" for row in rows))
    done = run(*command)  # there is nothing left to measure
    assert done.returncode == 0, done.stderr
    values = pd.read_parquet(out)
    assert values[values["metric"].isin(["latency_ms", "exe_ms"])]["repeats"].sum() == len(rows)


def test_a_runtime_that_is_absent_is_left_out_of_a_plan_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plan, journal = tmp_path / "plan.yaml", tmp_path / "cells.jsonl"
    plan.write_text(TINY)
    monkeypatch.setattr(OnnxRuntime, "lacks", lambda self: "there is no such chip")
    with pytest.raises(InputError):  # an empty journal is no table
        campaign(plan, tmp_path / "cells.parquet", journal)
    printed = capsys.readouterr().err
    why = "is left out: Backend ort is not available here, because there is no such chip."
    assert printed.splitlines() == [f"{machine_name()}_ort_fp32_{batch} {why}" for batch in (1, 2)]
    assert journal.read_text() == ""


def test_a_typo_in_a_plan_is_one_sentence(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(TINY.replace("limit", "limits"))
    done = run("-m", "measure", "campaign", "--plan", plan, "--out", tmp_path / "x.parquet")
    assert done.returncode == 2 and "limits" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_part_on_two_threads_is_of_devices_of_its_own_and_needs_both_cores(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan, journal, out = tmp_path / "plan.yaml", tmp_path / "cells.jsonl", tmp_path / "cells.parquet"
    plan.write_text(
        "parts:\n- {space: 'nasbench201(cells=1)', backend: ort, limit: 2, protocol: quick, threads: 2}\nagain: 0"
    )
    for flags, why in (
        (Process(core=0), "leave --timing.core out"),
        (Process(threads="1,2"), "leave --timing.threads"),
    ):
        with pytest.raises(InputError, match=why):
            campaign(plan, out, journal, timing=flags)
    assert not journal.exists()
    with contextlib.suppress(InputError):  # on a busy machine no row may be stable, and then there is no table
        campaign(plan, out, journal, host="mine")
    devices = {row["device"]["name"] for row in read_journal(journal)}
    assert devices == ({"mine_ort_fp32_1_t2"} if available_cores() > 1 else set())
    assert "computes on 2 threads; let nothing else run" in capsys.readouterr().err
    plan.write_text(plan.read_text().replace("threads: 2", "threads: 0"))
    with pytest.raises(InputError, match="threads of 1 or more"):
        read_plan(plan)
