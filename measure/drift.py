"""Correction for drift: milliseconds of a row at the usual speed of its device, and whether they can be relied on.

A row's ratio to the reference network does not depend on the machine's speed at that moment. Its milliseconds are the
ratio times the device's reference time, the median over the rows of a journal: the latency at the machine's median
speed. A journal of a few rows that were all measured while other work ran has a slow reference time, so that all its
milliseconds are too large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from measure.rows import Row, identity, is_timed

FEW = 20
"""With fewer rows a device's median speed may be that of a moment, and signs of other work count earlier."""
SLOW = 1.25
"""Largest usual factor between a reference time and the fastest of its device: shared machines drift by a tenth."""
SIGNS = ("interrupted", "load", "processors")
"""Fields of a row that show other work on the machine; old rows lack the first and the last."""


class References:
    """The reference times of the devices of a journal."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a row; failed rows and rows of no device are ignored."""
        if is_timed(row):
            kept = {name: row[name] for name in ("device", "reference_ms", *SIGNS) if name in row}
            self._rows.setdefault(row["device"]["name"], []).append(kept)

    def ms(self, device: str) -> float:
        """Reference time of a device in ms: the median over its reliable rows, or over all if none is."""
        rows = self._rows[device]
        reliable = [row for row in rows if not self.why_unreliable(row)]
        return float(np.median([row["reference_ms"] for row in reliable or rows]))

    def corrected_ms(self, row: Row) -> float:
        """Milliseconds of a row at the median speed of its device, which has rows here."""
        return float(row["ratio"] * self.ms(row["device"]["name"]))

    def why_unreliable(self, row: Row) -> str:
        """Why the milliseconds of a row cannot be relied on, as a clause; empty if they can or the row is too old to
        know."""
        rows = self._rows[row["device"]["name"]]
        few, interrupted = len(rows) < FEW, row.get("interrupted", 0.0)
        if interrupted > (0.25 if few else 0.5):
            return f"other work interrupted {100 * interrupted:.0f} % of the pairs of runs"
        if not few:
            return ""
        load, processors = row.get("load", 0.0), row.get("processors", math.inf)
        if load > processors:
            return f"the load of this machine was {load:.1f} on {processors} processors"
        slower = row["reference_ms"] / min(other["reference_ms"] for other in rows)
        return f"the reference network took {slower:.1f} times its fastest time" if slower > SLOW else ""


def without_replaced(rows: list[Row]) -> list[Row]:
    """The rows without the unreliable ones that stable and reliable rows of the same measurement replace."""
    references = References(rows)
    bad = [is_timed(row) and references.why_unreliable(row) != "" for row in rows]
    known = {identity(row) for row, wrong in zip(rows, bad, strict=True) if not wrong and row.get("stable")}
    return [row for row, wrong in zip(rows, bad, strict=True) if not wrong or identity(row) not in known]


def unreliable_devices(rows: list[Row]) -> dict[str, str]:
    """One sentence for each device of which rows are unreliable: how many, and why the first one is."""
    references, reasons = References(rows), dict[str, list[str]]()
    for row in filter(is_timed, rows):
        reasons.setdefault(row["device"]["name"], []).append(references.why_unreliable(row))
    found = {name: list(filter(None, clauses)) for name, clauses in reasons.items()}
    return {
        name: f"{len(clauses)} of {len(reasons[name])} rows are unreliable: of the first, {clauses[0]}"
        for name, clauses in found.items() if clauses
    }  # fmt: skip
