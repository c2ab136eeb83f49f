"""What predictors share that learn a new device from a few measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from datasets.files.reading import shortened
from datasets.records import Architectures, Device, InputError, Measurements
from encoders.base import DeviceEncoder
from encoders.device import DeviceSpecs
from predictors.regressor import Regressor
from predictors.scaling import Scale

P = TypeVar("P", bound=Regressor)


CONFLICT = 10.0
"""Repeats of an architecture conflict if they lie more than so many times as far apart as those of other ones do."""
ALIKE = 2.0
"""Repeats whose largest value is at most so many times the smallest never conflict."""


class Samples(NamedTuple):
    """What was measured on one device, one entry an architecture.

    Attributes:
        architectures: distinct ones [n].
        values: medians of each one's rows [n, 1], in the metric's unit.
        noise: variance of each value [n] in relation to its square, by how far repeats lie apart: that of one row, over
            all repeated architectures, divided by the number of rows. It is 0 where nothing was repeated; rows that
            repeat a value exactly are one row that was written twice.
    """

    architectures: Architectures
    values: np.ndarray
    noise: np.ndarray


def read_samples(predictor: Regressor, few: Measurements, scale: str) -> Samples:
    """What was measured of a predictor's metric on the one device of `few`; rows of one architecture are one sample.

    Args:
        predictor: a fitted one.
        few: measurements of one device.
        scale: of the labels; on `log` they must be above zero.

    Raises:
        InputError: `few` has not exactly one device, or another space, or nothing of the metric; or rows of one
            architecture lie further apart than `CONFLICT` and `ALIKE` allow.
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
    samples = samples_of(few, predictor.metric)
    if not len(samples.values):
        raise InputError(f"{few.name} has no {predictor.metric} on {few.devices[0].name}: measure some architectures.")
    if scale == "log" and not (samples.values > 0).all():
        raise InputError(f"{predictor.metric} of {few.name} has values that are not above zero.")
    return samples


def given(predictor: object, few: Measurements | None, device: Device | None) -> Measurements:
    """What was measured on the new device alone.

    Args:
        predictor: what cannot do without.
        few: measurements.
        device: the new one; None: the one of `few`.

    Raises:
        InputError: there is none.
    """
    if few is None:
        raise too_few(predictor, 1, 0)
    return few if device is None or few.devices == (device,) else few.where(devices=[device.name])


def new_one(few: Measurements | None, device: Device | None) -> Device:
    """The device that is new where nothing may have been measured on it."""
    if device is not None:
        return device
    if few is None or len(few.devices) != 1:
        raise InputError("Say which device is new: give it, or measurements of one device.")
    return few.devices[0]


def too_few(predictor: object, least: int, samples: int) -> InputError:
    """The sentence about a predictor that needs `least` samples of a new device where there are `samples`."""
    return InputError(
        f"{type(predictor).__name__} learns a new device from at least {least} measured "
        f"architecture{'s' * (least > 1)}, not from {samples}."
    )


def distances(sources: Sequence[Device], device: Device, specs: DeviceEncoder | None = None) -> np.ndarray:
    """Squared distances [S + 1, S] of published numbers, each in its deviations over the sources.

    Args:
        sources: devices [S].
        device: the new one, of which the last row is.
        specs: what is known of devices, by default `DeviceSpecs`.
    """
    table = (specs or DeviceSpecs())([*sources, device])
    std = table[:-1].std(axis=0)
    table = table / np.where(std > 0, std, 1.0)
    return ((table[:, None] - table[None, :-1]) ** 2).sum(axis=-1)


def samples_of(m: Measurements, metric: str) -> Samples:
    """What was measured of a metric on the first device of `m`, rows of one architecture as one sample.

    Raises:
        InputError: rows of one architecture lie further apart than `CONFLICT` and `ALIKE` allow.
    """
    m = m.distinct()
    rows = m.table[(m.table["metric"] == metric) & (m.table["device"] == 0)]
    places, group = np.unique(rows["arch"].to_numpy(), return_inverse=True)
    archs = m.architectures[places]
    median, noise = _medians(rows["value"].to_numpy(float), group, archs, m.name)
    return Samples(archs, median[:, None], noise)


def _medians(values: np.ndarray, group: np.ndarray, archs: Architectures, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Medians [n] of the values of each group, and their noise [n] (see `Samples`)."""
    import pandas as pd

    groups = pd.Series(values).groupby(group)
    median, count = groups.median().to_numpy(), groups.size().to_numpy()
    if len(values) == len(median):
        return median, np.zeros(len(median))
    low, high = groups.min().to_numpy(), groups.max().to_numpy()
    apart = (high - low) / np.where(median == 0, 1, np.abs(median))
    repeated = np.flatnonzero(count > 1)
    for i in repeated:
        others = apart[repeated[repeated != i]]
        usual = float(np.median(others)) if len(others) else 0.0
        if (low[i] <= 0 or high[i] > ALIKE * low[i]) and apart[i] > CONFLICT * usual:
            told = ", ".join(f"{value:.6g}" for value in values[group == i][:5])
            raise InputError(
                f"{name} has rows of {shortened(archs[int(i)].key)} that contradict each other ({told}), far more than "
                "repeats do elsewhere in it; keep the right ones, or measure it again."
            )
    relative = values / np.where(median == 0, 1, median)[group] - 1
    rows = np.where(high > low, count, 1)
    return median, (relative**2).sum() / max((rows - 1).sum(), 1) / rows


def for_new_device(predictor: P, few: Measurements) -> tuple[P, Architectures, np.ndarray]:
    """A predictor of the same settings that has learnt nothing but the label scale of `few`, on its one device.

    Returns:
        The predictor; what was measured [n]; its scaled labels [n, 1].
    """
    archs, y, _ = read_samples(predictor, few, predictor.scale.kind)
    new = replace(predictor, scale=Scale(predictor.scale.kind))
    new.space_, new.devices_ = predictor.space_, few.devices
    return new, archs, new.scale.fit(y).transform(y)


def draw(archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
    """`n` of them at random, none twice."""
    if not 0 < n <= len(archs):
        raise InputError(f"Of {len(archs)} architectures, {n} cannot be chosen.")
    return archs[np.sort(rng.choice(len(archs), n, replace=False))]
