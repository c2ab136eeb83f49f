"""Elementwise ops of two tensors, of equal shapes or with one that is broadcast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size

OPS = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "where": "Where"}
"""ONNX's names of the functions."""


@dataclass(frozen=True)
class Elementwise(Operation):
    """Ops of (batch, channels, size, size) and a second tensor.

    The second one has the `same` shape (a residual connection), is a `scalar` constant, has a number per `channel` of
    each sample (squeeze and excitation) or one per column, a `row` for all (a bias). `where` selects between the two by
    a third. Sides are 1 to 256, channels 4 to 2,048.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "elementwise"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("channels", 4, 2048, rounded=True), size("size", 1, 256, rounded=True),
        choice("function", *OPS), choice("second", "same", "scalar", "channel", "row"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, channels, side = values["batch"], values["channels"], values["size"]
        x = graph.input(batch, channels, side, side)
        match values["second"]:
            case "same":
                y = graph.input(*x.shape)
            case "scalar":
                y = graph.constant(0.5)
            case "channel":
                y = graph.input(batch, channels, 1, 1)
            case _:
                y = graph.input(side)
        if values["function"] == "where":
            graph.add("Where", graph.input(*x.shape, dtype="bool"), x, y, dtype="float32")
        else:
            graph.add(OPS[values["function"]], x, y)
