"""NAS-Bench-101's cells as numbers: validity, canonical forms, enumeration and hashes.

A cell is a directed acyclic graph of at most seven vertices and nine edges. Its matrix is one number: bit
x + y (y - 1) / 2 stands for the edge from vertex x to vertex y > x, the order of bits in which the benchmark's
authors enumerated their graphs. Vertex 0 is the input and vertex 6 the output; of the five vertices between them a
smaller cell uses the first ones. An op is 1, 2 or 3, and 0 at an unused vertex.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations, product

import numpy as np

VERTICES = 7
MAX_EDGES = 9
CHOICES = (1, 2, 3)
"""The ops."""
PAIRS = tuple((x, y) for y in range(VERTICES) for x in range(y))
"""(source, target) of each bit of a matrix."""
ENDS = np.array(PAIRS).T
"""Sources and targets of the bits [2, 21]."""
INNER = range(1, VERTICES - 1)
_OUT = VERTICES - 1
_BIT = {pair: bit for bit, pair in enumerate(PAIRS)}
_READS = [sum(1 << bit for bit, (_, y) in enumerate(PAIRS) if y == vertex) for vertex in range(VERTICES)]
_FEEDS = [sum(1 << bit for bit, (x, _) in enumerate(PAIRS) if x == vertex) for vertex in range(VERTICES)]
_NO_MATRIX = np.uint32(1 << len(PAIRS))  # larger than any
_PERMUTATIONS = [(0, *order, _OUT) for order in permutations(INNER)]
"""All renumberings of the inner vertices: vertex v becomes number v of one of these."""
WEIGHTS = 4 ** np.arange(len(INNER) - 1, -1, -1)
"""Weights by which the ops of vertices 1 to 5 become one number, so that labellings can be compared."""


def adjacency(matrices: np.ndarray) -> np.ndarray:
    """Whether there is an edge from x to y [A, 7, 7] in matrices [A]."""
    edges = np.zeros((len(matrices), VERTICES, VERTICES), bool)
    edges[:, *ENDS] = matrices[:, None] >> np.arange(len(PAIRS), dtype=matrices.dtype) & 1
    return edges


def valid(matrices: np.ndarray) -> np.ndarray:
    """Whether all used vertices are the first ones and lie on a path from input to output, with at most `MAX_EDGES`
    edges [A]."""
    reads = [matrices & mask != 0 for mask in _READS]
    feeds = [matrices & mask != 0 for mask in _FEEDS]
    ok = feeds[0] & reads[_OUT] & (np.bitwise_count(matrices) <= MAX_EDGES)
    for vertex in INNER:
        ok &= reads[vertex] == feeds[vertex]  # in an acyclic graph, an edge in and one out at every vertex are enough
        ok &= reads[vertex - 1] | ~reads[vertex] if vertex > 1 else True
    return ok


def size(matrices: np.ndarray) -> np.ndarray:
    """Number of vertices, including input and output [A]."""
    return 2 + sum((matrices & _READS[vertex] != 0).astype(np.int8) for vertex in INNER)


def square(matrix: int) -> np.ndarray:
    """Adjacency [V, V] of one cell without unused vertices."""
    matrices = np.array([matrix])
    used = [*range(size(matrices)[0] - 1), _OUT]
    return adjacency(matrices)[0][np.ix_(used, used)]


def number(edges: np.ndarray) -> int:
    """The matrix of an upper triangular adjacency [V, V] of at most seven vertices, the inverse of `square`."""
    place = [*range(len(edges) - 1), _OUT]
    return sum(1 << _BIT[place[x], place[y]] for x, y in np.argwhere(edges).tolist())


@cache
def all_matrices() -> np.ndarray:
    """All valid matrices, ascending [6472]."""
    every = np.arange(1 << len(PAIRS), dtype=np.uint32)
    every = every[np.bitwise_count(every) <= MAX_EDGES]
    return every[valid(every)]


def canonical(matrices: np.ndarray, ops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The isomorphic cell with the smallest matrix, and of these the one with the smallest ops: matrices [A], ops [A,
    5].

    It is the benchmark's cell: its authors enumerated matrices, then ops, in this order and kept the first.

    Args:
        matrices: valid matrices [A].
        ops: of vertices 1 to 5 [A, 5].
    """
    images, least = _images()
    graph = np.searchsorted(all_matrices(), matrices)
    ops = ops.astype(np.int64)
    best = np.full(len(ops), np.iinfo(np.int64).max)
    for image, places in zip(images, _PERMUTATIONS, strict=True):
        rows = np.flatnonzero((image == least)[graph])
        weights = [WEIGHTS[place - 1] for place in places[1:-1]]
        best[rows] = np.minimum(best[rows], ops[rows] @ weights)
    return least[graph], (best[:, None] // WEIGHTS % 4).astype(np.int8)


@cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    """All valid matrices under all renumberings [120, 6472], `_NO_MATRIX` where the result is not valid, and the
    smallest per matrix [6472]."""
    matrices = all_matrices()
    images = np.zeros((len(_PERMUTATIONS), len(matrices)), np.uint32)
    for image, places in zip(images, _PERMUTATIONS, strict=True):
        for bit, (x, y) in enumerate(PAIRS):
            edge = matrices >> np.uint32(bit) & np.uint32(1)
            image |= edge * np.uint32(1 << _BIT[places[x], places[y]] if places[x] < places[y] else _NO_MATRIX)
        image[(image >= _NO_MATRIX) | ~valid(image)] = _NO_MATRIX
    return images, images.min(0)


@cache
def unique_cells() -> tuple[np.ndarray, np.ndarray]:
    """All cells up to isomorphism: matrices [423624] and ops [423624, 5], ordered by vertices, matrix and ops.

    Only the smallest matrix of an isomorphism class is labelled, and of its labellings those are kept that no
    automorphism makes smaller.
    """
    images, least = _images()
    graphs = np.flatnonzero(all_matrices() == least)
    cells = []
    for vertices in range(2, VERTICES + 1):
        inner = vertices - 2
        labels = np.zeros((len(CHOICES) ** inner, len(INNER)), np.int8)
        labels[:, :inner] = np.indices((len(CHOICES),) * inner).reshape(inner, len(CHOICES) ** inner).T + 1
        selected = graphs[size(least[graphs]) == vertices]
        first = np.ones((len(selected), len(labels)), bool)
        for image, places in zip(images[:, selected], _PERMUTATIONS, strict=True):
            renumbered = labels @ WEIGHTS[np.array(places[1:-1]) - 1]
            first[image == least[selected]] &= renumbered >= labels @ WEIGHTS
        graph, label = np.nonzero(first)
        cells.append((least[selected[graph]], labels[label]))
    return np.concatenate([matrices for matrices, _ in cells]), np.concatenate([ops for _, ops in cells])


def steps(edges: np.ndarray, ops: list[int]) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Adjacencies and ops one step from a cell: another op, an added or removed edge, or an added or removed vertex
    with one edge in and one out, at any position. Some are invalid, and some are repeated."""
    last = len(edges) - 1
    for x, y in combinations(range(last + 1), 2):
        flipped = edges.copy()
        flipped[x, y] ^= True
        yield flipped, ops
    for i, op in enumerate(ops):
        yield from ((edges, [*ops[:i], other, *ops[i + 1 :]]) for other in CHOICES if other != op)
    for vertex in range(1, last):
        if edges[vertex].sum() == edges[:, vertex].sum() == 1:
            yield np.delete(np.delete(edges, vertex, 0), vertex, 1), ops[: vertex - 1] + ops[vertex:]
    for vertex in range(1, last + 1) if last < _OUT else ():
        wider = np.insert(np.insert(edges, vertex, False, 0), vertex, False, 1)
        for x, y in product(range(vertex), range(vertex + 1, last + 2)):
            joined = wider.copy()
            joined[x, vertex] = joined[vertex, y] = True
            yield from ((joined, [*ops[: vertex - 1], op, *ops[vertex - 1 :]]) for op in CHOICES)


def repaired(edges: np.ndarray, ops: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Adjacency [V, V] and ops of a valid cell near an adjacency [7, 7] and five ops (0: none): vertices without an op
    or on no path from input to output are removed, and so are the last edges beyond nine."""
    labels = np.array([1, *ops, 1])
    edges = edges & (labels > 0) & (labels > 0)[:, None]
    while True:
        paths = np.linalg.matrix_power(edges | np.eye(len(edges), dtype=bool), len(edges)) > 0
        kept = np.flatnonzero(paths[0] & paths[:, -1])
        if not len(kept):
            return np.array([[False, True], [False, False]]), []
        edges, labels = edges[np.ix_(kept, kept)], labels[kept]
        if edges.sum() <= MAX_EDGES:
            return edges, labels[1:-1].tolist()
        x, y = np.argwhere(edges)[-1]
        edges[x, y] = False


def hashes(matrices: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """The benchmark's MD5 hash of each cell [A], 32 hexadecimal digits, equal for isomorphic cells."""
    out = np.empty(len(matrices), "S32")
    order = np.argsort(matrices, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(matrices[order])) + 1) if len(order) else []:
        edges = square(int(matrices[rows[0]]))
        out[rows] = _hash_labellings(edges, ops[rows, : len(edges) - 2])
    return out


def _hash_labellings(edges: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """Hashes [L] of one graph [V, V] under many labellings [L, V - 2].

    A vertex starts with the MD5 of its degrees and label, and is V times hashed with its neighbours' sorted hashes.
    """
    labels = [np.full(len(ops), -1), *(ops.T - 1), np.full(len(ops), -2)]
    digests = []
    for vertex, column in enumerate(labels):
        degrees = f"{edges[vertex].sum()}, {edges[:, vertex].sum()}"
        digests.append(_md5([f"({degrees}, {label})".encode() for label in column.tolist()]))
    current = np.stack(digests)
    for _ in labels:
        current = np.stack([
            _md5(_joined([*np.sort(current[edges[:, v]], 0), b"|", *np.sort(current[edges[v]], 0), b"|", current[v]]))
            for v in range(len(labels))
        ])  # fmt: skip
    listed = [part for digest in np.sort(current, 0) for part in (b"', '", digest)]
    return _md5(_joined([b"['", *listed[1:], b"']"]))


def _joined(parts: list[np.ndarray | bytes]) -> list[bytes]:
    """Texts [L] joined row by row, from columns of texts [L] and constant texts."""
    length = next(len(part) for part in parts if isinstance(part, np.ndarray))
    table = np.empty(length, [(f"f{i}", part.dtype if isinstance(part, np.ndarray) else f"S{len(part)}")
                              for i, part in enumerate(parts)])  # fmt: skip
    for i, part in enumerate(parts):
        table[f"f{i}"] = part
    return table.view(f"S{table.itemsize}").tolist()


def _md5(texts: list[bytes]) -> np.ndarray:
    digests = b"".join([hashlib.md5(text, usedforsecurity=False).digest() for text in texts])
    return np.frombuffer(digests.hex().encode(), "S32")
