"""Checks of saved boosters (UBJSON, https://ubjson.org) before XGBoost reads them: it trusts every number, and an index
outside of a tree ends the process."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

MOST_FEATURES = 1_000_000
MOST_VALUES = 1_000_000
"""Largest number of values in a booster; a tree has about 20."""
MOST_NESTED = 12

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CHECKED = ("left_children", "right_children", "split_conditions", "split_indices", "split_type")
_OF_NODES = (*_CHECKED, "base_weights", "default_left", "loss_changes", "parents", "sum_hessian")
_EMPTY = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check_booster(content: bytes) -> None:
    """Raise one of `checkpoint.DAMAGE` unless content is a valid booster of trees of one output."""
    reader = _Reader(content)
    booster = reader.value()
    learner = booster["learner"]
    model, shape = learner["gradient_booster"]["model"], learner["learner_model_param"]
    trees, features = model["trees"], int(shape["num_feature"])
    counts = int(model["gbtree_model_param"]["num_trees"]), int(model["gbtree_model_param"]["num_parallel_tree"])
    if reader.at != len(content) or learner["gradient_booster"]["name"] != "gbtree" or counts != (len(trees), 1):
        raise ValueError("no trees, or another number than stated")
    if (shape["num_class"], shape["num_target"]) != ("0", "1") or not 0 < features <= MOST_FEATURES:
        raise ValueError("another number of outputs or features")
    if list(model["iteration_indptr"]) != list(range(len(trees) + 1)) or np.any(np.array(model["tree_info"]) != 0):
        raise ValueError("trees of other rounds or outputs")
    if len(model["tree_info"]) != len(trees) or any(len(part) for part in model["cats"].values()):
        raise ValueError("trees of other outputs, or categories")
    for number, tree in enumerate(trees):
        size, stated = len(tree["left_children"]), tree["tree_param"]
        if not size or any(len(tree[name]) != size for name in _OF_NODES) or any(len(tree[name]) for name in _EMPTY):
            raise ValueError(f"tree {number} has parts of different sizes")
        if tree["id"] != number or (stated["num_nodes"], stated["size_leaf_vector"]) != (str(size), "1"):
            raise ValueError(f"tree {number} has another number of nodes than stated")
    if trees:
        _check_nodes({name: np.concatenate([tree[name] for tree in trees]) for name in _CHECKED},
                     np.array([len(tree["left_children"]) for tree in trees]), features)  # fmt: skip


def read_trees(content: bytes) -> list[dict[str, np.ndarray]]:
    """Arrays of the nodes of each tree of a booster of ours, by XGBoost's names; leaves have -1 as children, and their
    values as `split_conditions`."""
    found = _Reader(content, most=10**9).value()
    trees: list[dict[str, np.ndarray]] = found["learner"]["gradient_booster"]["model"]["trees"]
    return trees


def _check_nodes(nodes: dict[str, np.ndarray], sizes: np.ndarray, features: int) -> None:
    """Check that every node has no child, or two that follow it and have no other parent.

    Args:
        nodes: arrays of all trees, concatenated.
        sizes: number of nodes per tree.
        features: number of features.
    """
    first, size = np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)
    left, right, feature = nodes["left_children"], nodes["right_children"], nodes["split_indices"]
    inner, place = left != -1, np.arange(len(left)) - first
    children = np.stack([left, right])[:, inner]
    if (right[~inner] != -1).any() or (children <= place[inner]).any() or (children >= size[inner]).any():
        raise ValueError("a node has children that are not among those after it")
    if len(np.unique(children + first[inner])) != children.size or not ((feature >= 0) & (feature < features)).all():
        raise ValueError("a node has two parents, or an unknown feature")
    if nodes["split_type"].any() or not np.isfinite(nodes["split_conditions"]).all():
        raise ValueError("a node splits by a category, or by a number that is not finite")


class _Reader:
    """Reads nested UBJSON values in order; typed arrays become numpy arrays."""

    def __init__(self, content: bytes, most: int = MOST_VALUES) -> None:
        self.content, self.at, self.left = content, 0, most

    def take(self, size: int) -> bytes:
        """Read the next `size` bytes."""
        if not 0 <= size <= len(self.content) - self.at:
            raise ValueError(f"a value at {self.at} ends after the file")
        self.at += size
        return self.content[self.at - size : self.at]

    def value(self, depth: int = 0) -> Any:
        """Read the next value."""
        kind, self.left = chr(self.take(1)[0]), self.left - 1
        if self.left < 0 or depth > MOST_NESTED:
            raise ValueError("too many values, or nested too deeply")
        if kind in _NUMBERS:
            return self.numbers(kind, 1)[0].item()
        if kind == "S":
            return self.take(self.length()).decode()
        if kind == "{":
            return self.object(depth)
        if kind == "[":
            return self.array(depth)
        raise ValueError(f"'{kind}' is not among what XGBoost writes")

    def length(self) -> int:
        kind, size = struct.unpack(">cq", self.take(9))
        if kind != b"L":
            raise ValueError(f"no length before {self.at}")
        return size

    def numbers(self, kind: str, size: int) -> np.ndarray:
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(size * dtype.itemsize), dtype)

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.content[self.at : self.at + 1] != b"}":
            key = self.take(self.length()).decode()
            if key in found:
                raise ValueError(f"'{key}' twice")
            found[key] = self.value(depth + 1)
        self.at += 1
        return found

    def array(self, depth: int) -> Any:
        start = self.take(1)
        kind = chr(self.take(1)[0]) if start == b"$" else ""
        if (self.take(1) if kind else start) != b"#":
            raise ValueError(f"an array without a length before {self.at}")
        size = self.length()
        return self.numbers(kind, size) if kind else [self.value(depth + 1) for _ in range(size)]
