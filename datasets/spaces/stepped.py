"""Activations of a few instructions per element: ReLU and functions made of pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size

FUNCTIONS = ("relu", "relu6", "clip", "leaky", "prelu", "hardsigmoid", "hardswish", "hardswish_written")
"""Words of the feature `function`."""


@dataclass(frozen=True)
class Stepped(Operation):
    """Activations of images (batch, channels, size, size).

    `clip` limits to -1 and 1; `hardswish_written` is the sum, clipping, product and division that older exporters
    write; `prelu` has a slope per channel. Sides are 1 to 256, channels 4 to 2,048.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "stepped"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("channels", 4, 2048, rounded=True), size("size", 1, 256, rounded=True),
        choice("function", *FUNCTIONS))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        channels, side = values["channels"], values["size"]
        x = graph.input(values["batch"], channels, side, side)
        match values["function"]:
            case "relu6" | "clip" as name:
                graph.add("Clip", x, *map(graph.constant, (0.0, 6.0) if name == "relu6" else (-1.0, 1.0)))
            case "hardsigmoid":
                graph.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
            case "prelu":
                graph.add("PRelu", x, graph.weight(channels, 1, 1, mean=0.25, deviation=0.1))
            case "hardswish_written":
                y = graph.add("Clip", graph.add("Add", x, graph.constant(3.0)), *map(graph.constant, (0.0, 6.0)))
                graph.add("Div", graph.add("Mul", x, y), graph.constant(6.0))
            case name:
                graph.add({"relu": "Relu", "hardswish": "HardSwish", "leaky": "LeakyRelu"}[name], x)
