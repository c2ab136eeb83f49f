"""Devices as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.devices import KINDS, NUMBERS
from datasets.records import Device, InputError
from encoders.base import DeviceEncoder


@dataclass
class DeviceSpecs(DeviceEncoder):
    """Published numbers of devices: log10 of each number and whether it is known, then the kind one-hot.

    An unknown number and its indicator are 0; `batch` is the device's own and always known. Devices that differ in
    other respects alone (runtime, precision) have equal vectors.

    Attributes:
        numbers: names in `Device.features`, or batch.
        kinds: the known kinds; devices of others are refused.
    """

    numbers: tuple[str, ...] = (*NUMBERS, "batch")
    kinds: tuple[str, ...] = KINDS

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(numbers=("clock_ghz",)), cls(kinds=("dsp",))]

    @property
    def num_features(self) -> int:  # type: ignore[override]
        return 2 * len(self.numbers) + len(self.kinds)

    def __call__(self, devices: Sequence[Device]) -> np.ndarray:
        out = np.zeros((len(devices), self.num_features), dtype=np.float32)
        kinds = 2 * len(self.numbers)
        for row, device in zip(out, devices, strict=True):
            if device.kind not in self.kinds:
                raise InputError(
                    f"Device '{device.name}' is of kind '{device.kind}'; this encoder has {', '.join(self.kinds)}."
                )
            known = {**device.features, "batch": device.batch}
            for place, name in enumerate(self.numbers):
                if name in known:
                    if not 0 < known[name] < np.inf:
                        raise InputError(f"Device '{device.name}' has {name} = {known[name]}, which has no logarithm.")
                    row[2 * place : 2 * place + 2] = np.log10(known[name]), 1
            row[kinds + self.kinds.index(device.kind)] = 1
        return out
