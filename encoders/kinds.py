"""Whole networks as totals by kind of op: what trees and lines learn networks of any kinds from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.architectures import Op
from datasets.networks.collection import AnyNetwork, OfNetworks
from datasets.networks.network import Network
from datasets.networks.ops import FOLDED, ITEM, VIEWS, macs, pair, param_bytes, params, tensor_bytes
from datasets.networks.parts import entries
from datasets.records import Architectures, InputError, Networks, Space
from encoders.base import VectorEncoder
from encoders.columns import ColumnVector

GROUPS = ("stem", "conv3", "strided", "conv", "pointwise", "strided_pointwise", "grouped", "depthwise",
          "wide_depthwise", "dense", "varying", "product", "batch_norm", "norm", "relu", "silu", "gelu", "stepped",
          "sigmoid", "activation", "softmax", "add", "elementwise", "reduction", "pooling", "view", "transpose",
          "split", "concat", "layout", "other")  # fmt: skip
"""Groups of ops. Convolutions: of images, of 3x3 pixels (of stride 1 or more), of larger windows, of one pixel, in
groups, of one channel each (and windows above 3x3). Products with weights; convolutions whose weights are computed
(normalised, for example); products of two activations. Then ops without multiply-accumulates."""
QUANTITIES = ("macs", "bytes", "weights", "count")
"""Quantities of a group: multiply-accumulates, bytes of activations read and written, bytes of weights, number of ops
with the batch norms and activations that runtimes fold into them."""
WHOLE = ("macs", "activations", "params", "ops", "longest")
"""Quantities of the whole network: multiply-accumulates, elements that ops with multiply-accumulates write, parameters,
number of ops, and number of ops on the longest path."""

_ACTIVATIONS = {
    "relu": "relu", "relu6": "relu", "LeakyRelu": "relu", "Clip": "relu", "silu": "silu", "Gelu": "gelu",
    "hswish": "stepped", "hsigmoid": "stepped", "sigmoid": "sigmoid",
}  # fmt: skip
_OTHERS = {
    "batch_norm": ("bn", "BatchNormalization"),
    "add": ("add", "Add"),
    "elementwise": ("mul", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Abs", "Max", "Min", "Where"),
    "reduction": ("global_avg_pool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"),
    "view": VIEWS,
    "transpose": ("Transpose",),
    "split": ("Split", "Slice"),
    "concat": ("concat", "Concat"),
    "layout": ("pad", "shuffle", "truncate", "Gather", "Expand", "Tile", "Pad", "Resize", "DepthToSpace",
               "SpaceToDepth"),
}  # fmt: skip
_GROUP_OF = _ACTIVATIONS | {kind: group for group, kinds in _OTHERS.items() for kind in kinds}


def group_of(op: Op, in_shape: tuple[int, ...]) -> str:
    """One of `GROUPS`."""
    kind = op.kind
    if kind == "conv":
        return _convolution(op, in_shape)
    if macs(op, in_shape):
        return "varying" if "Conv" in kind else "dense" if params(op, in_shape) else "product"
    if kind in _GROUP_OF:
        return _GROUP_OF[kind]
    if "Normalization" in kind:
        return "norm"
    if "oftmax" in kind:
        return "softmax"
    if "pool" in kind.lower():
        return "pooling"
    return "activation" if kind in FOLDED or params(op, in_shape) == 0 else "other"


def _convolution(op: Op, in_shape: tuple[int, ...]) -> str:
    """The group of a convolution."""
    groups, window, stride = op.attrs.get("groups", 1), max(pair(op.attrs["kernel"])), max(pair(op.attrs["stride"]))
    if groups > 1:
        return "grouped" if groups < in_shape[0] else "depthwise" if window <= 3 else "wide_depthwise"
    if window == 1:
        return "pointwise" if stride == 1 else "strided_pointwise"
    if in_shape[0] <= 4:
        return "stem"
    return "conv" if window != 3 else "conv3" if stride == 1 else "strided"


@dataclass
class KindTotals(VectorEncoder):
    """Totals of networks, by default as logarithms (base two, of 1 + the quantity), else divided by a million.

    Attributes:
        whole: quantities of the whole network, among `WHOLE`.
        groups: also `QUANTITIES` of each of `GROUPS`.
        log: whether they are logarithms.
    """

    whole: tuple[str, ...] = WHOLE
    groups: bool = True
    log: bool = True

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(("macs", "params")), cls(groups=False), cls(log=False)]

    def num_features(self, space: Space) -> int:
        if unknown := [name for name in self.whole if name not in WHOLE]:
            raise InputError(f"There is no total '{unknown[0]}'; there are {', '.join(WHOLE)}.")
        return len(self.whole) + self.groups * len(GROUPS) * len(QUANTITIES)

    def __call__(self, archs: Architectures) -> np.ndarray:
        size = self.num_features(archs.space)
        rows = _KNOWN.get(Networks.of(archs).networks, lambda new: map(totals_by_kind, new))
        table = np.array(rows, float).reshape(len(rows), len(WHOLE) + len(GROUPS) * len(QUANTITIES))
        columns = [WHOLE.index(name) for name in self.whole] + list(range(len(WHOLE), table.shape[1]))
        table = table[:, columns[:size]]
        return (np.log2(1 + table) if self.log else table / 1e6).astype(np.float32)


@dataclass
class KindShares(VectorEncoder):
    """Of what a network consists, however large it is: the shares of each of `GROUPS` in each of `QUANTITIES`, and
    logarithms (base two, of 1 + the number) of the means of an op and of multiply-accumulates per kilobyte.

    The ratio of a network's times on two devices follows these more nearly than totals: a device that is slow at
    depthwise convolutions is so in proportion to their share.
    """

    def num_features(self, space: Space) -> int:
        return (len(GROUPS) + 1) * len(QUANTITIES)

    def __call__(self, archs: Architectures) -> np.ndarray:
        rows = _KNOWN.get(Networks.of(archs).networks, lambda new: map(totals_by_kind, new))
        table = np.array(rows, float).reshape(len(rows), len(WHOLE) + len(GROUPS) * len(QUANTITIES))
        by_group = table[:, len(WHOLE) :].reshape(-1, len(GROUPS), len(QUANTITIES))
        total = by_group.sum(axis=1)
        shares = by_group / np.where(total > 0, total, 1)[:, None]
        macs, moved, _, count = total.T
        means = np.column_stack([total[:, :3] / np.maximum(count, 1)[:, None], 1e3 * macs / np.maximum(moved, 1)])
        return np.concatenate([shares.reshape(len(rows), -1), np.log2(1 + means)], axis=1).astype(np.float32)


@dataclass
class Identity(VectorEncoder):
    """What distinguishes architectures of any space: totals by kind of op of networks of any kinds, and elsewhere
    decisions one-hot and numbers as logarithms."""

    def num_features(self, space: Space) -> int:
        return self._encoder(space).num_features(space)

    def __call__(self, archs: Architectures) -> np.ndarray:
        return self._encoder(archs.space)(archs)

    def _encoder(self, space: Space) -> VectorEncoder:
        return KindTotals() if isinstance(space, AnyNetwork) else ColumnVector(log=True)


_KNOWN = OfNetworks()
"""Totals of networks: the same ones are encoded for every fit and fold."""


def totals_by_kind(network: Network) -> np.ndarray:
    """Quantities of one run [features] in the order of `KindTotals`, for the batch that the network fixes, else 1."""
    batch, sources = network.batch or 1, network.sources()
    size = [tensor_bytes(op, batch) for op in network.ops]
    by_group = np.zeros((len(GROUPS), len(QUANTITIES)))
    whole, depth = dict.fromkeys(WHOLE, 0.0), np.zeros(len(network.ops))
    counts = {entry[0] for entry in entries(network)}
    for node, (op, before) in enumerate(zip(network.ops, sources, strict=True)):
        depth[node] = max(depth[list(before)], default=0) + (node in counts)
        if op.kind in ("input", "zero", ITEM) or not before:
            continue
        in_shape, times = network.shape(before[0]), op.attrs.get("times", 1)
        samples = times if op.attrs.get("whole") else times * batch
        work, weights = samples * macs(op, in_shape), 0 if op.attrs.get("tied") else params(op, in_shape)
        moved = times * (size[node] + sum(size[source] for source in before))
        row = (work, moved, param_bytes(op, in_shape), times * (node in counts))
        by_group[GROUPS.index(group_of(op, in_shape))] += row
        whole["macs"] += work
        whole["params"] += weights
        whole["ops"] += times * (node in counts)
        if work:
            whole["activations"] += samples * math.prod(op.attrs["shape"])
    whole["longest"] = float(depth.max(initial=0))
    return np.concatenate([list(whole.values()), by_group.ravel()])
