"""Vocabulary of all packages: an `Architecture` runs on a `Device`, and `Measurements` hold the measured values.

Only the standard library and numpy are imported here (pandas inside of functions, so that `--help` is fast), so that
any machine, including a Raspberry Pi that measures, can import it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.architectures import Architecture, Architectures, InputError, Op, Space, check_choices
from datasets.files.reading import no_such
from datasets.networks.collection import Networks

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "UNITS",
    "Architecture",
    "Architectures",
    "Cost",
    "CostModel",
    "Device",
    "InputError",
    "Measurements",
    "Networks",
    "Op",
    "Space",
    "find_device",
]


@dataclass(frozen=True)
class Device:
    """Hardware x runtime x precision x batch x threads, such as `1080ti_32`.

    Attributes:
        name: unique within a table.
        family: devices of one family rank networks similarly; splits by device never separate them.
        kind: gpu, server-cpu, mobile-cpu, asic, fpga, ...
        runtime: software that executes the network (onnxruntime, pytorch-eager, ...); empty if not recorded.
        precision: fp32, int8, ...
        batch: images per run; latencies are per run, not per image.
        features: numbers for device encoders (cores, clock, bandwidth, ...).
        threads: number of threads that compute.
    """

    name: str
    family: str
    kind: str
    runtime: str = ""
    precision: str = "fp32"
    batch: int = 1
    features: Mapping[str, float] = field(default_factory=dict)
    threads: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dictionary `d`; `Device(**d)` is the device."""
        return {**asdict(self), "features": dict(self.features)}


UNITS = {
    "latency_ms": "ms",
    "block_ms": "ms",
    "init_ms": "ms",
    "first_ms": "ms",
    "pre_ms": "ms",
    "exe_ms": "ms",
    "post_ms": "ms",
    "energy_mj": "mJ",
    "peak_mb": "MB",
    "accuracy_cifar10": "%",
    "accuracy_cifar100": "%",
    "accuracy_imagenet16_120": "%",
    "accuracy_digits": "%",
}
"""Units of known metrics; other metrics have none."""

MOST_DEVICES = 1000
"""Largest number of devices of a data set; comparisons of devices take its square."""


class Measurements:
    """Measured values as an immutable table.

    Attributes:
        architectures: the A distinct architectures of one space, or networks of any kinds.
        devices: the D devices.
        table: one row per measurement: `arch` and `device` (positions; device -1: none), `metric`, `value` in the
            metric's unit, and further columns of the source (`spread`, quantiles, ...; a `batch` must be that of the
            row's device).
        name: name of the data set in reports.
    """

    def __init__(self, architectures: Architectures, devices: Sequence[Device], table: pd.DataFrame, name: str) -> None:
        for column in ("arch", "device", "metric", "value"):
            if column not in table.columns:
                raise InputError(f"{name}: the table has no column '{column}'; it has {list(table.columns)}.")
        bad = ~np.isfinite(table["value"].to_numpy(float))
        physical = table["metric"].isin([metric for metric, unit in UNITS.items() if unit != "%"]).to_numpy()
        bad |= physical & ~(table["value"].to_numpy(float) > 0)
        if bad.any():
            first = table[bad].iloc[0]
            raise InputError(
                f"{name}: {bad.sum()} of {len(table)} values are missing, infinite, zero or negative "
                f"(first: {first['metric']} = {first['value']} in row {table.index[bad][0]}); "
                "drop these rows or mark them as failed measurements."
            )
        if len(devices) > MOST_DEVICES:
            raise InputError(
                f"{name} has {len(devices):,} devices, and a data set at most {MOST_DEVICES:,}; divide it."
            )
        for column, size in (("arch", len(architectures)), ("device", len(devices))):
            if len(table) and not table[column].between(-1 if column == "device" else 0, size - 1).all():
                raise InputError(f"{name}: column '{column}' points outside the {size} known ones.")
        if "batch" in table.columns:
            _check_batch(table, devices, name)
        self.architectures = architectures
        self.devices = tuple(devices)
        self.table = table
        self.name = name

    def __repr__(self) -> str:
        archs, devices = len(self.architectures), len(self.devices)
        return f"<{self.name}: {len(self.table)} values, {archs} architectures, {devices} devices>"

    def matrix(self, metric: str) -> np.ndarray:
        """Values [A, D] of a metric, NaN for missing ones; a metric without devices has one column.

        Rows of one architecture, device and metric are repeats of one measurement, and their median is the value.
        Predictors that adapt to few measurements also refuse contradictory repeats (`predictors.new_devices.few_shot`).

        Raises:
            InputError: there is no such metric.
        """
        rows = self.table[self.table["metric"] == metric]
        if rows.empty:
            raise InputError(f"{self.name} has no metric '{metric}'; it has {sorted(self.table['metric'].unique())}.")
        columns = rows["device"].to_numpy()
        deviceless = (columns < 0).all()
        out = np.full((len(self.architectures), 1 if deviceless else len(self.devices)), np.nan)
        cell = rows["arch"].to_numpy() * out.shape[1] + np.maximum(columns, 0)
        values = rows["value"].astype(float)
        if len(cell) > 1 and np.bincount(cell).max() > 1:
            values = values.groupby(cell).median()
            cell = values.index.to_numpy()
        out.ravel()[cell] = values.to_numpy()
        return out

    def device(self, name: str) -> Device:
        """The device of a name.

        Raises:
            InputError: there is none.
        """
        return find_device(self.devices, name)

    def where(
        self,
        *,
        archs: np.ndarray | None = None,
        devices: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Measurements:
        """The measurements of some architectures (positions), devices (names) and metrics, with new positions."""
        table, architectures, kept = self.table, self.architectures, self.devices
        if metrics is not None:
            table = table[table["metric"].isin(list(metrics))]
        if devices is not None:
            kept = tuple(self.device(name) for name in dict.fromkeys(devices))
            table = _renumber(table, "device", [self.devices.index(device) for device in kept], len(self.devices))
        if archs is not None:
            archs = np.asarray(archs)
            architectures = architectures[archs]
            table = _renumber(table, "arch", archs, len(self.architectures))
        return Measurements(architectures, kept, table, self.name)

    def distinct(self) -> Measurements:
        """Measurements with distinct architectures: rows of equal ones become repeats (`matrix`)."""
        archs, position = _distinct(self.architectures)
        if len(archs) == len(self.architectures):
            return self
        table = self.table.assign(arch=position[self.table["arch"].to_numpy()])
        return Measurements(archs, self.devices, table, self.name)

    @staticmethod
    def concat(parts: Sequence[Measurements], name: str = "") -> Measurements:
        """Concatenation of several tables; tables of different spaces become a table of networks.

        Args:
            parts: at least one; measurements of one architecture in two parts become repeats.
            name: name of the whole; by default the names of the parts with + between them.

        Raises:
            InputError: two parts describe a device of one name differently.
        """
        import pandas as pd

        devices: dict[str, Device] = {}
        for device in (device for part in parts for device in part.devices):
            if devices.setdefault(device.name, device) != device:
                raise InputError(
                    f"Two of the tables describe the device '{device.name}' differently; rename it in one of them."
                )
        first = parts[0].architectures
        for part in parts:
            check_choices(first.space, part.architectures.space)
        if isinstance(first, Networks) or any(part.architectures.space != first.space for part in parts):
            joined: Architectures = Networks(
                network for part in parts for network in Networks.of(part.architectures).networks
            )
        else:
            joined = Architectures(first.space, np.concatenate([part.architectures.decisions for part in parts]))
        names, start, tables = list(devices), 0, []
        for part in parts:
            numbers = np.array([*(names.index(device.name) for device in part.devices), -1])
            device = numbers[part.table["device"].to_numpy()]
            tables.append(part.table.assign(arch=part.table["arch"] + start, device=device))
            start += len(part.architectures)
        distinct, position = _distinct(joined)
        table = pd.concat(tables, ignore_index=True)
        table["arch"] = position[table["arch"].to_numpy()]
        name = name or "+".join(dict.fromkeys(part.name for part in parts))
        return Measurements(distinct, list(devices.values()), table, name)

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that depend on architectures, names of devices and values."""
        digest = hashlib.sha256(str(self.architectures.space).encode())
        archs = self.architectures
        networks = isinstance(archs, Networks)
        digest.update("".join(archs.space.canonical(archs)).encode() if networks else archs.decisions.tobytes())
        digest.update(repr([device.name for device in self.devices]).encode())
        metrics = self.table["metric"].to_numpy(str)
        order = np.lexsort([metrics, *(self.table[name].to_numpy(np.int64) for name in ("device", "arch"))])
        digest.update("".join(metrics[order]).encode())
        for column, kind in (("arch", np.int64), ("device", np.int64), ("value", np.float64)):
            digest.update(self.table[column].to_numpy(kind)[order].tobytes())
        return digest.hexdigest()[:16]


def _check_batch(table: pd.DataFrame, devices: Sequence[Device], name: str) -> None:
    """Refuse rows whose column `batch` is not the batch of their device."""
    rows = table[(table["device"] >= 0) & table["batch"].notna()]
    expected = np.array([device.batch for device in devices])[rows["device"].to_numpy(int)] if len(rows) else []
    wrong = rows[rows["batch"].to_numpy() != expected]
    if len(wrong):
        first = wrong.iloc[0]
        device = devices[int(first["device"])]
        raise InputError(
            f"{name}: {len(wrong)} rows of {device.name} have batch {first['batch']}, but the device is described with "
            f"batch {device.batch}; mend the one that is wrong, or name two devices."
        )


def _distinct(archs: Architectures) -> tuple[Architectures, np.ndarray]:
    """Architectures with distinct keys in order, and the new position of each [A]."""
    spaces = [n.space for n in archs.networks] if isinstance(archs, Networks) else [""] * len(archs)
    first: dict[tuple[str, str], int] = {}
    position = [first.setdefault(key, len(first)) for key in zip(spaces, archs.keys, strict=True)]
    kept = np.unique(position, return_index=True)[1]
    return archs[kept], np.array(position, int)


def _renumber(table: pd.DataFrame, column: str, positions: Sequence[int] | np.ndarray, size: int) -> pd.DataFrame:
    """Rows whose `column` is in `positions`, or -1 (no device), with new numbers from 0 in the order of `positions`."""
    new = np.full(size + 1, -2)
    new[np.asarray(positions, dtype=int)] = np.arange(len(positions))
    new[-1] = -1  # position -1: no device
    numbers = new[table[column].to_numpy()]
    return table[numbers > -2].assign(**{column: numbers[numbers > -2]}).reset_index(drop=True)


def find_device(devices: Sequence[Device], name: str) -> Device:
    """The device of a name.

    Raises:
        InputError: there is none.
    """
    if found := next((device for device in devices if device.name == name), None):
        return found
    raise no_such("device", name, [device.name for device in devices])


Cost = Callable[[Architectures], np.ndarray]
"""Function from architectures to numbers [A]: of a table, of a predictor or of live measurements."""


class CostModel(ABC):
    """Source of costs of architectures on devices."""

    @abstractmethod
    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The cost on one device, in the metric's unit."""
