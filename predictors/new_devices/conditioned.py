"""`Conditioned`: Bayesian linear regression that predicts a new device from about ten measurements, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from datasets.files.checkpoint import array, number
from datasets.records import Architectures, Device, InputError
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.flat import PHYSICAL, Joined, Totals
from predictors.belief import Belief
from predictors.new_devices.base import FewShot
from predictors.scaling import Scale

SPREAD = 1.5
"""Standard deviation of the logarithms of the variances around where their search starts."""
FLOOR = 1e-3
"""Least variance of the noise, as a share of the labels'."""
START = {"sources": 0.5, "vector": 0.2, "constant": 0.1, "noise": 0.1}
"""Variances where the search starts, as shares of the labels'; the vector's is shared by its blocks."""
DEGREES = 4.0
"""Degrees of freedom of the Student-t noise; heavy tails, so one outlier among ten labels moves the fit little."""
ROUNDS = 3
"""Number of times that the weights of samples and the variances are updated after the first fit."""
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
UNSURE = 1.0
"""Predictive variances of n samples are multiplied by 1 + this / n^1.5, since estimated variances are uncertain. It,
`EXPECTED`, `TAKEN`, `COUNT` and `LEAST` were chosen on source devices that were left out."""
POOL = 500
"""Largest number of architectures that `choose` compares; of more, so many are drawn at random."""


def totals_and_decisions() -> VectorEncoder:
    """Default blocks: FLOPs, sufficient where labels are mostly noise; physical totals of all ops and of those that
    compilers keep; one-hot decisions."""
    return Joined([Totals(), Totals(PHYSICAL), Totals(PHYSICAL, live=True), CellOneHot()])


@dataclass
class Conditioned(FewShot):
    """Bayesian linear regression on blocks of features: source predictions, physical totals, one-hot decisions.

    It is a Gaussian process with one linear kernel per block (Rasmussen and Williams, "Gaussian Processes for Machine
    Learning", 2006, chapters 2 and 5). The variances of the blocks and of the noise maximise the marginal likelihood of
    the labels under a weak prior, so the source devices contribute as far as they resemble the new device. The noise
    follows Student's t, since phones give outliers: labels far from the fit have less weight (Tipping and Lawrence,
    "Variational inference for Student-t models", 2005).

    Attributes:
        source: model of the source devices.
        encoder: blocks beside the source predictions; a `Joined` encoder gives one per part.
        labels: kind of label scale; `linear` ranks better than `log` where some cells take almost no time.
        informative: whether `choose` selects the most informative architectures, or random ones.
    """

    encoder: VectorEncoder = field(default_factory=totals_and_decisions)
    labels: Literal["log", "linear"] = "linear"
    informative: bool = True

    rows_: np.ndarray = field(init=False, repr=False, compare=False, default_factory=lambda: np.empty((0, 0)))

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
        """Fit weights and variances. Samples are first reduced to at most as many rows as features (`reduced`), so
        three thousand samples take about as long as a hundred."""
        start, expected, step = self._start(), self._expected(len(t)), self._step(t)
        t = t - samples @ expected
        self.theta_, squares = start, np.ones(len(t))  # squared residuals in units of the noise variance
        for _ in range(ROUNDS + 1):
            weight = (DEGREES + 1) / (DEGREES + squares)  # variational posterior mean per label
            inflation = 1 + noise / self._noise()  # noise of the measurements adds to that of the model
            self.rows_, self.ones_, reduced_t, rest = reduced(samples, t, weight / inflation)
            blocks = np.split(self.rows_, np.cumsum(self._sizes())[:-1], axis=1)
            kernels = [*(b @ b.T for b in blocks), np.outer(self.ones_, self.ones_)]
            self.theta_ = maximise_evidence(kernels, reduced_t, rest, start, self.theta_)
            alpha = np.linalg.solve(self._covariance(), reduced_t)
            line = self._prior(self.theta_) * (self.rows_.T @ alpha)
            bias = float(np.exp(self.theta_[-2]) * (self.ones_ @ alpha))
            residual, variance = t - samples @ line - bias, self._variance(samples)
            squares = (residual**2 + variance) / (self._noise() * inflation)
        self.stretch_ = self._stretched(residual, variance, weight, inflation)
        least = step**2 / 12 / self.stretch_  # variance of rounding, which equal labels do not show
        self.theta_[-1] = np.log(max(least, self._noise() + float(np.median(noise))) - FLOOR)
        return line + expected, bias

    def _step(self, t: np.ndarray) -> float:
        """Step to which labels [n] were rounded, on their scale: the largest power of ten that divides all values."""
        y = self.scale.inverse(t[:, None])[:, 0]
        step = 10.0 ** np.floor(np.log10(max(np.abs(y).min(), 1e-300)))
        for _ in range(6):
            if np.allclose(y / step, np.round(y / step), rtol=0, atol=1e-6):
                return float((step / np.median(y) if self.labels == "log" else step) / self.scale.std_[0])
            step /= 10
        return 0.0

    def _covariance(self) -> np.ndarray:
        """Covariance of the reduced labels [R, R]."""
        kernel = (self.rows_ * self._prior(self.theta_)) @ self.rows_.T
        kernel += np.exp(self.theta_[-2]) * np.outer(self.ones_, self.ones_)
        return kernel + self._noise() * np.eye(len(kernel))

    def _noise(self) -> float:
        """Noise variance of a label of weight 1."""
        return float(np.exp(self.theta_[-1])) + FLOOR

    def _variance(self, x: np.ndarray) -> np.ndarray:
        """Posterior variance [A] of predictions at features [A, features], without noise."""
        prior, constant = self._prior(self.theta_), np.exp(self.theta_[-2])
        cross = (x * prior) @ self.rows_.T + constant * self.ones_  # [A, R]
        half = np.linalg.solve(np.linalg.cholesky(self._covariance()), cross.T)
        return np.maximum((x**2) @ prior + constant - (half**2).sum(axis=0), 0)

    def _stretched(
        self, residual: np.ndarray, variance: np.ndarray, weight: np.ndarray, inflation: np.ndarray
    ) -> float:
        """Factor of all predictive variances that maximises the leave-one-out likelihood of the samples (Rasmussen and
        Williams, equations 5.10 to 5.12); it corrects variances that are too wide on easy devices, too narrow on hard
        ones.

        Args:
            residual: labels less predictions [n].
            variance: posterior variances [n] at the samples.
            weight: of each label [n].
            inflation: factor of the noise of each label [n].
        """
        usual = self._noise() * inflation
        weighted = usual / weight
        without = np.maximum(weighted - variance, 1e-9 * weighted)
        squares = (residual * weighted / without) ** 2 / (weighted**2 / without + usual - weighted)
        stretch = 1.0
        for _ in range(50):  # expectation maximisation of Student's t
            likely = (DEGREES + 1) / (DEGREES + squares / stretch)
            stretch = float((PRIOR + likely @ squares) / (PRIOR + len(squares)))
        return stretch * (1 + UNSURE / len(squares) ** 1.5)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Student-t distributions [A] of new measurements on the device that it was adapted to."""
        return Belief(*self._moments(archs, device), self.scale.output(0), DEGREES, least=0.0)

    def _moments(self, archs: Architectures, device: Device | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [A] of new measurements, on the label scale."""
        if self.line_ is None or not len(self.rows_):
            raise InputError("Intervals are of devices that were adapted to; `adapt` to a few measurements first.")
        self.column(device)
        x = self.features(archs)
        return x @ self.line_ + self.bias_, np.sqrt(self.stretch_ * (self._variance(x) + self._noise()))

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
        covariance, noise = x @ x.T + np.exp(theta[-2]), np.exp(theta[-1])
        selected: list[int] = []
        for _ in range(n):
            own = np.diagonal(covariance).copy()
            gain = (covariance**2).sum(axis=0) / (own + noise)
            gain[selected] = -1
            best = int(gain.argmax())
            selected.append(best)
            column = covariance[:, best].copy()
            covariance -= np.outer(column, column / (own[best] + noise))
        return drawn[np.array(selected)]

    def state(self) -> dict[str, Any]:
        state = super().state()
        if self.line_ is None or not len(self.rows_):
            return state
        return state | {"few": self.rows_, "ones": self.ones_, "theta": self.theta_, "stretch": self.stretch_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if "few" in state:
            self.rows_, self.theta_ = (
                array(state["few"], None, len(self.width_)),
                array(state["theta"], len(self._start())),
            )
            self.ones_, self.stretch_ = array(state["ones"], len(self.rows_)), number(state["stretch"])
            if self.stretch_ <= 0 or np.abs(self.theta_).max() > 100:
                raise ValueError("stretch or hyperparameters are out of range")


def reduced(
    samples: np.ndarray, t: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, float]]:
    """Reduce weighted samples to at most F + 1 rows of equal noise that are equivalent for a linear model.

    Args:
        samples: features [n, F].
        t: labels [n].
        weight: of each label [n]; its noise variance is the common one divided by it.

    Returns:
        Features [R, F], the column of the constant [R] and labels [R], all multiplied by the root of the weights and,
        where n > F + 1, rotated by a QR decomposition; and of the other directions, which hold noise only, their number
        and the sum of their squared labels.
    """
    root = np.sqrt(weight)
    rows, labels = np.column_stack([samples, np.ones(len(t))]) * root[:, None], t * root
    rest = 0, 0.0
    if len(rows) > rows.shape[1]:
        turn, upper = np.linalg.qr(rows)
        turned = turn.T @ labels
        rest = len(rows) - rows.shape[1], float(((labels - turn @ turned) ** 2).sum())
        rows, labels = upper, turned
    return rows[:, :-1], rows[:, -1], labels, rest


def maximise_evidence(
    kernels: list[np.ndarray], t: np.ndarray, rest: tuple[int, float], start: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Maximise the marginal likelihood of labels under a weak prior around `start`.

    Args:
        kernels: [R, R], one per block and one for the constant.
        t: reduced labels [R].
        rest: number of further labels that are noise only, and the sum of their squares.
        start: centre of the prior.
        first: initial value.

    Returns:
        Logarithms of the variances of the kernels and of the noise.
    """
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    n, (more, squares) = len(t), rest
    parts = np.array([*kernels, np.eye(n)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(theta)
        noise = weights[-1] + FLOOR
        factor = np.linalg.cholesky(np.tensordot(weights, parts, 1) + FLOOR * parts[-1])
        inverse = cho_solve((factor, True), np.eye(n))
        alpha = inverse @ t
        off = (theta - start) / SPREAD
        value = t @ alpha / 2 + np.log(np.diagonal(factor)).sum() + off @ off / 2
        value += (more * np.log(noise) + squares / noise) / 2
        slope = np.tensordot(parts, inverse - np.outer(alpha, alpha), 2) * weights / 2 + off / SPREAD
        slope[-1] += (more - squares / noise) / noise * weights[-1] / 2
        return float(value), slope

    bounds = [(s - 4 * SPREAD, s + 4 * SPREAD) for s in start]
    return minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
