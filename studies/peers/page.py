"""The table of docs/results/peers.md, made of rows of `python -m studies.peers.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/peers/summary.json")
LINES = {
    ("help_nd", 20): ("HELP, NAS-Bench-201", "truncated_spearman", "0.947", "0.917"),
    ("help_nd", 30): ("HELP, NAS-Bench-201", "truncated_spearman", "0.958", "0.941"),
    ("nasflat_nd", 20): ("NASFLAT, NAS-Bench-201", "first_128_spearman", "0.962", "0.969"),
    ("help_fd", 20): ("HELP, FBNet", "truncated_spearman", "–", "0.910 (published)"),
    ("nasflat_fd", 20): ("NASFLAT, FBNet", "first_128_spearman", "–", "0.961 (published)"),
}
"""By part and number of samples: the method and its space, the score of its own test, and what its own code scored on
all other architectures and in its own test."""
COLUMNS = ("part", "device", "samples", "draw", "spearman", "truncated_spearman", "first_128_spearman", "fit_cpu_s",
           "adapt_cpu_s")  # fmt: skip


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Scores by target device and draw."""
    return [rounded(row, COLUMNS) for row in rows]


def peers(rows: Rows) -> str:
    """Means over target devices and draws, beside what the methods' own code scored."""
    lines = []
    for (part, samples), (name, own, others_theirs, own_theirs) in LINES.items():
        chosen = [row for row in rows if (row["part"], row["samples"]) == (part, samples)]
        lines.append((
            name, samples, f"{mean(row['spearman'] for row in chosen):.3f}", f"{mean(row[own] for row in chosen):.3f}",
            others_theirs, own_theirs, f"{chosen[0]['fit_cpu_s']:.0f}",
            f"{mean(row['adapt_cpu_s'] for row in chosen):.2f}",
        ))  # fmt: skip
    header = ("Spearman", "samples", "all others", "its own test", "its own code: all others", "its own test",
              "sources, CPU-s", "adapting, CPU-s")  # fmt: skip
    return table(header, lines)
