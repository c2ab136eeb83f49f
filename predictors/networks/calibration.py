"""A sum of costs with a few coefficients, fitted to few totals: Gauss-Newton on logarithms, with priors.

Totals t = F c, all positive; log t is compared with measured totals, and the log c have a normal prior around those of
a first guess. So a coefficient that the totals say nothing about stays where it was, or follows those that it is
correlated with, and none becomes negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.files.checkpoint import array


@dataclass(frozen=True)
class Calibration:
    """The coefficients of one device, and how sure they are.

    Attributes:
        source: number of the device whose costs they multiply.
        coefficients: [K].
        covariance: of their logarithms [K, K].
        errors: log(measured / predicted) of each network that they were learnt from, by what the others gave [n]; none
            where there were fewer than three.
    """

    source: int
    coefficients: np.ndarray
    covariance: np.ndarray
    errors: np.ndarray

    @staticmethod
    def prior(source: int, guess: np.ndarray, prior: np.ndarray) -> Calibration:
        """Before a total was measured."""
        return Calibration(source, guess, prior, np.empty(0))

    @staticmethod
    def of(
        source: int, costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float
    ) -> Calibration:
        """What some measured totals say; the arguments are those of `calibrate`."""
        found = calibrate(costs, measured, guess, prior, noise)
        errors = left_out(costs, measured, guess, prior, noise) if len(measured) > 2 else np.empty(0)
        return Calibration(source, found, covariance(costs, found, prior, noise), errors)

    def variance(self, costs: np.ndarray) -> np.ndarray:
        """Of the logarithms of new totals [A] of costs [A, K]: what the coefficients leave open, and the mean square of
        the errors where there are some."""
        _, jacobian = _linearised(costs, self.coefficients)
        open_ = np.einsum("ai,ij,aj->a", jacobian, self.covariance, jacobian)
        return open_ + ((self.errors**2).mean() if len(self.errors) else 0.0)

    def state(self) -> dict[str, Any]:
        """Plain containers and arrays, which `restored` reads."""
        return {
            "source": self.source,
            "coefficients": self.coefficients,
            "covariance": self.covariance,
            "errors": self.errors,
        }

    @staticmethod
    def restored(state: Mapping[str, Any], sources: int, k: int) -> Calibration:
        """What `state` gave, of so many coefficients; what does not fit raises a ValueError, KeyError or TypeError."""
        source = state["source"]
        if type(source) is not int or not 0 <= source < sources:
            raise ValueError("a device has no layers")
        coefficients = array(state["coefficients"], k)
        if not (coefficients > 0).all():
            raise ValueError("coefficients must be above zero")
        return Calibration(source, coefficients, array(state["covariance"], k, k), array(state["errors"], None))


def calibrate(
    costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float
) -> np.ndarray:
    """The coefficients [K] that are most probable after some totals were measured.

    Args:
        costs: F [n, K], of which the guess makes totals above zero.
        measured: totals [n].
        guess: the prior's medians [K], positive.
        prior: its covariance in logarithms [K, K].
        noise: that of a measured log total; errors beyond 2.5 times it weigh less (Huber).
    """
    moved, whitened = np.zeros(len(guess)), np.linalg.inv(np.linalg.cholesky(prior))

    def loss(at: np.ndarray) -> float:
        """What is minimised: Huber's loss of the errors, and half the squared distance from the prior."""
        off = np.abs(np.log(measured / (costs @ (guess * np.exp(at))))) / noise
        return float(np.where(off < 2.5, off**2 / 2, 2.5 * off - 2.5**2 / 2).sum() + ((whitened @ at) ** 2).sum() / 2)

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


def left_out(costs: np.ndarray, measured: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float) -> np.ndarray:
    """log(measured / predicted) [n] of every total by coefficients that the others gave."""
    errors = np.empty(len(measured))
    for i in range(len(measured)):
        others = np.arange(len(measured)) != i
        fitted = calibrate(costs[others], measured[others], guess, prior, noise)
        errors[i] = np.log(measured[i] / (costs[i] @ fitted))
    return errors


def most_telling(costs: np.ndarray, guess: np.ndarray, prior: np.ndarray, noise: float, n: int) -> list[int]:
    """Which `n` totals to measure: greedily, each the one whose prediction is least certain after those before it (the
    Bayesian D-optimal design of `calibrate`, linearised at its guess)."""
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
    """That of the coefficients' logarithms [K, K] after some totals were measured (Laplace's approximation)."""
    _, jacobian = _linearised(costs, fitted)
    return np.linalg.inv(np.linalg.inv(prior) + jacobian.T @ jacobian / noise**2)


def _linearised(costs: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Totals [n], and the derivative of their logarithms by the coefficients' [n, K]."""
    parts = costs * coefficients
    totals = parts.sum(axis=1)
    return totals, parts / totals[:, None]
