"""The graph of a functional Keras model: references in its configuration, resolved to calls of layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SWITCHES = ("training", "mask", "attention_mask", "query_mask", "value_mask", "key_mask", "use_causal_mask",
             "return_attention_scores")  # fmt: skip

Key = tuple[str, int]
"""Name of a layer and number of its call."""

_INERT = """
Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D Identity GaussianNoise GaussianDropout AlphaDropout Masking
ActivityRegularization RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast RandomBrightness
RandomHeight RandomWidth RandomShear RandomHue RandomSaturation RandomSharpness RandomGaussianBlur RandomColorJitter
RandomGrayscale RandomInvert RandomPosterization RandomErasing RandomPerspective RandomElasticTransform"""
PASSES = frozenset(_INERT.split())
"""Layers that pass their input on at inference."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: its position in the model.
        node: the configuration of the call.
        first: number of the layer's first call in the file, 1 for models that start with a call of their own.
    """

    layer: int
    node: Any
    first: int = 0


def calls_of(layers: Sequence[Any], name_of: Callable[[Any], str], models: Sequence[str]) -> dict[Key, Call] | None:
    """All calls of a model's layers; None if the configuration is damaged.

    Args:
        layers: of the configuration.
        name_of: returns the name of a layer.
        models: classes of models; they start with a call of their own, which some references count.
    """
    calls: dict[Key, Call] = {}
    for i, layer in enumerate(layers):
        nodes = layer.get("inbound_nodes") or [[]]
        if not isinstance(nodes, list):
            return None
        first = int(layer["class_name"] in models)
        calls |= {(name_of(layer), number): Call(i, node, first) for number, node in enumerate(nodes)}
    return calls


def references(
    value: Any, calls: Mapping[Key, Call], ends: bool = False, shape: Any = None
) -> Iterator[tuple[Key, int, Any]]:
    """The tensors in a part of a configuration: for each the call, the number of its output, and its shape or None.

    Args:
        value: arguments of a call, or the inputs or outputs of a model.
        calls: of the model.
        ends: whether these are a model's inputs or outputs; they count the calls of models from 1 on, as Keras 2 does
            everywhere.
        shape: of the tensor, if known.
    """
    if isinstance(value, dict):
        history = value.get("config", {})
        if value.get("class_name") == "__keras_tensor__" and isinstance(history, dict):
            yield from references(history.get("keras_history"), calls, ends, history.get("shape"))
        else:
            for part in value.values():
                yield from references(part, calls, ends)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and all(isinstance(n, int) for n in value[1:3]):
            keras2 = ends or shape is None
            yield _resolved(value[0], value[1], calls, keras2), value[2], shape
            for part in value[3:]:
                yield from references(part, calls, ends)
        else:
            for part in value:
                yield from references(part, calls, ends)


def _resolved(name: str, number: int, calls: Mapping[Key, Call], later: bool) -> Key:
    """The call of a reference; `later` if a model's first call is number 1."""
    first = calls.get((name, 0))
    exact, before = (name, number), (name, number - 1)
    if first is not None and first.first and before in calls and (later or exact not in calls):
        return before
    return exact


def constants(node: Any) -> bool:
    """Whether a call has arguments other than tensors, None and booleans."""
    if isinstance(node, list):  # format of Keras 2
        return False
    if not isinstance(node, dict):
        return node is not None
    named = node.get("kwargs") or {}
    named = named if isinstance(named, dict) else {"": named}
    arguments = [*_flat(node.get("args")), *_flat([v for name, v in named.items() if name not in _SWITCHES])]
    return any(not isinstance(value, dict | bool) and value is not None for value in arguments)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def takes(read: Callable[..., Any], count: int) -> bool:
    """Whether the method that reads a layer accepts `count` inputs."""
    kinds = [parameter.kind for parameter in inspect.signature(read).parameters.values()][1:]
    fixed = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return count == fixed or (count > fixed and inspect.Parameter.VAR_POSITIONAL in kinds)
