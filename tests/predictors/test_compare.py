"""Folders of runs that were cut off, edited or mixed: one sentence that names the file, and nothing is crowned."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_1samp, ttest_rel

from datasets.records import InputError
from predictors.compare import best_run, by_line, compare, read_runs
from predictors.metrics import LATER, METRICS
from predictors.new_devices.transfer_report import gather, read_rows
from predictors.ranking import differences, lines_of, ranking
from studies.claims import Claim, check_claims
from tests.conftest import ROOT, run

Rows = list[dict[str, Any]]


def made(
    folder: Path, predictor: str, spearman: float, n: int = 12, seed: int = 0, own_seed: int = 0, **settings: Any
) -> Path:
    """A run folder as `train.py` leaves it, with two devices and scores of `n` architectures."""
    about = {"dataset": "toy", "predictor": predictor, "draw": 0, "shots": 10, "seed": seed}
    scores = dict.fromkeys(METRICS, 0.5) | {"spearman": spearman, "fit_cpu_s": 1.0, "predict_cpu_s": 0.1, "n": n}
    rows = [{**about, "set": which, "device": device, "cells": cells, **scores}
            for which in ("val", "test") for device in ("a", "b") for cells in ("all", "connected")]  # fmt: skip
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(rows))
    fields = {"hidden": 8, "seed": own_seed} | settings
    config = {"predictor": {"class_path": f"predictors.{predictor}", "init_args": fields}, "split": {"init_args": {}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"name": predictor, "seed": seed, "out": str(folder)}))
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


def test_nothing_is_best_where_too_few_cells_are_ranked(study: Path, tmp_path: Path) -> None:
    compare(study)
    for name in ("good", "poor"):
        file = study / name / "metrics.json"
        scores = dict.fromkeys(("spearman", "kendall", "r2"))
        file.write_text(json.dumps([{**row, "n": 4, **scores} for row in json.loads(file.read_text())]))
    done = run("-m", "predictors", "compare", study)
    assert done.returncode == 0, done.stderr
    assert "ranks need 10 cells or more" in done.stdout and "constant" not in done.stdout
    assert "best:     none" in done.stdout and not list(study.glob("best.*"))


SCORES = {(8, 0): 0.4, (8, 1): 0.62, (8, 2): 0.5, (16, 0): 0.7, (16, 1): 0.72, (16, 2): 0.76}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two widths, three seeds, and a line that learns nothing of seeds but the split's."""
    for (hidden, seed), spearman in SCORES.items():
        made(tmp_path / f"gcn-{hidden}-{seed}", "gcn", spearman, 50, seed, hidden=hidden)
    for seed in (0, 1, 2):
        made(tmp_path / f"line-{seed}", "line", 0.6, 50, seed)
    return tmp_path


def _rows(study: Path) -> Rows:
    return [row for rows in read_runs(study).values() for row in rows]


def test_lines_differ_by_what_differs_and_never_average_over_it(grid: Path) -> None:
    ranked = ranking(_rows(grid))
    assert list(ranked.index) == ["gcn-hidden=16", "line-hidden=8", "gcn-hidden=8"]
    assert list(ranked.columns[:4]) == ["predictor", "hidden", "labels", "seeds"] and set(ranked["seeds"]) == {3}
    assert ranked["spearman"].tolist() == pytest.approx([0.726667, 0.6, 0.506667], abs=1e-6)
    assert best_run(read_runs(grid)).name == "gcn-16-2" and best_run(read_runs(grid), -1).name == "gcn-8-1"
    assert list(dict.fromkeys(by_line(_rows(grid))["predictor"])) == list(ranked.index)


def test_only_settings_that_differ_are_columns(tmp_path: Path) -> None:
    for seed in (0, 1):
        made(tmp_path / f"a-{seed}", "gcn", 0.5, 50, seed)
        made(tmp_path / f"b-{seed}", "mlp", 0.5, 50, seed, hidden=32, dropout=0.1)
    assert list(ranking(_rows(tmp_path)).columns[:3]) == ["predictor", "labels", "seeds"]
    made(
        tmp_path / "c", "gcn", 0.5, 50, 0, dropout=[0.1, 0.2], members=[{"class_path": "x", "init_args": {"hidden": 2}}]
    )
    ranked = ranking(_rows(tmp_path))
    assert list(ranked.columns[1:4]) == ["dropout", "class_path", "hidden"]
    assert set(ranked.index) == {"gcn", "mlp-dropout=0.1", "gcn-dropout=0.1,_0.2-class_path=x-hidden=2"}


def test_seeds_of_predictors_are_seeds_too(tmp_path: Path) -> None:
    for seed, spearman in enumerate((0.5, 0.7)):
        made(tmp_path / f"a-{seed}", "gcn", spearman, 50, own_seed=seed)
    (line,) = ranking(_rows(tmp_path)).to_dict("records")
    assert line["seeds"] == 2 and line["spearman"] == pytest.approx(0.6) and "seed" not in line


def test_runs_that_are_repeated_do_not_narrow_the_interval(grid: Path) -> None:
    before = ranking(_rows(grid))
    made(grid / "again", "gcn", SCORES[16, 1], 50, 1, hidden=16)
    pd.testing.assert_frame_equal(ranking(_rows(grid)), before)


def test_intervals_and_paired_differences_are_those_of_student(grid: Path) -> None:
    ranked = ranking(_rows(grid))
    wide, narrow = ([SCORES[hidden, seed] for seed in (0, 1, 2)] for hidden in (16, 8))
    low, high = ttest_1samp(wide, 0).confidence_interval(0.95)
    assert ranked["spearman_ci"]["gcn-hidden=16"] == pytest.approx((high - low) / 2)
    for against in ("gcn-hidden=8", "3"):
        paired = differences(_rows(grid), against)
        assert list(paired.index) == ["gcn-hidden=16", "line-hidden=8"] and list(paired["pairs"]) == [3, 3]
        low, high = ttest_rel(wide, narrow).confidence_interval(0.95)
        first = paired.loc["gcn-hidden=16"]
        assert first["spearman"] == pytest.approx(np.mean(wide) - np.mean(narrow))
        assert first["spearman_ci"] == pytest.approx((high - low) / 2) and first["mape"] == 0


def test_lines_are_paired_by_the_same_split_only(grid: Path) -> None:
    made(grid / "other", "line", 0.9, 50, 7)  # nothing else has this seed
    paired = differences(_rows(grid), "line")
    assert list(paired["pairs"]) == [3, 3] and paired.loc["gcn-hidden=16", "spearman"] == pytest.approx(
        0.126667, abs=1e-6
    )
    file = grid / "gcn-16-0" / "metrics.json"
    file.write_text(json.dumps([{**row, "n": 49} for row in json.loads(file.read_text())]))  # another test set
    assert list(differences(_rows(grid), "line")["pairs"]) == [2, 3]


def test_seeds_that_only_one_predictor_has_are_averaged_before_pairing(tmp_path: Path) -> None:
    for split in (0, 1):
        made(tmp_path / f"line-{split}", "line", 0.5, 50, split)
        for seed, spearman in ((1, 0.6), (2, 0.8)):
            made(tmp_path / f"gcn-{split}-{seed}", "gcn", spearman + split / 10, 50, split, own_seed=seed)
    paired = differences(_rows(tmp_path), "line").loc["gcn"]
    assert paired["pairs"] == 2 and paired["spearman"] == pytest.approx(0.25)


@pytest.mark.parametrize("against", ["gcn", "x", "0", "4", "9" * 50, "gcn-hidden=32"])
def test_a_line_that_is_not_there_is_one_sentence(grid: Path, against: str) -> None:
    with pytest.raises(InputError, match=r"(is no line|names several lines) of this comparison; .* gcn-hidden=16"):
        compare(grid, against)
    assert not (grid / "summary.json").exists() and not (grid / "best.pt").exists()


def test_the_command_prints_intervals_and_differences(grid: Path) -> None:
    done = run("-m", "predictors", "compare", grid, "--against", "line")
    assert done.returncode == 0, done.stderr
    assert re.search(r"gcn +16 +10 +3 .* 0\.7267 ± 0\.076", done.stdout), done.stdout
    assert re.search(r"gcn-hidden=16 +line-hidden=8 +3 +0\.1267 ± 0\.076", done.stdout), done.stdout
    assert "Differences to line" in (grid / "report.html").read_text()
    summary = json.loads((grid / "summary.json").read_text())
    assert list(lines_of(summary)) == list(lines_of(_rows(grid)))


def test_the_notebook_reads_a_sweep(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folders have other names than their predictors."""
    cells = json.loads((ROOT / "notebooks" / "compare_predictors.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    monkeypatch.setenv("STUDY", str(grid))
    monkeypatch.chdir(ROOT)
    space: dict[str, Any] = {}
    exec(code.replace("%matplotlib inline", ""), space)
    assert len(space["ranked"]) == 3 and space["last"] == 2 and len(space["worst"]) == 6


def test_rows_of_older_versions_are_read(grid: Path) -> None:
    file = grid / "line-0" / "metrics.json"
    file.write_text(
        json.dumps([{k: v for k, v in row.items() if k not in LATER} for row in json.loads(file.read_text())])
    )
    ranked, _ = compare(grid)
    assert ranked["precision_at_10"].isna().tolist() == [False, True, False]


def test_the_best_predictor_of_claims_is_one_line(grid: Path) -> None:
    where = {"predictor": "best", "set": "test", "cells": "all"}
    assert Claim("c", "spearman", 0.7, where).check(_rows(grid))["value"] == pytest.approx(0.726667, abs=1e-6)


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
    (file.parent / "config.yaml").write_text("name: p")
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
