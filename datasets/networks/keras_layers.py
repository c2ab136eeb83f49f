"""Layers of Keras models in the vocabulary; each method `_read_KIND` adds one to a network, channels first.

Tensors of three dimensions, (height, width, channels) in Keras, have their channels first in the network; all others
keep Keras's order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.builder import NetworkBuilder
from datasets.networks.keras_layer import Layer, Tensor, collapsed, out_sides, same_pad
from datasets.networks.model import Weights
from datasets.networks.ops import BN_EPSILON, BYTES
from datasets.records import InputError

_ACTIVATIONS = {name: name for name in ("relu", "relu6", "sigmoid", "tanh", "silu", "softmax")} | {
    "hard_sigmoid": "hsigmoid",
    "hard_silu": "hswish",
    "hard_swish": "hswish",
    "swish": "silu",
}
_OTHERS = {"gelu": "Gelu", "elu": "Elu", "selu": "Selu", "celu": "Celu", "softplus": "Softplus", "softsign": "Softsign",
           "exponential": "Exp", "leaky_relu": "LeakyRelu", "log_softmax": "LogSoftmax", "mish": "Mish",
           "log_sigmoid": "LogSigmoid", "hard_tanh": "Clip", "tanh_shrink": "TanhShrink", "glu": "Glu",
           "squareplus": "Squareplus", "sparse_plus": "SparsePlus", "sparsemax": "Sparsemax"}  # fmt: skip


class LayerReader:
    """Adds layers to a network.

    Args:
        key: of the model, for messages.
        batch: samples per run.
    """

    def __init__(self, key: str, batch: int) -> None:
        self.net, self.weights, self.key = NetworkBuilder(batch), Weights(), key

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape in Keras's order, without the batch."""
        shape = self.net.shape(x.node)
        if x.flat:
            return (math.prod(shape),)
        return (*shape[1:], shape[0]) if len(shape) == 3 else shape

    def put(self, kind: str, shape: tuple[int, ...], *xs: Tensor, **attrs: Any) -> Tensor:
        """Add an op outside of the vocabulary, with a shape in Keras's order; counts of 0 are left out."""
        stored = (shape[-1], *shape[:-1]) if len(shape) == 3 else shape or (1,)
        nodes = [self.net.add("Reshape", self.shape(x), x.node) if x.flat else x.node for x in xs]
        return Tensor(self.net.add(kind, stored, *nodes, **{k: v for k, v in attrs.items() if v}))

    def moved(self, kind: str, shape: tuple[int, ...], x: Tensor) -> Tensor:
        """Add an op that reads as many bytes as its output has."""
        return self.put(kind, shape, x, read_bytes=BYTES * math.prod(shape))

    def activated(self, it: Layer, x: Tensor) -> Tensor:
        """Add the activation of a layer, if it has one."""
        name = it.fields.get("activation")
        if isinstance(name, dict) and name.get("class_name") == "function":
            name = name.get("config")
        if isinstance(name, dict) and name.get("class_name") in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
            inner = Layer(str(name["class_name"]), it.name, dict(name.get("config") or {}), it.model)
            return getattr(self, f"_read_{inner.kind.lower()}")(inner, x)
        if name in (None, "linear"):
            return x
        if isinstance(name, str) and name in _OTHERS:
            return self.put(_OTHERS[name], self.shape(x), x)
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise InputError(
                f"The activation {shortened(name, 60)} of {self.key} is not known here; export the model to ONNX."
            )
        if name == "softmax" and len(self.shape(x)) > 1:
            return self.put("Softmax", self.shape(x), x)
        return Tensor(self.net.pointwise(_ACTIVATIONS[name], x.node), x.flat)

    def image(self, it: Layer, x: Tensor) -> int:
        """The node of an image (channels, height, width); raises `InputError` for other tensors."""
        if x.flat or len(self.net.shape(x.node)) != 3:
            raise it.fault("reads no image")
        return x.node

    def _read_activation(self, it: Layer, x: Tensor) -> Tensor:
        return x  # `_call` adds it

    def _read_flatten(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.net.shape(x.node)
        if x.flat or len(shape) == 3:
            return Tensor(x.node, True)  # a dense layer reads its input flat
        return self.put("Reshape", (math.prod(shape),), x) if len(shape) > 1 else x

    def _read_relu(self, it: Layer, x: Tensor) -> Tensor:
        most, slope = it.fields.get("max_value"), it.fields.get("negative_slope")
        if most in (None, 6) and not slope and not it.fields.get("threshold"):
            return Tensor(self.net.pointwise("relu" if most is None else "relu6", x.node), x.flat)
        return self.put("LeakyRelu" if slope else "Clip", self.shape(x), x)

    def _read_leakyrelu(self, it: Layer, x: Tensor) -> Tensor:
        return self.put("LeakyRelu", self.shape(x), x)

    def _read_elu(self, it: Layer, x: Tensor) -> Tensor:
        return self.put("Elu", self.shape(x), x)

    def _read_prelu(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.shape(x)
        shared = it.axes("shared_axes", len(shape)) if it.fields.get("shared_axes") else []
        held = math.prod(size for i, size in enumerate(shape) if i not in shared)
        return self.put("PRelu", shape, x, params=held)

    def _read_softmax(self, it: Layer, x: Tensor) -> Tensor:
        if it.axes("axis", len(self.shape(x))) == [0] and len(self.shape(x)) == 1:
            return self.activated(it.of(activation="softmax"), x)
        return self.put("Softmax", self.shape(x), x)

    def _conv(self, it: Layer, x: int, out: int, groups: int, bias: int) -> int:
        """A convolution of an image, without its weights."""
        shape = self.net.shape(x)
        k, s, d = (it.numbers(name, 2, 1) for name in ("kernel_size", "strides", "dilation_rate"))
        if shape[0] % groups or out % groups:
            raise it.fault("has channels that cannot be split into its groups")
        same = it.padding() != "valid"
        attrs = {"kernel": collapsed(k), "stride": collapsed(s), "pad": same_pad(shape[1:], k, s, d) if same else 0}
        attrs |= {"groups": groups, "bias": bias} | ({"dilation": collapsed(d)} if set(d) != {1} else {})
        return self.net.add("conv", (out, *out_sides(shape[1:], k, s, d, it.padding())), x, **attrs)

    def _keep(self, x: int, arrays: list[np.ndarray] | None, *names_: str) -> Tensor:
        """The weights of a node; the kernel comes first."""
        if arrays is not None:
            self.weights[x] = dict(zip(names_, map(np.ascontiguousarray, arrays), strict=False))
        return Tensor(x)

    def _read_conv2d(self, it: Layer, x: Tensor) -> Tensor:
        node, out, groups, bias = self.image(it, x), it.number("filters"), it.number("groups", 1), it.flag("use_bias")
        y = self._conv(it, node, out, groups, bias)
        arrays = it.read((*it.numbers("kernel_size", 2), self.net.shape(node)[0] // groups, out), *[(out,)] * bias)
        return self._keep(y, arrays and [arrays[0].transpose(3, 2, 0, 1), *arrays[1:]], "weight", "bias")

    def _read_depthwiseconv2d(self, it: Layer, x: Tensor, *, more: tuple[tuple[int, ...], ...] = ()) -> Tensor:
        """A convolution per channel; `more` are shapes of a layer's further weights, of which it is a part."""
        node, times = self.image(it, x), it.number("depth_multiplier", 1)
        channels, bias = self.net.shape(node)[0], 0 if more else it.flag("use_bias")
        y = self._conv(it, node, channels * times, channels, bias)
        arrays = it.read((*it.numbers("kernel_size", 2), channels, times), *[(channels * times,)] * bias, *more)
        if arrays:  # [in * multiplier, 1, height, width] of [height, width, in, multiplier]
            arrays[0] = arrays[0].transpose(2, 3, 0, 1).reshape(-1, 1, *arrays[0].shape[:2])
        return self._keep(y, arrays, "weight", *(["bias"] if not more else ["point", "bias"]))

    def _read_separableconv2d(self, it: Layer, x: Tensor) -> Tensor:
        out, bias = it.number("filters"), it.flag("use_bias")
        middle = self.net.shape(self.image(it, x))[0] * it.number("depth_multiplier", 1)
        y = self._read_depthwiseconv2d(it, x, more=((1, 1, middle, out), *[(out,)] * bias))
        arrays = self.weights.get(y.node)
        y = Tensor(self.net.conv(y.node, out, 1, bias=bias))
        if arrays is not None:
            point = arrays.pop("point").transpose(3, 2, 0, 1)
            self._keep(y.node, [point, *([arrays.pop("bias")] if bias else [])], "weight", "bias")
        return y

    def _read_batchnormalization(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.shape(x)
        axis, on = it.axes("axis", len(shape)), [it.flag("scale"), it.flag("center")]
        if axis != [len(shape) - 1] or x.flat or len(shape) not in (1, 3) or it.fields.get("renorm"):
            held = math.prod(shape[i] for i in axis) * sum(on)
            return self.put("BatchNormalization", shape, x, params=held)
        size = shape[-1]
        epsilon = it.fields.get("epsilon", 1e-3)
        if not isinstance(epsilon, float | int) or not 0 <= epsilon < 1:
            raise it.fault("has no epsilon from 0 to 1")
        kept = [name for name, there in zip(("scale", "shift"), on, strict=True) if there]
        y = self.net.pointwise("bn", x.node, **{name: 0 for name in ("scale", "shift") if name not in kept})
        arrays = it.read(*[(size,)] * (len(kept) + 2))
        if arrays is not None:
            ones = {"scale": np.ones(size, np.float32), "shift": np.zeros(size, np.float32)}
            self.weights[y] = ones | dict(zip([*kept, "mean", "var"], arrays, strict=True))
            self.weights[y]["var"] = (arrays[-1] + np.float32(epsilon - BN_EPSILON)).astype(np.float32)
        return Tensor(y)

    def _pool(self, kind: str, it: Layer, x: Tensor) -> Tensor:
        node, k = self.image(it, x), it.numbers("pool_size", 2, 2)
        s = it.numbers("strides", 2) if it.fields.get("strides") is not None else k
        shape, once = self.net.shape(node), (1, 1)
        attrs = {"kernel": collapsed(k), "stride": collapsed(s)}
        attrs["pad"] = same_pad(shape[1:], k, s, once) if it.padding() == "same" else 0
        return Tensor(self.net.add(kind, (shape[0], *out_sides(shape[1:], k, s, once, it.padding())), node, **attrs))

    def _read_maxpooling2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._pool("max_pool", it, x)

    def _read_averagepooling2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._pool("avg_pool", it, x)

    def _read_globalaveragepooling2d(self, it: Layer, x: Tensor) -> Tensor:
        node = self.image(it, x)
        channels = self.net.shape(node)[0]
        shape = (channels, 1, 1) if it.fields.get("keepdims") else (channels,)
        return Tensor(self.net.add("global_avg_pool", shape, node))

    def _read_dense(self, it: Layer, x: Tensor) -> Tensor:
        """A dense layer for a row of features, a convolution for the channels of an image, a MatMul for sequences."""
        shape, units, bias = self.shape(x), it.number("units"), it.flag("use_bias")
        if len(shape) not in (1, 3):
            return self.linear(x, units, bias)
        arrays = it.read((shape[-1], units), *[(units,)] * bias)  # features as height, width, channels
        if len(shape) == 3:
            y = self.net.conv(x.node, units, 1, bias=bias)
            return self._keep(y, arrays and [arrays[0].T[:, :, None, None], *arrays[1:]], "weight", "bias")
        y = self.net.add("dense", (units,), x.node, bias=bias)
        if arrays is not None and x.flat:
            channels, height, width = self.net.shape(x.node)
            kernel = arrays[0].reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(shape[0], -1)
            arrays = [kernel, *arrays[1:]]
        return self._keep(y, arrays and [arrays[0].T, *arrays[1:]], "weight", "bias")

    def linear(self, x: Tensor, units: int, bias: int) -> Tensor:
        """A matrix product of the last axis with parameters, and an Add of the bias."""
        shape = self.shape(x)
        out = (*shape[:-1], units)
        y = self.put("MatMul", out, x, params=shape[-1] * units, macs=math.prod(shape) * units)
        return self.put("Add", out, y, params=units) if bias else y

    def _read_zeropadding2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._padded(it, x, it.pairs("padding", 2), 1)

    def _read_cropping2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._padded(it, x, it.pairs("cropping", 2), -1)

    def _padded(self, it: Layer, x: Tensor, pairs: list[tuple[int, int]], sign: int) -> Tensor:
        node = self.image(it, x)
        (top, bottom), (left, right) = ((sign * first, sign * last) for first, last in pairs)
        channels, height, width = self.net.shape(node)
        shape = (channels, height + top + bottom, width + left + right)
        return Tensor(self.net.add("pad", shape, node, pad=(top, left, bottom, right)))
