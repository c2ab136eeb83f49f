"""Trains classifiers of images, from random weights (trials.py) or from given ones (tuning.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn


def train_classifier(
    module: nn.Module,
    logits: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    batches: Sequence[torch.Tensor],
    rate: float,
    decay: float,
    smoothing: float,
) -> None:
    """Train a module in place with AdamW and label smoothing.

    The learning rate rises linearly for a quarter of the steps, and falls linearly for the rest.

    Args:
        module: the module.
        logits: gives class scores [n, classes] of images [n, ...].
        images: all training images [images, ...].
        labels: their classes [images].
        batches: positions of the images of each step.
        rate: the highest learning rate.
        decay: AdamW's weight decay.
        smoothing: share of a label that is spread over all classes.

    Raises:
        FloatingPointError: the loss is no longer a finite number.
    """
    optimizer = torch.optim.AdamW(module.parameters(), rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
    steps = len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(4 * (step + 1), 4 * (steps - step) / 3) / steps
    )
    module.train()
    for chosen in batches:
        scores = logits(images[chosen])
        loss = nn.functional.cross_entropy(scores, labels[chosen].to(scores.device), label_smoothing=smoothing)
        if not math.isfinite(loss.item()):
            raise FloatingPointError("the loss is no longer a finite number; take a lower rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def batches_of(images: int, batch: int, steps: int, seed: int) -> list[torch.Tensor]:
    """Positions of the images of every step: one random order after another, each without its incomplete batch."""
    rng = np.random.default_rng(seed)
    passes = max(1, -(-steps // max(1, images // batch)))
    orders = [torch.from_numpy(rng.permutation(images))[: images // batch * batch or images] for _ in range(passes)]
    return [chosen for order in orders for chosen in order.split(batch)][:steps]


def pixels(images: np.ndarray, fold: int) -> torch.Tensor:
    """Images [n, 3, 32, 32] of bytes as inputs [n, 3 k^2, 32 / k, 32 / k] from -2 to 2 in bfloat16.

    With k = `fold`, k x k pixels are folded into channels.
    """
    x = nn.functional.pixel_unshuffle(torch.from_numpy(images), fold)
    return (x.to(torch.float32) / 63.75 - 2).to(torch.bfloat16)
