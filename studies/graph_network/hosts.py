"""A machine of which nothing was learnt but ten networks: `milan`, from the public networks of `genoa`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from datasets.files.reading import read_yaml
from datasets.measured import Measured
from datasets.records import Measurements
from datasets.splits import HeldOutFamilies
from predictors.base import Adaptable, Predictor, Uncertain
from predictors.config import from_config
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.operations import OPERATIONS
from predictors.networks.table_files import layer_tables
from studies.arena.protocols import FOLDS, LEVEL, Refitted, scores
from studies.study import ROOT

PREDICTORS = ("layer_sum", "network_conditioned", "network_gaussian", "network_nearest", "network_blend")
BUNDLED = ROOT / "datasets" / "bundled"
SAMPLES = 10
DEVICES = ("milan_ort_fp32_1", "milan_openvino_fp32_1")


def hosts() -> list[dict]:
    """Rows of the part `hosts`, by predictor and device of `milan`; predictors learn the devices of `genoa` first,
    `layer_sum` from its layers, too, but for `network_blend`, which is fitted to the ten networks alone.

    Networks are `measured` where those that are scored were measured on `genoa`, as in the arena. They are `unseen`
    where families of networks are divided into ten folds, which are scored one by one: neither machine's networks of a
    fold were learnt from. Ten networks are the predictor's choice among those that `milan` measured.
    """
    genoa, milan = (_table(name) for name in ("networks", "networks_milan"))
    return [row | {"predictor": name, "networks": networks} for name in PREDICTORS
            for networks, folds in (("measured", 1), ("unseen", FOLDS))
            for row in _scored(genoa, milan, name, folds)]  # fmt: skip


def _table(name: str) -> Measurements:
    return Measured(BUNDLED / f"{name}.parquet").measurements().where(metrics=["latency_ms"])


def _learnt(name: str, genoa: Measurements) -> Any:
    """A predictor of the devices of `genoa` that learns new ones."""
    if name == "layer_sum":
        return _layers(tuple(device.name for device in genoa.devices)).calibrated(genoa)
    tree = read_yaml(ROOT / "configs" / "predictors" / f"{name}.yaml", "")
    made = from_config(tree, Predictor)  # type: ignore[type-abstract]
    return made.fit(genoa) if isinstance(made, Adaptable) else Refitted(made)


@cache
def _layers(devices: tuple[str, ...]) -> LayerSum:
    """Sums of the layers of some devices, before networks calibrate them."""
    return LayerSum.summing(Learnt().fit(layer_tables(BUNDLED, LAYERS, OPERATIONS, devices)))


def _scored(genoa: Measurements, milan: Measurements, name: str, folds: int) -> Iterator[dict]:
    """Scores on each device of `milan`, over the networks of all folds of families; one fold: of all networks but the
    ten."""
    found: dict[str, list[np.ndarray]] = {device: [] for device in DEVICES}
    for fold in range(folds):
        left = (
            HeldOutFamilies(fold, folds)(genoa, np.random.default_rng(0)).test.architectures.keys if folds > 1 else []
        )
        predictor = _learnt(name, genoa.where(archs=_measured(genoa, left, False)))
        for name_of, parts in found.items():
            own = milan.where(devices=[name_of])
            pool = own.where(archs=_measured(own, left, False))
            chosen = predictor.choose(pool.architectures, SAMPLES, np.random.default_rng(fold))
            samples = pool.where(archs=pool.architectures.positions(chosen))
            scored = own.where(
                archs=_measured(own, left, True) if left else _measured(own, samples.architectures.keys, False)
            )
            if not len(scored.architectures):
                continue
            new, low_high = predictor.adapt(samples, own.devices[0]), np.full((2, len(scored.architectures)), np.nan)
            if isinstance(new, Uncertain):
                low_high = np.stack(new.belief(scored.architectures, own.devices[0]).interval(LEVEL))
            both = scored.matrix("latency_ms")[:, 0], new.predict(scored.architectures, own.devices[0])
            parts.append(np.stack([*both, *low_high]))
    for name_of, parts in found.items():
        whole = np.concatenate(parts, axis=1)
        ends = whole[2:] if not np.isnan(whole[2:]).all() else (None, None)
        yield {"device": name_of, "samples": SAMPLES, **scores(*whole[:2], *ends)}


def _measured(m: Measurements, keys: Sequence[str], among: bool) -> np.ndarray:
    """Positions of measured networks whose keys are among some, or are not."""
    known = ~np.isnan(m.matrix("latency_ms")).all(axis=1)
    return np.flatnonzero((np.isin(m.architectures.keys, list(keys)) == among) & known)
