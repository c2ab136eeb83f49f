"""Softmax and its logarithm, over the last dimension or over channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class Softmax(Operation):
    """Softmax of (batch, rows, columns) over the columns, or of (batch, columns, rows) over channels that are not last.

    Columns are 1 to 8,192 (keys of attention, classes, words), rows as many (queries of all heads, pixels).

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on elements that nodes write per run (10^6).
    """

    kind: ClassVar[str] = "softmax"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("rows", 1, 8192, rounded=True), size("columns", 1, 8192, rounded=True),
        choice("axis", "last", "channels"), choice("log", "no", "yes"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        last = values["axis"] == "last"
        sides = ("rows", "columns") if last else ("columns", "rows")
        x = graph.input(values["batch"], *(values[name] for name in sides))
        graph.add("LogSoftmax" if values["log"] == "yes" else "Softmax", x, axis=2 if last else 1)
