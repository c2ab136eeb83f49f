"""Which architectures to measure next (Algorithm 2 of Lu et al.; how to choose is what the paper leaves open)."""

from __future__ import annotations

import numpy as np

from datasets.records import Architectures

NEAR = 2
"""An architecture is near an optimum that differs from it in so many decisions at most."""


def explore(
    pool: Architectures,
    known: Architectures,
    n: int,
    uncertainty: np.ndarray,
    optima: Architectures,
    rng: np.random.Generator,
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> np.ndarray:
    """Positions [n] in the pool of what tells most, none of them known.

    Args:
        pool: what can be measured.
        known: what was.
        n: how many to choose.
        uncertainty: of what is predicted of the pool [A], in any unit.
        optima: by the current predictors.
        rng: breaks ties.
        shares: of those near the optima, of those of which least is known, and of those unlike all known ones; the most
            uncertain first among the first.
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
    """In how many decisions each [A] differs from the nearest of the others."""
    nearest = np.full(len(archs), archs.decisions.shape[1])
    for row in np.unique(others.decisions, axis=0):
        nearest = np.minimum(nearest, (archs.decisions != row).sum(axis=1))
    return nearest
