"""Changes of layout that compute nothing: transpositions, heads of attention, windows, pieces, paddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph, Size
from datasets.blocks.operations import BATCH, Operation, choice, size
from datasets.records import Architectures


def _nhwc(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Channels of an image to the end."""
    graph.transpose(graph.input(batch, channels, side, side), 0, 2, 3, 1)


def _nchw(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Channels of an image to the front."""
    graph.transpose(graph.input(batch, side, side, channels), 0, 3, 1, 2)


def _swap(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Tokens (length, channels) to (channels, length)."""
    graph.transpose(graph.input(batch, side, channels), 0, 2, 1)


def _heads(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Tokens to the heads of an attention."""
    split = graph.reshape(graph.input(batch, side, parts * channels), batch, side, parts, channels)
    graph.transpose(split, 0, 2, 1, 3)


def _merge(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Heads of an attention to tokens."""
    turned = graph.transpose(graph.input(batch, parts, side, channels), 0, 2, 1, 3)
    graph.reshape(turned, batch, side, parts * channels)


def _windows(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """An image with its channels last to parts x parts windows of side x side."""
    x = graph.input(batch, parts * side, parts * side, channels)
    turned = graph.transpose(graph.reshape(x, batch, parts, side, parts, side, channels), 0, 1, 3, 2, 4, 5)
    graph.reshape(turned, batch, parts * parts, side * side, channels)


def _shuffle(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Channels of groups in turns, three nodes that the reader of files takes as one op."""
    x = graph.input(batch, parts * channels, side, side)
    turned = graph.transpose(graph.reshape(x, batch, parts, channels, side, side), 0, 2, 1, 3, 4)
    for node in graph.nodes[1:]:
        node.merged = True
    x.last = len(graph.nodes)
    graph.add("Reshape", turned, graph.constant(list(x.shape), "int64"), shape=x.shape, reads=x.bytes)


def _enlarged(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Channels to blocks of parts x parts pixels (a pixel shuffle)."""
    graph.add("DepthToSpace", graph.input(batch, channels * parts**2, side, side), blocksize=parts, mode="CRD",
              shape=(batch, channels, side * parts, side * parts))  # fmt: skip


def _reduced(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Blocks of parts x parts pixels to channels."""
    graph.add("SpaceToDepth", graph.input(batch, channels, side * parts, side * parts), blocksize=parts,
              shape=(batch, channels * parts**2, side, side))  # fmt: skip


def _concat(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Images to one with all channels."""
    xs = [graph.input(batch, channels, side, side) for _ in range(parts)]
    graph.add("Concat", *xs, shape=(batch, parts * channels, side, side), axis=1)


def _append(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Sequences of tokens to a longer one."""
    xs = [graph.input(batch, side, channels) for _ in range(parts)]
    graph.add("Concat", *xs, shape=(batch, parts * side, channels), axis=1)


def _split(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """An image to pieces with equally many channels."""
    x, piece = graph.input(batch, parts * channels, side, side), (batch, channels, side, side)
    graph.add("Split", x, shape=piece, more=[piece] * (parts - 1), axis=1, num_outputs=parts)


def _slice(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """The first channels of an image."""
    places = [graph.constant(values, "int64") for values in ([0], [channels], [1])]
    shape = (batch, channels, side, side)
    graph.add("Slice", graph.input(batch, parts * channels, side, side), *places, shape=shape,
              reads=batch * channels * side * side * 4)  # fmt: skip


def _stride(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
    """Every pixel out of parts x parts."""
    places = [graph.constant(values, "int64") for values in ([0, 0], [parts * side] * 2, [2, 3], [parts] * 2)]
    shape = (batch, channels, side, side)
    graph.add("Slice", graph.input(batch, channels, parts * side, parts * side), *places, shape=shape,
              reads=batch * channels * side * side * 4)  # fmt: skip


def _padded(mode: str) -> Callable[..., None]:
    def write(graph: OperationGraph, batch: Size, parts: int, channels: Size, side: Size) -> None:
        """`parts` pixels at all sides of an image; reflections need more pixels than that."""
        sides = graph.constant([0, 0, parts, parts] * 2, "int64")
        wide = np.where(side > parts, side + 2 * parts, 0) if mode == "reflect" else side + 2 * parts
        graph.add(
            "Pad", graph.input(batch, channels, side, side), sides, mode=mode, shape=(batch, channels, wide, wide)
        )

    return write


_WRITERS: dict[str, Callable[..., None]] = {
    "nhwc": _nhwc, "nchw": _nchw, "swap": _swap, "heads": _heads, "merge": _merge, "windows": _windows,
    "shuffle": _shuffle, "depth_to_space": _enlarged, "space_to_depth": _reduced, "concat": _concat,
    "append": _append, "split": _split, "slice": _slice, "stride": _stride,
    "zeros": _padded("constant"), "reflect": _padded("reflect"),
}  # fmt: skip
_WHOLE = ("nhwc", "nchw", "swap")  # have no parts


@dataclass(frozen=True)
class Layout(Operation):
    """Changes of layout of 1 to 64 images or sequences, with 1 to 2,048 channels and 1 to 512 pixels per side, or
    tokens (`size`), per part.

    They are transpositions (nhwc, nchw, swap of channels and tokens), reshapes and transpositions (heads, merge of
    heads, windows, shuffle of channels), depth_to_space, space_to_depth, concat of channels, append of tokens, split
    of channels, slice of channels, a stride over pixels, and paddings with zeros or reflections. `parts` are 2, 3, 4
    or 8 heads, windows per side, groups, pixels per side of a block, pieces, or pixels of padding.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that are written (10^6).
    """

    kind: ClassVar[str] = "layout"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 512), size("channels", 1, 2048, rounded=True), choice("parts", "2", "3", "4", "8"),
        choice("op", *_WRITERS))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        parts = int(values["parts"])
        _WRITERS[values["op"]](graph, values["batch"], parts, values["channels"], values["size"])

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys with parts=2 where parts do not matter."""
        decisions = archs.decisions.copy()
        ops = [list(_WRITERS).index(op) for op in _WHOLE]
        decisions[np.isin(decisions[:, -1], ops), -2] = 0
        return self.format(Architectures(self, decisions))
