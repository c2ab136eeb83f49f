"""Shared parts of builders for runtimes with channels last (TensorFlow, TFLite): geometry, order, constants.

Networks have channels first. Nothing is transposed at run time: weights are stored in the runtime's order, and inputs
and outputs are transposed outside of the timed runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError, Op
from measure.builders.numpy_reference import evaluate

LOWEST = np.finfo(np.float32).min
"""The padding of a maximum, which it never selects."""
Sides = tuple[int, int, int, int]
"""Padding at top, left, bottom and right."""


def to_nhwc(x: np.ndarray) -> np.ndarray:
    """Move the channels of [batch, channels, height, width] last; [batch, features] is unchanged."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def to_nchw(y: np.ndarray) -> np.ndarray:
    """The inverse of `to_nhwc`."""
    return np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y


def shape_nhwc(op: Op, batch: int) -> tuple[int, ...]:
    """Output shape of an op with the batch, channels last."""
    first, *rest = op.attrs["shape"]
    return (batch, *rest, first)


def dense_weight(weight: np.ndarray, in_shape: tuple[int, ...]) -> np.ndarray:
    """A dense layer's weight [out, features] for an input that was flattened with its channels last."""
    if len(in_shape) == 1:
        return weight
    return weight.reshape(-1, *in_shape).transpose(0, 2, 3, 1).reshape(len(weight), -1)


def padding(op: Op, in_shape: tuple[int, ...]) -> tuple[bool, Sides]:
    """Whether a window's padding equals SAME, and the padding without what lies beyond the last window.

    SAME has ceil(size / stride) windows and pads half before and half after, the odd pixel after.
    """
    sizes, kernels = in_shape[1:], pair(op.attrs["kernel"])
    strides, dilations = pair(op.attrs.get("stride", 1)), pair(op.attrs.get("dilation", 1))
    before, outs = pads(op.attrs.get("pad", 0))[:2], op.attrs["shape"][1:]
    reach = [(out - 1) * stride + (k - 1) * dilation + 1
             for out, stride, k, dilation in zip(outs, strides, kernels, dilations, strict=True)]  # fmt: skip
    after = [max(r - size - first, 0) for r, size, first in zip(reach, sizes, before, strict=True)]
    same = all(
        out == -(-size // stride) and first == max(r - size, 0) // 2
        for out, size, stride, first, r in zip(outs, sizes, strides, before, reach, strict=True)
    )
    return same, (before[0], before[1], after[0], after[1])


def window_share(op: Op, in_shape: tuple[int, ...]) -> np.ndarray:
    """Kernel area / pixels of the image under it [1, height, width, 1]: the factor that excludes padding in means."""
    _, (top, left, bottom, right) = padding(op, in_shape)
    image = np.pad(np.ones((1, 1, *in_shape[1:]), np.float32), ((0, 0), (0, 0), (top, bottom), (left, right)))
    pool = Op("avg_pool", {**op.attrs, "pad": 0, "include_pad": 1})
    network = Network("", "", (Op("input", {"shape": image.shape[1:]}), pool), ((0, 1, 0),))
    return 1 / to_nhwc(evaluate(network, {}, image))


def is_depthwise(op: Op, in_channels: int) -> bool:
    """Whether every input channel has its own filters."""
    return op.attrs.get("groups", 1) == in_channels > 1


def lowest_padded(network: Network) -> set[int]:
    """The maxima that have to be padded with the lowest number.

    Those are maxima without SAME padding, except where the input is never negative, so that zeros serve as well.
    """
    low: set[int] = set()
    found: set[int] = set()
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        passes = op.kind in (
            "add",
            "mul",
            "concat",
            "max_pool",
            "avg_pool",
            "global_avg_pool",
            "pad",
            "shuffle",
            "truncate",
        )
        if op.kind in ("relu", "relu6", "sigmoid", "hsigmoid", "softmax", "zero") or (
            passes and low.issuperset(sources)
        ):
            low.add(node)
        elif op.kind == "max_pool":
            same, sides = padding(op, network.ops[sources[0]].attrs["shape"])
            if not same and any(sides):
                found.add(node)
    return found


def refuse_dilated_pool(op: Op) -> None:
    """Refuse a pooling with dilation, which TensorFlow and TFLite do not have."""
    if pair(op.attrs.get("dilation", 1)) != (1, 1):
        raise InputError("TensorFlow and TFLite have no pooling with dilation; run this network with ort or eager.")


def merged_inputs(network: Network, fixed: dict[int, np.ndarray]) -> list[list[int]]:
    """The sources of every op, with the simplifications of every converter.

    Sums with a zero among the `fixed` are replaced by the other term, and duplicates, equal ops without weights on
    equal inputs (such as two branches that begin with a relu), are merged.
    """
    zeros = {node for node, value in fixed.items() if not value.any()}
    first: dict[Any, int] = {}
    representative: list[int] = []
    merged = []
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        merged.append([representative[source] for source in sources])
        mergeable = op.kind not in ("input", "conv", "bn", "dense")
        key = (op.kind, *merged[node], str(sorted(op.attrs.items()))) if mergeable else node
        terms = [source for source in merged[node] if source not in zeros]
        representative.append(terms[0] if op.kind == "add" and len(terms) == 1 else first.setdefault(key, node))
    return merged


def live_nodes(inputs: list[list[int]]) -> set[int]:
    """The nodes whose output reaches the last node; exporters leave out all others."""
    live = {len(inputs) - 1}
    for node in reversed(range(len(inputs))):
        if node in live:
            live.update(inputs[node])
    return live


def constants(network: Network, weights: Weights, batch: int) -> dict[int, np.ndarray]:
    """Values [batch, ...], channels first, of nodes that do not depend on the input; every converter folds them.

    Raises:
        InputError: the output is one of them, so that there is nothing to run.
    """
    fixed: set[int] = set()
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        if op.kind == "zero" or (sources and fixed.issuperset(sources)):
            fixed.add(node)
    if len(network.ops) - 1 in fixed:
        raise InputError(f"'{network.key}' computes a constant, which leaves nothing to run; choose another network.")
    nodes = sorted(fixed)
    place = {node: i for i, node in enumerate(nodes)}
    edges = tuple((place[source], place[target], port) for source, target, port in network.edges if target in fixed)
    part = Network(network.space, network.key, tuple(network.ops[node] for node in nodes), edges)
    values: dict[int, np.ndarray] = {}
    if nodes:
        known = {place[node]: w for node, w in weights.items() if node in fixed}
        evaluate(part, known, np.empty((batch, 0), np.float32), lambda node, value: values.update({nodes[node]: value}))
    return values
