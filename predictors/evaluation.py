"""Scoring a fitted predictor on the parts of a split: rows of metrics, and every prediction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from datasets.records import Device, InputError, Measurements
from datasets.splits import Parts
from predictors.base import Adaptable, Predictor
from predictors.metrics import LEAST, report


@dataclass(frozen=True)
class Answer:
    """What a predictor says of one device of a table.

    Attributes:
        predictor: what said it: the fitted one, or that adapted to the device.
        device: whose; None for a metric of no device.
        measured: [A], NaN where unknown.
        predicted: [A].
        scored: [A], False for what was learnt from.
        columns: how long that took; they join each row.
    """

    predictor: Predictor
    device: Device | None
    measured: np.ndarray
    predicted: np.ndarray
    scored: np.ndarray
    columns: dict[str, Any]


def evaluate(predictor: Predictor, parts: Parts, about: dict[str, Any]) -> tuple[list[dict], pd.DataFrame]:
    """Score `val` and `test`. To test devices that it was not fitted on, the predictor is adapted first, by
    `parts.samples` architectures of each, on which it is then not scored.

    Args:
        predictor: a fitted one.
        parts: of the split it was fitted on.
        about: columns that every row repeats (dataset, predictor, seed, fit_cpu_s, ...); `seed` draws samples.

    Returns:
        Rows, one for each set, device and cells (`all`, and `connected`: only those with a path from input to
        output), and a table of metric, set, key, device, measured and predicted values. Over fewer than
        `metrics.LEAST` cells, `n`, correlations and r2 are undefined (None).
    """
    rows: list[dict] = []
    tables = []
    for name, part in (("val", parts.val), ("test", parts.test)):
        connected = part.architectures.space.connected(part.architectures)
        for answer in _answers(predictor, part, parts, about["seed"]):
            device = answer.device.name if answer.device else ""
            rows += score({**about, "set": name, "device": device}, answer, connected)
            kept = {"measured": answer.measured, "predicted": answer.predicted}
            table = pd.DataFrame({"set": name, "key": part.architectures.keys, "device": device, **kept})
            tables.append(table[answer.scored].dropna(subset="measured"))
    return rows, pd.concat(tables, ignore_index=True).assign(metric=predictor.metric)


def score(about: dict[str, Any], answer: Answer, connected: np.ndarray) -> list[dict[str, Any]]:
    """Rows of one device: of all its cells that are scored, and of the connected ones [A] among them."""
    rows = []
    for cells, chosen in (("all", answer.scored), ("connected", answer.scored & connected)):
        scores = report(answer.measured[chosen], answer.predicted[chosen])
        if (scores["n"] or 0) < LEAST:
            scores |= dict.fromkeys(("spearman", "kendall", "r2"))
        rows.append({**about, "cells": cells, **answer.columns, **scores})
    return rows


def _answers(predictor: Predictor, part: Measurements, parts: Parts, seed: int) -> Iterator[Answer]:
    """What it says of each device of a part; of those that it was fitted on, in one go."""
    measured, every = part.matrix(predictor.metric), np.ones(len(part.architectures), bool)
    new = [device.name for device in new_devices(parts)]
    if len(new) < max(1, len(part.devices)):
        start = time.process_time()
        predicted = predictor.predict_all(part.architectures)
        columns = {"predict_cpu_s": time.process_time() - start}
    for j, device in enumerate(part.devices or (None,)):
        if device is None or device.name not in new:
            said = predicted[:, predictor.column(device)]
            yield Answer(predictor, device, measured[:, j], said, every, columns)
        else:
            rng = np.random.default_rng([seed, 0, parts.samples])
            yield learn_device(predictor, part.where(devices=[device.name]), parts.samples, parts.sampler, rng)


# New devices


def new_devices(parts: Parts) -> list[Device]:
    """The devices of the test that nothing is learnt of."""
    known = {device.name for device in parts.train.devices}
    return [device for device in parts.test.devices if device.name not in known]


def check_answers(predictor: Predictor, parts: Parts) -> None:
    """Check before the fit that a predictor can answer for each device of the test.

    Raises:
        InputError: it cannot learn a device that it is not fitted on; or it needs more samples or other numbers of it;
            or no architecture would be left to score.
    """
    for device in new_devices(parts):
        check_learns(predictor, device, parts.samples)
        part = parts.test.where(devices=[device.name])
        count = int((~np.isnan(part.matrix(predictor.metric))).sum())
        if count <= parts.samples:
            raise InputError(
                f"{device.name} has {count} architectures with {predictor.metric}: {parts.samples} samples leave none "
                "to score; take fewer."
            )


def check_learns(predictor: Predictor, device: Device, samples: int) -> Adaptable:
    """The predictor, if it can learn a device that it is not fitted on from so many samples.

    Raises:
        InputError: it cannot.
    """
    if not isinstance(predictor, Adaptable):
        raise InputError(
            f"{type(predictor).__name__} answers only for devices that it is fitted on, not for {device.name}: it has "
            "no `adapt`; take one that learns new devices, as configs/predictors/conditioned.yaml does."
        )
    predictor.check_new_device(device, samples)
    return predictor


def learn_device(
    predictor: Predictor, table: Measurements, samples: int, sampler: str, rng: np.random.Generator
) -> Answer:
    """Adapt to a new device, and predict all its architectures.

    Args:
        predictor: fitted on other devices.
        table: of the one device; nothing but its samples reaches the predictor.
        samples: how many measured architectures to learn from; 0: none, the device's published numbers only.
        sampler: `random`, else the predictor's own `choose`.
        rng: draws them.

    Raises:
        InputError: it asks for samples that were not measured; or it cannot learn the device.
    """
    (device,), archs = table.devices, table.architectures
    learner = check_learns(predictor, device, samples)
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
    return Answer(new, device, truth, predicted, scored, columns)
