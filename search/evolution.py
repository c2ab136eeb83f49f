"""Searches without a proxy: random, exhaustive, and regularised evolution ("Regularized Evolution for Image Classifier
Architecture Search", Real et al., AAAI 2019)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.records import Architectures, InputError
from search.base import Decision, Ledger, Problem, Progress, Search, silent

NEAREST = 12
"""Number of nearest candidates among which a mutation chooses where candidates are listed."""


@dataclass
class RandomSearch(Search):
    """Measure architectures drawn at random."""

    measurements: int = 10

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        ledger = Ledger(problem, self.measurements, progress)
        ledger.measure(problem.sample(self.measurements, rng))
        return ledger.decide()


@dataclass
class Exhaustive(Search):
    """Measure all candidates: for tables and predictors, and as a reference for other searches."""

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        archs = problem.all()
        ledger = Ledger(problem, min(self.measurements or len(archs), len(archs)), progress)
        ledger.measure(archs)
        return ledger.decide()


@dataclass
class Evolution(Search):
    """Regularised evolution: the best contender of a tournament is mutated, and the oldest of the population is
    removed.

    Architectures that keep the budgets rank above those that do not; among the former by quality, among the latter by
    excess ("An efficient constraint handling method for genetic algorithms", Deb, 2000).

    Attributes:
        measurements: largest number of true measurements.
        population: number of architectures that are kept.
        contenders: number of architectures drawn for each tournament.
    """

    measurements: int = 100
    population: int = 20
    contenders: int = 5

    def __call__(self, problem: Problem, rng: np.random.Generator, progress: Progress = silent) -> Decision:
        for name in ("population", "contenders"):
            if not 1 <= getattr(self, name) <= 10**6:
                raise InputError(f"{name} has to be between 1 and 1,000,000, not {getattr(self, name)}.")
        ledger = Ledger(problem, self.measurements, progress)

        def rank(archs: Architectures) -> list[tuple[float, float]]:
            excess = problem.excess(ledger.measure(archs))
            return list(zip(-excess, problem.quality(archs), strict=True))

        first = problem.sample(min(self.population, max(1, self.measurements // 2)), rng)
        alive = deque(zip(range(len(first)), rank(first), strict=True), maxlen=self.population)
        seen = [first[[i]] for i in range(len(first))]
        available = np.inf if problem.candidates is None else len(set(map(bytes, problem.candidates.decisions)))
        for _ in range(20 * self.measurements):  # a small space has no new architectures left at some point
            if not ledger.left or len(ledger.costs) == available:
                break
            drawn = [alive[i] for i in rng.integers(0, len(alive), self.contenders)]
            parent = max(drawn, key=lambda member: member[1])[0]
            child = mutated(problem, seen[parent], ledger.is_measured, rng)
            seen.append(child)
            alive.append((len(seen) - 1, rank(child)[0]))
        return ledger.decide()


def mutated(
    problem: Problem,
    arch: Architectures,
    known: Callable[[Architectures], np.ndarray],
    rng: np.random.Generator,
) -> Architectures:
    """A neighbour of a single architecture, where possible one that is not `known` yet."""
    if problem.candidates is None:
        for _ in range(8):
            child = problem.space.mutate(arch, rng)
            if not known(child)[0]:
                break
        return child
    candidates = problem.candidates.decisions
    distance = rng.random(len(candidates)) / 2  # breaks ties at random
    for column, decision in zip(candidates.T, arch.decisions[0], strict=True):
        distance += column != decision
    near = np.argpartition(distance, min(4 * NEAREST, len(candidates)) - 1)[: 4 * NEAREST]
    near = near[np.argsort(distance[near])]
    new = near[~known(problem.candidates[near])][:NEAREST]
    return problem.candidates[[int(rng.choice(new if len(new) else near))]]
