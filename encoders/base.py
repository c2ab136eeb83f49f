"""What encoders give. Graphs and vectors are different types on purpose: a GCN asks for the first, trees for the
second, and a configuration that mixes them up is refused before anything is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

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


class GraphEncoder(ABC):
    """Architectures to graphs."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Features of a node."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> GraphBatch:
        """Encode a batch."""


class VectorEncoder(ABC):
    """Architectures to vectors."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Length of the vector."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> np.ndarray:
        """Vectors [batch, features], float32."""


class DeviceEncoder(ABC):
    """Devices to vectors."""

    num_features: int

    @abstractmethod
    def __call__(self, devices: Sequence[Device]) -> np.ndarray:
        """Vectors [devices, features], float32; a device it cannot encode raises `InputError`."""
