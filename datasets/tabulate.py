"""From what files hold (matrices, tables of texts) to `Measurements`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from datasets.files.reading import listed, shortened
from datasets.records import Device, InputError, Measurements
from datasets.spaces import parse_space


def rows(values: np.ndarray, metric: str = "latency_ms", measured: np.ndarray | None = None) -> pd.DataFrame:
    """The table of a matrix [A, D], device after device; what was not `measured` [A, D] becomes no row."""
    device, arch = np.nonzero(np.ones(values.T.shape, bool) if measured is None else measured.T)
    return pd.DataFrame({"arch": arch, "device": device, "metric": metric, "value": values[arch, device]})


def tabulate(table: pd.DataFrame, devices: list[Device], name: str) -> Measurements:
    """`Measurements` from a table whose architectures and devices stand as texts; a row without device is of none.

    Raises:
        InputError: more than one space, a malformed key, a device that is not among `devices`, a bad value.
    """
    spaces = table["space"].unique()
    if len(spaces) != 1:
        raise InputError(f"{name} mixes the spaces {list(spaces)}; a data set holds one.")
    arch, keys = table["key"].factorize()
    positions = {device.name: position for position, device in enumerate(devices)}
    if unknown := set(table["device"].dropna()) - set(positions):
        raise InputError(
            f"{name} has rows of device '{shortened(min(unknown), 60)}' but describes only {listed([*positions])}."
        )
    device = table["device"].map(positions).fillna(-1).astype(int)
    numbered = table.drop(columns=["space", "key"]).assign(arch=arch, device=device)
    return Measurements(parse_space(spaces[0]).parse(list(keys)), devices, numbered, name)
