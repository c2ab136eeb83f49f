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
from datasets.networks.ops import ITEM, VIEWS, macs, pair, param_bytes, taps, tensor_bytes
from datasets.networks.parts import entries
from datasets.records import Architectures, Networks, Op, Space
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
PADDING = ("skipped", "blocked")
"""Numbers of a piece's padding: elements of its window for each that lies on the image, and whether it `converts`."""
LANES = 16
"""Numbers that an instruction of a processor takes at once (512 bits of fp32)."""
BLOCK = 8
"""Channels of a block of onnxruntime's on processors without AVX-512."""
ALIGNED = 4
"""Number of channels that onnxruntime's copies into blocks of channels require a multiple of."""
FEATURES = len(QUANTITIES) + len(NUMBERS) + 2 + len(KINDS)
"""Number of features of a piece, without those of `PADDING`."""


@dataclass
class PieceGraph(SparseGraphEncoder):
    """Graphs whose nodes are pieces of networks: ops with the batch norms and activations that are folded into them.

    Ops that only change a shape are no nodes: an edge leads over them. Features of a node are logarithms (base two, of
    1 + the number) of `QUANTITIES` and `NUMBERS`, that of its intensity, whether it has a batch norm, and its kind
    one-hot, for the batch that the network fixes, else for one sample.

    Attributes:
        context: edges between nodes; without, a network is the set of its pieces.
        padding: features also say how much of a window lies on the padding and whether onnxruntime skips that: for
            layers of any sizes; the windows of the networks that were measured lie on the image.
    """

    context: bool = True
    padding: bool = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(padding=True)]

    def num_features(self, space: Space) -> int:
        return FEATURES + (len(PADDING) if self.padding else 0)

    def __call__(self, archs: Architectures) -> SparseGraphs:
        nodes, edges, sizes = [np.zeros((0, FEATURES + len(PADDING)))], [np.zeros((0, 2))], list[int]()
        for each, pairs in _KNOWN.get(Networks.of(archs).networks, lambda new: map(_graph, new)):
            nodes.append(each)
            edges.append(pairs + sum(sizes))
            sizes.append(len(each))
        graph = np.repeat(np.arange(len(sizes)), sizes)[:, None]
        features = np.concatenate(nodes)
        if not self.padding:
            features = np.delete(features, np.s_[_AT : _AT + len(PADDING)], axis=1)
        parts = (features, np.concatenate(edges)[: None if self.context else 0], graph, np.c_[sizes])
        return SparseGraphs(*(part.astype(np.float32) for part in parts))


_AT = len(QUANTITIES) + len(NUMBERS)
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
    table = np.reshape(np.array(rows, float), (-1, _AT + len(PADDING) + 2))
    logs, norm, kind = np.log2(1 + table[:, :-2]), table[:, -2:-1], table[:, -1].astype(int)
    features = np.concatenate([logs, logs[:, :1] - logs[:, 1:2], norm, np.eye(len(KINDS))[kind]], axis=1)
    return features.astype(np.float32), np.reshape(sorted(edges), (-1, 2)).astype(np.int64)


def _numbers(
    network: Network, sources: Sequence[Sequence[int]], group: list[int], read: list[int]
) -> tuple[float, ...]:
    """`QUANTITIES`, `NUMBERS` and `PADDING` of a piece, whether it has a batch norm, and the position of its kind."""
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
               for n in (channels_in, channels_out)), math.prod(window) / max(taps(head, shape), 1),
               converts(head, shape))  # fmt: skip
    return *numbers, any(op.kind == "bn" for op in ops), KINDS.index(group_of(head, shape))


def _channels(shape: tuple[int, ...]) -> int:
    """Channels of an image, else the size of the last axis."""
    return (shape[0] if len(shape) == 3 else shape[-1]) if shape else 1


def converts(op: Op, shape: tuple[int, ...], block: int = BLOCK) -> bool:
    """Whether onnxruntime always runs an op of an input of this shape on channels in blocks, and skips its padding.

    Args:
        op: of any kind.
        shape: of its input, without the batch.
        block: channels of a block: 16 on processors with AVX-512, 8 on others.
    """
    if len(shape) != 3 or op.kind not in ("conv", "max_pool", "avg_pool", "global_avg_pool"):
        return False
    channels, groups, out = shape[0], op.attrs.get("groups", 1), op.attrs["shape"][0]
    if groups == 1:
        return channels % ALIGNED == 0 or (op.kind == "conv" and channels < block)
    if groups == channels == out:
        return channels % ALIGNED == 0
    return channels // groups % block == 0 and out // groups % block == 0
