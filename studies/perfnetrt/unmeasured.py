"""How far off prices are where nothing was measured: `python -m studies.perfnetrt.unmeasured` prints the standard
deviations that `predictors.networks.unmeasured` widens intervals by, from the bundled tables (a minute)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.cli import main
from datasets.measured import Measured
from datasets.networks.ops import BYTES
from datasets.records import Architectures, Measurements
from predictors.networks.learnt import LAYERS, Learnt, trees
from predictors.networks.pieces import nearest
from predictors.networks.unmeasured import FAR
from predictors.regressor import Regressor

TABLES = Path("datasets/bundled")


def work_of(m: Measurements) -> np.ndarray:
    """Operations, and bytes moved, of layers [A, 2]."""
    space = cast(LayerSpace, m.architectures.space)
    low = np.array([feature.low for feature in space.features])
    columns = (m.architectures.decisions.astype(np.int64) + low).T
    work = space.work(dict(zip([feature.name for feature in space.features], columns, strict=True)))
    return np.stack([work.operations, BYTES * (work.inputs + work.outputs + work.params)], axis=1)


def root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _shared() -> dict[str, Measurements]:
    """Tables of layers by kind, of the devices that all of them have: those without the layers beyond their limits, on
    another machine, that lie beside them."""
    tables = [Measured(TABLES / f"{kind}.parquet").measurements() for kind in LAYERS]
    names = [device.name for device in tables[0].devices if all(device in m.devices for m in tables)]
    return {kind: m.where(devices=names) for kind, m in zip(LAYERS, tables, strict=True)}


def by_bytes() -> list[float]:
    """Per kind of layer and device, the root mean square log error of a session and a call plus bytes at the best
    rate."""
    costs, found, tables = Learnt(), list[float](), _shared()
    costs.devices = tables[LAYERS[0]].devices
    machine = costs._machine([tables[kind] for kind in LAYERS])
    for m in tables.values():
        ms = np.stack([m.matrix("exe_ms")[:, m.devices.index(device)] for device in costs.devices], axis=1)
        errors = np.log(ms / (1.5 * machine[:, 2] + work_of(m)[:, 1:] / machine[:, 1]))
        found += np.sqrt(np.nanmean(errors**2, axis=0)).tolist()
    return found


def far(learner: Callable[[], Regressor] = trees, part: int = 16) -> list[float]:
    """Per kind of layer and device, the root mean square log error of layers with more than `FAR` times the work of the
    nearest that a predictor was fitted to, which are within 1 / `part` of the table's limits."""
    costs, found, tables = Learnt(), list[float](), _shared()
    costs.devices = tables[LAYERS[0]].devices
    costs.machine = costs._machine([tables[kind] for kind in LAYERS])
    for m in tables.values():
        space, work = cast(LayerSpace, m.architectures.space), work_of(m)
        small = replace(space, megamacs=-(-space.megamacs // part), megabytes=-(-space.megabytes // part))
        fits = (work <= 1e6 * np.array([small.megamacs, small.megabytes])).all(axis=1)
        fitted, others = learner().fit(m.where(archs=np.flatnonzero(fits))), m.where(archs=np.flatnonzero(~fits))
        names, low = [f.name for f in space.features], np.array([f.low for f in space.features])
        values = others.architectures.decisions.astype(np.int64) + low
        archs, wanted, near = nearest(small, [dict(zip(names, row, strict=True)) for row in values.tolist()])
        columns = [fitted.column(device) for device in costs.devices]
        alone = np.maximum(fitted.predict_all(Architectures(space, archs.decisions))[:, columns], 1e-6)
        session, ratio = costs.machine[:, 2], costs.roofline(wanted) / costs.roofline(near)
        predicted = np.maximum(alone - session, 0.1 * alone) * ratio + session
        ms = np.stack([others.matrix("exe_ms")[:, others.devices.index(device)] for device in costs.devices], axis=1)
        errors = np.where(ratio > FAR, np.log(ms / predicted), np.nan)
        found += np.sqrt(np.nanmean(errors**2, axis=0)).tolist()
    return found


def _networks(device: str) -> np.ndarray:
    """Milliseconds of the zoo's and the random networks [A] on a device."""
    columns = []
    for name in ("zoo", "convnet"):
        m = Measured(TABLES / f"{name}.parquet").measurements()
        columns.append(m.matrix("latency_ms")[:, [device.name for device in m.devices].index(device)])
    return np.concatenate(columns)


def precision() -> list[float]:
    """Per runtime, the root mean square log ratio of int8 to fp32."""
    ratios = [
        np.log(_networks(f"milan_{name}_int8_1") / _networks(f"milan_{name}_fp32_1"))
        for name in ("ort", "litert", "openvino")
    ]
    return [float(np.sqrt(np.nanmean(ratio**2))) for ratio in ratios]


def runtime() -> list[float]:
    """Per pair of runtimes, the standard deviation of the log ratio of one's times to the other's."""
    pairs = itertools.combinations([_networks(f"milan_{name}_fp32_1") for name in ("ort", "litert", "openvino")], 2)
    return [float(np.nanstd(np.log(one / other))) for one, other in pairs]


def check() -> None:
    """Print the standard deviations, and their root mean squares."""
    for part in (by_bytes, far, precision, runtime):
        numbers = part()
        each = ", ".join(f"{number:.2f}" for number in numbers)
        print(f"{part.__name__}: {root_mean_square(numbers):.2f} (root mean square of {each})")


if __name__ == "__main__":
    main(check, prog="python -m studies.perfnetrt.unmeasured")
