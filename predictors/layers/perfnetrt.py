"""PerfNetRT's network of single layers (Liao et al.) as published: one per layer type and phase."""

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

    from predictors.training import TrainingLoop


@dataclass
class PerfNetRT(NeuralPredictor):
    """Four dense layers, 32 to 256 wide, with ReLU on z-scored features, trained with MAPLE (section IV.C).

    The paper names no optimizer (here AdamW without decay: Adam) and no activation of the output (here none). Labels
    are milliseconds, not scaled. Several devices share all but the last layer.

    Attributes:
        scale: of the labels; the loss `maple` converts scaled labels back to milliseconds, other losses do not.
        encoder: the features; by default PerfNetRT's, raw.
        learning_rate: at the start.
        weight_decay: of AdamW.
        loss: maple, in milliseconds, or a loss between scaled labels.
        widths: of the layers.
        halving: the learning rate is halved every so many epochs.
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

    def _training_loop(self) -> TrainingLoop:
        from predictors.layers.maple import HalvingTrainingLoop

        shared = {f.name: getattr(self, f.name) for f in fields(HalvingTrainingLoop) if f.name != "scale"}
        return HalvingTrainingLoop(**shared, scale=self.scale)
