"""A shaped network as a Keras 3 model on TensorFlow, channels last."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError, Op
from measure.builders.nhwc import (
    LOWEST,
    constants,
    dense_weight,
    is_depthwise,
    live_nodes,
    lowest_padded,
    padding,
    refuse_dilated_pool,
    shape_nhwc,
    to_nhwc,
    window_share,
)
from measure.builders.weights import BN_EPSILON
from measure.silence import fix_xla_threads, quiet

if TYPE_CHECKING:
    import keras

_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "hswish": "hard_silu",
    "hsigmoid": "hard_sigmoid",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "silu": "silu",
}

_NAME = {True: "same", False: "valid"}


def tensorflow(threads: int | None = None) -> ModuleType:
    """TensorFlow, silenced and restricted to a number of threads, which is possible only before it has computed.

    Args:
        threads: by default as many as before, and at first one.

    Raises:
        InputError: TensorFlow has computed with another number of threads in this process.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "jax" not in sys.modules:
        fix_xla_threads(threads or 1)
    with quiet():
        import tensorflow as tf

    threads = threads or tf.config.threading.get_intra_op_parallelism_threads() or 1
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise InputError(
            "TensorFlow was already computing with another number of threads in this process; start a new one to "
            "measure."
        ) from error
    return tf


def read_model(file: Path) -> keras.Model:
    """The model in a .keras file, which `datasets.networks.keras_file` has accepted: it holds no code."""
    import keras

    return keras.saving.load_model(file, compile=False)


def in_order(model: keras.Model, values: Sequence[Any]) -> Any:
    """The argument of a model's call with values of all inputs, in the order of `model.inputs`."""
    import keras

    return values[0] if len(values) == 1 else keras.tree.pack_sequence_as(model.input, list(values))


def uncompiled(file: Path) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """A function that computes the outputs of a .keras file from its inputs, op by op."""
    tf = tensorflow()
    import keras

    with quiet():
        model = read_model(file)

    def compute(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = in_order(model, [tf.constant(x) for x in inputs])
        return [np.asarray(y) for y in keras.tree.flatten(model(values, training=False))]

    return compute


def build_keras(network: Network, weights: Weights, batch: int = 1) -> keras.Model:
    """The functional model with a fixed batch: [batch, height, width, channels] in and out, or [batch, features].

    Batch norms are separate layers. Ops that never reach the output are left out.
    """
    tensorflow()
    import keras

    live, fixed, lowest = live_nodes(network.sources()), constants(network, weights, batch), lowest_padded(network)
    values: dict[int, Any] = {node: to_nhwc(value) for node, value in fixed.items()}
    x = keras.Input(batch_shape=shape_nhwc(network.ops[0], batch))
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        if op.kind == "input":
            values[node] = x
        elif node in live and node not in fixed:
            operands = [values[source] for source in sources]
            in_shape = network.ops[sources[0]].attrs["shape"]
            values[node] = _apply(op, operands, in_shape, weights.get(node, {}), node in lowest)
    return keras.Model(x, values[len(network.ops) - 1])


def _apply(op: Op, operands: list[Any], in_shape: tuple[int, ...], w: dict, lowest: bool) -> Any:
    """Apply an op to its inputs; with `lowest`, a maximum is padded with the lowest number."""
    import keras

    x, layers = operands[0], keras.layers
    if op.kind in ("add", "mul", "concat"):
        if op.kind == "concat":
            return keras.ops.concatenate(operands, axis=-1)
        return (keras.ops.add if op.kind == "add" else keras.ops.multiply)(*operands)
    if op.kind == "conv":
        return _conv(op, x, in_shape, w)
    if op.kind in ("max_pool", "avg_pool"):
        return _pool(op, x, in_shape, lowest)
    if op.kind == "pad":
        top, left, bottom, right = pads(op.attrs["pad"])
        x = layers.Cropping2D(((max(-top, 0), max(-bottom, 0)), (max(-left, 0), max(-right, 0))))(x)
        return _pad(x, (max(top, 0), max(left, 0), max(bottom, 0), max(right, 0)))
    if op.kind == "truncate":
        return x[..., : op.attrs["shape"][0]]
    if op.kind == "shuffle":
        channels, height, width = in_shape
        groups = op.attrs["groups"]
        x = layers.Reshape((height * width, groups, channels // groups))(x)
        return layers.Reshape((height, width, channels))(layers.Permute((1, 3, 2))(x))
    if op.kind == "global_avg_pool":
        return layers.GlobalAveragePooling2D(keepdims=len(op.attrs["shape"]) == 3)(x)
    if op.kind == "softmax":
        return layers.Softmax(axis=-1)(x)
    if op.kind == "bn":
        return _with(
            layers.BatchNormalization(epsilon=BN_EPSILON), x, [w[key] for key in ("scale", "shift", "mean", "var")]
        )
    if op.kind == "dense":
        x = layers.Flatten()(x) if len(in_shape) == 3 else x
        layer = layers.Dense(op.attrs["shape"][0], use_bias="bias" in w, kernel_initializer="zeros")
        return _with(layer, x, [dense_weight(w["weight"], in_shape).T, *([w["bias"]] if "bias" in w else [])])
    if op.kind not in _ACTIVATIONS:
        raise InputError(f"Keras models are not built for the op '{op.kind}'; run the ONNX file with ort instead.")
    return layers.Activation(_ACTIVATIONS[op.kind])(x)


def _with(layer: keras.Layer, x: Any, weights: list[np.ndarray]) -> Any:
    y = layer(x)
    layer.set_weights(weights)
    return y


def _pad(x: Any, sides: tuple[int, int, int, int]) -> Any:
    import keras

    top, left, bottom, right = sides
    return keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(x) if any(sides) else x


def _conv(op: Op, x: Any, in_shape: tuple[int, ...], w: dict) -> Any:
    import keras

    same, sides = padding(op, in_shape)
    a, kernel = op.attrs, w["weight"].transpose(2, 3, 1, 0)
    stride, dilation = pair(a.get("stride", 1)), pair(a.get("dilation", 1))
    if max(stride) > 1 and max(dilation) > 1:
        raise InputError("Keras has no convolution with both stride and dilation; run this network with litert or ort.")
    window = {"strides": stride, "padding": _NAME[same], "dilation_rate": dilation, "use_bias": "bias" in w}
    x = x if same else _pad(x, sides)
    bias = [w["bias"]] if "bias" in w else []
    if is_depthwise(op, in_shape[0]) and stride[0] == stride[1]:
        multiplier = a["shape"][0] // in_shape[0]
        depthwise = keras.layers.DepthwiseConv2D(
            pair(a["kernel"]), depth_multiplier=multiplier, depthwise_initializer="zeros", **window
        )
        return _with(depthwise, x, [kernel.reshape(*kernel.shape[:2], in_shape[0], multiplier), *bias])
    layer = keras.layers.Conv2D(
        a["shape"][0], pair(a["kernel"]), groups=a.get("groups", 1), kernel_initializer="zeros", **window
    )
    return _with(layer, x, [kernel, *bias])


def _pool(op: Op, x: Any, in_shape: tuple[int, ...], lowest: bool) -> Any:
    """Apply a pooling: SAME means exclude padding, like the network's; maxima are padded with the lowest number."""
    import keras

    refuse_dilated_pool(op)
    same, sides = padding(op, in_shape)
    window = {"pool_size": pair(op.attrs["kernel"]), "strides": pair(op.attrs.get("stride", 1))}
    top, left, bottom, right = sides
    include = bool(op.attrs.get("include_pad"))
    same = same and not include
    if lowest:
        x = keras.ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=float(LOWEST))
    elif not same:
        x = _pad(x, sides)
    if op.kind == "max_pool":
        return keras.layers.MaxPooling2D(padding=_NAME[same], **window)(x)
    x = keras.layers.AveragePooling2D(padding=_NAME[same], **window)(x)
    return x if same or include or not any(sides) else keras.ops.multiply(x, window_share(op, in_shape))
