"""Costs that depend on the device, by which optimizer networks are trained: section 5.2, Stage 1, of "Scaling up Deep
Neural Network Optimization for Edge Inference" (Lu et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.records import Architectures, InputError, Measurements
from predictors.base import Adaptable, Log, Predictor, silent
from search.optimizer.device_net import DeviceNet

CELLS = 900
"""Number of architectures measured per source device, from HELP's paper ("Hardware-adaptive Efficient Latency
Prediction for NAS via Meta-Learning", Lee et al., NeurIPS 2021)."""
REFERENCES = 10
"""Number of architectures whose costs describe a device; nothing else is measured on a new one."""


@dataclass
class CostModels:
    """One cost on all devices: `net` is differentiable, so networks are trained through it; `prior`, adapted to the
    same measurements of a new device, ranks that device's architectures better and scores the networks' proposals.

    A new data set changes accuracies but not the cost models (section 5.3).

    Attributes:
        prior: an `Adaptable` predictor.
        net: a predictor with the device as an input.
        cells: number of architectures measured per source device.
    """

    prior: Predictor
    net: DeviceNet = field(default_factory=DeviceNet)
    cells: int = CELLS

    def fit(self, sources: Measurements, pool: Architectures, seed: int = 0, log: Log = silent) -> CostModels:
        """Fit to source devices; the references are chosen among `pool`, architectures that were measured on them."""
        rng = np.random.default_rng(seed)
        rows = rng.permutation(sources.architectures.positions(pool))[: self.cells]
        references = _adaptable(self.prior.fit(sources.where(archs=rows))).choose(pool, REFERENCES, rng)
        also = sources.architectures.positions(references)
        self.net.fit(sources.where(archs=np.unique([*rows, *also])), references, log)
        return self

    def devices(self, synthetic: int, rng: np.random.Generator) -> np.ndarray:
        """Vectors [n, K] of the sources, then of synthetic devices (none where there is only one source)."""
        devices, rows = self.net.synthetic_, self.net.places_
        drawn = devices.sample(synthetic if devices.logs.shape[1] > 1 else 0, rng)
        return np.concatenate([devices.logs[rows], drawn[rows]], axis=1).T

    def adapt(self, samples: Measurements) -> tuple[np.ndarray, Predictor]:
        """The vector [K] of a new device and its adapted predictor, from measurements of the references."""
        return self.net.vector(samples), _adaptable(self.prior).adapt(samples)

    def save(self, folder: Path) -> None:
        """Write `net.pt` and `prior.pt`."""
        write_checkpoint(self.net.state(), folder / "net.pt")
        self.prior.save(folder / "prior.pt")

    @staticmethod
    def load(folder: Path) -> CostModels:
        """Read what `save` wrote."""
        net, prior = DeviceNet.restored(read_checkpoint(folder / "net.pt")), Predictor.load(folder / "prior.pt")
        if not isinstance(prior, Adaptable):
            raise InputError(f"{folder} holds no predictor that can learn a new device; train it again.")
        return CostModels(prior, net)


def _adaptable(predictor: Predictor) -> Adaptable:
    if not isinstance(predictor, Adaptable):
        raise InputError(
            f"{type(predictor).__name__} cannot learn a new device; give a predictor that can, such as `Conditioned`."
        )
    return predictor
