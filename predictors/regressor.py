"""`Regressor`: a predictor over arrays. It holds its encoder and its label scale, so saved ones are self-contained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.networks.collection import AnyNetwork
from datasets.records import Architectures, Device, InputError, Measurements, Networks, Space
from encoders.base import GraphEncoder, SparseGraphEncoder, VectorEncoder
from predictors.base import Log, Predictor, silent
from predictors.limits import check_limits
from predictors.scaling import Scale, tolerance_factors

Inputs = dict[str, np.ndarray]
"""Arrays of encoded architectures: the fields of `GraphBatch` or of `SparseGraphs`, or `x` of a vector encoder."""


@dataclass
class Regressor(Predictor):
    """Predicts one metric on the fitted devices, one output per device.

    Attributes:
        metric: what it predicts; predictions are in the metric's unit.
        scale: of the labels.
        tolerance: 0, or a relative error (0.1 for +-10 %): predictions are multiplied by one factor per device that
            maximises the share within it on the validation set. Ranks are unchanged; MAPE rises a little.
    """

    metric: str = "latency_ms"
    scale: Scale = field(default_factory=Scale)
    tolerance: float = 0.0

    encoder: GraphEncoder | SparseGraphEncoder | VectorEncoder = field(init=False, repr=False, compare=False)
    space_: Space = field(init=False, repr=False, compare=False)
    devices_: tuple[Device, ...] = field(init=False, repr=False, compare=False)
    metadata_: dict[str, Any] = field(init=False, repr=False, compare=False)

    chunk: ClassVar[int] = 4096
    """Number of architectures that are predicted at once."""
    rows: ClassVar[int] = 0
    """Largest number of rows of an input for a chunk that an exported file may take; 0: one per architecture."""

    def __post_init__(self) -> None:
        check_limits(self)

    # Subclasses implement these, `state` and `restore`. Scaled labels are [A, D], NaN where unknown.

    @abstractmethod
    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        """Learn from inputs and scaled labels [A, D]; `val`: those of the validation set."""

    @abstractmethod
    def forward(self, x: Inputs) -> np.ndarray:
        """Predictions [A, D] on the label scale."""

    @abstractmethod
    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model of `forward`, with a free batch dimension.

        Its inputs have the names and shapes of the example inputs `x`: `x` [batch, features] of a vector encoder, the
        fields of `GraphBatch` of a graph encoder. Its one output is called `z` [batch, D], float32, on the label scale;
        `export` appends the inverse of that scale. Write opset `export.OPSET` and IR version `export.IR_VERSION`, which
        onnxruntime reads; onnx's own defaults may be too new for it (`helper.make_model(..., ir_version=IR_VERSION)`).

        Raises:
            NotImplementedError: there is no such form; run folders then have no predictor.onnx.
        """

    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn from `train`; `val`, of the same devices, is for choices that training labels must not make. Replaces
        an earlier fit."""
        if type(self).arrays is Regressor.arrays and not hasattr(self, "encoder"):
            name = type(self).__name__
            raise InputError(f"{name} needs a field `encoder` with a default, and @dataclass above `class {name}`.")
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
        encoded_val = None
        if val is not None:
            encoded_val = self.encode(val.architectures), self.scale.transform(val.matrix(self.metric))
        self.learn(self.encode(archs), self.scale.transform(y[rows]), encoded_val, log)
        if self.tolerance and val is not None:
            predicted = self.predict_all(val.architectures)
            self.scale.multiply(tolerance_factors(predicted, val.matrix(self.metric), self.tolerance))
        return self

    def encode(self, archs: Architectures) -> Inputs:
        """Encode architectures; raises `InputError` unless they are of the space of the fit. A predictor of networks of
        any kinds takes those of every space, as networks."""
        if isinstance(self.space_, AnyNetwork):
            archs = Networks.of(archs)
        if archs.space != self.space_:
            raise InputError(f"This predictor was fitted on {self.space_}; it cannot predict for {archs.space}.")
        return self.arrays(archs)

    def arrays(self, archs: Architectures) -> Inputs:
        batch = self.encoder(archs)
        return {"x": batch} if isinstance(batch, np.ndarray) else batch._asdict()

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on all fitted devices, in chunks, so memory beside the result does not grow with A."""
        size = chunk or self.chunk
        parts = [self.forward(self.encode(archs[i : i + size])) for i in range(0, len(archs), size)]
        return self.scale.inverse(np.concatenate(parts)) if parts else np.empty((0, max(1, len(self.devices_))))

    def metadata(self) -> dict[str, Any]:
        """Description that both saved and exported files hold, with the label scale."""
        return {**super().metadata(), "scale": self.scale.state()}

    def describe(self, meta: Mapping[str, Any]) -> None:
        """Set space, devices, metadata and label scale from `metadata()`."""
        super().describe(meta)
        self.scale.restore(meta["scale"], max(1, len(self.devices_)))

    def check(self) -> None:
        """Predict two architectures; raises ValueError where predictions have another shape or are NaN."""
        super().check()
        with np.errstate(all="ignore"):
            z = self.forward(self.encode(self.space_.sample(2, np.random.default_rng(0))))
        if z.shape != (2, max(1, len(self.devices_))) or np.isnan(z).any():
            raise ValueError(f"scaled predictions of two architectures are {z.tolist()}")
