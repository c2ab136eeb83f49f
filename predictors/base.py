"""`Predictor`: fit measurements, predict numbers; it owns its encoder and its label scale, so a saved one needs nothing
else."""

from __future__ import annotations

import platform
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from datasets.files.writing import whole_file
from datasets.records import UNITS, Architectures, Cost, CostModel, Device, InputError, Measurements, Space
from datasets.spaces import parse_space
from encoders.base import GraphEncoder, VectorEncoder
from encoders.device import DeviceIndex
from predictors.config import from_config, to_config
from predictors.limits import check_limits
from predictors.scaling import Scale, centring

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of `predictor.pt`."""


class Log(Protocol):
    """Takes progress: a message for people, numbers for whoever draws curves."""

    def __call__(self, message: str, **numbers: float) -> None: ...


Inputs = dict[str, np.ndarray]
"""What a network takes: `nodes`, `adjacency` and `mask` of a graph encoder, or `x` of a vector encoder."""


def silent(message: str, **numbers: float) -> None:
    """A log that says nothing."""


@dataclass
class Predictor(CostModel):
    """Predicts one metric on the devices it was fitted on, one output a device.

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

    # What a kind of predictor has to supply: arrays in, arrays out; scaled labels [A, D], NaN where unknown.

    @abstractmethod
    def _fit(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None: ...

    @abstractmethod
    def _forward(self, x: Inputs) -> np.ndarray: ...

    @abstractmethod
    def _state(self) -> dict[str, Any]: ...

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None: ...

    @abstractmethod
    def _to_onnx(self, x: Inputs) -> Any: ...

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
        self._fit(self.encode(archs), self.scale.transform(y[rows]), held, log)
        if self.tolerance and val is not None:
            predicted = self.predict_all(val.architectures)
            self.scale.multiply(centring(predicted, val.matrix(self.metric), self.tolerance))
        return self

    def encode(self, archs: Architectures) -> Inputs:
        """The network's inputs for architectures of the space it was fitted on."""
        if archs.space != self.space_:
            raise InputError(f"This predictor was fitted on {self.space_}; it cannot predict for {archs.space}.")
        return self._arrays(archs)

    def _arrays(self, archs: Architectures) -> Inputs:
        batch = self.encoder(archs)
        return {"x": batch} if isinstance(batch, np.ndarray) else batch._asdict()

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] on one device it was fitted on (none for a metric of no device), in the metric's unit."""
        return self.predict_all(archs)[:, self.column(device)]

    def column(self, device: Device | None) -> int:
        """Which output answers for a device; an unknown one raises `InputError`."""
        return DeviceIndex(tuple(d.name for d in self.devices_) or ("",)).position(device)

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on every device it was fitted on; memory stays flat in A but for the answer."""
        size = chunk or self.chunk
        parts = [self._forward(self.encode(archs[i : i + size])) for i in range(0, len(archs), size)]
        return self.scale.inverse(np.concatenate(parts)) if parts else np.empty((0, max(1, len(self.devices_))))

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The prediction as a cost."""
        if metric != self.metric:
            raise InputError(f"This predictor predicts {self.metric}, not {metric}.")
        self.column(device)
        return lambda archs: self.predict(archs, device)

    def metadata(self) -> dict[str, Any]:
        """All that makes the numbers mean something; it stands in both artefacts."""
        return {
            "format": FORMAT,
            "predictor": to_config(self),
            "unit": UNITS.get(self.metric, ""),
            "space": str(self.space_),
            "devices": [device.to_dict() for device in self.devices_],
            "scale": self.scale.state(),
            "versions": {name: version(name) for name in ("torch", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
            **getattr(self, "metadata_", {}),
        }

    def save(self, path: Path) -> None:
        """Write `predictor.pt`: plain containers and tensors, whole or not at all."""
        write_checkpoint({**self.metadata(), "state": self._state()}, path)

    @staticmethod
    def load(path: Path) -> Predictor:
        """Read `predictor.pt`; nothing in the file is executed.

        Raises:
            InputError: no such file, a truncated or foreign one, a pickle with more than plain data in it.
        """
        saved = read_checkpoint(path)
        predictor = rebuild(saved, str(path))
        try:
            predictor._restore(saved["state"])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"The weights in {path} do not fit its configuration; was it edited?") from error
        return predictor


@runtime_checkable
class Adaptable(Protocol):
    """Fitted on source devices, it learns a new device from a few measurements."""

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Which `n` of `archs` to measure on the new device."""
        ...

    def adapt(self, few: Measurements) -> Predictor:
        """A new predictor, which answers for the one device of `few`; this one stays as it was. What learns on the
        source devices was given by `fit`; a device among them counts as new when it is adapted to.

        Raises:
            InputError: `few` has not exactly one device, or another space, or nothing of the metric.
        """
        ...


@runtime_checkable
class Uncertain(Protocol):
    """It knows how sure it is."""

    def predict_interval(
        self, archs: Architectures, device: Device | None = None, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends [A], in the metric's unit, of central intervals that a new measurement falls into with
        probability `level`."""
        ...


@runtime_checkable
class Relaxable(Protocol):
    """It answers for relaxed architectures too, and differentiably: what is optimised by gradients needs that."""

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] in the metric's unit.

        Args:
            p: [B, F]; each decision's probabilities of its choices, one decision after the other. Where each is certain
                it is what `CellOneHot` says.
            device: vectors of devices [B, K]; what depends on no device does not look at them.
        """
        ...


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write plain containers and arrays (as tensors), whole or not at all."""
    import torch

    with whole_file(path) as part:
        try:
            torch.save(_tensors(content), part)
        except RuntimeError as error:  # torch's writer hides the errno of a full disk in one
            raise OSError(str(error).splitlines()[0]) from error


def read_checkpoint(path: Path) -> Any:
    """What `write_checkpoint` wrote; nothing in the file is executed.

    Raises:
        InputError: no such file, a truncated or foreign one, a pickle with more than plain data in it.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises half a dozen types on damaged or hostile files
        raise InputError(
            f"{path} is truncated, or not a predictor of Gnomon (only plain data is ever loaded)."
        ) from error


def _tensors(state: Any) -> Any:
    """Nested state with its arrays as tensors, which is what a checkpoint may hold."""
    import torch

    if isinstance(state, dict):
        return {key: _tensors(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_tensors(item) for item in state]
    return torch.as_tensor(state) if isinstance(state, np.ndarray) else state


def rebuild(meta: Any, where: str) -> Predictor:
    """The predictor that metadata describe, without its weights.

    Raises:
        InputError: they are not metadata of ours.
    """
    if not isinstance(meta, Mapping) or meta.get("format") != FORMAT:
        raise InputError(f"{where} is no predictor of Gnomon, or of another version (this one reads format {FORMAT}).")
    try:
        predictor = from_config(meta["predictor"], Predictor)  # type: ignore[type-abstract]
        predictor.space_ = parse_space(meta["space"])
        predictor.devices_ = tuple(Device(**device) for device in meta["devices"])
        predictor.scale.restore(meta["scale"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where} lacks a part of its description ({error}); was it edited?") from error
    known = {"format", "predictor", "unit", "space", "devices", "scale", "versions", "state"}
    predictor.metadata_ = {key: value for key, value in meta.items() if key not in known}
    return predictor
