"""Proposals of one iteration: a narrower group, cut, tuned briefly and scored, in this or in other processes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Any, Literal, Protocol, Self

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from search.netadapt.channels import Groups, Widths
from search.netadapt.cutting import cut_weights


class Trainer(Protocol):
    """Trains and scores a network with its weights, deterministically. It is sent to other processes, so it can be
    pickled."""

    def tune(self, network: Network, weights: Weights, steps: int, seed: int) -> Weights:
        """Weights after a number of steps; the given ones are not changed."""

    def scores(
        self, network: Network, weights: Weights, part: Literal["holdout", "test"] = "holdout"
    ) -> tuple[float, float]:
        """Accuracy in percent and cross-entropy in nats, on the validation part (`holdout`) or on the test set."""

    def on(self, device: str) -> Self:
        """A trainer with equal settings on another device."""


@dataclass(frozen=True)
class Proposal:
    """A network to be tuned and scored: widths [G], and wider weights from which it is cut."""

    groups: Groups
    weights: Weights
    widths: Widths
    steps: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """A tuned proposal: its weights, accuracy in percent and loss on the held-out part, and seconds per stage."""

    weights: Weights
    accuracy: float
    loss: float
    seconds: dict[str, float]


def attempt(trainer: Trainer, proposal: Proposal) -> Outcome:
    """Cut, tune, evaluate."""
    clocks = [time.perf_counter()]
    network = proposal.groups.resized(proposal.widths)
    weights = cut_weights(proposal.groups, proposal.weights, proposal.widths)
    clocks.append(time.perf_counter())
    if proposal.steps:
        weights = trainer.tune(network, weights, proposal.steps, proposal.seed)
    clocks.append(time.perf_counter())
    scores = trainer.scores(network, weights)
    clocks.append(time.perf_counter())
    return Outcome(weights, *scores, dict(zip(("cut", "tune", "evaluate"), np.diff(clocks).tolist(), strict=True)))


class Workers:
    """Tunes and scores proposals, one after another here or in parallel in worker processes; a context manager.

    Args:
        trainer: copied to each process.
        devices: devices of worker processes, one each (cpu, cpu; or cuda:0, cuda:1); empty: this process.
    """

    def __init__(self, trainer: Trainer, devices: tuple[str, ...] = ()) -> None:
        self.trainer = trainer
        self.pool: ProcessPoolExecutor | None = None
        if devices:
            context = get_context("spawn")
            free = context.Queue()
            for device in devices:
                free.put(device)
            self.pool = ProcessPoolExecutor(len(devices), context, _begin, (trainer, free))

    def __call__(self, proposals: Iterable[Proposal]) -> Iterator[Outcome]:
        """Outcomes in the order of the proposals."""
        if self.pool is None:
            return (attempt(self.trainer, proposal) for proposal in proposals)
        return self.pool.map(_attempt, proposals)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.pool is not None:
            for process in active_children() if kind else ():
                process.kill()  # its outcome is no longer needed
            self.pool.shutdown(cancel_futures=True)


_HERE: dict[str, Trainer] = {}
"""The trainer of a worker's process."""


def _begin(trainer: Trainer, free: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which then ends this one
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with the main process, even by kill -9
    _HERE["trainer"] = trainer.on(free.get())


def _attempt(proposal: Proposal) -> Outcome:
    return attempt(_HERE["trainer"], proposal)


def loss_rate(lost: float, saved: float) -> float:
    """Loss per latency saved; lower is better. Where a proposal gains accuracy it is the product, because a quotient
    would then prefer smaller savings."""
    return lost / saved if lost > 0 else lost * saved


def derive(seed: int, *numbers: int) -> int:
    """A seed that depends on a seed and numbers alone, so each tuning has its own in any process and order."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])
