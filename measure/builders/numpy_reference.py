"""The reference implementation of a network's output in numpy, for all builders and runtimes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError, Op
from measure.builders.weights import BN_EPSILON


def evaluate(
    network: Network, weights: Weights, x: np.ndarray, observe: Callable[[int, np.ndarray], None] | None = None
) -> np.ndarray:
    """The network's output for a batch `x` [batch, channels, height, width], fp32.

    `observe` is called with every node and its output.
    """
    values: list[np.ndarray] = []
    last_use = {source: target for source, target, _ in sorted(network.edges, key=lambda edge: edge[1])}
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        inputs = [x] if op.kind == "input" else [values[source] for source in sources]
        values.append(_compute(op, inputs, weights.get(node, {}), len(x)))
        if observe is not None:
            observe(node, values[node])
        for source in sources:
            if last_use[source] == node:
                values[source] = np.empty(0)
    return values[-1]


def _compute(op: Op, inputs: list[np.ndarray], w: dict[str, np.ndarray], batch: int) -> np.ndarray:
    if op.kind == "zero":
        return np.zeros((batch, *op.attrs["shape"]), np.float32)
    x = inputs[0]
    if op.kind == "conv":
        return _conv(x, w, op)
    if op.kind == "bn":
        scale = w["scale"] / np.sqrt(w["var"] + BN_EPSILON)
        return (x - w["mean"][:, None, None]) * scale[:, None, None] + w["shift"][:, None, None]
    if op.kind == "avg_pool":
        if op.attrs.get("include_pad"):
            return _windows(x, op).mean((-2, -1))
        return _windows(x, op).sum((-2, -1)) / _windows(np.ones_like(x[:1, :1]), op).sum((-2, -1))
    if op.kind == "max_pool":
        return _windows(x, op, fill=-np.inf).max((-2, -1))
    if op.kind == "concat":
        return np.concatenate(inputs, axis=1)
    if op.kind == "pad":
        top, left, bottom, right = pads(op.attrs["pad"])
        sides = ((0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
        height, width = x.shape[2] + min(bottom, 0), x.shape[3] + min(right, 0)
        return np.pad(x[:, :, max(-top, 0) : height, max(-left, 0) : width], sides)
    if op.kind == "truncate":
        return x[:, : op.attrs["shape"][0]]
    if op.kind == "dense":
        return x.reshape(batch, -1) @ w["weight"].T + w.get("bias", np.float32(0))
    if op.kind == "global_avg_pool":
        return x.mean((-2, -1)).reshape(batch, *op.attrs["shape"])
    if op.kind == "shuffle":
        return x.reshape(batch, op.attrs["groups"], -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
    if op.kind == "softmax":
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    if op.kind in ("sigmoid", "silu"):
        gate = 1 / (1 + np.exp(-x))
        return gate if op.kind == "sigmoid" else x * gate
    simple = {
        "input": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "relu6": lambda: np.clip(x, 0, 6),
        "tanh": lambda: np.tanh(x),
        "hsigmoid": lambda: np.clip(x / 6 + 0.5, 0, 1),
        "hswish": lambda: x * np.clip(x / 6 + 0.5, 0, 1),
        "add": lambda: x + inputs[1],
        "mul": lambda: x * inputs[1],
    }
    if op.kind not in simple:
        raise InputError(f"Networks are not built for the op '{op.kind}'; give the file itself to a runtime.")
    return simple[op.kind]()


def _windows(x: np.ndarray, op: Op, fill: float = 0.0) -> np.ndarray:
    """Sliding windows [batch, channels, out height, out width, kernel height, kernel width] of the padded input."""
    (kh, kw), (sh, sw) = pair(op.attrs["kernel"]), pair(op.attrs.get("stride", 1))
    dh, dw = pair(op.attrs.get("dilation", 1))
    top, left, bottom, right = pads(op.attrs.get("pad", 0))
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    windows = sliding_window_view(padded, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), axis=(2, 3))
    return windows[:, :, ::sh, ::sw, ::dh, ::dw]


def _conv(x: np.ndarray, w: dict[str, np.ndarray], op: Op) -> np.ndarray:
    groups, out = op.attrs.get("groups", 1), op.attrs["shape"][0]
    windows = _windows(x, op).transpose(0, 2, 3, 1, 4, 5)  # channels and kernel last: one product per group
    batch, height, width = windows.shape[:3]
    columns = windows.reshape(batch * height * width, groups, -1).swapaxes(0, 1)
    kernels = w["weight"].reshape(groups, out // groups, -1)
    y = (columns @ kernels.swapaxes(1, 2)).swapaxes(0, 1)  # [pixels, groups, out / groups]
    y = y.reshape(batch, height, width, out).transpose(0, 3, 1, 2)
    return y + w["bias"][:, None, None] if "bias" in w else y
