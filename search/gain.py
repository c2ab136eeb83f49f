"""Expected gain: each measurement is the architecture with the largest expected improvement within the budgets.

The rule is that of "Bayesian Optimization with Inequality Constraints" (Gardner et al., ICML 2014), where quality and
constraints are learnt; here only the costs are. A cost is learnt from its measurements: by a predictor that is adapted
to them (section 4.3 of "Scaling up Deep Neural Network Optimization for Edge Inference", Lu et al., 2020, for targets
without a monotone proxy), or by a proxy that is corrected by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from datasets.records import Architectures, Cost, InputError
from predictors.belief import Belief
from predictors.scaling import Scale
from search.base import Decision, Ledger, Problem, Progress, Search, candidates_of, silent
from search.proxies import Fit, UncertainCost

Choose = Callable[[Architectures, int, np.random.Generator], Architectures]
"""Chooses a number of informative architectures to measure among those given."""

NEAR = 0.5
"""Length scale of the corrections, in logarithms of the proxy's cost."""
SPREAD = 0.05
"""Prior standard deviation of a good proxy's corrections, as a logarithm."""
NOISE = 0.3
"""Share of the corrections' variance that is independent noise (the nugget)."""
LEVEL = 100.0
"""Prior variance of the mean of all corrections, in units of their variance; large, since it is unknown."""


@dataclass
class ExpectedGain(Search):
    """A few samples, then one measurement at a time where the expected gain is largest; all costs are fitted again
    after each.

    Attributes:
        measurements: largest number of true measurements.
        samples: number of first measurements, chosen without the budget. Of 2, 3, 5 and 7, two did best on HELP's
            source devices, each held out once.
        fits: cost name -> function that fits it; a missing one is fitted by correcting the problem's proxy.
        choose: chooses the samples; by default at random.
    """

    measurements: int = 10
    samples: int = 2
    fits: Mapping[str, Fit] = field(default_factory=dict)
    choose: Choose | None = None

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        fits = fits_for(problem, self.fits)
        archs = candidates_of(problem, rng)
        ledger = Ledger(problem, self.measurements, progress)
        n = min(self.samples, self.measurements, len(archs))
        ledger.measure(self.choose(archs, n, rng) if self.choose else archs[rng.permutation(len(archs))[:n]])
        spend(ledger, archs, fits, rng)
        return ledger.decide()


def fits_for(problem: Problem, fits: Mapping[str, Fit]) -> dict[str, Fit]:
    """Functions that fit each cost of a problem: the given ones, else corrections of the proxies.

    Raises:
        InputError: a cost has neither.
    """
    if missing := set(problem.costs) - set(fits) - set(problem.proxies):
        raise InputError(f"Nothing predicts {min(missing)}: give a proxy of it, or a predictor that can be adapted.")
    return {name: fits[name] if name in fits else correct(problem.proxies[name]) for name in problem.costs}


def spend(ledger: Ledger, archs: Architectures, fits: Mapping[str, Fit], rng: np.random.Generator) -> None:
    """Measure the largest expected gains among `archs` until no measurement is left or no gain is possible.

    At a `confidence` above 0.5 only architectures are measured that keep the budgets with that probability, or, while
    none is known to keep them, the one that most probably does.
    """
    problem = ledger.problem
    quality = np.nan_to_num(np.asarray(problem.quality(archs), float), nan=-np.inf)
    worst = quality[np.isfinite(quality)].min(initial=0) - 1
    known = ledger.is_measured(archs)
    while ledger.left:
        measured, costs = ledger.measured()
        kept = problem.excess(costs) == 0
        best = np.nanmax(np.asarray(problem.quality(measured), float)[kept]) if kept.any() else worst
        gain = np.where(known, 0, np.maximum(quality - best, 0))
        if not gain.any():
            break
        if np.isfinite(costs).all(axis=1).sum() < 2:  # failed measurements teach nothing
            next_ = int(rng.choice(np.flatnonzero(gain)))
        elif (found := _most(problem, archs, gain, measured, costs, fits)) is not None:
            next_ = found
        else:
            break
        ledger.measure(archs[[next_]])
        known[next_] = True


def _most(
    problem: Problem,
    archs: Architectures,
    gain: np.ndarray,
    measured: Architectures,
    costs: np.ndarray,
    fits: Mapping[str, Fit],
) -> int | None:
    """Place of the largest expected gain; where nothing seems to keep the budgets, of the smallest excess. None where
    a measured architecture keeps them, and no better one does with the problem's confidence."""
    chance, least, over = np.ones(len(archs)), np.ones(len(archs)), np.zeros(len(archs))
    for column, name in enumerate(problem.costs):
        rows = np.flatnonzero(np.isfinite(costs[:, column]))
        cost, most = fits[name](measured[rows], costs[rows, column]), problem.budgets[name]
        if isinstance(cost, UncertainCost):
            kept = np.nan_to_num(cost.belief(archs).cdf(most))
            chance, least = chance * kept, np.minimum(least, kept)
        else:
            predicted = np.asarray(cost(archs), float)
            chance *= predicted <= most
            over = np.maximum(over, np.nan_to_num(predicted / most, nan=np.inf))
    expected = gain * chance
    if problem.confidence > 0.5:
        sure = least >= problem.confidence
        if not (gain[sure] > 0).any():
            known = (problem.excess(costs) == 0).any()
            return None if known else int(np.where(gain > 0, chance - over, -np.inf).argmax())
        expected = np.where(sure, expected, 0)
    if expected.any():
        return int(expected.argmax())
    return int(np.where(gain > 0, over, np.inf).argmin())


@dataclass(frozen=True)
class Corrected:
    """A proxy times its predicted ratio to the target: a Gaussian process of the logarithm of that ratio over the
    logarithm of the proxy ("Gaussian Processes for Machine Learning", Rasmussen and Williams, 2006, chapter 2), with a
    conjugate prior of the variance.

    Attributes:
        proxy: another device's or a predicted cost, above zero.
        at: logarithms of the proxy for the measured architectures [n].
        ratios: logarithms of the target's cost over the proxy's for them [n].
    """

    proxy: Cost
    at: np.ndarray
    ratios: np.ndarray

    def __call__(self, archs: Architectures) -> np.ndarray:
        """The corrected cost [A]."""
        return np.exp(self.belief(archs).location)

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements: Student-t distributions of their logarithms."""
        x = np.log(np.asarray(self.proxy(archs), float))
        own = _covariance(self.at, self.at) + NOISE * np.eye(len(self.at))
        level = np.average(self.ratios)
        weights = np.linalg.solve(own, np.c_[self.ratios - level, _covariance(self.at, x)])
        degrees = 4 + len(self.ratios)  # the prior counts as four measurements
        scale = (4 * SPREAD**2 + (self.ratios - level) @ weights[:, 0]) / degrees
        mean = x + level + _covariance(x, self.at) @ weights[:, 0]
        left = 1 + LEVEL + NOISE - (_covariance(self.at, x) * weights[:, 1:]).sum(axis=0)
        return Belief(mean, np.sqrt(scale * np.maximum(left, 1e-12)), Scale.known("log"), degrees)


def correct(proxy: Cost) -> Fit:
    """A function that fits a cost by correcting a proxy with measurements."""

    def fit(archs: Architectures, costs: np.ndarray) -> Cost:
        values = np.asarray(proxy(archs), float)
        if not (np.minimum(values, costs) > 0).all():
            raise InputError("A proxy is corrected by ratios, so it and the cost must be above zero.")
        return Corrected(proxy, np.log(values), np.log(costs / values))

    return fit


def _covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Covariance of corrections, in units of their variance [n, m]."""
    return LEVEL + np.exp(-((x[:, None] - y[None]) ** 2) / (2 * NEAR**2))
