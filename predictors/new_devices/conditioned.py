"""Our predictor of new devices: ten measurements, a prior learnt on other devices, physics, and how sure that is."""

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
"""Of freedom of Student's t, which noise follows: one wild label among ten moves the line little."""
ROUNDS = 3
"""How often the samples are trusted anew, and the variances learnt again."""
PRIOR = 3.0
"""How many residuals of just the deviation that the regression expects are added to those of the samples."""
EXPECTED = 0.7
"""Slope, in deviations, that a new device is expected to have on the mean of the source devices."""
TAKEN = 4
"""With more samples the expected slope falls with the square of their number, since they tell it themselves."""
COUNT = 2.0
"""How many labels the deviation that the source devices let expect counts for, beside that of the samples."""
LEAST = 0.15
"""Least deviation that is expected of a device's labels, in relation to their mean: that of sources that are all alike
says little of other devices."""
UNSURE = 1.0
"""Variances of predictions are larger by this share divided by n^1.5 of n samples: those learnt from few labels are
uncertain. It, `EXPECTED`, `TAKEN`, `COUNT` and `LEAST` were chosen on source devices that were left out."""
POOL = 500
"""Of more architectures, so many are drawn before the informative ones are chosen among them."""


def totals_and_decisions() -> VectorEncoder:
    """FLOPs, which alone are enough where labels are mostly noise; physics of all that is there and of what compilers
    keep; then what only the labels can tell."""
    return Joined([Totals(), Totals(PHYSICAL), Totals(PHYSICAL, live=True), CellOneHot()])


@dataclass
class Conditioned(FewShot):
    """Bayesian linear regression on blocks: what the source model says, physical totals, and single decisions.

    It is a Gaussian process with one linear kernel a block (Rasmussen and Williams, 2006, chapters 2 and 5). How much
    each block explains, and the noise, maximise the marginal likelihood of the few labels, under a weak prior: where
    the sources resemble the device, labels refine a mixture of them; where they do not, totals and decisions answer.
    The noise is Student's t, since phones give a wild label now and then: a label is trusted the less, the farther it
    lies from the line (Tipping and Lawrence, 2005: a variational posterior, label by label and in turns).

    Attributes:
        source: learns the source devices.
        encoder: blocks beside the sources; a `Joined` has one for each of its parts.
        labels: milliseconds themselves rank better than their logarithms where some cells take next to nothing.
        informative: `choose` takes architectures that tell most about all others, not random ones.
    """

    encoder: VectorEncoder = field(default_factory=totals_and_decisions)
    labels: Literal["log", "linear"] = "linear"
    informative: bool = True

    few_: np.ndarray = field(init=False, repr=False, compare=False, default_factory=lambda: np.empty((0, 0)))

    def _start(self) -> np.ndarray:
        vector = len(self._sizes()) - 1
        return np.log([START["sources"], *[START["vector"] / vector] * vector, START["constant"], START["noise"]])

    def _prior(self, theta: np.ndarray) -> np.ndarray:
        """Variance [features] of the line's weights."""
        return np.exp(np.repeat(theta[:-2], self._sizes()))

    def _expected(self, n: int) -> np.ndarray:
        """Prior mean [features] of the line's weights with `n` samples: a slope on the mean of the sources."""
        sources, others = self._sizes()[0], sum(self._sizes()[1:])
        slope = EXPECTED * min(1.0, (TAKEN / n) ** 2)
        return np.append(np.full(sources, slope / np.sqrt(sources)), np.zeros(others))

    def _label_scale(self, features: np.ndarray, y: np.ndarray) -> Scale:
        """Mean and deviation of the device's labels. One to five samples do not tell them, so the deviation that the
        source devices have in relation to their mean counts as `COUNT` labels more."""
        scale = Scale(self.labels).fit(y)
        relative = 0.4 if self.sources_.kind == "none" else float(np.mean(self.sources_.std_))
        if self.sources_.kind == "linear":
            relative = float(np.mean(self.sources_.std_ / np.abs(self.sources_.mean_)))
        relative = max(relative, LEAST)
        above = float((features @ self._expected(len(y))).mean())  # how far the samples lie above the mean, if expected
        usual = relative if self.labels == "log" else relative * abs(scale.mean_) / max(1 + relative * above, 0.3)
        squares = ((np.log(y) if self.labels == "log" else y) - scale.mean_) ** 2
        scale.std_ = np.sqrt((COUNT * usual**2 + squares.sum(axis=0)) / (COUNT + len(y) - 1))
        scale.mean_ = scale.mean_ - above * scale.std_
        return scale

    def _learn(self, samples: np.ndarray, t: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
        """Any number of samples is first reduced to as many rows as there are features (`reduced`), so the search for
        the variances takes about as long for three thousand as for a hundred."""
        start, expected, step = self._start(), self._expected(len(t)), self._step(t)
        t = t - samples @ expected
        self.theta_, off = start, np.ones(len(t))  # squared distances from the line, in units of the noise
        for _ in range(ROUNDS + 1):
            trust = (DEGREES + 1) / (DEGREES + off)  # a variational posterior mean, label by label
            larger = 1 + noise / self._noise()  # what repeats tell of noise adds to what the line misses
            self.few_, self.ones_, reduced_t, rest = reduced(samples, t, trust / larger)
            blocks = np.split(self.few_, np.cumsum(self._sizes())[:-1], axis=1)
            kernels = [*(b @ b.T for b in blocks), np.outer(self.ones_, self.ones_)]
            self.theta_ = maximise_evidence(kernels, reduced_t, rest, start, self.theta_)
            alpha = np.linalg.solve(self._covariance(), reduced_t)
            line = self._prior(self.theta_) * (self.few_.T @ alpha)
            bias = float(np.exp(self.theta_[-2]) * (self.ones_ @ alpha))
            residual, variance = t - samples @ line - bias, self._variance(samples)
            off = (residual**2 + variance) / (self._noise() * larger)
        self.stretch_ = self._stretched(residual, variance, trust, larger)
        least = step**2 / 12 / self.stretch_  # what rounding adds, which equal labels do not show
        self.theta_[-1] = np.log(max(least, self._noise() + float(np.median(noise))) - FLOOR)
        return line + expected, bias

    def _step(self, t: np.ndarray) -> float:
        """What labels [n] were rounded to, on their scale: the power of ten of which all are multiples."""
        y = self.scale.inverse(t[:, None])[:, 0]
        step = 10.0 ** np.floor(np.log10(max(np.abs(y).min(), 1e-300)))
        for _ in range(6):
            if np.allclose(y / step, np.round(y / step), rtol=0, atol=1e-6):
                return float((step / np.median(y) if self.labels == "log" else step) / self.scale.std_[0])
            step /= 10
        return 0.0

    def _covariance(self) -> np.ndarray:
        """Of the reduced labels [R, R]."""
        kernel = (self.few_ * self._prior(self.theta_)) @ self.few_.T
        kernel += np.exp(self.theta_[-2]) * np.outer(self.ones_, self.ones_)
        return kernel + self._noise() * np.eye(len(kernel))

    def _noise(self) -> float:
        """Variance of the noise of a label that is trusted as 1."""
        return float(np.exp(self.theta_[-1])) + FLOOR

    def _variance(self, x: np.ndarray) -> np.ndarray:
        """Posterior variance [A] of the line at features [A, features], without noise."""
        prior, constant = self._prior(self.theta_), np.exp(self.theta_[-2])
        cross = (x * prior) @ self.few_.T + constant * self.ones_  # [A, R]
        half = np.linalg.solve(np.linalg.cholesky(self._covariance()), cross.T)
        return np.maximum((x**2) @ prior + constant - (half**2).sum(axis=0), 0)

    def _stretched(self, residual: np.ndarray, variance: np.ndarray, trust: np.ndarray, larger: np.ndarray) -> float:
        """What all variances are multiplied by for a new measurement: what makes the samples likeliest, each predicted
        from all others (Rasmussen and Williams, equations 5.10 to 5.12). The variances' own prior is too wide for
        devices that are easy and too narrow for hard ones.

        Args:
            residual: labels less the line [n].
            variance: posterior variance of the line [n] at the samples.
            trust: in each label [n].
            larger: what multiplies the noise of each label [n].
        """
        usual = self._noise() * larger
        trusted = usual / trust
        without = np.maximum(trusted - variance, 1e-9 * trusted)
        squares = (residual * trusted / without) ** 2 / (trusted**2 / without + usual - trusted)
        stretch = 1.0
        for _ in range(50):  # expectation maximisation of Student's t
            weight = (DEGREES + 1) / (DEGREES + squares / stretch)
            stretch = float((PRIOR + weight @ squares) / (PRIOR + len(squares)))
        return stretch * (1 + UNSURE / len(squares) ** 1.5)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Distributions [A] of new measurements on the device that was adapted to: Student's t, as the noise's."""
        return Belief(*self._believed(archs, device), self.scale.output(0), DEGREES, least=0.0)

    def _believed(self, archs: Architectures, device: Device | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [A] of a new measurement, on the scale of the labels."""
        if self.line_ is None or not len(self.few_):
            raise InputError("Intervals are of devices that were adapted to; `adapt` to a few measurements first.")
        self.column(device)
        x = self.features(archs)
        return x @ self.line_ + self.bias_, np.sqrt(self.stretch_ * (self._variance(x) + self._noise()))

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Those that leave least variance in all others before anything is measured (Bayesian A-optimal design, one
        after the other), or random ones."""
        drawn = super().choose(archs, min(max(POOL, n), len(archs)) if self.informative else n, rng)
        if not self.informative:
            return drawn
        if not 0 < n <= len(drawn):
            raise InputError(f"Of {len(drawn)} architectures, {n} cannot be chosen.")
        theta = self._start()
        x = self._features(self.encode(drawn)) * np.sqrt(self._prior(theta))
        covariance, noise = x @ x.T + np.exp(theta[-2]), np.exp(theta[-1])
        taken: list[int] = []
        for _ in range(n):
            own = np.diagonal(covariance).copy()
            gain = (covariance**2).sum(axis=0) / (own + noise)
            gain[taken] = -1
            best = int(gain.argmax())
            taken.append(best)
            column = covariance[:, best].copy()
            covariance -= np.outer(column, column / (own[best] + noise))
        return drawn[np.array(taken)]

    def state(self) -> dict[str, Any]:
        state = super().state()
        if self.line_ is None or not len(self.few_):
            return state
        return state | {"few": self.few_, "ones": self.ones_, "theta": self.theta_, "stretch": self.stretch_}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if "few" in state:
            self.few_, self.theta_ = (
                array(state["few"], None, len(self.width_)),
                array(state["theta"], len(self._start())),
            )
            self.ones_, self.stretch_ = array(state["ones"], len(self.few_)), number(state["stretch"])
            if self.stretch_ <= 0 or np.abs(self.theta_).max() > 100:
                raise ValueError("stretch or hyperparameters are out of range")


def reduced(
    samples: np.ndarray, t: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, float]]:
    """Rows of equal noise that say of a line exactly what weighted labels say, at most one more than features.

    Args:
        samples: features [n, F].
        t: labels [n].
        weight: of each label [n]; its noise has the common variance divided by it.

    Returns:
        Features [R, F], the column of the constant [R] and labels [R], all multiplied by the root of the weights and,
        where n > F + 1, rotated onto the F + 1 directions in which features differ (a QR decomposition); and what the
        other directions hold, which is noise alone: how many there are, and the sum of their squared labels.
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
    """Logarithms of the variances of each kernel [R, R] and of the noise under which labels are most likely, a weak
    prior around `start` added.

    Args:
        kernels: one a block and one for the constant.
        t: reduced labels [R].
        rest: how many more labels are noise alone, and the sum of their squares.
        start: centre of the prior.
        first: where the search begins.
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
