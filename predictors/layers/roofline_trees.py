"""One predictor for all devices of a kind, those that it never saw among them: it reads their published numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from datasets.files.checkpoint import number
from datasets.records import Architectures, Cost, Device, InputError, Measurements
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.flat import Totals
from encoders.layer import LayerPhysics, LayerWork
from predictors.base import Log
from predictors.new_devices.few_shot import draw, given, new_one, read_samples
from predictors.regressor import Inputs
from predictors.scaling import Scale
from predictors.trees import XGBoost, boosters, tree_node

NEEDED = ("peak_gflops", "memory_gbs")
"""Without these a device has no roofline."""
OPTIONAL = ("cores", "l2_mb")
"""Where a device does not tell them, it has the median of those that were learnt from."""


@dataclass
class RooflineTrees(XGBoost):
    """Boosted trees on how many times longer an architecture takes than a device's published roofline allows.

    The roofline of a device is the longer of operations / peak rate and bytes / bandwidth. What is left over is learnt
    from the architecture, from both of these times, how they compare, the operations a core and the bytes a byte of
    cache: numbers whose meaning no device changes, so a device that was never measured is one more point among them.

    Attributes:
        encoder: the architecture's own numbers.
        work: millions of multiply-accumulates, and megabytes moved.
    """

    scale: Scale = field(init=False, default_factory=lambda: Scale("none"))
    encoder: VectorEncoder = field(default_factory=LayerPhysics)
    work: VectorEncoder = field(default_factory=LayerWork)

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(encoder=CellOneHot(), work=Totals(("macs", "moved_bytes")), trees=20)
        other = replace(quick, work=Totals(("macs", "peak_bytes")))
        return [quick, other, replace(quick, trees=400, subsample=1.0, min_child_weight=0.1)]

    def arrays(self, archs: Architectures) -> Inputs:
        """The encoder's numbers, then the logarithms of both amounts of work."""
        work = np.log(np.maximum(self.work(archs), 1e-9)).astype(np.float32)
        return {"x": np.concatenate([self.encoder(archs), work], axis=1)}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        told = [device.features for device in self.devices_]
        self.typical_ = {
            name: float(np.median([one[name] for one in told if name in one] or [1.0])) for name in OPTIONAL
        }
        rows, targets = [], []
        for device, column in zip(self.devices_, z.T, strict=True):
            known = ~np.isnan(column)
            features = self._features(x["x"][known], device)
            rows.append(features)
            targets.append(np.log(column[known]) - _roof(features))
        target = np.concatenate(targets)
        self.over_ = float(target.mean())
        self.boosters_ = [self._boost(np.concatenate(rows), target - self.over_)]
        log(f"{sum(map(len, rows))} rows of {len(rows)} devices: {self.trees} trees")

    def _features(self, x: np.ndarray, device: Device) -> np.ndarray:
        """[A, features]; the last two are the logarithms of the milliseconds that computing and moving take."""
        return x @ _picks(x.shape[1]) + self._offsets(x.shape[1], device)

    def _offsets(self, width: int, device: Device) -> np.ndarray:
        self.check_new_device(device, 0)
        known: Mapping[str, float] = {**self.typical_, **device.features}
        rate, bandwidth, cores, cache = (np.log(known[name]) for name in (*NEEDED, *OPTIONAL))
        compute, memory = np.log(2.0) - rate, -bandwidth
        tail = [compute - memory, -cores, -cache, compute, memory]
        return np.array([0.0] * (width - 2) + tail, np.float32)

    def forward(self, x: Inputs) -> np.ndarray:
        import xgboost

        columns = []
        for device in self.devices_:
            features = self._features(x["x"], device)
            over = self.boosters_[0].predict(xgboost.DMatrix(features)) + np.float32(self.over_)
            columns.append(np.exp(over + _roof(features)))
        return np.stack(columns, axis=1).astype(np.float64)

    # New devices

    def choose(self, archs: Architectures, n: int, rng: np.random.Generator) -> Architectures:
        """`n` of `archs` at random."""
        return draw(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Measured or not, a device has to tell its rate and its bandwidth."""
        if missing := [name for name in NEEDED if name not in device.features]:
            raise InputError(
                f"Device '{device.name}' does not tell its {' and '.join(missing)}, which {type(self).__name__} needs "
                "of every device."
            )

    def adapt(self, few: Measurements | None, device: Device | None = None) -> Self:
        """A new predictor of one new device (`Adaptable.adapt`): its published numbers give its roofline, and what was
        measured on it one factor, the median of how far measurements lie above predictions."""
        device = new_one(few, device)
        self.check_new_device(device, 0)
        new = copy.copy(self)
        new.devices_, new.scale = (device,), Scale("none").fit(np.ones((1, 1)))
        samples = 0
        if few is not None:
            archs, y, _ = read_samples(self, given(self, few, device), "log")
            samples, off = len(archs), np.log(y[:, 0] / new.predict_all(archs)[:, 0])
            new.over_ = self.over_ + float(np.median(off))
        new.metadata_ = {"adapted": {"samples": samples, "sources": [known.name for known in self.devices_]}}
        return new

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] in the metric's unit, on any device that tells its rate and bandwidth."""
        return super(RooflineTrees, self._of(device)).predict(archs, device)

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The prediction as a cost, on any device that tells its rate and bandwidth."""
        return super(RooflineTrees, self._of(device)).on(device, metric)

    def _of(self, device: Device | None) -> Self:
        """This predictor where it was fitted on the device, or one that is adapted to it."""
        names = [own.name for own in self.devices_]
        if device is None or device.name in names:
            return self
        if not device.features.keys() >= set(NEEDED):
            raise InputError(
                f"This predictor was not fitted on device '{device.name}'; it answers for: {', '.join(names)}, and for "
                f"any other that tells its {' and '.join(NEEDED)}."
            )
        return self.adapt(None, device)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "typical": self.typical_, "over": self.over_}

    def restore(self, state: dict[str, Any]) -> None:
        self.boosters_ = boosters(state["boosters"], 1)
        self.typical_ = {name: number(state["typical"][name]) for name in OPTIONAL}
        self.over_ = number(state["over"])

    def to_onnx(self, x: Inputs) -> Any:
        """For the devices that it was fitted on: their numbers stand in the file as constants."""
        from onnx import helper

        from predictors.export import vector_model

        width = x["x"].shape[1]
        picks, nodes = _picks(width), []
        last = np.eye(picks.shape[1], dtype=np.float32)[:, -2:]
        tensors = {
            "picks": picks,
            "over": np.array([self.over_]),
            "compute": last[:, :1],
            "memory": last[:, 1:],
        }
        nodes.append(helper.make_node("MatMul", ["x", "picks"], ["amounts"]))
        for i, device in enumerate(self.devices_):
            tensors[f"offsets_{i}"] = self._offsets(width, device)
            nodes += [
                helper.make_node("Add", ["amounts", f"offsets_{i}"], [f"x_{i}"]),
                tree_node(self.boosters_[0], picks.shape[1], f"x_{i}", f"over_{i}"),
                helper.make_node("MatMul", [f"x_{i}", "compute"], [f"compute_{i}"]),
                helper.make_node("MatMul", [f"x_{i}", "memory"], [f"memory_{i}"]),
                helper.make_node("Max", [f"compute_{i}", f"memory_{i}"], [f"roof_{i}"]),
                helper.make_node("Sum", [f"over_{i}", "over", f"roof_{i}"], [f"log_{i}"]),
            ]
        logs: Sequence[str] = [f"log_{i}" for i in range(len(self.devices_))]
        nodes += [helper.make_node("Concat", logs, ["logs"], axis=1), helper.make_node("Exp", ["logs"], ["z"])]
        return vector_model(nodes, tensors, x)


def _picks(width: int) -> np.ndarray:
    """What of `x` [A, width] stands in each feature [width, width + 3]: the architecture's own numbers; operations less
    bytes, operations, bytes; then operations and bytes again. One to a column but for the difference, so sums are
    exact wherever they are taken."""
    own, ops, moved = width - 2, width - 2, width - 1
    out = np.zeros((width, own + 5), np.float32)
    out[range(own), range(own)] = 1
    out[ops, [own, own + 1, own + 3]] = 1
    out[moved, [own + 2, own + 4]] = 1
    out[moved, own] = -1
    return out


def _roof(features: np.ndarray) -> np.ndarray:
    return features[:, -2:].max(axis=1)
