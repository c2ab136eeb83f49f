"""Cells as graphs, as one-hot vectors and as counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from datasets.columns import Columns
from datasets.records import Architectures, InputError, Space
from encoders.base import GraphBatch, GraphEncoder, VectorEncoder, require_graph

SAMPLED = 256
"""Number of architectures that show what graphs of a space are like."""


@dataclass
class CellGraph(GraphEncoder):
    """Graphs with one node per op and its kind one-hot, the encoding of NAS-Bench-201 in "BRP-NAS: Prediction-based NAS
    using GCNs" (Dudziak et al., NeurIPS 2020).

    Attributes:
        pruned: remove `none`, join the neighbours of `skip_connect` and remove nodes on no path from input to output.
            Right if the measured program was pruned in this way; where dead branches were run (HELP's tables), cells
            with different latencies become one graph.
        global_node: add a first node with edges to all others, for read-out.
    """

    pruned: bool = False
    global_node: bool = True

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(pruned=True)]

    def num_features(self, space: Space) -> int:
        require_graph(space)
        return len(space.kinds) + self.global_node

    def __call__(self, archs: Architectures) -> GraphBatch:
        kinds, adjacency = archs.space.graph(archs)
        mask = np.ones(kinds.shape, dtype=bool)
        if self.pruned:
            adjacency, mask = _prune(kinds, adjacency, archs.space)
        g = int(self.global_node)
        batch, n = kinds.shape
        table = np.eye(self.num_features(archs.space), dtype=np.float32)
        nodes = np.zeros((batch, n + g, len(table)), dtype=np.float32)
        nodes[:, g:] = table.take(kinds + g, axis=0)  # table[...] takes ten times as long
        if self.pruned:
            nodes[:, g:] *= mask[..., None]
        edges = np.zeros((batch, n + g, n + g), dtype=np.float32)
        edges[:, g:, g:] = adjacency
        present = np.ones((batch, n + g), dtype=np.float32)
        present[:, g:] = mask
        if g:
            nodes[:, 0] = table[0]
            edges[:, 0] = present
        return GraphBatch(nodes, edges, present)


def _prune(kinds: np.ndarray, adjacency: np.ndarray, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Adjacency and mask without `none`, `skip_connect` and dead ends; vectorised over the batch."""
    edges = adjacency.copy()
    names = np.array(space.kinds)[kinds]
    none, skip = names == "none", names == "skip_connect"
    edges &= ~none[:, :, None] & ~none[:, None, :]
    for node in range(kinds.shape[1]):
        through = skip[:, node, None, None] & edges[:, :, node, None] & edges[:, node, None, :]
        edges |= through
    edges &= ~skip[:, :, None] & ~skip[:, None, :]
    below, above = names == "input", names == "output"
    for _ in range(kinds.shape[1]):  # the longest path visits every node once
        below = below | (below[:, :, None] & edges).any(1)
        above = above | (above[:, None, :] & edges).any(2)
    mask = (below & above) | (names == "input") | (names == "output")
    return edges & mask[:, :, None] & mask[:, None, :], mask


@dataclass
class CellOneHot(VectorEncoder):
    """All decisions one-hot (NAS-Bench-201: 6 edges x 5 ops = 30).

    Attributes:
        live: encode the architecture without nodes on no path from input to output.
        counts: append the number of nodes of each kind in its graph, if the space has graphs.
    """

    live: bool = False
    counts: bool = False

    def num_features(self, space: Space) -> int:
        if isinstance(space, Columns) and not space.finite:
            raise InputError(
                "Columns of numbers cannot be one-hot; choose the encoder encoders.columns.ColumnVector, or make them "
                "decisions."
            )
        if (size := sum(space.num_choices)) > 1000:
            raise InputError(f"The decisions of {space} are {size} numbers one-hot, too many; use another encoder.")
        return size + self.counts * len(space.kinds)

    def __call__(self, archs: Architectures) -> np.ndarray:
        self.num_features(archs.space)  # raises where there are too many
        archs = archs.space.live(archs) if self.live else archs
        tables = [np.eye(n, dtype=np.float32)[archs.decisions[:, i]] for i, n in enumerate(archs.space.num_choices)]
        if self.counts and archs.space.kinds:
            tables.append(KindCounts()(archs))
        return np.concatenate(tables, axis=1)


@dataclass
class KindCounts(VectorEncoder):
    """Number of nodes of each kind in the graph.

    Attributes:
        live: count nodes on a path from input to output only.
    """

    live: bool = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(live=True)]

    def num_features(self, space: Space) -> int:
        require_graph(space)
        return len(space.kinds)

    def __call__(self, archs: Architectures) -> np.ndarray:
        kinds, _ = archs.space.graph(archs.space.live(archs) if self.live else archs)
        return (kinds[..., None] == np.arange(len(archs.space.kinds))).sum(axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def branches(space: Space) -> bool:
    """Whether a node of a graph has several successors, as in cells, unlike in chains."""
    if not space.kinds:
        return False
    _, adjacency = space.graph(space.sample(SAMPLED, np.random.default_rng(0)))
    return bool(adjacency.sum(axis=2).max() > 1)


def require_one_hot(encoder: object) -> None:
    """Refuse encoders other than plain `CellOneHot`, whose vectors are relaxed decisions.

    Raises:
        InputError: it is another encoder.
    """
    if encoder != CellOneHot():
        raise InputError(f"Relaxed architectures need the encoder CellOneHot() as it is, not {encoder}.")
