"""The baselines that everything else has to beat: a constant, and a line on FLOPs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from encoders.base import VectorEncoder
from encoders.flat import Totals
from predictors.base import Inputs, Log, Predictor
from predictors.scaling import Scale


@dataclass
class Linear(Predictor):
    """Least squares on a vector, one line a device.

    Attributes:
        encoder: the vector; by default FLOPs, LETI's first baseline.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"))
    encoder: VectorEncoder = field(default_factory=Totals)

    def _fit(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        a = np.column_stack([x["x"], np.ones(len(z))]).astype(float)
        columns = []
        for target in z.T:
            known = ~np.isnan(target)
            columns.append(np.linalg.lstsq(a[known], target[known], rcond=None)[0])
        self.weights_ = np.stack(columns, axis=1).astype(np.float32)  # [features + 1, D]

    def _forward(self, x: Inputs) -> np.ndarray:
        return x["x"] @ self.weights_[:-1] + self.weights_[-1]

    def _state(self) -> dict[str, Any]:
        return {"weights": self.weights_}

    def _restore(self, state: dict[str, Any]) -> None:
        self.weights_ = state["weights"].numpy()

    def _to_onnx(self, x: Inputs) -> Any:
        from predictors.export import vector_model

        return vector_model("Gemm", ["x", "w", "b"], {"w": self.weights_[:-1], "b": self.weights_[-1]}, x)


@dataclass
class Mean(Linear):
    """The mean of the training labels, whatever the architecture: the floor of every comparison.

    Attributes:
        encoder: any; it is not looked at.
    """

    def _fit(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.weights_ = np.zeros((x["x"].shape[1] + 1, z.shape[1]), dtype=np.float32)
