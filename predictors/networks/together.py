"""One predictor for everything measured: layers, cells and whole networks, as networks of any kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.records import InputError, Measurements, Networks
from encoders.flat import Joined
from encoders.kinds import KindTotals
from predictors.base import Log
from predictors.graph_net import GraphNet
from predictors.networks.table_files import read_tables
from predictors.new_devices.conditioned import Conditioned
from predictors.regressor import Regressor

HELD = 0.1
"""Share of each table that is held out."""
RUN = {"latency_ms": "latency_ms", "exe_ms": "latency_ms"}
"""Metrics that are the time of a run: of a network, and of a network of one layer between its copies."""


def one_for_all() -> Regressor:
    """The default predictor: a `GraphNet`, adapted to new devices by Bayesian regression on its predictions and on
    totals by kind of op."""
    return Conditioned(source=GraphNet(), encoder=Joined([KindTotals()]), labels="log")


@dataclass(frozen=True)
class Together:
    """Tables joined as networks of any kinds.

    Attributes:
        train: what is learnt from.
        held: what is held out, by name of the table.
    """

    train: Measurements
    held: dict[str, Measurements]


def together(folder: Path, names: Sequence[str], devices: Sequence[str], most: int, seed: int) -> Together:
    """Read and divide tables of a folder.

    Args:
        folder: folder of the tables.
        names: names of tables (`read_beside`).
        devices: names of the devices to learn; empty: all.
        most: largest number of architectures of a table; of larger ones, so many are drawn.
        seed: seed of the draws.

    Raises:
        InputError: a table is missing, or has nothing of these devices.
    """
    rng, train, held = np.random.default_rng(seed), list[Measurements](), dict[str, Measurements]()
    for name, m in zip(names, read_tables(folder, names, devices), strict=True):
        m = m.where(archs=np.unique(m.table["arch"]))
        drawn = rng.permutation(len(m.architectures))[:most]
        m = _run_times(m.where(archs=drawn))
        out = max(1, round(HELD * len(drawn)))
        held[name] = m.where(archs=np.arange(out))
        train.append(m.where(archs=np.arange(out, len(drawn))))
    return Together(Measurements.concat(train, "+".join(names)), held)


def _run_times(m: Measurements) -> Measurements:
    """The times of a run as `latency_ms` of networks; other metrics and columns are left out."""
    table = m.table[m.table["metric"].isin(list(RUN))]
    if table.empty:
        raise InputError(
            f"{m.name}.parquet has no times of runs on these devices; leave it out of --names, or name other --devices."
        )
    table = table.assign(metric=table["metric"].map(RUN))[["arch", "device", "metric", "value"]]
    return Measurements(Networks.of(m.architectures), m.devices, table, m.name)


def learnt_together(tables: Together, predictor: Regressor | None, log: Log) -> Regressor:
    """A predictor fitted to tables; its metadata hold mean absolute relative errors on what was held out, in percent,
    by table and device."""
    predictor = predictor or one_for_all()
    validation = Measurements.concat(list(tables.held.values()))
    names = [device.name for device in tables.train.devices]
    predictor.fit(tables.train, validation.where(devices=names), log)
    errors: dict[str, Any] = {}
    for name, m in tables.held.items():
        known = m.matrix(predictor.metric)
        predicted = predictor.predict_all(m.architectures)[:, [names.index(device.name) for device in m.devices]]
        off = 100 * np.nanmean(np.abs(predicted / known - 1), axis=0)
        errors[name] = {device.name: round(float(value), 2) for device, value in zip(m.devices, off, strict=True)}
        log(f"{name}: {len(known)} held out, mean error {np.nanmean(off):.1f} %")
    predictor.metadata_ = {"errors": errors, "tables": {"train": tables.train.fingerprint()}}
    return predictor
