"""Bounds of percentiles: against the exact binomial, and against LoadGen's published numbers of runs."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from measure.percentiles import PERCENTILES, bound_rank, percentiles, runs_needed


def exact_tail(k: int, runs: int, share: Fraction) -> Fraction:
    """P(Binomial(runs, share) >= k)."""
    return sum(comb(runs, i) * share**i * (1 - share) ** (runs - i) for i in range(k, runs + 1))


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_a_bound_is_the_least_run_that_the_exact_binomial_allows(percent: int) -> None:
    share, confidence = Fraction(percent, 100), Fraction(99, 100)
    rng = np.random.default_rng(percent)
    for runs in [1, 6, 7, 43, 44, 63, 64, *rng.integers(2, 400, 12), 458, 459, 700]:
        rank = bound_rank(int(runs), percent / 100)
        if rank is None:
            assert exact_tail(int(runs), int(runs), share) > 1 - confidence
        else:
            assert exact_tail(rank, int(runs), share) <= 1 - confidence
            assert exact_tail(rank - 1, int(runs), share) > 1 - confidence


def test_as_many_runs_are_needed_as_the_first_bound_has() -> None:
    assert [runs_needed(share) for share in PERCENTILES.values()] == [44, 459]
    for share in PERCENTILES.values():
        needed = runs_needed(share)
        assert bound_rank(needed, share) == needed and bound_rank(needed - 1, share) is None


def test_loadgen_s_bound_is_the_next_larger_run() -> None:
    """LoadGen needs 64 and 662 runs, and of 2,048 runs discards the highest 172 for the 90th percentile."""
    for share, runs in ((0.9, 64), (0.99, 662)):
        assert bound_rank(runs, share) == runs - 1 and bound_rank(runs - 1, share) == runs - 1
    assert bound_rank(2048, 0.9) == 2048 - 173


def test_very_many_runs_have_a_bound_close_to_the_percentile() -> None:
    assert 0.99 < bound_rank(100_000, 0.99) / 100_000 < 0.991


def test_too_few_runs_name_the_number_that_is_needed() -> None:
    row = percentiles(np.arange(1.0, 58))
    assert row["count"] == 57 and row["median"] == 29 and row["p90"] == 52 and row["p99"] == 57
    assert row["p90_bound"] == 57 and "p99_bound" not in row and row["p99_needs"] == 459
    assert percentiles(np.array([2.0])) == {"count": 1, "median": 2, "p90": 2, "p90_needs": 44, "p99": 2,
                                            "p99_needs": 459}  # fmt: skip


def test_bounds_hold_as_often_as_they_say_and_are_not_much_larger() -> None:
    draws = np.random.default_rng(0).lognormal(0, 1, (2000, 500))
    true = {"p90": np.exp(1.2816), "p99": np.exp(2.3263)}
    rows = [percentiles(ms) for ms in draws]
    for name, quantile in true.items():
        bounds = np.array([row[f"{name}_bound"] for row in rows])
        assert 0.98 < (bounds >= quantile).mean() < 1 and np.median(bounds) < 3 * quantile
        assert (bounds >= [row[name] for row in rows]).all()
