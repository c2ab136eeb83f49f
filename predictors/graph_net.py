"""`GraphNet`: networks of any kinds as sums over their pieces, in context; and NNLQP's network beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import Architectures, Device, Measurements
from encoders.base import SparseGraphEncoder, SparseGraphs
from encoders.pieces import PieceGraph
from encoders.pyg import sparse_to_pyg
from predictors.base import Log
from predictors.belief import Belief
from predictors.linear import least_relative
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from predictors.graph_nets import AdditiveNet, NnlqpNet

DEGREES = 5.0
"""Degrees of freedom of errors: some networks are far off."""
PENALTY = 0.3
"""Of the rates of single kinds beside those of all nodes, in the unit of each quantity's total over all kinds."""
RIDGE = 1e-3
"""Added to the variances of what is known of networks, relative to those of the training networks."""
SLOPES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Slopes of squared deviations that are tried."""
LEVEL = 0.9
"""Share of the validation errors that intervals of this level hold."""


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

    epochs: int = 30
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
        quick = cls(epochs=2, hidden=8, layers=1)
        other = cls(encoder=PieceGraph(context=False), epochs=3, layers=2, dropout=0.2)
        return [quick, other, cls(epochs=30, hidden=32, batch_size=5, weight_decay=0.0)]

    def _network(self, x: Inputs, outputs: int) -> AdditiveNet:
        from predictors.graph_nets import AdditiveNet

        features = x["nodes"].shape[1]
        return AdditiveNet(features, self.hidden, self.layers, outputs, self.dropout, self.siblings, self.whole)

    def _initial(self, x: Inputs, z: np.ndarray) -> nn.Module:
        """Without factors: the line of work by kind of node that is least off, per device."""
        import torch

        from predictors.graph_nets import SUMS, by_kind, total, work

        network = self._network(x, z.shape[1])
        nodes, _, graph, sizes = (torch.from_numpy(x[name]) for name in SparseGraphs._fields)
        graph, sizes = graph.long(), sizes.double()
        parts = (total(work(nodes).double(), graph, sizes), total(by_kind(nodes).double(), graph, sizes), sizes > 0)
        quantities = np.concatenate([part.numpy() for part in parts], axis=1).astype(float)
        penalties = np.full(quantities.shape[1], PENALTY)
        penalties[:SUMS] = penalties[-1] = 0

        def line(columns: np.ndarray) -> np.ndarray:
            """Coefficients [columns, D] of some of the quantities."""
            y = self.scale.inverse(z).T
            each = [least_relative(quantities[:, columns], ms, 30, penalties[columns], SUMS) for ms in y]
            return np.stack(each, axis=1)

        whole, kinds, session = np.split(line(np.arange(len(penalties))), [SUMS, -1])
        plain = line(np.flatnonzero(penalties == 0))[:-1]
        largest = quantities[:, :SUMS].max(axis=0)[:, None]
        least = 1e-3 * (plain * largest).max(axis=0) / np.maximum(largest, 1e-9)  # all can be learnt
        rates = (kinds.reshape(-1, SUMS, z.shape[1]) + np.maximum(whole, least)).reshape(-1, z.shape[1])
        session = np.maximum(session, 1e-3 * np.nanmin(self.scale.inverse(z), axis=0))
        network.start(nodes, rates, np.maximum(plain, least), session, self.scale)
        return network

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        known = self._summaries(x)
        self.center_, width = known.mean(axis=0), known.std(axis=0)
        self.width_ = np.where(width > 1e-6, width, 1.0)
        centred = (known - self.center_) / self.width_
        self.inverse_ = np.linalg.inv(centred.T @ centred / len(centred) + RIDGE * np.eye(len(width)))
        held, labels = val if val is not None else (x, z)
        errors, unusual = labels - self.forward(held), self._unusual(held)
        self.spread_ = np.stack([_spread(column, unusual) for column in errors.T])

    @property
    def _net(self) -> AdditiveNet:
        """The network, by its own class."""
        return cast("AdditiveNet", self.network_)

    def _summaries(self, x: Inputs) -> np.ndarray:
        import torch

        from predictors.graph_nets import summary

        nodes, edges, graph, sizes = (torch.from_numpy(x[name]) for name in SparseGraphs._fields)
        with torch.inference_mode():
            return summary(self._net.pieces(nodes, edges)[0], nodes, graph, sizes).double().numpy()

    def _unusual(self, x: Inputs) -> np.ndarray:
        """How far networks [A] are from those of the fit: the squared Mahalanobis distance of what is known of them,
        divided by the number of dimensions; 1 in the mean of the training networks."""
        centred = (self._summaries(x) - self.center_) / self.width_
        return np.einsum("ij,jk,ik->i", centred, self.inverse_, centred) / len(self.center_)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Student-t distributions [A] of new measurements on one device: as wide as the errors on the validation part
        of the fit (without one, on its training part), and wider for networks that are far from those of the fit."""
        column = self.column(device)
        parts = [self.encode(archs[i : i + self.chunk]) for i in range(0, len(archs), self.chunk)]
        location = np.concatenate([self.forward(x)[:, column] for x in parts])
        base, slope = self.spread_[column]
        deviation = base * np.sqrt(1 + slope * np.concatenate([self._unusual(x) for x in parts]))
        return Belief(location, deviation, self.scale.output(column), DEGREES, least=0.0)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, fine-tuned; its intervals are the widest of the source devices'."""
        new = super().adapt(measurements, device)
        new.spread_ = self.spread_.max(axis=0, keepdims=True)
        return new

    def state(self) -> dict[str, Any]:
        names = ("center", "width", "inverse", "spread")
        return {**super().state(), **{name: getattr(self, f"{name}_") for name in names}}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        from predictors.graph_nets import SUMS

        size = self.hidden + SUMS
        self.center_, self.width_ = array(state["center"], size), array(state["width"], size)
        self.inverse_ = array(state["inverse"], size, size)
        self.spread_ = array(state["spread"], len(self.scale.mean_), 2)
        if not (self.spread_ >= 0).all() or not (self.width_ > 0).all():
            raise ValueError("deviations are below zero")

    def piece_ms(self, archs: Architectures) -> list[np.ndarray]:
        """Milliseconds [pieces + 1, D] of the pieces of each network and of a session, which sum to its prediction."""
        import torch

        found: list[np.ndarray] = []
        for i in range(len(archs)):
            nodes, edges, graph, sizes = (torch.from_numpy(v) for v in self.encode(archs[i : i + 1]).values())
            with torch.inference_mode():
                h, ms = self._net.pieces(nodes, edges)
                factor = torch.exp(self._net.correction(h, nodes, graph, sizes))
                found.append((torch.cat([ms, torch.exp(self._net.session)]) * factor).numpy())
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
        quick = cls(epochs=2, hidden=16)
        return [
            quick,
            cls(encoder=PieceGraph(context=False), epochs=3, hidden=16),
            cls(epochs=40, hidden=64, dropout=0.0, batch_size=5, learning_rate=3e-3),
        ]

    def _network(self, x: Inputs, outputs: int) -> NnlqpNet:
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


def _spread(errors: np.ndarray, unusual: np.ndarray) -> np.ndarray:
    """The deviation of errors [n] and the slope of its square on how unusual networks are [n], which make them most
    likely; NaN where nothing was measured."""
    from scipy.stats import t

    known = ~np.isnan(errors)
    errors, unusual = errors[known], unusual[known]
    found = []
    for slope in SLOPES:
        wide = np.sqrt(1 + slope * unusual)
        level = min(1.0, LEVEL * (len(errors) + 1) / len(errors))  # of split conformal prediction
        base = max(
            float(np.quantile(np.abs(errors) / wide, level, method="higher")) / t.ppf((1 + LEVEL) / 2, DEGREES), 1e-6
        )
        found.append((float(t.logpdf(errors / (base * wide), DEGREES).sum() - np.log(base * wide).sum()), base, slope))
    return np.array(max(found)[1:])


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
