"""The default GCN's network, against its formula written out."""

import re

import numpy as np
import pytest
import torch

from datasets.records import InputError
from datasets.spaces.nasbench101 import NasBench101
from encoders.base import GraphBatch
from encoders.cell import CellGraph
from predictors.base import Predictor
from predictors.gcn import GCN
from predictors.torch_modules import GraphNet
from tests.conftest import made_up

ARCHS = NasBench101().sample(12, np.random.default_rng(0))


def written_out(net: GraphNet, nodes: torch.Tensor, adjacency: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Every convolution of all nodes, and sums over nodes one graph at a time."""
    found = []
    for x, a, present in zip(nodes, adjacency, mask, strict=True):
        for i, (convolution, norm) in enumerate(zip(net.convolutions, net.norms, strict=True)):
            before = x
            y = torch.relu(norm(convolution(torch.cat([x, a @ x, a.T @ x], dim=-1))))
            x = x + y if i else y
        found.append(torch.cat([x[0], before[present > 0].mean(0)]))
    return net.head(torch.stack(found))


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_network_is_its_formula(layers: int) -> None:
    torch.manual_seed(layers)
    inputs = [torch.from_numpy(array) for array in CellGraph(pruned=True)(ARCHS)]
    net = GraphNet(inputs[0].shape[-1], 16, layers, 3, 0.0).eval()
    torch.testing.assert_close(net(*inputs), written_out(net, *inputs), rtol=1e-4, atol=1e-5)


def test_padding_changes_no_prediction() -> None:
    predictor = GCN(hidden=8, epochs=1).fit(made_up(ARCHS))
    graphs = CellGraph()(ARCHS)
    _, n, features = graphs.nodes.shape
    padded = GraphBatch(np.full((12, n + 4, features), 7, np.float32), *np.zeros((2, 12, n + 4, n + 4), np.float32))
    padded = padded._replace(mask=padded.mask[:, 0])
    for whole, part in zip(padded, graphs, strict=True):
        whole[tuple(slice(size) for size in part.shape)] = part
    wide = predictor.forward(padded._asdict())
    np.testing.assert_allclose(wide, predictor.forward(graphs._asdict()), rtol=1e-4, atol=1e-5)


def test_a_network_of_an_earlier_version_is_refused(tmp_path) -> None:
    """Its weights would fit in part, and predict other numbers."""
    predictor = GCN(hidden=8, epochs=1).fit(made_up(ARCHS))
    state = predictor.network_.state_dict()
    old = {re.sub(r"convolutions\.(\d)", r"convs.\1.linear", name): value for name, value in state.items()}
    predictor.network_.state_dict = lambda: old  # type: ignore[assignment, method-assign]
    predictor.save(tmp_path / "old.pt")
    with pytest.raises(InputError, match="old.pt"):
        Predictor.load(tmp_path / "old.pt")
