"""A few measurements of one device from a user's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.measured import Measured
from datasets.records import Device, InputError, Measurements, Space


def read_few(path: Path, device: str, space: Space, metric: str) -> Measurements:
    """Measurements of one device: a table of `python -m measure table`, or a .csv with the columns key and value.

    Raises:
        InputError: no such file, another space, several devices and none named, a value that is no number.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"There is no file {path}; `python -m measure table --out {path}` writes one.")
    if path.suffix != ".csv":
        m = Measured(path.absolute()).measurements().where(metrics=[metric])
        if m.architectures.space != space:
            raise InputError(f"{path} is of {m.architectures.space}; the predictor was fitted on {space}.")
        if not device and len(m.devices) > 1:
            raise InputError(f"Name a device with --device; {path} has {', '.join(d.name for d in m.devices)}.")
        m = m.where(devices=[device or m.devices[0].name])
        return m.where(archs=np.unique(m.table["arch"]))
    try:
        table = pd.read_csv(path)
        values = table["value"].astype(float)
        archs = space.parse(table["key"].astype(str).tolist())
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} needs the columns key and value, numbers in the second ({error}).") from error
    rows = pd.DataFrame({"arch": range(len(table)), "device": 0, "metric": metric, "value": values})
    return Measurements(archs, [replace(UNKNOWN, name=device or path.stem)], rows, path.stem)


UNKNOWN = Device("", "unknown", "desktop-cpu")
"""What a .csv says of its device: nothing."""
