"""Costs that depend on the device, which an optimizer network learns from (Lu et al., section 5.2, Stage 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.records import Architectures, InputError, Measurements
from predictors.base import Adaptable, Log, Predictor, silent
from search.optimizer.device_net import DeviceNet

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
        prior: an `Adaptable` predictor, which learns a new device.
        net: takes a device as input.
        cells: measured on each source.
    """

    prior: Predictor
    net: DeviceNet = field(default_factory=DeviceNet)
    cells: int = CELLS

    def fit(self, sources: Measurements, pool: Architectures, seed: int = 0, log: Log = silent) -> CostModels:
        """Learn from source devices; `pool` are architectures that were measured there, and the most informative ones
        become references."""
        rng = np.random.default_rng(seed)
        rows = rng.permutation(sources.architectures.positions(pool))[: self.cells]
        references = _adaptable(self.prior.fit(sources.where(archs=rows))).choose(pool, REFERENCES, rng)
        also = sources.architectures.positions(references)
        self.net.fit(sources.where(archs=np.unique([*rows, *also])), references, log)
        return self

    def devices(self, synthetic: int, rng: np.random.Generator) -> np.ndarray:
        """Vectors [n, K] of the sources, then of synthetic devices; a lone source gives no others."""
        made = self.net.synthetic_
        at = self.net.places_
        drawn = made.draw(synthetic if made.logs.shape[1] > 1 else 0, rng)
        return np.concatenate([made.logs[at], drawn[at]], axis=1).T

    def adapt(self, few: Measurements) -> tuple[np.ndarray, Predictor]:
        """A new device [K], and the predictor of it, from measurements of the references."""
        return self.net.vector(few), _adaptable(self.prior).adapt(few)

    def save(self, folder: Path) -> None:
        """Write `net.pt` and `prior.pt`."""
        write_checkpoint(self.net.state(), folder / "net.pt")
        self.prior.save(folder / "prior.pt")

    @staticmethod
    def load(folder: Path) -> CostModels:
        """Read what `save` wrote."""
        net, prior = DeviceNet.restored(read_checkpoint(folder / "net.pt")), Predictor.load(folder / "prior.pt")
        if not isinstance(prior, Adaptable):
            raise InputError(f"{folder} holds no predictor of new devices; train it again.")
        return CostModels(prior, net)


def _adaptable(predictor: Predictor) -> Adaptable:
    if not isinstance(predictor, Adaptable):
        raise InputError(f"{type(predictor).__name__} learns no new devices; give one that does, as `Conditioned`.")
    return predictor
