"""`Energies`: costs of pieces of networks in millijoules instead of milliseconds, for a `LayerSum` of energies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.analysis import totals
from datasets.records import Device, InputError, Networks
from predictors.base import Log, silent
from predictors.networks.calibration import Calibration
from predictors.networks.costs import Costs
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import Learnt
from predictors.networks.pieces import pieces

WATTS = 10.0
"""Prior median of the mJ per ms of a run, net of the machine at rest."""

POWER_WIDTH = 1.0
"""Prior standard deviation of the logarithm of this power, which all coefficients have in common."""

MACS_WIDTH = 1.0
"""Prior standard deviation of the logarithm of the mJ per multiply-accumulate, whose prior median is the energy that it
takes at the device's best rate and the median power. Chosen, like that median, by 10 and 20 of 700 cells on a Raspberry
Pi 5 (HW-NAS-Bench-360, CIFAR-100) and the errors of the others."""


@dataclass
class Energies(Costs):
    """Energy of a piece as a power times each term of its time, plus an energy per multiply-accumulate.

    Multiply-accumulates of ops that no output depends on, which some runtimes compute too (onnxruntime and PyTorch the
    branches before a product with 0 in NAS-Bench-201), are counted with the first piece.

    The times are of devices with tables of layers, which need no energies; a few networks with measured `energy_mj`
    give the coefficients of a device (`LayerSum.adapt`).

    Attributes:
        layers: costs in ms, to which the term `macs` (millions of multiply-accumulates) is added.
    """

    layers: Costs = field(default_factory=Learnt)

    metric: ClassVar[str] = "energy_mj"

    @staticmethod
    def like(times: LayerSum) -> LayerSum:
        """A sum of energies with the layers, devices and coefficients of a sum of times, at the prior median power."""
        costs = Energies(times.layers)
        guess, width = costs.guess(), costs.prior[-1:, -1:]
        calibrations = []
        for c in times.calibrations_:
            coefficients = np.append(WATTS * c.coefficients, guess[c.source, -1])
            calibrations.append(Calibration(c.source, coefficients, _beside(c.covariance, width), np.empty(0)))
        return LayerSum(costs).with_devices(times.devices_, calibrations)

    def learn(self, log: Log = silent) -> Self:
        self.layers.learn(log)
        return self

    def guess(self) -> np.ndarray:
        per_mac = WATTS * 1e6 / self.machine[:, :1]
        return np.hstack([WATTS * self.layers.guess(), per_mac])

    def network_terms(self, networks: Networks) -> list[np.ndarray]:
        found = []
        for network, terms in zip(networks.networks, self.layers.network_terms(networks), strict=True):
            macs: np.ndarray = np.array([piece.macs for piece in pieces(network)], float)
            macs[:1] += max(totals(network)["macs"] - macs.sum(), 0)
            column = np.broadcast_to(macs[:, None, None] / 1e6, (*terms.shape[:2], 1))
            found.append(np.concatenate([terms, column], axis=2))
        return found

    def spread(self) -> np.ndarray:
        found = self.layers.spread()
        return np.hstack([found, np.zeros((len(found), 1))])

    def beyond(self, networks: Networks) -> list[np.ndarray]:
        return self.layers.beyond(networks)

    def examples(self, s: int) -> Networks:
        return self.layers.examples(s)

    def unknown(self, network: Any, s: int) -> InputError:
        return self.layers.unknown(network, s)

    def state(self) -> dict[str, Any]:
        return self.layers.state()

    def restore(self, state: Any, where: str) -> None:
        self.layers.restore(state, where)

    @property
    def terms(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.layers.terms, "macs")

    @property
    def prior(self) -> np.ndarray:  # type: ignore[override]
        return _beside(self.layers.prior, np.array([[MACS_WIDTH**2]])) + POWER_WIDTH**2

    @property
    def added(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.layers.added

    @property
    def noise(self) -> float:  # type: ignore[override]
        return self.layers.noise

    @property
    def devices(self) -> tuple[Device, ...]:  # type: ignore[override]
        return self.layers.devices

    @property
    def machine(self) -> np.ndarray:  # type: ignore[override]
        return self.layers.machine

    @property
    def copies(self) -> np.ndarray:  # type: ignore[override]
        return self.layers.copies


def _beside(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Block-diagonal matrix of two square ones."""
    found = np.zeros((len(first) + len(second),) * 2)
    found[: len(first), : len(first)], found[len(first) :, len(first) :] = first, second
    return found
