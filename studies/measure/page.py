"""The table of docs/results/measuring.md, made of rows of `python -m studies.measure.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/measure/summary.json")
RUNTIMES = {"ort": "onnxruntime", "litert": "LiteRT"}


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Rows of repeatability, overhead, kills and sums of layers."""
    return [rounded(row, row, 4) for row in rows if row["part"] in ("repeatability", "overhead", "kill", "lookup")]


def measuring(rows: Rows) -> str:
    """Figures of measurements, one a line."""
    lines = [
        (f"20 cells on {RUNTIMES[row['backend']]}, blocks apart in time, other core busy: variation of medians",
         f"{row['corrected_median']:.1f} %, worst cell {row['corrected_worst']:.1f} % "
         f"(raw: {row['raw_median']:.1f} %, {row['raw_worst']:.1f} %)")
        for row in _of(rows, "repeatability")
    ]  # fmt: skip
    for row in _of(rows, "overhead"):
        what = f"overhead of the harness in a run of {row['network_ms']:.1f} ms; its total time over that of a loop"
        lines.append((what, f"{row['percent']:.1f} %; {row['total_percent']:.1f} %"))
    for row in _of(rows, "kill"):
        lines.append((f"`kill -9` at {row['kills']} random moments of a campaign",
                      f"rows lost: {row['lost']}, doubled: {row['doubled']}, torn: {row['torn']}"))  # fmt: skip
    sums = {(row["network"], row["sum"]): row for row in _of(rows, "lookup")}
    for network in dict.fromkeys(name for name, _ in sums):
        whole, less = sums[network, "summed"], sums[network, "summed - calls"]
        lines.append((f"{network} on onnxruntime as a sum of layers; less {1000 * whole['call_ms']:.1f} µs per call",
                      f"{whole['error']:+.1f} %; {less['error']:+.1f} %"))  # fmt: skip
    return table(("what", "figure"), lines)


def _of(rows: Rows, part: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["part"] == part and row.get("what") != "no sum"]
