"""What an optimizer network learns from (Lu et al., 5.2, Stage 1): accuracies, and costs that depend on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.records import Architectures, InputError, Measurements
from encoders.cell import CellOneHot
from predictors.any_device.device_net import DeviceNet
from predictors.base import Log, Predictor, silent
from predictors.ensemble import Ensemble
from predictors.mlp import MLP
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale

if TYPE_CHECKING:
    from predictors.new_devices.base import FewShot

CELLS = 900
"""Architectures that are measured on each source device, as in HELP's paper."""
REFERENCES = 10
"""Those that describe a device; all that is measured of a new one."""


@dataclass
class CostModels:
    """One cost on all devices: `net` is differentiable, so networks learn through it; `prior`, adapted to the same few
    measurements of a new device, ranks that device's architectures better and judges what networks propose.

    A new data set changes accuracies and leaves this as it is (section 5.3).

    Attributes:
        net: takes a device as input.
        prior: learns a new device.
        cells: measured on each source.
    """

    net: DeviceNet = field(default_factory=DeviceNet)
    prior: Conditioned = field(default_factory=Conditioned)
    cells: int = CELLS

    def fit(self, sources: Measurements, pool: Architectures, seed: int = 0, log: Log = silent) -> CostModels:
        """Learn from source devices; `pool` are architectures that were measured there, and the most informative ones
        become references."""
        rng = np.random.default_rng(seed)
        place = {row.tobytes(): i for i, row in enumerate(sources.architectures.decisions)}
        rows = rng.permutation([place[row.tobytes()] for row in pool.decisions])[: self.cells]
        self.prior.fit(sources.where(archs=rows))
        references = self.prior.choose(pool, REFERENCES, rng)
        also = [place[row.tobytes()] for row in references.decisions]
        self.net.fit(sources.where(archs=np.unique([*rows, *also])), references, log)
        return self

    def devices(self, synthetic: int, rng: np.random.Generator) -> np.ndarray:
        """Vectors [n, K] of the sources, then of synthetic devices; a lone source gives no others."""
        made = self.net.synthetic_
        at = self.net.places_
        drawn = made.draw(synthetic if made.logs.shape[1] > 1 else 0, rng)
        return np.concatenate([made.logs[at], drawn[at]], axis=1).T

    def adapt(self, few: Measurements) -> tuple[np.ndarray, FewShot]:
        """A new device [K], and the predictor of it, from measurements of the references."""
        return self.net.vector(few), self.prior.adapt(few)

    def save(self, folder: Path) -> None:
        """Write `net.pt` and `prior.pt`."""
        write_checkpoint(self.net.state(), folder / "net.pt")
        self.prior.save(folder / "prior.pt")

    @staticmethod
    def load(folder: Path) -> CostModels:
        """Read what `save` wrote."""
        net, prior = DeviceNet.restored(read_checkpoint(folder / "net.pt")), Predictor.load(folder / "prior.pt")
        if not isinstance(prior, Conditioned):
            raise InputError(f"{folder} holds no predictor of new devices; train it again.")
        return CostModels(net, prior)


def accuracy_net(m: Measurements, metric: str, seed: int = 0, size: int = 1) -> MLP | Ensemble:
    """A relaxable predictor of accuracies in percent, or of whatever depends on no device; of several the mean."""
    settings: dict[str, Any] = {"hidden": 128, "layers": 2, "epochs": 30, "batch_size": 256, "learning_rate": 3e-3}
    net = MLP(metric=metric, scale=Scale("linear"), encoder=CellOneHot(), seed=seed, **settings)
    return (net if size == 1 else Ensemble(member=net, size=size)).fit(m)
