"""`MessagePassingPredictor`: base class of networks with torch-geometric's layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.base import GraphBatch, GraphEncoder
from encoders.cell import CellGraph
from encoders.pyg import to_pyg
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data


@dataclass
class MessagePassingPredictor(NeuralPredictor):
    """A network of torch-geometric's layers, called as `forward(x, edge_index, batch)`; subclasses define `_network`.

    ONNX files hold it as a network over padded graphs (`padded_graphs.py`).

    Attributes:
        encoder: architectures to graphs.
    """

    encoder: GraphEncoder = field(default_factory=CellGraph)

    def _batches(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> Any:
        return GraphBatches(x, z, size, shuffle)

    def forward(self, x: Inputs) -> np.ndarray:
        import torch
        from torch_geometric.data import Batch

        with torch.inference_mode():
            return self.network_(**_arguments(Batch.from_data_list(to_pyg(GraphBatch(**x))))).numpy()

    def to_onnx(self, x: Inputs) -> Any:
        from predictors.padded_graphs import padded

        return self._exported(padded(self.network_), x)


class GraphBatches:
    """Batches of torch-geometric's `Data` with labels; each iteration is one epoch."""

    def __init__(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> None:
        from torch_geometric.loader import DataLoader

        self.loader = DataLoader(to_pyg(GraphBatch(**x), z), batch_size=size, shuffle=shuffle)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for batch in self.loader:
            yield _arguments(batch), batch.y


def _arguments(batch: Data) -> dict[str, Tensor]:
    return {"x": batch.x, "edge_index": batch.edge_index, "batch": batch.batch}
