"""Scale of the labels: learnt on training labels only, saved with the predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

KINDS = Literal["log", "linear", "none"]
"""Kinds of scales."""


@dataclass
class Scale:
    """Standardises labels [A, D] of A architectures on D devices, with one mean and standard deviation per device.

    Attributes:
        kind: `log` standardises logarithms (equal relative errors have equal weight), `linear` the labels themselves;
            `none` leaves them unchanged.
    """

    kind: KINDS = "log"
    mean_: np.ndarray = field(init=False, repr=False, compare=False)
    std_: np.ndarray = field(init=False, repr=False, compare=False)

    @staticmethod
    def known(kind: Literal["log", "linear", "none"], mean: float = 0.0, std: float = 1.0) -> Scale:
        """Scale of one device with given mean and deviation; by default plain logarithms or plain labels."""
        scale = Scale(kind)
        scale.mean_, scale.std_ = np.array([mean]), np.array([std])
        return scale

    def output(self, column: int) -> Scale:
        """Scale of a single device."""
        return Scale.known(self.kind, float(self.mean_[column]), float(self.std_[column]))

    def fit(self, y: np.ndarray) -> Scale:
        """Learn from labels [A, D]; NaN where nothing was measured."""
        z = np.log(y) if self.kind == "log" else y
        self.mean_, std = np.nanmean(z, axis=0), np.nanstd(z, axis=0)
        if self.kind == "none":
            self.mean_, std = np.zeros_like(self.mean_), np.ones_like(std)
        self.std_ = np.where(std > 0, std, 1.0)
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Scale labels [A, D] to mean 0 and deviation 1."""
        return ((np.log(y) if self.kind == "log" else y) - self.mean_) / self.std_

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Convert scaled labels [A, D] back to the metric's unit."""
        y = z * self.std_ + self.mean_
        return np.exp(y) if self.kind == "log" else y

    def inverse_of_tensor(self, z: Tensor) -> Tensor:
        """Differentiable `inverse` of a scale of one device."""
        ((mean,), (std,)) = self.mean_, self.std_
        y = z * float(std) + float(mean)
        return y.exp() if self.kind == "log" else y

    def multiply(self, factor: np.ndarray) -> None:
        """Multiply all results of `inverse` by one factor per device [D]."""
        if self.kind == "log":
            self.mean_ = self.mean_ + np.log(factor)
        else:
            self.mean_, self.std_ = self.mean_ * factor, self.std_ * factor

    def state(self) -> dict[str, Any]:
        """Means and deviations as plain numbers."""
        return {"mean": self.mean_.tolist(), "std": self.std_.tolist()}

    def restore(self, state: dict[str, Any], devices: int) -> None:
        """Set means and deviations of a number of devices from `state()`; raises ValueError, KeyError or TypeError."""
        self.mean_, self.std_ = np.array(state["mean"], float), np.array(state["std"], float)
        numbers = np.concatenate([self.mean_, self.std_])
        if self.kind not in get_args(KINDS) or not self.mean_.shape == self.std_.shape == (devices,):
            raise ValueError(f"a scale '{self.kind}' of {len(numbers)} numbers, not of {devices} devices")
        if not np.isfinite(numbers).all() or not (self.std_ > 0).all():
            raise ValueError("a scale has numbers that are not finite, or deviations that are not above zero")


def tolerance_factors(predicted: np.ndarray, measured: np.ndarray, tolerance: float) -> np.ndarray:
    """Factors [D], one per device, that bring the most predictions to within `tolerance` of the measurements.

    This is the centre of the fullest window of errors, which differs from the median where errors are skewed, for
    example on a machine that was slower for a while. The window has smooth edges, a tenth of the tolerance wide, and
    factors lie within the tolerance of 1.

    Args:
        predicted: [A, D].
        measured: [A, D], NaN where unknown; a device without any keeps 1.
        tolerance: relative, 0.1 for +-10 %.
    """
    steps = np.linspace(-tolerance, tolerance, 81)
    factors = np.exp(steps[np.argsort(np.abs(steps), kind="stable")])  # argmax takes the first maximum, nearest to 1
    errors = factors[:, None, None] * (predicted / measured) - 1  # [factors, A, D]
    inside = np.tanh((tolerance - errors) / (0.2 * tolerance)) + np.tanh((tolerance + errors) / (0.2 * tolerance))
    return factors[np.nansum(inside, axis=1).argmax(axis=0)]
