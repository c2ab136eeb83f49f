"""Scores of a fitted predictor on the parts of a split: rows of metrics, and a table of all predictions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datasets.records import UNITS, Device, InputError, Measurements
from datasets.splits import Parts
from predictors.base import Adaptable, Predictor
from predictors.metrics import LEAST, report


@dataclass(frozen=True)
class DevicePredictions:
    """Predictions of one device beside its measurements.

    Attributes:
        predictor: the fitted predictor, or the one that was adapted to the device.
        device: None for a metric of no device.
        measured: [A] in the metric's unit, NaN where unknown.
        predicted: [A] in the metric's unit.
        scored: [A], False for samples that the predictor was adapted by.
        columns: durations, added to each row: `adapt_ms`, `predict_cpu_s`.
    """

    predictor: Predictor
    device: Device | None
    measured: np.ndarray
    predicted: np.ndarray
    scored: np.ndarray
    columns: dict[str, Any]


def evaluate(predictor: Predictor, parts: Parts, about: dict[str, Any]) -> tuple[list[dict], pd.DataFrame]:
    """Score a predictor on `val` and `test`. On test devices that it was not fitted on, it is adapted first, by
    `parts.samples` architectures per device, which are excluded from the scores.

    Args:
        predictor: fitted on `parts.train`.
        parts: of a split.
        about: columns that every row repeats (dataset, predictor, seed, fit_cpu_s, ...); `seed` draws the samples.

    Returns:
        Rows, one per set, device and selection of cells (`all`, and `connected`: those with a path from input to
        output), and a table of metric, set, key, device, measured and predicted values. With `n` below
        `metrics.LEAST`, correlations and r2 are undefined (None).
    """
    rows: list[dict] = []
    tables = []
    for name, part in (("val", parts.val), ("test", parts.test)):
        connected = part.architectures.space.connected(part.architectures)
        for result in _predictions(predictor, part, parts, about["seed"]):
            device = result.device.name if result.device else ""
            rows += score_rows({**about, "set": name, "device": device}, result, connected)
            kept = {"measured": result.measured, "predicted": result.predicted}
            table = pd.DataFrame({"set": name, "key": part.architectures.keys, "device": device, **kept})
            tables.append(table[result.scored].dropna(subset="measured"))
    return rows, pd.concat(tables, ignore_index=True).assign(metric=predictor.metric)


def score_rows(about: dict[str, Any], result: DevicePredictions, connected: np.ndarray) -> list[dict[str, Any]]:
    """Two rows of one device: over all scored cells, and over those of them that are connected (mask [A])."""
    rows = []
    for cells, chosen in (("all", result.scored), ("connected", result.scored & connected)):
        highest = UNITS.get(result.predictor.metric) == "%"
        scores = report(result.measured[chosen], result.predicted[chosen], highest)
        if (scores["n"] or 0) < LEAST:
            scores |= dict.fromkeys(("spearman", "kendall", "r2"))
        rows.append({**about, "cells": cells, **result.columns, **scores})
    return rows


def _predictions(predictor: Predictor, part: Measurements, parts: Parts, seed: int) -> Iterator[DevicePredictions]:
    """Predictions per device of a part; those of all fitted devices are computed at once."""
    measured, every = part.matrix(predictor.metric), np.ones(len(part.architectures), bool)
    new = [device.name for device in new_devices(parts)]
    if len(new) < max(1, len(part.devices)):
        start = time.process_time()
        predicted = predictor.predict_all(part.architectures)
        columns = {"predict_cpu_s": time.process_time() - start}
    for j, device in enumerate(part.devices or (None,)):
        if device is None or device.name not in new:
            column = predicted[:, predictor.column(device)]
            yield DevicePredictions(predictor, device, measured[:, j], column, every, columns)
        else:
            rng = np.random.default_rng([seed, 0, parts.samples])
            yield learn_device(predictor, part.where(devices=[device.name]), parts.samples, parts.sampler, rng)


# New devices


def new_devices(parts: Parts) -> list[Device]:
    """Test devices without training measurements."""
    known = {device.name for device in parts.train.devices}
    return [device for device in parts.test.devices if device.name not in known]


def check_new_devices(predictor: Predictor, parts: Parts) -> None:
    """Check before the fit that a predictor can be adapted to each new device of the test set.

    Raises:
        InputError: the predictor has no `adapt`, or needs more samples or other specifications of a device; or no
            architecture would be left to score.
    """
    for device in new_devices(parts):
        adaptable(predictor, device, parts.samples)
        part = parts.test.where(devices=[device.name])
        count = int((~np.isnan(part.matrix(predictor.metric))).sum())
        if count <= parts.samples:
            raise InputError(
                f"{device.name} has {count} architectures with {predictor.metric}: {parts.samples} samples leave none "
                "to score; take fewer."
            )


def adaptable(predictor: Predictor, device: Device, samples: int) -> Adaptable:
    """The predictor itself, if `samples` measurements of a new device suffice to adapt it.

    Raises:
        InputError: they do not, or it has no `adapt`.
    """
    if not isinstance(predictor, Adaptable):
        raise InputError(
            f"{type(predictor).__name__} answers only for devices that it is fitted on, not for {device.name}: it has "
            "no `adapt`; choose one that learns new devices, such as configs/predictors/conditioned.yaml."
        )
    predictor.check_new_device(device, samples)
    return predictor


def learn_device(
    predictor: Predictor, table: Measurements, samples: int, sampler: str, rng: np.random.Generator
) -> DevicePredictions:
    """Adapt to a new device and predict all architectures of a table.

    Args:
        predictor: fitted on other devices.
        table: measurements of one device; only the samples reach the predictor.
        samples: number of measured architectures to adapt by; 0: the device's published specifications only.
        sampler: `random`, else the predictor's own `choose`.
        rng: draws the samples.

    Raises:
        InputError: it chooses architectures that were not measured, or cannot learn the device.
    """
    (device,), archs = table.devices, table.architectures
    learner = adaptable(predictor, device, samples)
    truth = table.matrix(predictor.metric)[:, 0]
    known = np.flatnonzero(~np.isnan(truth))
    chosen = known[:0]
    if samples:
        pool = archs[known]
        random = sampler == "random"
        picked = pool[rng.permutation(len(pool))[:samples]] if random else learner.choose(pool, samples, rng)
        if not set(chosen := archs.positions(picked)) <= set(known):
            raise InputError(
                f"{type(predictor).__name__} has to learn {device.name} from architectures of which {table.name} has "
                f"no {predictor.metric} there."
            )
    start = time.process_time()
    new = learner.adapt(table.where(archs=chosen) if samples else None, device)
    columns = {"adapt_ms": 1000 * (time.process_time() - start)}
    start = time.process_time()
    predicted = new.predict(archs, device)
    columns["predict_cpu_s"] = time.process_time() - start
    scored = np.ones(len(truth), bool)
    scored[chosen] = False
    return DevicePredictions(new, device, truth, predicted, scored, columns)
