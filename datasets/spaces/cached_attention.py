"""Attention with a cache: a decoder's new tokens attend to all earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from datasets.blocks.attention_nodes import GROUP, HEAD_SIZE, HEADS, attend, attend_written
from datasets.blocks.layers import Feature
from datasets.blocks.operation_graph import OperationGraph
from datasets.blocks.operations import BATCH, Operation, choice, size


@dataclass(frozen=True)
class CachedAttention(Operation):
    """Attention of `rows` new queries to `past` cached keys and their own; the longer cache is a further output.

    `op` is ONNX's Attention (opset 23) with past and present keys and values, `written` concatenates them. Half of the
    samples have one row, a step of a decoder; up to 32 are a checked draft or a part of a prompt. Up to 4,096 keys are
    cached; a `group` of heads shares keys and values.

    Attributes:
        megabytes: limit on activations alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6).
    """

    kind: ClassVar[str] = "cached_attention"
    features: ClassVar[tuple[Feature, ...]] = (
        BATCH, HEADS, GROUP, HEAD_SIZE, size("rows", 1, 32, common=(1,)), size("past", 1, 4096, rounded=True),
        choice("form", "op", "written"))  # fmt: skip

    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        batch, heads, rows, past, width = (values[name] for name in ("batch", "heads", "rows", "past", "size"))
        group = int(values["group"])
        q = graph.input(batch, group * heads, rows, width)
        k, v = (graph.input(batch, heads, rows, width) for _ in range(2))
        old = [graph.input(batch, heads, past, width) for _ in range(2)]
        shape = (batch, heads, past + rows, width)
        if values["form"] == "op":
            attend(graph, q, k, v, None, *old)
            graph.outputs = graph.nodes[-1].outputs
            return
        k, v = (graph.add("Concat", a, b, shape=shape, axis=2) for a, b in zip(old, (k, v), strict=True))
        graph.outputs = [attend_written(graph, q, k, v, group), k, v]
