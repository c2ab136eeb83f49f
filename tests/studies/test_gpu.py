"""`make gpu` rehearsed on a CPU, as a machine with a GPU runs it: with few packages, in parts, within its time."""

import json
from pathlib import Path

import pytest

from datasets.measured import Measured
from measure.backends import backend_classes
from measure.campaign import read_journal
from studies.gpu.study import BATCHES, ON_CPU, STAGES, Stage, backends_of, run
from tests.conftest import run as command

WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(('jsonargparse', 'tensorflow', 'lightning', 'xgboost', 'openvino')))"
)


def test_a_rehearsal_continues_where_it_stopped_and_leaves_a_table(tmp_path: Path) -> None:
    flags = "cpu=True, few=1, host='mine', stages='layers,figure4,networks', seconds={}"
    code = f"{WITHOUT}; from pathlib import Path; from studies.gpu.study import run; run(Path(r'{tmp_path}'), {flags})"
    first = command("-c", code.format(3))
    assert first.returncode in (0, 1), first.stderr  # none, on a busy machine
    before = len(read_journal(tmp_path / "gpu.jsonl"))
    assert before < 7  # a stage whose time is over ends with its row, and the others have none left
    done = command("-c", code.format(600))
    assert done.returncode == 0, done.stderr
    rows = read_journal(tmp_path / "gpu.jsonl")
    assert all(name in rows[0] for name in ("pre_ms", "exe_ms", "post_ms")) and len(rows) > before
    found = json.loads((tmp_path / "summary.json").read_text())
    counts = {(row["stage"], row["runtime"]): row["rows"] for row in found if "rows" in row}
    networks = {("networks", "eager"): 2, ("networks", "ort"): 2}
    assert counts == {("layers", "eager"): 3, ("figure4", "eager"): 1, **networks}
    why = [row["why"] for row in found if row["stage"] == "never run"]
    assert why == ["Backend keras is not available here, because the package tensorflow is not installed."]
    assert "exe_ms" in set(Measured(tmp_path / "gpu.parquet").measurements().table["metric"])


def test_without_a_gpu_all_runtimes_are_listed_as_never_run(tmp_path: Path) -> None:
    if not backend_classes()["cuda"]().unavailable():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, host="mine")
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert ended.value.code == 1 and {row["stage"] for row in rows} == {"never run"}
    assert {row["runtime"] for row in rows} == set(ON_CPU) and all("because" in row["why"] for row in rows)


def test_the_stages_are_what_is_promised_in_eight_minutes() -> None:
    assert sum(stage.seconds for stage in STAGES) <= 480
    numbers: dict[str, int] = {}
    for stage in STAGES:
        if "cuda" in stage.runtimes:
            numbers[stage.name] = numbers.get(stage.name, 0) + stage.limit
    assert numbers == {"cells": 100, "layers": 300, "figure4": 3, "networks": 40}
    figure = Stage("figure4", "zoo", 3, ("cuda",), 1, BATCHES)
    assert [backend.batch for backend in backends_of(figure, "mine", False)] == [1, 2, 4, 8, 16, 32, 64]
    assert {runtime for runtime in ON_CPU.values() if runtime} <= set(backend_classes())
