"""`Roofline`: the roofline model with rates fitted to each device (Williams et al., "Roofline: An Insightful Visual
Performance Model for Multicore Architectures", Communications of the ACM 2009)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from datasets.files.checkpoint import array
from encoders.base import VectorEncoder
from encoders.flat import Totals
from predictors.base import Log
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale


@dataclass
class Roofline(Regressor):
    """Predicts overhead + max(work / rate) over kinds of work, with separate rates and overhead per device.

    Rates and overhead, all positive, minimise the mean absolute difference of logarithms, since tables of layers span
    four orders of magnitude.

    Attributes:
        encoder: gives the amounts of work, each with its rate; by default multiply-accumulates and bytes moved.
        steps: of the Nelder-Mead search for rates.
    """

    scale: Scale = field(init=False, default_factory=lambda: Scale("linear"))
    encoder: VectorEncoder = field(default_factory=lambda: Totals(("macs", "moved_bytes")))
    steps: int = 2000

    learns_to: ClassVar[float] = 0.2  # labels are sums, not maxima

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(steps=100), cls(steps=3), cls(steps=100)]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        y, work = self.scale.inverse(z), x["x"].astype(float)
        known = [~np.isnan(column) for column in y.T]
        lines = [fit_rates(work[rows], y[rows, device], self.steps) for device, rows in enumerate(known)]
        self.times_ = np.array(lines, dtype=np.float32).T  # [amounts + 1, D]: ms per unit of work, and overhead

    def forward(self, x: Inputs) -> np.ndarray:
        longest = (x["x"][:, :, None] * self.times_[:-1]).max(axis=1)
        return self.scale.transform((longest + self.times_[-1]).astype(np.float64))

    def state(self) -> dict[str, Any]:
        return {"times": self.times_}

    def restore(self, state: dict[str, Any]) -> None:
        self.times_ = array(state["times"], None, len(self.scale.mean_))

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import helper

        from predictors.export import vector_model

        amounts = range(len(self.times_) - 1)
        pick = np.eye(len(amounts), dtype=np.float32)
        nodes = [helper.make_node("MatMul", ["x", f"w_{i}"], [f"t_{i}"]) for i in amounts]
        nodes += [
            helper.make_node("Max", [f"t_{i}" for i in amounts], ["longest"]),
            helper.make_node("Add", ["longest", "overhead"], ["ms"]),
            helper.make_node("Sub", ["ms", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["z"]),
        ]
        tensors = {f"w_{i}": pick[:, i : i + 1] * self.times_[i] for i in amounts}
        tensors |= {"overhead": self.times_[-1], "mean": self.scale.mean_, "std": self.scale.std_}
        return vector_model(nodes, tensors, x)


def fit_rates(work: np.ndarray, y: np.ndarray, steps: int) -> np.ndarray:
    """Fit ms per unit of each amount of work, and the overhead [amounts + 1], to work [n, amounts] and ms [n]."""
    from scipy.optimize import minimize

    used = work.max(axis=0) > 0  # poolings have no multiply-accumulates

    def loss(logs: np.ndarray) -> float:
        times = np.exp(logs)
        return float(np.abs(np.log((work[:, used] * times[:-1]).max(axis=1, initial=0) + times[-1]) - np.log(y)).mean())

    typical = [np.median(np.log(y[a > 0] / a[a > 0])) for a in work[:, used].T]
    start = np.array([*typical, np.log(y.min())])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": steps, "maxfev": steps})
    times = np.zeros(work.shape[1] + 1)
    times[np.append(used, True)] = np.exp(found.x)
    return times
