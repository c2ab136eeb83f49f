"""Measurements in LETI's format: networks with hash, list of layers, adjacency matrix, timings in ms per device, FLOPs
and peak memory (section 1.2 of "LETI: Latency Estimation Tool and Investigation of Neural Networks Inference on Mobile
GPU", Ponomarev et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Dataset
from datasets.files.reading import read_json, shortened
from datasets.files.table_file import check_numbers, device_of
from datasets.records import Architectures, Device, InputError, Measurements
from datasets.spaces.nasbench101 import NasBench101
from datasets.triple import from_triple, to_triple


def to_leti(measurements: Measurements, metric: str = "latency_ms") -> dict[str, Any]:
    """Measurements as plain containers for JSON.

    Returns:
        config: the skeleton by the benchmark's names. devices: descriptions of the devices. networks: hash (MD5, equal
        for isomorphic cells), layers [V], matrix [V, V], latency_ms {device: ms} of the measured devices, flops, and
        peak_memory in bytes.

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
    """The inverse of `to_leti`. FLOPs and memory are computed anew. Without `config` the skeleton is the benchmark's,
    without `devices` a device has its name only; hashes are checked where they are given.

    Raises:
        InputError: the content is malformed, or a hash is not that of its cell.
    """
    import pandas as pd

    networks = content.get("networks") if isinstance(content, dict) else None
    if not isinstance(networks, list) or not networks:
        raise InputError(
            f"{name} is not as LETI stores measurements: a list `networks`, one or more, of layers, matrix, {metric}."
        )
    for position, item in enumerate(networks):
        _check_network(item, metric, f"Network {position} of {name}")
    config, listed = content.get("config", {}), content.get("devices", [])
    if not isinstance(config, dict) or not isinstance(listed, list):
        raise InputError(f"{name} is not as LETI stores measurements: `config` is a mapping and `devices` a list.")
    cells = [from_triple(item["matrix"], item["layers"], config) for item in networks]
    timings, hashes = [item[metric] for item in networks], [item.get("hash", "") for item in networks]
    described = [device_of(device, f"{name}, device {number}") for number, device in enumerate(listed)]
    known = {device.name: device for device in described}
    space = cells[0].space
    archs = Architectures(space, np.concatenate([cell.decisions for cell in cells]))
    assert isinstance(space, NasBench101)
    for position, (stated, digest) in enumerate(zip(hashes, space.hash(archs), strict=True)):
        if stated and stated != digest:
            raise InputError(
                f"Network {position} of {name} states the hash {shortened(stated)}, but its cell's is {digest}."
            )
    devices = list(dict.fromkeys(device for row in timings for device in row))
    table = pd.DataFrame(
        [(arch, devices.index(device), metric, ms) for arch, row in enumerate(timings) for device, ms in row.items()],
        columns=["arch", "device", "metric", "value"],
    )
    return Measurements(archs, [known.get(device) or Device(device, device, "") for device in devices], table, name)


def _check_network(item: Any, metric: str, where: str) -> None:
    if not isinstance(item, dict) or not {"matrix", "layers", metric} <= item.keys():
        raise InputError(f"{where} is not as LETI stores measurements: it has layers, matrix and {metric}.")
    layers = item["layers"]
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise InputError(f"{where}: `layers` must be a list of texts.")
    if not isinstance(item["matrix"], list) or len(item["matrix"]) != len(layers) or len(layers) > MOST_LAYERS:
        raise InputError(f"{where}: `matrix` must have one row a layer, and at most {MOST_LAYERS}.")
    check_numbers(item[metric], metric, where, positive=True)


MOST_BYTES = 512 * 2**20
"""Largest file; the benchmark's 423,624 cells have about 200 million bytes."""
MOST_LAYERS = 100
"""Most layers in a network, before it is pruned to seven."""


@dataclass
class Leti(Dataset):
    """A JSON file of `python -m datasets leti`.

    Attributes:
        path: the file.
    """

    path: Path = Path("leti.json")

    def measurements(self) -> Measurements:
        content = read_json(Path(self.path), f"`python -m datasets leti DATA {self.path}` writes one", MOST_BYTES)
        return from_leti(content, Path(self.path).stem)
