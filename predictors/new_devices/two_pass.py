"""NASFLAT's network: a graph network that reads every cell twice and knows the device at every node (Akhauri and
Abdelfattah, MLSys 2024), over dense, padded graphs. Shapes: B graphs, D devices, N nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from predictors.torch_modules import DenseNet

NODE, OPERATOR, START, HEAD, SUPPLEMENT = 48, 40, 96, 200, 48
"""Widths: of a node's embedding, of an operator's, of what layers start from, of the head, of what is supplementary."""
KNOTS = 32


class GatedLayer(nn.Module):
    """The mean of two ways to hear from a node's predecessors, both gated by its operator: their sum, to which the node
    itself is added, and single-head attention."""

    def __init__(self, inputs: int, outputs: int, operator: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, 2 * outputs)
        self.gates = nn.Linear(operator, 2 * outputs)
        self.attend = nn.Linear(outputs, 2, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, gates: Tensor, hears: Tensor | None, read: Tensor | None = None) -> Tensor:
        """Args: x [B, D, N, inputs]; gates [B, D, R, 2 outputs], what `gates` makes of operators; hears [B, 1, N, N], 1
        where a row hears a column, or nothing where each hears itself only; read [B, 1, R, N], one-hot rows, where only
        R of the nodes are wanted. B and D may be 1.
        """
        flow, values = self.project(x).chunk(2, dim=-1)
        flow_gate, attention_gate = torch.sigmoid(gates).chunk(2, dim=-1)
        own = flow if read is None else read @ flow
        if hears is None:
            summed, heard = own, values if read is None else read @ values
        else:
            ask, answer = self.attend(values).split(1, dim=-1)
            if read is not None:
                ask, hears = read @ ask, read @ hears
            score = nn.functional.leaky_relu(ask + answer.transpose(-1, -2), 0.2)
            heard = torch.softmax(score.masked_fill(hears == 0, -1e9), dim=-1) @ values
            summed = hears @ flow
        return (flow_gate * summed + own + self.norm(attention_gate * heard)) / 2


class TwoPassNet(nn.Module):
    """The first pass tells every node, by way of its operator's embedding, what the output node heard; the second is
    read out. Its score for a device becomes a scaled label by `calibration`, which keeps the order.

    Without edges a node hears itself only, so every kind of node is worked out once for all graphs, which are then sums
    of their nodes.

    Args:
        kinds: of nodes; the first node and the first kind is the input.
        output: which kind is the output.
        devices: how many; each has an embedding of `device` numbers.
        layers: of the second pass; the first has one less.
        supplement: of training architectures [A, S], for mean and deviation; these numbers join what is read out.
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
        self.position = nn.Parameter(torch.randn(2, NODE))  # of the input, and of all others
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
        self.calibration = Calibration(devices)

    def forward(
        self,
        nodes: Tensor,
        mask: Tensor | None = None,
        adjacency: Tensor | None = None,
        supplement: Tensor | None = None,
    ) -> Tensor:
        hears: Tensor | None = None
        if mask is None or adjacency is None:
            counted = nodes.sum(dim=1)
            nodes = torch.eye(nodes.shape[-1])[None]
        else:
            counted = mask
            hears = (adjacency.transpose(1, 2) + torch.eye(adjacency.shape[-1]))[:, None]
        x = self._read_twice(nodes, hears)  # [B or 1, D, N, hidden]
        counted = torch.cat([torch.zeros_like(counted[:, :1]), counted[:, 1:]], dim=1)  # all but the input
        mean = ((counted / counted.sum(dim=1, keepdim=True))[:, None, None] @ x).squeeze(2)
        if self.supplement is not None:
            more = self.supplement(supplement)[:, None].expand(-1, mean.shape[1], -1)
            mean = torch.cat([mean, more], dim=-1)
        return self.calibration(self.head(mean).squeeze(-1))

    def _read_twice(self, nodes: Tensor, hears: Tensor | None) -> Tensor:
        output = nodes[:, None, None, :, self.output]
        parts = self.operator(nodes)[:, None], self.hardware[None, :, None]
        entry, other = self.start(self.position).split(1)
        x = start = torch.cat([entry, other.expand(nodes.shape[1] - 1, -1)])[None, None]
        first: list[Any] = list(self.first)  # of what class its modules are, a ModuleList does not tell
        second: list[Any] = list(self.second)
        *inner, last = first
        for layer in inner:
            x = torch.relu(layer(x, of_parts(layer.gates, *parts), hears))
        told = self.back(last(x, of_parts(last.gates, output @ parts[0], parts[1]), hears, output))
        operator = self.refresh(of_parts(self.tell, *parts, told))
        x = start
        for i, layer in enumerate(second):
            x = layer(torch.relu(x) if i else x, layer.gates(operator), hears)
        return x


def of_parts(layer: nn.Linear, *parts: Tensor) -> Tensor:
    """What a layer makes of the parts joined along their last dimension; their other dimensions may be broadcast, so
    that what many rows share is multiplied once."""
    weights = layer.weight.split([part.shape[-1] for part in parts], dim=1)
    products = [nn.functional.linear(part, weight) for part, weight in zip(parts, weights, strict=True)]
    return sum(products[1:], products[0] + layer.bias)


def _layers(hidden: int, count: int, operator: int) -> nn.ModuleList:
    return nn.ModuleList(GatedLayer(hidden if i else START, hidden, operator) for i in range(count))


def _dense(inputs: int, widths: list[int], dropout: float = 0.0) -> list[nn.Module]:
    sizes = [inputs, *widths]
    layers = [[nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)] for a, b in zip(sizes, widths, strict=False)]
    return [step for layer in layers for step in layer]


class Calibration(nn.Module):
    """Scores [B, D] to scaled labels by one rising, piecewise linear line a device; at first, each number to itself.

    A segment adds its slope times how far the score has gone through it; no large terms cancel.
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
        """Learn from scores and scaled labels [A, D] of a network that is not calibrated yet; NaN labels do not count.

        Isotonic regression, its blocks joined by straight lines through their centres, so that no two scores become
        one label; beyond the ends it goes on with the mean slope.
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
    """Knots, both strictly rising, of a line through points [n]: isotonic regression of at most `most` groups of
    neighbours, each block of it at its centre."""
    from scipy.optimize import isotonic_regression

    groups = np.array_split(np.argsort(x, kind="stable"), min(most, len(x)))
    sizes = np.array([len(group) for group in groups], float)
    x, y = (np.array([values[group].mean() for group in groups]) for values in (x, y))
    fitted = isotonic_regression(y, weights=sizes)
    starts = fitted.blocks[:-1]
    at = np.add.reduceat(x * sizes, starts) / np.add.reduceat(sizes, starts)
    keep = np.r_[True, np.diff(at) > 1e-6]  # equal scores cannot have two labels
    return at[keep], fitted.x[starts][keep]
