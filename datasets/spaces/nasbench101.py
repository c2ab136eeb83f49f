"""NAS-Bench-101: cells of up to seven vertices and nine edges, with one of three ops per vertex.

The space is of "NAS-Bench-101: Towards Reproducible Neural Architecture Search" (Ying et al., ICML 2019), and so is the
network: a 3x3 stem, three stacks of three cells, a 2x2 max pool and twice the channels between stacks,
global pooling and a classifier. In a cell, sources of the output are concatenated and share its
channels, the first ones with one more where the division has a remainder; any other vertex is as wide as the widest of
its targets. A vertex is the sum of its sources: of other vertices the first channels, of the input a 1x1 projection. A
projected input is added to the output too. Batch norm and ReLU follow each convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.architectures import texts
from datasets.blocks import dags
from datasets.blocks.chain import block_totals
from datasets.blocks.nasbench101_cell import CONV1, CONV3, CellParts, cell, cell_parts
from datasets.blocks.nasbench101_text import (
    BITS,
    INNER,
    OPS,
    edges_text,
    ops_text,
    parse_cell,
    sources_of,
    to_decisions,
    to_numbers,
)
from datasets.networks.analysis import TOTALS
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError, Op, Space

if TYPE_CHECKING:
    import pandas as pd

_PEAK = TOTALS.index("peak_bytes")
_OUT = dags.VERTICES - 1


@dataclass(frozen=True)
class NasBench101(Space):
    """All cells with all vertices on paths from input to output, in one skeleton: 423,624 and their isomorphs.

    The 26 decisions are the bits of the upper triangle of the adjacency matrix, column by column, and the ops of the
    five vertices between input and output. They depend on each other: `Architectures` refuses invalid ones.

    Attributes:
        channels: channels of the stem and the first stack; at least five, since five vertices may be sources of the
            output.
        stacks: number of stacks of cells, each with twice the channels and half the height and width of the previous
            one.
        cells: cells per stack.
        image: height and width of the RGB input.
        classes: number of classes.
    """

    channels: int = 128
    stacks: int = 3
    cells: int = 3
    image: int = 32
    classes: int = 10

    num_choices: ClassVar[tuple[int, ...]] = (2,) * BITS + (1 + len(OPS),) * INNER
    kinds: ClassVar[tuple[str, ...]] = ("input", "output", *OPS, "none")

    def __post_init__(self) -> None:
        if self.channels < INNER or min(self.stacks, self.cells, self.image, self.classes) < 1:
            raise InputError(f"{self} is no skeleton; give it {INNER} channels and at least one of all others.")

    def __str__(self) -> str:
        return (
            f"nasbench101(channels={self.channels},stacks={self.stacks},cells={self.cells},image={self.image},"
            f"classes={self.classes})"
        )

    def valid(self, decisions: np.ndarray) -> np.ndarray:
        matrices, ops = to_numbers(decisions)
        used = np.arange(INNER) < dags.size(matrices)[:, None] - 2
        return dags.valid(matrices) & ((ops > 0) == used).all(1)

    def repair(self, decisions: np.ndarray) -> np.ndarray:
        """Valid decisions without vertices that have no op or lie on no path, and without the last edges beyond
        nine."""
        matrices, ops = to_numbers(decisions)
        return self.from_squares(
            dags.repaired(edges, row) for edges, row in zip(dags.adjacency(matrices), ops, strict=True)
        )

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read texts such as `conv3x3+maxpool3x3:0.01.2`: vertex 1 is a convolution of vertex 0, the input; vertex 2
        pools the sum of both; the output, which is last, is vertex 2."""
        cells = [parse_cell(key) for key in texts(keys)]
        matrices = np.array([matrix for matrix, _ in cells], np.uint32)
        ops = np.frombuffer(b"".join([ops for _, ops in cells]), np.int8).reshape(-1, INNER)
        decisions = to_decisions(matrices, ops)
        if not (valid := self.valid(decisions)).all():
            raise InputError(
                f"'{keys[int(valid.argmin())]}' is not a NAS-Bench-101 cell; write one of at most {dags.VERTICES} "
                f"vertices and {dags.MAX_EDGES} edges, with all vertices on paths from input to output."
            )
        return Architectures(self, decisions)

    def format(self, archs: Architectures) -> list[str]:
        matrices, ops = to_numbers(archs.decisions)
        labels = (ops @ dags.WEIGHTS).tolist()
        pairs = zip(labels, matrices.tolist(), strict=True)
        return [f"{ops_text(label)}:{edges_text(matrix)}" for label, matrix in pairs]

    def architecture(self, decisions: np.ndarray) -> Architecture:
        """The architecture of used vertices."""
        (key,) = self.format(Architectures(self, decisions[None]))
        (matrix,), (ops,) = to_numbers(decisions[None])
        sources = sources_of(int(matrix))
        kinds = ["input", *(OPS[op - 1] for op in ops if op), "output"]
        edges = [(x, y, port) for y, reads in enumerate(sources, 1) for port, x in enumerate(reads)]
        return Architecture(str(self), key, tuple(Op(kind) for kind in kinds), tuple(edges))

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Seven nodes: the input, five vertices, of which unused ones are `none`, and the output."""
        bits, ops = np.split(archs.decisions, [BITS], axis=1)
        kinds = np.zeros((len(archs), dags.VERTICES), np.int8)
        kinds[:, 1:_OUT] = np.where(ops > 0, ops + 1, self.kinds.index("none"))
        kinds[:, _OUT] = self.kinds.index("output")
        edges = np.zeros((len(archs), dags.VERTICES, dags.VERTICES), bool)
        edges[:, *dags.ENDS] = bits
        return kinds, edges

    def canonical(self, archs: Architectures) -> list[str]:
        """Key of the isomorphic cell in `all`. The benchmark treats isomorphic cells as equal, though the vertex with
        one more channel, where the division has a remainder, depends on their order."""
        return self.format(Architectures(self, to_decisions(*dags.canonical(*to_numbers(archs.decisions)))))

    def hash(self, archs: Architectures) -> list[str]:
        """The benchmark's hash of each cell, an MD5 that is equal for isomorphic cells."""
        return [digest.decode() for digest in dags.hashes(*to_numbers(archs.decisions)).tolist()]

    def connected(self, archs: Architectures) -> np.ndarray:
        """True for all cells [A]; graphs without a path are invalid."""
        return np.ones(len(archs), dtype=bool)

    def all(self) -> Architectures:
        """The benchmark's 423,624 cells up to isomorphism, in its authors' order: by vertices, then matrix, then
        ops."""
        return Architectures(self, _all_decisions())

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` cells of `all`, uniformly at random (repeats are possible)."""
        every = _all_decisions()
        return Architectures(self, every[rng.integers(len(every), size=n)])

    def from_squares(self, cells: Iterable[tuple[np.ndarray, list[int]]]) -> np.ndarray:
        """Decisions [A, 26] of adjacencies [V, V] and the ops (1, 2, 3) of their inner vertices, valid or not."""
        pairs = [(dags.number(edges), ops + [0] * (INNER - len(ops))) for edges, ops in cells]
        return to_decisions(np.array([matrix for matrix, _ in pairs]), np.array([ops for _, ops in pairs]))

    def neighbours(self, arch: Architectures) -> Architectures:
        """The cells one step (`dags.steps`) from a single cell; steps are symmetric."""
        (matrix,), (ops,) = to_numbers(arch.decisions)
        near = self.from_squares(dags.steps(dags.square(int(matrix)), ops[ops > 0].tolist()))
        near = np.unique(near[self.valid(near)], axis=0)
        return Architectures(self, near)

    def mutate(self, archs: Architectures, rng: np.random.Generator) -> Architectures:
        """One neighbour of each cell, uniformly at random."""
        rows = []
        for i in range(len(archs)):
            near = self.neighbours(archs[i : i + 1]).decisions
            rows.append(near[rng.integers(len(near))])
        return Architectures(self, np.array(rows).reshape(archs.decisions.shape))

    def expand(self, arch: Architecture) -> Network:
        matrix, ops = parse_cell(arch.key)
        sources, net = sources_of(matrix), NetworkBuilder()
        x = self._stem(net, net.add("input", (3, self.image, self.image)))
        for stack in range(self.stacks):
            x = _halve(net, x) if stack else x
            for _ in range(self.cells):
                x = cell(net, x, self.channels << stack, sources, ops)
        self._head(net, x)
        return net.finish(str(self), arch.key)

    def block(self, arch: Architecture) -> Network:
        """The first cell."""
        matrix, ops = parse_cell(arch.key)
        net = NetworkBuilder()
        cell(net, net.add("input", (self.channels, self.image, self.image)), self.channels, sources_of(matrix), ops)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, vectorised: each matrix is expanded once with pools, plus the differences by convolutions per vertex.
        A convolution raises the peak only where its input is needed later."""
        import pandas as pd

        matrices, ops = to_numbers(archs.decisions)
        distinct, which = np.unique(matrices, return_inverse=True)
        if not len(distinct):
            return pd.DataFrame(columns=list(TOTALS), dtype=np.int64)
        parts = [_parts(self, int(matrix)) for matrix in distinct]
        pools, more, conv_peak = (np.array(part) for part in zip(*parts, strict=True))
        table = pools[which]
        for vertex, op in enumerate(ops.T):
            table += more[which, vertex, op]
            peak = np.where((op == CONV3) | (op == CONV1), conv_peak[which, vertex], 0)
            table[:, _PEAK] = np.maximum(table[:, _PEAK], peak)
        return pd.DataFrame(table, columns=list(TOTALS))

    def _stem(self, net: NetworkBuilder, x: int) -> int:
        return net.conv_bn(x, self.channels, 3, act="relu")

    def _head(self, net: NetworkBuilder, x: int) -> int:
        x = net.add("global_avg_pool", net.shape(x)[:1], x)
        return net.add("dense", (self.classes,), x)


def _halve(net: NetworkBuilder, x: int) -> int:
    """A 2x2 max pool that rounds odd sides up (padding `same`)."""
    _, height, width = net.shape(x)
    return net.pool("max_pool", x, 2, 2, (0, 0, height % 2, width % 2))


def _places(space: NasBench101) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Cells by their shapes: input shape, output channels, and number of cells."""
    channels, side = space.channels, space.image
    yield (channels, side, side), channels, space.cells
    for _ in range(1, space.stacks):
        side = -(-side // 2)
        yield (channels, side, side), 2 * channels, 1
        channels *= 2
        yield (channels, side, side), channels, space.cells - 1


@cache
def _ends(space: NasBench101) -> list[np.ndarray]:
    """Totals [6] of each part outside of cells: stem, pools between stacks, head."""
    blocks = [block_totals((3, space.image, space.image), space._stem)]
    side = space.image
    for stack in range(1, space.stacks):
        blocks.append(block_totals((space.channels << stack - 1, side, side), _halve))
        side = -(-side // 2)
    return [*blocks, block_totals((space.channels << space.stacks - 1, side, side), space._head)]


@cache
def _parts(space: NasBench101, matrix: int) -> CellParts:
    """The parts of all cells of a network, with its stem, pools and head."""
    places = [(cell_parts(shape, channels, sources_of(matrix)), count) for shape, channels, count in _places(space)]
    blocks = _ends(space) + [part.pools for part, count in places for _ in range(count)]
    pools = np.sum(blocks, axis=0)
    pools[_PEAK] = max(block[_PEAK] for block in blocks)
    more = np.sum([count * part.more for part, count in places], axis=0)
    return CellParts(pools, more, np.max([part.conv_peak for part, count in places if count], axis=0))


@cache
def _all_decisions() -> np.ndarray:
    return to_decisions(*dags.unique_cells())
