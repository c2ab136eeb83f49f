"""The label scale: learnt on training labels only, applied in one place, saved with the predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass
class Scale:
    """Standardises labels, one mean and deviation a device.

    Attributes:
        kind: `log` standardises logarithms (equal relative errors weigh alike), `linear` the labels themselves.
    """

    kind: Literal["log", "linear"] = "log"
    mean_: np.ndarray = field(init=False, repr=False, compare=False)
    std_: np.ndarray = field(init=False, repr=False, compare=False)

    def fit(self, y: np.ndarray) -> Scale:
        """Learn from labels [A, D]; NaN where nothing was measured."""
        z = np.log(y) if self.kind == "log" else y
        self.mean_ = np.nanmean(z, axis=0)
        std = np.nanstd(z, axis=0)
        self.std_ = np.where(std > 0, std, 1.0)
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Labels [A, D] to numbers of mean 0 and deviation 1."""
        return ((np.log(y) if self.kind == "log" else y) - self.mean_) / self.std_

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Back to the metric's unit."""
        y = z * self.std_ + self.mean_
        return np.exp(y) if self.kind == "log" else y

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain numbers."""
        return {"mean": self.mean_.tolist(), "std": self.std_.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put `state` back."""
        self.mean_, self.std_ = np.array(state["mean"]), np.array(state["std"])
