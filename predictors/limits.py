"""Ranges of hyperparameters; values outside learn nothing, or exhaust memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from datasets.records import InputError

LIMITS: Mapping[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, 10_000_000),
    "adapt_epochs": (0, 10_000_000),
    "episodes": (1, 10_000_000),
    "steps": (0, 10_000_000),
    "halving": (1, 1_000_000),
    "batch_size": (1, 1_000_000),
    "hidden": (1, 4096),
    "widths": (1, 4096),
    "layers": (1, 32),
    "device_size": (1, 4096),
    "size": (1, 100),
    "trees": (1, 100_000),
    "depth": (1, 32),
    "degree": (1, 10),
    "rank": (1, 100),
    "most": (1, 10_000),
    "least": (1, 10_000),
    "references": (1, 10_000),
    "support": (1, 10_000),
    "query": (1, 10_000),
    "tasks": (1, 10_000),
    "learning_rate": (0, 10),
    "adapt_learning_rate": (0, 10),
    "tuning_rate": (0, 10),
    "step_size": (0, 10),
    "weight_decay": (0, 10),
    "dropout": (0, 0.99),
    "subsample": (0.001, 1),
    "columns": (0.001, 1),
    "held": (0.001, 0.999),
    "min_child_weight": (0, 1_000_000),
    "penalty": (0, 1_000_000_000),
    "spared": (0, 10_000),
    "quantities": (0, 10_000),
    "floor": (0, 1_000),
    "divergence": (0, 1_000),
    "vector": (0, 100),
}
"""Inclusive ranges by name of the field."""


def check_limits(predictor: Any) -> None:
    """Raise `InputError` where a field of a predictor is outside of `LIMITS`, or NaN."""
    for f in fields(predictor):
        if f.name not in LIMITS or not f.init:
            continue
        value, (least, most) = getattr(predictor, f.name), LIMITS[f.name]
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int | float) and not least <= number <= most:
                raise InputError(
                    f"{type(predictor).__name__}'s {f.name} has to be between {least:,} and {most:,}, not {number:,}."
                )
