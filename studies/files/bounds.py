"""How often the bounds of `measure.percentiles` hold, in a simulation: runs are drawn from distributions whose
percentiles are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from measure.percentiles import PERCENTILES, bound_rank

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""Function from a generator and a shape to durations in ms; the last axis are the runs of one series."""


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.lognormal(0, 1, shape)


def pareto(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A heavy tail: of infinite variance."""
    return 1 + rng.pareto(1.5, shape)


def two_speeds(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One run in twelve is preempted, and takes five times as long."""
    return np.where(rng.random(shape) < 1 / 12, 5.0, 1.0) * rng.lognormal(0, 0.02, shape)


def ticks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A coarse clock: many runs are equal."""
    return 1 + rng.geometric(0.3, shape) / 10


def bursts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Not independent: in a tenth of stretches of 50 runs on average, other work makes runs three times slower."""
    change = rng.random(shape) < 1 / 50
    change[..., 0] = True
    drawn = np.where(rng.random(shape) < 0.1, 3.0, 1.0)
    last = np.maximum.accumulate(np.where(change, np.arange(shape[-1]), 0), axis=-1)
    return np.take_along_axis(drawn, last, axis=-1) * rng.lognormal(0, 0.05, shape)


DISTRIBUTIONS: Mapping[str, Draw] = {draw.__name__: draw for draw in (lognormal, pareto, two_speeds, ticks, bursts)}
RUNS = (44, 101, 459, 1000, 3000)
SERIES = 10_000
"""Series of runs for each share, which is then known to 0.1 points."""
KNOWN = 4_000_000
"""Draws from which the true percentiles are taken."""


def bounds(series: int = SERIES) -> list[dict]:
    """One row for each distribution, percentile and number of runs that allows a bound.

    Each has holds: the share of the series whose bound is at least the true percentile; excess: the median of the
    bounds over the true percentile, minus 1; unbounded: the share that holds where the percentile of the runs itself is
    called a bound; and whether the runs are independent.
    """
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        rng = np.random.default_rng(0)
        known = np.sort(draw(rng, (KNOWN // 1000, 1000)).ravel())
        for runs in RUNS:
            ordered = np.sort(draw(rng, (series, runs)), axis=1)
            for percentile, share in PERCENTILES.items():
                if rank := bound_rank(runs, share):
                    true = known[int(np.ceil(share * KNOWN)) - 1]
                    bound, plain = ordered[:, rank - 1], ordered[:, int(np.ceil(share * runs)) - 1]
                    rows.append(
                        {
                            "what": "bound",
                            "distribution": name,
                            "independent": float(draw is not bursts),
                            "percentile": percentile,
                            "runs": runs,
                            "holds": float((bound >= true).mean()),
                            "excess": float(np.median(bound) / true - 1),
                            "unbounded": float((plain >= true).mean()),
                        }
                    )
    return rows
