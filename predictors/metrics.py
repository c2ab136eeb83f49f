"""Metrics of predictions, and the format of numbers."""

from __future__ import annotations

import warnings

import numpy as np

METRICS = ("spearman", "kendall", "mae", "rmse", "r2", "mape", "within_1", "within_5", "within_10")

LEAST = 10
"""Least number of pairs over which rank correlations and r2 are reported."""


def report(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float | int | None]:
    """Metrics of measured and predicted values [n]; pairs with a NaN measurement are ignored.

    Returns:
        n; spearman; kendall (tau-b); mae and rmse in the metric's unit; r2; mape as a fraction; within_1, within_5 and
        within_10, the shares of predictions with relative errors of at most 1, 5 and 10 %, as fractions. Undefined
        metrics, such as the rank correlation of a constant prediction, are None.
    """
    from scipy.stats import kendalltau, spearmanr

    known = ~np.isnan(measured)
    y, p = np.asarray(measured[known], float), np.asarray(predicted[known], float)
    if not len(y):
        return {"n": 0, **dict.fromkeys(METRICS)}
    error = p - y
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # of constant inputs; the correlation is NaN, reported as None
        relative = np.abs(error) / np.abs(y)
        row = {
            "spearman": spearmanr(y, p).statistic if len(y) > 1 else np.nan,
            "kendall": kendalltau(y, p, variant="b").statistic if len(y) > 1 else np.nan,
            "mae": np.abs(error).mean(),
            "rmse": np.sqrt((error**2).mean()),
            "r2": 1 - (error**2).sum() / ((y - y.mean()) ** 2).sum() if len(y) > 1 else np.nan,
            "mape": relative.mean(),
            # Tolerance for rounding: 1.1 is 10 % off 1.0.
            **{f"within_{k}": (relative <= k / 100 + 5e-10).mean() for k in (1, 5, 10)},
        }
    return {"n": len(y), **{name: float(row[name]) if np.isfinite(row[name]) else None for name in METRICS}}


def plain(value: float, digits: int = 4) -> str:
    """Format a number with `digits` significant digits, without an exponent."""
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")
