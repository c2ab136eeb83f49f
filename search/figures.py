"""Figures of searches, drawn from a problem and its decision alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.figures import BLUE, DARK, GREY, new_figure
from datasets.pareto import pareto
from search.base import Decision, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE, RED = "#d9822b", "#c2453c"
DEPTH = 12
"""Range of accuracy below the decision that a picture shows, so that one bad sample does not squeeze the axis."""


def picture(problem: Problem, decision: Decision, cost: str, table: Decision | None = None) -> Figure:
    """Quality over a cost: measured architectures (numbered in order where they are at most 40), their front, the
    budget and the decision; with a `table` (an exhaustive search's decision) also all architectures and the true
    front."""
    column = list(problem.costs).index(cost)
    x = decision.measured_costs[:, column]
    y = np.asarray(problem.quality(decision.measured), float)
    figure = new_figure(7, 4.6)
    axis = figure.subplots()
    numbered = len(x) <= 40
    style: dict[str, Any] = (
        {"s": 26, "color": BLUE} if numbered else {"s": 3, "color": GREY, "alpha": 0.4, "lw": 0, "rasterized": True}
    )
    axis.scatter(x, y, label=f"measured: {len(x)}", zorder=3, **style)
    if numbered:
        axis.plot(x, y, color=BLUE, lw=0.6, alpha=0.5, label="path")
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            axis.annotate(str(i + 1), (a, b), xytext=(4, 4), textcoords="offset points", fontsize=8)
    label = "front of the measured"
    if table is not None:
        x, y, label = table.measured_costs[:, column], np.asarray(problem.quality(table.measured), float), "true front"
        axis.scatter(x, y, s=3, color=GREY, alpha=0.25, lw=0, rasterized=True, label=f"all {len(x)}", zorder=1)
    front = pareto(y, x[:, None])
    axis.step(x[front], y[front], where="post", color=ORANGE, lw=1.2, label=label)
    axis.axvline(problem.budgets[cost], color=GREY, ls="--", lw=1, label=f"budget {problem.budgets[cost]:g}")
    end = (decision.costs[cost], decision.quality)
    axis.scatter(*end, marker="*", s=160, color=RED, zorder=4, label=f"decision: {end[0]:.4g}, {end[1]:.4g} %")
    bottom = max(y.min() - 1, decision.quality - DEPTH)
    axis.set(xlabel=cost.replace("_", ", "), ylabel="accuracy, %", ylim=(bottom, y.max() + 1))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, edgecolor="none")
    return figure


def regret_bars(rows: Sequence[dict[str, Any]], names: dict[str, str], aim: float) -> Figure:
    """Mean regret of searches with its 95 % interval, the smallest first, and the share of budgets that were kept.

    Args:
        rows: one per search: `search`, `regret`, `regret_half`, `met`, `measurements`.
        names: labels of the searches.
        aim: target regret, drawn as a line.
    """
    ordered = sorted(rows, key=lambda row: -row["regret"])
    figure = new_figure(7.5, 0.8 + 0.42 * len(ordered))
    axis = figure.subplots()
    for y, row in enumerate(ordered):
        axis.barh(y, row["regret"], color=BLUE, height=0.6)
        axis.errorbar(row["regret"], y, xerr=row["regret_half"], color="black", lw=1, capsize=3)
        label = f"{row['regret']:.2f};  {row['met']:.0%} kept, {row['measurements']:.1f} measured"
        end = row["regret"] + row["regret_half"]
        axis.annotate(label, (end, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    axis.axvline(aim, color=RED, ls="--", lw=1)
    axis.text(aim, len(ordered) - 0.45, f"aim {aim:g}", color=RED, fontsize=8, ha="center", va="bottom")
    axis.set_yticks(range(len(ordered)), [names.get(row["search"], row["search"]) for row in ordered])
    longest = max(row["regret"] + row["regret_half"] for row in rows)
    axis.set(xlabel="mean regret, points of accuracy", xlim=(0, 1.6 * longest))
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def growth(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> Figure:
    """True measurements and seconds of computing over the number of devices, on logarithmic axes. Filled marks were run
    on all devices, hollow ones on some of them and extrapolated.

    Args:
        rows: `search`, `devices`, `run` (number of devices that were run), `measurements`, `fixed_measurements` (made
            once, beforehand), `seconds`.
        names: labels of the searches.
    """
    figure = new_figure(9.5, 4)
    axes = figure.subplots(1, 2)
    searches = list(dict.fromkeys(row["search"] for row in rows))
    for colour, search in zip((GREY, RED, ORANGE, BLUE, DARK), searches, strict=False):
        own = sorted((row for row in rows if row["search"] == search), key=lambda row: row["devices"])
        x = [row["devices"] for row in own]
        shown = [row["measurements"] + row["fixed_measurements"] for row in own], [row["seconds"] for row in own]
        for axis, y in zip(axes, shown, strict=True):
            axis.plot(x, y, color=colour, lw=1.4, label=names.get(search, search))
            for row, at in zip(own, y, strict=True):
                face = colour if row["run"] >= row["devices"] else "white"
                axis.plot(row["devices"], at, "o", ms=5, color=colour, markerfacecolor=face)
    for axis, label in zip(axes, ("true measurements, sources included", "seconds of computing"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="devices", ylabel=label)
        axis.set_xticks(sorted({row["devices"] for row in rows}), labels=None)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, edgecolor="none", framealpha=0.9)
    return figure
