"""Measured latencies relative to one network's, measured in turns with it, so that drift over hours cancels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datasets.networks.model import Model, Weights
from datasets.networks.network import Network
from measure.base import Backend, Session, reference_network


@dataclass
class Shares:
    """Latencies divided by that of a whole network.

    Attributes:
        backend: the runtime.
        whole: the network whose latency is 1.
        passes: number of times that both networks are measured, in turns; the median is taken.
    """

    backend: Backend
    whole: Network
    passes: int = 3
    known: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _sessions: list[Session] = field(default_factory=list, init=False, repr=False)

    def __call__(self, network: Network, weights: Weights | None = None) -> float:
        """Relative latency of a network; networks with the same key are measured once."""
        if network.key not in self.known:
            self.known[network.key] = self.anew(network, weights)
        return self.known[network.key]

    def anew(self, network: Network, weights: Weights | None = None) -> float:
        """Relative latency of a network, measured again even if it is known."""
        if not self._sessions:
            self._sessions = [self.backend.session(reference_network()), self.backend.session(self.whole)]
        (reference, whole), session = self._sessions, self.backend.session(Model(network, weights))
        pairs = [
            (self.backend.timed(whole, reference).ratio, self.backend.timed(session, reference).ratio)
            for _ in range(self.passes)
        ]
        return float(np.median([ratio / whole_ratio for whole_ratio, ratio in pairs]))
