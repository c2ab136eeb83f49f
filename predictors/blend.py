"""`Blend`: a weighted mean of different predictors, with weights fitted to the validation set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import Architectures, InputError
from encoders.cell import CellOneHot
from encoders.flat import FlatVector
from predictors.base import Log
from predictors.gcn import GCN
from predictors.linear import Linear
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost


def _line_and_graph() -> list[Regressor]:
    return [Linear(encoder=CellOneHot()), GCN()]


@dataclass
class Blend(Regressor):
    """Convex combination of predictions with weights per device, by least squares on the validation set (Wolpert,
    "Stacked Generalization", 1992; with non-negative weights: Breiman, "Stacked Regressions", 1996).

    Linear members are better on noisy devices, networks where ops interact; a hundred labels suffice for the weights.
    Without a validation set, weights are equal.

    Attributes:
        members: each with its own scale and encoder; their tolerance is ignored.
        relative: minimise squared relative errors, for labels that span orders of magnitude.
    """

    scale: Scale = field(default_factory=lambda: Scale("linear"), init=False)
    members: list[Regressor] = field(default_factory=_line_and_graph)
    relative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members or {member.metric for member in self.members} != {self.metric}:
            raise InputError(f"A blend needs members, and all of them must predict {self.metric}.")

    @classmethod
    def examples(cls) -> list[Self]:
        quick, *_, thorough = XGBoost.examples()
        linear = [Linear(encoder=FlatVector()), Linear()]
        return [*(cls(members=[line, quick]) for line in linear), cls(members=[thorough])]

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Number of architectures that are predicted at once: the smallest of the members'."""
        return min(member.chunk for member in self.members)

    @property
    def rows(self) -> int:  # type: ignore[override]
        """Largest number of rows of an input that an exported file may take: that of the members."""
        return max(member.rows for member in self.members)

    def arrays(self, archs: Architectures) -> Inputs:
        return {f"m{i}_{k}": v for i, member in enumerate(self.members) for k, v in member.arrays(archs).items()}

    def _parts(self, x: Inputs) -> Iterator[tuple[Regressor, Inputs]]:
        """Members with their inputs."""
        for i, member in enumerate(self.members):
            prefix = f"m{i}_"
            yield member, {k.removeprefix(prefix): v for k, v in x.items() if k.startswith(prefix)}

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        y, y_val = self.scale.inverse(z), None if val is None else self.scale.inverse(val[1])
        x_val = [None] * len(self.members) if val is None else [part for _, part in self._parts(val[0])]
        for i, ((member, part), held_out) in enumerate(zip(self._parts(x), x_val, strict=True), 1):
            log(f"member {i} of {len(self.members)}: {type(member).__name__}")
            member.scale.fit(y)
            own = None if held_out is None or y_val is None else (held_out, member.scale.transform(y_val))
            member.learn(part, member.scale.transform(y), own, log)
        self.weights_ = np.full((len(self.members), y.shape[1]), 1 / len(self.members))
        if val is not None and y_val is not None:
            each = self._each(val[0])
            for device in range(y.shape[1]):
                known = ~np.isnan(y_val[:, device])
                if known.any():
                    predicted, measured = each[:, known, device].T, y_val[known, device]
                    unit = measured if self.relative else np.ones_like(measured)
                    self.weights_[:, device] = convex_weights(predicted / unit[:, None], measured / unit)

    def _each(self, x: Inputs) -> np.ndarray:
        """Predictions of all members [members, A, D] in the metric's unit."""
        return np.stack([member.scale.inverse(member.forward(part)) for member, part in self._parts(x)])

    def forward(self, x: Inputs) -> np.ndarray:
        return self.scale.transform((self._each(x) * self.weights_[:, None]).sum(axis=0))

    def state(self) -> dict[str, Any]:
        members = [{"state": member.state(), "scale": member.scale.state()} for member in self.members]
        return {"weights": self.weights_, "members": members}

    def restore(self, state: dict[str, Any]) -> None:
        devices = len(self.scale.mean_)
        self.weights_ = array(state["weights"], len(self.members), devices)
        for member, part in zip(self.members, state["members"], strict=True):
            member.scale.restore(part["scale"], devices)
            member.restore(part["state"])

    def to_onnx(self, x: Inputs) -> Any:
        from predictors.export import append_inverse_scale, joined, weighted_sum

        models = []
        for member, part in self._parts(x):
            model = member.to_onnx(part)
            append_inverse_scale(model, member)
            models.append(model)
        std, mean = self.scale.std_, self.scale.mean_
        return weighted_sum(joined(models, share_inputs=False), self.weights_ / std, -mean / std)


def convex_weights(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Non-negative weights [M] that sum to 1 and minimise the squared error of predictions [A, M]."""
    from scipy.optimize import nnls

    sum_to_one = 1e4 * np.abs(predicted).max()  # weight of a further row for this constraint
    rows = np.vstack([predicted, np.full((1, predicted.shape[1]), sum_to_one)])
    weights, _ = nnls(rows, np.append(measured, sum_to_one))
    return weights / weights.sum()
