"""A live device as a black box for optimizers: decisions in, a number to minimise out (`measure.objective`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from datasets.records import Architectures, Cost, InputError, Space
from measure.base import Backend
from measure.bench import Bench, Measure, Row
from measure.campaign import Journal, pending, run_campaign
from measure.drift import References
from measure.rows import device_name
from measure.subjects import whole

FAILED = 1e6
"""The objective of an architecture that cannot be run."""


def parameters(archs: Architectures) -> np.ndarray:
    """Trainable parameters [A] of the whole networks: the quality that is maximised unless another is given."""
    return archs.space.totals(archs)["params"].to_numpy(float)


@dataclass
class Live:
    """Latencies of a live device as a cost; every architecture is measured once, on its first evaluation.

    Measurements are kept in the journal, so that an interrupted search continues with them. They are corrected for
    drift (`measure.drift`), by the rows up to then.

    Attributes:
        space: space of the architectures.
        backend: the runtime.
        journal: file of the measurements.
        bench: measures; by default in this process.
    """

    space: Space
    backend: Backend
    journal: Journal
    bench: Measure = field(default_factory=Bench)

    def __post_init__(self) -> None:
        self.measured = 0

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Corrected milliseconds [A]; NaN for architectures that cannot be run."""
        tasks = pending(archs, [self.backend], self.journal)
        for _ in run_campaign(archs, tasks, self.journal, partial(whole, self.space), self.bench):
            self.measured += 1
        return np.array([self._latency(key) for key in archs.keys])

    def _latency(self, key: str) -> float:
        device, references = self.backend.device().name, References()
        for row in self.journal.rows:
            if device_name(row) == device and "error" not in row:
                references.add(row)
                if self._measures(row, key):
                    return references.corrected_ms(row)
        return float("nan")

    def _measures(self, row: Row, key: str) -> bool:
        return (row["space"], row["key"], row["metric"]) == (str(self.space), key, "latency_ms")


@dataclass
class BlackBox:
    """The objective: minus the quality of architectures within a latency budget, and a penalty beyond it.

    Architectures within the budget are ranked by quality, before all others, which are ranked by latency (Deb, "An
    efficient constraint handling method for genetic algorithms", 2000). Every latency is evaluated once.

    Attributes:
        space: space of the decisions.
        latency_ms: cost in ms, NaN for failures: a live device (`Live`), a table or a predictor. Quantiles of predicted
            distributions (`Belief.quantile(0.9)`) keep the budget with that probability.
        budget_ms: largest latency allowed.
        quality: positive numbers for architectures; parameters by default.
        penalty: factor of the relative excess over the budget.
    """

    space: Space
    latency_ms: Cost
    budget_ms: float
    quality: Cost = parameters
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if not self.budget_ms > 0:
            raise InputError(f"A budget of {self.budget_ms} ms cannot be kept; give a positive one.")
        self.evaluated: dict[str, float] = {}

    def __call__(self, decisions: Sequence[int] | Mapping[Any, int]) -> float:
        """The number to minimise, for one row of decisions, or a mapping whose values are the decisions in order.

        Decisions that are no architecture of the space are replaced by a similar one that is (`Space.repair`).
        """
        values = list(decisions.values() if isinstance(decisions, Mapping) else decisions)
        archs = Architectures(self.space, self.space.repair(np.array([values], dtype=int)))
        (key,) = archs.keys
        if key not in self.evaluated:
            self.evaluated[key] = self._score(archs)
        return self.evaluated[key]

    def _score(self, archs: Architectures) -> float:
        if not self.space.connected(archs)[0]:
            return FAILED
        (ms,) = self.latency_ms(archs)
        if not np.isfinite(ms):
            return FAILED
        return -float(self.quality(archs)[0]) if ms <= self.budget_ms else self.penalty * (ms / self.budget_ms - 1)

    def best(self) -> str | None:
        """Key of the best architecture so far; None if none keeps the budget."""
        key = min(self.evaluated, key=self.evaluated.__getitem__, default=None)
        return key if key is not None and self.evaluated[key] < 0 else None


def minimise(
    objective: BlackBox, evaluations: int, seed: int, progress: Callable[[float], Any] = lambda value: None
) -> None:
    """Minimise an objective with Nevergrad; equal seeds propose equal architectures while values are equal."""
    import nevergrad as ng

    # without an order, which did better on other seeds than those that studies/leti/study.py reports
    choices = ng.p.Tuple(*[ng.p.Choice(range(n)) for n in objective.space.num_choices])
    choices.random_state.seed(seed)
    optimizer = ng.optimizers.DiscreteOnePlusOne(parametrization=choices, budget=evaluations)
    start = objective.space.sample(1, np.random.default_rng(seed)).decisions[0]
    optimizer.suggest(tuple(start.tolist()))  # valid, where not all decisions of the space are
    for _ in range(evaluations):
        candidate = optimizer.ask()
        value = objective(candidate.value)
        optimizer.tell(candidate, value)
        progress(value)


def random_search(
    objective: BlackBox, evaluations: int, seed: int, progress: Callable[[float], Any] = lambda value: None
) -> None:
    """Evaluate random architectures, the baseline for optimizers with as many evaluations."""
    for row in objective.space.sample(evaluations, np.random.default_rng(seed)).decisions:
        progress(objective(row.tolist()))
