"""Multilayer perceptron on encoded vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from encoders.base import VectorEncoder
from encoders.cell import CellOneHot, require_one_hot
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class MLP(NeuralPredictor):
    """Dense layers with ReLU on standardised features; devices share all but the last layer.

    Attributes:
        encoder: architectures to vectors.
        hidden: width of the layers.
        layers: number of hidden layers.
        dropout: share of activations dropped while training.
    """

    epochs: int = 150
    encoder: VectorEncoder = field(default_factory=CellOneHot)
    hidden: int = 256
    layers: int = 3
    dropout: float = 0.0

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.torch_modules import DenseNet

        return DenseNet(x["x"], [self.hidden] * self.layers, outputs, self.dropout)

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] of relaxed architectures [B, F], differentiable (`Relaxable`)."""
        require_one_hot(self.encoder)
        return self.scale.inverse_of_tensor(self.network_(p)[:, 0])
