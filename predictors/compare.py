"""Comparing runs: one table, one report, the best one by validation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.records import UNITS, InputError
from predictors.metrics import METRICS

SHOWN = ("spearman", "kendall", "mape", "within_1", "within_5", "within_10")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of every run folder inside `folder`."""
    files = sorted(folder.glob("*/metrics.json"))
    if not files:
        raise InputError(f"There is no run in {folder}; `python train.py --out {folder}/NAME ...` makes one.")
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            rows += json.loads(file.read_text())
        except ValueError as error:
            raise InputError(f"{file} is damaged ({error}); train this run again.") from error
    different = {row["dataset"] for row in rows}
    if len(different) > 1:
        raise InputError(f"The runs in {folder} are of different data sets ({', '.join(sorted(different))}).")
    return rows


def ranking(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line a predictor, means over devices on all cells: validation Spearman (which ranks; undefined is last), then
    the metrics of the test set and CPU seconds."""
    table = pd.DataFrame(rows)
    table[list(METRICS)] = table[list(METRICS)].astype(float)
    table = table[table["cells"] == "all"]
    lines = []
    for name, part in table.groupby("predictor", sort=False):
        val, test = part[part["set"] == "val"], part[part["set"] == "test"]
        # skipna=False: a correlation that is undefined on one device is undefined in the mean
        line = {"predictor": name, "val_spearman": val["spearman"].mean(skipna=False)}
        line |= {metric: test[metric].mean(skipna=False) for metric in SHOWN}
        lines.append(line | {"fit_cpu_s": part["fit_cpu_s"].mean(), "predict_cpu_s": test["predict_cpu_s"].mean()})
    return pd.DataFrame(lines).sort_values("val_spearman", ascending=False, na_position="last", ignore_index=True)


def compare(folder: Path) -> tuple[pd.DataFrame, str]:
    """Compare the runs in `folder`; writes summary.json, report.html, best.pt and best.onnx there.

    Returns:
        The ranking and the name of the best run.
    """
    from predictors.figures import device_bars, errors, scatter
    from predictors.report import page

    rows = read_rows(folder)
    ranked = ranking(rows)
    best = str(ranked["predictor"][0])
    (folder / "summary.json").write_text(json.dumps(rows, indent=1))
    for name in ("predictor.pt", "predictor.onnx"):
        shutil.copyfile(folder / best / name, folder / f"best{Path(name).suffix}")
    table = pd.DataFrame(rows)
    tested = table[(table["set"] == "test") & (table["cells"] == "all")]
    tested = tested.set_index("predictor").loc[list(ranked["predictor"])].reset_index()  # best first
    predictions = pd.read_parquet(folder / best / "predictions.parquet")
    predictions = predictions[predictions["set"] == "test"]
    metric = _metric(folder / best)
    sections = [
        ("Ranking: by validation Spearman; all other columns are of the test set, means over devices", ranked),
        ("Devices, test set", device_bars(tested)),
        (f"Measured against predicted by {best}, test set", scatter(predictions, UNITS.get(metric, metric))),
        (f"Relative errors of {best}, test set", errors(predictions)),
        ("Every row", table.drop(columns=["shots", "draw"])),
    ]
    (folder / "report.html").write_text(page(f"Predictors on {rows[0]['dataset']}", sections))
    return ranked, best


def _metric(run: Path) -> str:
    import yaml

    return yaml.safe_load((run / "config.yaml").read_text())["predictor"]["init_args"]["metric"]
