"""What a predictor of new devices has to beat: one source device, a mixture of them, a line on FLOPs, a GCN that is
trained on. All but the GCN learn a line from the few labels, as `FewShot` says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import Architectures, Device, Measurements
from encoders.base import VectorEncoder
from encoders.flat import Totals
from predictors.base import Log
from predictors.gcn import GCN
from predictors.linear import Mean
from predictors.new_devices.base import FewShot
from predictors.new_devices.few_shot import draw, given, read_samples, too_few
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

PENALTIES = np.logspace(-3, 3, 25)
"""What ridge regressions choose among."""


@dataclass
class NearestDevice(FewShot):
    """The source device that ranks the few labels best (Spearman), moved and stretched to fit them.

    Attributes:
        encoder: a short vector that is not looked at.
    """

    encoder: VectorEncoder = field(init=False, default_factory=Totals)

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        best = nearest(samples[:, : len(self.sources_.std_)], t)
        return _single(samples, t, best)


@dataclass
class SourceRidge(FewShot):
    """Boosted trees for every source device, and ridge regression on what they say; the penalty by leaving one out.

    Attributes:
        encoder: a short vector that is not looked at.
    """

    source: Regressor = field(default_factory=XGBoost)
    encoder: VectorEncoder = field(init=False, default_factory=Totals)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(source=XGBoost(trees=10)), cls(source=XGBoost.examples()[-1])]

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        weights, bias = ridge(samples[:, :sources], t)
        return np.concatenate([weights, np.zeros(samples.shape[1] - sources)]), bias


@dataclass
class AdaProxy(FewShot):
    """OneProxy's adaptation (Lu et al., SIGMETRICS 2022, section 4.3): weights w of a linear proxy on decisions become
    w * (a + b), one number a for all and one b each, with an L2 penalty on the b; the proxy is the nearest device.
    Their penalty is chosen on validation samples; ours, since there are so few, by leaving one out."""

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        features, sources = self._features(x), len(self.sources_.std_)
        # decisions one-hot are dependent: weights along what they cannot tell apart would be huge and cancel
        self.proxies_ = np.linalg.pinv(features[:, sources:], rcond=1e-6) @ features[:, :sources]  # [F, S]

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        sources = len(self.sources_.std_)
        own, best = samples[:, sources:], nearest(samples[:, :sources], t)
        w = self.proxies_[:, best]
        scaled = own * w
        # a is free: its column is so long that the penalty does not count
        weights, bias = ridge(np.column_stack([scaled.sum(axis=1) * 1e3, scaled / np.std(scaled.sum(axis=1))]), t)
        mixed = w * (weights[0] * 1e3 + weights[1:] / np.std(scaled.sum(axis=1)))
        return np.concatenate([np.zeros(sources), mixed]), bias

    def state(self) -> dict[str, Any]:
        return super().state() | {"proxies": self.proxies_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        sources = len(self.sources_.std_)
        self.proxies_ = array(state["proxies"], len(self.width_) - sources, sources)


@dataclass
class OwnLine(FewShot):
    """A line on a vector, by default FLOPs, from the few labels alone; the source devices are not looked at.

    Attributes:
        source: their mean, which only answers for themselves.
    """

    scale: Scale = field(init=False, default_factory=Scale)
    source: Regressor = field(init=False, default_factory=lambda: Mean(scale=Scale("log")))
    encoder: VectorEncoder = field(default_factory=Totals)

    learns_to: ClassVar[float] = float("inf")  # of source devices it knows the mean only

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
    """A GCN with one output a source device, trained on for a new one: its output starts as that of the source device
    that ranks the few labels best.

    Attributes:
        steps: of AdamW, each on all few labels.
        tuning_rate: its learning rate.
    """

    steps: int = 40
    tuning_rate: float = 1e-3

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """`n` of `archs` at random."""
        return draw(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """One sample of any device will do."""
        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, few: Measurements | None, device: Device | None = None) -> Self:
        """A new predictor of one new device (`Adaptable.adapt`)."""
        import torch

        from predictors.descent import descend

        few = given(self, few, device)
        archs, y, _ = read_samples(self, few, self.scale.kind)
        x = self.encode(archs)
        new = copy.copy(self)
        new.devices_, new.scale = few.devices, Scale(self.scale.kind).fit(y)
        t = new.scale.transform(y)
        best = nearest(self.forward(x), t[:, 0])
        network: Any = copy.deepcopy(self.network_)
        new.network_, old = network, network.head[-1]
        last = torch.nn.Linear(old.in_features, 1)
        with torch.no_grad():
            last.weight.copy_(old.weight[best : best + 1])
            last.bias.copy_(old.bias[best : best + 1])
        network.head[-1] = last
        tensors = {name: torch.from_numpy(value) for name, value in x.items()}
        target = torch.from_numpy(t.astype(np.float32))
        optimizer = torch.optim.AdamW(network.parameters(), self.tuning_rate)
        descend(optimizer, (torch.nn.functional.mse_loss(network(**tensors), target) for _ in range(self.steps)))
        return new


def nearest(said: np.ndarray, t: np.ndarray) -> int:
    """The column of said [n, S] with the highest rank correlation to t [n]; constants correlate with nothing."""
    from scipy.stats import rankdata

    ranks, own = rankdata(said, axis=0), rankdata(t)
    ranks, own = ranks - ranks.mean(axis=0), own - own.mean()
    length = np.sqrt((ranks**2).sum(axis=0) * (own**2).sum())
    return int(np.where(length > 0, ranks.T @ own / np.maximum(length, 1e-12), -1).argmax())


def ridge(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights [F] and constant, the penalty from `PENALTIES` by the error of leaving one out (closed form)."""
    mean, shift = x.mean(axis=0), t.mean()
    u, s, v = np.linalg.svd(x - mean, full_matrices=False)
    along, unit = u.T @ (t - shift), max(float((s**2).mean()), 1e-12)
    best: tuple[float, np.ndarray] = (np.inf, np.zeros(x.shape[1]))
    for penalty in PENALTIES * unit:
        shrink = s**2 / (s**2 + penalty)
        left = 1 - (u**2) @ shrink - 1 / len(t)
        error = float((((t - shift - u @ (shrink * along)) / np.maximum(left, 1e-6)) ** 2).sum())
        if error < best[0]:
            best = error, v.T @ (shrink * along / np.maximum(s, 1e-12))
    return best[1], float(shift - mean @ best[1])


def _single(few: np.ndarray, t: np.ndarray, column: int) -> tuple[np.ndarray, float]:
    """Least squares on one feature; a slope below zero would turn the order around, so it becomes a small one above."""
    x = few[:, column]
    moved = x - x.mean()
    slope = max(float(moved @ t) / max(float(moved @ moved), 1e-12), 1e-3)
    line = np.zeros(few.shape[1])
    line[column] = slope
    return line, float(t.mean() - slope * x.mean())
