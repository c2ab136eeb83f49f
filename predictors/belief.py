"""`Belief`: predictive distributions, one per architecture, with `interval` and `cdf` like those of scipy.stats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from datasets.records import InputError
from predictors.scaling import Scale


@dataclass(frozen=True)
class Belief:
    """Student-t distributions [A] of new measurements, on the label scale.

    Attributes:
        location: [A], on the label scale.
        deviation: scale parameter [A] of Student's t on the label scale, above zero.
        scale: label scale of one device.
        degrees: degrees of freedom; infinite for normal distributions.
        least: lower bound of measurements in the metric's unit, for example 0 for times.
    """

    location: np.ndarray
    deviation: np.ndarray
    scale: Scale
    degrees: float = np.inf
    least: float = -np.inf

    def widened(self, variance: np.ndarray) -> Belief:
        """A copy whose squared deviations are larger by a variance [A] on the label scale."""
        return replace(self, deviation=np.sqrt(self.deviation**2 + variance)) if variance.any() else self

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends [A], in the metric's unit, of the central intervals of probability `level` (0 to 1)."""
        if not 0 < level < 1:
            raise InputError(f"level = {level} must lie between 0 and 1.")
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def quantile(self, probability: float) -> np.ndarray:
        """Values [A], in the metric's unit, that new measurements are at most with a probability between 0 and 1."""
        from scipy.special import stdtrit

        if not 0 < probability < 1:
            raise InputError(f"A quantile's probability must lie between 0 and 1, not be {probability}.")
        end = self.location + stdtrit(self.degrees, probability) * self.deviation
        return np.maximum(self.scale.inverse(end[:, None])[:, 0], self.least)

    def cdf(self, value: float) -> np.ndarray:
        """Probabilities [A] that a new measurement is at most `value`, in the metric's unit."""
        from scipy.special import stdtr

        if value < self.least or (self.scale.kind == "log" and value <= 0):
            return np.zeros(len(self.location))
        z = self.scale.transform(np.array([[value]]))[0, 0]
        return stdtr(self.degrees, (z - self.location) / self.deviation)
