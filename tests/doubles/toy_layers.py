"""Tables of single layers on made-up devices, whose times are a sum over operations and bytes."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.blocks.layers import LayerSpace
from datasets.records import Architectures, Device, Measurements
from datasets.spaces.convolution import Convolution
from datasets.spaces.dense import Dense
from datasets.spaces.pooling import Pooling
from measure.table import write_table

SPACES: dict[str, LayerSpace] = {
    "convolution": Convolution(128, 400),
    "pooling": Pooling(128, 50),
    "dense": Dense(128, 400),
}
DEVICES = (Device("fast_1", "toy", "server-cpu"), Device("slow_1", "toy", "server-cpu"))


def table(archs: Architectures, values: dict[str, np.ndarray], name: str, devices: tuple[Device, ...]) -> Measurements:
    """Measurements of values [A, D] by metric."""
    rows = [
        pd.DataFrame({"arch": range(len(archs)), "device": d, "metric": metric, "value": column[:, d]})
        for metric, column in values.items()
        for d in range(len(devices))
    ]
    return Measurements(archs, devices, pd.concat(rows, ignore_index=True), name)


def law(work: np.ndarray, factors: tuple[float, ...] = (1, 3)) -> np.ndarray:
    """Milliseconds [A, D] of macs and bytes [A, 2] on made-up devices, without a session."""
    return np.outer(work[:, 0] / 3e7 + work[:, 1] / 1e7, factors)


@cache
def layer_table(kind: str, n: int = 250, power: float = 1.0) -> Measurements:
    """Phases of `n` layers of a kind; `power` other than 1 bends the law."""
    archs = SPACES[kind].sample(n, np.random.default_rng(0))
    totals = archs.space.totals(archs)
    noise = np.exp(0.02 * np.random.default_rng(1).standard_normal((n, 2)))
    exe = (0.005 + law(totals[["macs", "moved_bytes"]].to_numpy()) ** power) * noise
    copied = 0.001 + np.outer(totals["peak_bytes"] / 2e7, (1, 1))
    return table(archs, {"exe_ms": exe, "pre_ms": copied, "post_ms": copied}, kind, DEVICES)


def write(m: Measurements, folder: Path) -> None:
    """Write measurements as `python -m measure table` would, called as they are."""
    rows = m.table.assign(
        space=str(m.architectures.space),
        key=[m.architectures.keys[i] for i in m.table["arch"]],
        device=[m.devices[d].name for d in m.table["device"]],
        repeats=1,
    )
    meta = {"devices": [d.to_dict() for d in m.devices]}
    write_table(rows.drop(columns="arch"), meta, folder / f"{m.name}.parquet")


@cache
def layer_tables(n: int = 60, power: float = 1.0) -> Path:
    """A folder with the three tables; it stays until the process ends."""
    folder = Path(_KEPT.name) / f"{n}_{power}"
    folder.mkdir(exist_ok=True)  # of the same numbers, otherwise written
    for kind in SPACES:
        write(layer_table(kind, n, power), folder)
    return folder


_KEPT = tempfile.TemporaryDirectory()
