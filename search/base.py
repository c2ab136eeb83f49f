"""`Problem`, `Search` and `Decision`: the best architecture under budgets, and what finding it took."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from datasets.records import Architectures, Cost, InputError, Space
from search.proxies import UncertainCost

Progress = Callable[[str], None]
"""Receives one line of progress for people."""


def silent(line: str) -> None:
    """Discard the line."""


@dataclass(frozen=True)
class Problem:
    """Maximise quality where no cost exceeds its budget.

    Attributes:
        space: space of the architectures.
        quality: is maximised, such as an accuracy; evaluating it is free.
        costs: the costs on the target device by name; evaluating one for an architecture is a true measurement.
        budgets: upper limits of the costs, under the same names and in the costs' units.
        proxies: costs on another device or by a predictor, under the same names; evaluating them is free.
        candidates: the architectures to choose among; by default the whole space.
        confidence: probability with which predicted costs keep their budgets, from 0.5 (point predictions do) to below
            1; costs without distributions (`UncertainCost`), such as measured ones, count as certain.
    """

    space: Space
    quality: Cost
    costs: Mapping[str, Cost]
    budgets: Mapping[str, float]
    proxies: Mapping[str, Cost] = field(default_factory=dict)
    candidates: Architectures | None = None
    confidence: float = 0.5

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"confidence is a probability from 0.5 to below 1, not {self.confidence:g}.")
        if not self.costs or set(self.costs) != set(self.budgets):
            raise InputError(f"Costs {sorted(self.costs)} and budgets {sorted(self.budgets)} must have the same names.")
        for name, budget in self.budgets.items():
            if not budget > 0:
                raise InputError(f"A {name} budget of {budget} cannot be kept; give a positive one.")
        if unknown := set(self.proxies) - set(self.costs):
            raise InputError(f"There is no budget for the proxy {min(unknown)}; budgets are {sorted(self.budgets)}.")
        if self.candidates is not None and (not len(self.candidates) or self.candidates.space != self.space):
            raise InputError(f"Candidates must be some architectures of {self.space}.")

    def all(self) -> Architectures:
        """The candidates, or the whole space; one too large to list raises `InputError`."""
        return self.space.all() if self.candidates is None else self.candidates

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """At most `n` different architectures at random."""
        if self.candidates is not None:
            return self.candidates[rng.permutation(len(self.candidates))[:n]]
        drawn = self.space.sample(4 * n + 16, rng)
        return drawn[np.sort(np.unique(drawn.decisions, axis=0, return_index=True)[1])[:n]]

    def limited(self, cost: Cost, archs: Architectures) -> np.ndarray:
        """Values [A] of a cost that have to keep its budget: at a `confidence` above 0.5 quantiles of distributions,
        since P(cost <= budget) >= confidence where that quantile is at most the budget."""
        if self.confidence > 0.5 and isinstance(cost, UncertainCost):
            return cost.belief(archs).quantile(self.confidence)
        return np.asarray(cost(archs), float)

    def excess(self, costs: np.ndarray) -> np.ndarray:
        """Largest relative excess [A] of costs [A, C] over their budgets: 0 where all are kept, infinite where a cost
        is unknown (NaN)."""
        over = np.maximum(costs / np.array([self.budgets[name] for name in self.costs]) - 1, 0).max(axis=1)
        return np.where(np.isnan(over), np.inf, over)


@dataclass(frozen=True)
class Decision:
    """The result of a search.

    Attributes:
        arch: one architecture: the best that keeps all budgets, or, where none does, the one nearest to them.
        quality: of the architecture.
        costs: measured costs of the architecture; of predicted ones the values that have to keep the budgets
            (`Problem.limited`).
        met: whether all budgets are kept.
        measured: all architectures whose costs were truly measured, each once, in that order.
        measured_costs: their costs [queries, C].
        seconds: wall time of the search, measuring included.
    """

    arch: Architectures
    quality: float
    costs: Mapping[str, float]
    met: bool
    measured: Architectures
    measured_costs: np.ndarray
    seconds: float

    @property
    def queries(self) -> int:
        """Number of true measurements; all costs of one architecture count as one."""
        return len(self.measured)


class Ledger:
    """Measures for a search: no architecture twice, none beyond the limit, and keeps all results.

    Args:
        problem: whose costs are measured.
        limit: largest number of true measurements.
        progress: receives a line per measurement.
    """

    def __init__(self, problem: Problem, limit: int, progress: Progress = silent) -> None:
        if limit < 1:
            raise InputError(f"With {limit} measurements nothing can be found; allow at least one.")
        self.problem, self.limit, self.progress = problem, limit, progress
        self.costs: dict[tuple[int, ...], np.ndarray] = {}
        self.started = time.monotonic()

    @property
    def left(self) -> int:
        """Measurements that may still be spent."""
        return self.limit - len(self.costs)

    def is_measured(self, archs: Architectures) -> np.ndarray:
        """Whether each architecture was measured already [A]."""
        return np.array([tuple(row) in self.costs for row in archs.decisions.tolist()], dtype=bool)

    def measure(self, archs: Architectures) -> np.ndarray:
        """True costs [A, C]; NaN for those that the limit forbids to measure."""
        rows = [tuple(row) for row in archs.decisions.tolist()]
        new = list(dict.fromkeys(row for row in rows if row not in self.costs))[: self.left]
        if new:
            queries = Architectures(archs.space, np.array(new))
            values = np.stack([self.problem.limited(cost, queries) for cost in self.problem.costs.values()], axis=1)
            self.costs |= dict(zip(new, values, strict=True))
            self._report(values)
        unknown = np.full(len(self.problem.costs), np.nan)
        return np.array([self.costs.get(row, unknown) for row in rows]).reshape(len(rows), len(unknown))

    def measured(self) -> tuple[Architectures, np.ndarray]:
        """The measured architectures in order, and their costs [n, C]."""
        rows = np.array(list(self.costs)).reshape(len(self.costs), len(self.problem.space.num_choices))
        costs = np.array(list(self.costs.values())).reshape(len(self.costs), len(self.problem.costs))
        return Architectures(self.problem.space, rows), costs

    def _report(self, values: np.ndarray) -> None:
        """Report the last measurements [n, C], one per line; more than 50 in one line."""
        if len(values) > 50:
            self.progress(f"{len(self.costs)}/{self.limit} measured")
            return
        for i, row in enumerate(values, len(self.costs) - len(values) + 1):
            costs = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.problem.costs, row, strict=True))
            self.progress(f"{i}/{self.limit}: {costs}")

    def decide(self) -> Decision:
        """The best measured architecture; of equal ones the first."""
        measured, costs = self.measured()
        quality = np.asarray(self.problem.quality(measured), float)
        best = int(np.lexsort((np.where(np.isnan(quality), np.inf, -quality), self.problem.excess(costs)))[0])
        met = bool(self.problem.excess(costs)[best] == 0)
        best_costs = {name: float(value) for name, value in zip(self.problem.costs, costs[best], strict=True)}
        seconds = time.monotonic() - self.started
        return Decision(measured[[best]], float(quality[best]), best_costs, met, measured, costs, seconds)


@dataclass
class Search(ABC):
    """Finds a `Decision` for a `Problem`.

    Attributes:
        measurements: largest number of true measurements; 0: the search's own bound, or all candidates.
    """

    measurements: int = 0

    @classmethod
    def examples(cls) -> list[Self]:
        """What the contract tests try."""
        return [cls()]

    @abstractmethod
    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        """Search; equal generators and costs give equal decisions."""


POOL = 20_000
"""Number of random candidates of a space that is too large to list."""


def candidates_of(problem: Problem, rng: np.random.Generator) -> Architectures:
    """All candidates, or `POOL` random ones where the space is too large to list."""
    try:
        return problem.all()
    except InputError:
        return problem.sample(POOL, rng)
