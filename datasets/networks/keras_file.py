"""A Keras model as a `Model`, layer by layer; channels come first in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.analysis import BN_EPSILON
from datasets.networks.builder import NetworkBuilder, same
from datasets.networks.model import Model, Weights
from datasets.networks.onnx_file import file_key
from datasets.records import InputError

if TYPE_CHECKING:
    import keras

_ACTIVATIONS = {name: name for name in ("relu", "relu6", "sigmoid", "tanh", "silu", "softmax")} | {
    "hard_sigmoid": "hsigmoid",
    "hard_silu": "hswish",
    "hard_swish": "hswish",
    "swish": "silu",
}
_PASSES = ("Dropout", "SpatialDropout2D", "Identity", "Flatten")  # a dense layer reads its input flat


def read_keras(model: keras.Model | Path, batch: int = 1) -> Model:
    """The network of a functional or sequential model, or of a `.keras` file, and its weights, fp32, keyed by node.

    The network's space is `keras`, its key the model's name, or the file's and the first digits of its SHA-256.

    Raises:
        InputError: the file is none, or the model has a layer, a shape or several inputs that are not known here.
    """
    if isinstance(model, Path):
        if not model.is_file():
            raise InputError(f"There is no file {model}.")
        key, model = file_key(model, model.read_bytes()), _load(model)
    else:
        key = model.name
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) not in (2, 4):
        raise InputError(f"The Keras model {key} needs one input (an image or features) and one output.")
    reader = _Reader(key, batch)
    reader.nodes[id(model.inputs[0])] = reader.net.add("input", _first(model.inputs[0].shape[1:]))
    chain = model.layers if type(model).__name__ == "Sequential" else []
    before = model.inputs[0]
    for layer in chain or getattr(model, "operations", model.layers):  # functions of keras.ops too
        if type(layer).__name__ == "InputLayer":
            continue
        if chain:  # loading builds a Sequential twice, and its layers keep the tensors of the first time
            reader.nodes[id(layer.input)] = reader.nodes[id(before)]
            before = layer.output
        reader.add(layer)
    out = reader.nodes[id(before if chain else model.outputs[0])]
    return Model(reader.net.finish("keras", key, out), reader.weights)


def _load(path: Path) -> keras.Model:
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises half a dozen types on damaged or foreign files
        raise InputError(f"{path} is no Keras model, or damaged; save it again with model.save('m.keras').") from error


def _first(shape: Any) -> tuple[int, ...]:
    """(channels, height, width) of (height, width, channels)."""
    if None in shape:
        raise InputError(f"An input of shape {tuple(shape)} leaves a size open; give the model a fixed one.")
    return (int(shape[-1]), *map(int, shape[:-1]))


class _Reader:
    def __init__(self, key: str, batch: int) -> None:
        self.net, self.weights, self.key = NetworkBuilder(batch), Weights(), key
        self.nodes: dict[int, int] = {}

    def add(self, layer: Any) -> None:
        """One layer with the activation that it may hold."""
        kind = type(layer).__name__
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        sources = [self.nodes[id(tensor)] for tensor in inputs]
        read = getattr(self, f"_read_{kind.lower()}", None)
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            read = None
        if kind in _PASSES:
            x = sources[0]
        elif read is None:
            raise InputError(f"The layer '{layer.name}' ({kind}) of {self.key} is not known here; export it to ONNX.")
        else:
            x = read(layer, *sources)
        self.nodes[id(layer.output)] = self._activated(getattr(layer, "activation", None), x)

    def _activated(self, activation: Any, x: int) -> int:
        name = getattr(activation, "__name__", "linear")
        if activation is None or name == "linear":
            return x
        if name not in _ACTIVATIONS:
            raise InputError(f"The activation {name} of {self.key} is not known here; export the model to ONNX.")
        return self.net.pointwise(_ACTIVATIONS[name], x)

    def _read_activation(self, layer: Any, x: int) -> int:
        return x  # `add` puts it behind

    def _read_relu(self, layer: Any, x: int) -> int:
        if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
            raise InputError(f"The layer '{layer.name}' of {self.key} is a ReLU of another kind; export it to ONNX.")
        return self.net.pointwise("relu" if layer.max_value is None else "relu6", x)

    def _read_softmax(self, layer: Any, x: int) -> int:
        return self.net.pointwise("softmax", x)

    def _conv(self, layer: Any, x: int, kernel: np.ndarray, bias: np.ndarray | None, groups: int) -> int:
        """`kernel` [out, in / groups, height, width]."""
        (k, wide), (s, across) = kernel.shape[2:], layer.strides
        if k != wide or s != across or layer.dilation_rate not in (1, (1, 1)):
            raise InputError(f"The layer '{layer.name}' of {self.key} is not square or dilated; export it to ONNX.")
        pad = same(self.net.shape(x), k, s) if layer.padding == "same" else 0
        x = self.net.conv(x, len(kernel), k, s, groups, int(bias is not None), pad)
        self.weights[x] = {"weight": kernel} | ({} if bias is None else {"bias": bias})
        return x

    def _read_conv2d(self, layer: Any, x: int) -> int:
        kernel, *bias = map(np.asarray, layer.get_weights())
        return self._conv(layer, x, kernel.transpose(3, 2, 0, 1), bias[0] if bias else None, layer.groups)

    def _read_depthwiseconv2d(self, layer: Any, x: int) -> int:
        kernel, *bias = map(np.asarray, layer.get_weights())  # [height, width, in, multiplier]
        filters = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
        return self._conv(layer, x, filters, bias[0] if bias else None, kernel.shape[2])

    def _read_separableconv2d(self, layer: Any, x: int) -> int:
        depth, point, *bias = map(np.asarray, layer.get_weights())
        filters = depth.transpose(2, 3, 0, 1).reshape(-1, 1, *depth.shape[:2])
        x = self._conv(layer, x, filters, None, depth.shape[2])
        x = self.net.conv(x, point.shape[3], 1, bias=len(bias))
        self.weights[x] = {"weight": point.transpose(3, 2, 0, 1)} | ({"bias": bias[0]} if bias else {})
        return x

    def _read_batchnormalization(self, layer: Any, x: int) -> int:
        told = dict(zip([v.path.rsplit("/", 1)[-1] for v in layer.weights], layer.get_weights(), strict=True))
        size = self.net.shape(x)[0]
        x = self.net.pointwise("bn", x)
        self.weights[x] = {
            "scale": told.get("gamma", np.ones(size, np.float32)),
            "shift": told.get("beta", np.zeros(size, np.float32)),
            "mean": told["moving_mean"],
            "var": (told["moving_variance"] + np.float32(layer.epsilon - BN_EPSILON)).astype(np.float32),
        }
        return x

    def _pool(self, kind: str, layer: Any, x: int) -> int:
        (k, wide), (s, across) = layer.pool_size, layer.strides
        if k != wide or s != across:
            raise InputError(f"The layer '{layer.name}' of {self.key} is not square; export the model to ONNX.")
        return self.net.pool(kind, x, k, s, same(self.net.shape(x), k, s) if layer.padding == "same" else 0)

    def _read_maxpooling2d(self, layer: Any, x: int) -> int:
        return self._pool("max_pool", layer, x)

    def _read_averagepooling2d(self, layer: Any, x: int) -> int:
        return self._pool("avg_pool", layer, x)

    def _read_globalaveragepooling2d(self, layer: Any, x: int) -> int:
        channels = self.net.shape(x)[0]
        return self.net.add("global_avg_pool", (channels, 1, 1) if layer.keepdims else (channels,), x)

    def _read_dense(self, layer: Any, x: int) -> int:
        kernel, *bias = map(np.asarray, layer.get_weights())  # [features, out], features as height, width, channels
        shape = self.net.shape(x)
        if len(shape) == 3:
            channels, height, width = shape
            kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
        x = self.net.add("dense", (kernel.shape[1],), x, bias=len(bias))
        self.weights[x] = {"weight": np.ascontiguousarray(kernel.T)} | ({"bias": bias[0]} if bias else {})
        return x

    def _read_add(self, layer: Any, x: int, *others: int) -> int:
        for other in others:
            x = self.net.pointwise("add", x, other)
        return x

    def _read_multiply(self, layer: Any, x: int, other: int) -> int:
        pair = sorted((x, other), key=lambda node: -np.prod(self.net.shape(node)))
        return self.net.pointwise("mul", *pair)

    def _read_concatenate(self, layer: Any, *xs: int) -> int:
        return self.net.concat(*xs)

    def _read_zeropadding2d(self, layer: Any, x: int, sign: int = 1) -> int:
        sides = layer.padding if sign > 0 else layer.cropping
        (top, bottom), (left, right) = ((sign * a, sign * b) for a, b in sides)
        channels, height, width = self.net.shape(x)
        shape = (channels, height + top + bottom, width + left + right)
        return self.net.add("pad", shape, x, pad=(top, left, bottom, right))

    def _read_cropping2d(self, layer: Any, x: int) -> int:
        return self._read_zeropadding2d(layer, x, -1)
