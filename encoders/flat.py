"""Cells and networks as vectors of physical numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder


@dataclass
class FlatVector(VectorEncoder):
    """LETI's input of XGBoost (section 3.3): FLOPs, peak activation memory, the flattened adjacency matrix and the
    list of layers; 2 + n^2 + n numbers for n nodes (58 for NAS-Bench-101's 7, 74 for NAS-Bench-201's 8)."""

    def num_features(self, space: Space) -> int:
        n = space.graph(space.sample(1, np.random.default_rng(0)))[0].shape[1]
        return 2 + n * n + n

    def __call__(self, archs: Architectures) -> np.ndarray:
        totals = archs.space.totals(archs)[["flops", "peak_bytes"]].to_numpy()
        kinds, adjacency = archs.space.graph(archs)
        flat = adjacency.reshape(len(archs), -1)
        return np.concatenate([totals, flat, kinds], axis=1, dtype=np.float32)


@dataclass
class Totals(VectorEncoder):
    """Physical totals of the expanded network, each divided by a million.

    Attributes:
        columns: of macs, flops, params, peak_bytes, moved_bytes, kernels.
    """

    columns: tuple[str, ...] = ("flops",)

    def num_features(self, space: Space) -> int:
        return len(self.columns)

    def __call__(self, archs: Architectures) -> np.ndarray:
        totals = archs.space.totals(archs)
        if unknown := [name for name in self.columns if name not in totals]:
            raise InputError(f"There is no total '{unknown[0]}'; there are {', '.join(map(str, totals))}.")
        return (totals[list(self.columns)].to_numpy() / 1e6).astype(np.float32)
