"""Cells as graphs and as one-hot vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.records import Architectures, InputError, Space
from encoders.base import GraphBatch, GraphEncoder, VectorEncoder, require_graph


@dataclass
class CellGraph(GraphEncoder):
    """One node an op (one-hot kind), as BRP-NAS (Dudziak et al., NeurIPS 2020) encodes NAS-Bench-201.

    Attributes:
        pruned: drop `none`, join the neighbours of `skip_connect` and drop what lies on no path from input to
            output. Right where the measured program had been pruned so; where dead branches ran (HELP's tables),
            cells that differ in latency become one graph.
        global_node: put a node first that sees all others, for read-out.
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
        nodes[:, g:] = table[kinds + g] * mask[..., None]
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
    """Every decision one-hot (NAS-Bench-201: 6 edges x 5 ops = 30).

    Attributes:
        live: of the architecture without what no path from input to output visits.
        counts: then also how many nodes of its graph are of each kind.
    """

    live: bool = False
    counts: bool = False

    def num_features(self, space: Space) -> int:
        if (size := sum(space.num_choices)) > 1000:
            raise InputError(f"The decisions of {space} are {size} numbers one-hot, too many; use another encoder.")
        return size + self.counts * len(space.kinds)

    def __call__(self, archs: Architectures) -> np.ndarray:
        self.num_features(archs.space)  # says so where they are too many
        archs = archs.space.live(archs) if self.live else archs
        tables = [np.eye(n, dtype=np.float32)[archs.decisions[:, i]] for i, n in enumerate(archs.space.num_choices)]
        if self.counts:
            kinds, _ = archs.space.graph(archs)
            tables.append((kinds[..., None] == np.arange(len(archs.space.kinds))).sum(axis=1).astype(np.float32))
        return np.concatenate(tables, axis=1)


def require_one_hot(encoder: object) -> None:
    """Refuse an encoder of which relaxed decisions are not the input: only plain `CellOneHot` can say what they are."""
    if encoder != CellOneHot():
        raise InputError(f"Relaxed architectures need the encoder CellOneHot() as it is, not {encoder}.")
