"""A trainer for tests of adaptations, in a file of its own: worker processes load it, and torch is slow to load."""

from dataclasses import dataclass

import numpy as np

from datasets.networks.analysis import totals
from datasets.networks.model import Weights
from datasets.records import Architecture


@dataclass(frozen=True)
class Toy:
    """A trainer without training: tuning adds what its seed draws; scores depend on the weights."""

    def tune(self, network: Architecture, weights: Weights, steps: int, seed: int) -> Weights:
        rng = np.random.default_rng(seed)
        return {
            node: {name: value + 0.01 * rng.standard_normal(value.shape, np.float32) for name, value in named.items()}
            for node, named in weights.items()
        }

    def scores(self, network: Architecture, weights: Weights, part: str = "holdout") -> tuple[float, float]:
        size = sum(float(np.square(value).sum()) for named in weights.values() for value in named.values())
        accuracy = size % 1 + np.log(totals(network)["macs"])
        return accuracy, -2 * accuracy

    def on(self, device: str) -> "Toy":
        return self
