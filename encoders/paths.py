"""Cells as the paths through them, and the longest of these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Self

import numpy as np

from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder, require_graph
from encoders.cell import SAMPLED, KindCounts, branches

_ENDS = ("input", "output")
_FREE = ("none", "skip_connect")


@dataclass
class CellPaths(VectorEncoder):
    """Number of paths from input to output with each sequence of ops, without paths through a `none`. It is the path
    encoding of "BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture Search" (White et al.,
    AAAI 2021). NAS-Bench-201: at most three ops of four kinds, 4 + 16 + 64 = 84 numbers.

    Attributes:
        length: length of the longest sequences; longer paths count as their first `length` ops.
    """

    length: int = 3

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(length=2)]

    def num_features(self, space: Space) -> int:
        require_graph(space)
        size = len(_ops(space))
        if self.length > 100_000 or size ** min(self.length, 17) > 100_000:
            raise InputError(
                f"Sequences of {self.length} of the {size} ops of {space} are too many; use another encoder."
            )
        return sum(size**n for n in range(1, self.length + 1))

    def __call__(self, archs: Architectures) -> np.ndarray:
        out = np.zeros((len(archs), self.num_features(archs.space)), dtype=np.float32)
        kinds, adjacency = archs.space.graph(archs)
        ops = _ops(archs.space)
        digit = np.array([ops.index(kind) if kind in ops else -1 for kind in archs.space.kinds])[kinds]
        for path in _paths(np.any(adjacency, axis=0), archs.space, kinds) if len(archs) else []:
            present = np.all([adjacency[:, a, b] for a, b in pairwise(path)], axis=0)
            inner = digit[:, path[1:-1]][:, : self.length]
            present &= (inner >= 0).all(axis=1)
            weights = len(ops) ** np.arange(inner.shape[1])[::-1]
            first = sum(len(ops) ** n for n in range(1, inner.shape[1]))  # where sequences of this length begin
            rows = np.flatnonzero(present)
            out[rows, first + inner[rows] @ weights] += 1
        return out


LAUNCH = 0.25
"""Cost of an op in the mixture, beside its FLOPs as a share of those of the most expensive kind."""


@dataclass
class LongestPath(VectorEncoder):
    """Largest sums over a path from input to output of four costs: FLOPs, moved bytes, ops other than skips, and FLOPs
    and ops together. Runtimes that execute branches at the same time take as long as the slowest.

    FLOPs and bytes of a kind of node are its means over the space (least squares on totals), as shares of those of the
    most expensive kind. There is nothing where no graph has branches; cells without a path are zeros.
    """

    def num_features(self, space: Space) -> int:
        return 4 * branches(space)

    def __call__(self, archs: Architectures) -> np.ndarray:
        if not self.num_features(archs.space):
            return np.zeros((len(archs), 0), np.float32)
        kinds, adjacency = archs.space.graph(archs.space.live(archs))
        costs, names = _kind_costs(archs.space)[kinds], np.array(archs.space.kinds)[kinds]
        edges = np.any(adjacency, axis=0)
        far = np.full((kinds.shape[1], len(archs), costs.shape[-1]), -np.inf, np.float32)
        far[(names == "input").T] = 0
        before: dict[int, list[int]] = {i: np.flatnonzero(edges[:, i]).tolist() for i in range(len(edges))}
        for node in TopologicalSorter(before).static_order():
            for source in before[node]:
                reached = adjacency[:, source, node] & (names[:, source] != "none")
                far[node] = np.maximum(far[node], np.where(reached[:, None], far[source], -np.inf))
            far[node] += costs[:, node]
        longest = far[(names == "output").T]
        return np.where(np.isfinite(longest), longest, 0)


@lru_cache(maxsize=8)
def _kind_costs(space: Space) -> np.ndarray:
    """Costs of kinds [K, 4]."""
    archs = space.sample(SAMPLED, np.random.default_rng(0))
    counts, totals = KindCounts()(archs), space.totals(archs)[["flops", "moved_bytes"]].to_numpy(float)
    costs = np.linalg.pinv(counts - counts.mean(axis=0), rcond=1e-6) @ (totals - totals.mean(axis=0))
    free, ops = np.isin(space.kinds, _FREE), ~np.isin(space.kinds, (*_ENDS, *_FREE))
    least = costs[free].max(axis=0) if free.any() else costs[ops].min(axis=0)
    costs = np.maximum(costs - least, 0) * ops[:, None]
    flops, moved = (costs / np.maximum(costs.max(axis=0), 1e-12)).T
    return np.stack([flops, moved, ops, flops + LAUNCH * ops], axis=1).astype(np.float32)


def _ops(space: Space) -> list[str]:
    return [kind for kind in space.kinds if kind not in (*_ENDS, "none")]


def _paths(edges: np.ndarray, space: Space, kinds: np.ndarray) -> list[list[int]]:
    """All paths of nodes from input to output over edges [N, N] of any of the graphs."""
    (start,) = np.flatnonzero((kinds == space.kinds.index("input")).any(axis=0))
    (end,) = np.flatnonzero((kinds == space.kinds.index("output")).any(axis=0))
    found, open_ = [], [[int(start)]]
    while open_:
        path = open_.pop()
        if path[-1] == end:
            found.append(path)
            continue
        open_ += [[*path, int(node)] for node in np.flatnonzero(edges[path[-1]])]
    return found
