"""Costs of the command line: columns of tables, and limits that need no measurement."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from datasets.opening import open_measurements
from datasets.records import Architectures, Cost, InputError, Measurements, Networks
from search.base import Decision


@lru_cache(maxsize=4)
def read_measurements(file: Path) -> Measurements:
    """The measurements of one space that `open_measurements` opens; files are read once.

    Raises:
        InputError: they are of files or of several spaces, which cannot be sampled.
    """
    measured = open_measurements(file)
    if isinstance(measured.architectures, Networks):
        raise InputError(f"{file} holds files or architectures of several spaces; a search needs those of one space.")
    return measured


def table_cost(archs: Architectures, values: np.ndarray) -> tuple[Cost, Architectures]:
    """A table's column [A] as a cost that is NaN for architectures without a value, and those that have one."""
    known = np.flatnonzero(~np.isnan(values))
    extended = np.append(values, np.nan)  # the last entry is for missing architectures
    return lambda queries: extended[archs.positions(queries)], archs[known]


def in_common(first: Architectures | None, second: Architectures | None) -> Architectures | None:
    """The architectures that are in both; None stands for all architectures.

    Raises:
        InputError: there are none.
    """
    if first is None or second is None:
        return first if second is None else second
    shared = np.flatnonzero(second.positions(first) >= 0)
    if not len(shared):
        raise InputError("The accuracies and the latencies have no architecture in common; name tables of one space.")
    return Architectures(second.space, first.decisions[shared])


def within_memory(archs: Architectures, most_mb: float) -> Architectures:
    """The architectures whose peak memory of activations (batch 1, fp32; `networks.memory`) is at most `most_mb` MB.

    Raises:
        InputError: there are none.
    """
    peak = archs.space.totals(archs)["peak_bytes"].to_numpy(float) / 1e6
    if not (peak <= most_mb).any():
        raise InputError(f"Nothing runs in {most_mb:g} MB of activations; the least is {peak.min():.4g} MB.")
    return archs[np.flatnonzero(peak <= most_mb)]


def best_of(decisions: Mapping[str, Decision]) -> str:
    """The name of the best decision of problems with the same budgets, such as one per precision: decisions that keep
    them come first, then the higher quality, then the lower first cost."""

    def rank(name: str) -> tuple[float, ...]:
        decision = decisions[name]
        return not decision.met, -decision.quality, next(iter(decision.costs.values()))

    return min(decisions, key=rank)
