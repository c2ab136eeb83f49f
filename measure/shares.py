"""True latencies as shares of one network's own, measured in turns with it: no drift between days or hours shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datasets.networks.model import Model, Weights
from datasets.networks.network import Network
from measure.base import Backend, Session, reference_network


@dataclass
class Shares:
    """Latencies over a whole network's.

    Attributes:
        backend: where they run.
        whole: the network whose latency counts one.
        passes: how often both are measured, in turns; the median counts.
    """

    backend: Backend
    whole: Network
    passes: int = 3
    known: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _sessions: list[Session] = field(default_factory=list, init=False, repr=False)

    def __call__(self, network: Network, weights: Weights | None = None) -> float:
        """The network's latency over the whole one's; networks of one key are measured once."""
        if network.key not in self.known:
            self.known[network.key] = self.anew(network, weights)
        return self.known[network.key]

    def anew(self, network: Network, weights: Weights | None = None) -> float:
        """The network's latency over the whole one's, measured again even if it is known."""
        if not self._sessions:
            self._sessions = [self.backend.session(reference_network()), self.backend.session(self.whole)]
        (reference, whole), one = self._sessions, self.backend.session(Model(network, weights))
        pairs = [
            (self.backend.timed(whole, reference).ratio, self.backend.timed(one, reference).ratio)
            for _ in range(self.passes)
        ]
        return float(np.median([ratio / of for of, ratio in pairs]))
