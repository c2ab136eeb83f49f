"""Descent on losses that are no batches of labels: HELP's episodes, a few labels, relaxed architectures."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


def descend(optimizer: Optimizer, losses: Iterable[Tensor], schedule: LRScheduler | None = None) -> None:
    """Take a step of the optimizer, and of its schedule, after each loss; the next loss is computed after it."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for loss in losses:
        optimizer.zero_grad()
        loss.backward(inputs=parameters)  # whatever else a loss depends on is frozen
        optimizer.step()
        if schedule is not None:
            schedule.step()


def one_cycle(optimizer: Optimizer, peak: float, steps: int) -> LRScheduler:
    """A tenth of the steps warms up, the others fall to zero along a cosine."""
    share = 0.1 if steps != 10 else 0.15  # torch divides by zero where the warm-up is one step
    return OneCycleLR(optimizer, peak, total_steps=steps, pct_start=share)
