"""NASFLAT: a graph network with learnt device embeddings; a new device starts from the most similar source device."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from datasets.records import Architectures, Device, Measurements
from encoders.base import GraphEncoder, VectorEncoder, require_graph
from encoders.cell import CellGraph
from encoders.flat import Totals
from predictors.base import Log, silent
from predictors.neural import NeuralPredictor
from predictors.new_devices.few_shot import for_new_device, required
from predictors.regressor import Inputs
from predictors.scaling import Scale

if TYPE_CHECKING:
    from torch import nn

    from predictors.new_devices.two_pass import TwoPassNet


@dataclass
class Nasflat(NeuralPredictor):
    """NASFLAT (Akhauri and Abdelfattah, "On Latency Predictors for Neural Architecture Search", MLSys 2024).

    A hinge loss on pairs of labels, standardised per device, trains the ranking; then a monotone function per device
    maps scores to labels. A new device starts with the embedding of the source device whose predictions rank its
    measurements best, and the whole network is fine-tuned on these in one batch.

    Attributes:
        batch_size: architectures per step, each with its labels on all devices.
        loss: `mixed_hinge` on pairs of labels of any devices (the published one) or `hinge` on pairs of one device,
            both with a margin of 0.1; or a loss on labels.
        encoder: architectures to graphs; a global node is not needed.
        hidden: width of the layers.
        layers: of the second pass; the first has one less.
        device_size: length of the device embedding.
        dropout: share of the head's activations dropped while training.
        edges: whether messages pass along edges; in the published code, not in chains.
        supplement: further features, concatenated to the graph embedding; published: zero-cost proxies and embeddings
            that were learnt elsewhere.
        adapt_epochs: passes over the measurements of a new device.
        adapt_learning_rate: peak of AdamW's learning rate when adapting.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    epochs: int = 150
    batch_size: int = 16
    weight_decay: float = 1e-5
    loss: Literal["mixed_hinge", "hinge", "l1", "mse", "huber"] = "mixed_hinge"  # type: ignore[assignment]
    encoder: GraphEncoder = field(default_factory=lambda: CellGraph(global_node=False))
    hidden: int = 128
    layers: int = 3
    device_size: int = 8
    dropout: float = 0.1
    edges: bool = True
    supplement: VectorEncoder | None = None
    adapt_epochs: int = 40
    adapt_learning_rate: float = 3e-3

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(epochs=3, hidden=16, layers=2, batch_size=50, adapt_epochs=2)
        thorough = cls(epochs=80, hidden=32, batch_size=30, learning_rate=3e-3)
        return [quick, replace(quick, supplement=Totals()), thorough]

    def _network(self, x: Inputs, outputs: int) -> TwoPassNet:
        from predictors.new_devices.two_pass import TwoPassNet

        require_graph(self.space_)
        features = x["nodes"].shape[-1]
        kinds = self.space_.kinds
        output = features - len(kinds) + kinds.index("output")  # the global node's kind comes first
        sizes = self.device_size, self.hidden, self.layers
        return TwoPassNet(features, output, outputs, *sizes, self.dropout, x.get("supplement"))

    def arrays(self, archs: Architectures) -> Inputs:
        x = super().arrays(archs)
        x = {name: x[name] for name in (("nodes", "mask", "adjacency") if self.edges else ("nodes",))}
        return x if self.supplement is None else {**x, "supplement": self.supplement(archs)}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        self._fit_output(x, z)

    def _fit_output(self, x: Inputs, z: np.ndarray) -> None:
        """Fit the monotone functions from scores to scaled labels [A, D]."""
        parts = range(0, len(z), self.chunk)
        scores = [self.forward({name: value[i : i + self.chunk] for name, value in x.items()}) for i in parts]
        network: Any = self.network_
        network.calibration.fit(np.concatenate(scores), z)

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, fine-tuned on its measurements."""
        from scipy.stats import spearmanr

        from predictors.training import TrainingLoop

        new, archs, z = for_new_device(self, required(self, measurements, device))
        x = new.encode(archs)
        sources = self.forward(x)
        ranks = [np.nan_to_num(spearmanr(column, z[:, 0]).statistic) if len(z) > 1 else 0.0 for column in sources.T]
        nearest = int(np.argmax(ranks))

        def start() -> nn.Module:
            from predictors.new_devices.two_pass import MonotoneOutput

            network = new._network(x, 1)
            state = {k: v for k, v in self.network_.state_dict().items() if not k.startswith("calibration")}
            state["hardware"] = state["hardware"][nearest : nearest + 1]
            network.load_state_dict(state | MonotoneOutput(1).state_dict(prefix="calibration."))
            return network

        usual = TrainingLoop(**{f.name: getattr(self, f.name) for f in fields(TrainingLoop)})
        train = replace(usual, epochs=self.adapt_epochs, learning_rate=self.adapt_learning_rate, batch_size=len(z))
        new.network_ = train(start, x, z, None, silent, self._batches)
        new._shapes_ = self._shapes_
        new._fit_output(x, z)
        return new
