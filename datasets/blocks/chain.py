"""Spaces of chains of blocks: their graphs, and totals as sums over blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from datasets.architectures import Architecture, Architectures, Op, Space
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.builder import NetworkBuilder

if TYPE_CHECKING:
    import pandas as pd


def chain_graph(kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kinds [A, N + 2] and adjacency [A, N + 2, N + 2] of chains from input (kind 0) through N blocks to output (1)."""
    a, n = len(kinds), kinds.shape[1] + 2
    nodes = np.concatenate([np.zeros((a, 1), int), kinds, np.ones((a, 1), int)], axis=1)
    return nodes, np.broadcast_to(np.eye(n, k=1, dtype=bool), (a, n, n))


class Chain(Space):
    """A space whose architectures are chains of blocks."""

    def connected(self, archs: Architectures) -> np.ndarray:
        """True for all chains [A], which have no dead ends."""
        return np.ones(len(archs), dtype=bool)

    def architecture(self, decisions: np.ndarray) -> Architecture:
        archs = Architectures(self, decisions[None])
        (kinds,), _ = self.graph(archs)
        edges = tuple((node, node + 1, 0) for node in range(len(kinds) - 1))
        return Architecture(str(self), archs.keys[0], tuple(Op(self.kinds[kind]) for kind in kinds), edges)


def block_totals(shape: tuple[int, ...], build: Callable[[NetworkBuilder, int], int]) -> np.ndarray:
    """Totals [6] (in the order of `networks.analysis.totals`) of the block that `build` appends to a tensor of a shape.

    The peak counts that tensor while the block needs it, and the block's output.
    """
    net = NetworkBuilder()
    build(net, net.add("input", shape))
    return np.array(list(totals(net.finish("", "")).values()))


def chain_totals(blocks: np.ndarray) -> pd.DataFrame:
    """Totals of chains from totals of their blocks [A, blocks, 6].

    Only one tensor is alive between two blocks, so the peak is the largest of the blocks'; the others are sums.
    """
    import pandas as pd

    table = pd.DataFrame(blocks.sum(1), columns=list(TOTALS))
    return table.assign(peak_bytes=blocks[:, :, TOTALS.index("peak_bytes")].max(1))
