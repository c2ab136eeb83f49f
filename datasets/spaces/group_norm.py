"""Normalisation of images: group norm, as one op and written out, and instance norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class GroupNorm(Operation):
    """Normalisation of (batch, groups * width, size, size) over each group, with a factor and a summand per channel.

    `op` is ONNX's GroupNormalization, `written` the reshaped InstanceNormalization that PyTorch exports instead, and
    `instance` an InstanceNormalization, for which every channel is a group. Sides are 2 to 256.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "group_norm"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("groups", 1, 64), size("width", 2, 64, rounded=True), size("size", 2, 256, rounded=True),
        choice("form", "op", "written", "instance"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, groups, width, side = (values[name] for name in ("batch", "groups", "width", "size"))
        channels, form = groups * width, values["form"]
        x = graph.input(batch, channels, side, side)
        if form == "written":
            flat = graph.reshape(x, batch, groups, width * side * side)
            ones, zeros = graph.weight(groups, mean=1.0, deviation=0.0), graph.weight(groups, deviation=0.0)
            y = graph.add("InstanceNormalization", flat, ones, zeros, epsilon=1e-5)
            y = graph.reshape(y, batch, channels, side, side)
            y = graph.add("Mul", y, graph.weight(channels, 1, 1, mean=1.0, deviation=0.1))
            graph.add("Add", y, graph.weight(channels, 1, 1, deviation=0.1))
            return
        weights = graph.weight(channels, mean=1.0, deviation=0.1), graph.weight(channels, deviation=0.1)
        if form == "op":
            graph.add("GroupNormalization", x, *weights, num_groups=groups, epsilon=1e-5)
        else:
            graph.add("InstanceNormalization", x, *weights, epsilon=1e-5)
