"""Measured rows as text: milliseconds that are corrected for drift first, raw ones after."""

from __future__ import annotations

import re
from collections.abc import Sequence

from measure.drift import References
from measure.percentiles import PERCENTILES
from measure.rows import Row

OWN = "InputError|NotQuantised|NotDelegated|WrongOutput|BuildFailed|ChildFailed|BenchmarkFailed|AdbError"
"""Classes of exceptions of ours, whose texts are sentences without them."""


def failure(row: Row) -> str:
    """Why a row failed; the class of an exception stays only where it belongs to a runtime or to Python."""
    return re.sub(f"^({OWN}): ", "", row["error"])


def row_text(row: Row, references: References) -> str:
    """One row on one line: what was measured, on which device, and how long it took or why it failed.

    Args:
        row: a row of a device.
        references: the reference times of all rows so far, this one among them.
    """
    name = f"{row['key']} on {row['device']['name']}"
    if "error" in row:
        return f"{name}: {failure(row)}"
    parts = [f"{figures(references.corrected_ms(row))} ms (raw {figures(row['raw_ms'])})", _bounds(row)]
    parts += [f"{row[name]:.4g} {unit}" for name, unit in (("energy_mj", "mJ"), ("peak_mb", "MB")) if name in row]
    return f"{name}: {', '.join(filter(None, [*parts, _doubts(row, references)]))}"


def figures(ms: float) -> str:
    """A number in three figures, or all of a longer one's."""
    return f"{ms:.3g}" if ms < 999.5 else f"{ms:.0f}"


def _bounds(row: Row) -> str:
    """The upper bound of the largest percentile that has one, and the number of runs that the others need."""
    single = row.get("single_runs", {})
    bounds = [f"{name} <= {figures(single[f'{name}_bound'])}" for name in PERCENTILES if f"{name}_bound" in single]
    needs = [f"{name} needs {single[f'{name}_needs']} runs" for name in PERCENTILES if f"{name}_needs" in single]
    return ", ".join([*bounds[-1:], *needs[:1]])


def _doubts(row: Row, references: References) -> str:
    why = references.why_unreliable(row)
    return ", ".join(filter(None, ["" if row["stable"] else "unstable", why and f"unreliable: {why}"]))


def _ends(key: str, most: int = 100) -> str:
    """A key, or the ends of a long one, such as a layer's."""
    return key if len(key) <= most else f"{key[: most - 40]}...{key[-37:]}"


HEAD = ("network", "device", "ms", "raw", "p90 <=", "p99 <=", "first run", "session", "")


def rows_text(rows: Sequence[Row], references: References) -> str:
    """Rows as an aligned table, in ms: corrected and raw medians, bounds of percentiles of single runs, the first run,
    and the creation of the session; a dash stands for what a row does not have."""

    def cells(row: Row) -> list[str]:
        single = row.get("single_runs", {})
        found = (single.get("p90_bound"), single.get("p99_bound"), row.get("first_ms"), row.get("init_ms"))
        numbers = (references.corrected_ms(row), row["raw_ms"], *found)
        doubts = _doubts(row, references).partition(":")[0]
        return [
            _ends(row["key"]),
            row["device"]["name"],
            *("-" if ms is None else figures(ms) for ms in numbers),
            doubts,
        ]

    lines = [list(HEAD), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i in (0, 1, 8) else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip
