"""Synthetic devices, made from measured ones to enlarge the training set of an optimizer network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.records import InputError

CONCENTRATION = 0.5
"""Concentration of the Dirichlet distribution of mixture weights: below 1 most weight lies on few devices."""
PER_EDGE = 0.5
"""Standard deviation of a choice's random effect between decisions, relative to its shared effect."""


@dataclass(frozen=True)
class SyntheticDevices:
    """Convex mixtures of real devices' log costs, shifted by random effects of single choices.

    They resemble real devices: a mixture lies in the convex hull of the real ones, and the effects shift it by at most
    `reach`, the median distance of a real device from the hull of the others.

    Attributes:
        logs: log costs of real devices [A, D], without gaps.
        one_hot: decisions of these architectures [A, F].
        choices: number of choices per decision.
        reach: root mean square over architectures, in logarithms of the cost (`reach_of`).
    """

    logs: np.ndarray
    one_hot: np.ndarray
    choices: tuple[int, ...]
    reach: float

    @staticmethod
    def of(logs: np.ndarray, one_hot: np.ndarray, choices: tuple[int, ...]) -> SyntheticDevices:
        """Synthetic devices from log costs of real ones [A, D]; a single real device gives copies of itself.

        Raises:
            InputError: a cost is missing.
        """
        if np.isnan(logs).any() or not len(logs):
            raise InputError("Synthetic devices need costs of the same architectures on every device, without gaps.")
        return SyntheticDevices(logs, one_hot, choices, reach_of(logs))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Log costs [A, n] on `n` random synthetic devices."""
        weights = rng.dirichlet(np.full(self.logs.shape[1], CONCENTRATION), n).T
        most = max(self.choices)
        shared = rng.standard_normal((most, n))
        effects = np.concatenate([shared[:c] + PER_EDGE * rng.standard_normal((c, n)) for c in self.choices])
        moved = self.one_hot @ effects
        moved -= moved.mean(axis=0)
        size = np.maximum(np.sqrt((moved**2).mean(axis=0)), 1e-12)
        return self.logs @ weights + moved * (self.reach * rng.random(n) / size)


def distance_to_hull(column: np.ndarray, logs: np.ndarray) -> float:
    """Root mean square distance of a device's log costs [A] from the nearest convex mixture of others' [A, D], after
    subtracting means, so that overall speed does not count."""
    from scipy.optimize import nnls

    others, own = logs - logs.mean(axis=0), column - column.mean()
    heavy = 1e3 * np.sqrt(len(own)) * (np.abs(others).max() + 1e-12)  # makes the weights sum to 1
    weights, _ = nnls(np.vstack([others, np.full((1, others.shape[1]), heavy)]), np.append(own, heavy))
    return float(np.sqrt(np.mean((others @ (weights / weights.sum()) - own) ** 2)))


def reach_of(logs: np.ndarray) -> float:
    """The median over devices of log costs [A, D] of the distance to the hull of the others; 0 for a single device."""
    if logs.shape[1] < 2:
        return 0.0
    return float(np.median([distance_to_hull(logs[:, d], np.delete(logs, d, axis=1)) for d in range(logs.shape[1])]))
