"""Gradient-boosted trees (XGBoost), one booster per device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from datasets.files.checkpoint import array
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from predictors.base import Log
from predictors.boosters import check_booster
from predictors.regressor import Inputs, Regressor


@dataclass
class XGBoost(Regressor):
    """Gradient-boosted trees on encoded vectors (LETI, section 3.3, uses `encoders.flat.FlatVector`).

    Attributes:
        encoder: gives the features.
        trees: number of boosting rounds.
        depth: largest depth of a tree.
        learning_rate: shrinkage of each tree.
        subsample: share of the rows per tree.
        columns: share of the features per tree.
        min_child_weight: least weight of a leaf.
        loss: squared, or absolute errors of scaled labels, which outliers move less.
        seed: seed of subsampling.
    """

    encoder: VectorEncoder = field(default_factory=CellOneHot)
    trees: int = 1000
    depth: int = 4
    learning_rate: float = 0.05
    subsample: float = 0.8
    columns: float = 0.8
    min_child_weight: float = 1.0
    loss: Literal["squared", "absolute"] = "squared"
    seed: int = 0

    @classmethod
    def examples(cls) -> list[Self]:
        return [
            cls(trees=20),
            cls(trees=20, loss="absolute"),
            cls(trees=400, depth=6, subsample=1.0, columns=1.0, min_child_weight=0.1),
        ]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        self.boosters_ = []
        for device, target in enumerate(z.T):
            known = ~np.isnan(target)
            self.boosters_.append(self._boost(x["x"][known], target[known]))
            log(f"device {device + 1} of {z.shape[1]}: {self.trees} trees")

    def _boost(self, x: np.ndarray, target: np.ndarray) -> Any:
        """Train a booster on features [n, F] and labels [n] of mean about zero."""
        import xgboost

        parameters = {
            "max_depth": self.depth,
            "eta": self.learning_rate,
            "subsample": self.subsample,
            "colsample_bytree": self.columns,
            "min_child_weight": self.min_child_weight,
            "objective": f"reg:{self.loss}error",
            "seed": self.seed,
            "base_score": 0.0,
            "nthread": 1,
            "tree_method": "hist",
        }
        return xgboost.train(parameters, xgboost.DMatrix(x, target), self.trees)

    def forward(self, x: Inputs) -> np.ndarray:
        import xgboost

        data = xgboost.DMatrix(x["x"])
        return np.stack([booster.predict(data) for booster in self.boosters_], axis=1)

    def state(self) -> dict[str, Any]:
        return {"boosters": [np.frombuffer(booster.save_raw("ubj"), np.uint8).copy() for booster in self.boosters_]}

    def restore(self, state: dict[str, Any]) -> None:
        self.boosters_ = boosters(state["boosters"], len(self.scale.mean_))

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model with one tree ensemble per device: onnxmltools silently converts boosters of several outputs
        wrongly."""
        from onnx import helper

        from predictors.export import vector_model

        width = x["x"].shape[1]
        nodes = [tree_node(booster, width, "x", f"z_{i}") for i, booster in enumerate(self.boosters_)]
        outputs = [node.output[0] for node in nodes]
        return vector_model([*nodes, helper.make_node("Concat", outputs, ["z"], axis=1)], {}, x)


def boosters(saved: Sequence[Any], count: int) -> list[Any]:
    """Load `count` boosters from arrays of XGBoost's bytes; damaged ones raise one of `checkpoint.DAMAGE`."""
    import xgboost

    if len(saved) != count:
        raise ValueError(f"{len(saved)} boosters, not {count}")
    found = []
    for raw in saved:
        content = array(raw, None, kind="u").tobytes()
        check_booster(content)
        found.append(xgboost.Booster({"nthread": 1}))
        found[-1].load_model(bytearray(content))
    return found


def tree_node(booster: Any, width: int, source: str, target: str) -> Any:
    """Convert a booster of one output to an ONNX node from `source` [batch, width] to `target` [batch, 1]."""
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    converted = convert_xgboost(booster, initial_types=[(source, FloatTensorType([None, width]))])
    (node,) = (node for node in converted.graph.node if node.op_type == "TreeEnsembleRegressor")
    node.name, node.input[:], node.output[:] = f"trees_{target}", [source], [target]
    return node
