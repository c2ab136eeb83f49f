"""A shaped network as a pure function in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError, Op
from measure.builders.weights import BN_EPSILON


def build_jax(network: Network, weights: Weights) -> Callable[[jax.Array], jax.Array]:
    """A function of a batch [batch, channels, height, width]; weights are constants in it, which XLA may fold."""
    inputs = network.sources()

    def forward(x: jax.Array) -> jax.Array:
        values: list[jax.Array] = []
        for node, (op, sources) in enumerate(zip(network.ops, inputs, strict=True)):
            operands = [values[source] for source in sources] or [x]
            values.append(_compute(op, operands, weights.get(node, {})))
        return values[-1]

    return forward


_SIMPLE: dict[str, Callable[..., jax.Array]] = {
    "input": lambda x: x,
    "add": jnp.add,
    "mul": jnp.multiply,
    "concat": lambda *xs: jnp.concatenate(xs, axis=1),
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hswish": jax.nn.hard_swish,
    "hsigmoid": jax.nn.hard_sigmoid,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
}


def _compute(op: Op, operands: list[jax.Array], w: dict[str, np.ndarray]) -> jax.Array:
    x, a = operands[0], op.attrs
    if op.kind in _SIMPLE:
        return _SIMPLE[op.kind](*operands)
    if op.kind == "zero":
        return jnp.zeros((len(x), *a["shape"]))
    if op.kind == "conv":
        y = lax.conv_general_dilated(x, jnp.asarray(w["weight"]), **_window(op), feature_group_count=a.get("groups", 1))
        return y + w["bias"][:, None, None] if "bias" in w else y
    if op.kind == "bn":
        scale = w["scale"] / np.sqrt(w["var"] + BN_EPSILON)
        return x * scale[:, None, None] + (w["shift"] - w["mean"] * scale)[:, None, None]
    if op.kind == "max_pool":
        return _pool(x, op, -np.inf, lax.max)
    if op.kind == "avg_pool":
        counted = jnp.ones_like(x[:1, :1])
        size = np.prod(pair(a["kernel"])) if a.get("include_pad") else _pool(counted, op, 0.0, lax.add)
        return _pool(x, op, 0.0, lax.add) / size
    if op.kind == "global_avg_pool":
        return x.mean((2, 3)).reshape(len(x), *a["shape"])
    if op.kind == "dense":
        return x.reshape(len(x), -1) @ w["weight"].T + w.get("bias", 0)
    if op.kind == "pad":
        top, left, bottom, right = pads(a["pad"])
        return lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 0), (top, bottom, 0), (left, right, 0)))
    if op.kind == "truncate":
        return x[:, : a["shape"][0]]
    if op.kind == "shuffle":
        return x.reshape(len(x), a["groups"], -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
    raise InputError(f"JAX functions are not built for the op '{op.kind}'; run the ONNX file with ort instead.")


def _window(op: Op) -> dict[str, Any]:
    top, left, bottom, right = pads(op.attrs.get("pad", 0))
    return {
        "window_strides": pair(op.attrs.get("stride", 1)),
        "padding": ((top, bottom), (left, right)),
        "rhs_dilation": pair(op.attrs.get("dilation", 1)),
    }


def _pool(x: jax.Array, op: Op, start: float, combine: Callable[..., Any]) -> jax.Array:
    window = _window(op)
    return lax.reduce_window(
        x,
        start,
        combine,
        (1, 1, *pair(op.attrs["kernel"])),
        (1, 1, *window["window_strides"]),
        ((0, 0), (0, 0), *window["padding"]),
        window_dilation=(1, 1, *window["rhs_dilation"]),
    )
