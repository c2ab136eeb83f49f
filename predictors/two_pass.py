"""NASFLAT's network: a graph network that reads every cell twice and knows the device at every node (Akhauri and
Abdelfattah, MLSys 2024), over dense, padded graphs. Shapes: B graphs, D devices, N nodes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

NODE, OPERATOR, START, HEAD = 48, 40, 96, 200
"""Widths: of a node's embedding, of an operator's, of what layers start from, of the head."""
KNOTS = 32


class GatedLayer(nn.Module):
    """The mean of two ways to hear from a node's predecessors, both gated by its operator: their sum, with a residual,
    and single-head attention."""

    def __init__(self, inputs: int, outputs: int, operator: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, 3 * outputs)
        self.gates = nn.Linear(operator, 2 * outputs)
        self.attend = nn.Linear(outputs, 2, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, operator: Tensor, hears: Tensor) -> Tensor:
        """Args: x [.., N, inputs]; operator [B, D, N, operator]; hears [B, 1, N, N], 1 where a row hears a column."""
        flow, residual, values = self.project(x).chunk(3, dim=-1)
        flow_gate, attention_gate = torch.sigmoid(self.gates(operator)).chunk(2, dim=-1)
        ask, answer = self.attend(values).split(1, dim=-1)
        score = nn.functional.leaky_relu(ask + answer.transpose(-1, -2), 0.2)
        heard = torch.softmax(score.masked_fill(hears == 0, -1e9), dim=-1) @ values
        summed = torch.relu(flow_gate * (hears @ flow) + residual)
        return (summed + torch.relu(self.norm(attention_gate * heard))) / 2


class TwoPassNet(nn.Module):
    """The first pass tells every node, by way of its operator's embedding, what the output node heard; the second is
    read out. Its score for a device becomes a scaled label by `calibration`, which keeps the order.

    Args:
        nodes: of a graph.
        kinds: of nodes.
        output: which kind is the output.
        devices: how many; each has an embedding of `device` numbers.
        layers: of the second pass; the first has one less.
    """

    def __init__(
        self, nodes: int, kinds: int, output: int, devices: int, device: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.output = output
        self.position = nn.Parameter(torch.randn(nodes, NODE))
        self.start = nn.Linear(NODE, START)
        self.operator = nn.Linear(kinds, OPERATOR, bias=False)
        nn.init.normal_(self.operator.weight)  # an embedding, looked up by one-hot vectors
        self.hardware = nn.Parameter(torch.randn(devices, device))
        size = OPERATOR + device
        self.first = _layers(hidden, max(1, layers - 1), size)
        self.back = nn.Sequential(*_dense(hidden, [hidden] * 3))
        self.refresh = nn.Sequential(*_dense(size + hidden, [hidden]), nn.Linear(hidden, size))
        self.second = _layers(hidden, layers, size)
        self.head = nn.Sequential(*_dense(hidden, [HEAD] * 3), nn.Dropout(dropout), nn.Linear(HEAD, 1))
        self.calibration = Calibration(devices)

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        present = mask[:, None, :, None]
        hears = (adjacency.transpose(1, 2) + torch.eye(adjacency.shape[-1]))[:, None]
        size = (-1, len(self.hardware), nodes.shape[1], -1)
        hardware = self.hardware[None, :, None].expand(nodes.shape[0], *size[1:])
        operator = torch.cat([self.operator(nodes)[:, None].expand(size), hardware], dim=-1)
        start = self.start(self.position)[None, None]
        x = start
        for layer in self.first:
            x = layer(x, operator, hears) * present
        heard = (x * nodes[:, None, :, self.output, None]).sum(dim=2, keepdim=True)
        told = self.back(heard).expand(size)
        operator = operator + self.refresh(torch.cat([operator, told], dim=-1))
        x = start
        for layer in self.second:
            x = layer(x, operator, hears) * present
        mean = x.sum(dim=2) / mask.sum(dim=1)[:, None, None]
        return self.calibration(self.head(mean).squeeze(-1))


def _layers(hidden: int, count: int, operator: int) -> nn.ModuleList:
    return nn.ModuleList(GatedLayer(hidden if i else START, hidden, operator) for i in range(count))


def _dense(inputs: int, widths: list[int]) -> list[nn.Module]:
    sizes = [inputs, *widths]
    return [step for a, b in zip(sizes, widths, strict=False) for step in (nn.Linear(a, b), nn.ReLU())]


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
