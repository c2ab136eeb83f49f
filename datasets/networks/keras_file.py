"""A Keras model as a `Model`, layer by layer; channels come first in it.

A model is read from its configuration, which is data: neither Keras nor TensorFlow is imported for a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.keras_archive import KerasArchive, names
from datasets.networks.keras_layers import LARGEST, Arrays, Layer, LayerReader, Tensor
from datasets.networks.model import Model
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.records import InputError

if TYPE_CHECKING:
    import keras

MOST_CALLS = 20_000
"""Most calls of layers in a model, models inside of it written out."""
_DEEPEST = 20  # models inside of models

_FUNCTIONS = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu",
              "HardSigmoid": "hsigmoid", "HardSilu": "hswish"}  # fmt: skip
_PASSES = ("Dropout", "SpatialDropout2D", "Identity")
_MODELS = ("Functional", "Sequential", "Model")


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


class _Reader(LayerReader):
    def __init__(self, key: str, batch: int, find: Callable[[Sequence[tuple[str, int]]], Arrays | None]) -> None:
        super().__init__(key, batch)
        self.find = find
        self.calls = 0
        self.used: set[tuple[tuple[str, int], ...]] = set()

    # Models

    def model(self, config: Any, x: Tensor | None, place: list[tuple[str, int]]) -> Tensor:
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

    def _sequential(self, fields: Mapping[str, Any], layers: list, places: dict, x: Tensor | None) -> Tensor:
        if x is None and self._about(layers[0])[0] != "InputLayer":
            x = self._input(fields.get("build_input_shape"))
        for i, layer in enumerate(layers):
            x = self._call(layer, [] if x is None else [x], places.get(i, []))
        assert x is not None
        return x

    def _functional(self, fields: Mapping[str, Any], layers: list, places: dict, x: Tensor | None) -> Tensor:
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
        values: dict[tuple[str, int], Tensor] = {}
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

    def _call(self, layer: Any, xs: list[Tensor], place: list[tuple[str, int]], node: Any = None) -> Tensor:
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
        it = Layer(kind, self._name(layer), fields, self.key, self.find(place) if place else None)
        if _numbers(node) or fields.get("data_format", "channels_last") not in ("channels_last", None):
            raise it.fault("is called in a way that is not known here")
        if kind in _MODELS:
            if len(xs) > 1:
                raise it.fault("has several inputs")
            return self.model(layer, xs[0], place)
        if _function(layer):
            if kind in _FUNCTIONS and len(xs) == 1:
                return Tensor(self.net.pointwise(_FUNCTIONS[kind], xs[0].node), xs[0].flat)
            if kind not in ("Add", "Multiply"):
                raise it.fault("is not known here")
        read = getattr(self, f"_read_{kind.lower()}", None)
        if kind in _PASSES:
            return xs[0]
        if read is None:
            raise it.fault("is not known here")
        before = len(self.net.ops)
        y = read(it, *xs) if kind in _SEVERAL else read(it, self._only(it, xs))
        if any(min(op.attrs["shape"]) < 1 or max(op.attrs["shape"]) > LARGEST for op in self.net.ops[before:]):
            raise it.fault("leaves nothing of its input, or more than any network has")
        if kind in _WEIGHTED and tuple(place) in self.used:
            raise it.fault("is used more than once, and its weights would be counted as often")
        self.used.add(tuple(place))
        return self.activated(it, y)

    def _only(self, it: Layer, xs: list[Tensor]) -> Tensor:
        if len(xs) != 1:
            raise it.fault("has several inputs")
        return xs[0]

    def _input(self, shape: Any) -> Tensor:
        """The whole network's input: (channels, height, width) of [batch, height, width, channels]."""
        if self.net.ops or not isinstance(shape, list) or len(shape) not in (2, 4):
            raise InputError(f"The Keras model {self.key} needs one input (an image or features) and one output.")
        if None in shape[1:]:
            raise InputError(f"An input of shape {tuple(shape[1:])} leaves a size open; give the model a fixed one.")
        it = Layer("InputLayer", "input", dict(enumerate(shape)), self.key)  # type: ignore[arg-type]
        sides = [it.number(i) for i in range(1, len(shape))]  # type: ignore[arg-type]
        return Tensor(self.net.add("input", (sides[-1], *sides[:-1])))

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


_SEVERAL = ("Add", "Multiply", "Concatenate")
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization")


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
