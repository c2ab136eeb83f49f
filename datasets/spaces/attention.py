"""Attention of tokens to each other, as one op and written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from datasets.blocks.attention_nodes import GROUP, HEAD_SIZE, HEADS, attend, attend_written
from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class Attention(Operation):
    """Attention of `rows` queries to as many keys, without the linear layers around it; inputs are separate heads.

    `op` is ONNX's Attention (opset 23), `written` is what exporters write: products, a factor and a softmax. A `group`
    of heads shares keys and values; written, these are repeated first. The mask is none, `causal` (later keys are
    hidden; written, by a constant) or `added`, an input. There are 1 to 2,048 rows, and 1 to 32
    heads of keys with 8 to 256 numbers each.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "attention"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, HEADS, GROUP, HEAD_SIZE, size("rows", 1, 2048, rounded=True),
        choice("mask", "none", "causal", "added"), choice("form", "op", "written"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, heads, rows, width = (values[name] for name in ("batch", "heads", "rows", "size"))
        group, mask = int(values["group"]), values["mask"]
        q = graph.input(batch, group * heads, rows, width)
        k, v = (graph.input(batch, heads, rows, width) for _ in range(2))
        added = graph.input(rows, rows, name="mask") if mask == "added" else None
        if values["form"] == "op":
            attend(graph, q, k, v, added, is_causal=int(mask == "causal"))
        else:
            seen = graph.constant(lambda: np.tri(rows), "bool", (rows, rows)) if mask == "causal" else None
            attend_written(graph, q, k, v, group, added, seen)
