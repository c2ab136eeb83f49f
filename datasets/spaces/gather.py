"""Rows of a table by their numbers: embeddings of words, and a choice of tokens or rows of an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class Gather(Operation):
    """`count` rows (1 to 4,096) of `width` numbers (1 to 4,096) per sample, out of `rows` (2 to 32,768).

    An embedding takes the rows of a weight by an input of random numbers of rows. A selection takes rows, with
    constant numbers, of each sample of an activation (batch, rows, width).

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on elements of the output (10^6).
    """

    kind: ClassVar[str] = "gather"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, size("count", 1, 4096), size("rows", 2, 32768), size("width", 1, 4096, rounded=True),
        choice("from", "embedding", "activation"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, count, rows, width = (values[name] for name in ("batch", "count", "rows", "width"))
        taken = batch * count * width * 4
        if values["from"] == "embedding":
            ids = graph.input(batch, count, dtype="int64", name="ids")
            graph.add("Gather", graph.weight(rows, width, deviation=1.0), ids, shape=(batch, count, width),
                      reads=taken + ids.bytes)  # fmt: skip
        else:
            numbers = graph.constant(lambda: [i * _STEP % rows for i in range(count)], "int64", (count,))
            graph.add("Gather", graph.input(batch, rows, width), numbers, shape=(batch, count, width), axis=1,
                      reads=taken + -(-count * 8 // batch) * batch)  # fmt: skip


_STEP = 7919  # a prime number: rows in no order
