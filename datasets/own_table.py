"""Measured values in a .csv or .parquet of one's own as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.blocks.decisions import Column, Value, choice, number_of, value_of
from datasets.columns import Columns
from datasets.files.csv_file import CSV_HINT, FACTORS, batch_of, converted, decimal, measured_rows, read_lines, unit_of
from datasets.files.parquet_file import read_texts
from datasets.files.reading import existing, listed, shortened
from datasets.networks.network import FILES
from datasets.networks.reading import SUFFIXES, architectures_of, space_and_key
from datasets.records import UNITS, Architectures, Device, InputError, Measurements
from datasets.spaces import open_space

CONTRADICTION = 10.0
"""Rows of one architecture, device and metric are repeats; if their largest value is more than this multiple of their
smallest, one of them is wrong."""
EMPTY = ("", "nan", "none", "null")
"""Fields of decisions without a value."""


@dataclass
class OwnTable(Dataset):
    """A table with one measurement per row: columns `value` and optionally `device`, `metric`, `unit` and `batch`.

    What was measured stands in the column `key` (or `network`, with `space` optionally): architectures of a space, or
    networks for `read_model`, which are files or `space:key`. Or, without a space, it stands in the columns that
    `features` and `decisions` name.

    Attributes:
        path: the file, .csv or .parquet; a relative path is one of the working directory.
        space: space of keys without one, by its text form or a .yaml; '' where all keys have one.
        metric: metric of rows without one.
        value: name of the column of values; by default `value`, or one such as `latency_us` or `time [s]`.
        folder: folder of the files that keys name, with or without their suffix; by default the working directory,
            then that of the table.
        features: columns of numbers, instead of a key.
        decisions: columns of choices, instead of a key, such as kernel sizes or activations.
        choices: choices of decisions that the table lacks.
    """

    path: Path
    space: str = ""
    metric: str = "latency_ms"
    value: str = ""
    folder: Path | None = None
    features: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    choices: Mapping[str, list[Value]] = field(default_factory=dict)

    def measurements(self) -> Measurements:
        path, columns = Path(self.path), [*self.decisions, *self.features]
        self._check(columns)
        searched = "" if path.is_absolute() else f"it was looked for in {Path.cwd()}; "
        existing(path, f"{searched}{CSV_HINT}")
        lines = (read_texts if path.suffix.lower() == ".parquet" else read_lines)(path, CSV_HINT)
        rows, stated = measured_rows(lines, path, self.metric, columns or None, self.value)
        if columns:
            archs, arch = self._columns(rows, columns, lines.separator), np.arange(len(rows))
        else:
            space = str(open_space(self.space)) if self.space else ""
            pairs = [named_in_row(row, space, path, self.folder) for row in rows]
            distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
            archs, arch = architectures_of(list(distinct)), np.array([distinct[pair] for pair in pairs])
        metrics = [row.get("metric") or self.metric for row in rows]
        names = [_device_name(row, metric, path) for row, metric in zip(rows, metrics, strict=True)]
        devices = _devices(rows, names, path)
        places = {device.name: i for i, device in enumerate(devices)} | {"": -1}
        values = [
            value_in_row(row, stated, metric, devices[places[name]].batch if name else 1)
            for row, metric, name in zip(rows, metrics, names, strict=True)
        ]
        device = [places[name] for name in names]
        import pandas as pd

        table = pd.DataFrame({"arch": arch, "device": device, "metric": metrics, "value": values})
        m = Measurements(archs, devices, table, path.stem).distinct()
        _check_repeats(m.table, rows)
        return m

    def _check(self, names: Sequence[str]) -> None:
        """Raise `InputError` where the fields contradict each other."""
        if len(set(names)) < len(names):
            raise InputError(f"{self.path}: a column is named twice among features and decisions; keep one.")
        if names and (self.space or self.folder):
            raise InputError(
                f"{self.path}: features and decisions describe rows of no space; leave space and folder out."
            )
        if unknown := [name for name in self.choices if name not in self.decisions]:
            raise InputError(
                f"{self.path} has choices of '{shortened(unknown[0], 60)}', which is none of its decisions."
            )

    def _columns(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str], separator: str) -> Architectures:
        """The rows as architectures [rows], of the space of what they hold."""
        texts = [[choice(decimal(text, separator)) for text in row["features"]] for row in rows]
        where, found = [row["where"] for row in rows], []
        for i, name in enumerate(names):
            column = [row[i] for row in texts]
            if name in self.features:
                numbers = [number_of(text, name, place) for text, place in zip(column, where, strict=True)]
                found.append(Column(name, (), min(numbers), max(numbers)))
                continue
            if empty := next((place for text, place in zip(column, where, strict=True) if text.lower() in EMPTY), ""):
                raise InputError(
                    f"{empty} has no value in the column {shortened(name, 60)}; write one, or take it out."
                )
            more = [choice(value) for value in self.choices.get(name, ())]
            found.append(Column(name, tuple(sorted({*more, *column}, key=_order))))
        return Columns(tuple(found)).of_texts(texts, where)


def _order(text: str) -> tuple[bool, float, str]:
    """Key of choices: numbers by size, then texts."""
    value = value_of(text)
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, text


def _device_name(row: Mapping[str, Any], metric: str, path: Path) -> str:
    """The name of a row's device, by default that of the table; '' for metrics of no device, such as accuracies."""
    return row.get("device") or (path.stem if UNITS.get(metric) in FACTORS else "")


def _devices(rows: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path) -> list[Device]:
    """The devices of rows whose devices have `names`, which are their families too."""
    batches: dict[str, dict[str, None]] = {}
    for row, name in zip(rows, names, strict=True):
        batches.setdefault(name, {})[row.get("batch") or "1"] = None
    batches.pop("", None)
    for name, several in batches.items():
        if len(several) > 1:
            raise InputError(f"{path} has several batches of {name} ({listed([*several])}); name a device for each.")
    return [Device(name, name, "unknown", batch=batch_of(batch, path)) for name, (batch,) in batches.items()]


def value_in_row(row: Mapping[str, Any], stated: str, metric: str, batch: int) -> float:
    """The value of a row in the unit of its metric; `stated` is the unit of the header, or ''.

    Raises:
        InputError: the row has a unit that its metric cannot have, or another one than the header.
    """
    unit = stated
    if row.get("unit"):
        unit = unit_of(row["unit"], metric, f"The column unit, {row['where']},")
        if stated and unit != stated:
            raise InputError(
                f"{row['where']} is in {unit} by its column unit and in {stated} by the header of its values; one of "
                "them is wrong."
            )
    return float(converted(row["number"], unit, metric, batch) if unit else row["number"])


def _check_repeats(table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise `InputError` where rows of one architecture, device and metric contradict each other."""
    physical = table[table["metric"].isin([metric for metric, unit in UNITS.items() if unit in FACTORS])]
    groups = physical.groupby(["arch", "device", "metric"])["value"]
    ratio = (groups.max() / groups.min()).reset_index(drop=True)
    if len(ratio) and ratio.max() > CONTRADICTION:
        ends = groups.agg(["idxmin", "idxmax"]).iloc[int(ratio.argmax())]
        low, high = sorted((int(ends["idxmin"]), int(ends["idxmax"])))
        raise InputError(
            f"{rows[low]['where']} and {rows[high]['where'].rpartition(', ')[2]} measure the same and contradict each "
            f"other ({physical['value'][low]:.6g} and {physical['value'][high]:.6g}); keep the right one, or add a "
            "column that tells them apart."
        )


def named_in_row(row: Mapping[str, Any], space: str, path: Path, folder: Path | None = None) -> tuple[str, str]:
    """The space and the key of a row of the table `path` (`datasets.networks.reading.space_and_key`).

    Args:
        row: of the table.
        space: default of rows without one.
        path: of the table, in whose folder files are searched after the working directory.
        folder: where files are searched instead.
    """
    own, key = row.get("space", ""), row["key"]
    if own not in ("", *FILES):
        return own, key
    if folder is not None:
        for name in (key, *(key + suffix for suffix in SUFFIXES)):
            if "\0" not in name and (file := folder / name).is_file():
                return "", str(file)
        raise InputError(f"{row['where']}: there is no file {shortened(key, 100)} in {folder}; name a file of it.")
    beside = path.parent / key
    return ("", str(beside)) if not Path(key).exists() and beside.is_file() else space_and_key(key, space)
