"""Approach 1 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020).

A proxy device ranks architectures as the target does (performance monotonicity), so its latencies show which
architectures are worth measuring, and bisection (Algorithm 1) finds the best one that keeps the target's budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from datasets.pareto import pareto
from datasets.records import Architectures, Cost, InputError
from search.base import Decision, Ledger, Problem, Progress, Search, candidates_of, silent
from search.gain import fits_for, spend
from search.proxies import ranked


@dataclass
class Bisection(Search):
    """Algorithm 1, on one parameter t in [0, 1] for each budget; t = 0 weighs quality only, t = 1 that cost only.

    With one budget every measurement halves the interval of t. With several (equation 7) each t moves
    according to its own budget, all by half of the previous step. Differences to the paper: the budget itself is never
    exceeded (the paper allows delta on both sides); where all measurements fell on one side the last one is at the end
    of the interval, so loose and impossible budgets have an answer; the decision is the best measured architecture, not
    the last one.

    Attributes:
        measurements: largest number of true measurements: ceil(log2(1 / granularity of t)), 10 for 0.001.
        equation: `weighted` maximises (1 - sum t) quality - sum t cost, both standardised (equations 6 and 7): it
            reaches the convex hull only. `budget` maximises quality under budgets on the proxies (equation 5), each the
            quantile 1 - t of the values on the proxies' front.
        delta: stop when no cost is above its budget and one is within this share of it.
        refine: spend at least half of the measurements, and all that bisection leaves, on the largest expected gain by
            corrected proxies (`search.gain`); the paper measures the points of the bisection only.
    """

    measurements: int = 10
    equation: Literal["weighted", "budget"] = "budget"
    delta: float = 0.0
    refine: bool = False

    optima_: ProxyOptima | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        _check_share(self.delta)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(equation="weighted"), cls(refine=True)]

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        ledger = Ledger(problem, self.measurements, progress)
        self.spend(ledger, problem, rng)
        return ledger.decide()

    def spend(self, ledger: Ledger, problem: Problem, rng: np.random.Generator) -> None:
        """Spend the remaining measurements of a ledger on a problem with proxies.

        Raises:
            InputError: a cost has no proxy.
        """
        if missing := set(problem.costs) - set(problem.proxies):
            raise InputError(f"Bisection needs a proxy of {min(missing)}: another device's table or predictor.")
        if self.optima_ is None or not self.optima_.fits(problem):
            self.optima_ = ProxyOptima(problem, rng)
        budgets = np.array([problem.budgets[name] for name in problem.costs])
        t, step = np.full(len(budgets), 1 / (len(budgets) + 1)), 0.25
        sides: set[bool] = set()
        steps = (ledger.left + 1) // 2 if self.refine else ledger.left
        for i in range(steps):
            if i and i == steps - 1 and len(sides) == 1:
                t = np.full(len(t), float(sides.pop()) / (len(t) if self.equation == "weighted" else 1))
            costs = ledger.measure(self.optima_(t, self.equation))[0]
            over = ~(costs <= budgets)  # a cost that is unknown (NaN) keeps no budget
            sides.add(bool(over.any()))
            if not over.any() and (costs >= (1 - self.delta) * budgets).any():
                break
            t = np.clip(t + np.where(over, step, -step), 0, 1)
            if self.equation == "weighted":
                t = t / max(1.0, t.sum())
            step /= 2
        if self.refine:
            spend(ledger, candidates_of(problem, rng), fits_for(problem, {}), rng)


@dataclass
class BestProxy(Search):
    """Samples of the target choose a proxy out of a pool (section 4.3); bisection on it spends the other measurements.

    Attributes:
        measurements: largest number of true measurements, samples included.
        samples: number of random architectures whose first cost ranks the proxies; at least four.
        pool: device name -> costs by name; where it is empty, the problem's own proxies.
        equation: `weighted` or `budget`, with the meaning of `Bisection.equation`.
        delta: stop when no cost is above its budget and one is within this share of it.
        refine: whether half of the measurements are spent on the largest expected gain by corrected proxies.
    """

    measurements: int = 10
    samples: int = 4
    pool: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    equation: Literal["weighted", "budget"] = "budget"
    delta: float = 0.0
    refine: bool = False

    matched_: str = field(init=False, repr=False, compare=False, default="")
    bisections_: dict[str, Bisection] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        _check_share(self.delta)

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        pool = self.pool or {"": problem.proxies}
        ledger, archs, cost = (
            Ledger(problem, self.measurements, progress),
            candidates_of(problem, rng),
            next(iter(problem.costs)),
        )
        drawn = archs[rng.permutation(len(archs))[: min(self.samples, self.measurements)]]
        costs = ledger.measure(drawn)[:, 0]
        rows = np.flatnonzero(np.isfinite(costs))
        self.matched_ = next(iter(pool))
        if len(rows) >= 4 and len(pool) > 1:  # fewer say nothing about ranks
            proxies = {name: costs_[cost] for name, costs_ in pool.items()}
            self.matched_ = next(iter(ranked(proxies, drawn[rows], costs[rows])))
        progress(f"proxy: {self.matched_}")
        bisection = self.bisections_.setdefault(
            self.matched_, Bisection(self.measurements, self.equation, self.delta, self.refine)
        )
        bisection.spend(ledger, replace(problem, proxies=pool[self.matched_]), rng)
        return ledger.decide()


def _check_share(delta: float) -> None:
    if not 0 <= delta <= 1:
        raise InputError(f"delta is a share of the budget, from 0 to 1, not {delta:g}.")


class ProxyOptima:
    """The optima x*(t) by the proxies; each is found once and reused for other targets and budgets.

    Args:
        problem: its proxies, quality and candidates.
        rng: draws the candidates of a space that is too large to list.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.source = self._source(problem)
        archs = candidates_of(problem, rng)
        quality = np.asarray(problem.quality(archs), float)
        costs = np.stack([np.asarray(problem.proxies[name](archs), float) for name in problem.costs], axis=1)
        known = ~(np.isnan(quality) | np.isnan(costs).any(axis=1))
        spread = costs[known].std(axis=0), quality[known].std()
        front = pareto(quality, costs)  # an optimum by either equation stands there
        self.archs, self.quality, self.costs = archs[front], quality[front], costs[front]
        self.z = self.costs / np.where(spread[0] > 0, spread[0], 1)
        self.q = self.quality / (spread[1] or 1.0)
        self.optima: dict[tuple[str, tuple[float, ...]], int] = {}

    @staticmethod
    def _source(problem: Problem) -> tuple[object, ...]:
        proxies = tuple(problem.proxies[name] for name in problem.costs)
        return problem.space, problem.quality, proxies, problem.candidates

    def fits(self, problem: Problem) -> bool:
        """Whether another problem has the same optima."""
        return all(a is b or a == b for a, b in zip(self.source, self._source(problem), strict=True))

    def __call__(self, t: np.ndarray, equation: str) -> Architectures:
        """x*(t), one architecture.

        Args:
            t: [C], each from 0 to 1.
            equation: `weighted` or `budget`.
        """
        key = equation, tuple(t.tolist())
        if key not in self.optima:
            self.optima[key] = self._weighted(t) if equation == "weighted" else self._under(t)
        return self.archs[[self.optima[key]]]

    def _weighted(self, t: np.ndarray) -> int:
        """Equation 7; with one cost equation 6."""
        return int(((1 - t.sum()) * self.q - self.z @ t).argmax())

    def _under(self, t: np.ndarray) -> int:
        """Equation 5; where no candidate keeps all limits on the proxies, the one that exceeds them least."""
        limits = np.array([np.quantile(c, 1 - u, method="lower") for c, u in zip(self.costs.T, t, strict=True)])
        over = np.maximum(self.costs / limits - 1, 0).max(axis=1)
        return int(np.lexsort((-self.quality, over))[0])
