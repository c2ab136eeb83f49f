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
        shared: whether half of the trees are grown on the labels of all devices with a runtime and precision, where
            there are several, before each device's own: one with few measurements profits from those of others.
        seed: seed of subsampling.
        gains_, offsets_: what G groups of shared trees give times gains [G, D] plus offsets [D] is on label scales.
    """

    encoder: VectorEncoder = field(default_factory=CellOneHot)
    trees: int = 1000
    depth: int = 4
    learning_rate: float = 0.05
    subsample: float = 0.8
    columns: float = 0.8
    min_child_weight: float = 1.0
    loss: Literal["squared", "absolute"] = "squared"
    shared: bool = False
    seed: int = 0

    gains_: np.ndarray = field(init=False, repr=False, compare=False)
    offsets_: np.ndarray = field(init=False, repr=False, compare=False)

    @classmethod
    def examples(cls) -> list[Self]:
        return [
            cls(trees=20),
            cls(trees=20, loss="absolute", shared=True),
            cls(trees=400, depth=6, subsample=1.0, columns=1.0, min_child_weight=0.1),
        ]

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        first = self._learn_shared(x["x"], z) if self.shared else []
        if first:
            z = z - self._first(_predicted(first, x["x"]))
        own, rounds = [], self._rounds(len(first))
        for device, target in enumerate(z.T):
            known = ~np.isnan(target)
            own.append(self._boost(x["x"][known], target[known], rounds))
            log(f"device {device + 1} of {z.shape[1]}: {rounds} trees")
        self.boosters_ = [*own, *first]

    def _learn_shared(self, x: np.ndarray, z: np.ndarray) -> list[Any]:
        """Train one booster per runtime and precision that several devices have, on features [A, F] and the labels
        [A, D] of these devices without the devices' levels.

        Devices measured different architectures, so their mean labels differ for that reason too; a level is what a
        least-squares fit of features and one number per device gives the device.
        """
        kinds = [(device.runtime, device.precision) for device in self.devices_]
        groups = [[i for i, own in enumerate(kinds) if own == kind] for kind in dict.fromkeys(kinds)]
        groups = [group for group in groups if len(group) > 1]
        self.gains_, self.offsets_ = np.zeros((len(groups), z.shape[1])), np.zeros(z.shape[1])
        features, found = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6), []
        for gains, group in zip(self.gains_, groups, strict=True):
            std = self.scale.std_[group]
            rows, columns = np.nonzero(~np.isnan(z[:, group]))
            labels = (z[:, group] * std)[rows, columns]
            design = np.hstack([features[rows], np.eye(len(group))[columns]]).astype(float)
            gram = design.T @ design + 1e-3 * np.eye(design.shape[1])
            levels = np.linalg.solve(gram, design.T @ labels)[x.shape[1] :]
            gains[group], self.offsets_[group] = 1 / std, levels / std
            found.append(self._boost(x[rows], labels - levels[columns], self._rounds(len(groups))))
        return found

    def _rounds(self, groups: int) -> int:
        """Number of trees of a booster where there are so many groups of devices that share some."""
        return max(1, self.trees // 2) if groups else self.trees

    def _first(self, shared: np.ndarray) -> np.ndarray:
        """What shared trees predict [A, G], on the label scale of each device [A, D]."""
        return shared @ self.gains_ + self.offsets_

    def _boost(self, x: np.ndarray, target: np.ndarray, rounds: int) -> Any:
        """Train a booster of some trees on features [n, F] and labels [n] of mean about zero."""
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
        return xgboost.train(parameters, xgboost.DMatrix(x, target), rounds)

    def forward(self, x: Inputs) -> np.ndarray:
        return self._summed(_predicted(self.boosters_, x["x"]))

    def _summed(self, found: np.ndarray) -> np.ndarray:
        """Scaled labels [A, D] from what each device's trees predict, and behind them the shared ones [A, D + G]."""
        own = len(self.scale.mean_)
        return found[:, :own] + self._first(found[:, own:]) if self.shared else found

    def state(self) -> dict[str, Any]:
        saved = [np.frombuffer(booster.save_raw("ubj"), np.uint8).copy() for booster in self.boosters_]
        return {"boosters": saved, **self._levels()}

    def _levels(self) -> dict[str, Any]:
        return {"gains": self.gains_, "offsets": self.offsets_} if self.shared else {}

    def restore(self, state: dict[str, Any]) -> None:
        self.boosters_ = boosters(state["boosters"], self._restore_levels(state))

    def _restore_levels(self, state: dict[str, Any]) -> int:
        """Restore what `_levels` gives; return the number of boosters."""
        devices = len(self.scale.mean_)
        if not self.shared:
            return devices
        self.gains_, self.offsets_ = array(state["gains"], None, devices), array(state["offsets"], devices)
        return devices + len(self.gains_)

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model with one tree ensemble per device: onnxmltools silently converts boosters of several outputs
        wrongly."""
        width = x["x"].shape[1]
        return self._model([tree_node(booster, width, "x", f"z_{i}") for i, booster in enumerate(self.boosters_)], x)

    def _model(self, nodes: list[Any], x: Inputs) -> Any:
        """ONNX model of one node of trees per device, and those of shared trees behind them."""
        from onnx import helper

        from predictors.export import vector_model

        outputs = [node.output[0] for node in nodes]
        own = len(self.scale.mean_)
        if own == len(nodes):
            return vector_model([*nodes, helper.make_node("Concat", outputs, ["z"], axis=1)], {}, x)
        nodes = [
            *nodes,
            helper.make_node("Concat", outputs[:own], ["own"], axis=1),
            helper.make_node("Concat", outputs[own:], ["shared"], axis=1),
            helper.make_node("Gemm", ["shared", "gains", "offsets"], ["first"]),
            helper.make_node("Add", ["own", "first"], ["z"]),
        ]
        return vector_model(nodes, {"gains": self.gains_, "offsets": self.offsets_}, x)


def _predicted(boosters: Sequence[Any], x: np.ndarray) -> np.ndarray:
    """What each booster predicts for features [A, F]: [A, B]."""
    import xgboost

    data = xgboost.DMatrix(x)
    return np.stack([booster.predict(data) for booster in boosters], axis=1)


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
