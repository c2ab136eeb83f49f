"""A look-up table as a model of whole networks: what layers take alone, summed (LETI, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.analysis import entries
from datasets.records import Architectures, Cost, CostModel, Device, InputError
from measure.lookup import SMALLEST, cut, label


@dataclass
class LayerSums(CostModel):
    """Prices architectures by a table that `python -m measure run --layers true` and `measure table` made.

    Attributes:
        path: of the table.
        less_calls: take out what a session costs that computes nothing, once for every layer but one.
    """

    path: Path
    less_calls: bool = False
    table_: dict[tuple[str, str, str], float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from measure.table import read_table

        table, _ = read_table(self.path)
        columns = (table[name] for name in ("device", "metric", "key", "value"))
        self.table_ = {(device, metric, key): value for device, metric, key, value in zip(*columns, strict=True)}

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The sum over a network's layers as a cost; it raises `InputError` where a layer is not in the table."""
        name = device.name if device else ""
        if (name, metric, SMALLEST.key) not in self.table_:
            known = sorted({device for device, *_ in self.table_})
            raise InputError(f"{self.path} has no {metric} of layers on '{name}'; it knows {', '.join(known)}.")

        def cost(archs: Architectures) -> np.ndarray:
            return np.array([self._sum(archs, row, name, metric) for row in range(len(archs))])

        return cost

    def _sum(self, archs: Architectures, row: int, device: str, metric: str) -> float:
        network = archs.space.expand(archs.space.architecture(archs.decisions[row]))
        layers = [cut(network, nodes) for nodes in entries(network)]
        for layer in layers:
            if (device, metric, layer.key) not in self.table_:
                raise InputError(f"{self.path} has no layer '{label(layer)}' of {archs[row].key} on '{device}'.")
        total = sum(self.table_[device, metric, layer.key] for layer in layers)
        calls = (len(layers) - 1) * self.table_[device, metric, SMALLEST.key]
        return total - calls if self.less_calls else total
