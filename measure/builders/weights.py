"""Seeded weights of a network, equal for all builders."""

from __future__ import annotations

import math

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import BN_EPSILON as BN_EPSILON
from datasets.networks.ops import pair


def make_weights(network: Network, seed: int = 0) -> Weights:
    """Draw weights: He-normal convolutions, and batch-norm statistics near, but not at, (0, 1).

    A builder that ignores one of the statistics is then detected by comparing outputs.
    """
    rng = np.random.default_rng(seed)
    inputs = network.sources()

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    weights: Weights = {}
    for node, op in enumerate(network.ops):
        out = op.attrs["shape"][0]
        if op.kind == "conv":
            in_channels = network.ops[inputs[node][0]].attrs["shape"][0] // op.attrs.get("groups", 1)
            height, width = pair(op.attrs["kernel"])
            he = math.sqrt(2 / (in_channels * height * width))
            weights[node] = {"weight": normal(out, in_channels, height, width, scale=he)}
            if op.attrs.get("bias", 0):
                weights[node]["bias"] = normal(out, scale=0.1)
        elif op.kind == "dense":
            features = math.prod(network.ops[inputs[node][0]].attrs["shape"])
            weights[node] = {"weight": normal(out, features, scale=features**-0.5)}
            if op.attrs.get("bias", 1):
                weights[node]["bias"] = normal(out, scale=0.1)
        elif op.kind == "bn":
            var = rng.uniform(0.75, 1.5, out).astype(np.float32)
            shift, mean = normal(out, scale=0.1), normal(out, scale=0.1)
            weights[node] = {"scale": np.ones(out, np.float32), "shift": shift, "mean": mean, "var": var}
    return weights
