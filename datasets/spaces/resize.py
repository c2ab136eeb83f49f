"""Changes of the size of images, by which decoders and pyramids of features bring them to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size

_MODES: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "cubic": {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75},
}
"""Modes by the names of torch; `corners` is linear with align_corners."""
_READ = {"nearest": 1, "linear": 4, "corners": 4, "cubic": 16}
"""Elements of the input per element of the output."""


@dataclass(frozen=True)
class Resize(Operation):
    """1 to 64 images of size x size resized to size * eighths / 8, rounded down: from an eighth to eight times.

    Sizes are 1 to 512, channels 1 to 2,048. Half of the samples are resized to two or four times the size, or to half
    of it.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements of the input that are read (10^6): 1, 4 or 16 (cubic) per element of the output.
    """

    kind: ClassVar[str] = "resize"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("size", 1, 512), size("channels", 1, 2048, rounded=True),
        Feature("eighths", "eighths", 1, 64, log=True, common=(16, 16, 32, 4)), choice("mode", *_MODES))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, channels, side = values["batch"], values["channels"], values["size"]
        shape = (batch, channels, *[side * values["eighths"] // 8] * 2)
        x, sizes = graph.input(batch, channels, side, side), graph.constant(list(shape), "int64")
        mode = values["mode"]
        graph.add(
            "Resize", x, None, None, sizes, shape=shape, operations=math.prod(shape) * _READ[mode], **_MODES[mode]
        )
