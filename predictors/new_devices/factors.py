"""Combinations of the logarithms of source devices' times: `ScaledDevice` and `Factors`, the floors of the arena."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from datasets.files.checkpoint import array, number
from datasets.records import InputError
from encoders.base import VectorEncoder
from encoders.flat import Nothing
from predictors.base import Log
from predictors.new_devices.base import FewShot
from predictors.new_devices.interpolation import Interpolation
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale

LEAST_NOISE = 1e-3
"""Least variance of the logarithms of times around their factors."""

DEGREES, ROUNDS = 4.0, 6
"""Degrees of freedom of the labels around their factors, and number of times that factors and weights are fitted."""


@dataclass
class LogCombination(FewShot):
    """The logarithm of a new device's times is a linear combination of those of the source devices, and a constant.

    Networks that were measured on source devices have the measured times there; others are interpolated.

    Attributes:
        source: model of the source devices.
        encoder: of nothing, since only predictions of the sources count.
    """

    scale: Scale = field(init=False, default_factory=Scale)
    tolerance: float = field(init=False, default=0.0)
    source: Regressor = field(default_factory=Interpolation)
    encoder: VectorEncoder = field(init=False, default_factory=Nothing)
    labels: Literal["log", "linear"] = field(init=False, default="log")

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(source=Interpolation(most=20)), cls()]

    @abstractmethod
    def _combine(
        self, sources: np.ndarray, vector: np.ndarray, y: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Weights of the sources [S], of the vector [F], and a constant.

        Args:
            sources: logarithms of times on the source devices [n, S].
            vector: standardised vectors of the measured networks [n, F].
            y: logarithms of their times on the new device [n].
            noise: variances of these, as estimated from repeats [n].
        """

    def _logs(self, features: np.ndarray) -> np.ndarray:
        """Logarithms of times on the source devices [A, S] from `features`."""
        sources = len(self.sources_.std_)
        z = features[:, :sources] * self.width_[:sources] + self.center_[:sources]
        return z * self.sources_.std_ + self.sources_.mean_

    def _label_scale(self, features: np.ndarray, y: np.ndarray) -> Scale:
        """Plain logarithms."""
        return Scale.known("log")

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        return self._line(*self._combine(self._logs(samples), samples[:, sources:], t, noise))

    def _line(self, weights: np.ndarray, more: np.ndarray, constant: float) -> tuple[np.ndarray, float]:
        """Weights of `features` and a constant, from those of logarithms [S] and of the vector [F]."""
        sources = len(weights)
        constant += float(weights @ (self.sources_.std_ * self.center_[:sources] + self.sources_.mean_))
        return np.concatenate([weights * self.sources_.std_ * self.width_[:sources], more]), constant


@dataclass
class ScaledDevice(LogCombination):
    """The times of a source device times a factor: of the device whose times are most nearly proportional to the
    labels, or with one label nearest to it."""

    def _combine(
        self, sources: np.ndarray, vector: np.ndarray, y: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        ratios = y[:, None] - sources
        factor = ratios.mean(axis=0)
        best = int((ratios.var(axis=0) if len(y) > 1 else np.abs(factor)).argmin())
        return np.eye(len(factor))[best], np.zeros(vector.shape[1]), float(factor[best])


@dataclass
class Factors(LogCombination):
    """Low-rank factors: the logarithm of the time of network n on device d is a mean of n plus a sum of factors of n
    times factors of d, learnt from the source devices by a singular value decomposition; those of a new device are
    learnt from its labels by ridge regression, as strongly as the source devices' own factors suggest. Labels far from
    the fit have less weight, as under Student's t: on some devices single networks are ten times as slow as elsewhere.

    Attributes:
        rank: number of factors, at most half the number of source devices.
    """

    rank: int = 4

    loadings_: np.ndarray = field(init=False, repr=False, compare=False)  # of the sources [S, rank]
    rest_: float = field(init=False, repr=False, compare=False)  # variance around the factors

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(source=Interpolation(most=20)), cls()]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        logs = self._logs(self._features(x))
        networks, sources = logs.shape
        rank = min(self.rank, max(1, (sources - 1) // 2))
        _, s, v = np.linalg.svd(logs - logs.mean(axis=1, keepdims=True), full_matrices=False)
        loadings = v[:rank].T / np.sqrt(sources)
        self.loadings_ = loadings - loadings.mean(axis=0)
        self.rest_ = max(float((s[rank:] ** 2).sum()) / (networks * max(sources - 1 - rank, 1)), LEAST_NOISE)
        log(f"{rank} factors of {sources} devices leave a deviation of {100 * self.rest_**0.5:.1f} %")

    def _combine(
        self, sources: np.ndarray, vector: np.ndarray, y: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        if sources.shape[1] < 2:
            raise InputError("Factors needs at least two source devices to learn a new one; fit it on more.")
        factors = sources @ self.loadings_
        target, variance, weight = y - sources.mean(axis=1), self.rest_ + noise, np.ones(len(y))
        for _ in range(ROUNDS):
            weighted = factors.T * (weight / variance)
            own = np.linalg.solve(weighted @ factors + np.eye(factors.shape[1]), weighted @ target)
            weight = (DEGREES + 1) / (DEGREES + (target - factors @ own) ** 2 / variance)
        return 1 / sources.shape[1] + self.loadings_ @ own, np.zeros(vector.shape[1]), 0.0

    def state(self) -> dict[str, Any]:
        return super().state() | {"loadings": self.loadings_, "rest": self.rest_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.loadings_ = array(state["loadings"], len(self.sources_.std_), None)
        self.rest_ = number(state["rest"])
        if self.rest_ <= 0:
            raise ValueError("the variance around the factors is not above zero")
