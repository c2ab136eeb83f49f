"""Products of an activation and a weight: the linear layers of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class Linear(Operation):
    """Products of (batch, rows, inner) and a weight (inner, columns), with a bias as a node of its own or without one.

    One row is a step of a language model's decoder, up to 4,096 are a text's or an image's tokens; weights have up to
    8,192 x 8,192 numbers, as in models of 7 * 10^9 parameters.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "linear"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("rows", 1, 4096, rounded=True), size("inner", 1, 8192, rounded=True),
        size("columns", 1, 8192, rounded=True), choice("bias", "no", "yes"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, rows, inner, columns = (values[name] for name in ("batch", "rows", "inner", "columns"))
        y = graph.matmul(graph.input(batch, rows, inner), graph.weight(inner, columns))
        if values["bias"] == "yes":
            graph.add("Add", y, graph.weight(columns))
