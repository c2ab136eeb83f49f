"""Architectures as a Parquet file, written in pieces so that memory stays constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.writing import whole_file
from datasets.records import Architectures, InputError, Space

ROW_GROUP = 1 << 14


Columns = Callable[[Architectures], Mapping[str, Any]]
"""Function from architectures to the written columns by name."""


def write_parquet(archs: Architectures, out: Path, columns: Columns) -> Iterator[int]:
    """Write architectures, one per row; yields the number of rows of each piece. The file is written whole or not at
    all.

    Raises:
        InputError: there are no architectures, or the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not len(archs):
        raise InputError(f"There are no architectures to write to {out}.")
    with whole_file(out) as part, ExitStack() as opened:
        writer = None
        for start in range(0, len(archs), ROW_GROUP):
            found = columns(archs[start : start + ROW_GROUP])
            table = pa.table([_column(values) for values in found.values()], names=list(found))
            schema = table.schema.with_metadata({"space": str(archs.space)})
            writer = writer or opened.enter_context(pq.ParquetWriter(part, schema))
            writer.write_table(table)
            yield len(table)


def _column(values: Any) -> Any:
    """A column of numbers or texts. `pyarrow.array` would import pandas: a quarter of a second."""
    import pyarrow as pa

    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        texts = [value.encode() for value in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
    numbers = np.ascontiguousarray(values)
    if numbers.dtype.kind not in "iuf":
        return pa.array(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def described(space: Space, hash: bool = False, totals: bool = False) -> Columns:
    """Columns that describe architectures: the key, numbers of vertices, of edges and of vertices per kind of op, and
    optionally the benchmark's hash and the totals of the expanded network.

    Raises:
        InputError: the space has no hash of its own.
    """
    digest = getattr(space, "hash", None) if hash else None
    if hash and digest is None:
        raise InputError(f"{space} has no hash of its own; leave out --hash.")
    return lambda archs: _columns(archs, digest, totals)


def _columns(archs: Architectures, digest: Callable[[Architectures], list[str]] | None, totals: bool) -> dict[str, Any]:
    space = archs.space
    if not space.kinds:
        return {"key": archs.keys} | (dict(space.totals(archs)) if totals else {})
    kinds, adjacency = space.graph(archs)
    present = np.array(space.kinds)[kinds] != "none"
    edges = adjacency & present[:, :, None] & present[:, None, :]
    table: dict[str, Any] = {"key": archs.keys, "vertices": present.sum(1, dtype=np.int8)}
    table["edges"] = edges.sum((1, 2), dtype=np.int16)
    for kind, name in enumerate(space.kinds):
        if name not in ("input", "output", "none"):
            table[name] = (kinds == kind).sum(1, dtype=np.int8)
    if digest is not None:
        table["hash"] = digest(archs)
    return table | dict(space.totals(archs)) if totals else table
