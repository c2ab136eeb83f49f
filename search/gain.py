"""Expected gain: each measurement goes where better quality is likeliest to keep the budgets.

Gardner et al. (ICML 2014) do so where quality and constraints are learnt; here only the costs are. What is believed of
a cost comes from its few measurements: by a predictor that is adapted to them (the paper's own way out where no proxy
is monotone, section 4.3), or by a proxy that is corrected by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from datasets.records import Architectures, Cost, InputError
from predictors.belief import Belief
from predictors.scaling import Scale
from search.base import Decision, Ledger, Problem, Progress, Search, listed, silent
from search.proxies import Fit, Unsure

Choose = Callable[[Architectures, int, np.random.Generator], Architectures]
"""Which architectures tell most when they are measured: some of those given."""

NEAR = 0.5
"""Length, in logarithms of the proxy's cost, over which corrections of it are alike."""
SPREAD = 0.05
"""What corrections of a good proxy are expected to differ by, as a logarithm, before anything is measured."""
NOISE = 0.3
"""The share of their variance that is independent noise (the nugget)."""
LEVEL = 100.0
"""Variance of the level of all corrections, in units of their variance: it is not known beforehand."""


@dataclass
class ExpectedGain(Search):
    """A few samples, then one measurement after the other where the expected gain is largest; all costs are learnt
    afresh after each.

    Attributes:
        measurements: the most that are spent.
        samples: the first of them, which `choose` takes without knowing the budget. Of 2, 3, 5 and 7, two did best on
            HELP's source devices, each left out once.
        fits: cost -> what learns it; one that is missing is learnt by correcting the problem's proxy.
        choose: the samples; by default at random.
    """

    measurements: int = 10
    samples: int = 2
    fits: Mapping[str, Fit] = field(default_factory=dict)
    choose: Choose | None = None

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        fits = fits_for(problem, self.fits)
        archs = listed(problem, rng)
        ledger = Ledger(problem, self.measurements, progress)
        n = min(self.samples, self.measurements, len(archs))
        ledger.measure(self.choose(archs, n, rng) if self.choose else archs[rng.permutation(len(archs))[:n]])
        spend(ledger, archs, fits, rng)
        return ledger.decide()


def fits_for(problem: Problem, fits: Mapping[str, Fit]) -> dict[str, Fit]:
    """What learns each cost of a problem: the fit that is given, else a correction of the proxy."""
    if missing := set(problem.costs) - set(fits) - set(problem.proxies):
        raise InputError(f"Nothing foretells {min(missing)}: give a proxy of it, or a predictor that adapts.")
    return {name: fits[name] if name in fits else correct(problem.proxies[name]) for name in problem.costs}


def spend(ledger: Ledger, archs: Architectures, fits: Mapping[str, Fit], rng: np.random.Generator) -> None:
    """Measure, of `archs`, what promises most until nothing is left or nothing can be better."""
    problem = ledger.problem
    quality = np.nan_to_num(np.asarray(problem.quality(archs), float), nan=-np.inf)
    worst = quality[np.isfinite(quality)].min(initial=0) - 1
    known = ledger.knows(archs)
    while ledger.left:
        measured, costs = ledger.measured()
        kept = problem.excess(costs) == 0
        best = np.nanmax(np.asarray(problem.quality(measured), float)[kept]) if kept.any() else worst
        gain = np.where(known, 0, np.maximum(quality - best, 0))
        if not gain.any():
            break
        if np.isfinite(costs).all(axis=1).sum() < 2:  # nothing can be learnt from what cannot run
            next_ = int(rng.choice(np.flatnonzero(gain)))
        else:
            next_ = _most(problem, archs, gain, measured, costs, fits)
        ledger.measure(archs[[next_]])
        known[next_] = True


def _most(
    problem: Problem,
    archs: Architectures,
    gain: np.ndarray,
    measured: Architectures,
    costs: np.ndarray,
    fits: Mapping[str, Fit],
) -> int:
    """Position of the largest expected gain; where nothing seems to keep the budgets, of what exceeds them least."""
    chance, over = np.ones(len(archs)), np.zeros(len(archs))
    for column, name in enumerate(problem.costs):
        rows = np.flatnonzero(np.isfinite(costs[:, column]))
        cost, most = fits[name](measured[rows], costs[rows, column]), problem.budgets[name]
        if isinstance(cost, Unsure):
            chance *= np.nan_to_num(cost.belief(archs).cdf(most))
        else:
            said = np.asarray(cost(archs), float)
            chance *= said <= most
            over = np.maximum(over, np.nan_to_num(said / most, nan=np.inf))
    expected = gain * chance
    if expected.any():
        return int(expected.argmax())
    return int(np.where(gain > 0, over, np.inf).argmin())


@dataclass(frozen=True)
class Corrected:
    """A proxy times what the measurements nearby say of its ratio to the target: a Gaussian process of the logarithm of
    that ratio over the logarithm of the proxy (Rasmussen and Williams, 2006, chapter 2), the variance by its
    conjugate prior.

    Attributes:
        proxy: of the cost, above zero.
        at: logarithms of the proxy where the target was measured [n].
        ratios: logarithms of the target over the proxy there [n].
    """

    proxy: Cost
    at: np.ndarray
    ratios: np.ndarray

    def __call__(self, archs: Architectures) -> np.ndarray:
        """The corrected cost [A]."""
        return np.exp(self.belief(archs).location)

    def belief(self, archs: Architectures) -> Belief:
        """Distributions [A] of new measurements: Student's t of their logarithms."""
        x = np.log(np.asarray(self.proxy(archs), float))
        own = _alike(self.at, self.at) + NOISE * np.eye(len(self.at))
        level = np.average(self.ratios)
        weights = np.linalg.solve(own, np.c_[self.ratios - level, _alike(self.at, x)])
        degrees = 4 + len(self.ratios)  # the prior counts as four measurements
        scale = (4 * SPREAD**2 + (self.ratios - level) @ weights[:, 0]) / degrees
        mean = x + level + _alike(x, self.at) @ weights[:, 0]
        left = 1 + LEVEL + NOISE - (_alike(self.at, x) * weights[:, 1:]).sum(axis=0)
        return Belief(mean, np.sqrt(scale * np.maximum(left, 1e-12)), Scale.known("log"), degrees)


def correct(proxy: Cost) -> Fit:
    """Learns a cost as a proxy that its measurements correct."""

    def fit(archs: Architectures, costs: np.ndarray) -> Cost:
        said = np.asarray(proxy(archs), float)
        if not (np.minimum(said, costs) > 0).all():
            raise InputError("A proxy is corrected by ratios, so it and the cost must be above zero.")
        return Corrected(proxy, np.log(said), np.log(costs / said))

    return fit


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Covariance of corrections, in units of their variance [n, m]."""
    return LEVEL + np.exp(-((one[:, None] - other[None]) ** 2) / (2 * NEAR**2))
