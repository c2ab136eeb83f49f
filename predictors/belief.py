"""How sure a prediction is: one distribution an architecture, with two methods of scipy.stats' frozen distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.records import InputError
from predictors.scaling import Scale


@dataclass(frozen=True)
class Belief:
    """Distributions of new measurements [A]: Student's t on the scale of the labels.

    Attributes:
        location: [A], on the scale of the labels.
        deviation: what a deviate of Student's t is multiplied by there [A], above zero.
        scale: of the labels of the one device or metric that this is about.
        degrees: degrees of freedom; infinite for a normal distribution.
        least: no measurement is less, in the metric's unit: 0 for times and energies.
    """

    location: np.ndarray
    deviation: np.ndarray
    scale: Scale
    degrees: float = np.inf
    least: float = -np.inf

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends [A], in the metric's unit, of central intervals that a new measurement falls into with
        probability `level`, which lies between 0 and 1."""
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise InputError(f"level = {level} must lie between 0 and 1.")
        half = stdtrit(self.degrees, (1 + level) / 2) * self.deviation
        low, high = (self.scale.inverse(end[:, None])[:, 0] for end in (self.location - half, self.location + half))
        return np.maximum(low, self.least), np.maximum(high, self.least)

    def cdf(self, value: float) -> np.ndarray:
        """P(a new measurement is at most `value`) [A], for a number in the metric's unit."""
        from scipy.special import stdtr

        if value < self.least or (self.scale.kind == "log" and value <= 0):
            return np.zeros(len(self.location))
        z = self.scale.transform(np.array([[value]]))[0, 0]
        return stdtr(self.degrees, (z - self.location) / self.deviation)
