"""`Costs`: cost terms of the pieces of networks, which a `LayerSum` weighs by a few coefficients per device.

A session is one run of a network by a runtime; an empty session runs a network that computes nothing
(`datasets.networks.network.SMALLEST`). A call is the overhead of each piece in a session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.collection import OfNetworks
from datasets.networks.parts import entries
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from predictors.base import Log, silent

MOST_POOL = 2000
"""Largest number of networks that `LayerSum.choose` computes the costs of."""


class Costs(ABC):
    """Costs of pieces (`datasets.networks.parts.entries`) on S devices, as K terms per piece.

    Subclasses are dataclasses; their fields are part of configurations and saved files, like those of predictors.

    Attributes:
        metric: metric of the networks whose totals they sum to.
        terms: names of the terms [K]: first `session`, which counts once per run, then those of every piece.
        prior: covariance [K, K] of the logarithms of the coefficients before networks are measured.
        added: names of terms that older files lack.
        noise: relative error of sums with exact coefficients; the smaller it is, the more weight networks have.
        devices: S devices; empty before `learn`.
        machine: best MACs per ms, best bytes per ms, and ms of an empty session [S, 3].
        copies: ms, and ms per byte, of copying the input of a run; and of its output [S, 4].
    """

    metric: ClassVar[str] = "latency_ms"
    terms: ClassVar[tuple[str, ...]]
    prior: ClassVar[np.ndarray]
    added: ClassVar[tuple[str, ...]] = ()
    noise: float
    devices: tuple[Device, ...]
    machine: np.ndarray
    copies: np.ndarray

    @abstractmethod
    def learn(self, log: Log = silent) -> Self:
        """Read the tables that the fields name, and learn from them; raises `InputError` where a table is faulty."""

    @abstractmethod
    def guess(self) -> np.ndarray:
        """Prior medians [S, K] of the coefficients, above zero."""

    @abstractmethod
    def network_terms(self, networks: Networks) -> list[np.ndarray]:
        """Terms of the pieces of each network [P, S, K]; 0 in the column `session`, NaN where the cost of a piece on a
        device is unknown."""

    def totals(self, networks: Networks) -> np.ndarray:
        """Sums of the terms of networks [A, S, K], computed once for each network until `forget`."""
        known = self.__dict__.setdefault("_totals", OfNetworks())
        found = known.get(
            networks.networks, lambda new: [terms.sum(axis=0) for terms in self.network_terms(Networks(new))]
        )
        whole = np.array(found).reshape(-1, len(self.devices), len(self.terms))
        whole[:, :, 0] = 1
        return whole

    def totals_of(self, archs: Architectures, log: Log = silent) -> np.ndarray:
        """`totals` of architectures, of some after others, since their networks take memory; `log` receives the numbers
        of networks that were added."""
        found = [self.totals(Networks([]))]
        for start in range(0, len(archs), 250):
            found.append(self.totals(Networks.of(archs[start : start + 250])))
            log("costs", networks=len(found[-1]))
        return np.concatenate(found)

    def forget(self) -> tuple[Device, ...]:
        """Discard `totals`, after the costs have changed; returns the devices."""
        self.__dict__.pop("_totals", None)
        return self.devices

    @abstractmethod
    def spread(self) -> np.ndarray:
        """Standard deviations [S, K] of the logarithms of the terms of a piece."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Learnt parameters as plain containers and arrays."""

    @abstractmethod
    def restore(self, state: Any, where: str) -> None:
        """Set the learnt parameters from `state()`; raises one of `checkpoint.DAMAGE` where they do not fit."""

    @abstractmethod
    def examples(self, s: int) -> Networks:
        """One or two networks with known costs on a device, to check a file with."""

    def unknown(self, network: Any, s: int) -> InputError:
        """Error of a network with a piece of unknown cost on device `s`."""
        return InputError(f"Nothing is known of a layer of {network.key} on {self.devices[s].name}.")

    def measured(self, m: Measurements) -> str:
        """The metric, or in tables of layers without it that of the ms of a run (`exe_ms`)."""
        known = set(m.table["metric"])
        phases = self.metric == "latency_ms" and self.metric not in known and "exe_ms" in known
        return "exe_ms" if phases else self.metric

    def least(self, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least ms of the operations, and of moving the bytes, both [A, S], of work [A, 2] (MACs, bytes)."""
        computing, moving = np.moveaxis(work[:, None] / self.machine[None, :, :2], 2, 0)
        return computing, moving

    def beyond(self, networks: Networks) -> list[np.ndarray]:
        """Ratios [P, S] of the work of the pieces of each network to that of the nearest measured layers; 1 where
        measured themselves."""
        return [np.ones((len(entries(network)), len(self.devices))) for network in networks]


def best_rates(work: np.ndarray, ms: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Ninth deciles [S, 2] of MACs per ms and bytes per ms, from MACs and bytes of layers [A, 2], their ms [A, S] and
    the ms of an empty session [S]."""
    rates = work[:, None] / np.maximum(ms - session, 1e-9)[..., None]  # [A, S, 2]
    slow = ms > 10 * session  # rates of tiny layers are noise
    slow |= ~slow.any(axis=0)
    return np.nanquantile(np.where((slow & np.isfinite(rates[..., 0]))[..., None], rates, np.nan), 0.9, axis=0)
