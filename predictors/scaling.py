"""The label scale: learnt on training labels only, applied in one place, saved with the predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

KINDS = Literal["log", "linear", "none"]


@dataclass
class Scale:
    """Standardises labels, one mean and deviation a device.

    Attributes:
        kind: `log` standardises logarithms (equal relative errors weigh alike), `linear` the labels themselves; `none`
            leaves them as they are.
    """

    kind: KINDS = "log"
    mean_: np.ndarray = field(init=False, repr=False, compare=False)
    std_: np.ndarray = field(init=False, repr=False, compare=False)

    @staticmethod
    def of(kind: Literal["log", "linear", "none"], mean: float = 0.0, std: float = 1.0) -> Scale:
        """The scale of one device, known already; by default plain logarithms or plain labels."""
        scale = Scale(kind)
        scale.mean_, scale.std_ = np.array([mean]), np.array([std])
        return scale

    def output(self, column: int) -> Scale:
        """The scale of one of the devices alone."""
        return Scale.of(self.kind, float(self.mean_[column]), float(self.std_[column]))

    def fit(self, y: np.ndarray) -> Scale:
        """Learn from labels [A, D]; NaN where nothing was measured."""
        z = np.log(y) if self.kind == "log" else y
        self.mean_, std = np.nanmean(z, axis=0), np.nanstd(z, axis=0)
        if self.kind == "none":
            self.mean_, std = np.zeros_like(self.mean_), np.ones_like(std)
        self.std_ = np.where(std > 0, std, 1.0)
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Labels [A, D] to numbers of mean 0 and deviation 1."""
        return ((np.log(y) if self.kind == "log" else y) - self.mean_) / self.std_

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Back to the metric's unit."""
        y = z * self.std_ + self.mean_
        return np.exp(y) if self.kind == "log" else y

    def inverse_of_tensor(self, z: Tensor) -> Tensor:
        """`inverse` of the only device's, differentiable."""
        ((mean,), (std,)) = self.mean_, self.std_
        y = z * float(std) + float(mean)
        return y.exp() if self.kind == "log" else y

    def multiply(self, factor: np.ndarray) -> None:
        """Make every inverse [A, D] larger by one factor [D] a device."""
        if self.kind == "log":
            self.mean_ = self.mean_ + np.log(factor)
        else:
            self.mean_, self.std_ = self.mean_ * factor, self.std_ * factor

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain numbers."""
        return {"mean": self.mean_.tolist(), "std": self.std_.tolist()}

    def restore(self, state: dict[str, Any], devices: int) -> None:
        """Put `state` of so many devices back; raises ValueError, KeyError or TypeError where it is none."""
        self.mean_, self.std_ = np.array(state["mean"], float), np.array(state["std"], float)
        ends = np.concatenate([self.mean_, self.std_])
        if self.kind not in get_args(KINDS) or not self.mean_.shape == self.std_.shape == (devices,):
            raise ValueError(f"a scale '{self.kind}' of {len(ends)} numbers, not of {devices} devices")
        if not np.isfinite(ends).all() or not (self.std_ > 0).all():
            raise ValueError("a scale has numbers that are not finite, or deviations that are not above zero")


def centring(predicted: np.ndarray, measured: np.ndarray, tolerance: float) -> np.ndarray:
    """The factor [D] a device, within the tolerance itself, that brings most predictions to within `tolerance` of what
    was measured: the centre of the fullest window instead of the median. They differ where errors are lopsided, as on
    a machine that was slower for a while. The window's edges are logistic, a tenth of the tolerance wide, for a
    hundred labels tell no sharper one.

    Args:
        predicted: [A, D].
        measured: [A, D], NaN where unknown; a device without any keeps 1.
        tolerance: relative, 0.1 for +-10 %.
    """
    steps = np.linspace(-tolerance, tolerance, 81)
    factors = np.exp(steps[np.argsort(np.abs(steps), kind="stable")])  # of equals the one nearest to 1 comes first
    errors = factors[:, None, None] * (predicted / measured) - 1  # [factors, A, D]
    inside = np.tanh((tolerance - errors) / (0.2 * tolerance)) + np.tanh((tolerance + errors) / (0.2 * tolerance))
    return factors[np.nansum(inside, axis=1).argmax(axis=0)]
