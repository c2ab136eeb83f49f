"""`SettingTimes`: times of networks on machines in several settings (precision, threads, runtime) as one normal
distribution of their logarithms, which chooses settings.

A logarithm is a sum of what a network, a machine and a setting contribute each, of what each pair of them contributes,
and of what all three do. Each contribution is normally distributed; those of like machines, settings and networks are
correlated, and covariances of pairs are products (Bonilla et al., "Multi-task Gaussian Process Prediction", 2007). So
the settings of one machine are compared by what other networks gained by them there, and by what this network gained by
them elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.records import InputError


@dataclass(frozen=True)
class Contributions:
    """Variances of the logarithm of a time that its parts contribute; the values are those of ncnn's table.

    Attributes:
        network, machine: of networks and machines, in every setting.
        pair: of a network on a machine, in every setting.
        label, slope, threads, both: of the labels of a setting, linearly in the logarithm of its threads, smoothly in
            it, and of labels in dependence on threads. What follows multiplies them.
        setting: of a setting anywhere.
        of_network, of_machine, of_pair: of a setting for one network, on one machine, and for both.
        noise: of a measurement.
    """

    network: float = 1.0
    machine: float = 1.0
    pair: float = 0.05
    label: float = 0.3
    slope: float = 0.1
    threads: float = 0.1
    both: float = 0.1
    setting: float = 1.0
    of_network: float = 0.3
    of_machine: float = 1.0
    of_pair: float = 0.05
    noise: float = 0.002


REACH = 1.5
"""Binary logarithm of a ratio of threads over which their likeness falls by the root of e."""


@dataclass(frozen=True)
class Runs:
    """Networks that ran on machines in settings, one row each.

    Attributes:
        machine: labels of the machines from coarse to fine, as its kind, family and name [n, M].
        network: numbers of the networks [n].
        label: labels of the settings, as precision and runtime [n, L].
        threads: numbers of threads [n].
    """

    machine: np.ndarray
    network: np.ndarray
    label: np.ndarray
    threads: np.ndarray

    def __len__(self) -> int:
        return len(self.network)

    def __getitem__(self, rows: np.ndarray) -> Runs:
        return Runs(self.machine[rows], self.network[rows], self.label[rows], self.threads[rows])


class SettingTimes:
    """The distribution of times given those of `runs`.

    Args:
        runs: what was measured.
        ms: milliseconds [n].
        likeness: covariances of networks [N, N] with a mean diagonal of about 1; by default networks are unlike.
        parts: variances.

    Raises:
        InputError: there are no rows, or a time is not above zero.
    """

    def __init__(
        self, runs: Runs, ms: np.ndarray, likeness: np.ndarray | None = None, parts: Contributions = Contributions()
    ) -> None:
        from scipy.linalg import lapack

        if not len(runs) or not (ms > 0).all():
            raise InputError("Times to learn from must be above zero, and there must be some.")
        self.runs, self.parts, self.likeness = runs, parts, likeness
        self.mean = float(np.log(ms).mean())
        self.rest = np.log(ms) - self.mean
        covariance = self.covariance(runs, runs)
        covariance[np.diag_indices(len(runs))] += parts.noise
        factor, fault = lapack.dpotrf(covariance, lower=1, overwrite_a=1)
        assert not fault, "the covariance is not positive definite"
        inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
        inverse = np.tril(inverse)
        inverse += np.tril(inverse, -1).T
        self.inverse: np.ndarray = inverse
        self.weights = self.inverse @ self.rest

    def covariance(self, a: Runs, b: Runs) -> np.ndarray:
        """Covariances [A, B] of the logarithms of times, without the noise of measurements."""
        p = self.parts
        same = (a.network[:, None] == b.network).astype(float)
        if self.likeness is not None:
            same = self.likeness[np.ix_(a.network, b.network)]
        columns = range(a.machine.shape[1])
        machine = sum(_equal(a.machine[:, i], b.machine[:, i]) for i in columns) / len(columns)
        x, y = np.log2(a.threads), np.log2(b.threads)
        label = sum(_equal(a.label[:, i], b.label[:, i]) for i in range(a.label.shape[1])) / a.label.shape[1]
        smooth = np.exp(-((x[:, None] - y) ** 2) / (2 * REACH**2))
        setting = p.label * label + p.slope * np.outer(x, y) + smooth * (p.threads + p.both * label)
        setting *= p.setting + p.of_network * same + machine * (p.of_machine + p.of_pair * same)
        return 1 + p.network * same + machine * (p.machine + p.pair * same) + setting

    def predict(self, runs: Runs) -> tuple[np.ndarray, np.ndarray]:
        """Means [A] and covariance [A, A] of the logarithms of the ms of further runs, measured without noise."""
        cross = self.covariance(runs, self.runs)
        return (
            self.mean + cross @ self.weights,
            self.covariance(runs, runs) - cross @ self.inverse @ cross.T,
        )

    def left_out(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means [B] and covariance [B, B] of measurements `rows` [B], given all others (in closed form: Rasmussen and
        Williams, "Gaussian Processes for Machine Learning", 2006, chapter 5)."""
        covariance = np.linalg.inv(self.inverse[np.ix_(rows, rows)])
        return self.mean + self.rest[rows] - covariance @ self.weights[rows], covariance


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a[:, None] == b).astype(float)


def coded(columns: Sequence[Sequence[object]]) -> np.ndarray:
    """Labels as numbers [n, columns], from one sequence [n] per column."""
    return np.stack([np.unique(np.array([str(x) for x in c]), return_inverse=True)[1] for c in columns], axis=1)
