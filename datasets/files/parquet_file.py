"""Columns of Parquet files that users name: sizes are checked before decoding, then types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.architectures import InputError
from datasets.files.csv_file import MOST_ROWS, Lines
from datasets.files.reading import existing, listed, shortened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_BYTES = 256 * 2**20
"""Largest size of a table's decompressed pages in bytes; our largest has 2.2 million."""
MOST_VALUES = 30_000_000
"""Largest number of rows times columns; our largest table has 1.1 million."""
MOST_TEXT = 256 * 2**20
"""Largest size of text in a column in bytes, with repeated texts counted each time."""
MOST_PARTS = 1000
"""Largest number of columns, and of row groups."""


def read_parquet(
    path: Path, texts: Sequence[str], numbers: Sequence[str], hint: str, others: bool = False
) -> tuple[pd.DataFrame, dict[bytes, bytes]]:
    """Columns of a Parquet file, and the metadata of its schema.

    Args:
        path: the file.
        texts: columns that must hold texts.
        numbers: columns that must hold numbers.
        hint: description of the expected file; it ends the sentence of an `InputError`.
        others: read all other columns of texts and numbers, too.

    Raises:
        InputError: the file is missing, no Parquet, has no rows, lacks a column or has it with another type, or is
            larger than `MOST_BYTES`, `MOST_VALUES`, `MOST_TEXT` or `MOST_PARTS` allow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = existing(path, hint)
    try:
        with pq.ParquetFile(path) as plain:
            schema, held = plain.schema_arrow, plain.metadata
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise damaged(path, error, hint) from error
    for name in (*texts, *numbers):
        _check_column(schema, name, name in texts, path, hint)
    more = [field for field in schema if others and field.name not in (*texts, *numbers)]
    texts = [*texts, *(field.name for field in more if _is_text(field.type))]
    chosen = [*texts, *numbers, *(field.name for field in more if _is_number(field.type))]
    _check_size(held, chosen, path)
    try:
        options = {"read_dictionary": list(texts), "page_checksum_verification": True}
        with pq.ParquetFile(path, metadata=held, **options) as file:
            data = file.read(columns=chosen, use_threads=False)
        data.validate(full=True)
        for name in texts:
            _check_text(data[name], name, path)
        columns = [data[name].cast(pa.large_string()) if name in texts else data[name] for name in chosen]
        table = pa.table(columns, names=chosen).to_pandas()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(path, error, hint) from error
    return table, dict(schema.metadata or {})


def read_texts(path: Path, hint: str) -> Lines:
    """The columns of texts and numbers of a Parquet file as texts, with '' for missing values.

    Raises:
        InputError: `read_parquet` raises it, or there are too many rows.
    """
    table, _ = read_parquet(path, (), (), hint, others=True)
    if len(table) > MOST_ROWS:
        raise InputError(f"{path} has {len(table):,} rows, more than the {MOST_ROWS:,} that are read; measure fewer.")
    texts = [table[name].map(str).where(table[name].notna(), "").tolist() for name in table]
    where = [f"{path}, row {number}" for number in range(1, len(table) + 1)]
    return Lines(list(map(str, table)), [list(row) for row in zip(*texts, strict=True)], where)


def _check_column(schema: pa.Schema, name: str, text: bool, path: Path, hint: str) -> None:
    if (count := schema.names.count(name)) != 1:
        has = f"{count} columns" if count else "no column"
        raise InputError(f"{path} has {has} '{name}'; it has {listed(schema.names)}; {hint}.")
    kind = schema.field(name).type
    if not (_is_text(kind) if text else _is_number(kind)):
        raise InputError(
            f"Column '{name}' of {path} must hold {'texts' if text else 'numbers'}, not {shortened(kind, 60)}; {hint}."
        )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_null(value)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _check_size(meta: pq.FileMetaData, names: Sequence[str], path: Path) -> None:
    """Refuse a file that is too large by its metadata, before a page is read."""
    if meta.num_columns > MOST_PARTS or meta.num_row_groups > MOST_PARTS:
        raise InputError(
            f"{path} has {meta.num_columns:,} columns in {meta.num_row_groups:,} row groups, more than the "
            f"{MOST_PARTS:,} that are read; write it anew in larger pieces."
        )
    parts = [meta.row_group(number) for number in range(meta.num_row_groups)]
    rows = max(meta.num_rows, sum(part.num_rows for part in parts))
    if not rows:
        raise InputError(f"{path} has no rows; measure something first.")
    size = sum(part.total_byte_size for part in parts)  # sizes of single columns abort pyarrow where they are damaged
    if rows * len(names) > MOST_VALUES or size > MOST_BYTES:
        raise InputError(
            f"{path} would expand to {rows:,} rows of {len(names)} columns ({size:,} bytes), more than the "
            f"{MOST_VALUES:,} values and {MOST_BYTES:,} bytes that are read; split it."
        )


def _check_text(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """Refuse a column whose texts would need too much memory as one copy per row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for chunk in column.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        if not pa.types.is_null(coded.dictionary.type):
            size += pc.sum(pc.binary_length(coded.dictionary).take(coded.indices)).as_py() or 0
    if size > MOST_TEXT:
        raise InputError(
            f"Column '{name}' of {path} holds {size:,} bytes of text, more than the {MOST_TEXT:,} that are read; "
            "split the table."
        )


def damaged(path: Path, error: Exception, hint: str) -> InputError:
    """The error for a file that is damaged or of another kind."""
    why = shortened(" ".join(str(error).split()) or type(error).__name__)
    return InputError(f"{path} is damaged or no such table ({why}); {hint}.")
