"""NASFLAT: a graph network that knows devices by a learnt embedding and starts a new one from the most alike."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from datasets.records import Architectures, Device, Measurements
from encoders.base import GraphEncoder, VectorEncoder
from encoders.cell import CellGraph
from encoders.flat import Totals
from predictors.base import Log, silent
from predictors.neural import NeuralPredictor
from predictors.new_devices.few_shot import draw, for_new_device, given, too_few
from predictors.regressor import Inputs
from predictors.scaling import Scale

if TYPE_CHECKING:
    from torch import nn

    from predictors.new_devices.two_pass import TwoPassNet


@dataclass
class Nasflat(NeuralPredictor):
    """NASFLAT's method (Akhauri and Abdelfattah, MLSys 2024), trained by our loop.

    Pairs of labels, standardised a device, teach the order by a hinge; since that gives no milliseconds, a rising line
    a device then makes the scores labels. A new device gets the embedding of the source device whose predictions rank
    its measurements best, and everything is fine-tuned on these, all in one batch.

    Attributes:
        batch_size: architectures a step; each counts once a device.
        loss: `mixed_hinge` on pairs of labels of any devices, as theirs, or `hinge` on pairs of one; with a margin of
            0.1; or on labels.
        encoder: architectures to graphs; the network has no use for a global node.
        hidden: width of the layers.
        layers: of the second pass; the first has one less.
        device_size: numbers that describe a device.
        dropout: share of the head's activations dropped while training.
        edges: whether nodes hear their predecessors; in chains theirs do not.
        supplement: numbers of an architecture that join what is read out; theirs are zero-cost proxies, FLOPs and
            parameters among them, and embeddings learnt elsewhere.
        adapt_epochs: passes over the measurements of a new device.
        adapt_learning_rate: AdamW's peak there.
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

        features = x["nodes"].shape[-1]
        kinds = self.space_.kinds
        output = features - len(kinds) + kinds.index("output")  # a global node's kind stands before the others
        sizes = self.device_size, self.hidden, self.layers
        return TwoPassNet(features, output, outputs, *sizes, self.dropout, x.get("supplement"))

    def arrays(self, archs: Architectures) -> Inputs:
        x = super().arrays(archs)
        x = {name: x[name] for name in (("nodes", "mask", "adjacency") if self.edges else ("nodes",))}
        return x if self.supplement is None else {**x, "supplement": self.supplement(archs)}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        self._calibrate(x, z)

    def _calibrate(self, x: Inputs, z: np.ndarray) -> None:
        parts = range(0, len(z), self.chunk)
        scores = [self.forward({name: value[i : i + self.chunk] for name, value in x.items()}) for i in parts]
        network: Any = self.network_
        network.calibration.fit(np.concatenate(scores), z)

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """`n` of them at random."""
        return draw(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """One sample of any device will do."""
        if not samples:
            raise too_few(self, 1, samples)

    def adapt(self, few: Measurements | None, device: Device | None = None) -> Self:
        """A predictor for one new device, fine-tuned on what was measured there."""
        from scipy.stats import spearmanr

        from predictors.training import Training

        new, archs, z = for_new_device(self, given(self, few, device))
        x = new.encode(archs)
        sources = self.forward(x)
        alike = [np.nan_to_num(spearmanr(column, z[:, 0]).statistic) if len(z) > 1 else 0.0 for column in sources.T]
        nearest = int(np.argmax(alike))

        def start() -> nn.Module:
            from predictors.new_devices.two_pass import Calibration

            network = new._network(x, 1)
            state = {k: v for k, v in self.network_.state_dict().items() if not k.startswith("calibration")}
            state["hardware"] = state["hardware"][nearest : nearest + 1]
            network.load_state_dict(state | Calibration(1).state_dict(prefix="calibration."))
            return network

        usual = Training(**{f.name: getattr(self, f.name) for f in fields(Training)})
        train = replace(usual, epochs=self.adapt_epochs, learning_rate=self.adapt_learning_rate, batch_size=len(z))
        new.network_ = train(start, x, z, None, silent, self._batches)
        new._shapes_ = self._shapes_
        new._calibrate(x, z)
        return new
