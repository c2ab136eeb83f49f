"""Proposals of one iteration: a group made narrower, cut, tuned a little and scored, here or in other processes."""

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
    """What trains and scores a network with its weights; the same numbers in give the same numbers out. It is sent to
    other processes, so it can be pickled."""

    def tune(self, network: Network, weights: Weights, steps: int, seed: int) -> Weights:
        """Weights after so many steps; those given stay as they are."""

    def scores(
        self, network: Network, weights: Weights, part: Literal["holdout", "test"] = "holdout"
    ) -> tuple[float, float]:
        """Accuracy in percent and cross-entropy in nats: on what is held out of training to choose by, or on the test
        set."""

    def on(self, device: str) -> Self:
        """A trainer like this one on another device."""


@dataclass(frozen=True)
class Proposal:
    """A network to be tuned and scored: these widths, cut from weights that are wider."""

    groups: Groups
    weights: Weights
    widths: Widths
    steps: int
    seed: int


@dataclass(frozen=True)
class Tried:
    """What a proposal became: its weights, accuracy and loss on the held-out part, and seconds a stage."""

    weights: Weights
    accuracy: float
    loss: float
    seconds: dict[str, float]


def attempt(trainer: Trainer, proposal: Proposal) -> Tried:
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
    return Tried(weights, *scores, dict(zip(("cut", "tune", "evaluate"), np.diff(clocks).tolist(), strict=True)))


class Workers:
    """Tries proposals one after another here, or several at once in processes of their own. Used as a context.

    Args:
        trainer: that each process gets a copy of.
        devices: one process for each, on it (cpu, cpu; or cuda:0, cuda:1); none: in this process.
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

    def __call__(self, proposals: Iterable[Proposal]) -> Iterator[Tried]:
        """What they become, in their order."""
        if self.pool is None:
            return (attempt(self.trainer, proposal) for proposal in proposals)
        return self.pool.map(_attempt, proposals)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.pool is not None:
            for process in active_children() if kind else ():
                process.kill()  # nobody waits for what it tries now
            self.pool.shutdown(cancel_futures=True)


_HERE: dict[str, Trainer] = {}
"""The trainer of a worker's process."""


def _begin(trainer: Trainer, free: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who adapts, which then ends this process
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with who adapts, even by kill -9
    _HERE["trainer"] = trainer.on(free.get())


def _attempt(proposal: Proposal) -> Tried:
    return attempt(_HERE["trainer"], proposal)


def price(lost: float, won: float) -> float:
    """Loss per latency saved; lower is better. Where a proposal gains accuracy the product is used instead, because a
    quotient would then prefer to save less."""
    return lost / won if lost > 0 else lost * won


def derive(seed: int, *of: int) -> int:
    """A seed of its own for each tuning, whoever does it and when."""
    return int(np.random.SeedSequence([seed, *of]).generate_state(1)[0])
