"""`Predictor`: fits measurements, predicts, saves and loads; and protocols that some predictors add."""

from __future__ import annotations

import platform
from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from datasets.files.checkpoint import DAMAGE, read_checkpoint, restoring, write_checkpoint
from datasets.files.reading import shortened
from datasets.records import UNITS, Architectures, Cost, CostModel, Device, InputError, Measurements, Space
from datasets.spaces import parse_space
from predictors.belief import Belief
from predictors.config import from_config, to_config

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2
"""Version of `predictor.pt` and `predictor.onnx`; from 2 on they hold a digest of their content."""
SCORED = {"set", "device", "cells", "n", "spearman", "within_10"}
"""Columns of a saved score that `show` prints."""
KNOWN = {"format", "predictor", "unit", "space", "devices", "scale", "versions", "state"}
"""Entries of saved files beside those of `Predictor.metadata_`."""
MOST_DEVICES = 10_000
"""Largest number of devices of one saved predictor."""


class Log(Protocol):
    """Receives progress: a message, and named numbers for curves."""

    def __call__(self, message: str, **numbers: float) -> None: ...


def silent(message: str, **numbers: float) -> None:
    """Discards progress."""


class Predictor(CostModel):
    """Predicts one metric of architectures or networks on the devices that it was fitted on.

    Subclasses are dataclasses; their fields are their YAML file, their flags and their entry in a saved file.

    Attributes:
        metric: what it predicts; predictions are in the metric's unit.
        space_: search space of the training architectures; `networks` for networks of any kinds.
        devices_: devices that it predicts, one column each; empty for a metric of no device.
        metadata_: further entries of saved files (data set, split, scores).
    """

    learns_to: ClassVar[float] = 0.02
    """Mean relative error that it reaches on thirty training cells; the contract tests check it."""

    metric: str
    space_: Space
    devices_: tuple[Device, ...]
    metadata_: dict[str, Any]

    @classmethod
    def examples(cls) -> list[Self]:
        """Instances for the contract tests. The first fits 200 cells in about a second and the last can overfit thirty
        cells; a field that has no effect near its default needs an example with another value."""
        return [cls()]

    @abstractmethod
    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn from `train`; `val`, of the same devices, is for choices that training labels must not make. Replaces
        an earlier fit."""

    @abstractmethod
    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on all fitted devices, in the metric's unit, `chunk` at once (0: its default)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Learnt parameters as plain containers and arrays."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Set the learnt parameters from `state()`; raises one of `checkpoint.DAMAGE` where they do not fit."""

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] on one fitted device, in the metric's unit; with at most one, `device` may be omitted."""
        return self.predict_all(archs)[:, self.column(device)]

    def column(self, device: Device | None) -> int:
        """Index of a device's column in `predict_all`; an unknown device raises `InputError`."""
        names = [d.name for d in self.devices_]
        if device is None and len(names) < 2:
            return 0
        if device is None or device.name not in names:
            requested = "no device" if device is None else f"device '{device.name}'"
            raise InputError(f"This predictor was not fitted on {requested}; it answers for: {', '.join(names)}.")
        return names.index(device.name)

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The predictions on one device as a cost."""
        if metric != self.metric:
            raise InputError(f"This predictor predicts {self.metric}, not {metric}.")
        self.column(device)
        return lambda archs: self.predict(archs, device)

    def metadata(self) -> dict[str, Any]:
        """Description that both saved and exported files hold: configuration, unit, space, devices, versions."""
        return {
            "format": FORMAT,
            "predictor": to_config(self),
            "unit": UNITS.get(self.metric, ""),
            "space": str(self.space_),
            "devices": [device.to_dict() for device in self.devices_],
            "versions": {name: version(name) for name in ("torch", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
            **getattr(self, "metadata_", {}),
        }

    def describe(self, meta: Mapping[str, Any]) -> None:
        """Set space, devices and metadata from `metadata()`."""
        self.space_ = parse_space(meta["space"])
        self.devices_ = devices_of(meta["devices"])
        scores = meta.get("scores", [])
        if type(scores) is not list or any(not set(row) >= SCORED for row in scores):
            raise ValueError("scores")
        self.metadata_ = {key: value for key, value in meta.items() if key not in KNOWN}

    def check(self) -> None:
        """Predict two architectures; raises ValueError where predictions have another shape or are NaN."""
        archs = self.space_.sample(2, np.random.default_rng(0))
        with np.errstate(all="ignore"):
            y = self.predict_all(archs)
        if y.shape != (2, max(1, len(self.devices_))) or np.isnan(y).any():
            raise ValueError(f"predictions of two architectures are {y.tolist()}")

    def save(self, path: Path) -> None:
        """Write `predictor.pt`: plain containers and tensors, whole or not at all."""
        write_checkpoint({**self.metadata(), "state": self.state()}, path)

    @staticmethod
    def load(path: Path, check: Check = lambda described: None) -> Predictor:
        """Read `predictor.pt`; nothing in the file is executed.

        Args:
            path: the file.
            check: may raise `InputError` for a predictor that has its fields, space and devices, but no learnt
                parameters yet, for which torch or XGBoost may be imported.

        Raises:
            InputError: the file is missing, truncated, damaged, foreign or edited, or holds more than plain data.
        """
        return restored(read_checkpoint(path), str(path), check)


@runtime_checkable
class Adaptable(Protocol):
    """A predictor of source devices that learns new ones from few measurements or published specifications."""

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Select `n` of `archs` to measure on the new device."""
        ...

    def check_new_device(self, device: Device, samples: int) -> None:
        """Check, before or after `fit`, that a number of measured architectures suffices to learn a device.

        Args:
            device: the new device.
            samples: number of its measured architectures; 0: its published specifications (`Device.features`) only.

        Raises:
            InputError: more samples, or specifications that are missing, are needed.
        """
        ...

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Predictor:
        """Return a new predictor of one new device; this one is unchanged. A source device counts as new too.

        Args:
            measurements: of the new device; None: only its published specifications are used.
            device: the new device; may be omitted where `measurements` has one device only.

        Raises:
            InputError: `measurements` has another space, none of the metric on the device, or several devices of which
                none is chosen; or for the reasons of `check_new_device`.
        """
        ...


@runtime_checkable
class Uncertain(Protocol):
    """A predictor that gives distributions instead of point predictions only."""

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Predictive distributions [A] of new measurements on one device, with as many repeats as the training
        measurements have; `belief(...).interval(0.9)` gives 90 % prediction intervals."""
        ...


@runtime_checkable
class Relaxable(Protocol):
    """A predictor of relaxed architectures that is differentiable, for optimization by gradients."""

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] in the metric's unit.

        Args:
            p: [B, F]; per decision the probabilities of its choices. Where all are 0 or 1 it equals the encoding of
                `CellOneHot`.
            device: vectors of devices [B, K]; predictors of one device ignore them.
        """
        ...


Check = Callable[[Predictor], object]


def restored(saved: Mapping[str, Any], where: str, check: Check = lambda described: None) -> Predictor:
    """Rebuild a predictor with its learnt parameters, after the `check` of `Predictor.load`, and try it on two
    architectures.

    Raises:
        InputError: the parts do not fit together.
    """
    predictor = rebuild(saved, where)
    check(predictor)
    with restoring(f"The weights in {where} do not fit its configuration; was it edited?"):
        predictor.restore(saved["state"])
        predictor.check()
    return predictor


def devices_of(described: Any) -> tuple[Device, ...]:
    """Build devices from their plain dictionaries.

    Raises:
        ValueError, TypeError: not devices, a duplicate name, or too many.
    """
    if type(described) is not list or len(described) > MOST_DEVICES:
        raise ValueError("devices are a list of dictionaries")
    found = tuple(Device(**device) for device in described)
    for device in found:
        texts = (device.name, device.family, device.kind, device.runtime, device.precision)
        features: list[Any] = list(device.features.values()) if type(device.features) is dict else [None]
        if any(type(text) is not str for text in texts) or type(device.batch) is not int or device.batch < 1:
            raise TypeError(f"device {device.name} has a field of another type")
        if any(type(value) not in (int, float) or not np.isfinite(value) for value in features):
            raise TypeError(f"features of device {device.name} are no finite numbers")
    if len({device.name for device in found}) < len(found):
        raise ValueError("two devices have one name")
    return found


def rebuild(meta: Any, where: str) -> Predictor:
    """Rebuild the unfitted predictor that metadata describe.

    Raises:
        InputError: the metadata are not those of a predictor of this version.
    """
    if not isinstance(meta, Mapping) or meta.get("format") != FORMAT:
        raise InputError(f"{where} is no predictor of Gnomon, or of another version (this one reads format {FORMAT}).")
    try:
        predictor = from_config(meta["predictor"], Predictor)  # type: ignore[type-abstract]
        predictor.describe(meta)
    except DAMAGE as error:
        what = shortened(f"{type(error).__name__}: {error}")
        raise InputError(f"{where} lacks a part of its description ({what}); was it edited?") from error
    if type(predictor.metric) is not str:
        raise InputError(f"{where} names no metric; was it edited?")
    return predictor
