"""Samples of a new device, checked and reduced to one per architecture, and other helpers of adaptable predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.collection import AnyNetwork
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from encoders.base import DeviceEncoder
from encoders.device import DeviceSpecs
from predictors.regressor import Regressor
from predictors.scaling import Scale

P = TypeVar("P", bound=Regressor)


CONFLICT = 10.0
"""Repeats of an architecture conflict if their range, relative to their median, is more than this multiple of the
median of those of the other repeated architectures."""
NO_CONFLICT = 2.0
"""Repeats never conflict if their largest value is at most this multiple of their smallest."""


class Samples(NamedTuple):
    """Measurements of one device, one sample per architecture.

    Attributes:
        architectures: distinct architectures [n].
        values: median of each architecture's repeats [n, 1], in the unit of the metric.
        noise: relative variance of each value [n]: the variance of a single repeat, pooled over all repeated
            architectures, divided by the number of repeats of the architecture (1 if they are all equal). It is 0 if no
            architecture is repeated.
    """

    architectures: Architectures
    values: np.ndarray
    noise: np.ndarray


def read_samples(predictor: Regressor, m: Measurements, scale: str) -> Samples:
    """Samples of a predictor's metric on the only device of `m`.

    Args:
        predictor: fitted predictor.
        m: measurements of one device.
        scale: kind of the label scale; with `log`, values must be above zero.

    Raises:
        InputError: `m` does not have exactly one device, has another space than the predictor or no values of the
            metric, or repeats conflict (`CONFLICT`, `NO_CONFLICT`).
    """
    if len(m.devices) != 1:
        raise InputError(
            f"Adapt to one device at a time: {m.name} has {len(m.devices)} devices; adapt to one of them, chosen "
            "with where(devices=...)."
        )
    if isinstance(predictor.space_, AnyNetwork):
        m = Measurements(Networks.of(m.architectures), m.devices, m.table, m.name)
    if m.architectures.space != predictor.space_:
        raise InputError(f"This predictor was fitted on {predictor.space_}; {m.name} is of {m.architectures.space}.")
    samples = samples_of(m, predictor.metric)
    if not len(samples.values):
        raise InputError(f"{m.name} has no {predictor.metric} on {m.devices[0].name}: measure some architectures.")
    if scale == "log" and not (samples.values > 0).all():
        raise InputError(f"{predictor.metric} of {m.name} has values that are not above zero.")
    return samples


def required(predictor: object, measurements: Measurements | None, device: Device | None) -> Measurements:
    """Measurements of the new device only, for a predictor that cannot be adapted without measurements.

    Args:
        predictor: the predictor, which the error message names.
        measurements: measurements of the new device, and possibly of others.
        device: the new device; None if `measurements` have no other.

    Raises:
        InputError: there are no measurements.
    """
    if measurements is None:
        raise too_few(predictor, 1, 0)
    return (
        measurements
        if device is None or measurements.devices == (device,)
        else measurements.where(devices=[device.name])
    )


def new_device(measurements: Measurements | None, device: Device | None) -> Device:
    """The new device: `device` if given, else the only device of `measurements`."""
    if device is not None:
        return device
    if measurements is None or len(measurements.devices) != 1:
        raise InputError("Say which device is new: give it, or measurements of one device.")
    return measurements.devices[0]


def too_few(predictor: object, least: int, samples: int) -> InputError:
    """Error of a predictor that needs `least` samples of a new device where there are only `samples`."""
    return InputError(
        f"{type(predictor).__name__} learns a new device from at least {least} measured "
        f"architecture{'s' * (least > 1)}, not from {samples}."
    )


def distances(sources: Sequence[Device], device: Device, specs: DeviceEncoder | None = None) -> np.ndarray:
    """Squared distances [S + 1, S] of all devices from the source devices, in their standardised specifications.

    Args:
        sources: source devices [S], over which specifications are standardised.
        device: the new device, whose distances are the last row.
        specs: encoder of devices as specifications, by default the published ones (`DeviceSpecs`).
    """
    table = (specs or DeviceSpecs())([*sources, device])
    std = table[:-1].std(axis=0)
    table = table / np.where(std > 0, std, 1.0)
    return ((table[:, None] - table[None, :-1]) ** 2).sum(axis=-1)


def samples_of(m: Measurements, metric: str) -> Samples:
    """Samples of a metric on the first device of `m`.

    Raises:
        InputError: repeats conflict (`CONFLICT`, `NO_CONFLICT`).
    """
    m = m.distinct()
    rows = m.table[(m.table["metric"] == metric) & (m.table["device"] == 0)]
    positions, group = np.unique(rows["arch"].to_numpy(), return_inverse=True)
    archs = m.architectures[positions]
    median, noise = _medians(rows["value"].to_numpy(float), group, archs, m.name)
    return Samples(archs, median[:, None], noise)


def _medians(values: np.ndarray, group: np.ndarray, archs: Architectures, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Median of each architecture's values [n], and its noise [n] as `Samples` defines it.

    Args:
        values: repeats of all architectures [rows].
        group: position in `archs` of each value's architecture [rows].
        archs: distinct architectures [n].
        name: name of the measurements, for error messages.
    """
    import pandas as pd

    if len(values) == len(archs):
        return values[np.argsort(group)], np.zeros(len(values))
    groups = pd.Series(values).groupby(group)
    median, count = groups.median().to_numpy(), groups.size().to_numpy()
    low, high = groups.min().to_numpy(), groups.max().to_numpy()
    ranges = (high - low) / np.where(median == 0, 1, np.abs(median))
    repeated = np.flatnonzero(count > 1)
    for i in repeated:
        others = ranges[repeated[repeated != i]]
        usual = float(np.median(others)) if len(others) else 0.0
        if (low[i] <= 0 or high[i] > NO_CONFLICT * low[i]) and ranges[i] > CONFLICT * usual:
            shown = ", ".join(f"{value:.6g}" for value in values[group == i][:5])
            raise InputError(
                f"{name} has rows of {shortened(archs[int(i)].key)} that contradict each other ({shown}), far more "
                "than repeats do elsewhere in it; keep the right ones, or measure it again."
            )
    relative = values / np.where(median == 0, 1, median)[group] - 1
    rows = np.where(high > low, count, 1)
    return median, (relative**2).sum() / max((rows - 1).sum(), 1) / rows


def for_new_device(predictor: P, m: Measurements) -> tuple[P, Architectures, np.ndarray]:
    """Copy of a predictor for the only device of `m`, with a label scale that is fitted to its samples.

    Nothing else of the copy is fitted.

    Returns:
        The copy, the measured architectures [n], and their labels [n, 1] on that scale.
    """
    archs, y, _ = read_samples(predictor, m, predictor.scale.kind)
    new = replace(predictor, scale=Scale(predictor.scale.kind))
    new.space_, new.devices_, new.metadata_ = predictor.space_, m.devices, adapted_by(predictor, m, len(archs))
    return new, archs, new.scale.fit(y).transform(y)


def adapted_by(predictor: Regressor, m: Measurements, samples: int) -> dict[str, Any]:
    """Metadata of what a predictor of source devices became by a number of measured architectures of `m`."""
    sources = [device.name for device in predictor.devices_]
    return {
        "dataset": m.name,
        "fingerprint": m.fingerprint(),
        "adapted": {"samples": samples, "sources": sources},
    }


def random_subset(archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
    """Draw `n` of the architectures at random, without replacement and in their order."""
    if not 0 < n <= len(archs):
        raise InputError(f"Of {len(archs)} architectures, {n} cannot be chosen.")
    return archs[np.sort(rng.choice(len(archs), n, replace=False))]


def most_informative(covariance: np.ndarray, noise: float, n: int) -> np.ndarray:
    """Positions of `n` architectures that minimise the prior variance left in all others (greedy Bayesian A-optimal
    design).

    Args:
        covariance: prior covariance [A, A] of their labels.
        noise: variance of a measurement.
        n: at most A.
    """
    covariance, selected = covariance.copy(), list[int]()
    for _ in range(n):
        own = np.diagonal(covariance).copy()
        gain = (covariance**2).sum(axis=0) / (own + noise)
        gain[selected] = -1
        selected.append(best := int(gain.argmax()))
        column = covariance[:, best].copy()
        covariance -= np.outer(column, column / (own[best] + noise))
    return np.array(selected)


def best_ranking(predicted: np.ndarray, t: np.ndarray) -> int:
    """Column of predictions [n, S] with the highest rank correlation to labels t [n]; that of constants counts as
    -1."""
    from scipy.stats import rankdata

    ranks, own = rankdata(predicted, axis=0), rankdata(t)
    ranks, own = ranks - ranks.mean(axis=0), own - own.mean()
    length = np.sqrt((ranks**2).sum(axis=0) * (own**2).sum())
    return int(np.where(length > 0, ranks.T @ own / np.maximum(length, 1e-12), -1).argmax())
