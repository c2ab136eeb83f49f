"""`Conditioned`: Bayesian linear regression that predicts a new device from about ten measurements, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from datasets.files.checkpoint import array, number
from datasets.records import Architectures, Device, InputError
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.flat import Joined, Totals, Work
from encoders.paths import LongestPath
from predictors.base import Uncertain
from predictors.belief import Belief
from predictors.new_devices.averaging import DEGREES, averaged
from predictors.new_devices.base import FewShot, guessed_variance
from predictors.new_devices.evidence import maximised
from predictors.new_devices.few_shot import distances, most_informative
from predictors.scaling import Scale

START = {"sources": 0.5, "vector": 0.2, "constant": 0.1, "noise": 0.1}
"""Variances where the search starts, as shares of the labels'; the vector's is shared by its blocks."""
PRIOR = 3.0
"""Strength of the prior that residuals are as large as expected, in samples."""
EXPECTED = 0.7
"""Prior mean of the slope of a new device on the mean of the source devices, both standardised."""
TAKEN = 4
"""Above this number of samples n the prior slope falls with n^2: they determine it themselves."""
COUNT = 2.0
"""Strength of the prior on the deviation of a device's labels, in samples."""
LEAST = 0.15
"""Least prior deviation of a device's labels, relative to their mean."""
AVERAGED = 40
"""Largest number of samples from which models are averaged (`averaged`); more determine the variances of one model."""
NARROWEST = 0.33
"""Least deviation of the noise of n samples, as a share of the labels', times the root of n: ten labels that agree by
chance are no evidence of a device without noise."""
CAP = 1.0
"""Largest relative deviation of labels of which `NARROWEST` is a share: that times of networks differ a thousandfold
says nothing of their noise. It was chosen on public networks, each runtime of one machine left out."""
UNSURE = 1.0
"""Predictive variances of n samples are multiplied by 1 + this / n^1.5, since estimated variances are uncertain. It,
`EXPECTED`, `TAKEN`, `COUNT`, `LEAST` and `NARROWEST` were chosen on source devices that were left out."""
POOL = 500
"""Largest number of architectures that `choose` compares; of more, so many are drawn at random."""


def work_and_decisions() -> VectorEncoder:
    """Default blocks: FLOPs, sufficient where labels are mostly noise; what is executed, of all ops and of those that
    compilers keep; the longest path, where branches run at the same time; one-hot decisions."""
    return Joined([Totals(), Work(), Work(live=True), LongestPath(), CellOneHot()])


@dataclass
class Conditioned(FewShot):
    """Bayesian linear regression on blocks of features: source predictions, what is executed, one-hot decisions.

    It is a Gaussian process with one linear kernel per block (Rasmussen and Williams, "Gaussian Processes for Machine
    Learning", 2006, chapters 2 and 5). A few samples do not determine the variances of the blocks and of the noise, so
    models with different variances, with all sources, with one of them and with none, are averaged by their marginal
    likelihoods (`averaged`): the sources contribute as far as they resemble the new device. From more than `AVERAGED`
    samples, one model's variances maximise the marginal likelihood (`maximised`). The noise follows Student's t, since
    phones give outliers: labels far from the fit have less weight (Tipping and Lawrence, "Variational inference for
    Student-t models", 2005).

    Attributes:
        source: model of the source devices.
        encoder: blocks beside the source predictions; a `Joined` encoder gives one per part.
        labels: kind of label scale; `linear` ranks better than `log` where some cells take almost no time.
        informative: whether `choose` selects the most informative architectures, or random ones.
        averaging: whether models with and without sources are averaged; otherwise one model has all sources, whatever
            the number of samples.
    """

    encoder: VectorEncoder = field(default_factory=work_and_decisions)
    labels: Literal["log", "linear"] = "linear"
    informative: bool = True
    averaging: bool = True

    spread_: np.ndarray | None = field(
        init=False, repr=False, compare=False, default=None
    )  # covariance of weights and constant [features + 1, features + 1], once adapted

    def _start(self) -> np.ndarray:
        vector = len(self._sizes()) - 1
        return np.log([START["sources"], *[START["vector"] / vector] * vector, START["constant"], START["noise"]])

    def _prior(self, theta: np.ndarray) -> np.ndarray:
        """Prior variances [features] of the weights."""
        return np.exp(np.repeat(theta[:-2], self._sizes()))

    def _expected(self, n: int) -> np.ndarray:
        """Prior means [features] of the weights with `n` samples: a slope on the mean of the source predictions."""
        sources, others = self._sizes()[0], sum(self._sizes()[1:])
        slope = EXPECTED * min(1.0, (TAKEN / n) ** 2)
        return np.append(np.full(sources, slope / np.sqrt(sources)), np.zeros(others))

    def _label_scale(self, features: np.ndarray, y: np.ndarray) -> Scale:
        """Mean and deviation of the device's labels. The relative deviation of the source devices is a prior of weight
        `COUNT`, since one to five samples do not determine them."""
        scale = Scale(self.labels).fit(y)
        relative = 0.4 if self.sources_.kind == "none" else float(np.mean(self.sources_.std_))
        if self.sources_.kind == "linear":
            relative = float(np.mean(self.sources_.std_ / np.abs(self.sources_.mean_)))
        relative = max(relative, LEAST)
        above = float((features @ self._expected(len(y))).mean())  # expected mean of the samples, in deviations
        usual = relative if self.labels == "log" else relative * abs(scale.mean_) / max(1 + relative * above, 0.3)
        squares = ((np.log(y) if self.labels == "log" else y) - scale.mean_) ** 2
        scale.std_ = np.sqrt((COUNT * usual**2 + squares.sum(axis=0)) / (COUNT + len(y) - 1))
        scale.mean_ = scale.mean_ - above * scale.std_
        return scale

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        expected, step, sizes, n = self._expected(len(t)), self._step(t), tuple(self._sizes()), len(t)
        t = t - samples @ expected
        if self.averaging and n <= AVERAGED:
            fit = averaged(samples, t, noise, sizes)
        else:
            fit = maximised(samples, t, noise, sizes, self._start())
        stretch = _stretched(fit.error**2 / fit.variance)
        self.spread_ = stretch * fit.covariance
        relative = float(self.scale.std_[0]) / (1.0 if self.labels == "log" else abs(float(self.scale.mean_[0])))
        least = max(
            (NARROWEST * min(1.0, CAP / relative)) ** 2 / n, step**2 / 12
        )  # equal labels do not show the variance of rounding
        self.noise_ = max(stretch * (fit.noise + float(np.median(noise))), least)
        return fit.mean[:-1] + expected, float(fit.mean[-1])

    def _from_specs(self, device: Device) -> Self:
        """Predictor of a device without measurements, whose intervals are as wide as the errors of source devices that
        were predicted by those of other families."""
        new, squared = super()._from_specs(device), distances(self.devices_, device)[:-1]
        level, spread = float(new.scale.mean_[0]), float(new.scale.std_[0])
        families = [known.family for known in self.devices_]
        doubt = 1.0 if new.scale.kind == "log" else max(abs(level), spread)
        variance = guessed_variance(squared, families, self.sources_, self.covariance_, doubt)
        new.spread_, new.noise_ = np.zeros((len(self.width_) + 1,) * 2), variance / spread**2
        return new

    def _step(self, t: np.ndarray) -> float:
        """Step to which labels [n] were rounded, on their scale: the largest power of ten that divides all values."""
        y = self.scale.inverse(t[:, None])[:, 0]
        step = 10.0 ** np.floor(np.log10(max(np.abs(y).min(), 1e-300)))
        for _ in range(6):
            if np.allclose(y / step, np.round(y / step), rtol=0, atol=1e-6):
                return float((step / np.median(y) if self.labels == "log" else step) / self.scale.std_[0])
            step /= 10
        return 0.0

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Student-t distributions [A] of new measurements on the device that it was adapted to; before, on a source
        device, by the source model, if that has distributions."""
        if self.line_ is None and isinstance(self.source, Uncertain):
            return self.source.belief(archs, device)
        return Belief(*self._moments(archs, device), self.scale.output(0), DEGREES, least=0.0)

    def _moments(self, archs: Architectures, device: Device | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [A] of new measurements, on the label scale."""
        if self.line_ is None or self.spread_ is None:
            raise InputError("Intervals are of devices that were adapted to; `adapt` to a few measurements first.")
        self.column(device)
        x = self.features(archs)
        both = np.column_stack([x, np.ones(len(x))])
        variance = np.maximum(((both @ self.spread_) * both).sum(axis=1), 0)
        return x @ self.line_ + self.bias_, np.sqrt(variance + self.noise_)

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` that minimise the prior variance left in all others (greedy Bayesian A-optimal design),
        or random ones where `informative` is off."""
        drawn = super().choose(archs, min(max(POOL, n), len(archs)) if self.informative else n, rng)
        if not self.informative:
            return drawn
        if not 0 < n <= len(drawn):
            raise InputError(f"Of {len(drawn)} architectures, {n} cannot be chosen.")
        theta = self._start()
        x = self._features(self.encode(drawn)) * np.sqrt(self._prior(theta))
        return drawn[most_informative(x @ x.T + np.exp(theta[-2]), float(np.exp(theta[-1])), n)]

    def state(self) -> dict[str, Any]:
        state = super().state()
        return state if self.spread_ is None else state | {"spread": self.spread_, "noise": self.noise_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if "few" in state:
            raise InputError("This predictor was adapted by an earlier version of Gnomon; adapt its source again.")
        if "spread" in state:
            self.spread_ = array(state["spread"], len(self.width_) + 1, len(self.width_) + 1)
            self.noise_ = number(state["noise"])
            if self.noise_ <= 0:
                raise ValueError("the noise is not above zero")


def _stretched(squares: np.ndarray) -> float:
    """Factor of all predictive variances that maximises the likelihood of the samples, each predicted from the others
    (Rasmussen and Williams, equations 5.10 to 5.12); it corrects variances that are too wide on easy devices, too
    narrow on hard ones.

    Args:
        squares: squared errors of these predictions, divided by their variances [n].
    """
    stretch = 1.0
    for _ in range(50):  # expectation maximisation of Student's t
        likely = (DEGREES + 1) / (DEGREES + squares / stretch)
        stretch = float((PRIOR + likely @ squares) / (PRIOR + len(squares)))
    return stretch * (1 + UNSURE / len(squares) ** 1.5)
