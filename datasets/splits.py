"""Splits of measurements into training, validation and test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from datasets.records import InputError, Measurements


@dataclass(frozen=True)
class Parts:
    """Three disjoint parts of measurements.

    Attributes:
        train: training measurements.
        val: measurements by which settings are chosen.
        test: measurements that are scored once.
        samples: number of architectures for adaptation to each test device that is not in `train`; they are not scored.
        sampler: `own`: the predictor's `choose` takes them; or `random`.
    """

    train: Measurements
    val: Measurements
    test: Measurements
    samples: int = 0
    sampler: Literal["own", "random"] = "own"


class Split(ABC):
    """Splits measurements; equal generator states give equal parts."""

    @classmethod
    def examples(cls, m: Measurements) -> list[Self]:
        """What the contract tests try on these measurements of several devices."""
        return [cls()]

    @abstractmethod
    def __call__(self, m: Measurements, rng: np.random.Generator) -> Parts:
        """Split measurements.

        Raises:
            InputError: a part would be empty.
        """


@dataclass(frozen=True)
class Random(Split):
    """Random split of architectures. Architectures that do the same work may be in different parts; for sources that
    measured one of them and copied its value, use `HeldOutArchitectures`.

    Attributes:
        train: number of training architectures, or their share below 1.
        val: number or share of validation architectures (early stopping, choice of a predictor).
        test: number or share of test architectures; 0: all others.
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
    """Split by devices. Devices of the test devices' families are not in the training part, since they are too similar.

    Attributes:
        devices: names of the test devices.
        val: share (or number) of validation architectures on the training devices.
        samples: number of architectures for adaptation to each test device; the others are scored. 0: adaptation by
            its published numbers alone.
        sampler: `own` (the predictor chooses the samples) or `random`.
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


@dataclass(frozen=True)
class HeldOutFamilies(Split):
    """Split by families of networks: no family is in two parts, since networks of one family are alike.

    The families of a table, its column `family`, are divided at random into folds of about equally many; the test part
    of fold 0, 1, ... is that fold. Equal generator states give the same folds, whichever of them is the test part.

    Attributes:
        fold: number of the fold that is the test part.
        folds: number of folds.
        val: share of the other families that make the validation part.
    """

    fold: int = 0
    folds: int = 10
    val: float = 0.1

    @classmethod
    def examples(cls, m: Measurements) -> list[Self]:
        return [cls(), cls(2, 4, 0.3)] if "family" in m.table else []

    def __call__(self, m: Measurements, rng: np.random.Generator) -> Parts:
        if "family" not in m.table:
            raise InputError(f"{m.name} has no column `family`; choose a split that needs none, as Random.")
        first = m.table.drop_duplicates("arch").set_index("arch")["family"].reindex(range(len(m.architectures)))
        names, family = np.unique(first.fillna("").to_numpy(str), return_inverse=True)
        if not 0 <= self.fold < self.folds or not 2 <= self.folds <= len(names):
            raise InputError(f"{self} does not fit the {len(names)} families of {m.name}.")
        fold = rng.permutation(np.arange(len(names)) % self.folds)
        others = np.flatnonzero(fold != self.fold)
        val = rng.permutation(others)[: _count(self.val, len(others), "val")]
        part = np.where(np.isin(family, val), 1, np.where(fold[family] == self.fold, 2, 0))
        if (counts := np.bincount(part, minlength=3)).min() == 0:
            raise InputError(f"{self} of {m.name} leaves a part empty: train, val and test have {counts.tolist()}.")
        train, held, test = (m.where(archs=np.flatnonzero(part == number)) for number in range(3))
        return Parts(train, held, test)


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
    """Assign whole groups to train, then val; the rest, or its first `test` architectures, is the test part."""
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
