"""PerfNetRT's model (Liao et al.), as it is published: one a layer type and phase."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, Self

from encoders.base import VectorEncoder
from encoders.flat import Totals
from encoders.layer import LayerFeatures
from predictors.neural import NeuralPredictor
from predictors.regressor import Inputs
from predictors.scaling import Scale

if TYPE_CHECKING:
    from torch import nn

    from predictors.training import Training


@dataclass
class PerfNetRT(NeuralPredictor):
    """Four dense layers, 32 to 256 wide, with ReLU on z-scored features, trained with MAPLE (section IV.C).

    The paper names no optimizer (here AdamW without decay: Adam) and no activation of the output (here none). Labels
    are milliseconds and the network predicts them as they are; `Maple` says what is done about zero. Several devices
    share all but the last layer.

    Attributes:
        scale: of the labels; the loss `maple` turns what is scaled back into milliseconds, other losses do not.
        encoder: the features; by default PerfNetRT's, raw.
        learning_rate: at first.
        weight_decay: AdamW's.
        loss: maple, in milliseconds, or a loss between scaled labels.
        widths: of the layers.
        halving: epochs after which the learning rate is halved, again and again.
    """

    scale: Scale = field(default_factory=lambda: Scale("none"))
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    loss: Literal["l1", "mse", "huber", "maple"] = "maple"  # type: ignore[assignment]
    encoder: VectorEncoder = field(default_factory=LayerFeatures)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    halving: int = 40

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(encoder=Totals(("macs", "kernels", "moved_bytes")), epochs=20, batch_size=20)
        thorough = replace(quick, epochs=300, halving=60, batch_size=10, learning_rate=0.01)
        return [quick, replace(quick, widths=(8, 16), halving=10), thorough]

    def _network(self, x: Inputs, outputs: int) -> nn.Module:
        from predictors.torch_modules import DenseNet

        return DenseNet(x["x"], self.widths, outputs, 0.0)

    def _training(self) -> Training:
        from predictors.layers.maple import HalvingTraining

        shared = {f.name: getattr(self, f.name) for f in fields(HalvingTraining) if f.name != "scale"}
        return HalvingTraining(**shared, scale=self.scale)
