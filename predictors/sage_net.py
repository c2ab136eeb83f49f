"""Network of `SAGE`, with torch-geometric's layers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.nn import DirGNNConv, SAGEConv
from torch_geometric.nn.aggr import MeanAggregation


class SageNet(nn.Module):
    """Residual GraphSAGE convolutions along both directions of edges; reads out the mean of all nodes."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.convs = nn.ModuleList(DirGNNConv(SAGEConv(a, b, aggr="sum")) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.mean = MeanAggregation()
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        """Outputs [graphs, outputs] from nodes x [n, features] of all graphs, edge_index [2, edges] and the graph of
        each node, batch [n]."""
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = self.dropout(torch.relu(norm(conv(x, edge_index))))
            x = y if i == 0 else x + y
        return self.head(self.mean(x, batch))
