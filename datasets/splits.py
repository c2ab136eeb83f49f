"""Splits: which measurements a predictor learns from, is chosen by, and is tested on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from datasets.records import InputError, Measurements


@dataclass(frozen=True)
class Parts:
    """The three parts; no measurement is in two of them.

    Attributes:
        train: what is learnt.
        val: what settings are chosen by.
        test: what is scored once.
        samples: how many architectures may be learnt from of each test device that `train` does not have; they are not
            scored there.
        sampler: `own`: the predictor's `choose` names them; or `random`.
    """

    train: Measurements
    val: Measurements
    test: Measurements
    samples: int = 0
    sampler: Literal["own", "random"] = "own"


class Split(ABC):
    """Parts measurements; the same generator state gives the same parts."""

    @classmethod
    def examples(cls, m: Measurements) -> list[Self]:
        """What the contract tests try on these measurements of several devices."""
        return [cls()]

    @abstractmethod
    def __call__(self, m: Measurements, rng: np.random.Generator) -> Parts:
        """Split; a split that leaves a part empty raises `InputError`."""


@dataclass(frozen=True)
class Random(Split):
    """Architectures at random. Two that do the same work may fall into different parts: where a source measured one
    and copied the number, use `HeldOutArchitectures`.

    Attributes:
        train: how many architectures to learn from: a number, or a share below 1.
        val: likewise, to choose by (early stopping, which predictor is best).
        test: likewise; 0 means all others.
    """

    train: float = 0.7
    val: float = 0.1
    test: float = 0

    def __call__(self, m: Measurements, rng: np.random.Generator) -> Parts:
        groups = self._groups(m)
        return _parts(m, [groups[i] for i in rng.permutation(len(groups))], _sizes(self, len(m.architectures)))

    def _groups(self, m: Measurements) -> list[np.ndarray]:
        """Positions of architectures that must not be separated."""
        return list(np.arange(len(m.architectures))[:, None])


@dataclass(frozen=True)
class HeldOutArchitectures(Random):
    """A random split in which architectures that do the same work (equal `canonical` text) stay together."""

    def _groups(self, m: Measurements) -> list[np.ndarray]:
        names = np.array(m.architectures.space.canonical(m.architectures))
        _, group = np.unique(names, return_inverse=True)
        order = np.argsort(group, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


@dataclass(frozen=True)
class HeldOutDevices(Split):
    """Whole devices for the test. No device of their families is learnt from: near-twins would give the answer away.

    Attributes:
        devices: names of the test devices.
        val: share (or number) of the architectures kept for validation on the training devices.
        samples: how many architectures of each test device may be learnt from; all others of it are scored. 0: none, so
            that its published numbers have to do.
        sampler: `own` (the predictor chooses which) or `random`.
    """

    devices: tuple[str, ...] = ()
    val: float = 0.1
    samples: int = 0
    sampler: Literal["own", "random"] = "own"

    @classmethod
    def examples(cls, m: Measurements) -> list[Self]:
        return [cls(devices=(m.devices[-1].name,))]

    def __call__(self, m: Measurements, rng: np.random.Generator) -> Parts:
        if self.samples < 0:
            raise InputError(f"samples = {self.samples} of a test device must be 0 or more.")
        families = {m.device(name).family for name in self.devices}
        sources = [device.name for device in m.devices if device.family not in families]
        if not sources or not self.devices:
            raise InputError(
                f"HeldOutDevices({', '.join(self.devices)}) leaves {len(sources)} devices to learn from and "
                f"{len(self.devices)} to test on; the families of {m.name} are "
                f"{', '.join(sorted({device.family for device in m.devices}))}."
            )
        order = rng.permutation(len(m.architectures))
        val = _count(self.val, len(order), "val")
        if not 0 < val < len(order):
            raise InputError(f"val = {self.val} of {len(order)} architectures leaves a part empty.")
        known = m.where(devices=sources)
        train, held = known.where(archs=order[val:]), known.where(archs=order[:val])
        return Parts(train, held, m.where(devices=list(self.devices)), self.samples, self.sampler)


def _count(amount: float, n: int, name: str) -> int:
    if not 0 <= amount < 2**53 or (amount >= 1 and amount != int(amount)):
        raise InputError(f"{name} = {amount} is neither a number of architectures nor a share below 1.")
    return int(amount) if amount >= 1 else round(amount * n)


def _sizes(split: Random, n: int) -> tuple[int, int, int]:
    train, val, test = (_count(getattr(split, name), n, name) for name in ("train", "val", "test"))
    test = test or n - train - val
    if min(train, val, test) < 1 or train + val + test > n:
        raise InputError(f"{split} does not fit {n} architectures: it asks for {train} + {val} + {test}.")
    return train, val, test


def _parts(m: Measurements, groups: Sequence[np.ndarray], sizes: tuple[int, int, int]) -> Parts:
    """Deal whole groups out to train, then val; the rest, or its first `test`, is the test."""
    ends = np.cumsum([len(group) for group in groups])
    train, val, test = sizes
    first, second = np.searchsorted(ends, [train, train + val]) + 1
    cuts = [groups[:first], groups[first:second], groups[second:]]
    parts = [np.concatenate(cut) if len(cut) else np.array([], dtype=int) for cut in cuts]
    parts[2] = parts[2][:test]
    if not all(len(part) for part in parts):
        raise InputError(f"Groups of {m.name} are too large for a split into {train}, {val} and {test} architectures.")
    first, second, third = (m.where(archs=part) for part in parts)
    return Parts(first, second, third)
