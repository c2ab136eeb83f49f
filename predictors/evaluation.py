"""Scoring a fitted predictor on the parts of a split: rows of metrics, and every prediction."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

from datasets.records import Measurements
from datasets.splits import Parts
from predictors.base import Predictor
from predictors.metrics import LEAST, report


def evaluate(predictor: Predictor, parts: Parts, about: dict[str, Any]) -> tuple[list[dict], pd.DataFrame]:
    """Score `val` and `test`.

    Args:
        predictor: a fitted one.
        parts: of the split it was fitted on.
        about: columns that every row repeats (dataset, predictor, seed, fit_cpu_s, ...).

    Returns:
        Rows, one for each set, device and cells (`all`, and `connected`: only those with a path from input to
        output), and a table of metric, set, key, device, measured and predicted values. Over fewer than
        `metrics.LEAST` cells, `n`, correlations and r2 are undefined (None).
    """
    rows: list[dict] = []
    tables = []
    for name, part in (("val", parts.val), ("test", parts.test)):
        start = time.process_time()
        predicted = predictor.predict_all(part.architectures)
        seconds = time.process_time() - start
        measured = part.matrix(predictor.metric)
        connected = part.architectures.space.connected(part.architectures)
        devices = [device.name for device in part.devices] if part.devices else [""]
        for j, device in enumerate(devices):
            column = predictor.column(part.devices[j] if part.devices else None)
            for cells, chosen in (("all", slice(None)), ("connected", connected)):
                row = {**about, "set": name, "device": device, "cells": cells, "predict_cpu_s": seconds}
                scores = report(measured[chosen, j], predicted[chosen, column])
                if (scores["n"] or 0) < LEAST:
                    scores |= dict.fromkeys(("spearman", "kendall", "r2"))
                rows.append(row | scores)
            tables.append(_table(name, part, device, measured[:, j], predicted[:, column]))
    return rows, pd.concat(tables, ignore_index=True).assign(metric=predictor.metric)


def _table(name: str, part: Measurements, device: str, measured: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    columns = {"set": name, "key": part.architectures.keys, "device": device}
    return pd.DataFrame({**columns, "measured": measured, "predicted": predicted}).dropna(subset="measured")
