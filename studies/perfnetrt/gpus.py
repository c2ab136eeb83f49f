"""Convolutions and dense layers on GPUs that are held out in turn: errors of three predictors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.devices import NUMBERS
from datasets.records import Device, Measurements
from encoders.layer import LayerPhysics, LayerWork
from predictors.layers.roofline_trees import NEEDED, RooflineTrees
from predictors.metrics import report
from studies.perfnetrt.models import trees

PER_GPU = 1500
"""Layers per GPU that a predictor of all GPUs learns from, and is tested on."""
SETTINGS = {"trees": 300, "learning_rate": 0.1, "depth": 6, "columns": 0.5, "min_child_weight": 3.0}
"""Of boosted trees."""


def thinned(m: Measurements, most: int) -> Measurements:
    """At most `most` layers per device, drawn at random."""
    table = m.table.sample(frac=1, random_state=0).groupby("device").head(most)
    kept = np.unique(table["arch"])
    return Measurements(m.architectures, m.devices, table, m.name).where(archs=kept)


def measured_and_roofline(m: Measurements, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Measured times of a device's layers and those of its published roofline, in ms [n] each."""
    y = m.matrix("latency_ms")[:, [d.name for d in m.devices].index(device.name)]
    rows = np.flatnonzero(~np.isnan(y))
    return y[rows], roofline_ms(m, rows, device)


def roofline_ms(m: Measurements, rows: np.ndarray, device: Device) -> np.ndarray:
    """Times [n] of the layers in these rows by a device's published peak rate and bandwidth."""
    rate, bandwidth = (device.features[name] for name in NEEDED)
    work = LayerWork()(m.architectures[rows]).astype(float)
    return np.maximum(2 * work[:, 0] / rate, work[:, 1] / bandwidth)


def nearest_gpu(device: Device, others: Sequence[Device]) -> Device:
    """The GPU whose published numbers differ least in their logarithms."""
    names = [name for name in NUMBERS if all(name in known.features for known in (device, *others))]
    distances = [sum(np.log(device.features[n] / other.features[n]) ** 2 for n in names) for other in others]
    return others[int(np.argmin(distances))]


def held_out_rows(m: Measurements, device: Device) -> list[dict]:
    """Errors of three predictors on a GPU that none of them was trained on."""
    others = [other for other in m.devices if other.name != device.name]
    known = m.where(devices=[other.name for other in others])
    measured, published = measured_and_roofline(m, device)
    y = m.matrix("latency_ms")[:, [d.name for d in m.devices].index(device.name)]
    rows = np.flatnonzero(~np.isnan(y))
    archs = m.architectures[rows]
    factor = np.exp(np.mean([np.median(np.log(np.divide(*measured_and_roofline(m, other)))) for other in others]))
    near = nearest_gpu(device, others)
    own = trees("latency_ms", encoder=LayerPhysics(), **SETTINGS).fit(m.where(devices=[near.name]))
    conditioned = RooflineTrees(**SETTINGS).fit(known)  # type: ignore[arg-type]
    predicted = {
        "conditioned": conditioned.predict(archs, device),
        "roofline": factor * published,
        "nearest scaled": own.predict(archs, near) * published / roofline_ms(m, rows, near),
    }
    return [{"predictor": name, "nearest": near.name} | report(measured, p) for name, p in predicted.items()]


def generation_rows(m: Measurements, device: Device) -> list[dict]:
    """Errors of `RooflineTrees` on a GPU that is left out, alone and with all others of its generation (Kepler, Pascal,
    ...); none for the only GPU of a generation."""
    others = [other for other in m.devices if other.name != device.name]
    far = [other for other in others if _generation(other) != _generation(device)]
    if len(far) == len(others):
        return []
    y = m.matrix("latency_ms")[:, [d.name for d in m.devices].index(device.name)]
    rows, errors = np.flatnonzero(~np.isnan(y)), []
    for known in (others, far):
        trees_ = RooflineTrees(**SETTINGS).fit(m.where(devices=[other.name for other in known]))  # type: ignore[arg-type]
        errors.append(float(report(y[rows], trees_.predict(m.architectures[rows], device))["mape"] or 0))
    names = [other.name for other in others if other not in far]
    return [{"left_out_too": names, "mape_alone": errors[0], "mape": errors[1], "cost": errors[1] - errors[0]}]


def _generation(device: Device) -> str:
    return device.family.removesuffix("-hpc")
