"""Conversion of networks with torch-geometric's layers to padded graphs, for export to ONNX.

In ONNX, sums over node lists of any length give tensors whose sizes are unknown before they run. So each convolution
and each read-out is replaced by a module with the same weights that takes nodes [B, N, F], adjacency [B, N, N] (1 from
row to column) and mask [B, N] instead of nodes [n, F], edges [2, E] and the graph of each node [n].
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import DirGNNConv, GINConv, GraphConv, SAGEConv
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation

from datasets.records import InputError


def padded(network: nn.Module) -> nn.Module:
    """Copy of a network whose `forward` takes nodes, adjacency and mask of padded graphs.

    Raises:
        InputError: a layer has no form over padded graphs.
    """
    return _Padded(_replaced(copy.deepcopy(network))).eval()


class _Padded(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
        return self.network(nodes, adjacency, mask)


def _replaced(module: nn.Module) -> nn.Module:
    if type(module) in _FORMS:
        _check(module)
        return _Layer(module)
    if type(module).__module__.startswith("torch_geometric."):
        raise InputError(
            f"torch-geometric's {type(module).__name__} has no ONNX form here; use some of "
            f"{', '.join(kind.__name__ for kind in _FORMS)}, or keep predictor.pt."
        )
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


def _check(layer: nn.Module) -> None:
    """Raise `InputError` where a layer has settings that its padded form lacks."""
    if isinstance(layer, SAGEConv) and (layer.aggr not in ("mean", "sum") or layer.normalize or layer.project):
        raise InputError("SAGEConv has an ONNX form without normalize and project, and with aggr='mean' or 'sum' only.")
    if isinstance(layer, GraphConv | GINConv) and layer.aggr != "add":
        raise InputError(f"{type(layer).__name__} has an ONNX form with aggr='add' only.")
    if isinstance(layer, DirGNNConv):
        for conv in (layer.conv_in, layer.conv_out):
            _replaced(conv)


class _Layer(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        return _form(self.layer, x, graphs)


def _form(layer: nn.Module, x: Tensor, graphs: Tensor) -> Tensor:
    return _FORMS[type(layer)](layer, x, graphs)


def _sum(x: Tensor, adjacency: Tensor) -> Tensor:
    """Sum over the predecessors of each node."""
    return adjacency.transpose(1, 2) @ x


def _sage(layer: SAGEConv, x: Tensor, adjacency: Tensor) -> Tensor:
    neighbours = _sum(x, adjacency)
    if layer.aggr == "mean":
        neighbours = neighbours / adjacency.sum(1).clamp(min=1).unsqueeze(-1)
    out = layer.lin_l(neighbours)
    return out + layer.lin_r(x) if layer.root_weight else out


def _graph(layer: GraphConv, x: Tensor, adjacency: Tensor) -> Tensor:
    return layer.lin_rel(_sum(x, adjacency)) + layer.lin_root(x)


def _gin(layer: GINConv, x: Tensor, adjacency: Tensor) -> Tensor:
    return layer.nn((1 + layer.eps) * x + _sum(x, adjacency))


def _directed(layer: DirGNNConv, x: Tensor, adjacency: Tensor) -> Tensor:
    out = layer.alpha * _form(layer.conv_out, x, adjacency.transpose(1, 2))
    out = out + (1 - layer.alpha) * _form(layer.conv_in, x, adjacency)
    return out + layer.lin(x) if layer.root_weight else out


def _total(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask.unsqueeze(-1)).sum(1)


def _mean(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    return _total(layer, x, mask) / mask.sum(1, keepdim=True)


def _largest(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(-1) > 0, x, -torch.inf).amax(1)


_FORMS: dict[type, Callable[..., Tensor]] = {
    SAGEConv: _sage,
    GraphConv: _graph,
    GINConv: _gin,
    DirGNNConv: _directed,
    SumAggregation: _total,
    MeanAggregation: _mean,
    MaxAggregation: _largest,
}
