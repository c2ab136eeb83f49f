"""Reader of Keras models, layer by layer; images of the network have their channels first.

A model is read from its configuration, which is data: neither Keras nor TensorFlow is imported for a file. The weights
of layers and models that are called more than once are counted at the first call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.keras_archive import KerasArchive, names
from datasets.networks.keras_calls import PASSES, Call, calls_of, constants, references, takes
from datasets.networks.keras_functions import FunctionReader
from datasets.networks.keras_layer import MOST_ELEMENTS, Arrays, Layer, Tensor
from datasets.networks.keras_sequences import RECURRENT
from datasets.networks.model import Model
from datasets.networks.network import Network, Port
from datasets.networks.onnx_file import file_key
from datasets.networks.onnx_graph import check_totals
from datasets.networks.open_sizes import OpenSizes
from datasets.networks.ops import BITS
from datasets.networks.sizes import Sizes
from datasets.records import InputError

if TYPE_CHECKING:
    import keras

MOST_CALLS = 20_000
"""Largest number of calls of layers in a model, inner models inlined."""
_DEEPEST = 20  # models inside of models

MODELS = ("Functional", "Sequential", "Model")
_Find = Callable[[Sequence[tuple[str, int]]], Arrays | None]


def read_keras(model: keras.Model | Path, batch: int = 1, weights: bool = True, sizes: Sizes = Sizes()) -> Model:
    """Read a functional or sequential model, or a `.keras` file: the network and its weights.

    The network's space is `keras`, its key the model's name, or the file's and the first digits of its SHA-256.

    Args:
        model: the model or the file.
        batch: samples per run.
        weights: whether to read the weights; without them the file's HDF5 part is not opened.
        sizes: sizes that the model leaves open besides the batch.

    Raises:
        InputError: it is not a Keras file, or the model has a layer that is unknown or contains code, or an open size.
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

    reader = _Reader(key, batch, find, sizes)
    try:
        network = reader.network(config)
        reader.sizes.check()
    except RecursionError as error:  # parts of a configuration may nest as deeply as JSON does
        raise InputError(f"The Keras model {key} is nested too deeply; export it to ONNX.") from error
    check_totals(network, key)
    source = model if isinstance(model, Path) else None
    return Model(network, reader.weights if weights else None, source, shapes=tuple(reader.shapes))


class _Reader(FunctionReader):
    def __init__(self, key: str, batch: int, find: _Find, sizes: Sizes) -> None:
        super().__init__(key, batch)
        self.find = find
        self.calls = 0
        self.used: set[tuple[tuple[str, int], ...]] = set()
        self.ports: list[Port] = []
        self.shapes: list[tuple[int, ...]] = []
        self.sizes = OpenSizes(sizes, batch, key)

    def network(self, config: Any) -> Network:
        """The network of a whole model."""
        ends = self.model(config, None, [])
        if all(self.net.ops[end.node].kind == "input" for end in ends):
            raise InputError(f"The Keras model {self.key} computes nothing of its inputs.")
        inputs = tuple(self.ports)
        if len(inputs) == len(ends) == 1:
            inputs = tuple(Port("x", port.node, port.dtype) for port in inputs)
        outputs = [Port(f"y{i}" if len(ends) > 1 else "y", end.node) for i, end in enumerate(ends)]
        ops, types = tuple(self.net.ops), [self.net.ops[port.node].attrs.get("dtype", "float32") for port in outputs]
        outputs = [Port(port.name, port.node, dtype) for port, dtype in zip(outputs, types, strict=True)]
        return Network("keras", self.key, ops, tuple(self.net.edges), self.net.batch, inputs, tuple(outputs))

    # Models

    def model(self, config: Any, xs: list[Tensor] | None, place: list[tuple[str, int]]) -> list[Tensor]:
        """The outputs of a model at `place` in outer models; `xs` are its inputs, None for the outermost."""
        kind, fields = self.parsed(config)
        layers = fields.get("layers")
        if kind not in MODELS or not isinstance(layers, list) or not layers or len(layers) > MOST_CALLS:
            raise InputError(f"The Keras model {self.key} has no layers that are known here; export it to ONNX.")
        if len(place) > _DEEPEST:
            raise InputError(f"{self.key} has models in models, more than {_DEEPEST} deep; export it to ONNX.")
        classes = [self.parsed(layer) for layer in layers]
        kept = [
            i
            for i, layer in enumerate(layers)
            if not _function(layer) and (kind != "Sequential" or classes[i][0] != "InputLayer")
        ]
        called = names([classes[i][0] for i in kept])
        places = {i: [*place, (name, number)] for number, (i, name) in enumerate(zip(kept, called, strict=True))}
        if kind == "Sequential":
            return self._sequential(fields, layers, places, xs)
        return self._functional(fields, layers, places, xs)

    def _sequential(self, fields: Mapping[str, Any], layers: list, places: dict, xs: Any) -> list[Tensor]:
        if xs is None and self.parsed(layers[0])[0] != "InputLayer":
            xs = [self._input("input", fields.get("build_input_shape"))]
        for i, layer in enumerate(layers):
            xs = xs if xs and self.parsed(layer)[0] == "InputLayer" else self._call(layer, xs or [], places.get(i, []))
        return xs

    def _functional(self, fields: Mapping[str, Any], layers: list, places: dict, xs: Any) -> list[Tensor]:
        """Read the calls that outputs need in topological order, and in the file's order where that leaves a choice."""
        calls = calls_of(layers, self._name, MODELS)
        if calls is None or len(calls) > MOST_CALLS:
            raise self._damaged("of its layers' calls")
        starts, ends = (
            [self._known(calls, ref) for ref in references(fields.get(end), calls, ends=True)]
            for end in ("input_layers", "output_layers")
        )
        if not starts or not ends or (xs is not None and len(xs) != len(starts)):
            raise InputError(f"The Keras model {self.key} has an input that nothing gives, or no output.")
        sources: dict[tuple[str, int], list[tuple[tuple[str, int], int]]] = {}
        declared: dict[tuple[str, int], dict[int, Any]] = {}
        waiting = [call for call, _, _ in ends] + [call for call, _, _ in starts]
        while waiting:
            call = waiting.pop()
            if call not in sources:
                found = [self._known(calls, ref) for ref in references(calls[call].node, calls)]
                sources[call] = [(source, number) for source, number, _ in found]
                for source, number, shape in found:
                    declared.setdefault(source, {})[number] = shape
                waiting += [source for source, _ in sources[call]]
        readers: dict[tuple[str, int], list[tuple[str, int]]] = {call: [] for call in sources}
        missing = {call: len({source for source, _ in before}) for call, before in sources.items()}
        for call, before in sources.items():
            for source in {source for source, _ in before}:
                readers[source].append(call)
        given = {call: xs[i] for i, (call, _, _) in enumerate(starts)} if xs is not None else {}
        ready = [(calls[call].layer, call) for call, count in missing.items() if not count]
        heapify(ready)
        values: dict[tuple[str, int], list[Tensor]] = {}
        while ready:
            i, call = heappop(ready)
            if call in given:
                values[call] = [given[call]]
            else:
                read = [self._taken(values, source, number) for source, number in sources[call]]
                shapes = declared.get(call, {})
                values[call] = self._call(layers[i], read, places.get(i, []), calls[call].node, shapes)
            for after in readers[call]:
                missing[after] -= 1
                if not missing[after]:
                    heappush(ready, (calls[after].layer, after))
        return [self._taken(values, call, number) for call, number, _ in ends]

    def _known(self, calls: Mapping[tuple[str, int], Call], ref: Any) -> Any:
        if ref[0] not in calls:
            raise self._damaged(f"of what calls '{shortened(ref[0][0], 60)}'")
        return ref

    def _taken(self, values: Mapping[tuple[str, int], list[Tensor]], call: tuple[str, int], number: int) -> Tensor:
        found = values.get(call)
        if found is None:
            raise self._damaged("of a circle among its layers, or of an input that is not used")
        if not 0 <= number < len(found):
            raise self._damaged(f"of an output that '{shortened(call[0], 60)}' does not have")
        return found[number]

    def _call(
        self, layer: Any, xs: list[Tensor], place: list[tuple[str, int]], node: Any = None, declared: Any = None
    ) -> list[Tensor]:
        """The outputs of a layer, after its activation."""
        kind, fields = self.parsed(layer)
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise InputError(f"The Keras model {self.key} calls more than {MOST_CALLS:,} layers; export it to ONNX.")
        if kind == "InputLayer":
            shape = fields.get("batch_shape", fields.get("batch_input_shape"))
            return xs[:1] or [self._input(self._name(layer), shape, fields.get("dtype"))]
        it = Layer(kind, self._name(layer), fields, self.key, self.find(place) if place else None)
        if not xs:
            raise it.fault("has no input")
        if fields.get("data_format", "channels_last") not in ("channels_last", None):
            raise it.fault("has its channels first")
        if kind in MODELS:
            return self.model(layer, xs, place)
        if not _function(layer) and (constants(node) or kind == "Lambda"):
            raise it.fault("holds code, which is never run" if kind == "Lambda" else "is called with numbers")
        if kind in PASSES:
            return xs
        before, self.net.name = len(self.net.ops), it.name
        if _function(layer):
            shapes = {
                number: self._declared(it, shape) for number, shape in (declared or {}).items() if shape is not None
            }
            found = self.function(it, xs, shapes)
        else:
            found = self._read(it, xs)
        for op in self.net.ops[before:]:
            if min(op.attrs["shape"]) < 1 or math.prod(op.attrs["shape"]) > MOST_ELEMENTS:
                raise it.fault("leaves nothing of its input, or more than any network has")
        self.finished(it, before, tuple(place) in self.used)
        self.used.add(tuple(place))
        return found

    def _read(self, it: Layer, xs: list[Tensor]) -> list[Tensor]:
        """The outputs of a layer; raises `InputError` for unknown kinds."""
        read = getattr(self, f"_read_{it.kind.lower()}", None)
        if read is None:
            raise it.fault("is not known here")
        if not takes(read, len(xs)):
            raise it.fault(f"has {len(xs)} inputs")
        made = read(it, *xs)
        found = made if isinstance(made, list) else [made]
        return found if it.kind in RECURRENT else [self.activated(it, found[0]), *found[1:]]

    def called(self, config: Any, x: Tensor) -> list[Tensor]:
        """The outputs of a layer inside another layer's configuration, without its weights."""
        find, self.find = self.find, lambda place: None
        try:
            return self._call(config, [x], [("inner", self.calls)])
        finally:
            self.find = find

    def _declared(self, it: Layer, shape: Any) -> tuple[int, ...]:
        """The shape of a function's output in the configuration of its reader."""
        if not isinstance(shape, list) or None in shape[1:]:
            raise it.fault("leaves a size open")
        sides = it.of(sides=shape[1:])
        return sides.numbers("sides", len(shape) - 1) if len(shape) > 1 else (1,)

    def _input(self, name: str, shape: Any, dtype: Any = None) -> Tensor:
        """Add an input of the network: (channels, height, width) for [batch, height, width, channels]."""
        if not isinstance(shape, list) or not shape:
            raise InputError(f"The input '{shortened(name, 60)}' of {self.key} has no shape; save the model again.")
        shape = self.sizes.shape(name, shape)
        if None in shape[1:]:
            raise self.sizes.left_open(name, shape)
        it = Layer("InputLayer", name, {"shape": shape[1:]}, self.key)
        kind = dtype if isinstance(dtype, str) else "float32"
        if kind not in BITS:
            raise it.fault(f"reads {shortened(kind, 60)}, no numbers")
        x = self.put("input", it.numbers("shape", len(shape) - 1), dtype=kind if kind != "float32" else "")
        self.ports.append(Port(name, x.node, kind))
        self.shapes.append((self.net.batch or 1, *it.numbers("shape", len(shape) - 1)))
        return x

    def parsed(self, layer: Any) -> tuple[str, Mapping[str, Any]]:
        """Class and fields of a layer, which must be one of Keras itself."""
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


def _function(layer: Any) -> bool:
    """Whether a layer of the configuration is a function of keras.ops."""
    return str(layer.get("module")).startswith("keras.src.ops")
