"""`GraphNet`: networks of any kinds as sums over their pieces, in context; and NNLQP's network beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from datasets.files.checkpoint import array
from datasets.networks.analysis import uncounted
from datasets.records import Architectures, Device, Measurements, Networks
from encoders.base import SparseGraphs
from encoders.pieces import KINDS, PieceGraph, groups
from predictors.base import Log
from predictors.belief import Belief
from predictors.linear import least_relative
from predictors.regressor import Inputs
from predictors.sparse_graphs import SparseGraphPredictor

if TYPE_CHECKING:
    from torch import nn

    from predictors.graph_nets import AdditiveNet, NnlqpNet

DEGREES = 5.0
"""Degrees of freedom of errors: some networks are far off."""
PENALTY = 0.3
"""Of the rates of single kinds beside those of all nodes, in the unit of each quantity's total over all kinds."""
RIDGE = 1e-3
"""Added to the variances of what is known of networks, relative to those of the training networks."""
SLOPES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Slopes of squared deviations that are tried."""
UNMEASURED = 1.1
"""Standard deviation of the logarithm of the time of a kind of pieces that no network of the fit has: that of layers
priced by their bytes alone (`predictors.networks.unmeasured.BY_BYTES`). It is divided by one more than the number of
networks that have the kind."""
LEVEL = 0.9
"""Share of the validation errors that intervals of this level hold."""


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
        has = np.zeros((len(x["sizes"]), len(KINDS)), bool)
        has[x["graph"][:, 0].astype(int), _kinds(x)] = True
        self.seen_ = has.sum(axis=0)
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

    def _unmeasured(self, x: Inputs, networks: Networks, column: int) -> np.ndarray:
        """Variances [A] of the logarithms of times, of what networks spend in kinds of pieces that few networks of the
        fit have, and in ops whose work nobody can count. Kinds err independently, as in
        `predictors.networks.unmeasured.widening`."""
        import torch

        nodes, edges = (torch.from_numpy(x[name]) for name in ("nodes", "edges"))
        with torch.inference_mode():
            ms = self._net.pieces(nodes, edges)[1][:, column].double().numpy()
            session = float(torch.exp(self._net.session[0, column]))
        graph, kinds = x["graph"][:, 0].astype(int), _kinds(x)
        for i, network in enumerate(networks.networks):
            if unknown := uncounted(network):
                its = [network.ops[group[0]].kind in unknown for group in groups(network)]
                kinds[np.flatnonzero(graph == i)[its]] = len(KINDS)
        times = np.zeros((len(networks), len(KINDS) + 1))
        np.add.at(times, (graph, kinds), ms)
        shares = times / (times.sum(axis=1, keepdims=True) + session)
        deviations = UNMEASURED / (1 + np.append(self.seen_, 0))
        return np.log1p(shares**2 @ np.expm1(deviations**2))

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Student-t distributions [A] of new measurements on one device: as wide as the errors on the validation part
        of the fit (without one, on its training part), and wider for networks that are far from those of the fit, or
        spend their time in kinds of ops that few of these have."""
        column = self.column(device)
        base, slope = self.spread_[column]
        scale, location, variance = self.scale.output(column), np.empty(len(archs)), np.empty(len(archs))
        for i in range(0, len(archs), self.chunk):
            rows = slice(i, i + self.chunk)
            x = self.encode(archs[rows])
            location[rows] = self.forward(x)[:, column]
            rare = self._unmeasured(x, Networks.of(archs[rows]), column)
            variance[rows] = base**2 * (1 + slope * self._unusual(x)) + rare / scale.std_[0] ** 2
        return Belief(location, np.sqrt(variance), scale, DEGREES, least=0.0)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, fine-tuned; its intervals are the widest of the source devices'."""
        new = super().adapt(measurements, device)
        new.spread_ = self.spread_.max(axis=0, keepdims=True)
        return new

    def state(self) -> dict[str, Any]:
        names = ("center", "width", "inverse", "spread", "seen")
        return {**super().state(), **{name: getattr(self, f"{name}_") for name in names}}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        from predictors.graph_nets import SUMS

        size = self.hidden + SUMS
        self.center_, self.width_ = array(state["center"], size), array(state["width"], size)
        self.inverse_ = array(state["inverse"], size, size)
        self.spread_ = array(state["spread"], len(self.scale.mean_), 2)
        self.seen_ = array(state["seen"], len(KINDS), kind="i")
        if not (self.spread_ >= 0).all() or not (self.width_ > 0).all() or not (self.seen_ >= 0).all():
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


def _kinds(x: Inputs) -> np.ndarray:
    """Positions [n] of the kinds of pieces."""
    return x["nodes"][:, -len(KINDS) :].argmax(axis=1)


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
