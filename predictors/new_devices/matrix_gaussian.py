"""`MatrixGaussian`: times of networks on devices as one matrix-valued normal distribution, with intervals."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from datasets.devices import NUMBERS
from datasets.files.checkpoint import array, number
from datasets.records import Architectures, Device, InputError
from encoders.base import VectorEncoder
from encoders.kinds import Identity
from predictors.base import Log, devices_of
from predictors.belief import Belief
from predictors.new_devices.factors import LogCombination
from predictors.new_devices.few_shot import most_informative, random_subset
from predictors.new_devices.interpolation import Interpolation
from predictors.regressor import Inputs
from predictors.scaling import Scale

REACH = 3.0
"""Number of standard deviations of a number of devices (threads, clock, ...) over which their likeness falls by the
root of e; it falls by e with each of kind, runtime and precision that differs."""
LIKENESS = 1.0
"""Variance that devices share as far as they are alike, in units of that of each device alone."""
REST, NOISE = 0.1, 0.05
"""Standard deviations of logarithms, of each network's own and of a measurement."""
DEGREES = 4.0
"""Prior degrees of freedom of the factor of all variances of a new device. It, `REACH`, `LIKENESS`, the
deviations and the default of `vector` were chosen on half of the families of ncnn's devices, each left out."""
USUAL = (DEGREES - 2) / DEGREES
"""Prior scale of that factor: the variances are those of Student's t."""
POOL = 500
"""Largest number of networks that `choose` compares."""


@dataclass
class MatrixGaussian(LogCombination):
    """The logarithms of times of all networks on all devices are normally distributed; their covariance is a product of
    one between networks, as the source devices show it, and one between devices, by kind, runtime, precision, threads
    and published numbers (Bonilla et al., "Multi-task Gaussian Process Prediction", 2007).

    So a new device is expected to be like the source devices that resemble it, and its labels correct that: in the
    directions in which source devices differ, linearly in the vector, and by a factor of its own. All variances of a
    device have an unknown factor, so that the distributions are Student's t.

    Attributes:
        encoder: gives the vectors.
        vector: standard deviation of the logarithm of what the source devices do not have and is linear in the vector
            of a network.
        relative: whether predictions minimise the mean relative error; they are lower than the medians by the mean
            variance. Otherwise they are the medians.
        informative: whether `choose` selects the most informative networks, or random ones.
    """

    encoder: VectorEncoder = field(default_factory=Identity)
    vector: float = 0.1
    relative: bool = True
    informative: bool = True

    known_: tuple[Device, ...] = field(init=False, repr=False, compare=False)  # source devices
    shift_: float = field(init=False, repr=False, compare=False, default=0.0)  # of predictions below medians
    degrees_: float = field(init=False, repr=False, compare=False, default=DEGREES)
    spread_: np.ndarray | None = field(init=False, repr=False, compare=False, default=None)

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.spread_, self.shift_ = None, 0.0
        self._know(self.devices_)
        super().learn(x, z, val, log)
        basis = self._basis(self._features(x))
        self.moment_ = basis.T @ basis / len(basis)

    def _know(self, devices: Sequence[Device]) -> None:
        """Set the source devices, the inverse of the covariance between them [S, S], and their weights [S] in the mean
        of each network (generalised least squares)."""
        self.known_ = tuple(devices)
        count = max(len(devices), 1)
        self.inverse_ = np.linalg.inv(_likeness(devices, devices).reshape(count, -1) + np.eye(count))
        self.mean_ = self.inverse_.sum(axis=0) / self.inverse_.sum()

    def _basis(self, features: np.ndarray) -> np.ndarray:
        """Functions of networks [A, S + 1 + F] that a device has weights of: what each source device adds to the mean,
        a constant, and the vector."""
        logs = self._logs(features)
        rest = logs - (logs @ self.mean_)[:, None]
        return np.column_stack([rest, np.ones(len(logs)), features[:, logs.shape[1] :]])

    def _prior(self, variance: float) -> np.ndarray:
        """Covariance of the weights of `_basis` of a device of which this variance is left. A source device that is
        slower by the factor e on all networks is added to those there are."""
        sources, size = len(self.mean_), len(self.width_) + 1
        prior = np.eye(size) * self.vector**2
        prior[: sources + 1, : sources + 1] = 0
        prior[:sources, :sources] = self.inverse_ * variance / sources
        prior[sources, sources] = variance / sources
        return prior

    def _combine(
        self, sources: np.ndarray, vector: np.ndarray, y: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        count, mean = sources.shape[1], self.mean_
        cross = _likeness(self.devices_, self.known_)[0] if self.known_ else np.zeros(count)
        alike = self.inverse_ @ cross
        basis = np.column_stack([sources - (sources @ mean)[:, None], np.ones(len(y)), vector])
        prior = self._prior(1 + LIKENESS - float(cross @ alike))
        weights = np.append(alike, np.zeros(len(prior) - count))
        error = y - sources @ mean - basis @ weights
        between = prior @ basis.T
        covariance = basis @ between + np.diag(REST**2 + NOISE**2 + noise)
        solved = np.linalg.solve(covariance, np.column_stack([error, between.T]))
        factor = (DEGREES * USUAL + float(error @ solved[:, 0])) / (DEGREES + len(y))
        weights = weights + between @ solved[:, 0]
        self.degrees_ = DEGREES + len(y)
        self.spread_, self.rest_ = factor * (prior - between @ solved[:, 1:]), factor * REST**2
        self.noise_ = factor * NOISE**2
        self.shift_ = self.relative * (float((self.spread_ * self.moment_).sum()) + self.rest_)
        slopes = mean + weights[:count] - mean * weights[:count].sum()
        return slopes, weights[count + 1 :], float(weights[count] - self.shift_)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Accept any device, with samples or without."""

    def _from_specs(self, device: Device) -> Self:
        """Predictor of a device without measurements, from the source devices that resemble it."""
        self._require_sources()
        new = copy.copy(self)
        new.devices_, new.scale = (device,), Scale.known("log")
        nothing = np.zeros((0, len(self.sources_.std_)))
        vector = np.zeros((0, len(self.width_) - nothing.shape[1]))
        new.line_, new.bias_ = new._line(*new._combine(nothing, vector, np.zeros(0), np.zeros(0)))
        new.metadata_ = {"adapted": {"samples": 0, "sources": [known.name for known in self.devices_]}}
        return new

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Student-t distributions [A] of new measurements on the device that it was adapted to."""
        if self.line_ is None or self.spread_ is None:
            raise InputError("Intervals are of devices that were adapted to; `adapt` to a few measurements first.")
        self.column(device)
        features, count = self.features(archs), len(self.sources_.std_)
        basis = self._basis(features)
        variance = np.maximum(((basis @ self.spread_) * basis).sum(axis=1), 0) + self.rest_ + self.noise_
        if self.cache_.get("interpolated") is not archs:
            source = self.source
            of_networks = source.variance(source.encode(archs)) if isinstance(source, Interpolation) else 0.0
            self.cache_.update(interpolated=archs, variance=of_networks)
        slope = float((self.line_[:count] / self.width_[:count]).sum())
        location = features @ self.line_ + self.bias_ + self.shift_
        deviation = np.sqrt(variance + slope**2 * self.cache_["variance"])
        return Belief(location, deviation, self.scale.output(0), self.degrees_, least=0.0)

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` that minimise the prior variance left in all others, or random ones where `informative`
        is off."""
        drawn = random_subset(archs, min(max(POOL, n), len(archs)) if self.informative else n, rng)
        if not self.informative or not 0 < n <= len(drawn):
            return random_subset(drawn, n, rng)
        basis = self._basis(self._features(self.encode(drawn)))
        return drawn[most_informative(basis @ self._prior(1 + LIKENESS) @ basis.T, REST**2 + NOISE**2, n)]

    def state(self) -> dict[str, Any]:
        state = super().state() | {"known": [known.to_dict() for known in self.known_], "moment": self.moment_}
        if self.spread_ is None:
            return state
        numbers = ("rest", "noise", "shift", "degrees")
        return state | {"spread": self.spread_} | {name: float(getattr(self, f"{name}_")) for name in numbers}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        size = len(self.width_) + 1
        known = devices_of(state["known"])
        if max(len(known), 1) != len(self.sources_.std_):
            raise ValueError("it has other source devices")
        self._know(known)
        self.moment_ = array(state["moment"], size, size)
        if "spread" in state:
            self.spread_ = array(state["spread"], size, size)
            for name in ("rest", "noise", "shift", "degrees"):
                setattr(self, f"{name}_", number(state[name]))
            if min(self.rest_, self.noise_, self.degrees_) <= 0:
                raise ValueError("variances or degrees of freedom are not above zero")


def _likeness(devices: Sequence[Device], sources: Sequence[Device]) -> np.ndarray:
    """Covariance [D, S] of devices with source devices as far as they are alike, at most `LIKENESS`. Numbers that are
    not known are taken to be the mean of those of the source devices."""
    (names, numbers), (known_names, known) = _described(devices), _described(sources)
    count = np.maximum((~np.isnan(known)).sum(axis=0), 1)
    mean = np.nansum(known, axis=0) / count
    std = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / count)
    scaled = [np.nan_to_num((each - mean) / np.where(std > 1e-9, std, np.inf)) for each in (numbers, known)]
    squares = ((scaled[0][:, None] - scaled[1]) ** 2).sum(axis=-1)
    differ = (names[:, None] != known_names).sum(axis=-1)
    return LIKENESS * np.exp(-differ - squares / (2 * REACH**2))


def _described(devices: Sequence[Device]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of kind, runtime and precision [D, 3], and logarithms of numbers [D, F], NaN where unknown."""
    names = [[hash(d.kind), hash(d.runtime), hash(d.precision)] for d in devices]
    rows = [[d.threads, d.batch, *(d.features.get(name, np.nan) for name in NUMBERS)] for d in devices]
    numbers = np.array(rows, float).reshape(-1, 2 + len(NUMBERS))
    return np.array(names).reshape(-1, 3), np.log(np.where(numbers > 0, numbers, np.nan))
