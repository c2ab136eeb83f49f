"""Figures of whole adaptations: time per stage, accuracy over latency, and latencies on other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.figures import BLUE, GREY, grid, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
ORANGE = "#d9822b"
STAGES = {"search": ORANGE, "cut": "#7a5195", "tune": BLUE, "evaluate": "#8fb7e0"}
SEARCHES = {"sequential": GREY, "binary": "#8fb7e0", "exact": BLUE}


def stage_times(rows: Rows) -> Figure:
    """Mean time of each stage of a proposal, one bar per group of channels and one panel per network and delta (the
    paper's Figures 1 and 2).

    Args:
        rows: rows with `what` "stage": network, delta, group, and seconds of `STAGES`.
    """
    chosen = [row for row in rows if row["what"] == "stage"]
    panels = sorted({(row["network"], row["delta"]) for row in chosen})
    figure, axes = grid(len(panels), 4.6, 3.4, max(len(panels) // 2, 1))
    for axis, (network, delta) in zip(axes, panels, strict=False):
        bars = [row for row in chosen if (row["network"], row["delta"]) == (network, delta)]
        base = np.zeros(len(bars))
        for stage, colour in STAGES.items():
            height = np.array([1000 * row[stage] for row in bars])
            axis.bar(range(len(bars)), height, bottom=base, color=colour, label=stage)
            base += height
        axis.set_xticks(range(len(bars)), [row["group"] for row in bars], rotation=60, ha="right", fontsize=7)
        axis.set(title=f"{network}, delta {delta:g}", ylabel="ms per proposal")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(STAGES), frameon=False)
    return figure


def iteration_times(rows: Rows) -> Figure:
    """Mean time per iteration by delta and search, one panel per network, with the time of the search alone in ms (the
    paper's Figures 7 and 8).

    Args:
        rows: rows with `what` "iteration": network, delta, search, seconds, searching.
    """
    chosen = [row for row in rows if row["what"] == "iteration"]
    networks = list(dict.fromkeys(row["network"] for row in chosen))
    figure, axes = grid(len(networks), 5.2, 3.8, 2)
    for axis, network in zip(axes, networks, strict=False):
        deltas = sorted({row["delta"] for row in chosen})
        for place, (search, colour) in enumerate(SEARCHES.items()):
            bars = [row for row in chosen if (row["network"], row["search"]) == (network, search)]
            x = np.array([deltas.index(row["delta"]) for row in bars]) + 0.27 * (place - 1)
            axis.bar(x, [row["seconds"] for row in bars], 0.25, color=colour, label=search)
            for at, row in zip(x, bars, strict=True):
                text = f"{1000 * row['searching']:.{1 if row['searching'] < 0.01 else 0}f} ms"
                axis.text(
                    at, 1.02 * row["seconds"], text, rotation=90, ha="center", va="bottom", fontsize=7, color=GREY
                )
        axis.set_xticks(range(len(deltas)), [f"{delta:g}" for delta in deltas])
        axis.set(title=network, xlabel="delta", ylabel="seconds per iteration")
        axis.margins(y=0.28)
    handles, labels = axes[0].get_legend_handles_labels()
    title = "numbers: time of the search for widths"
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=3, frameon=False)
    return figure


def accuracy_over_latency(rows: Rows) -> Figure:
    """Test accuracy over measured latency: adapted networks as dots, uniformly narrower ones as lines, one colour per
    seed.

    Args:
        rows: `what` "adapted" or "uniform", seed, share, accuracy; adapted ones also budget.
    """
    from matplotlib import colormaps

    figure = new_figure(6.4, 4.6)
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    seeds = sorted({row["seed"] for row in rows if "seed" in row})
    for number, seed in enumerate(seeds):
        colour = colormaps["viridis"](0.85 * number / max(len(seeds) - 1, 1))
        points = {
            what: [(row["share"], row["accuracy"]) for row in rows if row["what"] == what and row["seed"] == seed]
            for what in ("uniform", "adapted")
        }
        axis.plot(*zip(*points["uniform"], strict=True), "-", color=colour, lw=1, alpha=0.7)
        axis.plot(*zip(*points["adapted"], strict=True), "o", color=colour, ms=6, label=f"seed {seed}")
    for budget in sorted({row["budget"] for row in rows if row["what"] == "adapted"}):
        axis.axvline(budget, color=GREY, lw=0.8, ls=":")
    axis.set(xlabel="measured latency, share of the whole network's", ylabel="test accuracy, %")
    axis.set_title("adapted (dots) and uniformly narrower (lines); dotted: budgets", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    return figure


def runtime_matrix(rows: Rows) -> Figure:
    """Reduction of the latency in percent: one row per measuring runtime, one column per runtime of the adaptation (the
    paper's Table I).

    Args:
        rows: measured_on, adapted_for, reduction.
    """
    pairs = [row for row in rows if "adapted_for" in row]
    names = list(dict.fromkeys(row["adapted_for"] for row in pairs))
    table = np.full((len(names), len(names)), np.nan)
    for row in pairs:
        table[names.index(row["measured_on"]), names.index(row["adapted_for"])] = row["reduction"]
    figure = new_figure(1.6 + 1.1 * len(names), 1.4 + 0.8 * len(names))
    axis = figure.subplots()
    axis.imshow(table, cmap="Blues", vmin=0, vmax=100)
    for (down, right), value in np.ndenumerate(table):
        axis.text(right, down, f"{value:.0f} %", ha="center", va="center", color="white" if value > 60 else "black")
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="adapted for", ylabel="measured on", title="reduction of the latency")
    return figure
