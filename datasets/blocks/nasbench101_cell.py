"""One cell of NAS-Bench-101 as ops with shapes, and its totals as sums over vertices for any ops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, partial, reduce
from typing import NamedTuple

import numpy as np

from datasets.blocks.chain import block_totals
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.memory import alive
from datasets.networks.ops import BYTES

CONV3, CONV1, POOL = 1, 2, 3
"""Numbers of the ops; 0 is an unused vertex."""


def cell(net: NetworkBuilder, x: int, channels: int, sources: Sequence[Sequence[int]], ops: Sequence[int]) -> int:
    """Append a cell to `x`; sums have two terms each, since mobile GPUs run no others (LETI)."""
    nodes = [x]

    def project(width: int) -> int:
        return net.conv_bn(x, width, 1, act="relu")

    def terms(reads: Sequence[int], width: int) -> Iterator[int]:
        for vertex in filter(None, reads):
            _, *sides = net.shape(nodes[vertex])
            wider = net.shape(nodes[vertex])[0] > width
            yield net.add("truncate", (width, *sides), nodes[vertex]) if wider else nodes[vertex]
        if 0 in reads:
            yield project(width)

    *inner, last = sources
    for reads, width, kind in zip(inner, _widths(sources, channels), ops, strict=False):
        y = reduce(partial(net.pointwise, "add"), terms(reads, width))
        nodes.append(op(net, y, kind, width))
    outputs = [nodes[vertex] for vertex in last if vertex]
    if not outputs:
        return project(channels)
    y = outputs[0] if len(outputs) == 1 else net.concat(*outputs)
    return net.pointwise("add", y, project(channels)) if 0 in last else y


def op(net: NetworkBuilder, x: int, kind: int, width: int) -> int:
    if kind == POOL:
        return net.pool("max_pool", x, 3, 1, 1)
    return net.conv_bn(x, width, 3 if kind == CONV3 else 1, act="relu")


def _widths(sources: Sequence[Sequence[int]], channels: int) -> list[int]:
    """Number of channels of the vertices between input and output."""
    *inner, last = sources
    outputs = [vertex for vertex in last if vertex]
    share, rest = divmod(channels, max(1, len(outputs)))
    widths = {vertex: share + (i < rest) for i, vertex in enumerate(outputs)}
    for vertex in range(len(inner), 0, -1):
        if vertex not in widths:
            widths[vertex] = max(widths[reader] for reader in range(vertex + 1, len(inner) + 1)
                                 if vertex in sources[reader - 1])  # fmt: skip
    return [widths[vertex] for vertex in range(1, len(inner) + 1)]


class CellParts(NamedTuple):
    """Totals of cells, in the order of `analysis.totals`, as sums over vertices.

    Attributes:
        pools: totals of the cell with pools at all vertices [6].
        more: differences by each op at each vertex [5, 4, 6]; zero for the peak.
        conv_peak: bytes alive while batch norm and ReLU of a vertex run, where its input is needed later too [5]; 0
            elsewhere, since then they need no more than a pool.
    """

    pools: np.ndarray
    more: np.ndarray
    conv_peak: np.ndarray


def cell_parts(shape: tuple[int, ...], channels: int, sources: Sequence[Sequence[int]]) -> CellParts:
    """The parts of a cell whose input has a shape."""
    net = NetworkBuilder()
    cell(net, net.add("input", shape), channels, sources, [POOL] * 5)
    network = net.finish("", "")
    held = alive(network)
    more, conv_peak = np.zeros((5, 4, len(TOTALS)), np.int64), np.zeros(5, np.int64)
    for vertex, node in enumerate(node for node, op in enumerate(net.ops) if op.kind == "max_pool"):
        more[vertex] = _more_than_a_pool(net.shape(node))
        (read,) = network.sources()[node]
        if any(source == read and target > node for source, target, _ in net.edges):
            conv_peak[vertex] = held[node] + BYTES * math.prod(net.shape(node))
    return CellParts(np.array(list(totals(network).values())), more, conv_peak)


@cache
def _more_than_a_pool(shape: tuple[int, ...]) -> np.ndarray:
    """Differences of totals [4, 6] of each op to a pool."""
    ops = [block_totals(shape, partial(op, kind=kind, width=shape[0])) for kind in (POOL, CONV3, CONV1, POOL)]
    more = np.array(ops) - ops[0]
    more[:, TOTALS.index("peak_bytes")] = 0
    return more
