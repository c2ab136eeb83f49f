"""Rates of devices that tables of their layers show: of arithmetic, of memory, and of copies in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from datasets.blocks.layers import LayerSpace, Work
from datasets.networks.ops import BYTES
from datasets.records import Measurements
from predictors.networks.calibration import calibrate
from predictors.networks.costs import best_rates


def work_of(m: Measurements) -> Work:
    """Work of the measured layers of one kind."""
    space = cast(LayerSpace, m.architectures.space)
    low = np.array([f.low for f in space.features])
    values = (m.architectures.decisions.astype(np.int64) + low).T
    return space.work(dict(zip([f.name for f in space.features], values, strict=True)))


def machine_rates(work: Sequence[Work], ms: Sequence[np.ndarray]) -> np.ndarray:
    """Best rates of layers, and the least ms of a session [S, 3].

    Args:
        work: of the layers of each table.
        ms: of each table [A, S]; NaN where unknown.
    """
    each = [np.stack([w.macs, BYTES * (w.inputs + w.outputs + w.params)], axis=1) for w in work]
    every = np.concatenate(ms)
    session = np.nanquantile(every, 0.005, axis=0)
    return np.column_stack([best_rates(np.concatenate(each), every, session), session])


def copy_rates(elements: Sequence[np.ndarray], ms: Sequence[np.ndarray]) -> np.ndarray:
    """Ms, and ms per byte, of copying tensors [S, 2].

    Args:
        elements: copied elements of each table [A], fp32.
        ms: of each table [A, S]; NaN where unknown.
    """
    x, found = BYTES * np.concatenate(elements), []
    for y in np.concatenate(ms).T:
        known = ~np.isnan(y)
        guess = np.array([np.quantile(y[known], 0.02), np.median(y[known] / x[known])])
        line = np.stack([np.ones(known.sum()), x[known]], axis=1)
        found.append(calibrate(line, y[known], guess, 9 * np.eye(2), 0.2))
    return np.array(found)
