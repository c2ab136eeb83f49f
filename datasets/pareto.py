"""The Pareto front of a quality and some costs."""

from __future__ import annotations

import numpy as np


def pareto(quality: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Positions of the front of quality [A], to be maximised, and costs [A, C], to be minimised, ascending by the first
    cost: nothing else is at least as good in all of them; of equals one stays. Rows with a NaN never stand there."""
    rows = np.flatnonzero(~(np.isnan(quality) | np.isnan(costs).any(axis=1)))
    if costs.shape[1] == 1:
        rows = rows[np.lexsort((-quality[rows], costs[rows, 0]))]
        best = np.maximum.accumulate(np.r_[-np.inf, quality[rows]])
        return rows[quality[rows] > best[:-1]]
    kept: list[int] = []
    for row in rows[np.lexsort((costs[rows].sum(axis=1), -quality[rows]))]:  # what dominates a row stands before it
        if not kept or not (costs[kept] <= costs[row]).all(axis=1).any():
            kept.append(int(row))
    return np.array(sorted(kept, key=lambda row: costs[row, 0]), dtype=int)
