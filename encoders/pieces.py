"""Networks as graphs of the pieces that runtimes run one after another, of any number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.networks.activations import CHEAP, SMOOTH, STEPPED
from datasets.networks.collection import OfNetworks
from datasets.networks.network import Network
from datasets.networks.ops import ITEM, VIEWS, macs, pair, param_bytes, tensor_bytes
from datasets.networks.parts import entries
from datasets.records import Architectures, Networks, Space
from encoders.base import SparseGraphEncoder, SparseGraphs
from encoders.kinds import GROUPS, group_of

KINDS = GROUPS
"""Kinds of pieces."""
QUANTITIES = ("macs", "moved")
"""Quantities that the time of a piece follows: multiply-accumulates, and bytes read (weights too) and written."""
NUMBERS = ("read", "written", "weights", "window", "stride", "groups", "channels_in", "channels_out", "positions",
           "cheap", "stepped", "smooth", "side", "inputs", "waste_in", "waste_out")  # fmt: skip
"""Further numbers of a piece: bytes of activations read and written, and of weights; elements of its window and of one
stride, groups, channels, positions of its output; elements that pass activations of each cost; the shorter side of its
window and the number of tensors that it reads; shares by which `LANES` pad its channels."""
LANES = 16
"""Numbers that an instruction of a processor takes at once (512 bits of fp32)."""
FEATURES = len(QUANTITIES) + len(NUMBERS) + 2 + len(KINDS)
"""Number of features of a piece."""


@dataclass
class PieceGraph(SparseGraphEncoder):
    """Graphs whose nodes are pieces of networks: ops with the batch norms and activations that are folded into them.

    Ops that only change a shape are no nodes: an edge leads over them. Features of a node are logarithms (base two, of
    1 + the number) of `QUANTITIES` and `NUMBERS`, that of its intensity, whether it has a batch norm, and its kind
    one-hot, for the batch that the network fixes, else for one sample.

    Attributes:
        context: edges between nodes; without, a network is the set of its pieces.
    """

    context: bool = True

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls()]

    def num_features(self, space: Space) -> int:
        return FEATURES

    def __call__(self, archs: Architectures) -> SparseGraphs:
        nodes, edges, sizes = [np.zeros((0, FEATURES))], [np.zeros((0, 2))], list[int]()
        for features, pairs in _KNOWN.get(Networks.of(archs).networks, lambda new: map(_graph, new)):
            nodes.append(features)
            edges.append(pairs + sum(sizes))
            sizes.append(len(features))
        graph = np.repeat(np.arange(len(sizes)), sizes)[:, None]
        parts = (np.concatenate(nodes), np.concatenate(edges)[: None if self.context else 0], graph, np.c_[sizes])
        return SparseGraphs(*(part.astype(np.float32) for part in parts))


_KNOWN = OfNetworks()
"""Features and edges of networks: the same ones are encoded for every fit and fold."""


def groups(network: Network) -> list[list[int]]:
    """Ops of each node of a network's graph: those that runtimes run as one, without ops that only change a shape."""
    return [group for group in entries(network) if len(group) > 1 or network.ops[group[0]].kind not in VIEWS]


def _graph(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, F] and edges [e, 2] of a network."""
    sources = network.sources()
    node_of, rows, edges = dict[int, int](), list[tuple[float, ...]](), set[tuple[int, int]]()

    def producer(op: int) -> int | None:
        """Node that computes an op's output; None where it is an input or a constant."""
        while op not in node_of and sources[op] and network.ops[op].kind in (ITEM, *VIEWS):
            op = sources[op][0]
        return node_of.get(op)

    for group in groups(network):
        read = [op for node in group for op in sources[node] if op not in group]
        edges |= {(found, len(rows)) for op in read if (found := producer(op)) is not None}
        node_of |= dict.fromkeys(group, len(rows))
        rows.append(_numbers(network, sources, group, read))
    table = np.reshape(np.array(rows, float), (-1, len(QUANTITIES) + len(NUMBERS) + 2))
    logs, norm, kind = np.log2(1 + table[:, :-2]), table[:, -2:-1], table[:, -1].astype(int)
    features = np.concatenate([logs, logs[:, :1] - logs[:, 1:2], norm, np.eye(len(KINDS))[kind]], axis=1)
    return features.astype(np.float32), np.reshape(sorted(edges), (-1, 2)).astype(np.int64)


def _numbers(
    network: Network, sources: Sequence[Sequence[int]], group: list[int], read: list[int]
) -> tuple[float, ...]:
    """`QUANTITIES` and `NUMBERS` of a piece, whether it has a batch norm, and the position of its kind."""
    ops, batch = [network.ops[node] for node in group], network.batch or 1
    head, shape = ops[0], network.shape(sources[group[0]][0]) if sources[group[0]] else ()
    times = head.attrs.get("times", 1)
    shapes = [shape, *(op.attrs["shape"] for op in ops)]
    samples = [op.attrs.get("times", 1) * (1 if op.attrs.get("whole") else batch) for op in ops]
    work = sum(n * macs(op, before) for n, op, before in zip(samples, ops, shapes, strict=False))
    weights = sum(param_bytes(op, before) for op, before in zip(ops, shapes, strict=False))
    taken = times * head.attrs.get("read_bytes", sum(tensor_bytes(network.ops[op], batch) for op in read))
    written = times * tensor_bytes(ops[-1], batch)
    moved = taken + written + weights
    elements = [
        sum(math.prod(op.attrs["shape"]) for op in ops if op.kind in kinds) for kinds in (CHEAP, STEPPED, SMOOTH)
    ]
    window, stride = (pair(head.attrs.get(name, 1)) for name in ("kernel", "stride"))
    channels_in, channels_out = _channels(shape), _channels(head.attrs["shape"])
    numbers = (work, moved, taken, written, weights, math.prod(window), math.prod(stride), head.attrs.get("groups", 1),
               channels_in, channels_out, math.prod(head.attrs["shape"]) / max(channels_out, 1),
               *(batch * n for n in elements), min(window), len(read), *(-(-n // LANES) * LANES / max(n, 1) - 1
               for n in (channels_in, channels_out)))  # fmt: skip
    return *numbers, any(op.kind == "bn" for op in ops), KINDS.index(group_of(head, shape))


def _channels(shape: tuple[int, ...]) -> int:
    """Channels of an image, else the size of the last axis."""
    return (shape[0] if len(shape) == 3 else shape[-1]) if shape else 1
