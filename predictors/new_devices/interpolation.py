"""`Interpolation`: measured values of known networks on all source devices, completed, and a Gaussian process between
networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.files.checkpoint import array, number
from encoders.base import VectorEncoder
from encoders.kinds import Identity
from predictors.base import Log
from predictors.regressor import Inputs, Regressor

LENGTHS, LINEAR, NOISE = (0.3, 0.6, 1.2, 2.4), (0.1, 1.0, 10.0), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Candidate length scales of the squared exponential kernel, variances of the linear one and of the noise."""
SAME = 1e-4
"""Length scale of the noise, which networks of equal vectors share."""
CHOSEN = 300
"""Largest number of networks that the choice of hyperparameters takes."""
ROWS = 512
"""Number of networks whose kernel is computed at once."""
RANK = 4
"""Rank of the matrix that completes missing labels."""
ROUNDS = 60
"""Largest number of rounds of `completed`."""


@dataclass
class Interpolation(Regressor):
    """Repeats the labels of training networks, and predicts others by a Gaussian process with one kernel for all
    devices (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2).

    Networks that were not measured on a device get a label there first (`completed`). The kernel is a constant, a
    linear and a squared exponential kernel plus a noise that belongs to the network, so that it is predicted too; the
    leave-one-out error chooses hyperparameters. Networks are the same where their vectors are.

    Attributes:
        encoder: gives the vectors.
        most: largest number of training networks; of more, so many are drawn at random.
    """

    tolerance: float = field(init=False, default=0.0)
    encoder: VectorEncoder = field(default_factory=Identity)
    most: int = 6000

    learns_to: ClassVar[float] = 1e-3

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(most=20), cls()]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        whole = completed(z * self.scale.std_ + self.scale.mean_)
        whole = (whole - self.scale.mean_) / self.scale.std_
        a, position, count = np.unique(x["x"].astype(float), axis=0, return_inverse=True, return_counts=True)
        mean = np.zeros((len(a), z.shape[1]))
        np.add.at(mean, position.ravel(), whole / count[position.ravel(), None])
        rng = np.random.default_rng(0)
        kept = np.sort(rng.permutation(len(a))[: self.most])
        a, mean = a[kept], mean[kept]
        std = a.std(axis=0)
        self.center_, self.width_ = a.mean(axis=0), np.where(std > 0, std, 1.0) * np.sqrt(max((std > 0).sum(), 1))
        self.x_ = (a - self.center_) / self.width_
        subset = rng.permutation(len(a))[:CHOSEN]
        self.theta_, self.stretch_ = _chosen(self.x_[subset], mean[subset])
        log(f"kernel of networks: {self.theta_.tolist()}")
        self.alpha_ = np.linalg.solve(self._kernel(self.x_) + 1e-8 * np.eye(len(a)), mean)

    def _kernel(self, a: np.ndarray) -> np.ndarray:
        """Covariance [A, training networks]."""
        return kernel(a, self.x_, self.theta_)

    def forward(self, x: Inputs) -> np.ndarray:
        a = (x["x"].astype(float) - self.center_) / self.width_
        parts = [self._kernel(a[i : i + ROWS]) @ self.alpha_ for i in range(0, len(a), ROWS)]
        return np.concatenate(parts) if parts else np.empty((0, self.alpha_.shape[1]))

    def variance(self, x: Inputs) -> np.ndarray:
        """Variance [A] of the error of scaled predictions; 0 for training networks."""
        a = (x["x"].astype(float) - self.center_) / self.width_
        squares = [_squares(a[i : i + ROWS], self.x_).min(axis=1) for i in range(0, len(a), ROWS)]
        new = np.concatenate([np.zeros(0), *squares]) > SAME**2
        out = np.zeros(len(a))
        if new.any():
            cross, (_, linear, noise) = self._kernel(a[new]), self.theta_
            own = 2 + linear * (a[new] ** 2).sum(axis=1) + noise
            known = np.linalg.solve(self._kernel(self.x_) + 1e-8 * np.eye(len(self.x_)), cross.T)
            out[new] = self.stretch_ * np.maximum(own - (cross * known.T).sum(axis=1), 0)
        return out

    def state(self) -> dict[str, Any]:
        names = ("center", "width", "x", "alpha", "theta", "stretch")
        return {name: getattr(self, f"{name}_") for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        self.x_ = array(state["x"], None, None)
        rows, features = self.x_.shape
        self.center_, self.width_ = array(state["center"], features), array(state["width"], features)
        self.alpha_ = array(state["alpha"], rows, len(self.scale.mean_))
        self.theta_, self.stretch_ = array(state["theta"], 3), number(state["stretch"])
        if not (self.theta_ > 0).all() or self.stretch_ < 0:
            raise ValueError("the kernel has numbers that are not above zero")

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        from predictors.export import vector_model

        length, linear, noise = self.theta_
        line = np.concatenate([linear * self.x_.T @ self.alpha_, self.alpha_.sum(axis=0)[None]])
        tensors = {
            "center": self.center_, "width": self.width_, "last": np.array([1]), "w": line[:-1], "c": line[-1:],
            "b": -2 * self.x_.T, "bb": (self.x_**2).sum(axis=1)[None], "zero": np.array(0.0), "alpha": self.alpha_,
            "wide": np.array(-1 / (2 * length**2)), "narrow": np.array(-1 / (2 * SAME**2)), "noise": np.array(noise),
        }  # fmt: skip
        steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
            ("Cast", ["x"], "precise", {"to": TensorProto.DOUBLE}),  # large terms cancel
            ("Sub", ["precise", "center"], "moved", {}),
            ("Div", ["moved", "width"], "a", {}),
            ("Gemm", ["a", "w", "c"], "line", {}),
            ("ReduceSumSquare", ["a", "last"], "aa", {"keepdims": 1}),
            ("Gemm", ["a", "b", "bb"], "ab", {}),
            ("Add", ["aa", "ab"], "signed", {}),
            ("Max", ["signed", "zero"], "square", {}),
            ("Mul", ["square", "wide"], "wide_power", {}),
            ("Exp", ["wide_power"], "near", {}),
            ("Mul", ["square", "narrow"], "narrow_power", {}),
            ("Exp", ["narrow_power"], "same", {}),
            ("Mul", ["same", "noise"], "own", {}),
            ("Add", ["near", "own"], "both", {}),
            ("MatMul", ["both", "alpha"], "curve", {}),
            ("Add", ["line", "curve"], "whole", {}),
            ("Cast", ["whole"], "z", {"to": TensorProto.FLOAT}),
        ]
        model = vector_model([helper.make_node(op, ins, [out], **more) for op, ins, out, more in steps], {}, x)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        return model


def kernel(a: np.ndarray, b: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Covariance [A, B] of networks with standardised vectors [A, F] and [B, F]; `theta` has the length scale and the
    variances of the linear kernel and of the noise."""
    length, linear, noise = theta
    square = _squares(a, b)
    return 1 + linear * a @ b.T + np.exp(-square / (2 * length**2)) + noise * np.exp(-square / (2 * SAME**2))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [A, B] of vectors."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)


def _chosen(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, float]:
    """Hyperparameters of `kernel` of the least leave-one-out error (closed form), and the factor that brings predictive
    variances to the size of these errors.

    Args:
        x: standardised vectors [n, F], all different.
        z: labels [n, D].
    """
    best, found = np.inf, (np.ones(3), 1.0)
    for theta in ((length, linear, noise) for length in LENGTHS for linear in LINEAR for noise in NOISE):
        inverse = np.linalg.inv(kernel(x, x, np.array(theta)) + 1e-8 * np.eye(len(x)))
        precision = np.diagonal(inverse)[:, None]
        errors = (inverse @ z / precision) ** 2
        if (error := float(errors.mean())) < best:
            best, found = error, (np.array(theta), float((errors * precision).mean()))
    return found


def completed(values: np.ndarray, rank: int = RANK) -> np.ndarray:
    """Values [A, D] with missing ones (NaN) filled in: a number per row and one per column, plus a matrix of low rank.

    Its singular values are shrunk by the mean square of those that are left out, and missing values are set to those of
    the matrix, until they stay (Mazumder et al., "Spectral Regularization Algorithms for Learning Large Incomplete
    Matrices", 2010).
    """
    known = ~np.isnan(values)
    if known.all():
        return values
    filled = np.where(known, values, 0.0)
    row, column = np.zeros((len(values), 1)), np.zeros(values.shape[1])
    for _ in range(ROUNDS):
        row = ((filled - column) * known).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
        column = ((filled - row) * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    rest = np.where(known, values - row - column, 0.0)
    matrix = rest
    for _ in range(ROUNDS):
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
        left = float((s[rank:] ** 2).mean()) if len(s) > rank else 0.0
        s = np.maximum(s[:rank] - left / np.maximum(s[:rank], 1e-12), 0)
        before, matrix = matrix, np.where(known, rest, (u[:, :rank] * s) @ v[:rank])
        if np.abs(matrix - before).max() < 1e-4:
            break
    return np.where(known, values, matrix + row + column)
