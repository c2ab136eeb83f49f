"""Tables, measured networks and fitted sums of layers that the parts of PerfNetRT's study on networks share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.records import Device, Measurements
from predictors.base import Predictor
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.table_files import read_tables
from predictors.regressor import Regressor
from studies.perfnetrt.baselines import Nearest, Roofline, baseline


@dataclass
class Inputs:
    """Tables and predictors that all parts of the study use.

    Attributes:
        out: folder of everything that is written.
        tables: folder of the tables.
        layer: predictor of single layers; by default boosted trees.
        few: number of measured networks that correct a device.
    """

    out: Path
    tables: Path
    layer: Regressor | None
    few: int

    @cached_property
    def networks(self) -> tuple[Measurements, Measurements]:
        """Random networks and the zoo, at the speed that the machine had when its layers were measured."""
        names = (*LAYERS, "convnet", "zoo")
        *_, random, zoo = read_tables(self.tables, names)
        return random, zoo

    @cached_property
    def summed(self) -> dict[str, tuple[LayerSum, list[tuple[np.ndarray, list[np.ndarray]]]]]:
        """Each method's predictor, and its cost terms of the random networks and of the zoo (`LayerSum.costs`)."""
        methods = {"layerwise": self.predictor}
        baselines = {"look-up table": Nearest, "roofline": Roofline}
        methods |= {name: baseline(self.predictor, self.layers, kind) for name, kind in baselines.items()}
        return {name: (plain, [plain.costs(m.architectures) for m in self.networks]) for name, plain in methods.items()}

    def measured(self, device: Device) -> list[np.ndarray]:
        """Latencies in ms of the random networks and of the zoo."""
        return [m.matrix("latency_ms")[:, m.devices.index(m.device(device.name))] for m in self.networks]

    @cached_property
    def layers(self) -> dict[str, Measurements]:
        return dict(zip(LAYERS, read_tables(self.tables, LAYERS), strict=True))

    @cached_property
    def predictor(self) -> LayerSum:
        """The predictor fitted on layers only, from an earlier run of the part `artefact` where there is one."""
        path = self.out / "layers_only.pt"
        predictor = Predictor.load(path) if path.is_file() else self.fit()
        assert isinstance(predictor, LayerSum)
        return predictor

    def fit(self) -> LayerSum:
        costs = Learnt.with_layer(self.layer) if self.layer else Learnt()
        costs.fit(self.layers, log=lambda message, **numbers: print(message, file=sys.stderr, flush=True))
        new = LayerSum.summing(costs)
        new.save(self.out / "layers_only.pt")
        return new

    def divided(self, device: str) -> tuple[Measurements, list[tuple[str, Measurements]]]:
        """A device's first `few` random networks with a latency, and the test sets: the other random ones, and the
        zoo."""
        random, zoo = (measured_on(m, device) for m in self.networks)
        rows = np.arange(len(random.architectures))
        rest = random.where(archs=rows[self.few :])
        return random.where(archs=rows[: self.few]), [("convnet", rest), ("zoo", zoo)]

    def fp32(self) -> list[Device]:
        """Devices with layers and networks."""
        names = {d.name for m in self.networks for d in m.devices}
        return [d for d in self.predictor.devices_ if d.name in names]


def measured_on(m: Measurements, device: str) -> Measurements:
    """Latencies of one device, without gaps."""
    m = m.where(devices=[device], metrics=["latency_ms"])
    return m.where(archs=np.flatnonzero(~np.isnan(m.matrix("latency_ms")[:, 0])))
