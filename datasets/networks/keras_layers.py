"""Single layers of Keras models as ops: each `_read_KIND` adds a layer of that kind to a network, channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.builder import NetworkBuilder, same
from datasets.networks.model import Weights
from datasets.networks.ops import BN_EPSILON
from datasets.records import InputError

LARGEST = 2**20
"""Most channels, and longest side or kernel."""

_ACTIVATIONS = {name: name for name in ("relu", "relu6", "sigmoid", "tanh", "silu", "softmax")} | {
    "hard_sigmoid": "hsigmoid",
    "hard_silu": "hswish",
    "hard_swish": "hswish",
    "swish": "silu",
}

Arrays = Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]]
"""The weights of a layer, whose shapes are given."""


@dataclass(frozen=True)
class Tensor:
    """A node, and whether its (channels, height, width) count as one row of features."""

    node: int
    flat: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer of a configuration, with checked access to its fields."""

    kind: str
    name: str
    fields: Mapping[str, Any]
    model: str
    arrays: Arrays | None = None

    def fault(self, what: str) -> InputError:
        name, kind = shortened(self.name, 60), shortened(self.kind, 60)
        return InputError(f"The layer '{name}' ({kind}) of {self.model} {what}; export it to ONNX.")

    def number(self, field: str, default: int | None = None, low: int = 1) -> int:
        """An integer in range."""
        value = self.fields.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= LARGEST:
            raise self.fault(f"has no {field} from {low} to {LARGEST:,}")
        return value

    def square(self, field: str, default: int | None = None) -> int:
        """One number for height and width."""
        value = self.fields.get(field, default)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        elif isinstance(value, list):
            raise self.fault(f"is not square or dilated ({field})")
        if value is None and default is None:
            raise self.fault(f"has no {field}")
        return Layer(self.kind, self.name, {field: value}, self.model).number(field)

    def padding(self) -> bool:
        """Whether sides are kept ("same")."""
        if self.fields.get("padding", "valid") not in ("same", "valid"):
            raise self.fault("has an unknown padding")
        return self.fields.get("padding") == "same"

    def read(self, *shapes: tuple[int, ...]) -> list[np.ndarray] | None:
        """Its weights of these shapes, None if they are not read."""
        if self.arrays is None:
            return None
        found = self.arrays(shapes)
        if [value.shape for value in found] != list(shapes):
            raise self.fault("has weights of other shapes than its configuration says")
        return found


class LayerReader:
    """Adds layers to a network.

    Args:
        key: of the model, for sentences.
        batch: samples per run.
    """

    def __init__(self, key: str, batch: int) -> None:
        self.net, self.weights, self.key = NetworkBuilder(batch), Weights(), key

    def activated(self, it: Layer, x: Tensor) -> Tensor:
        name = it.fields.get("activation")
        if isinstance(name, dict) and name.get("class_name") == "function":
            name = name.get("config")
        if name in (None, "linear"):
            return x
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise InputError(
                f"The activation {shortened(name, 60)} of {self.key} is not known here; export the model to ONNX."
            )
        if name == "softmax" and (x.flat or len(self.net.shape(x.node)) > 1):
            raise it.fault("has a softmax of images, which is not known here")
        return Tensor(self.net.pointwise(_ACTIVATIONS[name], x.node), x.flat)

    def _image(self, it: Layer, x: Tensor) -> int:
        if x.flat or len(self.net.shape(x.node)) != 3:
            raise it.fault("reads no image")
        return x.node

    def _read_activation(self, it: Layer, x: Tensor) -> Tensor:
        return x  # `_call` puts it behind

    def _read_flatten(self, it: Layer, x: Tensor) -> Tensor:
        return Tensor(x.node, len(self.net.shape(x.node)) == 3)  # a dense layer reads its input flat

    def _read_relu(self, it: Layer, x: Tensor) -> Tensor:
        most = it.fields.get("max_value")
        if it.fields.get("negative_slope") or it.fields.get("threshold") or most not in (None, 6):
            raise InputError(f"The layer '{it.name}' of {self.key} is a ReLU of another kind; export it to ONNX.")
        return Tensor(self.net.pointwise("relu" if most is None else "relu6", x.node), x.flat)

    def _read_softmax(self, it: Layer, x: Tensor) -> Tensor:
        if it.fields.get("axis", -1) not in (-1, 1):
            raise it.fault("has another axis")
        return self.activated(Layer(it.kind, it.name, {"activation": "softmax"}, it.model), x)

    def _conv(self, it: Layer, x: int, out: int, groups: int, bias: int) -> int:
        """A convolution, without its weights."""
        if it.square("dilation_rate", 1) != 1:
            raise it.fault("is not square or dilated")
        k, s = it.square("kernel_size"), it.square("strides", 1)
        shape = self.net.shape(x)
        if shape[0] % groups or out % groups:
            raise it.fault("has channels that cannot be split into its groups")
        return self.net.conv(x, out, k, s, groups, bias, same(shape, k, s) if it.padding() else 0)

    def _keep(self, x: int, arrays: list[np.ndarray] | None, *names_: str) -> Tensor:
        """The weights of a node; the kernel comes first."""
        if arrays is not None:
            self.weights[x] = dict(zip(names_, map(np.ascontiguousarray, arrays), strict=False))
        return Tensor(x)

    def _read_conv2d(self, it: Layer, x: Tensor) -> Tensor:
        node = self._image(it, x)
        out, groups, k = it.number("filters"), it.number("groups", 1), it.square("kernel_size")
        bias = _bias(it)
        shape = (k, k, self.net.shape(node)[0] // groups, out)
        y = self._conv(it, node, out, groups, bias)
        arrays = it.read(shape, *[(out,)] * bias)
        return self._keep(y, arrays and [arrays[0].transpose(3, 2, 0, 1), *arrays[1:]], "weight", "bias")

    def _read_depthwiseconv2d(self, it: Layer, x: Tensor) -> Tensor:
        node = self._image(it, x)
        k, times, bias = it.square("kernel_size"), it.number("depth_multiplier", 1), _bias(it)
        channels = self.net.shape(node)[0]
        y = self._conv(it, node, channels * times, channels, bias)
        arrays = it.read((k, k, channels, times), *[(channels * times,)] * bias)
        return self._keep(y, arrays and [_depthwise(arrays[0]), *arrays[1:]], "weight", "bias")

    def _read_separableconv2d(self, it: Layer, x: Tensor) -> Tensor:
        node = self._image(it, x)
        k, times, bias = it.square("kernel_size"), it.number("depth_multiplier", 1), _bias(it)
        channels = self.net.shape(node)[0]
        out = it.number("filters")
        arrays = it.read((k, k, channels, times), (1, 1, channels * times, out), *[(out,)] * bias)
        y = self._conv(it, node, channels * times, channels, 0)
        self._keep(y, arrays and [_depthwise(arrays[0])], "weight")
        y = self.net.conv(y, out, 1, bias=bias)
        return self._keep(y, arrays and [arrays[1].transpose(3, 2, 0, 1), *arrays[2:]], "weight", "bias")

    def _read_batchnormalization(self, it: Layer, x: Tensor) -> Tensor:
        shape = self.net.shape(x.node)
        size, axis = shape[0], it.fields.get("axis", -1)
        if axis not in (-1, len(shape), [-1], [len(shape)]) or x.flat or it.fields.get("renorm"):
            raise it.fault("normalises in a way that is not known here")
        epsilon = it.fields.get("epsilon", 1e-3)
        if not isinstance(epsilon, float | int) or not 0 <= epsilon < 1:
            raise it.fault("has no epsilon from 0 to 1")
        told = [name for name, field in (("scale", "scale"), ("shift", "center")) if it.fields.get(field, True)]
        missing = {name: 0 for name in ("scale", "shift") if name not in told}
        y = self.net.pointwise("bn", x.node, **missing)
        arrays = it.read(*[(size,)] * (len(told) + 2))
        if arrays is not None:
            ones = {"scale": np.ones(size, np.float32), "shift": np.zeros(size, np.float32)}
            self.weights[y] = ones | dict(zip([*told, "mean", "var"], arrays, strict=True))
            self.weights[y]["var"] = (arrays[-1] + np.float32(epsilon - BN_EPSILON)).astype(np.float32)
        return Tensor(y)

    def _pool(self, kind: str, it: Layer, x: Tensor) -> Tensor:
        node, k = self._image(it, x), it.square("pool_size", 2)
        s = it.square("strides", k) if it.fields.get("strides") is not None else k
        return Tensor(self.net.pool(kind, node, k, s, same(self.net.shape(node), k, s) if it.padding() else 0))

    def _read_maxpooling2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._pool("max_pool", it, x)

    def _read_averagepooling2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._pool("avg_pool", it, x)

    def _read_globalaveragepooling2d(self, it: Layer, x: Tensor) -> Tensor:
        node = self._image(it, x)
        channels = self.net.shape(node)[0]
        shape = (channels, 1, 1) if it.fields.get("keepdims") else (channels,)
        return Tensor(self.net.add("global_avg_pool", shape, node))

    def _read_dense(self, it: Layer, x: Tensor) -> Tensor:
        """Of a row of features, or of the channels of every pixel: then a convolution."""
        shape, units, bias = self.net.shape(x.node), it.number("units"), _bias(it)
        if len(shape) == 3 and not x.flat:
            y = self.net.conv(x.node, units, 1, bias=bias)
            arrays = it.read((shape[0], units), *[(units,)] * bias)
            return self._keep(y, arrays and [arrays[0].T[:, :, None, None], *arrays[1:]], "weight", "bias")
        size = int(np.prod(shape, dtype=object))
        arrays = it.read((size, units), *[(units,)] * bias)  # features as height, width, channels
        y = self.net.add("dense", (units,), x.node, bias=bias)
        if arrays is not None and len(shape) == 3:
            channels, height, width = shape
            kernel = arrays[0].reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(size, -1)
            arrays = [kernel, *arrays[1:]]
        return self._keep(y, arrays and [arrays[0].T, *arrays[1:]], "weight", "bias")

    def _read_add(self, it: Layer, x: Tensor, *others: Tensor) -> Tensor:
        y = x.node
        for other in others:
            if self.net.shape(other.node) != self.net.shape(y) or other.flat != x.flat:
                raise it.fault("has inputs of different shapes")
            y = self.net.pointwise("add", y, other.node)
        return Tensor(y, x.flat)

    def _read_multiply(self, it: Layer, x: Tensor, *others: Tensor) -> Tensor:
        if len(others) != 1 or x.flat != others[0].flat:
            raise it.fault("has not two inputs of one shape")
        large, small = sorted((x.node, others[0].node), key=lambda node: -np.prod(self.net.shape(node), dtype=object))
        shape = self.net.shape(large)
        if self.net.shape(small) not in (shape, (shape[0], 1, 1)):
            raise it.fault("has not two inputs of one shape")
        return Tensor(self.net.pointwise("mul", large, small), x.flat)

    def _read_concatenate(self, it: Layer, *xs: Tensor) -> Tensor:
        shapes = [self.net.shape(x.node) for x in xs]
        if any(x.flat for x in xs) or len({shape[1:] for shape in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
            raise it.fault("has inputs of different shapes")
        if it.fields.get("axis", -1) not in (-1, len(shapes[0])):
            raise it.fault("joins along another axis than the channels")
        shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return Tensor(self.net.add("concat", shape, *[x.node for x in xs]))

    def _read_zeropadding2d(self, it: Layer, x: Tensor, sign: int = 1) -> Tensor:
        sides = it.fields.get("padding" if sign > 0 else "cropping")
        node = self._image(it, x)
        pairs = sides if isinstance(sides, list) else [sides, sides]
        flat: list[Any] = [n for pair in pairs for n in (pair if isinstance(pair, list) else [pair, pair])]
        if len(flat) != 4 or not all(isinstance(n, int) and 0 <= n <= LARGEST for n in flat):
            raise it.fault("has no four sides")
        top, bottom, left, right = (sign * n for n in flat)
        channels, height, width = self.net.shape(node)
        shape = (channels, height + top + bottom, width + left + right)
        return Tensor(self.net.add("pad", shape, node, pad=(top, left, bottom, right)))

    def _read_cropping2d(self, it: Layer, x: Tensor) -> Tensor:
        return self._read_zeropadding2d(it, x, -1)


def _bias(it: Layer) -> int:
    return int(it.fields.get("use_bias", True) is not False)


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """[in * multiplier, 1, height, width] of [height, width, in, multiplier]."""
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
