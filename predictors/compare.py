"""Comparison of runs: a ranking, a report, and the best predictor by validation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.files.reading import existing, read_yaml
from datasets.files.writing import whole_file, write_text
from datasets.records import UNITS, InputError
from predictors.ranking import Rows, differences, lines_of, ranking
from predictors.rows import SCORES, read_rows, run_files
from predictors.settings import differing, settings

HOW = "python train.py --out {}/NAME ..."
AGAIN = "train this run again"


def read_runs(folder: Path) -> dict[Path, Rows]:
    """Read the rows of all run folders inside `folder`, by run folder.

    Settings that differ between runs of one predictor with one number of labels are further columns, such as
    `predictor.hidden`.

    Raises:
        InputError: there is no run, one is damaged, or they are of different data sets.
    """
    runs = {}
    for file in run_files(folder, HOW.format(folder)):
        rows = read_rows(file, SCORES, AGAIN)
        if {row["set"] for row in rows if row["cells"] == "all"} != {"val", "test"}:
            raise InputError(f"{file} lacks the rows of validation or of the test; {AGAIN}.")
        if len({(row["predictor"], row["shots"], row["seed"]) for row in rows}) > 1:
            raise InputError(f"{file} has rows of several runs; {AGAIN}.")
        runs[file.parent] = rows
    different = {row["dataset"] for rows in runs.values() for row in rows}
    if len(different) > 1:
        raise InputError(f"The runs in {folder} are of different data sets ({', '.join(sorted(different))}).")
    return with_settings(runs, ("predictor", "shots"), AGAIN)


def with_settings(runs: dict[Path, Rows], group: Sequence[str], remedy: str) -> dict[Path, Rows]:
    """Rows with the settings of their runs (config.yaml) that differ between runs which agree in some columns.

    Args:
        runs: rows by run folder.
        group: columns in which runs have to agree.
        remedy: end of the error message, what to do where a configuration is damaged.

    Raises:
        InputError: a run folder has no configuration.
    """
    found = {run: settings(_config(run / "config.yaml", remedy)) for run in runs}
    shown = differing((tuple(rows[0][name] for name in group), found[run]) for run, rows in runs.items())
    added = {run: {name: own[name] for name in shown if name in own and "." in name} for run, own in found.items()}
    return {run: [{**row, **added[run]} for row in rows] for run, rows in runs.items()}


def _config(path: Path, remedy: str) -> dict[str, Any]:
    tree = read_yaml(path, remedy)
    if not isinstance(tree, dict):
        raise InputError(f"{path} is no configuration of a run; {remedy}.")
    return tree


def is_transfer(folder: Path) -> bool:
    """Whether the runs in `folder` are of `transfer`, judged by the first."""
    return "device_set" in read_rows(run_files(folder, HOW.format(folder))[0], {}, AGAIN)[0]


def compare(folder: Path, against: str = "") -> tuple[pd.DataFrame, Path | None]:
    """Compare the runs in `folder`; write summary.json, report.html, best.pt and, if it exists, best.onnx there, which
    replace those of an earlier best.

    Args:
        folder: folder of run folders.
        against: the line that others are compared with, as `ranking.differences` takes it; '': none.

    Returns:
        The ranking, and the best run: the seed of the first line with the highest validation Spearman; None if no line
        has one.
    """
    from predictors.figures import device_bars, errors, learning_curves, scatter
    from predictors.report import Section, page

    runs = read_runs(folder)
    rows = [row for run in runs.values() for row in run]
    ranked = ranking(rows)
    paired = differences(rows, against) if against else None
    best = best_run(runs) if ranked["val_spearman"].notna().any() else None
    models = [existing(best / "predictor.pt", AGAIN), *best.glob("predictor.onnx")] if best else []
    tested = by_line(rows)
    most = tested[tested["shots"] == tested["shots"].max()]
    shown = ranked.drop(
        columns=[name for name in map(str, ranked) if name.endswith("_ci") and ranked[name].isna().all()]
    )
    sections: list[Section] = [
        ("Ranking by validation Spearman; the other columns are of the test set; means over devices, seeds", shown),
        (f"Devices, test set, {most['shots'].max()} labels", lambda: device_bars(most)),
    ]
    if best:
        predictions = read_predictions(best)
        metric = predictions["metric"].iloc[0]
        unit = UNITS.get(metric, metric)
        sections += [
            (f"Measured against predicted by {best.name}, test set", lambda: scatter(predictions, unit)),
            (f"Relative errors of {best.name}, test set", lambda: errors(predictions)),
        ]
    sections.append(("Every row", pd.DataFrame(rows).drop(columns="draw", errors="ignore")))
    if tested["shots"].nunique() > 1:
        curves = ("Learning curves, test set, means over devices and seeds", lambda: learning_curves(tested))
        sections.insert(1, curves)
    if paired is not None:
        heading = f"Differences to {against}, test set, paired by seed; _ci: half of the 95 % confidence interval"
        sections.insert(1, (heading, paired.reset_index()))
    report = page(f"Predictors on {rows[0]['dataset']}", sections)
    write_text(folder / "summary.json", json.dumps(rows, indent=1))
    for suffix in (".pt", ".onnx"):
        (folder / f"best{suffix}").unlink(missing_ok=True)
    for model in models:
        with whole_file(folder / f"best{model.suffix}") as part:
            shutil.copyfile(model, part)
    write_text(folder / "report.html", report)
    return ranked, best


def by_line(rows: Rows) -> pd.DataFrame:
    """Rows of the test set on all cells, best line first; column `predictor` holds the label of the line, without the
    number of labels."""
    lines = lines_of(rows)
    parts = []
    for name in ranking(rows).index:
        shown = name.removesuffix(f"-labels={lines[name][0]['shots']}")
        parts += [{**row, "predictor": shown} for row in lines[name]]
    table = pd.DataFrame(parts)
    return table[(table["set"] == "test") & (table["cells"] == "all")].reset_index(drop=True)


def best_run(runs: dict[Path, Rows], line: int = 0) -> Path:
    """The run with the highest validation Spearman of a line of the ranking; 0 is the best line, -1 the last."""
    rows = [row for part in runs.values() for row in part]
    chosen = lines_of(rows)[ranking(rows).index[line]]
    scores = {run: ranking(part)["val_spearman"].iloc[0] for run, part in runs.items() if part[0] in chosen}
    return max(scores, key=lambda run: (scores[run] == scores[run], scores[run]))  # NaN ranks below all numbers


def read_predictions(run: Path) -> pd.DataFrame:
    """Read the predictions of a run on its test set."""
    path = existing(run / "predictions.parquet", AGAIN)
    names = ["metric", "set", "key", "device", "measured", "predicted"]
    try:
        table = pd.read_parquet(path, columns=names)
        table = table[table["set"] == "test"].astype({"measured": float, "predicted": float})
    except Exception as error:  # what pyarrow and pandas raise on damaged or edited files
        raise InputError(f"{path} is damaged or of another version of Gnomon; {AGAIN}.") from error
    texts = table[["metric", "device"]].map(lambda value: isinstance(value, str)).all(axis=None)
    if table.empty or not texts or not np.isfinite(table[["measured", "predicted"]]).all(axis=None):
        raise InputError(f"{path} has no predictions of the test set, or some that are not finite; {AGAIN}.")
    return table
