"""`SparseGraphPredictor`: neural predictors over graphs of any sizes, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from encoders.base import SparseGraphEncoder, SparseGraphs
from encoders.pieces import PieceGraph
from encoders.pyg import sparse_to_pyg
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class SparseGraphPredictor(NeuralPredictor):
    """A network over graphs of any sizes, called as `forward(nodes, edges, graph, sizes)`; subclasses define
    `_network`.

    Attributes:
        encoder: networks to graphs.
    """

    encoder: SparseGraphEncoder = field(default_factory=PieceGraph)

    chunk: ClassVar[int] = 64
    rows: ClassVar[int] = 64 * 1024
    learns_to: ClassVar[float] = 0.1  # on labels that count ops which reach no output

    def _batches(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> Any:
        return SparseBatches(SparseGraphs(**x), z, size, shuffle)


class SparseBatches:
    """Batches of torch-geometric's `Data` with labels; each iteration is one epoch."""

    def __init__(self, graphs: SparseGraphs, z: np.ndarray, size: int, shuffle: bool) -> None:
        from torch_geometric.loader import DataLoader

        self.loader = DataLoader(sparse_to_pyg(graphs, z), batch_size=size, shuffle=shuffle)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for batch in self.loader:
            sizes = batch.ptr.diff()[:, None].to(batch.x.dtype)
            graphs = SparseGraphs(batch.x, batch.edge_index.t(), batch.batch[:, None], sizes)
            yield graphs._asdict(), batch.y
