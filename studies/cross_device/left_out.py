"""What settings of `Conditioned` are chosen by: `python -m studies.cross_device.left_out` takes every source device of
NASFLAT's sets in turn for a new one and writes runs/left_out/summary.json. No target of the set is looked at.

Kinds of sources: `device`: all others, so that twins stay; `family`: those of other families; `far`: the half of the
others whose latencies correlate least with the new device's, since the published sets were cut in this way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.cli import main
from datasets.files.writing import write_text
from predictors.base import Adaptable, Predictor
from predictors.linear import Mean
from predictors.new_devices.conditioned import Conditioned
from predictors.new_devices.cross_device import evaluate_transfer
from predictors.new_devices.device_sets import DeviceSet, load_set
from predictors.new_devices.proxies import NearestDevice
from predictors.new_devices.transfer_report import margins, tails
from predictors.scaling import Scale

SETS = ("ND", "FD", "F1", "F2", "F3", "F4", "FA", "N1", "N2", "N3", "N4", "NA")
SHOTS = (10, 20)
CELLS, SCORED = 900, 1000
"""Architectures that are measured on each source, and others that are scored."""


def rows_of() -> dict[str, Predictor]:
    """The predictors that are compared, by name."""
    return {
        "conditioned": Conditioned(),
        "all_sources": Conditioned(averaging=False),
        "physics_only": Conditioned(source=Mean(scale=Scale("log"))),
        "nearestdevice": NearestDevice(),
    }


def left_out(devices: DeviceSet) -> Iterator[tuple[str, DeviceSet]]:
    """Kinds, and sets of which each has one source of `devices` as its target."""
    m = devices.measurements
    rng = np.random.default_rng(0)
    m = m.where(archs=np.sort(rng.permutation(len(m.architectures))[: CELLS + SCORED]), devices=devices.sources)
    names, values = [device.name for device in m.devices], np.log(m.matrix("latency_ms"))
    alike = np.corrcoef(values[~np.isnan(values).any(axis=1)].T)
    for i, target in enumerate(m.devices):
        others = [name for name in names if name != target.name]
        family = [name for name in others if m.device(name).family != target.family]
        far = [names[j] for j in np.argsort(alike[i]) if j != i][: max(1, len(others) // 2)]
        kinds = {"device": others, "family": family if len(family) < len(others) else [], "far": far}
        for kind, sources in kinds.items():
            if sources:
                yield kind, replace(devices, measurements=m, sources=tuple(sources), targets=(target.name,))


def run(
    out: Path = Path("runs/left_out"),
    sets: Path = Path("configs/device_sets/nasflat.yaml"),
    only: str = "",
    draws: int = 2,
) -> None:
    """Score `Conditioned`, with all sources, without any, and the nearest device on sources that are left out.

    Args:
        out: folder of summary.json.
        sets: file of device sets.
        only: names of sets, separated by commas; by default all of NASFLAT's.
        draws: number of draws of samples.
    """
    rows: list[dict[str, Any]] = []
    for name in only.split(",") if only else SETS:
        for kind, devices in left_out(load_set(sets, name)):
            for predictor, model in rows_of().items():
                assert isinstance(model, Adaptable)
                scored = evaluate_transfer(devices, model, cells=CELLS, shots=SHOTS, draws=draws, sampler="random")
                rows += [{"part": "score", "predictor": predictor, "kind": kind, **row} for row in scored]
        print(f"{name}: {len(rows)} rows", flush=True)
    table = pd.DataFrame(rows)
    named = table.assign(device_set=table["device_set"] + " " + table["kind"])
    means = table[table["cells"] == "all"].astype({"spearman": float})
    print(means.groupby(["shots", "kind", "predictor"])["spearman"].mean().unstack("predictor").round(4).to_string())
    write_text(out / "summary.json", json.dumps([*rows, *margins(named), *tails(named)], indent=1, default=float))


if __name__ == "__main__":
    main(run, "python -m studies.cross_device.left_out")
