"""`GraphNet`: networks of any kinds as sums over their pieces, in context; and NNLQP's network beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from datasets.records import Architectures
from encoders.base import SparseGraphEncoder, SparseGraphs
from encoders.pieces import PieceGraph
from encoders.pyg import sparse_to_pyg
from predictors.base import Log
from predictors.linear import least_relative
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class SparseGraphPredictor(NeuralPredictor):
    """A network over graphs of any sizes, called as `forward(nodes, edges, graph, sizes)`; subclasses define `_network`.

    Attributes:
        encoder: networks to graphs.
    """

    encoder: SparseGraphEncoder = field(default_factory=PieceGraph)  # type: ignore[assignment]

    chunk: ClassVar[int] = 64
    rows: ClassVar[int] = 64 * 1024
    learns_to: ClassVar[float] = 0.1  # on labels that count ops which reach no output

    def _batches(self, x: Inputs, z: np.ndarray, size: int, shuffle: bool) -> Any:
        return SparseBatches(SparseGraphs(**x), z, size, shuffle)


@dataclass
class GraphNet(SparseGraphPredictor):
    """Sums over the pieces of networks: the time of each is a line of its work, times a factor that message passing
    learns; a factor of the whole network may follow.

    It predicts any network, from one layer on, and beyond the sizes of the training networks.

    Attributes:
        hidden: width of the message passing.
        layers: number of its steps.
        dropout: share of what a step adds that is dropped while training.
        siblings: nodes also see those that have a producer or a consumer in common with them.
        whole: whether a factor of the whole network follows.
    """

    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    hidden: int = 64
    layers: int = 2
    dropout: float = 0.0
    siblings: bool = True
    whole: bool = True

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(epochs=3, hidden=16, layers=1)
        return [quick, cls(encoder=PieceGraph(context=False), epochs=3, layers=2, dropout=0.2), cls(epochs=80, hidden=32, batch_size=5, weight_decay=0.0)]

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.graph_nets import AdditiveNet

        features = x["nodes"].shape[1]
        return AdditiveNet(features, self.hidden, self.layers, outputs, self.dropout, self.siblings, self.whole)

    def _initial(self, x: Inputs, z: np.ndarray) -> nn.Module:
        """Without factors: the line of the totals that is least off, per device."""
        import torch

        from predictors.graph_nets import total, work

        network = self._network(x, z.shape[1])
        nodes, _, graph, sizes = (torch.from_numpy(x[name]) for name in SparseGraphs._fields)
        network.standard.learn(nodes)
        sums = total(work(nodes).double(), graph.long(), sizes.double()).numpy()
        quantities = np.column_stack([sums, x["sizes"], np.ones(len(sums))])
        rates = np.stack([least_relative(quantities, column, 30) for column in self.scale.inverse(z).T], axis=1)
        largest = quantities.max(axis=0)[:, None]
        rates = np.maximum(rates, 1e-3 * (rates * largest).max(axis=0) / largest)  # so that all can be learnt
        network.rates.data = torch.from_numpy(np.log(rates).astype(np.float32))
        network.scale = torch.from_numpy(np.stack([self.scale.mean_, self.scale.std_]).astype(np.float32))
        return network

    def piece_ms(self, archs: Architectures) -> list[np.ndarray]:
        """Milliseconds [pieces + 1, D] of the pieces of each network, and of a session: they add up to its prediction."""
        import torch

        found: list[np.ndarray] = []
        for i in range(len(archs)):
            nodes, edges, graph, sizes = (torch.from_numpy(v) for v in self.encode(archs[i : i + 1]).values())
            with torch.inference_mode():
                h, ms = self.network_.pieces(nodes, edges)
                factor = torch.exp(self.network_.correction(h, nodes, graph, sizes))
                found.append((torch.cat([ms, torch.exp(self.network_.rates[3:])]) * factor).numpy())
        return found


@dataclass
class NNLQP(SparseGraphPredictor):
    """NNLQP's predictor: two SAGE convolutions, the sum over nodes, and totals of the network ("NNLQP: A Multi-Platform
    Neural Network Latency Query and Prediction System with An Evolving Database", Liu et al., ICPP 2022).

    Its nodes are pieces, and its features ours; one output per device stands for its heads.

    Attributes:
        hidden: width of convolutions and of the read-out.
        layers: number of convolutions.
        dropout: share of activations of the read-out dropped while training.
    """

    epochs: int = 50
    batch_size: int = 16
    hidden: int = 512
    layers: int = 2
    dropout: float = 0.05

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(epochs=3, hidden=32)
        return [
            quick,
            cls(encoder=PieceGraph(context=False), epochs=3, hidden=32),
            cls(epochs=80, hidden=64, dropout=0.0, batch_size=5, learning_rate=3e-3),
        ]

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.graph_nets import NnlqpNet

        return NnlqpNet(x["nodes"].shape[1], self.hidden, self.layers, outputs, self.dropout)

    def _initial(self, x: Inputs, z: np.ndarray) -> nn.Module:
        import torch

        from predictors.graph_nets import totals

        network = self._network(x, z.shape[1])
        nodes, _, graph, sizes = (torch.from_numpy(x[name]) for name in SparseGraphs._fields)
        network.standard.learn(nodes)
        network.statics.learn(totals(nodes, graph.long(), sizes))
        return network


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
