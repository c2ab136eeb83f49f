"""NAS-Bench-201: cells of four nodes with one of five ops on each of six edges.

The space is of "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search" (Dong and Yang, ICLR
2020), and so is the network: a 3x3 stem, three stages of `cells` cells (C, 2C, 4C channels) with a residual block of
stride 2 between stages, batch norm, global pooling and a classifier. An op `none` contributes no term to its node's
sum; a node without terms is a constant zero. Dead branches, which do not reach the output, are part of the network, as
in the published counts of parameters and FLOPs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.architectures import texts
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.memory import alive
from datasets.networks.network import Network
from datasets.networks.ops import BYTES
from datasets.records import Architecture, Architectures, InputError, Op, Space

if TYPE_CHECKING:
    import pandas as pd

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of each decision, in the order of the architecture's text."""
_NONE, _SKIP, _CONV1, _CONV3, _POOL = range(5)
_KEY = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


@dataclass(frozen=True)
class NasBench201(Space):
    """All 15,625 cells in one skeleton.

    Attributes:
        channels: channels of the first stage.
        cells: cells per stage (N in the paper).
        image: height and width of the RGB input.
        classes: number of classes.
    """

    channels: int = 16
    cells: int = 5
    image: int = 32
    classes: int = 10

    num_choices: ClassVar[tuple[int, ...]] = (len(OPS),) * len(EDGES)
    kinds: ClassVar[tuple[str, ...]] = ("input", "output", *OPS)

    def __post_init__(self) -> None:
        if self.image < 4 or min(self.channels, self.cells, self.classes) < 1:
            raise InputError(f"{self} is no skeleton; give it an image of at least 4 and at least one of all others.")

    def __str__(self) -> str:
        return f"nasbench201(channels={self.channels},cells={self.cells},image={self.image},classes={self.classes})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        packed = b"".join([_parse(key) for key in texts(keys)])
        return Architectures(self, np.frombuffer(packed, np.int8).reshape(-1, 6))

    def format(self, archs: Architectures) -> list[str]:
        template = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
        return [template.format(*(OPS[op] for op in row)) for row in archs.decisions.tolist()]

    def architecture(self, decisions: np.ndarray) -> Architecture:
        (key,) = self.format(Architectures(self, decisions[None]))
        kinds, adjacency = self.graph(Architectures(self, decisions[None]))
        # The output has position 1 in `graph`; an Architecture is in topological order, so it is last here.
        order = [0, 2, 3, 4, 5, 6, 7, 1]
        edges = []
        for target in range(8):
            sources = [s for s in range(8) if adjacency[0, order[s], order[target]]]
            edges += [(source, target, port) for port, source in enumerate(sources)]
        return Architecture(str(self), key, tuple(Op(self.kinds[kinds[0, i]]) for i in order), tuple(edges))

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Eight nodes: input, output, then the six edge ops in the order of the architecture's text."""
        a = len(archs)
        kinds = np.concatenate([np.tile(np.array([0, 1], np.int8), (a, 1)), archs.decisions + 2], axis=1)
        return kinds, np.broadcast_to(_LINE_GRAPH, (a, 8, 8))

    def canonical(self, archs: Architectures) -> list[str]:
        """Text of a cell's function without zero terms, recursively, and with skipped sums merged into their target
        (4,930 classes, each a union of the benchmark's 6,466); cells without a path are `#`."""
        return [_canonical(tuple(row)) for row in archs.decisions.tolist()]

    def connected(self, archs: Architectures) -> np.ndarray:
        """Whether there is a path from input to output [A]: 15,284 of the 15,625 cells."""
        return np.array([key != "#" for key in self.canonical(archs)])

    def live(self, archs: Architectures) -> Architectures:
        none = OPS.index("none")
        used = archs.decisions != none
        below, above = np.zeros((2, 4, len(archs)), bool)
        below[0], above[3] = True, True
        for edge, (source, end) in enumerate(EDGES):  # by their ends
            below[end] |= below[source] & used[:, edge]
        for edge, (source, end) in sorted(enumerate(EDGES), key=lambda item: -item[1][0]):
            above[source] |= above[end] & used[:, edge]
        kept = [used[:, edge] & below[source] & above[end] for edge, (source, end) in enumerate(EDGES)]
        return Architectures(self, np.where(np.stack(kept, axis=1), archs.decisions, none))

    def expand(self, arch: Architecture) -> Network:
        net = NetworkBuilder()
        ops = _parse(arch.key)
        c, side = self.channels, self.image
        x = net.add("input", (3, side, side))
        x = net.conv_bn(x, c, 3)
        for stage in range(3):
            if stage:
                x = _residual_block(net, x, 2 * c)
                c *= 2
            for _ in range(self.cells):
                x = _cell(net, x, ops)
        x = net.pointwise("relu", net.pointwise("bn", x))
        x = net.add("global_avg_pool", (c,), x)
        net.add("dense", (self.classes,), x)
        return net.finish(str(self), arch.key)

    def block(self, arch: Architecture) -> Network:
        """The first cell, up to its output.

        Raises:
            InputError: the cell's output is its input.
        """
        net = NetworkBuilder()
        out = _cell(net, net.add("input", (self.channels, self.image, self.image)), _parse(arch.key))
        if out == 0:
            raise InputError(f"The cell '{arch.key}' passes its input on, so alone it is no network; choose another.")
        return net.finish(str(self), arch.key, out)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, vectorised: counts are sums over ops; the peak is computed once per pattern of liveness (4^6)."""
        import pandas as pd

        skeleton, ops, add = _parts(self)
        adds = _num_adds(archs.decisions)
        table = {
            name: skeleton[name] + ops[name][archs.decisions].sum(1) + adds * add[name]
            for name in ("macs", "flops", "params", "moved_bytes", "kernels")
        }
        pattern = np.array([0, 1, 2, 2, 3])[archs.decisions] @ (4 ** np.arange(5, -1, -1))
        for each in np.unique(pattern[_PEAK_TENSORS[pattern] == 0]).tolist():
            _PEAK_TENSORS[each] = _peak_tensors(each)
        cell = _PEAK_TENSORS[pattern] * BYTES * self.channels * self.image**2
        table["peak_bytes"] = np.maximum(cell, skeleton["peak_bytes"])
        return pd.DataFrame(table)[list(skeleton)]


def _relu_conv_bn(net: NetworkBuilder, x: int, channels: int, kernel: int, stride: int = 1) -> int:
    return net.conv_bn(net.pointwise("relu", x), channels, kernel, stride)


def _residual_block(net: NetworkBuilder, x: int, channels: int) -> int:
    c, height, width = net.shape(x)
    main = _relu_conv_bn(net, _relu_conv_bn(net, x, channels, 3, stride=2), channels, 3)
    pooled = net.add("avg_pool", (c, height // 2, width // 2), x, kernel=2, stride=2, pad=0)
    return net.pointwise("add", net.conv(pooled, channels, 1), main)


def _cell(net: NetworkBuilder, x: int, ops: Sequence[int]) -> int:
    """Append a cell; sums have two terms each, since mobile GPUs run no others (LETI)."""
    shape, nodes = net.shape(x), [x]
    for target in (1, 2, 3):
        total: int | None = None
        for (source, end), op in zip(EDGES, ops, strict=True):
            if end != target or op == _NONE:
                continue
            term = nodes[source]
            if op == _POOL:
                term = net.add("avg_pool", shape, term, kernel=3, stride=1, pad=1)
            elif op != _SKIP:
                term = _relu_conv_bn(net, term, shape[0], 3 if op == _CONV3 else 1)
            total = term if total is None else net.pointwise("add", total, term)
        nodes.append(net.add("zero", shape) if total is None else total)
    return nodes[3]


_NODE_OPS = [
    {f"|{'|'.join(f'{OPS[op]}~{source}' for source, op in enumerate(ops))}|": bytes(ops)
     for ops in product(range(len(OPS)), repeat=node)}
    for node in (1, 2, 3)
]  # fmt: skip
"""Decisions on the edges into nodes 1, 2 and 3, one a byte, by their text."""


def _parse(key: str) -> bytes:
    """The six decisions of a text."""
    try:
        first, second, third = key.split("+")
        return _NODE_OPS[0][first] + _NODE_OPS[1][second] + _NODE_OPS[2][third]
    except (ValueError, KeyError):
        raise InputError(_fault(key)) from None


def _fault(key: str) -> str:
    """Why a text is no cell's."""
    if match := _KEY.fullmatch(key):
        unknown = next(op for op in match.groups() if op not in OPS)
        return f"'{unknown}' in '{key}' is not an op of NAS-Bench-201; its ops are {', '.join(OPS)}."
    return (
        f"'{key}' is not a NAS-Bench-201 cell; write one like |nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|"
        "+|skip_connect~0|none~1|avg_pool_3x3~2|."
    )


@cache
def _canonical(ops: tuple[int, ...]) -> str:
    nodes = [["0"]]  # a node is the sorted list of its terms; without terms it is zero
    for target in (1, 2, 3):
        terms = []
        for (source, end), op in zip(EDGES, ops, strict=True):
            if end != target or op == _NONE or not nodes[source]:
                continue
            terms += nodes[source] if op == _SKIP else [f"({'+'.join(nodes[source])})@{OPS[op]}"]
        nodes.append(sorted(terms))
    return "+".join(nodes[3]) or "#"


def _line_graph() -> np.ndarray:
    """Adjacency [8, 8] of edge ops: from the input to ops that leave node 0, and from ops to ops that follow them."""
    adjacency = np.zeros((8, 8), dtype=bool)
    for i, (source, target) in enumerate(EDGES):
        adjacency[0, 2 + i] = source == 0
        adjacency[2 + i, 1] = target == 3
        for j, (start, _) in enumerate(EDGES):
            adjacency[2 + i, 2 + j] = target == start
    return adjacency


_LINE_GRAPH = _line_graph()


def _num_adds(decisions: np.ndarray) -> np.ndarray:
    """Two-operand additions of one cell [A]."""
    terms = decisions != _NONE
    return sum(
        np.maximum(terms[:, [e for e, (_, end) in enumerate(EDGES) if end == t]].sum(1) - 1, 0) for t in (1, 2, 3)
    )


@cache
def _parts(space: NasBench201) -> tuple[dict[str, int], dict[str, np.ndarray], dict[str, int]]:
    """Totals of the skeleton, of each op on one edge [5], and of one addition, in all cells of all stages."""

    def whole(*ops: int) -> dict[str, int]:
        return totals(space.expand(space.architecture(np.array(ops, dtype=np.int8))))

    none = whole(*[_NONE] * 6)
    single = [whole(_NONE, _NONE, _NONE, op, _NONE, _NONE) for op in range(5)]
    two = whole(_NONE, _NONE, _NONE, _POOL, _POOL, _NONE)
    ops = {name: np.array([counts[name] - none[name] for counts in single]) for name in none}
    add = {name: two[name] - 2 * single[_POOL][name] + none[name] for name in none}
    return none, ops, add


_PEAK_TENSORS = np.zeros(4**6, dtype=np.int64)
"""Peak number of tensors alive in a cell, per pattern of none, skip, conv and pool; 0 until it is needed."""


def _peak_tensors(pattern: int) -> int:
    tensor, net = (1, 1, 1), NetworkBuilder()
    ops = [(_NONE, _SKIP, _CONV1, _POOL)[pattern >> (2 * e) & 3] for e in range(5, -1, -1)]
    out = _cell(net, net.add("input", tensor), ops)
    net.add("output", tensor, out)  # keeps the cell's output alive; the copy itself is not counted
    return max(alive(net.finish("", ""))) // BYTES
