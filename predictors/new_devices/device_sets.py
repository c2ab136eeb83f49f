"""Sets of source and target devices, read from files of configs/device_sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.files.described import fitting
from datasets.files.reading import read_yaml, shortened
from datasets.records import Device, InputError, Measurements
from predictors.config import from_config

MIXED = "A set of devices needs data of one space."


@dataclass(frozen=True)
class DeviceSet:
    """Source devices, target devices and their measurements.

    Attributes:
        name: name of the set.
        measurements: of all these devices.
        sources: names of source devices.
        targets: names of target devices.
        left_out: names of devices that the data lack.
        whole: by name, tables of targets that are scored instead of the architectures that all devices have.
    """

    name: str
    measurements: Measurements
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    whole: Mapping[str, Measurements] = field(default_factory=dict)

    def table(self, target: str) -> Measurements:
        """Measurements of a target that samples are drawn from and that predictions are scored on."""
        return self.whole.get(target) or self.measurements.where(devices=[target])

    def shares_family(self, target: str) -> bool:
        """Whether a source device has the target's family."""
        m = self.measurements
        return m.device(target).family in {m.device(name).family for name in self.sources}


def read_sets(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file of device sets without loading data.

    Returns:
        `sets`: by name, `data` (configurations of data sets), `sources`, `targets` and, where targets are scored on
        larger tables than what all devices have, `whole` (configurations of data sets); `leave_out`: by name, `data`,
        for sets `NAME:FAMILY`, one per family of devices, with all others as sources.

    Raises:
        InputError: the file is missing or has another structure.
    """
    tree = read_yaml(path, "name a file of device sets as those of configs/device_sets")
    needed = {"sets": ("data", "sources", "targets"), "leave_out": ("data",)}
    if not isinstance(tree, dict) or not all(isinstance(tree.get(part, {}), dict) for part in needed):
        raise InputError(f"{path} is no file of device sets: each needs data, sources and targets.")
    found: dict[str, dict[str, Any]] = {part: {} for part in needed}
    for part, keys in needed.items():
        for name, entry in tree.get(part, {}).items():
            where = f"{path}: '{shortened(name)}'"
            if not isinstance(entry, dict) or any(not isinstance(entry.get(key), list) for key in keys):
                raise InputError(f"{where} is no set of devices: it needs lists of {', '.join(keys)}.")
            hints = {"data": list[dict[str, Any]], "sources": list[str], "targets": list[str]}
            found[part][str(name)] = {key: list(fitting(entry[key], hints[key], f"{where}: {key}")) for key in keys}
            whole = fitting(entry.get("whole", []), hints["data"], f"{where}: whole")
            found[part][str(name)] |= {"whole": list(whole)}
    if not any(found.values()):
        raise InputError(f"{path} holds no set of devices: it needs `sets` or `leave_out`.")
    return found


def load_set(path: Path, name: str) -> DeviceSet:
    """Load a set of a file; its architectures are those that all of its data have. `SET:FAMILY` holds the sources of
    SET only, with this family of them as targets (to choose settings by)."""
    parts = read_sets(path)
    table, _, family = name.partition(":")
    entry = parts["sets"].get(table) or parts["leave_out"].get(table if family else "")
    if entry is None:
        known = [*parts["sets"], *(f"{name}:FAMILY" for name in parts["leave_out"])]
        raise InputError(f"{path} has no set '{shortened(name)}'; it has {', '.join(known)}.")
    m = _joined([_measurements(json.dumps(data)) for data in entry["data"]])
    members = _without(family, m, entry.get("sources"), table) if family else entry
    known_names = {device.name for device in m.devices}
    sources, targets = (tuple(n for n in members[part] if n in known_names) for part in ("sources", "targets"))
    left_out = tuple(n for n in [*members["sources"], *members["targets"]] if n not in known_names)
    if not sources or not targets:
        raise InputError(f"The data of set '{name}' have {len(sources)} of its sources and {len(targets)} targets.")
    whole: dict[str, Measurements] = {}
    for data in entry["whole"]:
        larger = _measurements(json.dumps(data))
        if larger.architectures.space != m.architectures.space:
            raise InputError(MIXED)
        whole |= {d.name: larger.where(devices=[d.name]) for d in larger.devices if d.name in targets}
    return DeviceSet(name, m.where(devices=[*sources, *targets]), sources, targets, left_out, whole)


def _without(family: str, m: Measurements, among: Sequence[str] | None, name: str) -> dict[str, list[str]]:
    """Devices of a family as targets, the others as sources; of all devices, or of those named in `among`."""
    devices = [device for device in m.devices if among is None or device.name in among]
    if family not in (families := dict.fromkeys(device.family for device in devices)):
        raise InputError(f"{name} has no devices of the family '{family}'; it has {', '.join(families)}.")
    return {
        "sources": [device.name for device in devices if device.family != family],
        "targets": [device.name for device in devices if device.family == family],
    }


@lru_cache(maxsize=4)
def _measurements(config: str) -> Measurements:
    """Measurements of a configured data set, cached for sweeps."""
    return from_config(json.loads(config), Dataset).measurements()  # type: ignore[type-abstract]


def _joined(tables: Sequence[Measurements]) -> Measurements:
    """Measurements of the devices of all tables on their common architectures, in the order of the first table."""
    import pandas as pd

    if not tables:
        raise InputError("A set of devices needs data; name a data set at least.")
    first = tables[0]
    if any(m.architectures.space != first.architectures.space for m in tables):
        raise InputError(MIXED)
    if len(tables) == 1:
        return first
    places = np.array([m.architectures.positions(first.architectures) for m in tables])  # [tables, architectures]
    places = places[:, (places >= 0).all(axis=0)]
    parts, devices, count = [], list[Device](), 0
    for m, place in zip(tables, places, strict=True):
        part = m.where(archs=place)
        parts.append(part.table.assign(device=part.table["device"] + count))
        devices += part.devices
        count += len(part.devices)
    return Measurements(
        first.architectures[places[0]], devices, pd.concat(parts, ignore_index=True), "+".join(m.name for m in tables)
    )
