"""Hybrid search: costs are predicted, and measured where the predictor is unsure whether they keep the budgets.

Measured values replace predictions, and the predictor learns from them. "HiFi-LLP" (Sampath et al., SOCC 2025) routes
predictions of low confidence to hardware in this way, and reports searches that are up to 8.6 times faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from datasets.records import Architectures, Cost, InputError
from search.base import Decision, Ledger, Problem, Progress, Search, candidates_of, silent
from search.evolution import Evolution, Exhaustive
from search.gain import Choose, fits_for
from search.proxies import Fit, UncertainCost

CONFIRMING = 5
"""One in so many measurements is kept for confirming the decision."""


@dataclass
class Hybrid(Search):
    """A search on predicted costs, of which the doubtful ones are measured; by default all candidates are predicted.

    A cost is measured where it is uncertain whether it keeps its budget and where this matters: the architecture has a
    higher quality than all that were measured and keep the budgets. In the end the best architecture, by measured
    values where there are any and by predictions otherwise, is measured until it is a measured one.

    Attributes:
        measurements: largest number of true measurements, samples included.
        samples: number of first measurements, to which the predictor is fitted.
        doubt: a cost is uncertain where P(cost <= budget) is above this and below 1 - this; 0: always, 0.5: never.
        fits: cost name -> function that fits it to measurements, to an `UncertainCost`; a missing one is fitted by
            correcting the problem's proxy.
        choose: chooses the samples; by default at random.
        search: its measurements are evaluations here: architectures whose costs are predicted or measured.
    """

    measurements: int = 50
    samples: int = 10
    doubt: float = 0.1
    fits: Mapping[str, Fit] = field(default_factory=dict)
    choose: Choose | None = None
    search: Search = field(default_factory=Exhaustive)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(10, 3), cls(20, 4, doubt=0.0, search=Evolution(40)), cls(5, 2, doubt=0.5)]

    def __post_init__(self) -> None:
        if not 0 <= self.doubt <= 0.5:
            raise InputError(f"doubt is a probability from 0 to 0.5, not {self.doubt:g}.")
        if self.samples < 2:
            raise InputError(f"With {self.samples} samples nothing can be fitted; give two or more.")

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        fits = fits_for(problem, self.fits)
        archs = candidates_of(problem, rng)
        ledger = Ledger(problem, self.measurements, progress)
        n = min(self.samples, self.measurements, len(archs))
        ledger.measure(self.choose(archs, n, rng) if self.choose else archs[rng.permutation(len(archs))[:n]])
        believed = Believed(ledger, fits, self.doubt)
        evaluated = replace(problem, costs={name: believed.cost(name) for name in problem.costs})
        if isinstance(self.search, Exhaustive):
            evaluated = replace(evaluated, candidates=archs)
        believed.confirm(self.search(evaluated, rng).measured)
        return ledger.decide()


class Believed:
    """Costs by measurements and, where none was made, by predictions that are fitted to them.

    Args:
        ledger: makes the measurements.
        fits: cost name -> function that fits it to measurements.
        doubt: `Hybrid.doubt`.
    """

    def __init__(self, ledger: Ledger, fits: Mapping[str, Fit], doubt: float) -> None:
        self.ledger, self.problem, self.fits, self.doubt = ledger, ledger.problem, fits, doubt
        self.reserve = max(1, ledger.limit // CONFIRMING)
        self.evaluated: dict[tuple[int, ...], np.ndarray] = {}
        self.fitted, self.fitted_to = dict[str, Cost](), 0

    def cost(self, name: str) -> Cost:
        """One of the costs; evaluating it measures doubtful architectures."""
        column = list(self.problem.costs).index(name)
        return lambda archs: self.evaluate(archs)[:, column]

    def evaluate(self, archs: Architectures) -> np.ndarray:
        """Costs [A, C], each architecture's with what is known when it is first evaluated."""
        rows = [tuple(row) for row in archs.decisions.tolist()]
        new = list(dict.fromkeys(row for row in rows if row not in self.evaluated))
        if new:
            queries = Architectures(archs.space, np.array(new))
            self._measure_doubtful(queries)
            self.evaluated |= dict(zip(new, self.known(queries), strict=True))
        return np.array([self.evaluated[row] for row in rows]).reshape(len(rows), len(self.problem.costs))

    def known(self, archs: Architectures) -> np.ndarray:
        """Measured costs, else predicted ones [A, C]."""
        measured = self.ledger.is_measured(archs)
        costs = np.full((len(archs), len(self.problem.costs)), np.nan)
        if measured.any():
            costs[measured] = self.ledger.measure(archs[np.flatnonzero(measured)])
        if not measured.all() and (fitted := self._fit()):
            rest = archs[np.flatnonzero(~measured)]
            costs[~measured] = np.stack([self.problem.limited(cost, rest) for cost in fitted.values()], axis=1)
        return costs

    def confirm(self, archs: Architectures) -> None:
        """Measure the best of some architectures until the best is a measured one, or no measurement is left."""
        quality = np.asarray(self.problem.quality(archs), float)
        order = np.where(np.isnan(quality), np.inf, -quality)
        while self.ledger.left:
            best = archs[[int(np.lexsort((order, self.problem.excess(self.known(archs))))[0])]]
            if self.ledger.is_measured(best)[0]:
                return
            self.ledger.measure(best)

    def _measure_doubtful(self, archs: Architectures) -> None:
        """Measure the doubtful ones among architectures, those of the highest quality first."""
        quality = np.nan_to_num(np.asarray(self.problem.quality(archs), float), nan=-np.inf)
        while self.ledger.left > self.reserve:
            better = np.flatnonzero((quality > self._best()) & ~self.ledger.is_measured(archs))
            doubtful = better[self._doubtful(archs[better])] if len(better) else better
            if not len(doubtful):
                return
            self.ledger.measure(archs[doubtful[[int(quality[doubtful].argmax())]]])

    def _doubtful(self, archs: Architectures) -> np.ndarray:
        """Whether it is uncertain that all budgets are kept [A]; everything is where nothing could be fitted yet."""
        fitted = self._fit()
        if not fitted:
            return np.ones(len(archs), dtype=bool)
        chance = np.ones(len(archs))
        for name, cost in fitted.items():
            kept = cost.belief(archs).cdf(self.problem.budgets[name])  # type: ignore[attr-defined]
            chance = np.minimum(chance, np.nan_to_num(kept))
        return (chance >= self.doubt) & (chance <= 1 - self.doubt) & (self.doubt < 0.5)

    def _best(self) -> float:
        """Highest quality that was measured to keep the budgets."""
        measured, costs = self.ledger.measured()
        kept = self.problem.excess(costs) == 0
        if not kept.any():
            return -np.inf
        return float(
            np.nanmax(np.asarray(self.problem.quality(measured[np.flatnonzero(kept)]), float), initial=-np.inf)
        )

    def _fit(self) -> dict[str, Cost]:
        """Costs fitted to all measurements; none before two succeeded."""
        if self.fitted_to != len(self.ledger.costs):
            measured, costs = self.ledger.measured()
            self.fitted_to = len(measured)
            rows = np.flatnonzero(np.isfinite(costs).all(axis=1))
            if len(rows) >= 2:
                self.fitted = {
                    name: _uncertain(self.fits[name](measured[rows], costs[rows, column]), name)
                    for column, name in enumerate(self.problem.costs)
                }
        return self.fitted


def _uncertain(cost: Cost, name: str) -> UncertainCost:
    if not isinstance(cost, UncertainCost):
        raise InputError(f"The predictor of {name} gives no distributions, so it cannot say where to measure.")
    return cost
