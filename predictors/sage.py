"""GraphSAGE over cells, with torch-geometric's layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from encoders.base import GraphEncoder
from encoders.cell import CellGraph
from predictors.message_passing import MessagePassingPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass
class SAGE(MessagePassingPredictor):
    """GraphSAGE ("Inductive Representation Learning on Large Graphs", Hamilton et al., NeurIPS 2017) along both
    directions of edges ("Edge Directionality Improves Learning on Heterophilic Graphs", Rossi et al., LoG 2023).

    On the validation set of the bundled cells, sums over neighbours were better than means and maxima, both directions
    better than one, the mean of all nodes better than their sum; a global node made no difference.

    Attributes:
        encoder: architectures to graphs.
        hidden: width of the convolutions.
        layers: number of convolutions.
        dropout: share of activations dropped while training.
    """

    learning_rate: float = 3e-3
    encoder: GraphEncoder = field(default_factory=lambda: CellGraph(global_node=False))
    hidden: int = 64
    layers: int = 4
    dropout: float = 0.0

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.sage_net import SageNet

        return SageNet(x["nodes"].shape[-1], self.hidden, self.layers, outputs, self.dropout)
