"""Tables of docs/results/search.md, made of means over seeds of `python -m studies.search.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/search/summary.json")
COLUMNS = ("part", "search", "regret", "regret_half", "met", "measurements")
"""Columns of the tables; others of the summary are not kept beside the page."""
SEARCHES = {
    "random": "random search",
    "evolution": "regularised evolution",
    "macs": "equation 5, MACs as proxy",
    "weighted": "equation 6, best of nine source devices",
    "budget": "equation 5, the same proxy",
    "refined": "..., corrected by what was measured",
    "adapted": "equation 5, adapted predictor",
    "predicted": "..., accuracies predicted, too",
}
HYBRIDS = {
    "measured_200": "evolution, 200 cells, all measured",
    "measured_800": "..., 800 cells",
    "hybrid_evolution": "hybrid evolution, 200 cells",
    "hybrid": "hybrid, all cells predicted",
    "predicted_0.5": "all cells predicted, none measured",
    "predicted_0.9": "..., `--confidence 0.9`",
}


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Means over devices and seeds of the sixty pairs and of hybrid searches."""
    return [
        rounded(row, COLUMNS)
        for row in rows
        if row.get("device") == "all" and (row["part"] == row["search"] or row["part"] == "hybrids")
    ]


def searches(rows: Rows) -> str:
    """Sixty pairs of an unseen device and a budget."""
    return _table("search", SEARCHES, [row for row in rows if row["part"] != "hybrids"])


def hybrid_searches(rows: Rows) -> str:
    """Thirty pairs: searches that measure each candidate, the doubtful ones, or ten samples alone."""
    return _table("search", HYBRIDS, [row for row in rows if row["part"] == "hybrids"])


def _table(what: str, names: Mapping[str, str], rows: Rows) -> str:
    found = {row["search"]: row for row in rows}
    lines = [
        (name, spread(found[key]), f"{100 * found[key]['met']:.0f} %", f"{found[key]['measurements']:.1f}")
        for key, name in names.items()
    ]
    return table((what, "mean regret, points", "budgets kept", "measurements"), lines)


def spread(row: Mapping[str, Any]) -> str:
    """The mean regret, and half of its interval where seeds differ."""
    return f"{row['regret']:.2f}" + (f" ± {row['regret_half']:.2f}" if row["regret_half"] > 0 else "")
