"""LETI's Table 2: shares of test cells whose predicted latency is within a tolerance of the measured one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from predictors.compare import read_runs
from predictors.ranking import ranking

LETIS = ("flops", "better_flops", "xgboost_flat")
"""LETI's own three predictors; the others are ours."""
TOLERANCES = ("within_1", "within_5", "within_10")


def scores(runs: Path) -> pd.DataFrame:
    """Validation and test rows of all runs of the study."""
    return pd.DataFrame([row for rows in read_runs(runs).values() for row in rows if row["cells"] == "all"])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def tolerance(runs: Path) -> list[dict]:
    """Shares within +-1, 5 and 10 % on the test cells, per device and over all: means and standard deviations over
    seeds. Also the margin of our predictor (the best by validation) over the best of LETI's three (by the test set
    itself)."""
    table = scores(runs)
    tests = table[table["set"] == "test"].astype(dict.fromkeys(TOLERANCES, float))
    by = ["predictor", "shots", "seed", "device"]
    shares = tests.groupby(by)[list(TOLERANCES)].mean().reset_index()
    whole = shares.groupby(by[:-1])[list(TOLERANCES)].mean().reset_index().assign(device="all")
    shares = pd.concat([whole, shares], ignore_index=True)
    means: dict[tuple[str, int, str], pd.Series] = {}
    rows: list[dict] = []
    for (device, _, name), part in shares.groupby(["device", "shots", "predictor"]):
        shots = int(part["shots"].iloc[0])
        about = {"what": "share", "device": device, "shots": shots, "predictor": name, "seeds": len(part)}
        mean, sd = part[list(TOLERANCES)].mean(), part[list(TOLERANCES)].std().add_prefix("sd_")
        rows.append({**about, **mean, **sd})
        means[str(device), shots, str(name)] = mean
    for device, shots in sorted({key[:2] for key in means}):
        selected = {name: mean for (d, n, name), mean in means.items() if (d, n) == (device, shots)}
        leaders = ranking(_rows(table[table["shots"] == shots]))["predictor"]
        best = next(name for name in leaders if name not in LETIS)
        row = {"what": "margin", "device": device, "shots": shots, "predictor": best}
        for t in TOLERANCES:
            row[f"margin_{t}"] = selected[best][t] - max(selected[name][t] for name in LETIS if name in selected)
        rows.append(row)
    return rows
