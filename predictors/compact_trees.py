"""Boosted trees in few bytes, which numpy evaluates: files that hold them need no XGBoost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from datasets.files.checkpoint import array
from datasets.records import InputError
from predictors.base import Log
from predictors.boosters import read_trees
from predictors.regressor import Inputs
from predictors.trees import XGBoost

NEVER = np.finfo(np.float32).max
"""Threshold of nodes that fill a tree up to its depth; features are below it."""
DEEPEST = 10
MOST_CUTS = 1_000_000


@dataclass
class CompactTrees(XGBoost):
    """`XGBoost` with another form of the trees: complete trees, whose nodes are indices of a list of cuts, and leaves
    of 16 bits.

    A tree of depth 5 has 126 bytes, a twentieth of what XGBoost writes. Predictions differ from XGBoost's by the
    rounding of leaves, some 1e-4 of the labels' deviation. Few architectures are predicted as fast as by XGBoost,
    whole spaces several times slower.

    Attributes:
        features_, thresholds_: of all cuts [C]; `x` at or above its threshold is on the right side of a cut.
        nodes_: index of the cut of each inner node, level by level [D, T, 2^depth - 1]; shared trees come last.
        leaves_: values of leaves in units of `steps_` [D, T, 2^depth]; likewise.
    """

    features_: np.ndarray = field(init=False, repr=False, compare=False)
    thresholds_: np.ndarray = field(init=False, repr=False, compare=False)
    nodes_: np.ndarray = field(init=False, repr=False, compare=False)
    leaves_: np.ndarray = field(init=False, repr=False, compare=False)
    steps_: np.ndarray = field(init=False, repr=False, compare=False)

    chunk: ClassVar[int] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth > DEEPEST:
            raise InputError(f"Complete trees have a depth of at most {DEEPEST}, not {self.depth}; use XGBoost.")

    def learn(self, x: Inputs, z: np.ndarray, val: tuple[Inputs, np.ndarray] | None, log: Log) -> None:
        super().learn(x, z, val, log)
        forests = [
            [_complete(tree, self.depth) for tree in read_trees(bytes(b.save_raw("ubj")))] for b in self.boosters_
        ]
        del self.boosters_
        features, thresholds, leaves = (np.array([[tree[i] for tree in trees] for trees in forests]) for i in range(3))
        cuts = np.stack([features.ravel().astype(float), thresholds.ravel().astype(float)], axis=1)
        unique, index = np.unique(cuts, axis=0, return_inverse=True)
        self.features_, self.thresholds_ = unique[:, 0].astype(np.int16), unique[:, 1].astype(np.float32)
        self.nodes_ = index.reshape(features.shape).astype(np.int16 if len(unique) < 2**15 else np.int32)
        self.steps_ = np.maximum(np.abs(leaves).max(axis=(1, 2)), 1e-30) / (2**15 - 1)
        self.leaves_ = np.rint(leaves / self.steps_[:, None, None]).astype(np.int16)

    def forward(self, x: Inputs) -> np.ndarray:
        right = x["x"][:, self.features_] >= self.thresholds_
        rows, (_, trees, inner) = np.arange(len(right))[:, None], self.nodes_.shape
        starts = np.arange(trees)
        found = np.empty((len(right), len(self.steps_)))
        for column, (nodes, leaves, step) in enumerate(zip(self.nodes_, self.leaves_, self.steps_, strict=True)):
            at = np.zeros((len(right), trees), np.int64)
            for _ in range((inner + 1).bit_length() - 1):
                at = 2 * at + 1 + right[rows, nodes.ravel()[at + starts * inner]]
            found[:, column] = leaves.ravel()[at - inner + starts * (inner + 1)].sum(axis=1, dtype=np.int64) * step
        return self._summed(found)

    def state(self) -> dict[str, Any]:
        names = ("features", "thresholds", "nodes", "leaves", "steps")
        return {**{name: getattr(self, f"{name}_") for name in names}, **self._levels()}

    def restore(self, state: dict[str, Any]) -> None:
        forests = self._restore_levels(state)
        self.thresholds_, self.steps_ = array(state["thresholds"], None), array(state["steps"], forests)
        self.features_ = array(state["features"], len(self.thresholds_), kind="i")
        rounds = self._rounds(forests - len(self.scale.mean_))
        self.nodes_ = array(state["nodes"], forests, rounds, 2**self.depth - 1, kind="i")
        self.leaves_ = array(state["leaves"], forests, rounds, 2**self.depth, kind="i")
        if len(self.thresholds_) > MOST_CUTS or not (self.features_ >= 0).all():
            raise ValueError("too many cuts, or a feature before the first")
        if not ((self.nodes_ >= 0) & (self.nodes_ < len(self.thresholds_))).all():
            raise ValueError("a node has no cut")

    def to_onnx(self, x: Inputs) -> Any:
        """ONNX model with one tree ensemble per device, and behind them those of shared trees."""
        return self._model([self._node(forest) for forest in range(len(self.steps_))], x)

    def _node(self, forest: int) -> Any:
        """ONNX node from `x` to `z_FOREST` [batch, 1]."""
        from onnx import helper

        _, trees, inner = self.nodes_.shape
        count = 2 * inner + 1
        number = np.arange(count)
        split = number < inner
        cut = np.zeros((trees, count), np.int64)
        cut[:, :inner] = self.nodes_[forest]
        tree, leaf = np.arange(trees), number[~split]
        lists = {
            "nodes_treeids": np.repeat(tree, count),
            "nodes_nodeids": np.tile(number, trees),
            "nodes_featureids": np.where(split, self.features_[cut], 0).ravel(),
            "nodes_truenodeids": np.tile(np.where(split, 2 * number + 1, 0), trees),
            "nodes_falsenodeids": np.tile(np.where(split, 2 * number + 2, 0), trees),
            "nodes_values": np.where(split, self.thresholds_[cut], 0).ravel().astype(float),
            "target_treeids": np.repeat(tree, len(leaf)),
            "target_nodeids": np.tile(leaf, trees),
            "target_ids": np.zeros(trees * len(leaf), int),
            "target_weights": (self.leaves_[forest] * self.steps_[forest]).ravel(),
        }
        return helper.make_node(
            "TreeEnsembleRegressor", ["x"], [f"z_{forest}"], f"trees_{forest}", domain="ai.onnx.ml", n_targets=1,
            nodes_modes=["BRANCH_LT" if part else "LEAF" for part in split] * trees,
            **{name: values.tolist() for name, values in lists.items()},
        )  # fmt: skip


def _complete(tree: dict[str, np.ndarray], depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tree of XGBoost filled up to a depth: features and thresholds [2^depth - 1], and leaves [2^depth]."""
    left, right = tree["left_children"].astype(int), tree["right_children"].astype(int)
    features, thresholds = np.zeros(0, int), np.zeros(0, np.float32)
    level = np.zeros(1, int)
    for _ in range(depth):
        inner = left[level] != -1
        features = np.append(features, np.where(inner, tree["split_indices"][level], 0))
        thresholds = np.append(thresholds, np.where(inner, tree["split_conditions"][level], NEVER))
        level = np.stack([np.where(inner, left[level], level), np.where(inner, right[level], level)], 1).ravel()
    return features, thresholds, tree["split_conditions"][level]
