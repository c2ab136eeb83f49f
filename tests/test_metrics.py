"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from predictors.metrics import METRICS, report


def test_by_hand() -> None:
    row = report(np.array([1.0, 2.0, 4.0, 10.0]), np.array([1.1, 1.9, 4.8, 10.0]))
    assert row["n"] == 4 and row["spearman"] == row["kendall"] == 1
    assert row["mae"] == pytest.approx((0.1 + 0.1 + 0.8) / 4)
    assert row["rmse"] == pytest.approx(np.sqrt((0.01 + 0.01 + 0.64) / 4))
    assert row["mape"] == pytest.approx((0.1 + 0.05 + 0.2 + 0) / 4)
    assert row["r2"] == pytest.approx(1 - 0.66 / (3.25**2 + 2.25**2 + 0.25**2 + 5.75**2))
    assert (row["within_1"], row["within_5"], row["within_10"]) == (0.25, 0.5, 0.75)


def test_kendall_is_tau_b() -> None:
    """One tie in y: (concordant - discordant) / sqrt((pairs - ties_x)(pairs - ties_y)) = (4 - 1) / sqrt(6 * 5)."""
    row = report(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    assert row["kendall"] == pytest.approx(3 / np.sqrt(30))


def test_what_is_undefined_is_none() -> None:
    constant = report(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    assert constant["spearman"] is None and constant["kendall"] is None
    assert constant["mae"] == pytest.approx(2 / 3) and constant["r2"] == 0
    assert report(np.array([2.0, 2.0]), np.array([1.0, 3.0]))["r2"] is None
    single = report(np.array([2.0]), np.array([1.0]))
    assert single["spearman"] is None and single["mape"] == 0.5
    assert report(np.array([np.nan]), np.array([1.0])) == {"n": 0, **dict.fromkeys(METRICS)}


def test_unmeasured_pairs_do_not_count() -> None:
    with_gap = report(np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 9.0, 3.0, 2.0]))
    assert with_gap == report(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
