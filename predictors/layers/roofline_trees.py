"""`RooflineTrees`: one predictor of all devices of a kind, also unmeasured ones, by their published specifications."""

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
from predictors.new_devices.few_shot import new_device, random_subset, read_samples, required
from predictors.regressor import Inputs
from predictors.scaling import Scale
from predictors.trees import XGBoost, boosters, tree_node

NEEDED = ("peak_gflops", "memory_gbs")
"""Specifications that the roofline is computed from."""
OPTIONAL = ("cores", "l2_mb", "cores_per_sm", "clock_ghz", "capability")
"""Specifications that may be missing; they are then the median of the training devices. The last three, cores of a
multiprocessor, clock and compute capability, are features of the device alone, which tell its generation."""


@dataclass
class RooflineTrees(XGBoost):
    """Boosted trees on the logarithm of measured time over roofline time.

    The roofline time of a device is the longer of operations / peak rate and bytes / bandwidth. Features are the
    architecture's, both of these times and their ratio, operations per core and bytes per byte of cache, which have the
    same meaning on all devices, so the trees also apply to devices that were never measured; and what tells generations
    of GPUs apart (`OPTIONAL`).

    Attributes:
        encoder: features of the architecture.
        work: millions of multiply-accumulates, and megabytes moved.
    """

    scale: Scale = field(init=False, default_factory=lambda: Scale("none"))
    shared: bool = field(init=False, default=False)
    encoder: VectorEncoder = field(default_factory=LayerPhysics)
    work: VectorEncoder = field(default_factory=LayerWork)

    @classmethod
    def examples(cls) -> list[Self]:
        quick = cls(encoder=CellOneHot(), work=Totals(("macs", "moved_bytes")), trees=20)
        other = replace(quick, work=Totals(("macs", "peak_bytes")))
        return [quick, other, replace(quick, trees=400, subsample=1.0, min_child_weight=0.1)]

    def arrays(self, archs: Architectures) -> Inputs:
        """Features of the encoder, then the logarithms of both amounts of work."""
        work = np.log(np.maximum(self.work(archs), 1e-9)).astype(np.float32)
        return {"x": np.concatenate([self.encoder(archs), work], axis=1)}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        specs = [_known(device) for device in self.devices_]
        self.typical_ = {name: float(np.median([f[name] for f in specs if name in f] or [1.0])) for name in OPTIONAL}
        rows, targets = [], []
        for device, column in zip(self.devices_, z.T, strict=True):
            known = ~np.isnan(column)
            features = self._features(x["x"][known], device)
            rows.append(features)
            targets.append(np.log(column[known]) - _roof(features))
        target = np.concatenate(targets)
        self.over_ = float(target.mean())
        self.boosters_ = [self._boost(np.concatenate(rows), target - self.over_, self.trees)]
        log(f"{sum(map(len, rows))} rows of {len(rows)} devices: {self.trees} trees")

    def _features(self, x: np.ndarray, device: Device) -> np.ndarray:
        """Features [A, features]; the last two are the logarithms of the ms of computing and of moving bytes."""
        return x @ _picks(x.shape[1]) + self._offsets(x.shape[1], device)

    def _offsets(self, width: int, device: Device) -> np.ndarray:
        self.check_new_device(device, 0)
        known: Mapping[str, float] = {**self.typical_, **_known(device)}
        rate, bandwidth, cores, cache, *own = (np.log(known[name]) for name in (*NEEDED, *OPTIONAL))
        compute, memory = np.log(2.0) - rate, -bandwidth
        tail = [compute - memory, -cores, -cache, *own, compute, memory]
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
        """Select `n` of `archs` at random."""
        return random_subset(archs, n, rng)

    def check_new_device(self, device: Device, samples: int) -> None:
        """Require the device's peak rate and bandwidth, with samples or without."""
        if missing := [name for name in NEEDED if name not in device.features]:
            raise InputError(
                f"Device '{device.name}' has no published {' and '.join(missing)}, which {type(self).__name__} needs "
                "of every device."
            )

    def adapt(self, measurements: Measurements | None, device: Device | None = None) -> Self:
        """Return a predictor of one new device, as `Adaptable.adapt` specifies: its specifications give the roofline,
        and measurements one factor, the median ratio of measured to predicted values."""
        device = new_device(measurements, device)
        self.check_new_device(device, 0)
        new = copy.copy(self)
        new.devices_, new.scale = (device,), Scale("none").fit(np.ones((1, 1)))
        samples = 0
        if measurements is not None:
            archs, y, _ = read_samples(self, required(self, measurements, device), "log")
            samples, errors = len(archs), np.log(y[:, 0] / new.predict_all(archs)[:, 0])
            new.over_ = self.over_ + float(np.median(errors))
        new.metadata_ = {"adapted": {"samples": samples, "sources": [known.name for known in self.devices_]}}
        return new

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] in the metric's unit, on any device with published peak rate and bandwidth."""
        return super(RooflineTrees, self._for_device(device)).predict(archs, device)

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The predictions as a cost, on any device with published peak rate and bandwidth."""
        return super(RooflineTrees, self._for_device(device)).on(device, metric)

    def _for_device(self, device: Device | None) -> Self:
        """This predictor where it was fitted on the device, else one adapted to it."""
        names = [own.name for own in self.devices_]
        if device is None or device.name in names:
            return self
        if not device.features.keys() >= set(NEEDED):
            raise InputError(
                f"This predictor was not fitted on device '{device.name}'; it answers for: {', '.join(names)}, and for "
                f"any other with published {' and '.join(NEEDED)}."
            )
        return self.adapt(None, device)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "typical": self.typical_, "over": self.over_}

    def restore(self, state: dict[str, Any]) -> None:
        self.boosters_ = boosters(state["boosters"], 1)
        self.typical_ = {name: number(state["typical"][name]) for name in OPTIONAL}
        self.over_ = number(state["over"])

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model of the fitted devices, with their specifications as constants."""
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


def _known(device: Device) -> dict[str, float]:
    """Specifications of a device that are known, with the cores of a multiprocessor."""
    features = dict(device.features)
    if features.keys() >= {"cores", "sms"}:
        features["cores_per_sm"] = features["cores"] / features["sms"]
    return features


def _picks(width: int) -> np.ndarray:
    """Matrix [width, width + 6] from `x` [A, width] to features: those of the encoder; the difference of the logarithms
    of operations and bytes; operations, bytes; three zeros; and both again. Only the difference sums two terms, so
    products are exact in any order."""
    own, ops, moved = width - 2, width - 2, width - 1
    out = np.zeros((width, own + 8), np.float32)
    out[range(own), range(own)] = 1
    out[ops, [own, own + 1, own + 6]] = 1
    out[moved, [own + 2, own + 7]] = 1
    out[moved, own] = -1
    return out


def _roof(features: np.ndarray) -> np.ndarray:
    return features[:, -2:].max(axis=1)
