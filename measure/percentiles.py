"""Percentiles of single runs, with upper bounds that hold for any distribution of independent runs.

The k-th smallest of n runs is below the true p-quantile only if k runs or more are, of which each is with a probability
of at most p. So it is an upper bound with 99 % confidence if P(Binomial(n, p) >= k) <= 1 %. This is the test by which
MLPerf's LoadGen stops early (`MinPassingQueriesFinder` in loadgen/early_stopping.cc of mlcommons/inference). LoadGen
reports the next larger run, and so needs 64 and 662 runs for the 90th and 99th percentile where this rule needs 44 and
459. Neither holds if runs depend on each other, as in bursts of other work that are about as long as the whole series.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.99
PERCENTILES = {"p90": 0.9, "p99": 0.99}


@cache
def bound_rank(runs: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """The smallest k such that the k-th smallest of `runs` runs bounds the quantile `share` from above with this
    confidence; None if not even the largest does."""
    tail, rank = 0.0, None
    for k in range(runs, 0, -1):
        tail += _probability(k, runs, share)
        if tail > 1 - confidence:
            break
        rank = k
    return rank


def _probability(k: int, runs: int, share: float) -> float:
    """P(Binomial(runs, share) = k)."""
    ways = math.lgamma(runs + 1) - math.lgamma(k + 1) - math.lgamma(runs - k + 1)
    return math.exp(ways + k * math.log(share) + (runs - k) * math.log1p(-share))


def runs_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """The least number of runs whose largest bounds the quantile `share` with this confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(share))


def percentiles(ms: npt.ArrayLike) -> dict[str, Any]:
    """Percentiles of the durations of single runs.

    Args:
        ms: durations [runs], in ms; at least one.

    Returns:
        count: number of runs. median, p90, p99: ms; the two are the smallest run that at least 90 % and 99 % of the
        runs do not exceed. p90_bound, p99_bound: upper bounds in ms (`bound_rank`); for a bound that so few runs do not
        allow, p90_needs or p99_needs instead: the number of runs that would.
    """
    ordered = np.sort(ms)
    row: dict[str, Any] = {"count": len(ordered), "median": float(np.median(ordered))}
    for name, share in PERCENTILES.items():
        row[name] = float(ordered[math.ceil(share * len(ordered)) - 1])
        if rank := bound_rank(len(ordered), share):
            row[f"{name}_bound"] = float(ordered[rank - 1])
        else:
            row[f"{name}_needs"] = runs_needed(share)
    return row
