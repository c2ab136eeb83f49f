"""Figures of searches; they look at nothing but a problem and its decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.figures import BLUE, GREY, new_figure
from search.base import Decision, Problem, pareto

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE, RED = "#d9822b", "#c2453c"


def picture(problem: Problem, decision: Decision, cost: str) -> Figure:
    """Quality against a cost: what was measured, numbered in its order where it is few, its front, budget, decision."""
    column = list(problem.costs).index(cost)
    x = decision.measured_costs[:, column]
    y = np.asarray(problem.quality(decision.measured), float)
    figure = new_figure(7, 4.6)
    axis = figure.subplots()
    few = len(x) <= 40
    style: dict[str, Any] = (
        {"s": 26, "color": BLUE} if few else {"s": 3, "color": GREY, "alpha": 0.4, "lw": 0, "rasterized": True}
    )
    axis.scatter(x, y, label=f"measured: {len(x)}", zorder=3, **style)
    if few:
        axis.plot(x, y, color=BLUE, lw=0.6, alpha=0.5, label="path")
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            axis.annotate(str(i + 1), (a, b), xytext=(4, 4), textcoords="offset points", fontsize=8)
    front = pareto(y, x[:, None])
    axis.step(x[front], y[front], where="post", color=ORANGE, lw=1.2, label="front of what was measured")
    axis.axvline(problem.budgets[cost], color=GREY, ls="--", lw=1, label=f"budget {problem.budgets[cost]:g}")
    end = (decision.costs[cost], decision.quality)
    axis.scatter(*end, marker="*", s=160, color=RED, zorder=4, label=f"decision: {end[0]:.4g}, {end[1]:.4g} %")
    bottom = min(np.quantile(y, 0.05), decision.quality) - 1
    axis.set(xlabel=cost, ylabel="accuracy, %", ylim=(max(bottom, y.min() - 1), y.max() + 1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="lower right", fontsize=8, edgecolor="none", framealpha=0.9)
    return figure
