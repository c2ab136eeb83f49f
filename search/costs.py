"""What the command line makes costs of: columns of tables, predictors with intervals, limits that are free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError
from search.base import Decision


def lookup(archs: Architectures, values: np.ndarray) -> tuple[Cost, Architectures]:
    """A column of a table as a cost that says NaN where it knows nothing, and the architectures that it knows."""
    known = np.flatnonzero(~np.isnan(values))
    table = {row.tobytes(): value for row, value in zip(archs.decisions, values, strict=True)}
    return lambda asked: np.array([table.get(row.tobytes(), np.nan) for row in asked.decisions]), archs[known]


def both(one: Architectures | None, other: Architectures | None) -> Architectures | None:
    """The architectures that both know; None knows all."""
    if one is None or other is None:
        return one if other is None else other
    there = {row.tobytes() for row in other.decisions}
    shared = np.flatnonzero([row.tobytes() in there for row in one.decisions])
    if not len(shared):
        raise InputError("The accuracies and the latencies have no architecture in common; name tables of one space.")
    return Architectures(other.space, one.decisions[shared])


def within_memory(archs: Architectures, most_mb: float) -> Architectures:
    """Those whose activations that are alive at once (batch 1, fp32; `networks.analysis`) take at most so many MB: a
    limit that nothing has to be measured for."""
    peak = archs.space.totals(archs)["peak_bytes"].to_numpy(float) / 1e6
    if not (peak <= most_mb).any():
        raise InputError(f"Nothing runs in {most_mb:g} MB of activations; the least is {peak.min():.4g} MB.")
    return archs[np.flatnonzero(peak <= most_mb)]


def probability(model: Any, arch: Architectures, device: Device, budget: float) -> float:
    """P(cost <= budget), from the level of the central interval that ends at the budget."""
    low, high = 0.0, 1.0
    above = budget >= model.predict(arch, device)[0]
    for _ in range(14):
        level = (low + high) / 2
        ends = model.predict_interval(arch, device, level)
        inside = ends[0][0] <= budget <= ends[1][0]
        low, high = (low, level) if inside else (level, high)
    return (1 + level) / 2 if above else (1 - level) / 2


def best_of(decisions: Mapping[str, Decision]) -> str:
    """The name of the best decision of problems with the same budgets (one for each precision, say): one that keeps
    them before one that does not, then by quality, then by the first cost."""

    def rank(name: str) -> tuple[float, ...]:
        one = decisions[name]
        return not one.met, -one.quality, next(iter(one.costs.values()))

    return min(decisions, key=rank)
