"""The table of docs/results/search.md on optimizer networks, made of means of `python -m studies.optimizer.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table
from studies.search.page import spread

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/search/optimizer/summary.json")
COLUMNS = ("part", "search", "regret", "regret_half", "met", "within_5", "answer_ms", "train_seconds")
NAMES = {
    "imitate_alone": "Method 1, its first cell",
    "imitate": "Method 1",
    "through_alone": "Method 2, its first cell",
    "through": "Method 2",
    "weights": "Method 2, by lambda",
    "ensemble": "all three together",
    "local": "..., with a local search around them",
    "gp": "..., accuracies predicted from 900 cells",
}


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Means over devices and seeds of the sixty pairs."""
    return [rounded(row, COLUMNS) for row in rows if row.get("device") == "all" and row["part"] == row["search"]]


def optimizer(rows: Rows) -> str:
    """Sixty pairs of an unseen device and a budget, answered without measuring a decision."""
    found = {row["search"]: row for row in rows}
    lines = [
        (name, spread(row), f"{100 * row['met']:.0f} %", f"{100 * row['within_5']:.0f} %", f"{row['answer_ms']:.1f}",
         f"{row['train_seconds']:.0f}")
        for name, row in ((name, found[key]) for key, name in NAMES.items())
    ]  # fmt: skip
    header = ("optimizer network", "mean regret, points", "budgets kept", "within 5 %",
              "the networks' CPU ms per answer", "training, CPU-s")  # fmt: skip
    return table(header, lines)
