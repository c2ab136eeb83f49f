"""Measurements as LETI stores them (section 1.2): a sequence of networks, each with its hash, list of layers, adjacency
matrix, timings in ms a device, FLOPs and peak memory; in and out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.nasbench101 import NasBench101
from datasets.triple import from_triple, to_triple


def to_leti(measurements: Measurements, metric: str = "latency_ms") -> dict[str, Any]:
    """Plain containers that JSON can hold.

    Returns:
        config: of the skeleton, by the benchmark's names. devices: what the timings were measured on. networks: hash
        (MD5, isomorphic cells share it), layers [V], matrix [V, V], latency_ms {device: ms}, flops, peak_memory in
        bytes; devices that did not measure a network are left out of its timings.

    Raises:
        InputError: the architectures are no NAS-Bench-101 cells.
    """
    archs = measurements.architectures
    if not isinstance(archs.space, NasBench101):
        raise InputError(f"LETI's format holds cells of NAS-Bench-101, not architectures of {archs.space}.")
    values, totals, names = measurements.matrix(metric), archs.space.totals(archs), archs.space.hash(archs)
    networks, config = [], dict[str, int]()
    for row in range(len(archs)):
        matrix, layers, config = to_triple(archs.space.architecture(archs.decisions[row]))
        timings = zip(measurements.devices, values[row].tolist(), strict=True)
        networks.append(
            {
                "hash": names[row],
                "layers": layers,
                "matrix": matrix.tolist(),
                metric: {device.name: value for device, value in timings if not np.isnan(value)},
                "flops": int(totals["flops"].iloc[row]),
                "peak_memory": int(totals["peak_bytes"].iloc[row]),
            }
        )
    return {"config": config, "devices": [device.to_dict() for device in measurements.devices], "networks": networks}


def from_leti(content: Any, name: str, metric: str = "latency_ms") -> Measurements:
    """The inverse of `to_leti`. FLOPs and memory are computed anew; `config` and `devices` may be missing, then the
    skeleton is the benchmark's and a device is no more than its name; so may be hashes, which are checked otherwise.

    Raises:
        InputError: the content is malformed, or a hash is not that of its cell.
    """
    import pandas as pd

    try:
        config = content.get("config", {})
        cells = [from_triple(item["matrix"], item["layers"], config) for item in content["networks"]]
        timings = [{str(device): float(ms) for device, ms in item[metric].items()} for item in content["networks"]]
        told = [item.get("hash", "") for item in content["networks"]]
        known = {device["name"]: Device(**device) for device in content.get("devices", [])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{name} is not as LETI stores measurements: a list `networks` of layers, matrix and {metric} ({error})."
        ) from error
    if not cells:
        raise InputError(f"{name} holds no network.")
    space = cells[0].space
    archs = Architectures(space, np.concatenate([cell.decisions for cell in cells]))
    assert isinstance(space, NasBench101)
    for position, (said, digest) in enumerate(zip(told, space.hash(archs), strict=True)):
        if said and said != digest:
            raise InputError(f"Network {position} of {name} says that its hash is {said}, but its cell's is {digest}.")
    devices = list(dict.fromkeys(device for row in timings for device in row))
    table = pd.DataFrame(
        [(arch, devices.index(device), metric, ms) for arch, row in enumerate(timings) for device, ms in row.items()],
        columns=["arch", "device", "metric", "value"],
    )
    return Measurements(archs, [known.get(device) or Device(device, device, "") for device in devices], table, name)


@dataclass
class Leti(Dataset):
    """A JSON file of `python -m datasets leti`.

    Attributes:
        path: of the file.
    """

    path: Path = Path("leti.json")

    def measurements(self) -> Measurements:
        if not Path(self.path).is_file():
            raise InputError(f"There is no file {self.path}; `python -m datasets leti DATA {self.path}` writes one.")
        try:
            content = json.loads(Path(self.path).read_text())
        except ValueError as error:
            raise InputError(f"{self.path} is damaged or no JSON ({error}).") from error
        return from_leti(content, Path(self.path).stem)
