"""Products of two activations, as attention has them: heads times rows x inner times inner x columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, size


@dataclass(frozen=True)
class MatMul(Operation):
    """Batched products of (batch, heads, rows, inner) and (batch, heads, inner, columns).

    One row is a step of a decoder, up to 4,096 are a text's or an image's tokens; heads are up to 64.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "matmul"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("heads", 1, 64), size("rows", 1, 4096, rounded=True), size("inner", 1, 4096, rounded=True),
        size("columns", 1, 4096, rounded=True))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, heads, rows, inner, columns = (values[f.name] for f in self.features)
        graph.matmul(graph.input(batch, heads, rows, inner), graph.input(batch, heads, inner, columns))
