"""How good predictions are, and how a number is written."""

from __future__ import annotations

import warnings

import numpy as np

METRICS = ("spearman", "kendall", "mae", "rmse", "r2", "mape", "within_1", "within_5", "within_10")

LEAST = 10
"""Fewest pairs over which a rank correlation, or the r2 of a device, is reported and ranked."""


def report(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float | int | None]:
    """One row of metrics for measured and predicted values [n]; pairs with a NaN measurement do not count.

    Returns:
        n; spearman; kendall (tau-b: ties allowed); mae and rmse in the metric's unit; r2; mape and within_1, within_5,
        within_10 (shares of predictions at most that many percent off) as fractions. What is undefined, such as the
        rank correlation of a constant prediction, is None.
    """
    from scipy.stats import kendalltau, spearmanr

    known = ~np.isnan(measured)
    y, p = np.asarray(measured[known], float), np.asarray(predicted[known], float)
    if not len(y):
        return {"n": 0, **dict.fromkeys(METRICS)}
    error = p - y
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # constant inputs: the correlation is NaN, and said to be undefined below
        relative = np.abs(error) / np.abs(y)
        row = {
            "spearman": spearmanr(y, p).statistic if len(y) > 1 else np.nan,
            "kendall": kendalltau(y, p, variant="b").statistic if len(y) > 1 else np.nan,
            "mae": np.abs(error).mean(),
            "rmse": np.sqrt((error**2).mean()),
            "r2": 1 - (error**2).sum() / ((y - y.mean()) ** 2).sum() if len(y) > 1 else np.nan,
            "mape": relative.mean(),
            # Half a billionth more than the bound: 1.1 is 10 % off 1.0, whatever binary fractions say.
            **{f"within_{k}": (relative <= k / 100 + 5e-10).mean() for k in (1, 5, 10)},
        }
    return {"n": len(y), **{name: float(row[name]) if np.isfinite(row[name]) else None for name in METRICS}}


def plain(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, as a plain decimal."""
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")
