"""Tables of single layers of one kind that lie in one folder: of several machines, and of other limits of work."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from datasets.blocks.layers import LayerSpace
from datasets.files.reading import shortened
from datasets.files.table_file import read_table
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.tabulate import tabulate


def read_layers(folder: Path, kind: str) -> Measurements:
    """The layers of KIND.parquet and of every KIND_*.parquet beside it, as architectures of one space.

    Times of a device in several files are multiples of one reference time, that of the first file, so that the speed of
    the machine on each day cancels.

    Args:
        folder: of the tables, which `python -m measure table` or `campaign` wrote.
        kind: name of the space of the layers.

    Returns:
        Measurements whose space has the largest limits of all files, and as smaller ones
        (`LayerSpace.beyond_megamacs`) those of the files without layers beyond them.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    parts, references = list[Measurements](), dict[str, float]()
    for path in [folder / f"{kind}.parquet", *sorted(folder.glob(f"{kind}_*.parquet"))]:
        table, meta = read_table(path)
        devices = [Device(**device) for device in meta["devices"]]
        own = meta.get("reference_ms", {})
        scale = {name: references.setdefault(name, ms) / ms for name, ms in own.items()}
        table["value"] *= table["device"].map(scale).fillna(1.0).where(table["metric"].str.endswith("_ms"), 1.0)
        parts += [tabulate(rows, devices, path.stem) for _, rows in table.groupby("space", sort=False)]
    spaces = [part.architectures.space for part in parts]
    for part, space in zip(parts, spaces, strict=True):
        if not isinstance(space, LayerSpace) or space.kind != kind:
            raise InputError(f"{part.name} in {folder} has rows of {shortened(str(space), 60)}, not of {kind} layers.")
    widest = max((cast(LayerSpace, space) for space in spaces), key=lambda space: (space.megamacs, space.megabytes))
    moved = [
        Measurements(Architectures(widest, part.architectures.decisions), part.devices, part.table, part.name)
        for part in parts
    ]
    return moved[0] if len(moved) == 1 else Measurements.concat(moved)
