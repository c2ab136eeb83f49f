"""A live device as a black box: decisions in, a number to minimise out; `measure.objective` makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from datasets.records import Architectures, Cost, InputError, Space
from measure.base import Backend
from measure.bench import Bench, Measure, Row, whole
from measure.campaign import Journal, pending, run_campaign
from measure.rows import device_name

FAILED = 1e6
"""What an architecture costs that cannot be run."""


def parameters(archs: Architectures) -> np.ndarray:
    """Trainable parameters [A] of the whole networks: the quality that is maximised unless another is given."""
    return archs.space.totals(archs)["params"].to_numpy(float)


@dataclass
class Live:
    """Latencies of a live device as a cost, each architecture measured once, when it is asked for: what the journal
    holds is taken from there, so a search that was killed goes on with its measurements. They are corrected for drift:
    ratio to the reference network x the median time of the reference in all rows up to then.

    Attributes:
        space: of the architectures.
        backend: where they run.
        journal: of the measurements.
        bench: where it runs; by default in this process.
    """

    space: Space
    backend: Backend
    journal: Journal
    bench: Measure = field(default_factory=Bench)

    def __post_init__(self) -> None:
        self.measured = 0

    def __call__(self, archs: Architectures) -> np.ndarray:
        """Corrected milliseconds [A]; NaN for what cannot be run."""
        tasks = pending(archs, [self.backend], self.journal)
        for _ in run_campaign(archs, tasks, self.journal, partial(whole, self.space), self.bench):
            self.measured += 1
        return np.array([self._of(key) for key in archs.keys])

    def _of(self, key: str) -> float:
        device, references = self.backend.device().name, list[float]()
        for row in self.journal.rows:
            if device_name(row) == device and "error" not in row:
                references.append(row["reference_ms"])
                if self._is(row, key):
                    return row["ratio"] * float(np.median(references))
        return float("nan")

    def _is(self, row: Row, key: str) -> bool:
        return (row["space"], row["key"], row["metric"]) == (str(self.space), key, "latency_ms")


@dataclass
class Objective:
    """Minus the quality of what keeps within a latency budget; beyond it, how far beyond (times `penalty`).

    So whatever keeps the budget is better than whatever does not, of the first the better one wins and of the others
    the faster one (Deb's rule, 2000). No architecture's latency is asked for twice.

    Attributes:
        space: of the decisions.
        latency_ms: of architectures, NaN where it is none: a live device's (`Live`), a table's, a predictor's.
        budget_ms: latency that must not be exceeded.
        quality: positive numbers for architectures; parameters by default.
        penalty: slope beyond the budget, a unit for each time that it is exceeded by.
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
        """The number to minimise, for one row of decisions (a mapping: its values in their order). Where decisions
        depend on each other, those that are no architecture stand for one near them."""
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
        """The key of the best architecture so far; None where nothing keeps the budget."""
        key = min(self.evaluated, key=self.evaluated.__getitem__, default=None)
        return key if key is not None and self.evaluated[key] < 0 else None


def minimise(
    objective: Objective, evaluations: int, seed: int, tell: Callable[[float], Any] = lambda value: None
) -> None:
    """Let Nevergrad minimise an objective; the same seed asks the same questions as long as answers are the same."""
    import nevergrad as ng

    # without an order, which did better on other seeds than those that studies/leti/study.py reports
    choices = ng.p.Tuple(*[ng.p.Choice(range(n)) for n in objective.space.num_choices])
    choices.random_state.seed(seed)
    optimizer = ng.optimizers.DiscreteOnePlusOne(parametrization=choices, budget=evaluations)
    start = objective.space.sample(1, np.random.default_rng(seed)).decisions[0]
    optimizer.suggest(tuple(start.tolist()))  # an architecture that exists, wherever the space has some that do not
    for _ in range(evaluations):
        asked = optimizer.ask()
        value = objective(asked.value)
        optimizer.tell(asked, value)
        tell(value)


def draw(objective: Objective, evaluations: int, seed: int, tell: Callable[[float], Any] = lambda value: None) -> None:
    """Random search: what an optimizer has to beat with as many evaluations."""
    for row in objective.space.sample(evaluations, np.random.default_rng(seed)).decisions:
        tell(objective(row.tolist()))
