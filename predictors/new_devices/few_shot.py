"""What predictors share that learn a new device from a few measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from datasets.records import Architectures, InputError, Measurements
from predictors.base import Predictor
from predictors.scaling import Scale

P = TypeVar("P", bound=Predictor)


def few_labels(predictor: Predictor, few: Measurements, scale: str) -> tuple[Architectures, np.ndarray]:
    """What was measured of a predictor's metric on the one device of `few` [n], and the labels [n, 1].

    Args:
        scale: of the labels; on `log` they must be above zero.

    Raises:
        InputError: `few` has not exactly one device, or another space, or nothing of the metric.
    """
    if len(few.devices) != 1:
        raise InputError(
            f"Adapt to one device at a time: {few.name} has {len(few.devices)} devices; adapt to one of them, chosen "
            "with where(devices=...)."
        )
    if few.architectures.space != predictor.space_:
        raise InputError(
            f"This predictor was fitted on {predictor.space_}; {few.name} is of {few.architectures.space}."
        )
    y = few.matrix(predictor.metric)
    rows = np.flatnonzero(~np.isnan(y[:, 0]))
    if not len(rows):
        raise InputError(f"{few.name} has no {predictor.metric} on {few.devices[0].name}: measure some architectures.")
    if scale == "log" and not (y[rows] > 0).all():
        raise InputError(f"{predictor.metric} of {few.name} has values that are not above zero.")
    return few.architectures[rows], y[rows]


def for_new_device(predictor: P, few: Measurements) -> tuple[P, Architectures, np.ndarray]:
    """A predictor of the same settings that has learnt nothing but the label scale of `few`, on its one device.

    Returns:
        The predictor; what was measured [n]; its scaled labels [n, 1].
    """
    archs, y = few_labels(predictor, few, predictor.scale.kind)
    new = replace(predictor, scale=Scale(predictor.scale.kind))
    new.space_, new.devices_ = predictor.space_, few.devices
    return new, archs, new.scale.fit(y).transform(y)


def draw(archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
    """`n` of them at random, none twice."""
    if not 0 < n <= len(archs):
        raise InputError(f"Of {len(archs)} architectures, {n} cannot be chosen.")
    return archs[np.sort(rng.choice(len(archs), n, replace=False))]
