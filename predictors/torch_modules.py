"""Torch modules over dense, padded graphs (nodes [B, N, F], adjacency [B, N, N] from row to column, mask [B, N]) and
over vectors (x [B, F])."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


class BidirectionalConv(nn.Module):
    """x W0 + A x W1 + A^T x W2 + b: a node hears from those it feeds and from those that feed it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * inputs, outputs)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.linear(torch.cat([x, adjacency @ x, adjacency.transpose(1, 2) @ x], dim=-1))


class GraphNet(nn.Module):
    """Residual bidirectional convolutions; read-out of the first node (the global one) and the mean of all nodes."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convs = nn.ModuleList(BidirectionalConv(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        x = nodes
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = self.dropout(torch.relu(norm(conv(x, adjacency)))) * mask.unsqueeze(-1)
            x = y if i == 0 else x + y
        mean = x.sum(1) / mask.sum(1, keepdim=True)
        return self.head(torch.cat([x[:, 0], mean], dim=-1))


class BrpConv(nn.Module):
    """(A + I) x W + b, the adjacency not normalised (Dudziak et al., NeurIPS 2020)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(outputs)
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, hears: Tensor) -> Tensor:
        """Args: x [B, N, inputs]; hears [B, M, N]: A + I, or those rows of it whose nodes are wanted."""
        return (hears @ x) @ self.weight + self.bias


class BrpNet(nn.Module):
    """BRP-NAS's latency predictor: convolutions, LayerNorm, ReLU, dropout; the global node is read out, so the last
    convolution is done for that node only."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convs = nn.ModuleList(BrpConv(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        x, present = nodes, mask.unsqueeze(-1)
        hears = adjacency + torch.eye(adjacency.shape[-1])
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), 1):
            read = slice(1 if i == len(self.convs) else None)
            x = self.dropout(torch.relu(norm(conv(x, hears[:, read])))) * present[:, read]
        return self.head(x[:, 0])


class DenseNet(nn.Module):
    """Dense layers with ReLU; the mean and deviation of the training features are part of it."""

    mean: Tensor
    std: Tensor

    def __init__(self, x: np.ndarray, widths: Sequence[int], outputs: int, dropout: float) -> None:
        super().__init__()
        std = x.std(axis=0)
        self.register_buffer("mean", torch.from_numpy(x.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(np.where(std > 0, std, 1).astype(np.float32)))
        steps: list[nn.Module] = []
        for a, b in pairwise([x.shape[1], *widths]):
            steps += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        self.steps = nn.Sequential(*steps, nn.Linear(widths[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.steps((x - self.mean) / self.std)
