"""`Trainer`: arguments of Lightning's trainer that commands pass on, and where interrupted fits are continued from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from datasets.records import InputError

RESULTS = ("accelerator", "devices", "precision", "accumulate_grad_batches", "gradient_clip_val", "deterministic")
"""Arguments that change what is learnt; runs that differ in them are different runs."""


@dataclass(frozen=True)
class Trainer:
    """Arguments of `lightning.Trainer`, with its names and meanings; only predictors that Lightning trains have them.

    Attributes:
        accelerator: kind of device: cpu, gpu, tpu, mps, or auto, the best that is there.
        devices: number of devices, -1 for all of them, or a list of their indices. Several run as forked processes
            (Lightning's ddp_fork), which share each batch.
        precision: precision of multiplications: 32-true, or mixed with 16 bits.
        accumulate_grad_batches: number of batches per step.
        gradient_clip_val: largest norm of a gradient; null: any.
        deterministic: only use deterministic algorithms.
        check_val_every_n_epoch: epochs between validations, whose loss is reported.
        log_every_n_steps: steps between entries of the logger.
        enable_progress_bar: Lightning's progress bar; by default where the output is a terminal.
        enable_model_summary: print layers and numbers of weights.
        enable_checkpointing: keep a checkpoint while fitting, from which the same command continues when the fit was
            interrupted; it is deleted when the run is complete.
        logger: Lightning's own logger (TensorBoard if installed, else CSV files).
        default_root_dir: folder of the logger's files; by default the current one.
    """

    accelerator: Literal["cpu", "gpu", "cuda", "tpu", "mps", "auto"] = "cpu"
    devices: int | list[int] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    deterministic: bool = False
    check_val_every_n_epoch: int = 10
    log_every_n_steps: int = 50
    enable_progress_bar: bool | None = None
    enable_model_summary: bool = False
    enable_checkpointing: bool = True
    logger: bool = False
    default_root_dir: Path | None = None

    def __post_init__(self) -> None:
        indices = self.devices if isinstance(self.devices, list) else [max(self.devices, 0)]
        if self.devices == 0 or not indices or min(indices) < 0 or len(set(indices)) < len(indices):
            raise InputError(f"trainer.devices is a number of devices, -1 or a list of indices, not {self.devices}.")
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"trainer.{name} has to be 1 or more, not {getattr(self, name)}.")
        if self.gradient_clip_val is not None and not self.gradient_clip_val > 0:
            raise InputError(f"trainer.gradient_clip_val has to be above 0, or null, not {self.gradient_clip_val}.")

    @property
    def several(self) -> bool:
        """Whether more than one device may be used."""
        return self.devices == -1 or (len(self.devices) if isinstance(self.devices, list) else self.devices) > 1

    def settings(self) -> dict[str, Any]:
        """Arguments other than the defaults that change what is learnt."""
        return {name: getattr(self, name) for name in RESULTS if getattr(self, name) != getattr(Trainer, name)}


@dataclass
class Fitting:
    """A trainer at work.

    Attributes:
        trainer: its arguments.
        folder: folder of checkpoints, or None.
        settings: text that identifies configuration and data; checkpoints of other ones are not used.
        fits: number of fits that were begun; each member of an ensemble is one.
    """

    trainer: Trainer = Trainer()
    folder: Path | None = None
    settings: str = ""
    fits: int = 0

    def checkpoint(self) -> Path | None:
        """The file of the next fit's checkpoint; None: there is to be none."""
        self.fits += 1
        return self.folder / f"{self.fits}.ckpt" if self.folder else None


CURRENT: ContextVar[Fitting] = ContextVar("fitting")
"""The trainer of fits in this context; without one, fits have Lightning's trainer with the defaults above."""


@contextmanager
def fitting(trainer: Trainer, folder: Path, settings: str) -> Iterator[None]:
    """Let fits inside of the block use a trainer, and continue from the checkpoints of an interrupted one.

    Args:
        trainer: its arguments.
        folder: folder of checkpoints, made when the first is written.
        settings: text that identifies configuration and data; checkpoints of other ones are not used.
    """
    token = CURRENT.set(Fitting(trainer, folder if trainer.enable_checkpointing else None, settings))
    try:
        yield
    finally:
        CURRENT.reset(token)


def checkpoints_of(out: Path) -> Path:
    """Folder of the checkpoints of a run folder that is not complete: hidden, beside it."""
    return out.with_name(f".{out.name}.fit")


def check_trained_by_lightning(trainer: Trainer, predictor: Any) -> None:
    """Refuse arguments of the trainer for a predictor that Lightning does not train.

    Raises:
        InputError: an argument is no default, and neither the predictor nor a member of it has a training loop.
    """

    def parts(thing: Any) -> Iterator[Any]:
        yield thing
        for part in thing if isinstance(thing, list | tuple) else ():
            yield from parts(part)
        if is_dataclass(thing) and not isinstance(thing, type):
            for f in fields(thing):
                yield from parts(getattr(thing, f.name, None))

    if trainer != Trainer() and not any(hasattr(part, "_training_loop") for part in parts(predictor)):
        raise InputError(f"{type(predictor).__name__} is not trained by Lightning: leave --trainer out.")
