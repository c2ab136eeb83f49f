"""`Regressor`: a predictor that maps arrays to arrays; it owns its encoder and its label scale, so a saved one needs
nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.records import Architectures, Device, InputError, Measurements, Space
from encoders.base import GraphEncoder, VectorEncoder
from predictors.base import Log, Predictor, silent
from predictors.limits import check_limits
from predictors.scaling import Scale, centring

Inputs = dict[str, np.ndarray]
"""What a network takes: `nodes`, `adjacency` and `mask` of a graph encoder, or `x` of a vector encoder."""


@dataclass
class Regressor(Predictor):
    """Predicts one metric on the devices it was fitted on, one output per device.

    Attributes:
        metric: what it predicts; predictions are in the metric's unit.
        scale: of the labels.
        tolerance: 0, or the relative error to stay within (0.1 for +-10 %): one factor a device, found on the
            validation set, then moves predictions so that most do, which leaves the order as it is and costs some MAPE.
    """

    metric: str = "latency_ms"
    scale: Scale = field(default_factory=Scale)
    tolerance: float = 0.0

    encoder: GraphEncoder | VectorEncoder = field(init=False, repr=False, compare=False)
    space_: Space = field(init=False, repr=False, compare=False)
    devices_: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    chunk: ClassVar[int] = 4096
    """Architectures that are predicted at once."""

    def __post_init__(self) -> None:
        check_limits(self)

    # What a kind has to supply, beside `state` and `restore`: arrays in, arrays out; scaled labels [A, D], NaN where
    # unknown.

    @abstractmethod
    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        """Learn from inputs and scaled labels; `val` is what must not be learnt from."""

    @abstractmethod
    def forward(self, x: Inputs) -> np.ndarray:
        """Predictions [A, D] on the scale of the labels."""

    @abstractmethod
    def to_onnx(self, x: Inputs) -> Any:
        """An ONNX model from inputs like `x` to `forward`'s output `z`, with a free batch dimension."""

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn from `train`; `val`, of the same devices, gives what must not come from training labels. An earlier fit
        is forgotten."""
        if not 0 <= self.tolerance < 1 or (self.tolerance and val is None):
            raise InputError(f"tolerance = {self.tolerance} must lie in [0, 1), and needs a validation set if above 0.")
        y = train.matrix(self.metric)
        empty = np.isnan(y).all(axis=0)
        if empty.any():
            raise InputError(
                f"{train.name} has no {self.metric} to learn from on {train.devices[empty.argmax()].name}."
            )
        rows = ~np.isnan(y).all(axis=1)
        archs = train.architectures[np.flatnonzero(rows)]
        self.space_, self.devices_ = archs.space, train.devices if y.shape[1] == len(train.devices) else ()
        if self.scale.kind == "log" and not (y[rows] > 0)[~np.isnan(y[rows])].all():
            raise InputError(
                f"{self.metric} of {train.name} has values that are not above zero: set scale.kind=linear."
            )
        self.scale.fit(y[rows])
        held = None
        if val is not None:
            held = self.encode(val.architectures), self.scale.transform(val.matrix(self.metric))
        self.learn(self.encode(archs), self.scale.transform(y[rows]), held, log)
        if self.tolerance and val is not None:
            predicted = self.predict_all(val.architectures)
            self.scale.multiply(centring(predicted, val.matrix(self.metric), self.tolerance))
        return self

    def encode(self, archs: Architectures) -> Inputs:
        """The network's inputs for architectures of the space it was fitted on."""
        if archs.space != self.space_:
            raise InputError(f"This predictor was fitted on {self.space_}; it cannot predict for {archs.space}.")
        return self.arrays(archs)

    def arrays(self, archs: Architectures) -> Inputs:
        batch = self.encoder(archs)
        return {"x": batch} if isinstance(batch, np.ndarray) else batch._asdict()

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on every device it was fitted on; memory stays flat in A but for the answer."""
        size = chunk or self.chunk
        parts = [self.forward(self.encode(archs[i : i + size])) for i in range(0, len(archs), size)]
        return self.scale.inverse(np.concatenate(parts)) if parts else np.empty((0, max(1, len(self.devices_))))

    def metadata(self) -> dict[str, Any]:
        """All that makes the numbers mean something, the label scale among it."""
        return {**super().metadata(), "scale": self.scale.state()}

    def describe(self, meta: Mapping[str, Any]) -> None:
        """Take over what `metadata` gave."""
        super().describe(meta)
        self.scale.restore(meta["scale"], max(1, len(self.devices_)))

    def check(self) -> None:
        """Predict two architectures; raises a ValueError where the answer has another shape, or is no number."""
        super().check()
        with np.errstate(all="ignore"):
            z = self.forward(self.encode(self.space_.sample(2, np.random.default_rng(0))))
        if z.shape != (2, max(1, len(self.devices_))) or np.isnan(z).any():
            raise ValueError(f"scaled predictions of two architectures are {z.tolist()}")
