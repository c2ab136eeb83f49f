"""Gaussian-process regression, for few labels and predictive distributions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import Architectures, Device
from encoders.base import VectorEncoder
from encoders.cell import require_one_hot
from encoders.flat import Joined
from predictors.base import Log
from predictors.belief import Belief
from predictors.regressor import Inputs, Regressor

if TYPE_CHECKING:
    from torch import Tensor

PRIOR = 3.0
"""Prior standard deviation of the logarithms of hyperparameters, for those that labels do not determine."""


@dataclass
class GaussianProcess(Regressor):
    """Exact Gaussian-process regression, one per device (Rasmussen and Williams, "Gaussian Processes for Machine
    Learning", 2006, chapters 2 and 5).

    The kernel is a constant plus a linear and a squared exponential kernel per block of features (a part of a `Joined`
    encoder, or the whole vector), plus noise. Variances and length scales maximise the marginal likelihood.

    Attributes:
        encoder: gives the features; by default those of `Joined`: decisions and physical totals.
        most: largest number of labels per device that hyperparameters are fitted to; predictions use all labels.
        floor: least variance of the noise, relative to that of the labels.
    """

    encoder: VectorEncoder = field(default_factory=Joined)
    most: int = 300
    floor: float = 1e-4

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(most=20), cls()]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        from scipy.linalg import cho_solve

        a = x["x"].astype(float)
        std = a.std(axis=0)
        self.center_, self.width_ = a.mean(axis=0), np.where(std > 0, std, 1.0)
        self.x_ = (a - self.center_) / self.width_
        self.known_ = ~np.isnan(z)
        self.ends_ = np.cumsum(self.encoder.sizes(self.space_) if isinstance(self.encoder, Joined) else [a.shape[1]])
        rng, blocks = np.random.default_rng(0), len(self.ends_)
        self.theta_, self.alpha_ = np.empty((z.shape[1], 2 + 3 * blocks)), np.zeros(z.shape)
        for device, known in enumerate(self.known_.T):
            rows = np.flatnonzero(known)
            subset = rng.permutation(rows)[: self.most]
            self.theta_[device] = maximise_evidence(self._blocks(self.x_[subset]), z[subset, device], self.floor)
            log(f"hyperparameters of device {device}: {np.round(self.theta_[device], 1).tolist()}")
            self.alpha_[rows, device] = cho_solve((self._cholesky(device), True), z[rows, device])

    def _blocks(self, x: np.ndarray) -> list[np.ndarray]:
        return np.split(x, self.ends_[:-1], axis=1)

    def _kernel(self, x: np.ndarray, other: np.ndarray, device: int) -> np.ndarray:
        """Covariance [rows of x, rows of other] of the latent function."""
        theta = self.theta_[device]
        total = np.full((len(x), len(other)), np.exp(theta[0]))
        for (linear, radial, length), a, b in zip(
            theta[2:].reshape(-1, 3), self._blocks(x), self._blocks(other), strict=True
        ):
            dot = a @ b.T / a.shape[1]
            square = np.maximum((a**2).mean(1)[:, None] + (b**2).mean(1) - 2 * dot, 0)
            total += np.exp(linear) * dot + np.exp(radial - square * np.exp(-2 * length) / 2)
        return total

    def _noise(self, device: int) -> float:
        return float(np.exp(self.theta_[device, 1])) + self.floor

    def _cholesky(self, device: int) -> np.ndarray:
        x = self.x_[self.known_[:, device]]
        return np.linalg.cholesky(self._kernel(x, x, device) + self._noise(device) * np.eye(len(x)))

    def forward(self, x: Inputs) -> np.ndarray:
        a = (x["x"] - self.center_) / self.width_
        columns = [self._kernel(a, self.x_, device) @ alpha for device, alpha in enumerate(self.alpha_.T)]
        return np.stack(columns, axis=1)

    def belief(self, archs: Architectures, device: Device | None = None) -> Belief:
        """Normal distributions [A], on the label scale, of new measurements on one device."""
        column = self.column(device)
        encoded = self.encode(archs)
        x, a = self.x_[self.known_[:, column]], (encoded["x"] - self.center_) / self.width_
        cross = np.linalg.solve(self._cholesky(column), self._kernel(x, a, column))
        theta = self.theta_[column]
        own = np.exp(theta[0]) + sum(
            np.exp(linear) * (block**2).mean(1) + np.exp(radial)
            for (linear, radial, _), block in zip(theta[2:].reshape(-1, 3), self._blocks(a), strict=True)
        )
        std = np.sqrt(np.maximum(own - (cross**2).sum(axis=0), 0) + self._noise(column))
        return Belief(self.forward(encoded)[:, column], std, self.scale.output(column))

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] of relaxed architectures [B, F], differentiable (`Relaxable`)."""
        import torch

        require_one_hot(self.encoder)
        center, width, x = (torch.from_numpy(v).to(p.dtype) for v in (self.center_, self.width_, self.x_))
        a, alpha = (p - center) / width, torch.from_numpy(self.alpha_[:, 0]).to(p.dtype)
        constant, _, linear, radial, length = self.theta_[0].tolist()
        dot = a @ x.T / a.shape[1]
        square = ((a**2).mean(1)[:, None] + (x**2).mean(1) - 2 * dot).clamp(min=0)
        kernel = np.exp(constant) + np.exp(linear) * dot + (radial - square * np.exp(-2 * length) / 2).exp()
        return self.scale.inverse_of_tensor(kernel @ alpha)

    def state(self) -> dict[str, Any]:
        names = ("center", "width", "x", "known", "ends", "theta", "alpha")
        return {name: getattr(self, f"{name}_") for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        devices = len(self.scale.mean_)
        self.x_ = array(state["x"], None, None)
        rows, features = self.x_.shape
        self.center_, self.width_ = array(state["center"], features), array(state["width"], features)
        self.known_, self.alpha_ = array(state["known"], rows, devices, kind="b"), array(state["alpha"], rows, devices)
        self.ends_ = array(state["ends"], None, kind="i")
        self.theta_ = array(state["theta"], devices, 2 + 3 * len(self.ends_))
        sizes = np.diff(self.ends_, prepend=0)
        if not (sizes > 0).all() or sizes.sum() != features or np.abs(self.theta_).max() > 100:
            raise ValueError("blocks or hyperparameters are out of range")

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model: linear kernels become one linear model per device; squared exponential ones remain."""
        from onnx import TensorProto, helper, numpy_helper

        from predictors.export import vector_model

        nodes = [
            helper.make_node("Cast", ["x"], ["precise"], to=TensorProto.DOUBLE),  # large terms cancel
            helper.make_node("Sub", ["precise", "center"], ["moved"]),
            helper.make_node("Div", ["moved", "width"], ["a"]),
        ]
        tensors: dict[str, np.ndarray] = {"center": self.center_, "width": self.width_}
        blocks = self._blocks(self.x_)
        for i, block in enumerate(blocks):
            size, start = block.shape[1], int(self.ends_[i]) - block.shape[1]
            pick = np.zeros((self.x_.shape[1], size))
            pick[start : start + size] = np.eye(size) / np.sqrt(size)
            own = block / np.sqrt(size)
            tensors |= {f"pick_{i}": pick, f"b_{i}": -2 * own.T, f"bb_{i}": (own**2).sum(1)[None]}
            nodes += [
                helper.make_node("MatMul", ["a", f"pick_{i}"], [f"a_{i}"]),
                helper.make_node("ReduceSumSquare", [f"a_{i}", "last"], [f"aa_{i}"], keepdims=1),
                helper.make_node("Gemm", [f"a_{i}", f"b_{i}", f"bb_{i}"], [f"ab_{i}"]),
                helper.make_node("Add", [f"ab_{i}", f"aa_{i}"], [f"square_{i}"]),
            ]
        columns = []
        for d, (theta, alpha) in enumerate(zip(self.theta_, self.alpha_.T, strict=True)):
            line = np.zeros(self.x_.shape[1])
            terms = [f"line_{d}"]
            for i, (linear, radial, length) in enumerate(theta[2:].reshape(-1, 3)):
                block, end = blocks[i], int(self.ends_[i])
                line[end - block.shape[1] : end] = np.exp(linear) * (alpha @ block) / block.shape[1]
                tensors |= {
                    f"scale_{d}_{i}": np.array([-np.exp(-2 * length) / 2]),
                    f"alpha_{d}_{i}": np.exp(radial) * alpha[:, None],
                }
                nodes += [
                    helper.make_node("Mul", [f"square_{i}", f"scale_{d}_{i}"], [f"power_{d}_{i}"]),
                    helper.make_node("Exp", [f"power_{d}_{i}"], [f"radial_{d}_{i}"]),
                    helper.make_node("MatMul", [f"radial_{d}_{i}", f"alpha_{d}_{i}"], [f"term_{d}_{i}"]),
                ]
                terms.append(f"term_{d}_{i}")
            tensors |= {f"w_{d}": line[:, None], f"c_{d}": np.array([np.exp(theta[0]) * alpha.sum()])}
            nodes.append(helper.make_node("Gemm", ["a", f"w_{d}", f"c_{d}"], [f"line_{d}"]))
            nodes.append(helper.make_node("Sum", terms, [f"z_{d}"]))
            columns.append(f"z_{d}")
        nodes.append(helper.make_node("Concat", columns, ["all"], axis=1))
        nodes.append(helper.make_node("Cast", ["all"], ["z"], to=TensorProto.FLOAT))
        model = vector_model(nodes, {}, x)
        tensors["last"] = np.array([1])
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        return model


def maximise_evidence(blocks: list[np.ndarray], y: np.ndarray, floor: float) -> np.ndarray:
    """Maximise the marginal likelihood of standardised labels [n] under a weak prior on the hyperparameters.

    Returns:
        Logarithms of: the variance of the constant, that of the noise, and per block the variance of the linear kernel,
        the variance of the squared exponential kernel and its length scale.
    """
    import torch
    from scipy.optimize import minimize

    products = [torch.from_numpy(b @ b.T / b.shape[1]) for b in blocks]
    squares = [(p.diagonal()[:, None] + p.diagonal() - 2 * p).clamp(min=0) for p in products]
    target, eye = torch.from_numpy(y), torch.eye(len(y), dtype=torch.float64)
    start = np.log(np.array([0.1, 0.05] + [0.5 / len(blocks), 0.5 / len(blocks), 1.0] * len(blocks)))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        t = torch.from_numpy(theta).requires_grad_()
        kernel = t[0].exp() + (t[1].exp() + floor) * eye
        for (linear, radial, length), p, s in zip(t[2:].reshape(-1, 3), products, squares, strict=True):
            kernel = kernel + linear.exp() * p + (radial - s * (-2 * length).exp() / 2).exp()
        cholesky = torch.linalg.cholesky(kernel)
        half = torch.linalg.solve_triangular(cholesky, target[:, None], upper=False)
        prior = ((t - torch.from_numpy(start)) ** 2).sum() / (2 * PRIOR**2)
        value = (half**2).sum() / 2 + cholesky.diagonal().log().sum() + prior
        (gradient,) = torch.autograd.grad(value, t)
        return float(value.detach()), gradient.numpy()

    bounds = [(s - 4 * PRIOR, s + 4 * PRIOR) for s in start]
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100}).x
