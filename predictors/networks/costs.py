"""`Costs`: what networks' pieces cost, as terms that a `LayerSum` weighs with a few coefficients a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from datasets.records import Device, InputError, Networks
from predictors.base import Log, silent
from predictors.networks.pieces import Piece


class Costs(ABC):
    """Costs of pieces (`datasets.networks.analysis.entries`) on S devices, each made of K terms.

    What inherits is a dataclass: its fields stand in configurations and saved files, as a predictor's do.

    Attributes:
        terms: names of what the coefficients multiply [K]: first `session`, once a run, the others for every piece.
        prior: covariance [K, K] of the coefficients' logarithms before a network was measured.
        noise: relative error of a sum that is no fault of coefficients; if it is smaller, networks count for more.
        devices: S of them; none before `learn`.
        machine: macs a ms and bytes a ms at best, ms of a session that computes nothing [S, 3].
        copies: of a run's input: ms, ms a byte; of its output: ms, ms a byte [S, 4].
    """

    terms: ClassVar[tuple[str, ...]]
    prior: ClassVar[np.ndarray]
    noise: float
    devices: tuple[Device, ...]
    machine: np.ndarray
    copies: np.ndarray

    @abstractmethod
    def learn(self, log: Log = silent) -> Self:
        """Read and learn the tables that the fields name; raises `InputError` where that cannot be done."""

    @abstractmethod
    def guess(self) -> np.ndarray:
        """Coefficients [S, K] before a network was measured: the prior's medians, above zero."""

    @abstractmethod
    def of(self, networks: Networks) -> list[np.ndarray]:
        """The terms of each network's pieces [P, S, K]; 0 in the column `session`, NaN where a device does not know a
        piece."""

    @abstractmethod
    def spread(self) -> np.ndarray:
        """Standard deviations [S, K] of the logarithms of a piece's terms."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What was learnt, as plain containers and arrays."""

    @abstractmethod
    def restore(self, state: Any, where: str) -> None:
        """Take over what `state` gave; what does not fit together raises one of `checkpoint.DAMAGE`."""

    @abstractmethod
    def examples(self, s: int) -> Networks:
        """One or two networks that a device knows, to try a file with."""

    def unknown(self, network: Any, s: int) -> InputError:
        """Why a network has no sum on a device."""
        return InputError(f"Nothing is known of a layer of {network.key} on {self.devices[s].name}.")

    def least(self, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds [A, S] that operations take at least, and bytes, of [A, 2]."""
        computing, moving = np.moveaxis(work[:, None] / self.machine[None, :, :2], 2, 0)
        return computing, moving

    def beyond(self, found: Sequence[Piece]) -> np.ndarray:
        """How many times the work of what was measured pieces are [P, S]; 1 where they were measured themselves."""
        return np.ones((len(found), len(self.devices)))


def best_rates(work: np.ndarray, ms: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Macs and bytes a ms [S, 2] of one layer in ten, by layers' macs and bytes [A, 2], their ms [A, S] and those of a
    session [S]."""
    rates = work[:, None] / np.maximum(ms - session, 1e-9)[..., None]  # [A, S, 2]
    slow = ms > 10 * session  # a tiny layer's rate is noise
    slow |= ~slow.any(axis=0)
    return np.nanquantile(np.where((slow & np.isfinite(rates[..., 0]))[..., None], rates, np.nan), 0.9, axis=0)
