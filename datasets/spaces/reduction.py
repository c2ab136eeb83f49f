"""Means, sums, maxima, norms and positions of maxima of images and sequences, over space or over channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size
from datasets.blocks.windows import OF

_KINDS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "norm": "ReduceL2", "argmax": "ArgMax"}


@dataclass(frozen=True)
class Reduction(Operation):
    """Reductions of 1 to 64 images (channels, size, size) or sequences (size, channels): 1 to 4,096 channels, sizes of
    1 to 2,048.

    Over channels an image becomes one number per pixel, and a sequence one per token; over space both become one number
    per channel. The position of a maximum over an image's space is that in
    its flattened pixels, as in networks of heatmaps. With keep=1 the reduced dimensions stay with size 1.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements of the output (10^6).
    """

    kind: ClassVar[str] = "reduction"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 2048), size("channels", 1, 4096, rounded=True), choice("op", *_KINDS),
        choice("over", "space", "channels"), choice("keep", "0", "1"), OF)  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, channels, side, image = values["batch"], values["channels"], values["size"], values["of"] == "image"
        x = graph.input(batch, channels, side, side) if image else graph.input(batch, side, channels)
        channel = 1 if image else 2
        axes = [channel] if values["over"] == "channels" else [2, 3] if image else [1]
        single = values["op"] == "argmax"
        if single and len(axes) > 1:
            x, axes = graph.reshape(x, batch, channels, side * side), [2]
        keep = int(values["keep"])
        sides = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis not in axes]
        kind = _KINDS[values["op"]]
        if single:
            graph.add(kind, x, shape=tuple(sides), dtype="int64", axis=axes[0], keepdims=keep)
        else:
            graph.add(kind, x, graph.constant(axes, "int64"), shape=tuple(sides), keepdims=keep)
