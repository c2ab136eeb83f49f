"""Training of `NeuralPredictor`s with Lightning.

Models without batches of labels (HELP, fine-tuned GCNs, device and optimizer networks) use `predictors.descent`.
"""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from torch import nn

from predictors.base import Log
from predictors.descent import one_cycle
from predictors.regressor import Inputs

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TrainingLoop:
    """Trains networks; the fields are those of `NeuralPredictor`."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    loss: str
    seed: int

    def __call__(
        self,
        make: Callable[[], nn.Module],
        x: Inputs,
        z: np.ndarray,
        val: tuple[Inputs, np.ndarray] | None,
        log: Log,
        batches: Callable[[Inputs, np.ndarray, int, bool], Batches],
    ) -> nn.Module:
        """Make a network and train it on inputs [A, ...] and scaled labels [A, D]; NaN labels are ignored.

        `batches` divides inputs and labels into batches of a size, shuffled or not. Torch's global random state is
        restored afterwards.
        """
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            torch.manual_seed(self.seed)
            train = batches(x, z, self.batch_size, True)
            module = _Regression(self, make(), len(train), log)
            trainer = lightning.Trainer(
                max_epochs=self.epochs,
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                check_val_every_n_epoch=10,
            )
            validation = None if val is None else batches(*val, 4096, False)
            before = signal.getsignal(signal.SIGINT)
            try:
                trainer.fit(module, train, validation)
            except SystemExit:  # Lightning raises it on Ctrl-C, and ignores Ctrl-C from then on
                signal.signal(signal.SIGINT, before)
                raise KeyboardInterrupt from None
        return module.network.eval()

    def criterion(self) -> nn.Module:
        """Loss between predictions and scaled labels, both [n, D]; labels are NaN where unknown."""
        if self.loss in ("hinge", "mixed_hinge"):
            return PairHinge(mixed=self.loss == "mixed_hinge")  # comparisons with NaN are False
        return _MaskedLoss({"l1": nn.L1Loss, "mse": nn.MSELoss, "huber": nn.HuberLoss}[self.loss]())

    def optimizer(self, parameters: Iterator[nn.Parameter], steps: int) -> tuple[Any, Any]:
        """Optimizer, and its schedule per step; `steps`: number of them per epoch."""
        optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return optimizer, one_cycle(optimizer, self.learning_rate, self.epochs * steps)


class Batches(Protocol):
    """Iterable of batches; each iteration is one epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Slices:
    """Batches as slices of tensors in memory; a DataLoader would collate every row in Python."""

    def __init__(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> None:
        self.x = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in x.items()}
        self.z = torch.from_numpy(z.astype(np.float32))
        self.size, self.shuffle = size, shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.z) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.z)) if self.shuffle else torch.arange(len(self.z))
        for rows in order.split(self.size):
            yield {name: value[rows] for name, value in self.x.items()}, self.z[rows]


class _MaskedLoss(nn.Module):
    """A loss over all labels that are not NaN."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, predicted: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        known = ~torch.isnan(z)
        return self.loss(predicted[known], z[known])


class PairHinge(nn.Module):
    """Pairwise hinge loss: mean over all ordered pairs of labels of max(0, margin - difference of their scores).

    Args:
        mixed: whether pairs may be of different devices.
    """

    margin = 0.1

    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.mixed = mixed

    def forward(self, score: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        if self.mixed:
            score, z = score.flatten(), z.flatten()
        above = z[:, None] > z
        short = torch.relu(self.margin - score[:, None] + score)
        return (short * above).sum() / above.sum().clamp(min=1)


class _Regression(lightning.LightningModule):
    def __init__(self, loop: TrainingLoop, network: nn.Module, steps: int, log: Log) -> None:
        super().__init__()
        self.loop, self.network, self.steps, self.report = loop, network, steps, log
        self.loss = loop.criterion()

    def _loss(self, batch: Batch) -> torch.Tensor:
        x, z = batch
        return self.loss(self.network(**x), z)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Batch, index: int) -> None:
        loss, epoch = float(self._loss(batch)), self.current_epoch + 1
        self.report(f"epoch {epoch} of {self.loop.epochs}: validation loss {loss:.4f}", epoch=epoch, val_loss=loss)

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        optimizer, schedule = self.loop.optimizer(self.parameters(), self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
