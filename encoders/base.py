"""What encoders give. Graphs and vectors are different types on purpose: a GCN asks for the first, trees for the
second, and a configuration that mixes them up is refused before anything is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from datasets.records import Architectures, Device, Space


class GraphBatch(NamedTuple):
    """Dense, padded graphs, float32.

    Attributes:
        nodes: features [batch, nodes, features]; zero where there is no node.
        adjacency: [batch, nodes, nodes], 1 where an edge leads from row to column; a global node's row is all ones.
        mask: [batch, nodes], 1 where there is a node.
    """

    nodes: np.ndarray
    adjacency: np.ndarray
    mask: np.ndarray


def require_graph(space: Space) -> None:
    """Raise the space's own `InputError` where its architectures have no graphs."""
    if not space.kinds:
        space.graph(space.sample(0, np.random.default_rng(0)))


class _Encoder:
    @classmethod
    def examples(cls) -> list[Self]:
        """What the contract tests try: the usual one first. Each field that is not a bool needs an example with
        another value, which shows that it matters."""
        return [cls()]


class GraphEncoder(_Encoder, ABC):
    """Architectures to graphs."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Features of a node; raises `InputError` where the encoder does not suit the space."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> GraphBatch:
        """Encode a batch."""


class VectorEncoder(_Encoder, ABC):
    """Architectures to vectors."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Length of the vector; raises `InputError` where the encoder does not suit the space."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> np.ndarray:
        """Vectors [batch, features], float32."""


class DeviceEncoder(_Encoder, ABC):
    """Devices to vectors."""

    num_features: int

    @abstractmethod
    def __call__(self, devices: Sequence[Device]) -> np.ndarray:
        """Vectors [devices, features], float32; a device it cannot encode raises `InputError`."""
