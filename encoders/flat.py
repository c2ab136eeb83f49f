"""Cells and networks as vectors of physical numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot, KindCounts, branches

PHYSICAL = ("flops", "params", "moved_bytes", "peak_bytes", "kernels")


@dataclass
class FlatVector(VectorEncoder):
    """LETI's input of XGBoost (section 3.3 of "LETI: Latency Estimation Tool and Investigation of Neural Networks
    Inference on Mobile GPU", Ponomarev et al., 2020): FLOPs, peak activation memory, the flattened adjacency matrix and
    the list of layers; 2 + n^2 + n numbers for n nodes (58 for NAS-Bench-101's 7, 74 for NAS-Bench-201's 8)."""

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
        columns: names among macs, flops, params, peak_bytes, moved_bytes, kernels.
        live: totals of the network without nodes on no path from input to output.
    """

    columns: tuple[str, ...] = ("flops",)
    live: bool = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(("macs", "kernels"))]

    def num_features(self, space: Space) -> int:
        return len(self.columns)

    def __call__(self, archs: Architectures) -> np.ndarray:
        totals = archs.space.totals(archs.space.live(archs) if self.live else archs)
        if unknown := [name for name in self.columns if name not in totals]:
            raise InputError(f"There is no total '{unknown[0]}'; there are {', '.join(map(str, totals))}.")
        return (totals[list(self.columns)].to_numpy() / 1e6).astype(np.float32)


@dataclass
class Work(VectorEncoder):
    """What is executed: the number of nodes of each kind, where graphs are cells, whose nodes of a kind cost the same;
    physical totals elsewhere.

    Attributes:
        live: without nodes on no path from input to output, which compilers remove.
    """

    live: bool = False

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(live=True)]

    def _of(self, space: Space) -> VectorEncoder:
        return KindCounts(live=self.live) if branches(space) else Totals(PHYSICAL, live=self.live)

    def num_features(self, space: Space) -> int:
        return self._of(space).num_features(space)

    def __call__(self, archs: Architectures) -> np.ndarray:
        return self._of(archs.space)(archs)


@dataclass
class Nothing(VectorEncoder):
    """A zero, for predictors that read no features; it suits any space."""

    def num_features(self, space: Space) -> int:
        return 1

    def __call__(self, archs: Architectures) -> np.ndarray:
        return np.zeros((len(archs), 1), np.float32)


def _decisions_and_totals() -> list[VectorEncoder]:
    live = [CellOneHot(live=True, counts=True), Totals(PHYSICAL, live=True)]
    return [CellOneHot(), Totals(PHYSICAL), *live]


@dataclass
class Joined(VectorEncoder):
    """Concatenation of several vectors.

    Attributes:
        parts: encoders; by default decisions and physical totals, with and without nodes that compilers remove.
    """

    parts: list[VectorEncoder] = field(default_factory=_decisions_and_totals)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls([Totals()])]

    def sizes(self, space: Space) -> list[int]:
        """Number of features of each part."""
        return [part.num_features(space) for part in self.parts]

    def num_features(self, space: Space) -> int:
        return sum(self.sizes(space))

    def __call__(self, archs: Architectures) -> np.ndarray:
        return np.concatenate([part(archs) for part in self.parts], axis=1)
