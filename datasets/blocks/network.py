"""Shaped networks, op by op, and the totals of networks that are chains of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.analysis import TOTALS, totals, window
from datasets.records import Architecture, Architectures, Op, Space

if TYPE_CHECKING:
    import pandas as pd


class Network:
    """Collects shaped ops in execution order; every method returns the number of the node that it added."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.edges: list[tuple[int, int, int]] = []

    def shape(self, node: int) -> tuple[int, ...]:
        """Output shape of a node, without the batch dimension."""
        return self.ops[node].attrs["shape"]

    def add(self, kind: str, shape: tuple[int, ...], *inputs: int, **attrs: Any) -> int:
        """Any op; the inputs are given in the order of its ports."""
        self.ops.append(Op(kind, {"shape": shape, **attrs}))
        node = len(self.ops) - 1
        self.edges += [(source, node, port) for port, source in enumerate(inputs)]
        return node

    def conv(
        self, x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, bias: int = 0, pad: Any = None
    ) -> int:
        """A convolution; by default an odd kernel is padded so that stride 1 keeps height and width and 2 halves them,
        up."""
        pad = kernel // 2 if pad is None else pad
        return self._windowed("conv", x, channels, kernel=kernel, stride=stride, pad=pad, groups=groups, bias=bias)

    def pool(self, kind: str, x: int, kernel: int, stride: int, pad: Any = 0) -> int:
        """`max_pool` or `avg_pool`."""
        return self._windowed(kind, x, self.shape(x)[0], kernel=kernel, stride=stride, pad=pad)

    def _windowed(self, kind: str, x: int, channels: int, **attrs: Any) -> int:
        height, width = window(Op(kind, attrs), self.shape(x))
        return self.add(kind, (channels, height, width), x, **attrs)

    def concat(self, *inputs: int) -> int:
        """Along the channels."""
        _, height, width = self.shape(inputs[0])
        return self.add("concat", (sum(self.shape(x)[0] for x in inputs), height, width), *inputs)

    def pointwise(self, kind: str, *inputs: int, **attrs: Any) -> int:
        """An op whose output has the shape of its first input."""
        return self.add(kind, self.shape(inputs[0]), *inputs, **attrs)

    def conv_bn(
        self,
        x: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: str | None = None,
        pad: Any = None,
    ) -> int:
        """A convolution, batch norm, and an activation if one is named."""
        x = self.pointwise("bn", self.conv(x, channels, kernel, stride, groups, pad=pad))
        return x if act is None else self.pointwise(act, x)

    def finish(self, space: str, key: str, output: int | None = None) -> Architecture:
        """The whole, or what was added up to a node that is to be the output."""
        end = len(self.ops) if output is None else output + 1
        return Architecture(space, key, tuple(self.ops[:end]), tuple(edge for edge in self.edges if edge[1] < end))


def same(shape: tuple[int, ...], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's padding "same" of a (channels, height, width) input: outputs are sides / stride, rounded up, and an
    odd row or column comes last."""
    rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in shape[1:])
    return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2


def chain_graph(kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kinds [A, N + 2] and adjacency [A, N + 2, N + 2] of chains from input (kind 0) through N blocks to output (1)."""
    a, n = len(kinds), kinds.shape[1] + 2
    nodes = np.concatenate([np.zeros((a, 1), int), kinds, np.ones((a, 1), int)], axis=1)
    return nodes, np.broadcast_to(np.eye(n, k=1, dtype=bool), (a, n, n))


class Chain(Space):
    """A space whose architectures are chains of blocks."""

    def connected(self, archs: Architectures) -> np.ndarray:
        """Always: a chain has no dead ends."""
        return np.ones(len(archs), dtype=bool)

    def architecture(self, decisions: np.ndarray) -> Architecture:
        archs = Architectures(self, decisions[None])
        (kinds,), _ = self.graph(archs)
        edges = tuple((node, node + 1, 0) for node in range(len(kinds) - 1))
        return Architecture(str(self), archs.keys[0], tuple(Op(self.kinds[kind]) for kind in kinds), edges)


def block_totals(shape: tuple[int, ...], build: Callable[[Network, int], int]) -> np.ndarray:
    """Totals [6] (the order of `analysis.totals`) of what `build` puts behind a tensor.

    The peak counts that tensor for as long as the block needs it, and what the block gives.
    """
    net = Network()
    build(net, net.add("input", shape))
    return np.array(list(totals(net.finish("", "")).values()))


def chain_totals(blocks: np.ndarray) -> pd.DataFrame:
    """Totals of chains of blocks, from those of the blocks [A, blocks, 6].

    Only one tensor lives between two blocks, so the chain's peak is the largest of theirs; all else adds up.
    """
    import pandas as pd

    table = pd.DataFrame(blocks.sum(1), columns=list(TOTALS))
    return table.assign(peak_bytes=blocks[:, :, TOTALS.index("peak_bytes")].max(1))
