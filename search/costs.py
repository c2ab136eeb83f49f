"""What the command line makes costs of: columns of tables, limits that are free."""

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
    """The measurements that `open_measurements` opens, of one space; asked for again, they are not read again.

    Raises:
        InputError: they are of files, or of several spaces, of which nothing can be drawn.
    """
    measured = open_measurements(file)
    if isinstance(measured.architectures, Networks):
        raise InputError(f"{file} holds files or architectures of several spaces; a search needs those of one space.")
    return measured


def lookup(archs: Architectures, values: np.ndarray) -> tuple[Cost, Architectures]:
    """A column of a table as a cost that says NaN where it knows nothing, and the architectures that it knows."""
    known = np.flatnonzero(~np.isnan(values))
    extended = np.append(values, np.nan)  # the last one for what is not there
    return lambda asked: extended[archs.positions(asked)], archs[known]


def both(one: Architectures | None, other: Architectures | None) -> Architectures | None:
    """The architectures that both know; None knows all."""
    if one is None or other is None:
        return one if other is None else other
    shared = np.flatnonzero(other.positions(one) >= 0)
    if not len(shared):
        raise InputError("The accuracies and the latencies have no architecture in common; name tables of one space.")
    return Architectures(other.space, one.decisions[shared])


def within_memory(archs: Architectures, most_mb: float) -> Architectures:
    """Those whose activations that are alive at once (batch 1, fp32; `networks.memory`) take at most so many MB: a
    limit that nothing has to be measured for."""
    peak = archs.space.totals(archs)["peak_bytes"].to_numpy(float) / 1e6
    if not (peak <= most_mb).any():
        raise InputError(f"Nothing runs in {most_mb:g} MB of activations; the least is {peak.min():.4g} MB.")
    return archs[np.flatnonzero(peak <= most_mb)]


def best_of(decisions: Mapping[str, Decision]) -> str:
    """The name of the best decision of problems with the same budgets (one for each precision, say): one that keeps
    them before one that does not, then by quality, then by the first cost."""

    def rank(name: str) -> tuple[float, ...]:
        one = decisions[name]
        return not one.met, -one.quality, next(iter(one.costs.values()))

    return min(decisions, key=rank)
