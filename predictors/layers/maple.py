"""PerfNetRT's loss MAPLE (its equation 3) and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from predictors.scaling import Scale
from predictors.training import TrainingLoop

SMALLEST = 1e-4
"""Floor of the labels in the denominator, in ms: the clock's resolution. No bundled label is that small."""


class Maple(nn.Module):
    """Mean of |log(1 + p) - log(1 + y)| / log(1 + y) of predictions p and labels y in ms (PerfNetRT, equation 3).

    The denominator has the floor `SMALLEST`. For p < 0, where the logarithm ends at -1, log(1 + p) is replaced by p,
    which continues it with the same slope.
    """

    def forward(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Loss of predictions [n] and labels [n], in ms."""
        target = torch.log1p(y.clamp(min=0))
        logs = torch.where(predicted > 0, torch.log1p(predicted.clamp(min=0)), predicted)
        return ((logs - target).abs() / torch.log1p(y.clamp(min=SMALLEST))).mean()


class _ScaledMaple(nn.Module):
    """MAPLE of scaled predictions and labels, converted back to ms."""

    mean: Tensor
    std: Tensor

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.log, self.maple = scale.kind == "log", Maple()
        self.register_buffer("mean", torch.from_numpy(scale.mean_).float())
        self.register_buffer("std", torch.from_numpy(scale.std_).float())

    def forward(self, predicted: Tensor, z: Tensor) -> Tensor:
        """Loss over all known labels of [n, D]."""
        p, y = (v * self.std + self.mean for v in (predicted, z))
        known = ~torch.isnan(z)
        p, y = p[known], y[known]
        return self.maple(p.exp(), y.exp()) if self.log else self.maple(p, y)


@dataclass(frozen=True)
class HalvingTrainingLoop(TrainingLoop):
    """Halves the learning rate every `halving` epochs; adds the loss MAPLE."""

    halving: int
    scale: Scale

    def criterion(self) -> nn.Module:
        return _ScaledMaple(self.scale) if self.loss == "maple" else super().criterion()

    def optimizer(self, parameters: Iterator[nn.Parameter], steps: int) -> tuple[Any, Any]:
        optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, self.halving * steps, gamma=0.5)
