"""Encoded graphs as torch-geometric's `Data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encoders.base import GraphBatch, SparseGraphs

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_pyg(graphs: GraphBatch, labels: np.ndarray | None = None) -> list[Data]:
    """Each graph as one `Data` of torch-geometric, without padding; nodes keep their order.

    Args:
        graphs: what any `GraphEncoder` gives.
        labels: numbers [batch, D] of the graphs, if there are any.

    Returns:
        Data with `x` [nodes, features], float32, `edge_index` [2, edges], int64, of sources over targets, and with
        labels also `y` [1, D], float32.
    """
    import torch
    from torch_geometric.data import Data

    present = graphs.mask > 0
    position = np.cumsum(present, axis=1) - 1  # of each node among those that are present
    graph, source, target = np.nonzero(graphs.adjacency)
    edges = torch.from_numpy(np.stack([position[graph, source], position[graph, target]]))
    parts = {
        "x": torch.from_numpy(graphs.nodes[present]).split(present.sum(axis=1).tolist()),
        "edge_index": edges.split(np.bincount(graph, minlength=len(present)).tolist(), dim=1),
    }
    if labels is not None:
        parts["y"] = torch.from_numpy(labels.astype(np.float32)).split(1)
    return [Data(**dict(zip(parts, values, strict=True))) for values in zip(*parts.values(), strict=True)]


def sparse_to_pyg(graphs: SparseGraphs, labels: np.ndarray) -> list[Data]:
    """Each graph as one `Data` with `x`, `edge_index` and `y`, as of `to_pyg`."""
    import torch
    from torch_geometric.data import Data

    sizes = graphs.sizes[:, 0].astype(int)
    starts = np.cumsum(sizes) - sizes
    edges = graphs.edges.astype(np.int64)
    owner = graphs.graph[edges[:, 0], 0].astype(int)
    local = torch.from_numpy((edges - starts[owner, None]).T.copy())
    parts = (
        torch.from_numpy(graphs.nodes).split(sizes.tolist()),
        local.split(np.bincount(owner, minlength=len(sizes)).tolist(), dim=1),
        torch.from_numpy(labels.astype(np.float32)).split(1),
    )
    return [Data(x=x, edge_index=edge_index, y=y) for x, edge_index, y in zip(*parts, strict=True)]
