"""Parquet tables that are damaged, contradictory, or expand to more than fits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.files.table_file import read_table, read_values
from datasets.measured import Measured
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.commands.tables import repeatability
from measure.table import write_table
from predictors.networks.tabulated import Tabulated
from tests.conftest import run

DEVICE: dict[str, Any] = {"name": "toy_ort_fp32_1", "family": "f", "kind": "gpu", "runtime": "ort", "batch": 1}
KEYS = NasBench201().all()[:3].keys


def frame(**columns: Any) -> pd.DataFrame:
    values = {"space": "nasbench201", "key": KEYS, "device": DEVICE["name"], "metric": "latency_ms"}
    return pd.DataFrame({**values, "value": [1.0, 2.0, 3.0], "repeats": 1, **columns})


def write(path: Path, data: pd.DataFrame | pa.Table, meta: Any = None, **options: Any) -> Path:
    held = meta if isinstance(meta, bytes) else json.dumps({"devices": [DEVICE]} if meta is None else meta).encode()
    table = data if isinstance(data, pa.Table) else pa.Table.from_pandas(data, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({b"gnomon": held}), path, **options)
    return path


READERS: list[Callable[[Path], Any]] = [
    read_table,
    read_values,
    lambda path: Measured(path).measurements(),
    lambda path: Tabulated(path).exact,
    lambda path: Tabulated(path).learn(),
    repeatability,
]


def refused(path: Path, sentence: str, readers: list[Callable[[Path], Any]] = READERS) -> None:
    for reader in readers:
        with pytest.raises(InputError, match=sentence) as error:
            reader(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600, error.value


def test_a_file_that_is_no_table_is_one_sentence_for_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    whole = write(path, frame()).read_bytes()
    for content in (
        b"",
        b"key,value\na,1\n",
        b"PAR1" + b"\x00" * 100 + b"PAR1",
        whole[:-20],
        whole[20:],
        b"\xff" * 1000,
    ):
        path.write_bytes(content)
        refused(path, "is damaged or no such table")
    refused(tmp_path, "is a folder, not a file|is damaged")
    refused(tmp_path / "none.parquet", "There is no file")


@pytest.mark.parametrize(
    "columns, sentence",
    [
        ({"key": [1, 2, 3]}, "Column 'key' of .* must hold texts, not int64"),
        ({"key": [["a"], ["b"], ["c"]]}, "Column 'key' of .* must hold texts, not list"),
        ({"space": [1.0, 2.0, 3.0]}, "Column 'space' of .* must hold texts"),
        ({"device": [1, 2, 3]}, "Column 'device' of .* must hold texts"),
        ({"value": ["1", "2", "3"]}, "Column 'value' of .* must hold numbers"),
        ({"value": [{"a": 1}] * 3}, "Column 'value' of .* must hold numbers, not struct"),
        ({"key": [KEYS[0], None, KEYS[1]]}, "row 1: 'key' is missing"),
        ({"metric": [None, "latency_ms", "latency_ms"]}, "row 0: 'metric' is missing"),
    ],
)
def test_a_column_of_another_type_is_named(columns: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    refused(write(tmp_path / "t.parquet", frame(**columns)), sentence)


def test_columns_that_a_table_may_lack_hold_numbers(tmp_path: Path) -> None:
    readers: list[Callable[[Path], Any]] = [read_table, lambda path: Measured(path).measurements(), repeatability]
    refused(
        write(tmp_path / "t.parquet", frame(repeats=["1", "2", "3"])), "column 'repeats' must hold numbers", readers
    )


def test_missing_doubled_and_empty_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for name in ("space", "key", "device", "metric", "value"):
        refused(write(path, frame().drop(columns=name)), f"has no column '{name}'")
    doubled = pa.Table.from_pandas(frame(), preserve_index=False)
    refused(write(path, doubled.append_column("key", doubled["key"])), "has 2 columns 'key'")
    refused(write(path, frame()[:0]), "has no rows")


@pytest.mark.parametrize(
    "meta, sentence",
    [
        (b"{", "is damaged or no such table"),
        (b"\xff\xfe", "is damaged or no such table"),
        (b"[" * 100_000, "is damaged or no such table"),
        ([], "has no list of devices"),
        ({"devices": {}}, "has no list of devices"),
        ({"devices": [3]}, "device 0 must be a description of a device, not 3"),
        ({"devices": [{**DEVICE, "colour": "red"}]}, "device 0 has an unknown field 'colour'"),
        ({"devices": [{"name": "toy"}]}, "device 0 has no field 'family'"),
        ({"devices": [{**DEVICE, "batch": "x" * 1000}]}, "field 'batch' must be a whole number"),
        ({"devices": [{**DEVICE, "batch": 16}]}, "of batch 1 by its name and of batch 16"),
        ({"devices": [{**DEVICE, "features": {"cores": None}}]}, "'cores' of 'features' must be a finite number"),
        ({"devices": [DEVICE, DEVICE]}, "describes the device toy_ort_fp32_1 twice"),
        ({"devices": [DEVICE], "reference_ms": {"toy": -1}}, "'toy' of 'reference_ms' must be a positive number"),
    ],
)
def test_metadata_that_was_edited_is_one_sentence(meta: Any, sentence: str, tmp_path: Path) -> None:
    refused(write(tmp_path / "t.parquet", frame(), meta), sentence, [read_table, READERS[2], repeatability])


@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf])
def test_a_value_that_no_measurement_has_is_refused_by_every_reader(value: float, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", frame(value=[1.0, value, 3.0]))
    refused(path, "missing, infinite, zero or negative|is not a positive number", READERS[1:5])


def test_what_would_fill_the_memory_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A few thousand bytes that stand for seven million rows, and a long text that many rows repeat."""
    rows = 1_000_000
    coded = {
        name: pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [name]) for name in ("space", "key", "device")
    }
    table = pa.table({**coded, "metric": coded["key"], "value": np.ones(rows)})
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(7):
            writer.write_table(table)
    assert path.stat().st_size < 200_000
    refused(path, "would expand to 7,000,000 rows of 5 columns .* split it")
    long = pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), ["x" * 1_000_000])
    short = pa.array(["a"] * 1000)
    write(path, pa.table({"space": short, "key": long, "device": short, "metric": short, "value": np.ones(1000)}))
    assert path.stat().st_size < 2_500_000
    refused(path, "Column 'key' of .* holds 1,000,000,000 bytes of text")
    wide = {f"c{i}": [1.0, 2.0, 3.0] for i in range(1000)}
    refused(write(path, frame(**wide)), "has 1,006 columns", [read_table])


def test_rows_of_one_measurement_become_their_median_and_equal_rows_count_once(tmp_path: Path) -> None:
    once = frame()
    again = pd.concat([once, once, frame(value=[3.0, 2.0, 9.0])[:1]])
    path = write(tmp_path / "t.parquet", again)
    table, _ = read_table(path)
    assert table["value"].tolist() == [2.0, 2.0, 3.0] and table["repeats"].tolist() == [2, 1, 1]
    assert list(table.columns) == list(once.columns) and read_values(path)[0]["value"].tolist() == [2.0, 2.0, 3.0]
    assert Measured(path).measurements().matrix("latency_ms").tolist() == [[2], [2], [3]]
    assert read_table(write(path, once))[0].equals(once.astype(table.dtypes))


def test_further_columns_are_read_and_nested_ones_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", frame(cv=[0.1, 0.2, None], note=["a", "b", None], nested=[[1], [2], [3]]))
    table, _ = read_table(path)
    assert set(table.columns) == {*frame().columns, "cv", "note"} and table["note"][0] == "a"


def test_a_text_that_is_called_parquet_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("hello\n")
    done = run("-m", "measure", "repeatability", "--file", tmp_path / "t.parquet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "is damaged or no such table" in done.stderr


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    write_table(frame(), {"devices": [DEVICE]}, path)
    before = path.read_bytes()

    def full(table: Any, part: Path, **_: Any) -> None:
        Path(part).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(InputError, match="Cannot write .*No space left"):
        write_table(frame(value=[7.0, 8.0, 9.0]), {"devices": [DEVICE]}, path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["t.parquet"]
