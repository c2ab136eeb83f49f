"""Figures of architecture searches: the result of one search, and comparisons of several searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.figures import BLUE, DARK, GREY, new_figure
from datasets.pareto import pareto
from search.base import Decision, Problem
from search.proxies import UncertainCost

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE, RED = "#d9822b", "#c2453c"
DEPTH = 12
"""Largest range of accuracies below the decision that `picture` shows, in percentage points, so that one bad
architecture does not compress the axis."""


def picture(problem: Problem, decision: Decision, cost: str, table: Decision | None = None) -> Figure:
    """Accuracies of the architectures that a search measured over a cost, with their Pareto front, budget and decision.

    Args:
        problem: the search problem.
        decision: result of the search. Up to 40 measured architectures are numbered in the order of measurement.
        cost: name of the cost on the horizontal axis.
        table: result of an exhaustive search; if given, all architectures and their Pareto front are drawn instead of
            the front of the measured ones.
    """
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
        for i, point in enumerate(zip(x, y, strict=True)):
            axis.annotate(str(i + 1), point, xytext=(4, 4), textcoords="offset points", fontsize=8)
    label = "front of the measured"
    if table is not None:
        x, y, label = table.measured_costs[:, column], np.asarray(problem.quality(table.measured), float), "true front"
        axis.scatter(x, y, s=3, color=GREY, alpha=0.25, lw=0, rasterized=True, label=f"all {len(x)}", zorder=1)
    front = pareto(y, x[:, None])
    axis.step(x[front], y[front], where="post", color=ORANGE, lw=1.2, label=label)
    axis.axvline(problem.budgets[cost], color=GREY, ls="--", lw=1, label=f"budget {problem.budgets[cost]:g}")
    decided = (decision.costs[cost], decision.quality)
    axis.scatter(
        *decided, marker="*", s=160, color=RED, zorder=4, label=f"decision: {decided[0]:.4g}, {decided[1]:.4g} %"
    )
    bottom = max(y.min() - 1, decision.quality - DEPTH)
    label = cost.replace("_", ", ")
    if problem.confidence > 0.5 and isinstance(problem.costs[cost], UncertainCost):
        label += f", at most, with probability {problem.confidence:g}"
    axis.set(xlabel=label, ylabel="accuracy, %", ylim=(bottom, y.max() + 1))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, edgecolor="none")
    return figure


def regret_bars(rows: Sequence[dict[str, Any]], names: dict[str, str], aim: float) -> Figure:
    """Mean regret of searches with its 95 % confidence interval, the smallest at the top.

    Args:
        rows: one per search: `search` (its name), `regret` (mean shortfall from the best accuracy within the budget, in
            percentage points), `regret_half` (half the length of the interval), `met` (share of budgets that were
            kept), `measurements` (mean number per search).
        names: labels of the searches.
        aim: target regret, drawn as a line.
    """
    ordered = sorted(rows, key=lambda row: -row["regret"])
    figure = new_figure(7.5, 0.8 + 0.42 * len(ordered))
    axis = figure.subplots()
    for y, row in enumerate(ordered):  # from the bottom
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
    """Measurements and seconds of computing over the number of devices, on logarithmic axes.

    A filled marker is a search that was run on all devices, a hollow one was run on some of them and extrapolated.

    Args:
        rows: one per search and number of devices: `search` (its name), `devices`, `run` (number of devices that it was
            run on), `measurements`, `fixed_measurements` (made once, before the searches), `seconds`.
        names: labels of the searches.
    """
    figure = new_figure(9.5, 4)
    axes = figure.subplots(1, 2)
    searches = list(dict.fromkeys(row["search"] for row in rows))
    for colour, search in zip((GREY, RED, ORANGE, BLUE, DARK), searches, strict=False):
        points = sorted((row for row in rows if row["search"] == search), key=lambda row: row["devices"])
        x = [row["devices"] for row in points]
        measurements = [row["measurements"] + row["fixed_measurements"] for row in points]
        seconds = [row["seconds"] for row in points]
        for axis, y in zip(axes, (measurements, seconds), strict=True):
            axis.plot(x, y, color=colour, lw=1.4, label=names.get(search, search))
            for row, value in zip(points, y, strict=True):
                fill = colour if row["run"] >= row["devices"] else "white"
                axis.plot(row["devices"], value, "o", ms=5, color=colour, markerfacecolor=fill)
    for axis, label in zip(axes, ("true measurements, sources included", "seconds of computing"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="devices", ylabel=label)
        axis.set_xticks(sorted({row["devices"] for row in rows}), labels=None)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, edgecolor="none", framealpha=0.9)
    return figure
