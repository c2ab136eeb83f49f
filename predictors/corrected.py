"""`Corrected`: a predictor whose logarithm another one corrects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import Architectures, InputError
from encoders.flat import Totals
from encoders.kinds import KindTotals
from predictors.base import Log
from predictors.linear import RelativeLine
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost


def _trees() -> XGBoost:
    return XGBoost(encoder=KindTotals(), loss="absolute")


@dataclass
class Corrected(Regressor):
    """First predictions times factors that a second predictor learns: trees do not extrapolate, a line does.

    Attributes:
        base: gives first predictions; its scale is its own.
        correction: learns the logarithm of what is measured over the first predictions.
    """

    scale: Scale = field(default_factory=Scale, init=False)
    base: Regressor = field(default_factory=RelativeLine)
    correction: Regressor = field(default_factory=_trees)

    def __post_init__(self) -> None:
        super().__post_init__()
        if {self.base.metric, self.correction.metric} != {self.metric}:
            raise InputError(f"Both parts of a corrected predictor must predict {self.metric}.")

    @classmethod
    def examples(cls) -> list[Self]:
        quick, *_, thorough = XGBoost.examples()
        return [
            cls(correction=quick),
            cls(base=RelativeLine(encoder=Totals(("kernels",))), correction=quick),
            cls(correction=thorough),
        ]

    def _members(self) -> tuple[Regressor, Regressor]:
        return self.base, self.correction

    def arrays(self, archs: Architectures) -> Inputs:
        return {f"m{i}_{k}": v for i, member in enumerate(self._members()) for k, v in member.arrays(archs).items()}

    def _parts(self, x: Inputs) -> Iterator[Inputs]:
        """Inputs of the two members."""
        for i in range(2):
            yield {k.removeprefix(f"m{i}_"): v for k, v in x.items() if k.startswith(f"m{i}_")}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        y, (first, second) = self.scale.inverse(z), self._parts(x)
        self.base.scale.fit(y)
        self.base.learn(first, self.base.scale.transform(y), None, log)
        self.least_ = (0.1 * np.nanmin(y, axis=0)).astype(np.float32)
        held = None
        self.correction.scale = Scale("linear").fit(target := np.log(y / self._first(first)))
        if val is not None:
            held_first, held_second = self._parts(val[0])
            ratio = np.log(self.scale.inverse(val[1]) / self._first(held_first))
            held = held_second, self.correction.scale.transform(ratio)
        self.correction.learn(second, self.correction.scale.transform(target), held, log)

    def _first(self, x: Inputs) -> np.ndarray:
        """Predictions [A, D] of the first predictor in the metric's unit, positive."""
        return np.maximum(self.base.scale.inverse(self.base.forward(x)), self.least_)

    def forward(self, x: Inputs) -> np.ndarray:
        first, second = self._parts(x)
        factor = np.exp(self.correction.scale.inverse(self.correction.forward(second)))
        return self.scale.transform(self._first(first) * factor)

    def state(self) -> dict[str, Any]:
        members = [{"state": member.state(), "scale": member.scale.state()} for member in self._members()]
        return {"least": self.least_, "members": members}

    def restore(self, state: dict[str, Any]) -> None:
        devices = len(self.scale.mean_)
        self.least_ = array(state["least"], devices)
        self.correction.scale = Scale("linear")
        for member, part in zip(self._members(), state["members"], strict=True):
            member.scale.restore(part["scale"], devices)
            member.restore(part["state"])

    def to_onnx(self, x: Inputs) -> Any:
        from onnx import helper, numpy_helper

        from predictors.export import append_inverse_scale, joined, weighted_sum

        models = []
        for member, part in zip(self._members(), self._parts(x), strict=True):
            model = member.to_onnx(part)
            append_inverse_scale(model, member)
            models.append(model)
        graph = models[0].graph
        (output,) = graph.output
        graph.initializer.append(numpy_helper.from_array(self.least_, "least"))
        graph.node.append(helper.make_node("Max", [output.name, "least"], ["positive"]))
        graph.node.append(helper.make_node("Log", ["positive"], ["first"]))
        output.name = "first"
        std, mean = self.scale.std_, self.scale.mean_
        return weighted_sum(joined(models, share_inputs=False), np.stack([1 / std, 1 / std]), -mean / std)
