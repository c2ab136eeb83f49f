"""PerfNetRT's loss, and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from predictors.scaling import Scale
from predictors.training import Training

SMALLEST = 1e-4
"""Milliseconds: the clock's own tenth of a microsecond. A label below it, 0 among them, counts as this in the
denominator; no bundled label is that small."""


class Maple(nn.Module):
    """Equation 3: the mean of |log(1 + predicted) - log(1 + y)| / log(1 + y), in milliseconds.

    Near zero it is the absolute percentage error, log(1 + y) being y, so there the denominator needs a floor. A
    prediction below zero has no such logarithm from -1 on: below zero it stands for itself, which goes on with the same
    slope, so a network that starts below finds its way up.
    """

    def forward(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Mean over [n]; both in milliseconds."""
        wanted = torch.log1p(y.clamp(min=0))
        got = torch.where(predicted > 0, torch.log1p(predicted.clamp(min=0)), predicted)
        return ((got - wanted).abs() / torch.log1p(y.clamp(min=SMALLEST))).mean()


class _MapleOfScaled(nn.Module):
    """MAPLE of what a device's scale turns back into milliseconds."""

    mean: Tensor
    std: Tensor

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.log, self.maple = scale.kind == "log", Maple()
        self.register_buffer("mean", torch.from_numpy(scale.mean_).float())
        self.register_buffer("std", torch.from_numpy(scale.std_).float())

    def forward(self, predicted: Tensor, z: Tensor) -> Tensor:
        """Mean over what is known of [n, D]."""
        p, y = (v * self.std + self.mean for v in (predicted, z))
        known = ~torch.isnan(z)
        p, y = p[known], y[known]
        return self.maple(p.exp(), y.exp()) if self.log else self.maple(p, y)


@dataclass(frozen=True)
class HalvingTraining(Training):
    """A learning rate that is halved every so many epochs, and MAPLE among the losses."""

    halving: int
    scale: Scale

    def criterion(self) -> nn.Module:
        return _MapleOfScaled(self.scale) if self.loss == "maple" else super().criterion()

    def optimizer(self, parameters: Iterator[nn.Parameter], steps: int) -> tuple[Any, Any]:
        optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, self.halving * steps, gamma=0.5)
