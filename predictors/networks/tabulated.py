"""A look-up table as a model of whole networks: what layers take alone, summed (LETI, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.files.reading import listed
from datasets.networks.network import SMALLEST, Network
from datasets.networks.parts import cut, entries, label
from datasets.records import Architectures, Cost, CostModel, Device, InputError


@dataclass
class Tabulated(CostModel):
    """Prices architectures by a table that `python -m measure run --subjects.layers true` and `measure table` made.

    Attributes:
        path: of the table.
        less_calls: take out what a session costs that computes nothing, once for every layer but one.
        unknown_ms: what a layer counts that is not in the table (0: a sum is then too low); by default it is refused.
    """

    path: Path
    less_calls: bool = False
    unknown_ms: float | None = None
    table_: dict[tuple[str, str, str], float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from datasets.files.table_file import read_values

        table = read_values(self.path)
        columns = (table[name] for name in ("device", "metric", "key", "value"))
        self.table_ = {(device, metric, key): value for device, metric, key, value in zip(*columns, strict=True)}

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The sum over a network's layers as a cost; it raises `InputError` where a layer is not in the table."""
        name = device.name if device else ""
        if (name, metric, SMALLEST.key) not in self.table_:
            known = sorted({device for device, *_ in self.table_})
            raise InputError(f"{self.path} has no {metric} of layers on '{name}'; it knows {listed(known)}.")

        def cost(archs: Architectures) -> np.ndarray:
            return np.array([self._sum(archs, row, name, metric) for row in range(len(archs))])

        return cost

    def _sum(self, archs: Architectures, row: int, device: str, metric: str) -> float:
        layers = layers_in(archs, row)
        costs = [self.table_.get((device, metric, layer.key), self.unknown_ms) for layer in layers]
        for layer, cost in zip(layers, costs, strict=True):
            if cost is None:
                raise InputError(f"{self.path} has no layer '{label(layer)}' of {archs[row].key} on '{device}'.")
        total = sum(cost for cost in costs if cost is not None)
        calls = (len(layers) - 1) * self.table_[device, metric, SMALLEST.key]
        return total - calls if self.less_calls else total


def layers_in(archs: Architectures, row: int) -> list[Network]:
    """The layers that one network is the sum of, equal ones as often as they are there."""
    network = archs.space.expand(archs.space.architecture(archs.decisions[row]))
    return [cut(network, nodes) for nodes in entries(network)]
