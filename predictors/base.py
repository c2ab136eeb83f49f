"""`Predictor`: fit measurements, predict numbers, save what was learnt; and what some can do besides."""

from __future__ import annotations

import platform
from abc import abstractmethod
from collections.abc import Mapping
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
"""What is shown of each of a file's scores."""
KNOWN = {"format", "predictor", "unit", "space", "devices", "scale", "versions", "state"}
"""What files say besides `Predictor.metadata_`."""
MOST_DEVICES = 10_000
"""Most devices that a file may answer for."""


class Log(Protocol):
    """Takes progress: a message for people, numbers for whoever draws curves."""

    def __call__(self, message: str, **numbers: float) -> None: ...


def silent(message: str, **numbers: float) -> None:
    """A log that says nothing."""


class Predictor(CostModel):
    """Predicts one metric of architectures or networks on the devices that it was fitted on.

    What inherits is a dataclass: its fields are its YAML file, its flags and its entry in a saved file.

    Attributes:
        metric: what it predicts; predictions are in the metric's unit.
        space_: of what it was fitted on; `networks` where that are networks of any kinds.
        devices_: what it answers for; none for a metric of no device.
        metadata_: what else stands in saved files (data set, split, scores).
    """

    learns_to: ClassVar[float] = 0.02
    """Mean relative error to which it can learn thirty cells by heart: the contract tests hold it to that."""

    metric: str
    space_: Space
    devices_: tuple[Device, ...]
    metadata_: dict[str, Any]

    @classmethod
    def examples(cls) -> list[Self]:
        """What the contract tests try. The first takes about a second for 200 cells and the last can learn thirty cells
        by heart; a field whose effect shows with no value near its default needs an example with another one."""
        return [cls()]

    @abstractmethod
    def fit(self, train: Measurements, val: Measurements | None = None, log: Log = silent) -> Self:
        """Learn from `train`; `val`, of the same devices, gives what must not come from training labels. An earlier fit
        is forgotten."""

    @abstractmethod
    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on every device it was fitted on, in the metric's unit, `chunk` architectures at once."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What was learnt, as plain containers and arrays."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; what does not fit the configuration raises one of `checkpoint.DAMAGE`."""

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] on one device it was fitted on, in the metric's unit; it may be left out where there is one
        or none."""
        return self.predict_all(archs)[:, self.column(device)]

    def column(self, device: Device | None) -> int:
        """Which output answers for a device; an unknown one raises `InputError`."""
        names = [d.name for d in self.devices_]
        if device is None and len(names) < 2:
            return 0
        if device is None or device.name not in names:
            asked = "no device" if device is None else f"device '{device.name}'"
            raise InputError(f"This predictor was not fitted on {asked}; it answers for: {', '.join(names)}.")
        return names.index(device.name)

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
            "versions": {name: version(name) for name in ("torch", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
            **getattr(self, "metadata_", {}),
        }

    def describe(self, meta: Mapping[str, Any]) -> None:
        """Take over what `metadata` gave."""
        self.space_ = parse_space(meta["space"])
        self.devices_ = devices_of(meta["devices"])
        scores = meta.get("scores", [])
        if type(scores) is not list or any(not set(row) >= SCORED for row in scores):
            raise ValueError("scores")
        self.metadata_ = {key: value for key, value in meta.items() if key not in KNOWN}

    def check(self) -> None:
        """Predict two architectures; raises a ValueError where the answer has another shape, or is no number."""
        archs = self.space_.sample(2, np.random.default_rng(0))
        with np.errstate(all="ignore"):
            y = self.predict_all(archs)
        if y.shape != (2, max(1, len(self.devices_))) or np.isnan(y).any():
            raise ValueError(f"predictions of two architectures are {y.tolist()}")

    def save(self, path: Path) -> None:
        """Write `predictor.pt`: plain containers and tensors, whole or not at all."""
        write_checkpoint({**self.metadata(), "state": self.state()}, path)

    @staticmethod
    def load(path: Path) -> Predictor:
        """Read `predictor.pt`; nothing in the file is executed.

        Raises:
            InputError: no such file, a truncated, damaged, foreign or edited one, one with more than plain data in it.
        """
        return restored(read_checkpoint(path), str(path))


@runtime_checkable
class Adaptable(Protocol):
    """Fitted on source devices, it learns a new device from a few measurements, or from its published numbers."""

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """Which `n` of `archs` to measure on the new device."""
        ...

    def check_new_device(self, device: Device, samples: int) -> None:
        """Check, before or after `fit`, that so many measured architectures suffice to learn a device.

        Args:
            device: the new one.
            samples: how many of its architectures are measured; 0: its published numbers (`Device.features`) only.

        Raises:
            InputError: it needs more samples, or numbers that are not published.
        """
        ...

    def adapt(self, few: Measurements | None, device: Device | None = None) -> Predictor:
        """A new predictor, which answers for one new device; this one stays as it was. What learns on the source
        devices was given by `fit`; a device among them counts as new when it is adapted to.

        Args:
            few: what was measured on the device; None: nothing, its published numbers have to do.
            device: the new one; may be left out where `few` has one device only.

        Raises:
            InputError: `few` has another space, or nothing of the metric on the device, or several devices of which
                none is chosen; or see `check_new_device`.
        """
        ...


@runtime_checkable
class Uncertain(Protocol):
    """It knows how sure it is."""

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Distributions [A] of new measurements on one device, made as those that it learnt from were (with as many
        repeats); `belief(...).interval(0.9)` gives the ends of the intervals that hold nine of ten."""
        ...


@runtime_checkable
class Relaxable(Protocol):
    """It answers for relaxed architectures too, and differentiably: what is optimized by gradients needs that."""

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] in the metric's unit.

        Args:
            p: [B, F]; each decision's probabilities of its choices, one decision after the other. Where each is certain
                it is what `CellOneHot` says.
            device: vectors of devices [B, K]; what depends on no device does not look at them.
        """
        ...


def restored(saved: Mapping[str, Any], where: str) -> Predictor:
    """The predictor that metadata describe, with what it had learnt; it answers for two architectures before it is
    returned.

    Raises:
        InputError: the parts do not fit together.
    """
    predictor = rebuild(saved, where)
    with restoring(f"The weights in {where} do not fit its configuration; was it edited?"):
        predictor.restore(saved["state"])
        predictor.check()
    return predictor


def devices_of(described: Any) -> tuple[Device, ...]:
    """Devices from their plain dictionaries.

    Raises:
        ValueError, TypeError: they describe no devices, the same one twice, or too many.
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
    """The predictor that metadata describe, without what it had learnt.

    Raises:
        InputError: they are not metadata of ours.
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
