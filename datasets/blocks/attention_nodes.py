"""Nodes of attention: ONNX's op, and what exporters write instead."""

from __future__ import annotations

import math
from typing import Any

from datasets.blocks.operation_graph import OperationGraph, Tensor
from datasets.blocks.operations import choice, size

HEADS = size("heads", 1, 32)
"""Heads of keys and values."""
GROUP = choice("group", "1", "2", "4", "8")._replace(common=(0,))
"""Heads of queries per head of keys and values."""
HEAD_SIZE = size("size", 8, 256, rounded=True, common=(32, 64, 128))

HIDDEN = -1e9
"""Score of a key that a mask hides."""


def attend(graph: OperationGraph, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *past: Tensor,
           **attrs: Any) -> Tensor:  # fmt: skip
    """Add ONNX's Attention of queries (batch, heads, rows, size) to keys and values (batch, fewer heads, keys, size).

    Args:
        graph: the graph.
        q, k, v: queries, keys and values.
        mask: numbers (rows, keys) that are added to scores.
        past: earlier keys and values, which make the node return all of them, too.
        attrs: of the node.
    """
    keys = k.shape[2] + past[0].shape[2] if past else k.shape[2]
    macs = 2 * math.prod(q.shape) * keys
    inputs = (q, k, v, mask, *past) if past else (q, k, v, mask) if mask else (q, k, v)
    more = [(*k.shape[:2], keys, k.shape[3])] * len(past)
    return graph.add("Attention", *inputs, macs=macs, more=more, **attrs)


def attend_written(graph: OperationGraph, q: Tensor, k: Tensor, v: Tensor, group: int, mask: Tensor | None = None,
                   seen: Tensor | None = None) -> Tensor:  # fmt: skip
    """Add the products, the scaling and the softmax of attention.

    Args:
        graph: the graph.
        q, k, v: queries (batch, heads, rows, size), and keys and values of heads / `group` heads, which are repeated.
        group: heads that share keys and values.
        mask: numbers (rows, keys) that are added to scores.
        seen: booleans (rows, keys), false where scores are hidden.
    """
    scale = graph.constant(lambda: q.shape[3] ** -0.5, shape=())
    if group > 1:
        k, v = (_repeated(graph, x, group) for x in (k, v))
    scores = graph.matmul(q, graph.transpose(k, 0, 1, 3, 2))
    scores = graph.add("Mul", scores, scale)
    if mask:
        scores = graph.add("Add", scores, mask)
    if seen:
        scores = graph.add("Where", seen, scores, graph.constant(HIDDEN), shape=scores.shape, dtype="float32")
    return graph.matmul(graph.add("Softmax", scores, axis=-1), v)


def _repeated(graph: OperationGraph, x: Tensor, group: int) -> Tensor:
    """Every head `group` times."""
    batch, heads, keys, size = x.shape
    wide = (batch, heads, group, keys, size)
    one = graph.add("Unsqueeze", x, graph.constant([2], "int64"), shape=(batch, heads, 1, keys, size))
    many = graph.add("Expand", one, graph.constant(list(wide), "int64"), shape=wide)
    return graph.reshape(many, batch, heads * group, keys, size)
