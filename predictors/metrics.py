"""Metrics of predictions, and the format of numbers."""

from __future__ import annotations

import warnings

import numpy as np

K = 10
"""Number of architectures that a search takes from a predictor's ranking in `precision_at_10` and `regret_at_10`."""

LATER = (f"precision_at_{K}", f"regret_at_{K}")
"""Metrics that rows of older runs lack."""

METRICS = ("spearman", "kendall", "mae", "rmse", "r2", "mape", "within_1", "within_5", "within_10", *LATER)

LEAST = 10
"""Least number of pairs over which rank correlations and r2 are reported."""


def report(measured: np.ndarray, predicted: np.ndarray, highest: bool = False) -> dict[str, float | int | None]:
    """Metrics of measured and predicted values [n]; pairs with a NaN measurement are ignored.

    Args:
        measured: [n] in the metric's unit.
        predicted: [n] in the metric's unit.
        highest: whether the highest values are the best ones (accuracies), not the lowest (latencies, energies).

    Returns:
        n; spearman; kendall (tau-b); mae and rmse in the metric's unit; r2; mape as a fraction; within_1, within_5 and
        within_10, the shares of predictions with relative errors of at most 1, 5 and 10 %, as fractions;
        precision_at_10 and regret_at_10 (`best_of_ranking`). Undefined metrics, such as the rank correlation of a
        constant prediction, are None.
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
            **dict(zip(LATER, best_of_ranking(-y if highest else y, -p if highest else p), strict=True)),
        }
    return {"n": len(y), **{name: float(row[name]) if np.isfinite(row[name]) else None for name in METRICS}}


def best_of_ranking(measured: np.ndarray, predicted: np.ndarray, k: int = K) -> tuple[float, float]:
    """Precision at k and regret at k of a ranking by predictions, where low values [n] are good.

    Searches measure the k architectures that are predicted best. Architectures with equal predictions are drawn at
    random; both numbers are expectations over the draws, so a constant prediction has a precision of k / n.

    Returns:
        The share of the k best architectures among the k that are predicted best, and the relative difference of the
        best of these to the best of all. NaN where no architecture would be left out (n <= k); the regret also where
        the best value is 0.
    """
    if len(measured) <= k:
        return np.nan, np.nan
    chances, first = _chances(predicted, k), measured.min()
    certain = measured[chances == 1].min(initial=np.inf)
    drawn = np.minimum(np.sort(measured[(chances > 0) & (chances < 1)]), certain)  # of these, some are drawn
    left = round(k - (chances == 1).sum())
    chosen = np.minimum(1, left / np.arange(len(drawn), 0, -1))  # the chance of each, where none before it is drawn
    none_before = np.cumprod(np.append(1, 1 - chosen))[:-1]
    found = (none_before * chosen * drawn).sum() if left else certain
    precision = min(1.0, (chances * _chances(measured, k)).sum() / k)
    return precision, (found - first) / abs(first) if first else np.nan


def _chances(values: np.ndarray, k: int) -> np.ndarray:
    """Probability [n] of each value to be among the k lowest; those that equal the k-th share the places left."""
    last = np.partition(values, k - 1)[k - 1]
    below, equal = values < last, values == last
    return below + equal * (k - below.sum()) / equal.sum()


def plain(value: float, digits: int = 4) -> str:
    """Format a number with `digits` significant digits, without an exponent."""
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")
