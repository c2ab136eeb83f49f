"""The Pareto front of a quality and some costs."""

from __future__ import annotations

import numpy as np


def pareto(quality: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Positions of the Pareto front of quality [A], which is maximised, and costs [A, C], which are minimised,
    ascending by the first cost. Of equal rows one is on the front; rows with a NaN are not."""
    rows = np.flatnonzero(~(np.isnan(quality) | np.isnan(costs).any(axis=1)))
    if costs.shape[1] == 1:
        rows = rows[np.lexsort((-quality[rows], costs[rows, 0]))]
        best = np.maximum.accumulate(np.r_[-np.inf, quality[rows]])
        return rows[quality[rows] > best[:-1]]
    kept: list[int] = []
    for row in rows[np.lexsort((costs[rows].sum(axis=1), -quality[rows]))]:  # dominating rows come first
        if not kept or not (costs[kept] <= costs[row]).all(axis=1).any():
            kept.append(int(row))
    return np.array(sorted(kept, key=lambda row: costs[row, 0]), dtype=int)
