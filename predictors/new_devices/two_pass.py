"""NASFLAT's network: two passes of message passing over dense, padded graphs, with the device embedding at every node
(Akhauri and Abdelfattah, "On Latency Predictors for Neural Architecture Search", MLSys 2024).

Shapes: B graphs, D devices, N nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from predictors.torch_modules import DenseNet

NODE, OPERATOR, START, HEAD, SUPPLEMENT = 48, 40, 96, 200, 48
"""Widths of: node embeddings, operator embeddings, inputs of the first layer, head, supplementary features."""
KNOTS = 32
"""Segments of a monotone output."""


class GatedLayer(nn.Module):
    """Mean of two aggregations over a node's predecessors, both gated by its operator: their sum with a skip
    connection, and single-head attention."""

    def __init__(self, inputs: int, outputs: int, operator: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, 2 * outputs)
        self.gates = nn.Linear(operator, 2 * outputs)
        self.attend = nn.Linear(outputs, 2, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, gates: Tensor, reach: Tensor | None, read: Tensor | None = None) -> Tensor:
        """Outputs [B, D, R, outputs]; B and D may be 1.

        Args:
            x: [B, D, N, inputs].
            gates: [B, D, R, 2 outputs], output of the layer `gates` for operators.
            reach: [B, 1, N, N], 1 where a node (row) receives from another (column); None: from itself only.
            read: [B, 1, R, N], one-hot rows, to compute only R of the nodes.
        """
        flow, values = self.project(x).chunk(2, dim=-1)
        flow_gate, attention_gate = torch.sigmoid(gates).chunk(2, dim=-1)
        own = flow if read is None else read @ flow
        if reach is None:
            summed, attended = own, values if read is None else read @ values
        else:
            query, key = self.attend(values).split(1, dim=-1)
            if read is not None:
                query, reach = read @ query, read @ reach
            score = nn.functional.leaky_relu(query + key.transpose(-1, -2), 0.2)
            attended = torch.softmax(score.masked_fill(reach == 0, -1e9), dim=-1) @ values
            summed = reach @ flow
        return (flow_gate * summed + own + self.norm(attention_gate * attended)) / 2


class TwoPassNet(nn.Module):
    """The first pass computes the embedding of the output node, which updates every operator's embedding; the mean of
    the second pass goes to the head. `calibration` maps its scores monotonically to scaled labels.

    Without edges a node receives only from itself, so each kind of node is computed once for all graphs.

    Args:
        kinds: number of kinds of nodes; the first node and the first kind is the input.
        output: index of the kind of the output node.
        devices: number of devices; each has an embedding of `device` numbers.
        layers: of the second pass; the first has one less.
        supplement: further features of training architectures [A, S], for their mean and deviation.
    """

    def __init__(
        self,
        kinds: int,
        output: int,
        devices: int,
        device: int,
        hidden: int,
        layers: int,
        dropout: float,
        supplement: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.supplement = None if supplement is None else DenseNet(supplement, [hidden] * 2, SUPPLEMENT, dropout)
        read = hidden if supplement is None else hidden + SUPPLEMENT
        self.output = output
        self.position = nn.Parameter(torch.randn(2, NODE))  # of the input node, and of all others
        self.start = nn.Linear(NODE, START)
        self.operator = nn.Linear(kinds, OPERATOR, bias=False)
        nn.init.normal_(self.operator.weight)  # an embedding, looked up by one-hot vectors
        self.hardware = nn.Parameter(torch.randn(devices, device))
        size = OPERATOR + device
        self.first = _layers(hidden, max(1, layers - 1), size)
        self.back = nn.Sequential(*_dense(hidden, [hidden] * 2), nn.Linear(hidden, hidden))
        self.tell = nn.Linear(size + hidden, hidden)
        self.refresh = nn.Sequential(nn.ReLU(), nn.Linear(hidden, size))
        self.second = _layers(hidden, layers, size)
        self.head = nn.Sequential(*_dense(read, [HEAD] * 3, dropout), nn.Linear(HEAD, 1))
        self.calibration = MonotoneOutput(devices)

    def forward(
        self,
        nodes: Tensor,
        mask: Tensor | None = None,
        adjacency: Tensor | None = None,
        supplement: Tensor | None = None,
    ) -> Tensor:
        reach: Tensor | None = None
        if mask is None or adjacency is None:
            counted = nodes.sum(dim=1)
            nodes = torch.eye(nodes.shape[-1], device=nodes.device)[None]
        else:
            counted = mask
            reach = (adjacency.transpose(1, 2) + torch.eye(adjacency.shape[-1], device=adjacency.device))[:, None]
        x = self._read_twice(nodes, reach)  # [B or 1, D, N, hidden]
        counted = torch.cat([torch.zeros_like(counted[:, :1]), counted[:, 1:]], dim=1)  # all but the input
        mean = ((counted / counted.sum(dim=1, keepdim=True))[:, None, None] @ x).squeeze(2)
        if self.supplement is not None:
            more = self.supplement(supplement)[:, None].expand(-1, mean.shape[1], -1)
            mean = torch.cat([mean, more], dim=-1)
        return self.calibration(self.head(mean).squeeze(-1))

    def _read_twice(self, nodes: Tensor, reach: Tensor | None) -> Tensor:
        output = nodes[:, None, None, :, self.output]
        parts = self.operator(nodes)[:, None], self.hardware[None, :, None]
        entry, other = self.start(self.position).split(1)
        x = start = torch.cat([entry, other.expand(nodes.shape[1] - 1, -1)])[None, None]
        first: list[Any] = list(self.first)  # mypy does not know the class of its modules
        second: list[Any] = list(self.second)
        *inner, last = first
        for layer in inner:
            x = torch.relu(layer(x, linear_of_parts(layer.gates, *parts), reach))
        feedback = self.back(last(x, linear_of_parts(last.gates, output @ parts[0], parts[1]), reach, output))
        operator = self.refresh(linear_of_parts(self.tell, *parts, feedback))
        x = start
        for i, layer in enumerate(second):
            x = layer(torch.relu(x) if i else x, layer.gates(operator), reach)
        return x


def linear_of_parts(layer: nn.Linear, *parts: Tensor) -> Tensor:
    """Output of a linear layer for parts concatenated along the last dimension. Other dimensions may be broadcast, so
    shared parts are multiplied once."""
    weights = layer.weight.split([part.shape[-1] for part in parts], dim=1)
    products = [nn.functional.linear(part, weight) for part, weight in zip(parts, weights, strict=True)]
    return sum(products[1:], products[0] + layer.bias)


def _layers(hidden: int, count: int, operator: int) -> nn.ModuleList:
    return nn.ModuleList(GatedLayer(hidden if i else START, hidden, operator) for i in range(count))


def _dense(inputs: int, widths: list[int], dropout: float = 0.0) -> list[nn.Module]:
    sizes = [inputs, *widths]
    layers = [[nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)] for a, b in zip(sizes, widths, strict=False)]
    return [step for layer in layers for step in layer]


class MonotoneOutput(nn.Module):
    """Maps scores [B, D] to scaled labels by one rising, piecewise linear function per device; initially the identity.

    Each segment adds its slope times the part of it below the score, so no large terms cancel.
    """

    start: Tensor
    width: Tensor
    slope: Tensor
    base: Tensor
    outside: Tensor

    def __init__(self, devices: int) -> None:
        super().__init__()
        for name in ("start", "width", "slope"):
            self.register_buffer(name, torch.zeros(devices, KNOTS))
        self.register_buffer("base", torch.zeros(devices))
        self.register_buffer("outside", torch.ones(devices))

    def forward(self, score: Tensor) -> Tensor:
        inside = torch.minimum(torch.relu(score[..., None] - self.start), self.width)
        below, above = score - self.start[:, 0], score - (self.start + self.width)[:, -1]
        return self.base + self.outside * (below.clamp(max=0) + above.clamp(min=0)) + (inside * self.slope).sum(dim=-1)

    def fit(self, score: np.ndarray, z: np.ndarray) -> None:
        """Learn from scores and scaled labels [A, D]; NaN labels are ignored.

        Isotonic regression with lines through the centres of its blocks, so the function is strictly rising; it
        continues beyond its ends with the mean slope.
        """
        for device, (s, y) in enumerate(zip(score.T.astype(float), z.T, strict=True)):
            known = ~np.isnan(y)
            at, value = rising_line(s[known], y[known], KNOTS + 1)
            segments = len(at) - 1
            line = torch.zeros(3, KNOTS)
            line[0] = at[-1]
            if segments:
                steps = [at[:-1], np.diff(at), np.diff(value) / np.diff(at)]
                line[:, :segments] = torch.from_numpy(np.stack(steps))
            self.start[device], self.width[device], self.slope[device] = line
            self.base[device] = value[0]
            self.outside[device] = (value[-1] - value[0]) / (at[-1] - at[0]) if segments else 1.0


def rising_line(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Knots of a strictly rising, piecewise linear function through points [n]: centres of the blocks of an isotonic
    regression of at most `most` groups of neighbours."""
    from scipy.optimize import isotonic_regression

    groups = np.array_split(np.argsort(x, kind="stable"), min(most, len(x)))
    sizes = np.array([len(group) for group in groups], float)
    x, y = (np.array([values[group].mean() for group in groups]) for values in (x, y))
    fitted = isotonic_regression(y, weights=sizes)
    starts = fitted.blocks[:-1]
    at = np.add.reduceat(x * sizes, starts) / np.add.reduceat(sizes, starts)
    keep = np.r_[True, np.diff(at) > 1e-6]  # a function has one value per score
    return at[keep], fitted.x[starts][keep]
