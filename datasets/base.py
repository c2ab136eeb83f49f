"""A data set: something that has `Measurements`."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from datasets.records import Architectures, Cost, CostModel, Device, InputError, Measurements


class Dataset(CostModel):
    """Where measurements come from; its fields say which, and nothing is read before it is asked for."""

    @abstractmethod
    def measurements(self) -> Measurements:
        """Everything that was measured."""

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The table as a cost: it knows what was measured and refuses the rest with `InputError`."""
        measured = self.measurements()
        column = 0 if device is None else measured.devices.index(measured.device(device.name))
        values = np.append(measured.matrix(metric)[:, column], np.nan)  # the last one for what is not there

        def cost(archs: Architectures) -> np.ndarray:
            out = values[measured.architectures.positions(archs)]
            if np.isnan(out).any():
                key = archs[int(np.isnan(out).argmax())].key
                raise InputError(f"{measured.name} has no {metric} of '{key}'.")
            return out

        return cost
