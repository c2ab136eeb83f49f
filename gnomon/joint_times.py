"""Times of alternatives with correlated errors: which is best, what the others lose, and what to measure next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

DRAWS = 20_000
"""Number of draws from a distribution; probabilities are exact to half a percent."""
LIKELY = 200
"""Number of draws that stand for the results of a measurement."""


@dataclass(frozen=True)
class JointTimes:
    """Multivariate Student-t distribution of the logarithms of the times of C alternatives.

    Errors of alternatives of one machine are correlated: a network that takes longer than predicted with one runtime
    does so with the others, too. What is common to all does not matter to the choice.

    Attributes:
        mean: logarithms of ms [C].
        covariance: of these [C, C].
        degrees: of freedom.
        per: number of samples of a run of each alternative [C], by which times count; by default whole runs count.
        own_degrees: of freedom of each alternative by itself [C]; by default those of all.
    """

    mean: np.ndarray
    covariance: np.ndarray
    degrees: float = 5.0
    per: np.ndarray = field(default_factory=lambda: np.ones(1))
    own_degrees: np.ndarray | None = None

    def only(self, kept: list[int]) -> JointTimes:
        """The distribution of some of the alternatives."""
        own = None if self.own_degrees is None else self.own_degrees[kept]
        covariance = self.covariance[np.ix_(kept, kept)]
        return replace(self, mean=self.mean[kept], covariance=covariance, per=self.per[kept], own_degrees=own)

    @cached_property
    def draws(self) -> np.ndarray:
        """Logarithms of the times that count [DRAWS, C], always the same ones."""
        rng = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(self.covariance)
        z = rng.standard_normal((DRAWS, len(self.mean))) * np.sqrt(np.maximum(values, 0)) @ vectors.T
        wide = np.sqrt(self.degrees / rng.chisquare(self.degrees, DRAWS))
        return self.mean - np.log(self.per) + z * wide[:, None]

    def best(self) -> np.ndarray:
        """Probability of each alternative to be the fastest [C]."""
        return np.bincount(self.draws.argmin(axis=1), minlength=len(self.mean)) / DRAWS

    def losses(self) -> np.ndarray:
        """Median share by which each alternative's time exceeds that of the chosen one [C]; negative where it is more
        probably faster."""
        return np.expm1(np.median(self.draws - self.draws[:, [self.chosen()]], axis=0))

    def regrets(self) -> np.ndarray:
        """Expected share by which each alternative's time exceeds that of the truly best one [C]. Draws count as if
        that were at most 100, since Student's t has no mean of its exponentials."""
        return np.expm1(np.minimum(self.draws - self.draws.min(axis=1, keepdims=True), np.log(100))).mean(axis=0)

    def chosen(self) -> int:
        """The alternative of the least expected regret."""
        return int(self.regrets().argmin())

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends [C] of the central intervals of a run's ms of a probability between 0 and 1."""
        from scipy.special import stdtrit

        half = stdtrit(self._own_degrees, (1 + level) / 2) * np.sqrt(np.diagonal(self.covariance))
        return np.exp(self.mean - half), np.exp(self.mean + half)

    def within(self, ms: float) -> np.ndarray:
        """Probabilities [C] that a run takes at most so many ms."""
        from scipy.special import stdtr

        return stdtr(self._own_degrees, (np.log(ms) - self.mean) / np.sqrt(np.diagonal(self.covariance)))

    @property
    def _own_degrees(self) -> np.ndarray | float:
        return self.degrees if self.own_degrees is None else self.own_degrees

    def measured(self, number: int, ms: float, noise: float) -> JointTimes:
        """The distribution given a measured time of one alternative; `noise` is its relative error."""
        column = self.covariance[:, number]
        gain = column / (column[number] + noise**2)
        mean = self.mean + gain * (np.log(ms) - self.mean[number])
        return replace(self, mean=mean, covariance=self.covariance - np.outer(gain, column))

    def most_telling(self, among: list[int], noise: float) -> int:
        """The alternative of `among` whose measurement is expected to lower the time of the chosen one most: the
        knowledge gradient (Frazier, Powell and Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs",
        2009), by quantiles of its result. Where none does, that of the widest interval."""
        z = np.sqrt(2) * _erfinv(2 * (np.arange(LIKELY) + 0.5) / LIKELY - 1)
        at = self.mean - np.log(self.per)
        best, found = -np.inf, among[0]
        for number in among:
            column = self.covariance[:, number]
            moved = column / np.sqrt(column[number] + noise**2)
            gain = at.min() - (at[:, None] + moved[:, None] * z).min(axis=0).mean()
            if (value := gain + 1e-6 * column[number]) > best:
                best, found = value, number
        return found


def _erfinv(x: np.ndarray) -> np.ndarray:
    from scipy.special import erfinv

    return np.asarray(erfinv(x))
