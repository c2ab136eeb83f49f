"""Comparison of runs: a ranking, a report, and the best predictor by validation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.files.reading import existing
from datasets.files.writing import whole_file, write_text
from datasets.records import UNITS, InputError
from predictors.metrics import LEAST, METRICS
from predictors.rows import SCORES, read_rows, run_files

HOW = "python train.py --out {}/NAME ..."
AGAIN = "train this run again"
SHOWN = ("spearman", "kendall", "mape", "within_1", "within_5", "within_10")


def read_runs(folder: Path) -> dict[Path, list[dict[str, Any]]]:
    """Read the rows of all run folders inside `folder`, by run folder.

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
    return runs


def is_transfer(folder: Path) -> bool:
    """Whether the runs in `folder` are of `transfer`, judged by the first."""
    return "device_set" in read_rows(run_files(folder, HOW.format(folder))[0], {}, AGAIN)[0]


def ranking(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over devices and seeds, one line per predictor and number of labels (validation included), on all cells.

    Columns: validation Spearman, by which lines are sorted (undefined last), metrics of the test set, CPU seconds, and
    `test_cells`, the least number of test cells of a device. Devices with fewer than `metrics.LEAST` cells in a set are
    excluded from its means.
    """
    table = pd.DataFrame(rows)
    table[list(METRICS)] = table[list(METRICS)].astype(float)
    table = table[table["cells"] == "all"]
    kept = table[table["n"] >= LEAST]
    lines = []
    for (name, shots), part in table.groupby(["predictor", "shots"], sort=False):
        counted = kept.loc[kept.index.intersection(part.index)]
        val, test = counted[counted["set"] == "val"], counted[counted["set"] == "test"]
        # skipna=False: the mean is undefined where a correlation is undefined on a device
        line = {"predictor": name, "labels": shots, "seeds": part["seed"].nunique()}
        line |= {"val_spearman": val["spearman"].mean(skipna=False)}
        line |= {metric: test[metric].mean(skipna=False) for metric in SHOWN} | {"test_cells": test["n"].min()}
        lines.append(line | {"fit_cpu_s": part["fit_cpu_s"].mean(), "predict_cpu_s": test["predict_cpu_s"].mean()})
    return pd.DataFrame(lines).sort_values("val_spearman", ascending=False, na_position="last", ignore_index=True)


def excluded(rows: list[dict[str, Any]]) -> list[str]:
    """Devices with fewer than `metrics.LEAST` cells, and their number, one text per device and set."""
    small = {(row["device"], row["set"]): row["n"] for row in rows if row["cells"] == "all" and row["n"] < LEAST}
    return [f"{device or 'the metric'}: {n} {part} cells" for (device, part), n in small.items()]


def compare(folder: Path) -> tuple[pd.DataFrame, Path]:
    """Compare the runs in `folder`; write summary.json, report.html, best.pt and, if it exists, best.onnx there.

    Returns:
        The ranking, and the best run: the seed of the first predictor with the highest validation Spearman.
    """
    from predictors.figures import device_bars, errors, learning_curves, scatter
    from predictors.report import Section, page

    runs = read_runs(folder)
    rows = [row for run in runs.values() for row in run]
    ranked = ranking(rows)
    first = ranked.iloc[0]
    candidates = {
        r: part
        for r, part in runs.items()
        if (part[0]["predictor"], part[0]["shots"]) == (first.predictor, first.labels)
    }
    best = _best_run(candidates)
    models = [existing(best / "predictor.pt", AGAIN), *best.glob("predictor.onnx")]
    table = pd.DataFrame(rows)
    tested = table[(table["set"] == "test") & (table["cells"] == "all")]
    order = list(dict.fromkeys(ranked["predictor"]))  # best first
    tested = tested.set_index("predictor").loc[order].reset_index()
    most = tested[tested["shots"] == tested["shots"].max()]
    predictions = _predictions(best)
    metric = predictions["metric"].iloc[0]
    unit = UNITS.get(metric, metric)
    sections: list[Section] = [
        ("Ranking by validation Spearman; the other columns are of the test set; means over devices, seeds", ranked),
        (f"Devices, test set, {most['shots'].max()} labels", lambda: device_bars(most)),
        (f"Measured against predicted by {best.name}, test set", lambda: scatter(predictions, unit)),
        (f"Relative errors of {best.name}, test set", lambda: errors(predictions)),
        ("Every row", table.drop(columns="draw", errors="ignore")),
    ]
    if tested["shots"].nunique() > 1:
        curves = ("Learning curves, test set, means over devices and seeds", lambda: learning_curves(tested))
        sections.insert(1, curves)
    report = page(f"Predictors on {rows[0]['dataset']}", sections)
    write_text(folder / "summary.json", json.dumps(rows, indent=1))
    (folder / "best.onnx").unlink(missing_ok=True)
    for model in models:
        with whole_file(folder / f"best{model.suffix}") as part:
            shutil.copyfile(model, part)
    write_text(folder / "report.html", report)
    return ranked, best


def _predictions(run: Path) -> pd.DataFrame:
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


def _best_run(runs: dict[Path, list[dict[str, Any]]]) -> Path:
    scores = {run: ranking(rows)["val_spearman"][0] for run, rows in runs.items()}
    return max(scores, key=lambda run: (scores[run] == scores[run], scores[run]))  # NaN ranks below all numbers
