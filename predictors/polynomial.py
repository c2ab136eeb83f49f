"""Polynomial regression, the baseline of PerfNetRT (its Table V)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any, Self

import numpy as np

from datasets.files.checkpoint import array
from encoders.base import VectorEncoder
from encoders.flat import Totals
from encoders.layer import LayerFeatures
from predictors.base import Log
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale


@dataclass
class Polynomial(Regressor):
    """Least squares on all monomials of the standardised features up to a degree, one polynomial per device.

    The degree of each device minimises the squared validation error on the label scale; without a validation set it is
    the highest with at least ten rows per monomial, or 1.

    Attributes:
        encoder: gives the features; by default PerfNetRT's.
        degree: highest degree that is tried.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    encoder: VectorEncoder = field(default_factory=LayerFeatures)
    degree: int = 4

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(encoder=Totals(("macs", "moved_bytes")), degree=2)]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        std = x["x"].std(axis=0)
        self.mean_, self.std_ = x["x"].mean(axis=0), np.where(std > 0, std, 1).astype(np.float32)
        terms = {degree: _terms(x["x"].shape[1], degree) for degree in range(1, self.degree + 1)}
        candidates = {degree: self._monomials(x["x"], t) for degree, t in terms.items()}
        validation = {} if val is None else {degree: self._monomials(val[0]["x"], t) for degree, t in terms.items()}
        self.terms_, self.weights_ = [], []
        for device, target in enumerate(z.T):
            known = ~np.isnan(target)
            weights = {degree: _solve(a[known], target[known]) for degree, a in candidates.items()}
            if val is None:
                best = max((d for d in terms if 10 * len(weights[d]) <= known.sum()), default=1)
            else:
                truth = val[1][:, device]
                seen = ~np.isnan(truth)
                errors = {d: ((validation[d][seen] @ w - truth[seen]) ** 2).mean() for d, w in weights.items()}
                best = min(errors, key=errors.__getitem__)
            log(f"device {device + 1} of {z.shape[1]}: degree {best}")
            self.terms_.append(terms[best])
            self.weights_.append(weights[best].astype(np.float32))

    def _monomials(self, x: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """Monomials [A, M] of features [A, F], in double precision; `terms` as from `_terms`."""
        ones = np.ones((len(x), 1))
        columns = np.concatenate([ones, (x - self.mean_) / self.std_], axis=1)
        out = columns[:, terms[0]]
        for factor in terms[1:]:
            out *= columns[:, factor]
        return out

    def forward(self, x: Inputs) -> np.ndarray:
        pairs = zip(self.terms_, self.weights_, strict=True)
        return np.stack([self._monomials(x["x"], terms) @ weights for terms, weights in pairs], axis=1)

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean_, "std": self.std_, "terms": self.terms_, "weights": self.weights_}

    def restore(self, state: dict[str, Any]) -> None:
        self.mean_ = array(state["mean"], None)
        self.std_ = array(state["std"], len(self.mean_))
        self.terms_ = [array(terms, None, None, kind="i") for terms in state["terms"]]
        self.weights_ = [array(weights, None) for weights in state["weights"]]
        if not len(self.terms_) == len(self.weights_) == len(self.scale.mean_):
            raise ValueError(f"{len(self.terms_)} polynomials, not one per device")

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model in double precision, since large monomials cancel."""
        from onnx import TensorProto, helper, numpy_helper

        from predictors.export import vector_model

        nodes = [
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["standard"]),
            helper.make_node("Cast", ["standard"], ["wide"], to=TensorProto.DOUBLE),
            helper.make_node("Pad", ["wide", "pads", "one"], ["columns"]),
        ]
        exact = {"pads": np.array([0, 1, 0, 0]), "one": np.array(1.0)}
        for i, (terms, weights) in enumerate(zip(self.terms_, self.weights_, strict=True)):
            exact[f"w_{i}"] = weights.astype(float)[:, None]
            for k, factor in enumerate(terms):
                exact[f"t_{i}_{k}"] = factor.astype(np.int64)
                nodes.append(helper.make_node("Gather", ["columns", f"t_{i}_{k}"], [f"f_{i}_{k}"], axis=1))
                if k:
                    before = f"m_{i}_{k - 1}" if k > 1 else f"f_{i}_0"
                    nodes.append(helper.make_node("Mul", [before, f"f_{i}_{k}"], [f"m_{i}_{k}"]))
            last = f"m_{i}_{len(terms) - 1}" if len(terms) > 1 else f"f_{i}_0"
            nodes.append(helper.make_node("MatMul", [last, f"w_{i}"], [f"z_{i}"]))
        outputs = [f"z_{i}" for i in range(len(self.terms_))]
        nodes.append(helper.make_node("Concat", outputs, ["exact"], axis=1))
        nodes.append(helper.make_node("Cast", ["exact"], ["z"], to=TensorProto.FLOAT))
        model = vector_model(nodes, {"mean": self.mean_, "std": self.std_}, x)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in exact.items())
        return model


def _terms(features: int, degree: int) -> np.ndarray:
    """Indices [degree, M] of the factors of all monomials up to a degree; 0: the constant 1, i: the i-th feature."""
    return np.array(list(combinations_with_replacement(range(features + 1), degree))).T


def _solve(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares solution of minimum norm."""
    return np.linalg.lstsq(a, y, rcond=None)[0]
