"""A Keras model as a `Model`, layer by layer; channels come first in it.

A model is read from its configuration, which is data: neither Keras nor TensorFlow is imported for a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.analysis import BN_EPSILON
from datasets.networks.builder import NetworkBuilder, same
from datasets.networks.keras_archive import KerasArchive, names
from datasets.networks.model import Model, Weights
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.records import InputError

if TYPE_CHECKING:
    import keras

MOST_CALLS = 20_000
"""Most calls of layers in a model, models inside of it written out."""
_DEEPEST = 20  # models inside of models
_LARGEST = 2**20  # channels, sides, kernels

_ACTIVATIONS = {name: name for name in ("relu", "relu6", "sigmoid", "tanh", "silu", "softmax")} | {
    "hard_sigmoid": "hsigmoid",
    "hard_silu": "hswish",
    "hard_swish": "hswish",
    "swish": "silu",
}
_FUNCTIONS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu",
              "HardSigmoid": "hsigmoid", "HardSilu": "hswish"}  # fmt: skip
_PASSES = ("Dropout", "SpatialDropout2D", "Identity")
_MODELS = ("Functional", "Sequential", "Model")

Arrays = Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]]
"""The weights of a layer, whose shapes are given."""


def read_keras(model: keras.Model | Path, batch: int = 1, weights: bool = True) -> Model:
    """The network of a functional or sequential model, or of a `.keras` file, and its weights, fp32, keyed by node.

    The network's space is `keras`, its key the model's name, or the file's and the first digits of its SHA-256.

    Args:
        model: the model or the file.
        batch: images a run.
        weights: whether weights are read; without them the file's HDF5 part is not opened.

    Raises:
        InputError: the file is none, or the model has a layer, a shape or several inputs that are not known here.
    """
    if batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    if isinstance(model, Path):
        archive = KerasArchive(model)
        key, config = file_key(model), archive.config
        stored = archive.weights() if weights else None

        def find(place: Sequence[tuple[str, int]]) -> Arrays | None:
            return (lambda shapes: stored.of([name for name, _ in place], shapes)) if stored else None

    else:
        key, config = model.name, json.loads(model.to_json())

        def find(place: Sequence[tuple[str, int]]) -> Arrays | None:
            layer: Any = model
            for _, number in place:
                layer = layer.layers[number]
            return (lambda shapes: [np.asarray(value) for value in layer.get_weights()]) if weights else None

    reader = _Reader(key, batch, find)
    try:
        end = reader.model(config, None, [])
    except RecursionError as error:  # parts of a configuration may nest as deeply as JSON does
        raise InputError(f"The Keras model {key} is nested too deeply; export it to ONNX.") from error
    network = reader.net.finish("keras", key, end.node)
    check_totals(network, key)
    return Model(network, reader.weights if weights else None)


@dataclass(frozen=True)
class _Tensor:
    """A node, and whether its (channels, height, width) count as one row of features."""

    node: int
    flat: bool = False


@dataclass(frozen=True)
class _Layer:
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
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= _LARGEST:
            raise self.fault(f"has no {field} from {low} to {_LARGEST:,}")
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
        return _Layer(self.kind, self.name, {field: value}, self.model).number(field)

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


class _Reader:
    def __init__(self, key: str, batch: int, find: Callable[[Sequence[tuple[str, int]]], Arrays | None]) -> None:
        self.net, self.weights, self.key, self.find = NetworkBuilder(batch), Weights(), key, find
        self.calls = 0
        self.used: set[tuple[tuple[str, int], ...]] = set()

    # Models

    def model(self, config: Any, x: _Tensor | None, place: list[tuple[str, int]]) -> _Tensor:
        """The output of a model, which stands at `place` in others; `x` is its input, None of the whole."""
        kind, fields = self._about(config)
        layers = fields.get("layers")
        if kind not in _MODELS or not isinstance(layers, list) or not layers or len(layers) > MOST_CALLS:
            raise InputError(f"The Keras model {self.key} has no layers that are known here; export it to ONNX.")
        if len(place) > _DEEPEST:
            raise InputError(f"{self.key} has models in models, more than {_DEEPEST} deep; export it to ONNX.")
        abouts = [self._about(layer) for layer in layers]
        kept = [
            i
            for i, layer in enumerate(layers)
            if not _function(layer) and (kind != "Sequential" or abouts[i][0] != "InputLayer")
        ]
        called = names([abouts[i][0] for i in kept])
        places = {i: [*place, (name, number)] for number, (i, name) in enumerate(zip(kept, called, strict=True))}
        if kind == "Sequential":
            return self._sequential(fields, layers, places, x)
        return self._functional(fields, layers, places, x)

    def _sequential(self, fields: Mapping[str, Any], layers: list, places: dict, x: _Tensor | None) -> _Tensor:
        if x is None and self._about(layers[0])[0] != "InputLayer":
            x = self._input(fields.get("build_input_shape"))
        for i, layer in enumerate(layers):
            x = self._call(layer, [] if x is None else [x], places.get(i, []))
        assert x is not None
        return x

    def _functional(self, fields: Mapping[str, Any], layers: list, places: dict, x: _Tensor | None) -> _Tensor:
        """Calls in topological order, of those ready the first in the file first; only what the output needs."""
        ends = [list(_references(fields.get(end))) for end in ("input_layers", "output_layers")]
        if len(ends[0]) != 1 or len(ends[1]) != 1:
            raise InputError(f"The Keras model {self.key} needs one input (an image or features) and one output.")
        calls: dict[tuple[str, int], tuple[int, Any]] = {}
        for i, layer in enumerate(layers):
            nodes = layer.get("inbound_nodes") or [[]]
            if not isinstance(nodes, list) or len(calls) > MOST_CALLS:
                raise self._damaged("of its layers' calls")
            calls |= {(self._name(layer), number): (i, node) for number, node in enumerate(nodes)}
        (output,) = ends[1]
        sources: dict[tuple[str, int], list[tuple[str, int]]] = {}
        waiting = [output]
        while waiting:
            call = waiting.pop()
            if call not in sources:
                if call not in calls:
                    raise self._damaged(f"of what calls '{shortened(call[0], 60)}'")
                sources[call] = list(_references(calls[call][1]))
                waiting += sources[call]
        readers: dict[tuple[str, int], list[tuple[str, int]]] = {call: [] for call in sources}
        missing = {call: len(set(before)) for call, before in sources.items()}
        for call, before in sources.items():
            for source in set(before):
                readers[source].append(call)
        ready = [(calls[call][0], call) for call, count in missing.items() if not count]
        heapify(ready)
        values: dict[tuple[str, int], _Tensor] = {}
        while ready:
            i, call = heappop(ready)
            if call == ends[0][0] and x is not None:
                values[call] = x
            else:
                values[call] = self._call(
                    layers[i], [values[s] for s in sources[call]], places.get(i, []), calls[call][1]
                )
            for after in readers[call]:
                missing[after] -= 1
                if not missing[after]:
                    heappush(ready, (calls[after][0], after))
        if output not in values or ends[0][0] not in values:
            raise self._damaged("of a circle among its layers, or of an input that is not used")
        return values[output]

    def _call(self, layer: Any, xs: list[_Tensor], place: list[tuple[str, int]], node: Any = None) -> _Tensor:
        """A layer with the activation that it may hold."""
        kind, fields = self._about(layer)
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise InputError(f"The Keras model {self.key} calls more than {MOST_CALLS:,} layers; export it to ONNX.")
        if kind == "InputLayer":
            if xs:
                return xs[0]
            return self._input(fields.get("batch_shape", fields.get("batch_input_shape")))
        if not xs:
            raise InputError(f"The Keras model {self.key} needs one input (an image or features) and one output.")
        it = _Layer(kind, self._name(layer), fields, self.key, self.find(place) if place else None)
        if _numbers(node) or fields.get("data_format", "channels_last") not in ("channels_last", None):
            raise it.fault("is called in a way that is not known here")
        if kind in _MODELS:
            if len(xs) > 1:
                raise it.fault("has several inputs")
            return self.model(layer, xs[0], place)
        if _function(layer):
            if kind in _FUNCTIONS and len(xs) == 1:
                return _Tensor(self.net.pointwise(_FUNCTIONS[kind], xs[0].node), xs[0].flat)
            if kind not in ("Add", "Multiply"):
                raise it.fault("is not known here")
        read = getattr(self, f"_read_{kind.lower()}", None)
        if kind in _PASSES:
            return xs[0]
        if read is None:
            raise it.fault("is not known here")
        before = len(self.net.ops)
        y = read(it, *xs) if kind in _SEVERAL else read(it, self._only(it, xs))
        if any(min(op.attrs["shape"]) < 1 or max(op.attrs["shape"]) > _LARGEST for op in self.net.ops[before:]):
            raise it.fault("leaves nothing of its input, or more than any network has")
        if kind in _WEIGHTED and tuple(place) in self.used:
            raise it.fault("is used more than once, and its weights would be counted as often")
        self.used.add(tuple(place))
        return self._activated(it, y)

    def _only(self, it: _Layer, xs: list[_Tensor]) -> _Tensor:
        if len(xs) != 1:
            raise it.fault("has several inputs")
        return xs[0]

    def _input(self, shape: Any) -> _Tensor:
        """The whole network's input: (channels, height, width) of [batch, height, width, channels]."""
        if self.net.ops or not isinstance(shape, list) or len(shape) not in (2, 4):
            raise InputError(f"The Keras model {self.key} needs one input (an image or features) and one output.")
        if None in shape[1:]:
            raise InputError(f"An input of shape {tuple(shape[1:])} leaves a size open; give the model a fixed one.")
        it = _Layer("InputLayer", "input", dict(enumerate(shape)), self.key)  # type: ignore[arg-type]
        sides = [it.number(i) for i in range(1, len(shape))]  # type: ignore[arg-type]
        return _Tensor(self.net.add("input", (sides[-1], *sides[:-1])))

    def _about(self, layer: Any) -> tuple[str, Mapping[str, Any]]:
        """Class and fields of a layer of Keras's own."""
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            raise self._damaged("of a layer without its configuration")
        kind, module, registered = layer.get("class_name"), layer.get("module"), layer.get("registered_name")
        if not isinstance(kind, str) or len(kind) > 200:
            raise self._damaged("of a layer without its class")
        if str(module or "keras").split(".")[0] not in ("keras", "tf_keras") or registered not in (None, kind):
            name, module = shortened(self._name(layer), 60), shortened(module, 60)
            raise InputError(
                f"The layer '{name}' of {self.key} is code of another package ({module}); export it to ONNX."
            )
        return kind, layer["config"]

    def _name(self, layer: Any) -> str:
        return str(layer.get("name") or layer["config"].get("name") or "")

    def _damaged(self, why: str) -> InputError:
        return InputError(f"The configuration of {self.key} is damaged, because {why}; save the model again.")

    # Layers

    def _activated(self, it: _Layer, x: _Tensor) -> _Tensor:
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
        return _Tensor(self.net.pointwise(_ACTIVATIONS[name], x.node), x.flat)

    def _image(self, it: _Layer, x: _Tensor) -> int:
        if x.flat or len(self.net.shape(x.node)) != 3:
            raise it.fault("reads no image")
        return x.node

    def _read_activation(self, it: _Layer, x: _Tensor) -> _Tensor:
        return x  # `_call` puts it behind

    def _read_flatten(self, it: _Layer, x: _Tensor) -> _Tensor:
        return _Tensor(x.node, len(self.net.shape(x.node)) == 3)  # a dense layer reads its input flat

    def _read_relu(self, it: _Layer, x: _Tensor) -> _Tensor:
        most = it.fields.get("max_value")
        if it.fields.get("negative_slope") or it.fields.get("threshold") or most not in (None, 6):
            raise InputError(f"The layer '{it.name}' of {self.key} is a ReLU of another kind; export it to ONNX.")
        return _Tensor(self.net.pointwise("relu" if most is None else "relu6", x.node), x.flat)

    def _read_softmax(self, it: _Layer, x: _Tensor) -> _Tensor:
        if it.fields.get("axis", -1) not in (-1, 1):
            raise it.fault("has another axis")
        return self._activated(_Layer(it.kind, it.name, {"activation": "softmax"}, it.model), x)

    def _conv(self, it: _Layer, x: int, out: int, groups: int, bias: int) -> int:
        """A convolution, without its weights."""
        if it.square("dilation_rate", 1) != 1:
            raise it.fault("is not square or dilated")
        k, s = it.square("kernel_size"), it.square("strides", 1)
        shape = self.net.shape(x)
        if shape[0] % groups or out % groups:
            raise it.fault("has channels that cannot be split into its groups")
        return self.net.conv(x, out, k, s, groups, bias, same(shape, k, s) if it.padding() else 0)

    def _keep(self, x: int, arrays: list[np.ndarray] | None, *names_: str) -> _Tensor:
        """The weights of a node; the kernel comes first."""
        if arrays is not None:
            self.weights[x] = dict(zip(names_, map(np.ascontiguousarray, arrays), strict=False))
        return _Tensor(x)

    def _read_conv2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        node = self._image(it, x)
        out, groups, k = it.number("filters"), it.number("groups", 1), it.square("kernel_size")
        bias = _bias(it)
        shape = (k, k, self.net.shape(node)[0] // groups, out)
        y = self._conv(it, node, out, groups, bias)
        arrays = it.read(shape, *[(out,)] * bias)
        return self._keep(y, arrays and [arrays[0].transpose(3, 2, 0, 1), *arrays[1:]], "weight", "bias")

    def _read_depthwiseconv2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        node = self._image(it, x)
        k, channels, times, bias = (
            it.square("kernel_size"),
            self.net.shape(node)[0],
            it.number("depth_multiplier", 1),
            _bias(it),
        )
        y = self._conv(it, node, channels * times, channels, bias)
        arrays = it.read((k, k, channels, times), *[(channels * times,)] * bias)
        return self._keep(y, arrays and [_depthwise(arrays[0]), *arrays[1:]], "weight", "bias")

    def _read_separableconv2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        node = self._image(it, x)
        k, channels, times, bias = (
            it.square("kernel_size"),
            self.net.shape(node)[0],
            it.number("depth_multiplier", 1),
            _bias(it),
        )
        out = it.number("filters")
        arrays = it.read((k, k, channels, times), (1, 1, channels * times, out), *[(out,)] * bias)
        y = self._conv(it, node, channels * times, channels, 0)
        self._keep(y, arrays and [_depthwise(arrays[0])], "weight")
        y = self.net.conv(y, out, 1, bias=bias)
        return self._keep(y, arrays and [arrays[1].transpose(3, 2, 0, 1), *arrays[2:]], "weight", "bias")

    def _read_batchnormalization(self, it: _Layer, x: _Tensor) -> _Tensor:
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
        return _Tensor(y)

    def _pool(self, kind: str, it: _Layer, x: _Tensor) -> _Tensor:
        node, k = self._image(it, x), it.square("pool_size", 2)
        s = it.square("strides", k) if it.fields.get("strides") is not None else k
        return _Tensor(self.net.pool(kind, node, k, s, same(self.net.shape(node), k, s) if it.padding() else 0))

    def _read_maxpooling2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        return self._pool("max_pool", it, x)

    def _read_averagepooling2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        return self._pool("avg_pool", it, x)

    def _read_globalaveragepooling2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        node = self._image(it, x)
        channels = self.net.shape(node)[0]
        shape = (channels, 1, 1) if it.fields.get("keepdims") else (channels,)
        return _Tensor(self.net.add("global_avg_pool", shape, node))

    def _read_dense(self, it: _Layer, x: _Tensor) -> _Tensor:
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

    def _read_add(self, it: _Layer, x: _Tensor, *others: _Tensor) -> _Tensor:
        y = x.node
        for other in others:
            if self.net.shape(other.node) != self.net.shape(y) or other.flat != x.flat:
                raise it.fault("has inputs of different shapes")
            y = self.net.pointwise("add", y, other.node)
        return _Tensor(y, x.flat)

    def _read_multiply(self, it: _Layer, x: _Tensor, *others: _Tensor) -> _Tensor:
        if len(others) != 1 or x.flat != others[0].flat:
            raise it.fault("has not two inputs of one shape")
        large, small = sorted((x.node, others[0].node), key=lambda node: -np.prod(self.net.shape(node), dtype=object))
        shape = self.net.shape(large)
        if self.net.shape(small) not in (shape, (shape[0], 1, 1)):
            raise it.fault("has not two inputs of one shape")
        return _Tensor(self.net.pointwise("mul", large, small), x.flat)

    def _read_concatenate(self, it: _Layer, *xs: _Tensor) -> _Tensor:
        shapes = [self.net.shape(x.node) for x in xs]
        if any(x.flat for x in xs) or len({shape[1:] for shape in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
            raise it.fault("has inputs of different shapes")
        if it.fields.get("axis", -1) not in (-1, len(shapes[0])):
            raise it.fault("joins along another axis than the channels")
        shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return _Tensor(self.net.add("concat", shape, *[x.node for x in xs]))

    def _read_zeropadding2d(self, it: _Layer, x: _Tensor, sign: int = 1) -> _Tensor:
        sides = it.fields.get("padding" if sign > 0 else "cropping")
        node = self._image(it, x)
        pairs = sides if isinstance(sides, list) else [sides, sides]
        flat: list[Any] = [n for pair in pairs for n in (pair if isinstance(pair, list) else [pair, pair])]
        if len(flat) != 4 or not all(isinstance(n, int) and 0 <= n <= _LARGEST for n in flat):
            raise it.fault("has no four sides")
        top, bottom, left, right = (sign * n for n in flat)
        channels, height, width = self.net.shape(node)
        shape = (channels, height + top + bottom, width + left + right)
        return _Tensor(self.net.add("pad", shape, node, pad=(top, left, bottom, right)))

    def _read_cropping2d(self, it: _Layer, x: _Tensor) -> _Tensor:
        return self._read_zeropadding2d(it, x, -1)


_SEVERAL = ("Add", "Multiply", "Concatenate")
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization")


def _bias(it: _Layer) -> int:
    return int(it.fields.get("use_bias", True) is not False)


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """[in * multiplier, 1, height, width] of [height, width, in, multiplier]."""
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])


def _function(layer: Any) -> bool:
    """Whether it is a function of keras.ops, which is no layer."""
    return str(layer.get("module")).startswith("keras.src.ops")


def _references(value: Any) -> Iterator[tuple[str, int]]:
    """The calls whose tensors a part of a configuration names: (layer, number of the call)."""
    if isinstance(value, dict):
        history = value.get("config", {})
        if value.get("class_name") == "__keras_tensor__" and isinstance(history, dict):
            yield from _references(history.get("keras_history"))
        else:
            for part in value.values():
                yield from _references(part)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield value[0], value[1]
        else:
            for part in value:
                yield from _references(part)


def _numbers(node: Any) -> bool:
    """Whether a call has arguments that are neither tensors nor left out."""
    if isinstance(node, list):  # as Keras 2 writes it
        return False
    if not isinstance(node, dict):
        return node is not None
    arguments = [*_flat(node.get("args")), *_flat(list((node.get("kwargs") or {}).values()))]
    return any(not isinstance(a, dict) and a is not None and a is not False for a in arguments)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield value
