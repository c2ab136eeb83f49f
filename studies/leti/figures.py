"""Figures of the architectures (LETI, Figures 4 to 9): latency over physical totals, accuracy over latency, and cells
as graphs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from datasets.figures import BLUE, DARK, GREY, grid, new_figure, plain_ticks, quantity
from datasets.pareto import pareto
from datasets.records import Architecture, Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE = "#d9822b"
TOTAL_UNITS = {
    "flops": (1e6, "MFLOP"),
    "macs": (1e6, "MMAC"),
    "peak_bytes": (2**20, "MiB"),
    "moved_bytes": (2**20, "MiB"),
}


def over_total(
    m: Measurements, total: str, metric: str = "latency_ms", thresholds: Mapping[str, float] | None = None
) -> Figure:
    """A metric over a physical total of the networks, one panel per device.

    Args:
        m: the measurements.
        total: column of `Space.totals`: flops, peak_bytes, ...
        metric: name of the metric.
        thresholds: peak memory in bytes by device; networks above it have another colour.
    """
    totals, values = m.architectures.space.totals(m.architectures), m.matrix(metric)
    unit, name = TOTAL_UNITS.get(total, (1, ""))
    x = totals[total].to_numpy() / unit
    figure, axes = grid(len(m.devices), 3.6, 3.1)
    for axis, device, y in zip(axes, m.devices, values.T, strict=False):
        threshold = (thresholds or {}).get(device.name, np.inf)
        above = totals["peak_bytes"].to_numpy() > threshold
        axis.scatter(x, y, s=5, lw=0, alpha=0.5, c=np.where(above, ORANGE, BLUE), rasterized=True)
        if total == "peak_bytes" and np.isfinite(threshold):
            axis.axvline(threshold / unit, color=GREY, lw=0.8, ls="--")
        axis.set(title=device.name, xlabel=f"{total.replace('_bytes', ' memory')}, {name}".rstrip(", "))
        axis.set_ylabel(quantity(metric))
    return figure


def trade_off(m: Measurements, device: str, accuracy: Measurements, metric: str, drawn: int = 3) -> Figure:
    """Accuracy over latency on one device, the front, and the most accurate cells of the front as graphs.

    Args:
        m: latencies.
        device: name of the device.
        accuracy: accuracies of some of the same architectures.
        metric: of the accuracies.
        drawn: number of cells that are drawn.
    """
    latency = dict(zip(m.architectures.keys, m.matrix("latency_ms")[:, m.devices.index(m.device(device))], strict=True))
    y = accuracy.matrix(metric)[:, 0]
    x = np.array([latency.get(key, np.nan) for key in accuracy.architectures.keys])
    best = pareto(y, x[:, None])
    figure = new_figure(9, 4.2)
    places = figure.add_gridspec(drawn, 2, width_ratios=(1.6, 1))
    axis = figure.add_subplot(places[:, 0])
    axis.scatter(x, y, s=7, lw=0, alpha=0.5, color=BLUE, rasterized=True)
    axis.step(x[best], y[best], where="post", color=DARK, lw=1)
    axis.scatter(x[best], y[best], s=16, lw=0, color=ORANGE)
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)
    axis.set(xlabel=f"latency, ms, {device}", ylabel=quantity(metric))
    axis.spines[["top", "right"]].set_visible(False)
    for place, position in enumerate(best[::-1][:drawn]):
        cell = figure.add_subplot(places[place, 1])
        draw_cell(cell, accuracy.architectures[int(position)])
        cell.set_title(f"{y[position]:.1f} %, {x[position]:.3g} ms", fontsize=8)
        axis.annotate(str(place + 1), (x[position], y[position]), xytext=(0, 5), textcoords="offset points", fontsize=8)
        cell.text(0, 1, str(place + 1), transform=cell.transAxes, fontsize=9, va="top", color=ORANGE)
    return figure


def draw_cell(axis: Axes, arch: Architecture) -> None:
    """Draw an architecture's graph without `none`s, from left to right by the longest path from the input."""
    inputs, kinds = arch.sources(), [op.kind for op in arch.ops]
    kept = [node for node, kind in enumerate(kinds) if kind != "none"]
    depth = [0] * len(kinds)
    for node in range(len(kinds)):
        depth[node] = max((depth[source] + 1 for source in inputs[node] if source in kept), default=0)
    depth[-1] = max(depth)
    layers = {d: [node for node in kept if depth[node] == d] for d in sorted({depth[node] for node in kept})}
    places = {n: (d, i - (len(nodes) - 1) / 2) for d, nodes in layers.items() for i, n in enumerate(nodes)}
    for target in kept:
        for source in inputs[target]:
            if source in places:
                bend = "arc3,rad=0" if depth[target] - depth[source] == 1 else "arc3,rad=-0.25"
                style = {
                    "arrowstyle": "-|>",
                    "color": GREY,
                    "lw": 0.8,
                    "shrinkA": 9,
                    "shrinkB": 11,
                    "connectionstyle": bend,
                }
                axis.annotate("", places[target], places[source], arrowprops=style)
    for node, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": DARK, "lw": 0.7}
        axis.text(x, y, _short(kinds[node]), ha="center", va="center", fontsize=6, bbox=box)
    tallest = max(len(nodes) for nodes in layers.values())
    axis.set(xlim=(-0.5, max(layers) + 0.5), ylim=(-tallest / 2 - 0.3, tallest / 2 + 0.3))
    axis.set_axis_off()


def _short(kind: str) -> str:
    names: Sequence[tuple[str, str]] = (("nor_", ""), ("-bn-relu", ""), ("_connect", ""), ("_", " "))
    for long, short in names:
        kind = kind.replace(long, short)
    return textwrap.fill(kind, 9)
