"""Tables of the arena that are parts of data sets, or several of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from datasets.measured import Measured
from datasets.public.accel_nasbench import AccelNasBench
from datasets.public.ai_hub import AiHub
from datasets.public.ncnn import Ncnn, device, read_rows
from datasets.records import Measurements, Networks

SHARE = 0.85
"""Networks that fewer of ncnn's processors measured are no part of `ncnn_complete`."""
LEAST = 20
"""Devices of AI Hub with fewer networks are left out of `ai_hub`."""
EVERY = 5
"""Accel-NASBench's networks are every fifth one, so that a study takes minutes."""


def ncnn(hardware: Literal["processor", "gpu"]) -> Measurements:
    """ncnn's networks on processors, those in int8 as networks of their own, or on GPUs."""
    m = Ncnn(hardware=hardware, quantised="networks").measurements()
    return Measurements(m.architectures, m.devices, m.table, f"ncnn-{hardware}s")


def ncnn_complete() -> Measurements:
    """The part of ncnn's table without holes: networks that most processors measured, on those that measured all of
    them. The family of a device is its machine, so that a machine is left out with all its settings and no other."""
    m = ncnn("processor")
    known = ~np.isnan(m.matrix("latency_ms"))
    m = m.where(archs=np.flatnonzero(known.mean(axis=1) >= SHARE))
    whole = ~np.isnan(m.matrix("latency_ms")).any(axis=0)
    m = m.where(devices=[found.name for found, kept in zip(m.devices, whole, strict=True) if kept])
    machines = {device(row).name: row.machine.name.removesuffix("_gpu") for row in read_rows()}
    devices = [replace(found, family=machines[found.name]) for found in m.devices]
    return Measurements(m.architectures, devices, m.table, "ncnn-complete")


def ai_hub(graphs: bool = False) -> Measurements:
    """AI Hub's latencies, of models by name on devices that measured many; or of those whose graphs are known."""
    m = AiHub(graphs=graphs).measurements().where(metrics=["latency_ms"])
    count = (~np.isnan(m.matrix("latency_ms"))).sum(axis=0)
    least = 1 if graphs else LEAST
    m = m.where(devices=[found.name for found, n in zip(m.devices, count, strict=True) if n >= least])
    return Measurements(m.architectures, m.devices, m.table, "ai-hub-graphs" if graphs else "ai-hub")


def accel_nasbench() -> Measurements:
    """Milliseconds per image, at each device's own batch, of a part of Accel-NASBench's networks."""
    m = AccelNasBench().measurements().where(metrics=["throughput"])
    m = m.where(archs=np.arange(0, len(m.architectures), EVERY))
    table = m.table.assign(metric="latency_ms", value=1000 / m.table["value"])
    return Measurements(m.architectures, m.devices, table, "accel-nasbench")


def hosts() -> Measurements:
    """Public networks on both machines: `genoa` in fp32 on three runtimes, `milan` in fp32, in int8 and on two threads.

    A network's family is that of its name, on both."""
    return Measurements.concat(
        [Measured(Path(f"datasets/bundled/{name}.parquet")).measurements().where(metrics=["latency_ms"])
         for name in ("networks", "networks_milan")],
        "hosts",
    )  # fmt: skip


def bundled() -> Measurements:
    """Random networks and published ones on eleven runtimes; a family is what a network is built on, and every random
    network is its own."""
    parts = [Measured(Path(f"datasets/bundled/{name}.parquet")).measurements() for name in ("convnet", "zoo")]
    m = Measurements.concat(parts, "convnet+zoo")
    families = [key.rstrip("0123456789_") if "|" not in key else key for key in m.architectures.keys]
    table = m.table.assign(family=[families[arch] for arch in m.table["arch"]])
    return Measurements(Networks.of(m.architectures), m.devices, table, m.name)
