"""Bayesian fit of the coefficients of a sum of costs to few measured totals, by Gauss-Newton on logarithms.

The model is log t = log(F c) with totals t, costs F and coefficients c, and a normal prior of log c around those of an
initial guess. Coefficients that totals do not determine stay at the guess, or follow those that they are correlated
with; none becomes negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datasets.files.checkpoint import array
from predictors.belief import Belief
from predictors.scaling import Scale

MOST_FITS = 100
"""Most totals that are each left out of a fit of their own."""


@dataclass(frozen=True)
class Calibration:
    """Coefficients of one device and their posterior covariance.

    Attributes:
        source: index of the device whose costs they multiply.
        coefficients: [K].
        covariance: of their logarithms [K, K].
        errors: leave-one-out errors log(measured / predicted) of the networks [n]; empty for fewer than three.
    """

    source: int
    coefficients: np.ndarray
    covariance: np.ndarray
    errors: np.ndarray

    @staticmethod
    def prior(source: int, guess: np.ndarray, prior: np.ndarray) -> Calibration:
        """Coefficients without measured totals."""
        return Calibration(source, guess, prior, np.empty(0))

    @staticmethod
    def fitted(
        source: int, costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float
    ) -> Calibration:
        """Fit to measured totals; the arguments are those of `calibrate`."""
        found = calibrate(costs, measured, guess, prior, noise)
        errors = leave_one_out_errors(costs, measured, guess, prior, noise) if len(measured) > 2 else np.empty(0)
        return Calibration(source, found, covariance(costs, found, prior, noise), errors)

    def variance(self, costs: np.ndarray) -> np.ndarray:
        """Variances [A] of the logarithms of new totals with costs [A, K]: those of the coefficients, and the mean
        squared error where there are errors."""
        _, jacobian = _linearised(costs, self.coefficients)
        variance = np.einsum("ai,ij,aj->a", jacobian, self.covariance, jacobian)
        return variance + ((self.errors**2).mean() if len(self.errors) else 0.0)

    def state(self) -> dict[str, Any]:
        """Plain containers and arrays for `restored`."""
        return {
            "source": self.source,
            "coefficients": self.coefficients,
            "covariance": self.covariance,
            "errors": self.errors,
        }

    @staticmethod
    def restored(state: Mapping[str, Any], known: np.ndarray, guess: np.ndarray, prior: np.ndarray) -> Calibration:
        """Rebuild from `state()`; raises one of `checkpoint.DAMAGE` where it does not fit.

        Args:
            state: of a calibration, of all terms or (in older files) of the known ones; others keep their prior.
            known: whether older files have each term [K].
            guess: prior medians of the S devices [S, K].
            prior: prior covariance [K, K].
        """
        source = state["source"]
        if type(source) is not int or not 0 <= source < len(guess):
            raise ValueError("a device has no layers")
        there = known if np.shape(state["coefficients"]) == (known.sum(),) else np.ones(len(known), bool)
        coefficients, covariance = guess[source].copy(), np.where(there[:, None] | there, 0.0, prior)
        coefficients[there] = array(state["coefficients"], int(there.sum()))
        covariance[np.ix_(there, there)] = array(state["covariance"], int(there.sum()), int(there.sum()))
        if not (coefficients > 0).all():
            raise ValueError("coefficients must be above zero")
        return Calibration(source, coefficients, covariance, array(state["errors"], None))


def totals_of(costs: np.ndarray, c: Calibration) -> np.ndarray:
    """Totals [A] of costs [A, K], at least the first term: costs of layers less those of a session may be negative."""
    return np.maximum(costs @ c.coefficients, c.coefficients[0])


def parts_of(whole: np.ndarray, parts: np.ndarray, c: Calibration) -> np.ndarray:
    """Ms [P] of the pieces of a network, none below 0, from costs of the network [K] and of its pieces [P, K]; with the
    first coefficient they add up to its total."""
    ms = parts @ c.coefficients
    if (ms < 0).any():  # of small layers; the others are scaled to the same sum
        ms = np.maximum(ms, 0)
        ms *= (float(totals_of(whole[None], c)[0]) - float(c.coefficients[0])) / max(ms.sum(), 1e-12)
    return ms


def at_speed(before: Calibration, costs: np.ndarray, measured: np.ndarray) -> Calibration | None:
    """A calibration scaled by the median ratio of measured totals [n] to those of costs [n, K]; None where no row of
    costs is known."""
    known = ~np.isnan(costs).any(axis=1)
    if not known.any():
        return None
    factor = np.exp(np.median(np.log(measured[known] / totals_of(costs[known], before))))
    return replace(before, coefficients=before.coefficients * factor)


def refitted(
    before: Calibration, costs: np.ndarray, measured: np.ndarray, prior: np.ndarray, noise: float
) -> tuple[float, Calibration] | None:
    """A calibration fitted to measured totals [n] of costs [n, K], where these are known, around the coefficients
    `before`; with its mean absolute log error, leave-one-out if possible. None where no row of costs is known."""
    known = ~np.isnan(costs).any(axis=1)
    if not known.any():
        return None
    costs, measured = costs[known], measured[known]
    found = Calibration.fitted(before.source, costs, measured, before.coefficients, prior, noise)
    errors = found.errors if len(found.errors) else np.log(measured / totals_of(costs, found))
    return float(np.abs(errors).mean()), found


def calibrate(
    costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float
) -> np.ndarray:
    """Coefficients [K] of maximum posterior probability, given measured totals.

    Args:
        costs: F [n, K]; totals of the guess must be above zero.
        measured: totals [n].
        guess: prior medians [K], above zero.
        prior: prior covariance of the logarithms [K, K].
        noise: standard deviation of a measured log total; errors beyond 2.5 times it have less weight (Huber).
    """
    moved, whitened = np.zeros(len(guess)), np.linalg.inv(np.linalg.cholesky(prior))

    def loss(at: np.ndarray) -> float:
        """Huber loss of the errors, plus half the squared distance from the prior."""
        error = np.abs(np.log(measured / (costs @ (guess * np.exp(at))))) / noise
        return float(
            np.where(error < 2.5, error**2 / 2, 2.5 * error - 2.5**2 / 2).sum() + ((whitened @ at) ** 2).sum() / 2
        )

    before = loss(moved)
    for _ in range(50):
        totals, jacobian = _linearised(costs, guess * np.exp(moved))
        error = np.log(measured / totals)
        weight = np.sqrt(np.minimum(1, 2.5 * noise / np.maximum(np.abs(error), 1e-12))) / noise
        a = np.concatenate([jacobian * weight[:, None], whitened])
        b = np.concatenate([error * weight, -whitened @ moved])
        step = np.linalg.lstsq(a, b, rcond=None)[0].clip(-1, 1)
        while not (after := loss(moved + step)) <= before and np.abs(step).max() >= 1e-6:
            step = step / 2
        moved, before = moved + step, after
        if np.abs(step).max() < 1e-6:
            break
    return guess * np.exp(moved)


def leave_one_out_errors(
    costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float
) -> np.ndarray:
    """Leave-one-out errors log(measured / predicted) [n] of all totals; those of more than `MOST_FITS` by one fit to
    all, linearised (Cook and Weisberg, "Residuals and Influence in Regression", 1982)."""
    if len(measured) > MOST_FITS:
        found = calibrate(costs, measured, guess, prior, noise)
        totals, jacobian = _linearised(costs, found)
        error = np.log(measured / totals)
        leverage = np.einsum("ai,ij,aj->a", jacobian, covariance(costs, found, prior, noise), jacobian) / noise**2
        return error / (1 - leverage)
    errors = np.empty(len(measured))
    for i in range(len(measured)):
        others = np.arange(len(measured)) != i
        fitted = calibrate(costs[others], measured[others], guess, prior, noise)
        errors[i] = np.log(measured[i] / (costs[i] @ fitted))
    return errors


def most_informative(costs: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float, n: int) -> list[int]:
    """Indices of the `n` most informative totals to measure: a greedy Bayesian D-optimal design, linearised at the
    guess, where each total has the largest predictive variance given those before it."""
    _, jacobian = _linearised(costs, guess)
    covariance = prior
    chosen: list[int] = []
    for _ in range(min(n, len(costs))):
        projected = jacobian @ covariance
        variance = (projected * jacobian).sum(axis=1)
        variance[chosen] = -1
        best = int(variance.argmax())
        chosen.append(best)
        covariance = covariance - np.outer(projected[best], projected[best]) / (noise**2 + max(variance[best], 0))
    return chosen


def covariance(costs: np.ndarray, fitted: np.ndarray, prior: np.ndarray, noise: float) -> np.ndarray:
    """Posterior covariance [K, K] of the logarithms of the coefficients (Laplace's approximation)."""
    _, jacobian = _linearised(costs, fitted)
    return np.linalg.inv(np.linalg.inv(prior) + jacobian.T @ jacobian / noise**2)


def _linearised(costs: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Totals [n], and the derivatives of their logarithms by those of the coefficients [n, K]."""
    parts = costs * coefficients
    totals = parts.sum(axis=1)
    return totals, parts / totals[:, None]


def belief_of(
    c: Calibration, costs: np.ndarray, parts: Sequence[np.ndarray], spread: np.ndarray, noise: float
) -> Belief:
    """Distributions [A] of the ms of networks: Student's t of their logarithms, with the variance of the coefficients
    and the leave-one-out errors of measured networks; for fewer than three, `noise` and the errors of layers instead of
    the latter.

    Args:
        c: coefficients of the device.
        costs: of networks [A, K].
        parts: terms of the pieces of each network [P, K].
        spread: deviations of the logarithms of the terms of a piece [K].
        noise: relative error of sums with exact coefficients.
    """
    ms, variance = totals_of(costs, c), c.variance(costs)
    if len(c.errors) < 3:
        squares = [((part * c.coefficients * spread) ** 2).sum() for part in parts]
        variance = variance + noise**2 + np.array(squares) / ms**2
    return Belief(np.log(ms), np.sqrt(variance), Scale.known("log"), max(len(c.errors) - 1, 5))
