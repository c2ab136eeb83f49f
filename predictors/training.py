"""Training of `NeuralPredictor`s with Lightning.

Models without batches of labels (HELP, fine-tuned GCNs, device and optimizer networks) use `predictors.descent`.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import cycle
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from datasets.files.reading import shortened
from datasets.records import InputError
from predictors.base import Log
from predictors.checkpoints import Checkpoints, random_states, resumed, set_random_states
from predictors.descent import one_cycle
from predictors.regressor import Inputs
from predictors.trainer import CURRENT, Fitting, Trainer

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]

SEVERAL = "ddp_fork_find_unused_parameters_true"
"""Lightning's strategy for several devices: forked processes, since a new start of the command line would begin a sweep
anew; networks may have parameters that do not reach the output, as some of torch-geometric's have."""


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

        `batches` divides inputs and labels into batches of a size, shuffled or not. The trainer is that of
        `predictors.trainer.fitting`; a fit that was interrupted continues from its checkpoint. Torch's global random
        state is restored afterwards.

        Raises:
            InputError: the trainer's accelerator or devices are not here.
        """
        fitting = CURRENT.get(Fitting())
        file, options = fitting.checkpoint(), fitting.trainer
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        with (
            torch.random.fork_rng(devices=[] if options.accelerator == "cpu" or options.several else None),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", module="lightning")
            torch.manual_seed(self.seed)
            trainer = lightning_trainer(options, self.epochs, [] if file is None else [Checkpoints(file)])
            train = batches(x, z, max(1, self.batch_size // trainer.world_size), True)
            if trainer.world_size > 1:
                train = Shared(train, self.seed, trainer)
            steps = math.ceil(len(train) / options.accumulate_grad_batches)
            module = _Regression(self, make(), steps, log, fitting.settings)
            validation = None if val is None else batches(*val, 4096, False)
            before, checkpoint = signal.getsignal(signal.SIGINT), resumed(file, fitting.settings, log)
            try:
                trainer.fit(module, train, validation, ckpt_path=checkpoint, weights_only=True)
            except SystemExit:  # Lightning raises it on Ctrl-C, and ignores Ctrl-C from then on
                signal.signal(signal.SIGINT, before)
                raise KeyboardInterrupt from None
        return module.network.cpu().eval()

    def criterion(self) -> nn.Module:
        """Loss between predictions and scaled labels, both [n, D]; labels are NaN where unknown."""
        if self.loss in ("hinge", "mixed_hinge"):
            return PairHinge(mixed=self.loss == "mixed_hinge")  # comparisons with NaN are False
        return _MaskedLoss({"l1": nn.L1Loss, "mse": nn.MSELoss, "huber": nn.HuberLoss}[self.loss]())

    def optimizer(self, parameters: Iterator[nn.Parameter], steps: int) -> tuple[Any, Any]:
        """Optimizer, and its schedule per step; `steps`: number of them per epoch."""
        optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return optimizer, one_cycle(optimizer, self.learning_rate, self.epochs * steps)


def lightning_trainer(options: Trainer, epochs: int, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """Lightning's trainer with these arguments.

    Raises:
        InputError: the accelerator or its devices are not here.
    """
    given = {f.name: getattr(options, f.name) for f in fields(options)}
    if options.enable_progress_bar is None:
        given["enable_progress_bar"] = sys.stdout.isatty()
    given |= {"max_epochs": epochs, "num_sanity_val_steps": 0, "enable_checkpointing": False, "callbacks": callbacks}
    try:
        return lightning.Trainer(**given, strategy=SEVERAL if options.several else "auto")
    except (MisconfigurationException, ValueError, TypeError) as error:  # no GPU, or fewer; indices of a CPU
        raise InputError(
            f"Lightning cannot train with accelerator={options.accelerator}, devices={options.devices}, "
            f"precision={options.precision} here: {shortened(' '.join(str(error).split()), 300)}"
        ) from None


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


class Shared:
    """Batches of one process of several: all draw the same order, and each takes other batches of it. What is left of
    an epoch once all have taken equally many is not used in it."""

    def __init__(self, batches: Batches, seed: int, trainer: lightning.Trainer) -> None:
        self.batches, self.seed, self.trainer = batches, seed, trainer

    def __len__(self) -> int:
        return max(1, len(self.batches) // self.trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        torch.manual_seed(self.seed + 1_000_003 * self.trainer.current_epoch)
        whole = [
            batch for batch, _ in zip(cycle(self.batches), range(len(self) * self.trainer.world_size), strict=False)
        ]
        yield from whole[self.trainer.global_rank :: self.trainer.world_size]


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
    def __init__(self, loop: TrainingLoop, network: nn.Module, steps: int, log: Log, settings: str) -> None:
        super().__init__()
        self.loop, self.network, self.steps, self.report, self.settings = loop, network, steps, log, settings
        self.loss = loop.criterion()

    def _loss(self, batch: Batch) -> torch.Tensor:
        x, z = batch
        predicted = self.network(**x)
        if predicted.shape != z.shape:
            raise InputError(
                f"{type(self.network).__name__}.forward returns an array of shape {list(predicted.shape)} for labels "
                f"[architectures, devices] of shape {list(z.shape)}; the two must be equal."
            )
        return self.loss(predicted, z)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        loss = self._loss(batch)
        if self.trainer.logger:
            self.log("train_loss", loss, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        loss, epoch = float(self._loss(batch)), self.current_epoch + 1
        bar = self.trainer.progress_bar_callback is not None
        if bar or self.trainer.logger:
            self.log("val_loss", loss, prog_bar=True, batch_size=len(batch[1]))
        if self.trainer.is_global_zero:
            message = "" if bar else f"epoch {epoch} of {self.loop.epochs}: validation loss {loss:.4f}"
            self.report(message, epoch=epoch, val_loss=loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the settings, and the random states, so that a continued fit draws what it would have drawn."""
        checkpoint |= {"settings": self.settings, "random": random_states()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the random states."""
        set_random_states(checkpoint["random"])

    def configure_optimizers(self) -> dict:  # type: ignore[override]
        optimizer, schedule = self.loop.optimizer(self.parameters(), self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
