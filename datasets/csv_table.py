"""Measured values of a .csv as a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.base import Dataset
from datasets.files.csv_file import batch_of, converted, read_rows, unit_of
from datasets.files.reading import listed
from datasets.networks.network import FILES
from datasets.networks.reading import architectures_of, space_and_key
from datasets.records import Device, InputError, Measurements


@dataclass
class CsvTable(Dataset):
    """A .csv with the columns `key` (or `network`), `device` and `value`, and optionally `metric`, `unit`, `space` and
    `batch` (`datasets.files.csv_file.read_rows`).

    A key is an architecture of the row's space, or a name of a network for `read_model`: a file (relative to the
    working directory, then to the .csv), or `space:key`.

    Attributes:
        path: the file.
        space: text form of the space of keys without one; '' where all keys have one.
        metric: metric of rows without one.
    """

    path: Path
    space: str = ""
    metric: str = "latency_ms"

    def measurements(self) -> Measurements:
        path = Path(self.path)
        rows, stated = read_rows(path, self.metric)
        names = list(dict.fromkeys(row.get("device", "") for row in rows))
        devices = [_device(name, [row for row in rows if row.get("device", "") == name], path) for name in names]
        pairs = [named_in_row(row, self.space, path) for row in rows]
        distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        table = []
        for row, pair in zip(rows, pairs, strict=True):
            metric, device = row.get("metric") or self.metric, names.index(row.get("device", ""))
            unit = unit_of(row["unit"], metric, f"The column unit of {path}") if row.get("unit") else stated
            value = converted(row["number"], unit, metric, devices[device].batch) if unit else row["number"]
            table.append((distinct[pair], device, metric, value))
        import pandas as pd

        frame = pd.DataFrame(table, columns=["arch", "device", "metric", "value"])
        return Measurements(architectures_of(list(distinct)), devices, frame, path.stem)


def _device(name: str, rows: list[dict[str, Any]], path: Path) -> Device:
    """The device of some rows, with its name as family."""
    batches = list(dict.fromkeys(row.get("batch") or "1" for row in rows))
    name = name or path.stem
    if len(batches) > 1:
        raise InputError(f"{path} has several batches of {name} ({listed(batches)}); name a device for each.")
    return Device(name, name, "unknown", batch=batch_of(batches[0], path))


def named_in_row(row: dict[str, Any], space: str, path: Path) -> tuple[str, str]:
    """The space and the key of a row of the .csv `path` (`datasets.networks.reading.space_and_key`); `space` is the
    default of rows without one."""
    own, key = row.get("space", ""), row["key"]
    if own not in ("", *FILES):
        return own, key
    beside = path.parent / key
    return ("", str(beside)) if not Path(key).exists() and beside.is_file() else space_and_key(key, space)
