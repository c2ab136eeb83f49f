"""Measured and predicted times of networks as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from datasets.figures import new_figure, plain_ticks
from gnomon.compare import Compared
from predictors.metrics import plain
from predictors.networks.price_report import end_of, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report(found: Sequence[Compared], level: float) -> str:
    """A table with one row per network, and their notes below."""
    notes: dict[str, int] = {}
    lines = []
    for each in found:
        numbers = [notes.setdefault(note, len(notes) + 1) for note in each.notes]
        measured = {"measured ms": each.measured_ms, "from": each.measured_low, "to": each.measured_high}
        predicted = {"predicted ms": each.predicted_ms, f"{100 * level:.10g} % from": each.low, "up to": each.high}
        cells = {name: plain(ms) if np.isfinite(ms) else "-" for name, ms in (measured | predicted).items()}
        known = np.isfinite(each.off)
        inside = "-" if not (known and np.isfinite(each.low)) else "yes" if each.inside else "no"
        lines.append(
            {"network": end_of(each.network), **cells, "off": f"{100 * each.off:+.1f} %" if known else "-",
             "inside": inside, "notes": ", ".join(map(str, numbers))}
        )  # fmt: skip
    return "\n".join([table(lines), *(f"{number}: {note}" for note, number in notes.items())])


def draw(found: Sequence[Compared], level: float) -> Figure:
    """Plot measured and predicted ms of each network with their intervals, slow networks above."""
    from predictors.figures import BLUE, ORANGE

    rows = sorted(found, key=lambda each: np.nan_to_num(each.measured_ms))
    figure = new_figure(9, min(1.5 + 0.4 * len(rows), 40))
    axis = figure.subplots()
    places = np.arange(len(rows))
    groups = (
        ("measured, passes", BLUE, 0.12, [(r.measured_low, r.measured_ms, r.measured_high) for r in rows]),
        (f"predicted, {100 * level:.10g} %", ORANGE, -0.12, [(r.low, r.predicted_ms, r.high) for r in rows]),
    )
    for label, colour, offset, values in groups:
        low, ms, high = np.array(values, float).T
        axis.hlines(places + offset, low, high, color=colour, lw=2, alpha=0.6)
        axis.plot(ms, places + offset, "o", color=colour, ms=5, label=label)
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)
    axis.set(xlabel="ms per run", ylim=(-0.6, len(rows) - 0.4))
    axis.set_yticks(places, [end_of(row.network) for row in rows])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25, lw=0.6)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    device, priced = (
        ", ".join(dict.fromkeys(filter(None, names)))
        for names in zip(*((row.device, row.priced) for row in rows), strict=True)
    )
    figure.suptitle(f"measured on {device}" + (f", predicted for {priced}" if priced else ""), x=0.01, ha="left")
    return figure
