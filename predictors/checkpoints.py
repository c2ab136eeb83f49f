"""Checkpoints of fits: when they are written, and whether an interrupted fit continues from one."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import lightning
import torch

from datasets.files.writing import whole_file
from predictors.base import Log


class Checkpoints(lightning.Callback):
    """Writes a checkpoint at the end of an epoch, at most every `seconds`, and at the end of the fit.

    Args:
        file: the checkpoint; the last one replaces those before.
    """

    seconds = 10.0

    def __init__(self, file: Path) -> None:
        self.file, self.saved = file, time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.strategy.broadcast(last or time.monotonic() - self.saved >= self.seconds)
        if due:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        with whole_file(self.file) if trainer.is_global_zero else nullcontext(self.file) as part:
            trainer.save_checkpoint(part)  # the other processes take part, but write nothing
        self.saved = time.monotonic()


def resumed(file: Path | None, settings: str, log: Log) -> Path | None:
    """The checkpoint to continue from; None where there is none, or a damaged one, or one of other settings."""
    if file is None or not file.is_file():
        return None
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        epoch = saved["epoch"] if saved["settings"] == settings else None
    except Exception:  # what torch raises on damaged files
        return None
    if epoch is None:
        return None
    log(f"continues from epoch {epoch + 1}")
    return file


def random_states() -> list[torch.Tensor]:
    """States of torch's random generators: of the CPU, then of each GPU that is in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def set_random_states(states: list[torch.Tensor]) -> None:
    """Set the states that `random_states` returned; those of GPUs only where as many are in use."""
    first, *others = states
    torch.set_rng_state(first)
    if others and len(states) == len(random_states()):
        torch.cuda.set_rng_state_all(others)
