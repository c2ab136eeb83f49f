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
from predictors.new_devices.base import FewShot

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

    few_: np.ndarray = field(init=False, repr=False, compare=False, default_factory=lambda: np.empty((0, 0)))  # samples

    def _start(self) -> np.ndarray:
        vector = len(self._sizes()) - 1
        return np.log([START["sources"], *[START["vector"] / vector] * vector, START["constant"], START["noise"]])

    def _prior(self, theta: np.ndarray) -> np.ndarray:
        """Variance [features] of the line's weights."""
        return np.exp(np.repeat(theta[:-2], self._sizes()))

    def _learn(self, few: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, float]:
        blocks = np.split(few, np.cumsum(self._sizes())[:-1], axis=1)
        kernels, start = [b @ b.T for b in blocks], self._start()
        self.few_, self.trust_ = few, np.ones(len(t))
        self.theta_ = maximise_evidence(kernels, t, self.trust_, start, start)
        for _ in range(ROUNDS):
            self.trust_ = self._trusted(t)
            self.theta_ = maximise_evidence(kernels, t, self.trust_, start, self.theta_)
        alpha, self.stretch_ = np.linalg.solve(self._covariance(), t), self._stretched(t)
        return self._prior(self.theta_) * (few.T @ alpha), float(np.exp(self.theta_[-2]) * alpha.sum())

    def _covariance(self) -> np.ndarray:
        """Of the few labels [n, n]."""
        kernel = (self.few_ * self._prior(self.theta_)) @ self.few_.T + np.exp(self.theta_[-2])
        return kernel + np.diag(self._noise() / self.trust_)

    def _noise(self) -> float:
        """Variance of the noise of a label that is trusted as 1."""
        return float(np.exp(self.theta_[-1])) + FLOOR

    def _trusted(self, t: np.ndarray) -> np.ndarray:
        """How much each label [n] is trusted, from how far it is expected to lie from the line: the posterior mean of
        what divides its noise's variance."""
        inverse, noise = np.linalg.inv(self._covariance()), self._noise() / self.trust_
        off = (noise * (inverse @ t)) ** 2 + noise - noise**2 * np.diagonal(inverse)
        return (DEGREES + 1) / (DEGREES + off / self._noise())

    def _stretched(self, t: np.ndarray) -> float:
        """What all variances are multiplied by for a new measurement: what makes the samples likeliest, each foretold
        by all others (Rasmussen and Williams, equations 5.10 to 5.12). The variances' own prior is too wide for devices
        that are easy and too narrow for hard ones."""
        inverse = np.linalg.inv(self._covariance())
        own = np.diagonal(inverse)
        squares = (inverse @ t / own) ** 2 / (1 / own + self._noise() * (1 - 1 / self.trust_))
        stretch = 1.0
        for _ in range(50):  # expectation maximisation of Student's t
            trust = (DEGREES + 1) / (DEGREES + squares / stretch)
            stretch = float((PRIOR + trust @ squares) / (PRIOR + len(t)))
        return stretch

    def predict_interval(
        self, archs: Architectures, device: Device | None = None, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Uncertain.predict_interval`; Student's t, as the noise's."""
        from scipy.stats import t as student

        if not 0 < level < 1:
            raise InputError(f"level = {level} must lie between 0 and 1.")
        z, deviation = self._believed(archs, device)
        reach = student.ppf((1 + level) / 2, DEGREES) * deviation
        low, high = (self.scale.inverse(end[:, None])[:, 0] for end in (z - reach, z + reach))
        return np.maximum(low, 0), np.maximum(high, 0)  # times and energies are never below zero

    def probability(self, archs: Architectures, device: Device | None, most: float) -> np.ndarray:
        """P(a new measurement is at most `most`) [A], for a number above zero in the metric's unit."""
        from scipy.special import stdtr

        z, deviation = self._believed(archs, device)
        return stdtr(DEGREES, (self.scale.transform(np.array([[most]]))[0, 0] - z) / deviation)

    def _believed(self, archs: Architectures, device: Device | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation [A] of a new measurement, on the scale of the labels."""
        if self.line_ is None or not len(self.few_):
            raise InputError("Intervals are of devices that were adapted to; `adapt` to a few measurements first.")
        self.column(device)
        x = self.features(archs)
        prior, constant = self._prior(self.theta_), np.exp(self.theta_[-2])
        cross = (x * prior) @ self.few_.T + constant  # [A, n]
        half = np.linalg.solve(np.linalg.cholesky(self._covariance()), cross.T)
        variance = np.maximum((x**2) @ prior + constant - (half**2).sum(axis=0), 0) + self._noise()
        return x @ self.line_ + self.bias_, np.sqrt(self.stretch_ * variance)

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

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        if self.line_ is None or not len(self.few_):
            return state
        return state | {"few": self.few_, "theta": self.theta_, "trust": self.trust_, "stretch": self.stretch_}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        if "few" in state:
            self.few_ = array(state["few"], None, len(self.width_))
            self.theta_, self.trust_ = array(state["theta"], len(self._start())), array(state["trust"], len(self.few_))
            self.stretch_ = number(state["stretch"])
            if min(self.trust_.min(initial=1), self.stretch_) <= 0 or np.abs(self.theta_).max() > 100:
                raise ValueError("trust, stretch or hyperparameters are out of range")


def maximise_evidence(
    kernels: list[np.ndarray], t: np.ndarray, trust: np.ndarray, start: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Logarithms of the variances of each kernel [n, n], of a constant and of the noise under which labels [n] are most
    likely, a weak prior around `start` added; the noise of each label is divided by how much it is trusted [n], and the
    search begins with `first`."""
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    n = len(t)
    parts = np.array([*kernels, np.ones((n, n)), np.diag(1 / trust)])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(theta)
        factor = np.linalg.cholesky(np.tensordot(weights, parts, 1) + FLOOR * parts[-1])
        inverse = cho_solve((factor, True), np.eye(n))
        alpha = inverse @ t
        off = (theta - start) / SPREAD
        value = t @ alpha / 2 + np.log(np.diagonal(factor)).sum() + off @ off / 2
        slope = np.tensordot(parts, inverse - np.outer(alpha, alpha), 2) * weights / 2 + off / SPREAD
        return float(value), slope

    bounds = [(s - 4 * SPREAD, s + 4 * SPREAD) for s in start]
    return minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
