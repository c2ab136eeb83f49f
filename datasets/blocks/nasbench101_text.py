"""NAS-Bench-101 cells as texts (`conv3x3+maxpool3x3:0.01.2`), as the 26 decisions of the space, and as the matrices and
ops of `dags`."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import product

import numpy as np

from datasets.blocks import dags
from datasets.records import InputError

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The benchmark's names in its order; decision 1 is the first op, and 0 an unused vertex."""
_SHORT = tuple(op.split("-")[0] for op in OPS)
BITS, INNER = len(dags.PAIRS), dags.VERTICES - 2
"""Number of decisions that are edges, and of vertices between input and output, which are decisions too."""
_EDGES = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_KEY = re.compile(rf"((?:\w+\+)*\w+|):({_EDGES.pattern})", re.ASCII)


@cache
def _ops_of() -> dict[str, bytes]:
    """Ops of the five vertices, one a byte (0: no vertex), by the text before the colon, in the same order."""
    names = [combination for size in range(INNER + 1) for combination in product(range(1, 1 + len(OPS)), repeat=size)]
    return {"+".join(_SHORT[op - 1] for op in ops): bytes(ops).ljust(INNER, b"\0") for ops in names}


def parse_cell(key: str) -> tuple[int, bytes]:
    """Matrix and ops, one a byte (0: no vertex), of a text, whose cell may be invalid.

    Raises:
        InputError: it is no cell's text, or an op is unknown.
    """
    text, _, edges = key.partition(":")
    ops = _ops_of().get(text)
    matrix = None if ops is None else _parse_edges(edges, len(ops.rstrip(b"\0")))
    if ops is None or matrix is None:
        raise InputError(_fault(key))
    return matrix, ops


def _fault(key: str) -> str:
    """Why a text is no cell's."""
    match = _KEY.fullmatch(key)
    names = match[1].split("+") if match and match[1] else []
    unknown = [name for name in names if name not in _SHORT]
    if unknown and match and _parse_edges(match[2], len(names)) is not None:
        return f"'{unknown[0]}' in '{key}' is not an op of NAS-Bench-101; its ops are {', '.join(_SHORT)}."
    return (
        f"'{key}' is not a NAS-Bench-101 cell; write one like conv3x3+maxpool3x3:0.01.2, the ops of the vertices "
        "between input and output, then what these and the output read."
    )


@lru_cache(10_000)
def _parse_edges(text: str, inner: int) -> int | None:
    """The matrix; None where a vertex is missing, has itself or a later vertex as a source, or sources are
    unordered."""
    if not _EDGES.fullmatch(text):
        return None
    sources = [[int(digit) for digit in reads] for reads in text.split(".")]
    if len(sources) != inner + 1 or inner > INNER:
        return None
    edges = np.zeros((inner + 2, inner + 2), bool)
    for vertex, reads in enumerate(sources, 1):
        if reads != sorted(set(reads)) or reads[-1] >= vertex:
            return None
        edges[reads, vertex] = True
    return dags.number(edges)


def to_numbers(decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices [A] and ops [A, 5] of `dags`."""
    packed = np.packbits(decisions[:, :BITS].astype(bool), axis=1, bitorder="little").astype(np.uint32)
    return packed @ (np.uint32(256) ** np.arange(3, dtype=np.uint32)), decisions[:, BITS:]


def to_decisions(matrices: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """The inverse of `to_numbers`: decisions [A, 26]."""
    packed = np.ascontiguousarray(matrices, dtype="<u4").view(np.uint8).reshape(-1, 4)
    bits = np.unpackbits(packed, axis=1, count=BITS, bitorder="little").astype(np.int8)
    return np.concatenate([bits, ops.astype(np.int8)], axis=1)


@lru_cache(10_000)
def sources_of(matrix: int) -> tuple[tuple[int, ...], ...]:
    """Sources of vertices 1, 2, ... and of the output."""
    reads = [tuple(x for x in range(y) if matrix >> x + y * (y - 1) // 2 & 1) for y in range(1, dags.VERTICES)]
    return (*filter(None, reads[:-1]), reads[-1])


@lru_cache(10_000)
def edges_text(matrix: int) -> str:
    """The text after the colon."""
    return ".".join("".join(map(str, reads)) for reads in sources_of(matrix))


@lru_cache(2_000)
def ops_text(number: int) -> str:
    """The text before the colon, from ops as one number (`dags.WEIGHTS`)."""
    return "+".join(_SHORT[op - 1] for op in number // dags.WEIGHTS % 4 if op)
