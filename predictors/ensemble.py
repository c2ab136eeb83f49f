"""`Ensemble`: the mean of predictors that differ in their seeds only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datasets.records import InputError
from predictors.base import Log, Relaxable
from predictors.gcn import GCN
from predictors.mlp import MLP
from predictors.regressor import Inputs, Regressor
from predictors.scaling import Scale
from predictors.trees import XGBoost

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Ensemble(Regressor):
    """Mean of several members' predictions on the label scale (Lakshminarayanan et al., "Simple and Scalable Predictive
    Uncertainty Estimation using Deep Ensembles", NeurIPS 2017).

    Attributes:
        member: the first member, with its metric, scale and encoder; the others have the seeds after its seed.
        size: number of members.
    """

    metric: str = field(init=False)
    scale: Scale = field(init=False)
    member: Regressor = field(default_factory=GCN)
    size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.member, "seed"):
            raise InputError(
                f"An ensemble of {type(self.member).__name__} makes no sense: without a seed all are equal."
            )
        self.metric, self.scale, self.encoder = self.member.metric, self.member.scale, self.member.encoder

    @classmethod
    def examples(cls) -> list[Self]:
        quick, *_, thorough = XGBoost.examples()
        return [cls(member=quick, size=3), cls(member=MLP.examples()[0], size=3), cls(member=thorough, size=2)]

    def _members(self) -> list[Regressor]:
        first = self.member.seed  # type: ignore[attr-defined]
        members = [replace(self.member, seed=first + i) for i in range(self.size)]  # type: ignore[call-arg]
        for member in members:
            member.scale = self.scale
        return members

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.members_ = self._members()
        for number, member in enumerate(self.members_, 1):
            log(f"member {number} of {self.size}")
            member.learn(x, z, val, log)

    def forward(self, x: Inputs) -> np.ndarray:
        return np.mean([member.forward(x) for member in self.members_], axis=0)

    def predict_relaxed(self, p: Tensor, device: Tensor) -> Tensor:
        """Predictions [B] of relaxed architectures [B, F], differentiable; the members must be `Relaxable`."""
        import torch

        if not isinstance(self.member, Relaxable):
            raise InputError(f"{type(self.member).__name__} has no answers for relaxed architectures; MLP has.")
        predicted = torch.stack([member.predict_relaxed(p, device) for member in self.members_])  # type: ignore[attr-defined]
        return predicted.log().mean(dim=0).exp() if self.scale.kind == "log" else predicted.mean(dim=0)

    def state(self) -> dict[str, Any]:
        return {"members": [member.state() for member in self.members_]}

    def restore(self, state: dict[str, Any]) -> None:
        if self.size != len(state["members"]):  # before members are built
            raise ValueError(f"{len(state['members'])} members, not {self.size}")
        self.members_ = self._members()
        for member, part in zip(self.members_, state["members"], strict=True):
            member.restore(part)

    def to_onnx(self, x: Inputs) -> Any:
        from predictors.export import joined, weighted_sum

        model = joined([member.to_onnx(x) for member in self.members_], share_inputs=True)
        outputs = len(self.scale.mean_)
        return weighted_sum(model, np.full((self.size, outputs), 1 / self.size), np.zeros(outputs))
