"""Protocols of the arena: networks held out at random or by families, and devices left out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.records import Architectures, Device, InputError, Measurements
from datasets.splits import HeldOutFamilies, Parts, Random
from predictors.base import Adaptable, Predictor, Uncertain
from predictors.evaluation import learn_device
from predictors.metrics import report
from predictors.new_devices.few_shot import random_subset, required, too_few

FOLDS = 10
RANDOM_FOLDS = 3
"""Random splits, which are there for comparison only."""
SAMPLES = (0, 1, 3, 5, 10, 20)
"""Numbers of measured networks of a device that was left out."""
DRAWS = 3
"""Draws of random samples; the samples of one draw contain those of smaller numbers."""
LEFT = 5
"""Least number of networks of a device that must be left to score."""
LEVEL = 0.9
"""Nominal coverage of intervals."""
BELIEVED = 50
"""Most networks of a test part whose intervals are computed by a predictor's own belief, which may take long."""

Make = Callable[[], Predictor]
"""Makes an unfitted predictor."""


def folds(m: Measurements, protocol: str, count: int | None = None) -> Iterator[Parts]:
    """The parts of each fold; equal calls give equal folds.

    Args:
        m: the table.
        protocol: `families` or `random`.
        count: number of folds that are made, at most `FOLDS`; by default all families are held out once, and there are
            `RANDOM_FOLDS` random splits.
    """
    for fold in range(count or (FOLDS if protocol == "families" else RANDOM_FOLDS)):
        rng = np.random.default_rng(0 if protocol == "families" else fold)
        split = HeldOutFamilies(fold, FOLDS) if protocol == "families" else Random(1 - 2 / FOLDS, 1 / FOLDS)
        yield split(m, rng)


def conformal(predictor: Predictor, val: Measurements) -> np.ndarray:
    """Factors [D] that predictions of 90 % of the validation networks are off by at most (split conformal prediction,
    Vovk et al., "Algorithmic Learning in a Random World", 2005)."""
    predicted = np.maximum(predictor.predict_all(val.architectures), 1e-12)
    errors = np.abs(np.log(val.matrix(predictor.metric) / predicted))
    count = (~np.isnan(errors)).sum(axis=0)
    level = np.minimum(1.0, LEVEL * (count + 1) / count)
    return np.exp([np.nanquantile(column, q, method="higher") for column, q in zip(errors.T, level, strict=True)])


def intervals(predictor: Predictor, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [A, D] of 90 % intervals of the test part: of the predictor's own belief where it has one
    (`believed`), else by the errors of the validation part."""
    test = parts.test
    if isinstance(predictor, Uncertain):
        ends = [believed(predictor, test.architectures, device) for device in test.devices]
        low, high = (np.stack(side, axis=1) for side in zip(*ends, strict=True))
        return low, high
    predicted, factor = predictor.predict_all(test.architectures), conformal(predictor, parts.val)
    return predicted / factor, predicted * factor


def believed(predictor: Uncertain, archs: Architectures, device: Device | None) -> np.ndarray:
    """Lower and upper ends [2, A] of the intervals of at most `BELIEVED` architectures, evenly chosen; else NaN."""
    ends = np.full((2, len(archs)), np.nan)
    chosen = np.unique(np.linspace(0, len(archs) - 1, min(BELIEVED, len(archs))).astype(int))
    ends[:, chosen] = predictor.belief(archs[chosen], device).interval(LEVEL)
    return ends


def checked(predictor: Predictor, predicted: np.ndarray) -> np.ndarray:
    """The predictions themselves.

    Raises:
        InputError: they are no finite numbers.
    """
    if bad := int((~np.isfinite(predicted)).sum()):
        raise InputError(
            f"{bad} of {predicted.size} predictions of {type(predictor).__name__} are no finite numbers; a "
            "predictor of the arena must answer every network."
        )
    return predicted


def held_out(m: Measurements, make: Make, protocol: str, count: int | None = None) -> list[dict[str, Any]]:
    """Scores of a predictor on each device, over the networks of all test parts.

    Args:
        m: the table; all its devices are learnt from the training networks.
        make: makes the predictor.
        protocol: `families` or `random`.
        count: number of folds; by default that of `folds`.
    """
    found: list[tuple[np.ndarray, ...]] = []
    start, predictor = time.process_time(), make()
    for parts in folds(m, protocol, count):
        fitted = predictor.fit(parts.train, parts.val)
        predicted = checked(fitted, fitted.predict_all(parts.test.architectures))
        found.append((parts.test.matrix(fitted.metric), predicted, *intervals(fitted, parts)))
    together = [np.concatenate(part) for part in zip(*found, strict=True)]
    cpu = time.process_time() - start
    rows = [scores(*(part[:, j] for part in together)) for j in range(len(m.devices))]
    return [{"device": device.name, **row, "cpu_s": cpu} for device, row in zip(m.devices, rows, strict=True)]


@dataclass
class Refitted:
    """A predictor that cannot adapt, fitted to the samples of a new device alone."""

    predictor: Predictor

    @property
    def metric(self) -> str:
        """The predictor's."""
        return self.predictor.metric

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` at random."""
        return random_subset(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Require at least one sample."""
        if not samples:
            raise too_few(self.predictor, 1, samples)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Predictor:
        """Return the predictor of one new device."""
        return copy.deepcopy(self.predictor).fit(required(self, measurements, device))


def left_out(m: Measurements, make: Make, devices: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Scores of a predictor on devices that were left out, by number of networks measured there.

    A predictor that adapts learns all other families of devices first: on these, all networks may have been measured,
    those that are scored among them. Others are fitted to the samples alone. All measured networks of a device but
    the samples are scored.

    Args:
        m: the table.
        make: makes the predictor.
        devices: names of devices that are left out, one family after another; by default all.

    Returns:
        One row for each device, number of samples, and sampler: `random` (means over `DRAWS` draws) or `own` (the
        predictor's choice). Numbers that a predictor refuses, or that leave fewer than `LEFT` networks, have none.
    """
    chosen = [m.device(name) for name in devices] or list(m.devices)
    rows: list[dict[str, Any]] = []
    start, made = time.process_time(), make()
    predictor = made if isinstance(made, Adaptable) else Refitted(made)
    for family in dict.fromkeys(device.family for device in chosen):
        if predictor is made:
            made.fit(m.where(devices=[device.name for device in m.devices if device.family != family]))
        for device in (device for device in chosen if device.family == family):
            rows += _on(predictor, m.where(devices=[device.name]), m.devices.index(device))
    cpu = time.process_time() - start
    return [{**row, "cpu_s": cpu} for row in rows]


def _on(predictor: Any, table: Measurements, number: int) -> Iterator[dict[str, Any]]:
    """Rows of one device that was left out, which is a number among all."""
    (device,) = table.devices
    known = int((~np.isnan(table.matrix(predictor.metric))).sum())
    for samples in (n for n in SAMPLES if known - n >= LEFT):
        try:
            predictor.check_new_device(device, samples)
        except InputError:
            continue
        samplers = ["none"] if not samples else ["random"] if isinstance(predictor, Refitted) else ["random", "own"]
        for sampler in samplers:
            drawn = [
                _learnt(predictor, table, samples, sampler, np.random.default_rng([number, draw]))
                for draw in range(DRAWS if sampler == "random" else 1)
            ]
            yield {"device": device.name, "samples": samples, "sampler": sampler, **_mean(drawn)}


def _learnt(
    predictor: Any, table: Measurements, samples: int, sampler: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Scores of one draw of samples."""
    result = learn_device(predictor, table, samples, sampler, rng)
    parts = [result.measured, checked(result.predictor, result.predicted)]
    if isinstance(result.predictor, Uncertain):
        parts += list(believed(result.predictor, table.architectures, result.device))
    return scores(*(part[result.scored] for part in parts))


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of scores, of those draws where they are defined."""
    values = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return {name: float(np.mean(column)) if column else None for name, column in values.items()}


def scores(
    measured: np.ndarray, predicted: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> dict[str, Any]:
    """Scores of predictions [A] in the unit of measurements [A], which may be NaN.

    Returns:
        n; mape and median of the errors in percent; within_5 and within_10, shares; spearman; coverage of the
        intervals from `low` to `high` and the median of their half widths, in percent, None without intervals.
    """
    known = ~np.isnan(measured)
    y, p = measured[known], predicted[known]
    row, error = report(y, p), 100 * np.abs(p / y - 1)
    found = {
        "n": len(y), "mape": float(error.mean()), "median": float(np.median(error)),
        "within_5": row["within_5"], "within_10": row["within_10"], "spearman": row["spearman"],
    }  # fmt: skip
    if low is None or high is None:
        return found | {"coverage": None, "width": None}
    known &= ~np.isnan(low)
    y, p, low, high = measured[known], predicted[known], low[known], high[known]
    inside = 100 * float(np.mean((low <= y) & (y <= high)))
    width = (high - low) / (2 * np.maximum(p, 1e-12))
    return found | {"coverage": inside, "width": float(100 * np.median(width))}
