"""Gradient descent on losses without batches of labels, such as HELP's episodes and relaxed architectures."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


def descend(optimizer: Optimizer, losses: Iterable[Tensor], schedule: LRScheduler | None = None) -> None:
    """Take a step of the optimizer, and of its schedule, per loss; the next loss is computed after the step."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for loss in losses:
        optimizer.zero_grad()
        loss.backward(inputs=parameters)  # other parameters are frozen
        optimizer.step()
        if schedule is not None:
            schedule.step()


def one_cycle(optimizer: Optimizer, peak: float, steps: int) -> LRScheduler:
    """Schedule of the learning rate: warm-up to `peak` in a tenth of the steps, then a cosine to zero."""
    share = 0.1 if steps != 10 else 0.15  # torch divides by zero for a warm-up of one step
    return OneCycleLR(optimizer, peak, total_steps=steps, pct_start=share)
