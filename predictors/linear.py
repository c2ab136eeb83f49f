"""Linear baselines: the mean, least squares on FLOPs, and LETI's two clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.files.checkpoint import array
from encoders.base import VectorEncoder
from encoders.flat import Nothing, Totals
from predictors.base import Log
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale


@dataclass
class Linear(Regressor):
    """Least squares on encoded vectors, one model per device.

    Attributes:
        encoder: gives the features; by default FLOPs, LETI's first baseline.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    encoder: VectorEncoder = field(default_factory=Totals)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(encoder=Totals(("macs", "kernels", "moved_bytes")))]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        a = np.column_stack([x["x"], np.ones(len(z))]).astype(float)
        self.weights_ = np.stack([_line(a, target) for target in z.T], axis=1).astype(np.float32)  # [features + 1, D]

    def forward(self, x: Inputs) -> np.ndarray:
        return x["x"] @ self.weights_[:-1] + self.weights_[-1]

    def state(self) -> dict[str, Any]:
        return {"weights": self.weights_}

    def restore(self, state: dict[str, Any]) -> None:
        self.weights_ = array(state["weights"], None, len(self.scale.mean_))

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import helper

        from predictors.export import vector_model

        line = helper.make_node("Gemm", ["x", "w", "b"], ["z"])
        return vector_model([line], {"w": self.weights_[:-1], "b": self.weights_[-1]}, x)


@dataclass
class Mean(Linear):
    """Predicts the mean of the training labels per device.

    Attributes:
        encoder: ignored.
    """

    encoder: VectorEncoder = field(default_factory=Nothing)

    learns_to: ClassVar[float] = float("inf")

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.weights_ = np.zeros((x["x"].shape[1] + 1, z.shape[1]), dtype=np.float32)


@dataclass
class RelativeLine(Linear):
    """A line with coefficients of zero or more that minimises the mean absolute relative error (MAPE): the least that a
    predictor of whole networks has to beat.

    Attributes:
        encoder: gives quantities that add up.
        constant: whether there is a constant, too.
        steps: number of times that the weights are set.
        penalty: of squared contributions (ridge regression), so that many features are learnt from few networks.
        spared: number of first features that are not penalised.
        quantities: number of quantities of which the other features are parts, by turns; the penalty of a part is in
            the unit of its quantity's total. So parts that are rare among the measured networks are penalised most, and
            a network that consists of them is no multiple of what it should be. 0: every feature has its own unit.
    """

    encoder: VectorEncoder = field(default_factory=lambda: Totals(("macs", "moved_bytes", "params")))
    constant: bool = True
    steps: int = 30
    penalty: float = 0.0
    spared: int = 0
    quantities: int = 0

    learns_to: ClassVar[float] = 0.3

    @classmethod
    def examples(cls) -> list[Self]:
        many = Totals(("macs", "kernels", "moved_bytes"))
        return [cls(penalty=1.0), cls(steps=1), cls(penalty=3.0, spared=1),
                cls(encoder=many, penalty=1.0, quantities=3)]  # fmt: skip

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        a = np.column_stack([x["x"], np.full(len(z), self.constant)]).astype(float)
        y = self.scale.inverse(z)
        penalties = np.full(a.shape[1], self.penalty)
        penalties[: self.spared] = penalties[-1] = 0
        lines = np.stack([least_relative(a, column, self.steps, penalties, self.quantities) for column in y.T], axis=1)
        lines[-1] -= self.scale.mean_
        self.weights_ = (lines / self.scale.std_).astype(np.float32)


@dataclass
class BetterFlops(Regressor):
    """LETI's "Better FLOPs" (section 3.2): two clusters by peak memory, with least squares on FLOPs in each.

    The threshold of each device minimises the sum of the variances of labels in the clusters, as in the paper, with at
    least `least` architectures per cluster; without such a threshold there is one cluster.

    Attributes:
        least: smallest number of training architectures per cluster.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    encoder: VectorEncoder = field(init=False, default_factory=lambda: Totals(("flops", "peak_bytes")))
    least: int = 3

    learns_to: ClassVar[float] = 0.15  # labels do not depend on FLOPs only

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(least=10_000), cls()]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        flops, peak = x["x"].astype(float).T
        a = np.column_stack([flops, np.zeros(len(z)), np.ones(len(z))])
        thresholds, lines = [], []
        for target in z.T:
            known = ~np.isnan(target)
            threshold = best_threshold(peak[known], target[known], self.least)
            sides = (known & (peak <= threshold), known & (peak > threshold))
            lines.append([_line(a[side], target[side]) for side in sides])
            thresholds.append(threshold)
        self.thresholds_ = np.array(thresholds, dtype=np.float32)  # [D]
        self.lines_ = np.array(lines, dtype=np.float32).transpose(1, 2, 0)  # [2, 3, D]

    def forward(self, x: Inputs) -> np.ndarray:
        low, high = (x["x"] @ line[:-1] + line[-1] for line in self.lines_)
        return np.where(x["x"][:, 1:] > self.thresholds_, high, low)

    def state(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds_, "lines": self.lines_}

    def restore(self, state: dict[str, Any]) -> None:
        devices = len(self.scale.mean_)
        self.thresholds_ = array(state["thresholds"], devices, finite=False)  # infinity: one cluster
        self.lines_ = array(state["lines"], 2, 3, devices)

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import helper

        from predictors.export import vector_model

        nodes = [
            helper.make_node("Gemm", ["x", "w_low", "b_low"], ["low"]),
            helper.make_node("Gemm", ["x", "w_high", "b_high"], ["high"]),
            helper.make_node("MatMul", ["x", "second"], ["peak"]),
            helper.make_node("Greater", ["peak", "thresholds"], ["is_high"]),
            helper.make_node("Where", ["is_high", "high", "low"], ["z"]),
        ]
        tensors = {"second": np.array([[0.0], [1.0]]), "thresholds": self.thresholds_}
        for name, line in zip(("low", "high"), self.lines_, strict=True):
            tensors |= {f"w_{name}": line[:-1], f"b_{name}": line[-1]}
        return vector_model(nodes, tensors, x)


def least_relative(
    a: np.ndarray, y: np.ndarray, steps: int, penalties: np.ndarray | None = None, quantities: int = 0
) -> np.ndarray:
    """Coefficients [F] of zero or more, of least mean absolute relative error, of labels [n] on [n, F].

    Least squares on relative errors, weighed anew `steps` times by the inverse of their size. Penalties [F] multiply
    the squares of the coefficients of features of unit mean square; where features with a penalty are parts of so many
    `quantities`, by turns, the unit of a part is that of the sum of all parts of its quantity.
    """
    from scipy.optimize import nnls

    known = ~np.isnan(y)
    relative = a[known] / y[known, None]
    unit = np.sqrt((relative**2).mean(axis=0))
    if quantities and penalties is not None:
        parts = np.flatnonzero(penalties)
        for q in range(quantities):
            unit[parts[q::quantities]] = np.sqrt((relative[:, parts[q::quantities]].sum(axis=1) ** 2).mean())
    unit[unit == 0] = np.inf  # nothing is known of a feature that is always zero: its coefficient is zero
    penalty = np.empty((0, len(unit))) if penalties is None else np.diag(np.sqrt(penalties))[penalties > 0]
    zeros, weight = np.zeros(len(penalty)), np.ones(len(relative))
    for _ in range(steps):
        rows = np.concatenate([weight[:, None] * relative / unit, penalty])
        line, _ = nnls(rows, np.concatenate([weight, zeros]))
        weight = np.maximum(np.abs(relative @ (line / unit) - 1), 1e-3) ** -0.5
    return line / unit


def best_threshold(peak: np.ndarray, y: np.ndarray, least: int) -> float:
    """Threshold of `peak` [n] that minimises the sum of the variances of `y` [n] on both sides, with at least `least`
    values on each; infinity where there is none."""
    order = np.argsort(peak, kind="stable")
    peak, y = peak[order], y[order] - y.mean()
    counts = np.arange(1, len(y))  # below the threshold
    possible = (np.diff(peak) > 0) & (counts >= least) & (len(y) - counts >= least)
    if not possible.any():
        return float("inf")
    first, second = np.cumsum(y)[:-1], np.cumsum(y**2)[:-1]
    low = second / counts - (first / counts) ** 2
    rest = len(y) - counts
    high = ((y**2).sum() - second) / rest - ((y.sum() - first) / rest) ** 2
    split = int(np.where(possible, low + high, np.inf).argmin())
    return float(peak[split : split + 2].mean())


def _line(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares over known labels; zeros without any."""
    known = ~np.isnan(y)
    return np.linalg.lstsq(a[known], y[known], rcond=None)[0]
