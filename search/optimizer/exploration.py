"""Architectures to measure next: Algorithm 2 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et
al., 2020), whose choice of architectures the paper leaves open."""

from __future__ import annotations

import numpy as np

from datasets.records import Architectures

NEAR = 2
"""Largest number of differing decisions with which an architecture counts as near an optimum."""


def explore(
    pool: Architectures,
    known: Architectures,
    n: int,
    uncertainty: np.ndarray,
    optima: Architectures,
    rng: np.random.Generator,
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> np.ndarray:
    """Positions [n] in the pool of informative architectures, none of them known.

    Args:
        pool: architectures that can be measured.
        known: architectures that were measured.
        n: number of architectures to choose.
        uncertainty: of the predictions for the pool [A], in any unit.
        optima: optima by the current predictors.
        rng: breaks ties.
        shares: shares of the most uncertain architectures near the optima, of the most uncertain ones anywhere, and of
            those farthest from all known ones.
    """
    taken = known.positions(pool) >= 0
    chosen: list[int] = []
    order = np.lexsort((rng.random(len(pool)), -uncertainty))
    near = _distance(pool, optima) <= NEAR
    for wanted, rows in ((shares[0], order[near[order]]), (shares[1], order)):
        fresh = [int(row) for row in rows if not taken[row]][: round(wanted * n)]
        chosen += fresh
        taken[fresh] = True
    distance = np.minimum(_distance(pool, known), _distance(pool, pool[chosen]) if chosen else np.inf)
    while len(chosen) < n and not taken.all():
        worth = np.where(taken, -1, distance + 0.5 * rng.random(len(pool)))
        chosen.append(int(worth.argmax()))
        taken[chosen[-1]] = True
        distance = np.minimum(distance, _distance(pool, pool[[chosen[-1]]]))
    return np.array(chosen)


def _distance(archs: Architectures, others: Architectures) -> np.ndarray:
    """Number of decisions [A] in which each architecture differs from the nearest of the others."""
    nearest = np.full(len(archs), archs.decisions.shape[1])
    for row in np.unique(others.decisions, axis=0):
        nearest = np.minimum(nearest, (archs.decisions != row).sum(axis=1))
    return nearest
