"""Graph convolutional networks over cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from encoders.base import GraphEncoder
from encoders.cell import CellGraph
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import nn


@dataclass
class GCN(NeuralPredictor):
    """Graph convolutional network, narrower than BRP-NAS's, with residual convolutions along both directions of edges.

    Attributes:
        encoder: architectures to graphs.
        hidden: width of the convolutions.
        layers: number of convolutions, the last one of the node that is read out.
        dropout: share of activations dropped while training.
    """

    epochs: int = 120
    learning_rate: float = 3e-3
    encoder: GraphEncoder = field(default_factory=CellGraph)
    hidden: int = 48
    layers: int = 3
    dropout: float = 0.0

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.torch_modules import GraphNet

        return GraphNet(x["nodes"].shape[-1], self.hidden, self.layers, outputs, self.dropout)


@dataclass
class BrpGCN(GCN):
    """The GCN of BRP-NAS (Dudziak et al., "BRP-NAS: Prediction-based NAS using GCNs", NeurIPS 2020), trained here by
    `TrainingLoop`: four layers of width 600, read out at the global node, which must be node 0. BRP-NAS prunes dead
    branches of cells; here they are kept unless `encoder.pruned` is set."""

    epochs: int = 100
    learning_rate: float = 4e-4
    weight_decay: float = 5e-4
    hidden: int = 600
    layers: int = 4
    dropout: float = 0.002

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.torch_modules import BrpNet

        return BrpNet(x["nodes"].shape[-1], self.hidden, self.layers, outputs, self.dropout)
