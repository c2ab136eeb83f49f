"""Approach 1 of "Scaling up DNN optimization for edge inference" (Lu et al.).

A proxy device ranks architectures like the target does (performance monotonicity), so its predictor says which
architectures are worth measuring, and bisection (Algorithm 1) finds the one that just keeps the target's budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from datasets.pareto import pareto
from datasets.records import Architectures, Cost, InputError
from search.base import Decision, Ledger, Problem, Progress, Search, listed, silent
from search.gain import fits_for, spend
from search.proxies import ranked


@dataclass
class Bisection(Search):
    """Algorithm 1, on one parameter t in [0, 1] for each budget; t = 0 heeds quality only, t = 1 that cost only.

    With one budget every measurement halves the interval of t. With several (equation 7) each t moves by its own
    budget's verdict, all by half of the step before. Differences to the paper: the budget itself is never exceeded (it
    allows delta on both sides); where every measurement fell on one side the last one goes to the end of the interval,
    so loose and impossible budgets are answered; the best of all measured architectures is decided for, not the last.

    Attributes:
        measurements: the most that are spent: ceil(log2(1 / granularity of t)), 10 for 0.001.
        equation: `weighted` maximises (1 - sum t) quality - sum t cost, both standardised (equations 6 and 7): it
            reaches the convex hull only. `budget` maximises quality under budgets on the proxies (equation 5), each the
            quantile 1 - t of the values on the proxies' front.
        delta: stop where no cost is above its budget and one is within this share of it.
        refine: what bisection leaves of the measurements, and at least half of them, go where the proxies, corrected by
            what was measured, promise most (`search.gain`); the paper measures nothing beside the bisection's points.
    """

    measurements: int = 10
    equation: Literal["weighted", "budget"] = "budget"
    delta: float = 0.0
    refine: bool = False

    solved_: Solved | None = field(init=False, repr=False, compare=False, default=None)

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
        """Spend what a ledger has left on a problem with proxies."""
        if missing := set(problem.costs) - set(problem.proxies):
            raise InputError(f"Bisection needs a proxy of {min(missing)}: another device's table or predictor.")
        if self.solved_ is None or not self.solved_.fits(problem):
            self.solved_ = Solved(problem, rng)
        budgets = np.array([problem.budgets[name] for name in problem.costs])
        t, step = np.full(len(budgets), 1 / (len(budgets) + 1)), 0.25
        sides: set[bool] = set()
        steps = (ledger.left + 1) // 2 if self.refine else ledger.left
        for i in range(steps):
            if i and i == steps - 1 and len(sides) == 1:
                t = np.full(len(t), float(sides.pop()) / (len(t) if self.equation == "weighted" else 1))
            costs = ledger.measure(self.solved_(t, self.equation))[0]
            over = ~(costs <= budgets)  # a cost that is unknown (NaN) keeps no budget
            sides.add(bool(over.any()))
            if not over.any() and (costs >= (1 - self.delta) * budgets).any():
                break
            t = np.clip(t + np.where(over, step, -step), 0, 1)
            if self.equation == "weighted":
                t = t / max(1.0, t.sum())
            step /= 2
        if self.refine:
            spend(ledger, listed(problem, rng), fits_for(problem, {}), rng)


@dataclass
class BestProxy(Search):
    """Samples of the target choose a proxy out of a pool (section 4.3); bisection on it spends the rest.

    Attributes:
        measurements: the most that are spent, samples included.
        samples: random ones, four at least; by the first cost they are ranked, by all budgets they may be decided for.
        pool: name of a device -> its costs; where it is empty, the problem's own proxies.
        equation: what is bisected, as for `Bisection`; so are the next two.
        delta: stop where no cost is above its budget and one is within this share of it.
        refine: whether half of the measurements go where corrected proxies promise most.
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
            listed(problem, rng),
            next(iter(problem.costs)),
        )
        drawn = archs[rng.permutation(len(archs))[: min(self.samples, self.measurements)]]
        costs = ledger.measure(drawn)[:, 0]
        rows = np.flatnonzero(np.isfinite(costs))
        self.matched_ = next(iter(pool))
        if len(rows) >= 4 and len(pool) > 1:  # fewer tell nothing
            proxies = {name: said[cost] for name, said in pool.items()}
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


class Solved:
    """The optima x*(t) by the proxies; each is found once, and reused for other targets and budgets.

    Args:
        problem: its proxies, quality and candidates.
        rng: draws the candidates where a space is too large to list.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.about = self._about(problem)
        archs = listed(problem, rng)
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
    def _about(problem: Problem) -> tuple[object, ...]:
        proxies = tuple(problem.proxies[name] for name in problem.costs)
        return problem.space, problem.quality, proxies, problem.candidates

    def fits(self, problem: Problem) -> bool:
        """Whether another problem has the same optima."""
        return all(a is b or a == b for a, b in zip(self.about, self._about(problem), strict=True))

    def __call__(self, t: np.ndarray, equation: str) -> Architectures:
        """x*(t), the only one."""
        key = equation, tuple(t.tolist())
        if key not in self.optima:
            self.optima[key] = self._weighted(t) if equation == "weighted" else self._under(t)
        return self.archs[[self.optima[key]]]

    def _weighted(self, t: np.ndarray) -> int:
        """Equation 7; with one cost equation 6."""
        return int(((1 - t.sum()) * self.q - self.z @ t).argmax())

    def _under(self, t: np.ndarray) -> int:
        """Equation 5; where nothing keeps all budgets on the proxies, what exceeds them least."""
        limits = np.array([np.quantile(c, 1 - u, method="lower") for c, u in zip(self.costs.T, t, strict=True)])
        over = np.maximum(self.costs / limits - 1, 0).max(axis=1)
        return int(np.lexsort((-self.quality, over))[0])
