"""Tables of docs/results/help_900.md, made of lines of `python -m predictors compare`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import table

Rows = Sequence[Mapping[str, Any]]
SUMMARIES = {name: Path("runs") / name / "summary.json" for name in ("help_900", "help_900_fbnet", "help_curves")}
COLUMNS = ("predictor", "labels", "val_spearman", "spearman", "within_10", "fit_cpu_s")


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Means over devices and seeds by predictor and number of labels, the best by validation first."""
    from predictors.ranking import ranking

    lines = ranking([dict(row) for row in rows])[list(COLUMNS)]
    means = lines.groupby(["predictor", "labels"], as_index=False, sort=False).mean()
    return json.loads(means.sort_values("val_spearman", ascending=False).to_json(orient="records", double_precision=6))


def scores(rows: Rows) -> str:
    """Scores of predictors, the best by validation first."""
    lines = [
        (row["predictor"], f"{row['val_spearman']:.3f}", f"{row['spearman']:.3f}", f"{100 * row['within_10']:.1f} %",
         f"{row['fit_cpu_s']:.3g}")
        for row in rows
    ]  # fmt: skip
    return table(("predictor", "validation Spearman", "Spearman", "within ±10 %", "fit, CPU-s"), lines)


def curves(rows: Rows) -> str:
    """Rank correlation by the number of labels; the best predictor at the most labels first."""
    numbers = sorted({row["labels"] for row in rows})
    found = {(row["predictor"], row["labels"]): row["spearman"] for row in rows}
    names = sorted({row["predictor"] for row in rows}, key=lambda name: -found[name, numbers[-1]])
    lines = [(name, *(f"{found[name, number]:.3f}" for number in numbers)) for name in names]
    return table(("Spearman by labels", *(f"{number:,}" for number in numbers)), lines)
