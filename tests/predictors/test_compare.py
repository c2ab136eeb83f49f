"""Folders of runs that were cut off, edited or mixed: one sentence that names the file, and nothing is crowned."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datasets.records import InputError
from predictors.compare import compare
from predictors.metrics import METRICS
from predictors.new_devices.transfer_report import gather, read_rows
from studies.claims import Claim, check_claims

Rows = list[dict[str, Any]]


def made(folder: Path, predictor: str, spearman: float) -> Path:
    """A run folder as `train.py` leaves it, with two devices and three architectures."""
    about = {"dataset": "toy", "predictor": predictor, "draw": 0, "shots": 10, "seed": 0}
    scores = dict.fromkeys(METRICS, 0.5) | {"spearman": spearman, "fit_cpu_s": 1.0, "predict_cpu_s": 0.1, "n": 3}
    rows = [{**about, "set": which, "device": device, "cells": cells, **scores}
            for which in ("val", "test") for device in ("a", "b") for cells in ("all", "connected")]  # fmt: skip
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(rows))
    for name in ("predictor.pt", "predictor.onnx"):
        (folder / name).write_text(predictor)
    table = pd.DataFrame({"set": "test", "key": list("xyz") * 2, "device": list("aaabbb"), "metric": "latency_ms"})
    table.assign(measured=[1.0, 2, 3] * 2, predicted=[1.1, 2, 2.9] * 2).to_parquet(folder / "predictions.parquet")
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name, spearman in (("good", 0.9), ("poor", 0.5)):
        made(tmp_path / name, name, spearman)
    return tmp_path


def test_the_best_is_copied(study: Path) -> None:
    ranked, best = compare(study)
    assert list(ranked["predictor"]) == ["good", "poor"] and best == study / "good"
    assert (study / "best.pt").read_text() == (study / "best.onnx").read_text() == "good"
    assert len(json.loads((study / "summary.json").read_text())) == 16
    assert "could not be drawn" not in (study / "report.html").read_text()


def _all(column: str, value: Any) -> Callable[[Rows], Any]:
    return lambda rows: [{**row, column: value} for row in rows]


def _one(column: str, value: Any) -> Callable[[Rows], Any]:
    return lambda rows: [{**rows[0], column: value}, *rows[1:]]


EDITS: dict[str, Callable[[Rows], Any]] = {
    "no rows": lambda rows: [],
    "a mapping": lambda rows: {"rows": rows},
    "no mappings": lambda rows: [1, 2],
    "a column less": lambda rows: [{key: row[key] for key in row if key != "mae"} for row in rows],
    "a number as text": _one("spearman", "0.9"),
    "a flag as number": _one("spearman", True),
    "not a number": _all("spearman", math.nan),
    "infinite": _all("mae", math.inf),
    "more than all": _all("spearman", 1.01),
    "too large": _one("seed", 10**400),
    "half a label": _all("shots", 2.5),
    "a list as name": _one("predictor", ["good"]),
    "nothing as device": _all("device", None),
    "another set": _all("set", "train"),
    "no test": lambda rows: [row for row in rows if row["set"] == "val"],
    "not all cells": lambda rows: [row for row in rows if row["cells"] == "connected"],
    "of two runs": _one("seed", 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_rows_are_one_sentence(study: Path, edit: str) -> None:
    file = study / "poor" / "metrics.json"
    file.write_text(json.dumps(EDITS[edit](json.loads(file.read_text()))))
    _refused(study, file)


@pytest.mark.parametrize(
    "content", [b"", b"[{", b"[" * 10**5, b"\xff\xfe\x00", b"\0" * 9, b"NaN", b"1" * 5000], ids=len
)
def test_what_is_no_json_is_one_sentence(study: Path, content: bytes) -> None:
    file = study / "poor" / "metrics.json"
    file.write_bytes(content)
    _refused(study, file)


@pytest.mark.parametrize("change", ["empty", "cut", "no rows", "no test", "text", "nan", "column", "device", "absent"])
def test_damaged_predictions_of_the_best_are_one_sentence(study: Path, change: str) -> None:
    file = study / "good" / "predictions.parquet"
    table, content = pd.read_parquet(file), file.read_bytes()
    if change in ("empty", "cut"):
        file.write_bytes(content[: 0 if change == "empty" else len(content) // 2])
    elif change == "absent":
        file.unlink()
    else:
        {
            "no rows": table[:0],
            "no test": table.assign(set="val"),
            "text": table.assign(measured="fast"),
            "nan": table.assign(predicted=math.nan),
            "column": table.drop(columns="metric"),
            "device": table.assign(device=1),
        }[change].to_parquet(file)
    _refused(study, file)


def test_a_best_without_its_predictor_is_one_sentence(study: Path) -> None:
    (study / "good" / "predictor.pt").unlink()
    _refused(study, study / "good" / "predictor.pt")


def test_a_best_without_an_onnx_form_leaves_none_of_an_earlier_one(study: Path) -> None:
    compare(study)
    (study / "good" / "predictor.onnx").unlink()
    compare(study)
    assert (study / "best.pt").read_text() == "good" and not (study / "best.onnx").exists()


def test_what_is_no_study_is_one_sentence(study: Path) -> None:
    for folder in (study / "absent", study / "good" / "metrics.json", study / "good"):
        for judge in (compare, gather):
            with pytest.raises(InputError, match="There is no (folder|run)"):
                judge(folder)


def _refused(study: Path, file: Path) -> None:
    with pytest.raises(InputError, match="again|UTF-8") as caught:
        compare(study)
    assert str(file) in str(caught.value) and len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert {path.name for path in study.iterdir()} == {"good", "poor"}, "something was written all the same"


@pytest.mark.parametrize("edit", ["not json", "no rows", "text", "nothing", "share"])
def test_damaged_runs_of_a_cross_device_study_are_one_sentence(tmp_path: Path, edit: str) -> None:
    about = {"predictor": "p", "dataset": "toy", "device_set": "s", "device": "d", "sampler": "own", "left_out": "",
             "seed": 0, "shots": 5, "draw": 0, "sources": 2, "source_cells": 9, "cells": "all",
             "shared_family": True, "set": "test", "n": 3, "fit_cpu_s": 1.0, "predict_cpu_s": 0.1}  # fmt: skip
    row: dict[str, Any] = about | dict.fromkeys(METRICS, 0.5)
    file = tmp_path / "run" / "metrics.json"
    file.parent.mkdir()
    file.write_text(json.dumps([row]))
    assert read_rows(tmp_path) == [row]
    edits = {
        "no rows": [],
        "text": [row | {"spearman": "x"}],
        "nothing": [row | {"cells": None}],
        "share": [row | {"within_5": 7}],
    }
    file.write_text("{" if edit == "not json" else json.dumps(edits[edit]))
    with pytest.raises(InputError, match=r"metrics\.json .*; delete this run and run its sweep again"):
        gather(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_claims_about_damaged_rows_are_one_sentence(tmp_path: Path) -> None:
    claims = tmp_path / "claims.yaml"
    claims.write_text("- {claim: c, metric: spearman, target: 1, where: {predictor: best}, command: make it}")
    for content in ("[", "[]", "[1]", '[{"predictor": "p", "spearman": 1}]'):
        (tmp_path / "summary.json").write_text(content)
        with pytest.raises(InputError, match=r"summary\.json"):
            check_claims(claims, tmp_path)
    with pytest.raises(InputError, match="is not a number in all rows"):
        Claim("c", "spearman", 1).check([{"spearman": "fast"}])
