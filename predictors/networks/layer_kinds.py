"""Kinds of single layers up to their channels; a look-up table has one grid per kind.

A layer is an entry of `datasets.networks.parts.entries`: one op with the batch norms and activations behind it. Its
kind is the JSON text of the layer with "in" for its input channels and "out" for its output channels; layers with
equally many of both (depthwise convolutions, poolings, additions) have only "in".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.networks.ops import BYTES
from datasets.records import InputError, Op

IN, OUT = "in", "out"
WORK_GROUPS = ("conv", "depthwise", "dense", "other")
"""Groups of kinds of layers."""


@dataclass(frozen=True)
class Layer:
    """A layer as its kind and its numbers of channels."""

    kind: str
    channels_in: int
    channels_out: int

    @property
    def narrow(self) -> bool:
        """Whether it has equally many input and output channels."""
        return OUT not in _words(self.kind)

    def network(self) -> Network:
        """The layer as a network, equal to the one of `datasets.networks.parts.cut`."""
        numbers = {IN: self.channels_in, OUT: self.channels_out}
        ops, edges = json.loads(self.kind)
        filled = [
            Op(kind, {name: _filled(name, value, numbers) for name, value in attrs.items()}) for kind, attrs in ops
        ]
        return Network.of(filled, [tuple(edge) for edge in edges])


def read_layer(network: Network) -> Layer:
    """Kind and channels of a layer that `datasets.networks.parts.cut` returned.

    Raises:
        InputError: the network is not such a layer.
    """
    if not network.ops or network.ops[0].kind != "input":
        raise InputError(f"'{network.key}' is not a layer that begins with an input; cut layers out of a network.")
    words: list[str | int] = []
    sizes = {IN: network.ops[0].attrs["shape"][0]}
    ops = []
    for op, sources in zip(network.ops, network.sources(), strict=True):
        attrs, channels = dict(op.attrs), op.attrs["shape"][0]
        word: str | int = words[sources[0]] if sources else IN
        if op.kind == "conv" and attrs.get("groups", 1) == sizes[IN] == channels > 1:
            attrs["groups"] = IN
        elif op.kind in ("conv", "dense"):
            word = OUT
        elif sources and channels != network.ops[sources[0]].attrs["shape"][0]:
            word = channels  # concatenated, sliced or expanded: the number stays in the kind
        elif op.kind == "zero" and channels != sizes[IN]:
            word = channels
        if isinstance(word, str):
            sizes.setdefault(word, channels)
        attrs["shape"] = (word, *attrs["shape"][1:])
        words.append(word)
        ops.append(Op(op.kind, attrs))
    return Layer(Network.of(ops, network.edges).key, sizes[IN], sizes.get(OUT, sizes[IN]))


def work_group(kind: str) -> str:
    """The group of `WORK_GROUPS` that a kind belongs to."""
    name, attrs = json.loads(kind)[0][1]
    if name == "conv":
        return "depthwise" if attrs.get("groups") == IN else "conv"
    return name if name in WORK_GROUPS else "other"


def megabytes(network: Network) -> float:
    """Size of a network's weights in megabytes (10^6 bytes)."""
    return BYTES * totals(network)["params"] / 1e6


def _filled(name: str, value: Any, numbers: dict[str, int]) -> Any:
    if name == "groups":
        return numbers.get(value, value)
    if name == "shape":
        return (numbers.get(value[0], value[0]), *value[1:])
    return _tuple(value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _words(kind: str) -> set[Any]:
    return {attrs["shape"][0] for _, attrs in json.loads(kind)[0]}
