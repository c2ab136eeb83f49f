"""Single layers whose channels vary: what a look-up table has one grid for.

A layer is an entry of `networks.parts.entries`, cut out of its network: one op and the batch norms and activations
behind it. Its kind is the text of that layer with "in" where its input's channels stand and "out" where its output's
do; a depthwise convolution, a pooling or an addition has as many of both, so its kind knows only "in".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from datasets.networks.network import Network
from datasets.records import InputError, Op

IN, OUT = "in", "out"


@dataclass(frozen=True)
class Layer:
    """A layer of a kind, with channels."""

    kind: str
    channels_in: int
    channels_out: int

    @property
    def narrow(self) -> bool:
        """Whether it has as many channels out as in."""
        return OUT not in _words(self.kind)

    def network(self) -> Network:
        """The layer as the network that is measured; the same text as `datasets.networks.parts.cut` gives it."""
        numbers = {IN: self.channels_in, OUT: self.channels_out}
        ops, edges = json.loads(self.kind)
        filled = [
            Op(kind, {name: _filled(name, value, numbers) for name, value in attrs.items()}) for kind, attrs in ops
        ]
        return Network.of(filled, [tuple(edge) for edge in edges])


def read_layer(network: Network) -> Layer:
    """The kind and the channels of a layer that `cut` gave.

    Raises:
        InputError: it is no such layer.
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
            word = channels  # joined, cut off or spread: such layers keep their numbers
        elif op.kind == "zero" and channels != sizes[IN]:
            word = channels
        if isinstance(word, str):
            sizes.setdefault(word, channels)
        attrs["shape"] = (word, *attrs["shape"][1:])
        words.append(word)
        ops.append(Op(op.kind, attrs))
    return Layer(Network.of(ops, network.edges).key, sizes[IN], sizes.get(OUT, sizes[IN]))


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
