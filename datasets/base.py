"""Data sets, which give `Measurements`."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from datasets.records import Architectures, Cost, CostModel, Device, InputError, Measurements


class Dataset(CostModel):
    """A source of measurements, specified by its fields; data are read on the first call of `measurements`."""

    @abstractmethod
    def measurements(self) -> Measurements:
        """All measurements of the data set."""

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The table as a cost, which raises `InputError` for architectures that were not measured."""
        measured = self.measurements()
        column = 0 if device is None else measured.devices.index(measured.device(device.name))
        values = np.append(measured.matrix(metric)[:, column], np.nan)  # the last entry is for missing architectures

        def cost(archs: Architectures) -> np.ndarray:
            out = values[measured.architectures.positions(archs)]
            if np.isnan(out).any():
                key = archs[int(np.isnan(out).argmax())].key
                raise InputError(f"{measured.name} has no {metric} of '{key}'.")
            return out

        return cost
