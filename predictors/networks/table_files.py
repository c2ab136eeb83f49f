"""Tables of one name that lie in one folder: of several machines, and of layers within other limits of work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from datasets.blocks.layers import LayerSpace, Work
from datasets.files.table_file import read_table
from datasets.measured import located
from datasets.records import Architectures, Device, InputError, Measurements, Space
from datasets.tabulate import tabulate

if TYPE_CHECKING:
    import pandas as pd


def read_tables(
    folder: Path, names: Sequence[str], devices: Sequence[str] = (), references: dict[str, float] | None = None
) -> list[Measurements]:
    """Read tables of a folder by their names, each with all tables beside it, of all devices or of some; `references`
    as for `read_beside`, of all these tables."""
    references = {} if references is None else references
    found = [read_beside(folder, name, references) for name in names]
    return [m.where(devices=[d.name for d in m.devices if d.name in devices]) if devices else m for m in found]


def base_name(name: str) -> str:
    """Name of the device of the same machine, runtime and batch in fp32 and on one thread."""
    return re.sub("_t[0-9]+$", "", re.sub("_(int8|bf16|fp16)_", "_fp32_", name))


def scaled_to(references: Mapping[str, float], meta: Mapping[str, Any], devices: pd.Series) -> pd.Series:
    """Factors of the times in the rows of a table, by their devices, to a reference time; 1 for others."""
    scale = {name: references.get(name, ms) / ms for name, ms in meta.get("reference_ms", {}).items()}
    return devices.map(scale).fillna(1.0)


def fastest_references(folder: Path) -> dict[str, float]:
    """Least ms of the reference network by device, of all tables of a folder: the speed of a machine that is left
    alone, so that times of its devices (precisions, threads) that were measured on different days compare. A table on
    a slow day slows a device as much as the one in fp32 and on one thread beside it."""
    tables = [read_table(path)[1].get("reference_ms", {}) for path in sorted(folder.glob("*.parquet"))]
    found = {
        name: min(ms[name] for ms in tables if name in ms) for name in sorted({name for ms in tables for name in ms})
    }
    for table in tables:
        for name, ms in table.items():
            if (base := base_name(name)) in table:
                found[name] = min(found[name], ms * found[base] / table[base])
    return found


def layer_tables(
    folder: Path,
    layers: Sequence[str],
    operations: Sequence[str],
    devices: Sequence[str] = (),
    references: dict[str, float] | None = None,
) -> dict[str, Measurements]:
    """Read the tables of kinds of layers, and of those operations that have one in a folder.

    Args:
        folder: folder of the tables.
        layers, operations: kinds, which are names of tables.
        devices: names of devices; by default all.
        references: as for `read_beside`, of all these tables.

    Returns:
        Tables by kind; those of operations that none of the devices measured are left out.
    """
    place = located(folder / f"{layers[0]}.parquet").parent
    kinds = [*layers, *(kind for kind in operations if (place / f"{kind}.parquet").is_file())]
    found = dict(zip(kinds, read_tables(folder, kinds, devices, references), strict=True))
    return {kind: m for kind, m in found.items() if kind in layers or m.devices}


def read_beside(folder: Path, name: str, references: dict[str, float] | None = None) -> Measurements:
    """The rows of NAME.parquet and of every NAME_*.parquet beside it.

    Times of a device in several files are multiples of one reference time, that of the first file, so that the speed of
    the machine on each day cancels. Layers of one kind become architectures of one space: its limits are the largest of
    all files, and the smaller ones (`LayerSpace.smaller`) those of files without layers beyond them.

    Args:
        folder: folder of the tables, which `python -m measure table` or `campaign` wrote.
        name: name of the first table.
        references: ms of the reference network by device, which times are multiples of where it names their device;
            those of other devices are added.

    Raises:
        InputError: there is no such file, or the files hold layers of several kinds, or networks beside layers.
    """
    parts, first = list[Measurements](), located(folder / f"{name}.parquet")
    references = {} if references is None else references
    for path in [first, *sorted(first.parent.glob(f"{name}_*.parquet"))]:
        table, meta = read_table(path)
        devices = [Device(**device) for device in meta["devices"]]
        for device, ms in meta.get("reference_ms", {}).items():
            references.setdefault(device, ms)
        table["value"] *= scaled_to(references, meta, table["device"]).where(table["metric"].str.endswith("_ms"), 1.0)
        parts += [tabulate(rows, devices, path.stem) for _, rows in table.groupby("space", sort=False)]
    parts = _in_one_space(parts, folder)
    return parts[0] if len(parts) == 1 else Measurements.concat(parts)


def _in_one_space(parts: Sequence[Measurements], folder: Path) -> list[Measurements]:
    """Measurements of layers in the space with the largest limits; others as they are."""
    spaces = [m.architectures.space for m in parts]
    layers = [space for space in spaces if isinstance(space, LayerSpace)]
    if not layers:
        return list(parts)
    for m, space in zip(parts, spaces, strict=True):
        if not isinstance(space, LayerSpace) or space.kind != layers[0].kind:
            raise InputError(
                f"{m.name}.parquet in {folder} holds other things than the {layers[0].kind} layers of "
                f"{parts[0].name}.parquet; give it another name."
            )
    widest = max(layers, key=lambda space: (space.megamacs, space.megabytes))
    return [Measurements(Architectures(widest, m.architectures.decisions), m.devices, m.table, m.name) for m in parts]


def work_of(m: Measurements) -> Work:
    """Work of the measured layers."""
    space = cast(LayerSpace, m.architectures.space)
    return space.work(space.values(m.architectures))


def reach(m: Measurements, ms: np.ndarray) -> np.ndarray:
    """Which devices measured layers beyond the smaller limits of their table's space [S], 1 or 0; 1 for all where there
    are no smaller limits.

    Args:
        m: layers of one kind.
        ms: their times on each device [A, S]; NaN where they were not measured.
    """
    space = cast(LayerSpace, m.architectures.space)
    beyond = ~space.smaller().feasible(m.architectures)
    return ((~np.isnan(ms[beyond])).any(axis=0) | (space.smaller() == space)).astype(float)


def within(space: Space, wide: np.ndarray) -> Iterator[tuple[LayerSpace, np.ndarray]]:
    """The limits within which devices measured layers of a kind, and the columns of the devices with these limits.

    Args:
        space: space of the layers of all devices.
        wide: 1 for devices with layers beyond the smaller limits, else 0 [S].
    """
    assert isinstance(space, LayerSpace)
    for value, limits in ((1, space), (0, space.smaller())):
        if len(columns := np.flatnonzero(wide == value)):
            yield limits, columns
