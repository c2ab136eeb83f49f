"""Single operations as vectors: a part of a network, or the network of a point of a space of operations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.networks.network import Network
from datasets.networks.ops import ITEM, VIEWS, macs, pair, params, tensor_bytes
from datasets.records import Architectures, Networks, Op, Space
from encoders.base import VectorEncoder

_IDLE = ("input", "zero", ITEM, *VIEWS)
"""Ops that compute nothing."""
_BLOCKS = (8, 16)
"""Numbers of floats per vector of CPU kernels."""


@dataclass
class OperationFeatures(VectorEncoder):
    """Logarithms of the sizes and the work of an operation, and the numbers of its ops by kind.

    Sizes are those of the op with the most multiply-accumulates, else of the first one: the last three sides of its two
    inputs and of its output, their remainders by vectors of kernels, its window. Work is that of all ops: elements read
    from outside, written and kept between ops, parameters, multiply-accumulates. Views (reshapes) have no features.

    Attributes:
        kinds: kinds of ops that are counted.
    """

    kinds: tuple[str, ...] = ()

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(("conv", "relu", "dense")), cls()]

    def num_features(self, space: Space) -> int:
        return 38 + len(self.kinds)

    def __call__(self, archs: Architectures) -> np.ndarray:
        rows = [self._row(network) for network in Networks.of(archs)]
        return np.array(rows, np.float32).reshape(len(rows), self.num_features(archs.space))

    def _row(self, network: Network) -> list[float]:
        """Features of one operation."""
        direct, batch = network.sources(), network.batch or 1
        sources = [[_root(source, network, direct) for source in each] for each in direct]
        nodes = working(network)
        ops, own = network.ops, set(nodes)
        ends = {_root(port.node, network, direct) for port in network.outputs}
        inner = {source for node in nodes for source in sources[node] if source in own}
        outside = {source for node in nodes for source in sources[node] if source not in own}
        work = {node: macs(ops[node], network.shape(direct[node][0])) for node in nodes}
        main = max(nodes, key=lambda node: work[node], default=len(ops) - 1)
        a, read = ops[main].attrs, [ops[node] for node in direct[main]]
        x, y = read[0] if read else ops[main], read[1] if len(read) > 1 else None
        samples = 1 if a.get("whole") else batch
        moved = [sum(tensor_bytes(ops[node], batch) for node in each)
                 for each in (outside, own - inner | own & ends, inner)]  # fmt: skip
        held = sum(params(ops[node], network.shape(direct[node][0])) for node in nodes)
        total = samples * sum(work.values())
        taken = samples * a["read_bytes"] if "read_bytes" in a else moved[0]
        sizes = [
            *(batch, held, total, *moved, taken, sum(moved) + 4 * held),
            *(_elements(op, batch) for op in (x, y, ops[main])),
            *(side for op in (x, y, ops[main]) for side in _sides(op)),
            *(math.prod(pair(a.get(name, 1))) for name in ("kernel", "stride", "dilation")),
            a.get("groups", 1),
            total / max(_elements(ops[main], batch), 1),
        ]
        found = [math.log(max(size, 0.5)) for size in sizes]
        found += [side % block for op in (x, ops[main]) for side in _sides(op)[::2] for block in _BLOCKS]
        found += [len(nodes), len(outside), len(own - inner | own & ends), len(x.attrs["shape"])]
        found += [_sides(x)[2] == _sides(ops[main])[2]]
        return found + [sum(ops[node].kind == kind for node in nodes) for kind in self.kinds]


def working(network: Network) -> list[int]:
    """Nodes of the ops that compute something."""
    return [node for node, op in enumerate(network.ops) if op.kind not in _IDLE]


def _root(node: int, network: Network, sources: list[list[int]]) -> int:
    """The op that computes what a view, or a further output, shows."""
    while network.ops[node].kind in (ITEM, *VIEWS) and sources[node]:
        node = sources[node][0]
    return node


def _elements(op: Op | None, batch: int) -> int:
    if op is None:
        return 0
    return math.prod(op.attrs["shape"]) * (1 if op.attrs.get("whole") else batch)


def _sides(op: Op | None) -> tuple[int, int, int]:
    """The last three sides of a sample, with ones before them; zeros for no op."""
    if op is None:
        return 0, 0, 0
    first, second, third = (1, 1, 1, *op.attrs["shape"])[-3:]
    return first, second, third
