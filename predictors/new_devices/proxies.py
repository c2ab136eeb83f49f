"""Baselines for new devices: the nearest source device, a mixture of all, FLOPs, and a fine-tuned GCN.

All but the GCN are linear models (`FewShot`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.files.checkpoint import array
from encoders.base import VectorEncoder
from encoders.flat import Nothing, Totals
from predictors.base import Log
from predictors.gcn import GCN
from predictors.linear import Mean
from predictors.new_devices.base import FewShot
from predictors.new_devices.few_shot import best_ranking
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

PENALTIES = np.logspace(-3, 3, 25)
"""Candidate penalties of ridge regressions."""


@dataclass
class NearestDevice(FewShot):
    """Line on the predictions of the source device that ranks the labels best (Spearman).

    On a scale of logarithms, the slope is that of proportional labels as far as the samples say nothing else (ridge
    regression, by one sample of the source device's spread): a line of two close samples would be off by any factor.

    Attributes:
        encoder: of nothing, since only predictions of the sources count.
    """

    encoder: VectorEncoder = field(init=False, default_factory=Nothing)

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        best = best_ranking(samples[:, : len(self.sources_.std_)], t)
        if self.labels != "log" or self.sources_.kind != "log":
            return _single(samples, t, best)
        proportional = float(self.width_[best] * self.sources_.std_[best] / self.scale.std_[0])
        return _single(samples, t, best, proportional, 1 / len(self.sources_.std_))


@dataclass
class SourceRidge(FewShot):
    """Ridge regression on the predictions of boosted trees, one per source device; leave-one-out chooses the penalty.

    Attributes:
        encoder: of nothing, since only predictions of the sources count.
    """

    source: Regressor = field(default_factory=XGBoost)
    encoder: VectorEncoder = field(init=False, default_factory=Nothing)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(source=XGBoost(trees=10)), cls(source=XGBoost.examples()[-1])]

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        weights, bias = ridge(samples[:, :sources], t)
        return np.concatenate([weights, np.zeros(samples.shape[1] - sources)]), bias


@dataclass
class AdaProxy(FewShot):
    """OneProxy's adaptation (Lu et al., "One Proxy Device Is Enough for Hardware-Aware Neural Architecture Search",
    SIGMETRICS 2022, section 4.3): weights w of a linear proxy on decisions become w * (a + b), with a common factor a
    and one b per weight under an L2 penalty; the proxy is the nearest device. They choose the penalty on validation
    samples, here leave-one-out does."""

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        features, sources = self._features(x), len(self.sources_.std_)
        # one-hot decisions are linearly dependent: without rcond, weights would be huge and cancel
        self.proxies_ = np.linalg.pinv(features[:, sources:], rcond=1e-6) @ features[:, :sources]  # [F, S]

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        own, best = samples[:, sources:], best_ranking(samples[:, :sources], t)
        w = self.proxies_[:, best]
        w = w / max(float(np.std(own @ w)), 1e-12)
        terms = own * w
        # a is not penalised in effect: its column is a thousand times as large, and sets no scale of penalties
        unit = float((np.linalg.svd(terms - terms.mean(axis=0), compute_uv=False) ** 2).mean())
        weights, bias = ridge(np.column_stack([1e3 * terms.sum(axis=1), terms]), t, unit)
        mixed = w * (1e3 * weights[0] + weights[1:])
        return np.concatenate([np.zeros(sources), mixed]), bias

    def state(self) -> dict[str, Any]:
        return super().state() | {"proxies": self.proxies_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        sources = len(self.sources_.std_)
        self.proxies_ = array(state["proxies"], len(self.width_) - sources, sources)


@dataclass
class OwnLine(FewShot):
    """Line on an encoded vector, by default FLOPs, fitted to the labels of the new device only.

    Attributes:
        source: mean of each source device; the new device ignores it.
    """

    scale: Scale = field(init=False, default_factory=Scale)
    source: Regressor = field(init=False, default_factory=lambda: Mean(scale=Scale("log")))
    encoder: VectorEncoder = field(default_factory=Totals)

    learns_to: ClassVar[float] = float("inf")  # on source devices it predicts the mean

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls()]

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        if samples.shape[1] == sources + 1:
            return _single(samples, t, sources)
        weights, bias = ridge(samples[:, sources:], t)
        return np.concatenate([np.zeros(sources), weights]), bias


@dataclass
class FineTunedGCN(GCN):
    """A GCN whose settings of fine-tuning are fields; other neural predictors have the same ones fixed.

    Attributes:
        steps: of AdamW, each on all labels of the new device.
        tuning_rate: learning rate of these steps.
    """

    steps: int = 40  # type: ignore[misc]
    tuning_rate: float = 1e-3  # type: ignore[misc]


def ridge(x: np.ndarray, t: np.ndarray, unit: float = 0.0) -> tuple[np.ndarray, float]:
    """Ridge regression of labels [n] on features [n, F]: weights [F] and constant. The penalty is the one of
    `PENALTIES`, times `unit` (by default the mean squared singular value), that minimises the leave-one-out error
    (closed form)."""
    mean, shift = x.mean(axis=0), t.mean()
    u, s, v = np.linalg.svd(x - mean, full_matrices=False)
    along, unit = u.T @ (t - shift), max(unit or float((s**2).mean()), 1e-12)
    best: tuple[float, np.ndarray] = (np.inf, np.zeros(x.shape[1]))
    for penalty in PENALTIES * unit:
        shrink = s**2 / (s**2 + penalty)
        left = 1 - (u**2) @ shrink - 1 / len(t)
        error = float((((t - shift - u @ (shrink * along)) / np.maximum(left, 1e-6)) ** 2).sum())
        if error < best[0]:
            best = error, v.T @ (shrink * along / np.maximum(s, 1e-12))
    return best[1], float(shift - mean @ best[1])


def _single(
    samples: np.ndarray, t: np.ndarray, column: int, prior: float = 0.0, weight: float = 1e-12
) -> tuple[np.ndarray, float]:
    """Least squares on one feature, whose slope shrinks to a prior one by the weight of so many squared deviations; a
    negative slope is replaced by a small positive one, to keep the ranking."""
    x = samples[:, column]
    moved = x - x.mean()
    slope = max(float((moved @ t + weight * prior) / (moved @ moved + weight)), prior / 10, 1e-3)
    line = np.zeros(samples.shape[1])
    line[column] = slope
    return line, float(t.mean() - slope * x.mean())
