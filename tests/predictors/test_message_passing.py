"""torch-geometric's layers: encoded graphs become its `Data`, and what ONNX files hold computes what they do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch
from torch_geometric.nn import DirGNNConv, GATv2Conv, GINConv, GraphConv, SAGEConv
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation
from torch_geometric.utils import to_dense_adj, to_dense_batch

from datasets.networks.collection import AnyNetwork
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench101 import NasBench101
from datasets.spaces.nasbench201 import NasBench201
from encoders.base import GraphBatch, GraphEncoder
from encoders.cell import CellGraph
from encoders.network import NetworkGraph
from encoders.pyg import to_pyg
from predictors.export import export
from predictors.message_passing import GraphBatches
from predictors.padded_graphs import padded
from predictors.sage import SAGE
from tests.conftest import implementations

PRUNED = CellGraph(pruned=True)  # graphs of many sizes
GRAPHS = [one for cls in implementations("encoders", GraphEncoder) for one in cls.examples()]


@pytest.mark.parametrize("space", [NasBench201(), NasBench101()], ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("encoder", GRAPHS, ids=lambda encoder: type(encoder).__name__)
def test_encoded_graphs_become_data_and_come_back(encoder: GraphEncoder, space: NasBench101 | NasBench201) -> None:
    networks = AnyNetwork()  # for encoders of whole networks, which refuse cells
    archs = (networks if isinstance(encoder, NetworkGraph) else space).sample(50, np.random.default_rng(0))
    graphs, labels = encoder(archs), np.arange(100.0).reshape(50, 2)
    batch = Batch.from_data_list(to_pyg(graphs, labels))
    nodes, mask = to_dense_batch(batch.x, batch.batch)
    wanted = np.argsort(graphs.mask == 0, axis=1, kind="stable")[:, : mask.shape[1]]  # nodes that are there come first
    rows = np.arange(50)[:, None]
    np.testing.assert_array_equal(mask, graphs.mask[rows, wanted])
    np.testing.assert_array_equal(nodes, graphs.nodes[rows, wanted])
    adjacency = to_dense_adj(batch.edge_index, batch.batch, max_num_nodes=mask.shape[1])
    np.testing.assert_array_equal(adjacency, graphs.adjacency[rows[:, None], wanted[:, :, None], wanted[:, None]])
    np.testing.assert_array_equal(batch.y, labels)
    assert batch.edge_index.dtype == torch.int64 and batch.x.dtype == torch.float32
    assert not hasattr(to_pyg(graphs)[0], "y") or to_pyg(graphs)[0].y is None


def test_no_graphs_are_no_data(space: NasBench201) -> None:
    assert to_pyg(CellGraph()(space.all()[:0])) == []
    lone = GraphBatch(np.ones((1, 3, 2), np.float32), np.zeros((1, 3, 3), np.float32), np.ones((1, 3), np.float32))
    (data,) = to_pyg(lone)
    assert data.num_nodes == 3 and data.edge_index.shape == (2, 0)


class One(nn.Module):
    """A layer and a read-out."""

    def __init__(self, layer: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.layer, self.readout = layer, readout

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        return self.readout(self.layer(x, edge_index).tanh(), batch)


LAYERS = {
    "mean": lambda f: SAGEConv(f, 5),
    "sum": lambda f: SAGEConv(f, 5, aggr="sum", root_weight=False),
    "graph": lambda f: GraphConv(f, 5),
    "gin": lambda f: GINConv(nn.Sequential(nn.Linear(f, 4), nn.ReLU(), nn.Linear(4, 5)), train_eps=True),
    "both ways": lambda f: DirGNNConv(SAGEConv(f, 5), alpha=0.3),
    "both ways without the node": lambda f: DirGNNConv(GraphConv(f, 5), root_weight=False),
}


@pytest.mark.parametrize("readout", [SumAggregation, MeanAggregation, MaxAggregation])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_over_padded_graphs_compute_what_torch_geometric_s_do(
    name: str, readout: type[nn.Module], space: NasBench201
) -> None:
    graphs = PRUNED(space.sample(40, np.random.default_rng(1)))
    torch.manual_seed(0)
    network = One(LAYERS[name](graphs.nodes.shape[-1]), readout())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    ((x, _),) = GraphBatches(graphs._asdict(), np.zeros((40, 1)), 40, False)
    with torch.inference_mode():
        wanted, got = network(**x), padded(network)(*map(torch.from_numpy, graphs))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert isinstance(network.readout, readout), "the network itself is left as it was"


@pytest.mark.parametrize(
    "layer, sentence",
    [
        (GATv2Conv(6, 5), "torch-geometric's GATv2Conv has no ONNX form here; use some of SAGEConv, GraphConv"),
        (SAGEConv(6, 5, aggr="max"), "SAGEConv has an ONNX form without normalize and project"),
        (DirGNNConv(SAGEConv(6, 5, normalize=True)), "SAGEConv has an ONNX form without normalize and project"),
        (GraphConv(6, 5, aggr="mean"), "GraphConv has an ONNX form with aggr='add' only"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_without_a_padded_form_are_refused_in_one_sentence(layer: nn.Module, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        padded(One(layer, SumAggregation()))


class Every(nn.Module):
    """Some of each kind."""

    def __init__(self, features: int) -> None:
        super().__init__()
        widths = [features, 5, 5, 5, 5]
        kinds = [LAYERS[name] for name in ("mean", "graph", "gin", "both ways")]
        self.layers = nn.ModuleList(make(width) for make, width in zip(kinds, widths, strict=False))
        self.readouts = nn.ModuleList([SumAggregation(), MeanAggregation(), MaxAggregation()])
        self.head = nn.Linear(15, 2)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, edge_index).tanh()
        return self.head(torch.cat([readout(x, batch) for readout in self.readouts], dim=1))


def test_graphs_of_any_size_are_exported(
    measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`export` compares 200 pruned cells, which have two to eight nodes."""
    monkeypatch.setattr(SAGE, "_network", lambda self, x, outputs: Every(x["nodes"].shape[-1]))
    export(SAGE(encoder=PRUNED, epochs=1).fit(measurements), tmp_path / "predictor.onnx")
