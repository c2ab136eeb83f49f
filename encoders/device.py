"""Devices as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.records import Device, InputError
from encoders.base import DeviceEncoder


@dataclass
class DeviceIndex(DeviceEncoder):
    """One-hot over known devices, in their order.

    Attributes:
        names: the known devices.
    """

    names: tuple[str, ...] = ()

    @property
    def num_features(self) -> int:  # type: ignore[override]
        return len(self.names)

    def position(self, device: Device | None) -> int:
        """The place of a device among the known ones."""
        if device is None and self.names == ("",):
            return 0
        if device is None or device.name not in self.names:
            asked = "no device" if device is None else f"device '{device.name}'"
            raise InputError(f"This predictor was not fitted on {asked}; it answers for: {', '.join(self.names)}.")
        return self.names.index(device.name)

    def __call__(self, devices: Sequence[Device]) -> np.ndarray:
        table = np.eye(len(self.names), dtype=np.float32)
        return table[[self.position(device) for device in devices]].reshape(len(devices), len(self.names))
