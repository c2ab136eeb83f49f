"""Devices that nobody measured, made of those that somebody did: they widen the training set of an optimizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.records import InputError

CONCENTRATION = 0.5
"""Of the Dirichlet distribution of a mixture's weights: below 1 most weight lies on a few devices."""
PER_EDGE = 0.5
"""How much a choice's random effect differs between decisions, as a share of its own size."""


@dataclass(frozen=True)
class SyntheticDevices:
    """Convex mixtures of real devices' logarithms, moved by effects of single choices.

    They stay inside what real devices look like: a mixture lies in the hull of the real ones, and the effects move it
    by at most `reach`, which is how far a real device typically (the median) lies from the hull of all others.

    Attributes:
        logs: of real devices' costs [A, D], without gaps.
        one_hot: the same architectures' decisions [A, F].
        choices: how many each decision has.
        reach: root mean square over architectures, in logarithms of the cost; see `reach_of`.
    """

    logs: np.ndarray
    one_hot: np.ndarray
    choices: tuple[int, ...]
    reach: float

    @staticmethod
    def of(logs: np.ndarray, one_hot: np.ndarray, choices: tuple[int, ...]) -> SyntheticDevices:
        """The ones that real devices [A, D] allow; a lone device allows nothing but itself."""
        if np.isnan(logs).any() or not len(logs):
            raise InputError("Synthetic devices need costs of the same architectures on every device, without gaps.")
        return SyntheticDevices(logs, one_hot, choices, reach_of(logs))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Logarithms of the costs [A, n] on `n` of them."""
        weights = rng.dirichlet(np.full(self.logs.shape[1], CONCENTRATION), n).T
        most = max(self.choices)
        shared = rng.standard_normal((most, n))
        effects = np.concatenate([shared[:c] + PER_EDGE * rng.standard_normal((c, n)) for c in self.choices])
        moved = self.one_hot @ effects
        moved -= moved.mean(axis=0)
        size = np.maximum(np.sqrt((moved**2).mean(axis=0)), 1e-12)
        return self.logs @ weights + moved * (self.reach * rng.random(n) / size)


def distance_to_hull(column: np.ndarray, logs: np.ndarray) -> float:
    """How far a device's logarithms [A] lie from the nearest convex mixture of others' [A, D]: the root mean square,
    all means taken out, so that speed is no distance."""
    from scipy.optimize import nnls

    others, own = logs - logs.mean(axis=0), column - column.mean()
    heavy = 1e3 * np.sqrt(len(own)) * (np.abs(others).max() + 1e-12)  # makes the weights sum to 1
    weights, _ = nnls(np.vstack([others, np.full((1, others.shape[1]), heavy)]), np.append(own, heavy))
    return float(np.sqrt(np.mean((others @ (weights / weights.sum()) - own) ** 2)))


def reach_of(logs: np.ndarray) -> float:
    """The median over devices [A, D] of their distance to the hull of the others; 0 of a lone one."""
    if logs.shape[1] < 2:
        return 0.0
    return float(np.median([distance_to_hull(logs[:, d], np.delete(logs, d, axis=1)) for d in range(logs.shape[1])]))
