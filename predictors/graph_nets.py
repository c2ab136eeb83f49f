"""Networks of `GraphNet` and `NNLQP` over graphs of any sizes, with torch-geometric's layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv, SimpleConv

from encoders.pieces import KINDS, NUMBERS, QUANTITIES
from predictors.scaling import Scale

WORK = [(*QUANTITIES, *NUMBERS).index(name) for name in ("macs", "moved", "weights", "stepped", "smooth")]
"""Columns of the features that a node's time is a line of, beside a call."""
SUMS = len(WORK) + 1
FAR = 10.0
"""Largest ratio of the line of a node's kind and that of all nodes: little is known of kinds that were rare."""
LARGEST = 6.0
"""Largest logarithm of a learnt factor, so that no prediction overflows."""


def total(values: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
    """Sums [graphs, F] of the nodes' values [n, F] over the nodes of each graph."""
    zeros = torch.zeros_like(sizes).expand(-1, values.shape[1])
    return torch.scatter_add(zeros, 0, graph.expand(-1, values.shape[1]), values)


class Standard(nn.Module):
    """Features to mean 0 and deviation 1 of the training nodes."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def learn(self, x: Tensor) -> None:
        """Set means and deviations from x [n, features]; those of features that do not vary stay 1."""
        std = x.std(0, correction=0)
        self.mean, self.std = x.mean(0), torch.where(std > 1e-6, std, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class AdditiveNet(nn.Module):
    """Sums of times of nodes, each a line of its work times a factor that depends on the node and its neighbours.

    A node's line is that of its `work`, with coefficients (`rates`) per kind of node and output; a session is added.
    Message passing has residual steps that read the means of producers, of consumers, and of siblings (nodes with a
    common producer or consumer; "NN-Former", Liang et al., CVPR 2025). A factor of the whole network may follow, from
    the mean of its nodes and its totals.
    """

    scale: Tensor

    def __init__(
        self, features: int, hidden: int, layers: int, outputs: int, dropout: float, siblings: bool, whole: bool
    ) -> None:
        super().__init__()
        self.standard = Standard(features)
        self.first = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.steps = nn.ModuleList(Step(hidden, siblings) for _ in range(layers))
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(hidden)
        self.factor = _head(hidden, hidden, outputs)
        self.rates = nn.Parameter(torch.zeros(len(KINDS) * (len(WORK) + 1), outputs))
        self.plain = nn.Parameter(torch.zeros(len(WORK) + 1, outputs))
        self.session = nn.Parameter(torch.zeros(1, outputs))
        self.whole = _head(hidden + SUMS, hidden, outputs) if whole else None
        self.register_buffer("scale", torch.stack([torch.zeros(outputs), torch.ones(outputs)]))

    def start(self, nodes: Tensor, rates: np.ndarray, plain: np.ndarray, session: np.ndarray, scale: Scale) -> None:
        """Begin with the scale of nodes [n, features] and of labels.

        Args:
            nodes: of the training networks.
            rates: [kinds x work, outputs] of `by_kind`.
            plain: rates of nodes of any kind [work, outputs].
            session: ms [1, outputs].
            scale: of the labels.
        """
        self.standard.learn(nodes)
        for parameter, values in ((self.rates, rates), (self.plain, plain), (self.session, session)):
            parameter.data = torch.from_numpy(np.log(values).astype(np.float32))
        self.scale = torch.from_numpy(np.stack([scale.mean_, scale.std_]).astype(np.float32))

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
        """Scaled labels [graphs, outputs]."""
        h, ms = self.pieces(nodes, edges)
        log_ms = torch.log(total(ms, graph.long(), sizes) + torch.exp(self.session))
        return (log_ms + self.correction(h, nodes, graph, sizes) - self.scale[0]) / self.scale[1]

    def correction(self, h: Tensor, nodes: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
        """Logarithms [graphs, outputs] of the factors of whole networks."""
        if self.whole is None:
            return torch.zeros_like(self.scale[:1])
        return torch.tanh(self.whole(self.dropout(summary(h, nodes, graph, sizes))))

    def pieces(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of nodes [n, hidden], and their ms [n, outputs]."""
        edges = edges.long().t()
        h = self.first(self.standard(nodes))
        for step in self.steps:
            h = h + self.dropout(step(h, edges))
        h = self.norm(h)
        plain = work(nodes) @ torch.exp(self.plain)
        line = torch.minimum(torch.maximum(by_kind(nodes) @ torch.exp(self.rates), plain / FAR), plain * FAR)
        return h, line * torch.exp(LARGEST * torch.tanh(self.factor(h) / LARGEST))


def _head(features: int, hidden: int, outputs: int) -> nn.Sequential:
    """A layer and an output of 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), last)


def summary(h: Tensor, nodes: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
    """Networks [graphs, hidden + 6]: the mean of what is known of their nodes, h, and logarithms of their totals."""
    graph = graph.long()
    mean = total(h, graph, sizes) / sizes.clamp(min=1)
    sums = torch.log(1 + total(work(nodes), graph, sizes))
    return torch.cat([mean, sums / 10], dim=1)


def work(nodes: Tensor) -> Tensor:
    """Work of nodes [n, 6]: multiply-accumulates, bytes, bytes of weights, elements that pass stepped and smooth
    activations, each divided by 10^6, and 1 for the call."""
    return torch.cat([(torch.exp2(nodes[:, WORK]) - 1) / 1e6, torch.ones_like(nodes[:, :1])], dim=1)


def by_kind(nodes: Tensor) -> Tensor:
    """Work of nodes [n, kinds x 6] in the columns of their kind, 0 in the others."""
    return (nodes[:, -len(KINDS) :, None] * work(nodes)[:, None]).flatten(1)


class Step(nn.Module):
    """One step of message passing."""

    def __init__(self, hidden: int, siblings: bool) -> None:
        super().__init__()
        self.norm, self.mean, self.siblings = nn.LayerNorm(hidden), SimpleConv(aggr="mean"), siblings
        self.mix = nn.Linear((5 if siblings else 3) * hidden, hidden)

    def forward(self, h: Tensor, edges: Tensor) -> Tensor:
        h, back = self.norm(h), edges.flip(0)
        producers, consumers = self.mean(h, edges), self.mean(h, back)
        seen = [h, producers, consumers]
        if self.siblings:
            seen += [self.mean(consumers, edges), self.mean(producers, back)]
        return nn.functional.silu(self.mix(torch.cat(seen, dim=1)))


class NnlqpNet(nn.Module):
    """SAGE convolutions of normalised outputs, the sum over all nodes, and four totals of the network ("NNLQP", Liu et
    al., ICPP 2022)."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.standard, self.statics = Standard(features), Standard(4)
        self.convs = nn.ModuleList(SAGEConv(a, b, normalize=True) for a, b in pairwise(widths))
        self.totals = nn.Linear(4, hidden)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, outputs),
        )  # fmt: skip

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
        """Scaled labels [graphs, outputs]."""
        graph, h, edges = graph.long(), self.standard(nodes), edges.long().t()
        for conv in self.convs:
            h = torch.relu(conv(h, edges))
        statics = self.statics(totals(nodes, graph, sizes))
        return self.head(torch.cat([total(h, graph, sizes), self.totals(statics)], dim=1))


def totals(nodes: Tensor, graph: Tensor, sizes: Tensor) -> Tensor:
    """Logarithms of four totals [graphs, 4]: multiply-accumulates, bytes, bytes of weights, and nodes."""
    return torch.log(1 + total(work(nodes)[:, [0, 1, 2, -1]], graph, sizes))
