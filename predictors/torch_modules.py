"""Torch modules over padded graphs (nodes [B, N, F], adjacency [B, N, N] from row to column, mask [B, N]) and over
vectors (x [B, F])."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


def both_ways(adjacency: Tensor) -> Tensor:
    """Rows of the identity, of A and of A^T, three for each node in turn: [B, 3N, N] of adjacency A [B, N, N].

    Its product with x [B, N, F] is, read as [B, N, 3F], each node's features beside the sums over its successors and
    its predecessors: one product and no concatenation for each convolution.
    """
    identity = torch.eye(adjacency.shape[1], dtype=adjacency.dtype, device=adjacency.device).expand(adjacency.shape)
    return torch.stack([identity, adjacency, adjacency.transpose(1, 2)], dim=2).flatten(1, 2)


class GraphNet(nn.Module):
    """Residual graph convolutions x W0 + A x W1 + A^T x W2 + b over successors and predecessors, each with LayerNorm
    and ReLU; reads out the first node (the global node), the only one that the last convolution computes, and the mean
    of all nodes before it. No edge may lead from or to padding."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convolutions = nn.ModuleList(nn.Linear(3 * a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(widths[-2] + hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        x, reach = nodes, both_ways(adjacency)
        *inner, last = zip(self.convolutions, self.norms, strict=True)
        for i, (convolution, norm) in enumerate(inner):
            y = self._activated(norm(convolution((reach @ x).reshape(-1, 3 * x.shape[-1]))))
            y = y.reshape(-1, nodes.shape[1], y.shape[-1])
            x = x + y if i else y
        convolution, norm = last
        mean = (mask / mask.sum(1, keepdim=True)).unsqueeze(1)
        read = torch.cat([reach[:, :3], mean], dim=1) @ x  # the first node's sums and the mean in one product
        y = self._activated(norm(convolution(read[:, :3].flatten(1))))
        return self.head(torch.cat([read[:, 0] + y if inner else y, read[:, 3]], dim=-1))

    def _activated(self, x: Tensor) -> Tensor:
        return self.dropout(torch.relu(x))


class BrpConv(nn.Module):
    """Graph convolution (A + I) x W + b with the adjacency A not normalised (Dudziak et al., "BRP-NAS: Prediction-based
    NAS using GCNs", NeurIPS 2020)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(outputs)
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, reach: Tensor) -> Tensor:
        """Outputs [B, M, outputs] from x [B, N, inputs] and reach [B, M, N]: A + I, or M rows of it."""
        return (reach @ x) @ self.weight + self.bias


class BrpNet(nn.Module):
    """BRP-NAS's latency predictor: convolutions, LayerNorm, ReLU, dropout; reads out the global node, the only one that
    the last convolution computes."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convs = nn.ModuleList(BrpConv(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        x, present = nodes, mask.unsqueeze(-1)
        reach = adjacency + torch.eye(adjacency.shape[-1], device=adjacency.device)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), 1):
            read = slice(1 if i == len(self.convs) else None)
            x = self.dropout(torch.relu(norm(conv(x, reach[:, read])))) * present[:, read]
        return self.head(x[:, 0])


class DenseNet(nn.Module):
    """Dense layers with ReLU on features standardised by mean and deviation of the training features `x`."""

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
