"""Types of encoders. Graphs and vectors are different types on purpose: a GCN needs graphs, trees need vectors, and a
configuration with the wrong type is refused before any data is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from datasets.records import Architectures, Device, Space


class GraphBatch(NamedTuple):
    """Dense, padded graphs, float32.

    Attributes:
        nodes: features [batch, nodes, features]; zero for padding.
        adjacency: [batch, nodes, nodes], 1 where an edge leads from row to column; a global node's row is 1 for all
            nodes, and no edge leads from or to padding.
        mask: [batch, nodes], 1 for nodes and 0 for padding.
    """

    nodes: np.ndarray
    adjacency: np.ndarray
    mask: np.ndarray


class SparseGraphs(NamedTuple):
    """Graphs of any sizes, one after another as one graph of unconnected parts (torch-geometric's `Batch`), float32.

    Attributes:
        nodes: features [nodes of all graphs, features].
        edges: [edges of all graphs, 2], positions in `nodes` of source and target.
        graph: [nodes of all graphs, 1], the number of each node's graph.
        sizes: [graphs, 1], number of nodes of each graph.
    """

    nodes: np.ndarray
    edges: np.ndarray
    graph: np.ndarray
    sizes: np.ndarray


def require_graph(space: Space) -> None:
    """Raise the space's own `InputError` where its architectures have no graphs."""
    if not space.kinds:
        space.graph(space.sample(0, np.random.default_rng(0)))


class _Encoder:
    @classmethod
    def examples(cls) -> list[Self]:
        """Encoders for contract tests, the usual one first. Each field that is not a bool needs an example with another
        value, which shows that it matters."""
        return [cls()]


class GraphEncoder(_Encoder, ABC):
    """Encodes architectures as graphs."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Number of features per node; raises `InputError` where the encoder does not suit the space."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> GraphBatch:
        """Encode a batch of architectures."""


class SparseGraphEncoder(_Encoder, ABC):
    """Encodes networks as graphs of any sizes."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Number of features per node; raises `InputError` where the encoder does not suit the space."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> SparseGraphs:
        """Encode a batch of architectures or networks."""


class VectorEncoder(_Encoder, ABC):
    """Encodes architectures as vectors."""

    @abstractmethod
    def num_features(self, space: Space) -> int:
        """Length of the vector; raises `InputError` where the encoder does not suit the space."""

    @abstractmethod
    def __call__(self, archs: Architectures) -> np.ndarray:
        """Vectors [batch, features], float32."""


class DeviceEncoder(_Encoder, ABC):
    """Encodes devices as vectors."""

    num_features: int

    @abstractmethod
    def __call__(self, devices: Sequence[Device]) -> np.ndarray:
        """Vectors [devices, features], float32.

        Raises:
            InputError: a device cannot be encoded.
        """
