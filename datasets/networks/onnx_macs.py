"""Multiply-accumulates of the nodes of ONNX graphs that multiply matrices, by their shapes and attributes.

A table, kind of node -> function; kinds outside of ONNX's own operators stand there with their domain. What a function
gives is of a whole run, all samples of a batch together.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.networks.onnx_graph import Graph, Node

MS = "com.microsoft."
"""The domain of onnxruntime's own operators, as kinds of nodes begin with it."""

_EXACT = 8  # operands of an Einsum whose best order is looked for among all
_MOST = 32  # operands of an Einsum that are looked at


def macs_of(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of a node in one run; 0 where it has none, or inputs that its kind does not have, so that
    nothing is known."""
    count = MACS.get(node.kind)
    try:
        return max(count(node, graph), 0) if count else 0
    except (IndexError, KeyError, ValueError, TypeError, ZeroDivisionError, OverflowError):
        return 0


def _at(node: Node, index: int) -> str:
    """The name of an input; '' where there is none."""
    return node.inputs[index] if index < len(node.inputs) else ""


def _size(graph: Graph, name: str) -> int:
    return math.prod(graph.full(name))


def _rows(node: Node, graph: Graph) -> int:
    """A product of two tensors of any ranks: each number of the output is a sum over the first one's last dimension."""
    inner = -2 if node.attrs.get("transA") else -1
    if node.attrs.get("transA") and node.attrs.get("transBatchA"):
        inner = 0
    return _size(graph, node.outputs[0]) * graph.full(node.inputs[0])[inner]


def _blocks(node: Node, graph: Graph) -> int:
    """A product with a matrix of K rows that is packed in blocks."""
    return _size(graph, node.outputs[0]) * int(node.attrs["K"])


def _windows(kernel: int) -> Callable[[Node, Graph], int]:
    """A convolution whose kernel (out, in / groups, *window) is input number `kernel`."""
    return lambda node, graph: _size(graph, node.outputs[0]) * math.prod(graph.full(node.inputs[kernel])[1:])


def _transposed(node: Node, graph: Graph) -> int:
    """Every number of the input meets its channel's kernels, cropped outputs included."""
    return _size(graph, node.inputs[0]) * math.prod(graph.full(node.inputs[1])[1:])


def _recurrent(node: Node, graph: Graph) -> int:
    """Steps x samples x all weights of the gates, which are (directions, gates x hidden, inputs or hidden)."""
    steps, samples, _ = graph.full(node.inputs[0])
    return steps * samples * (_size(graph, node.inputs[1]) + _size(graph, node.inputs[2]))


def _coefficients(node: Node, graph: Graph) -> int:
    """A linear model of scikit-learn's: the coefficients are an attribute."""
    return _size(graph, node.inputs[0]) // graph.full(node.inputs[0])[-1] * len(node.attrs["coefficients"])


# Attention: queries x keys, then weights x values


def _attention(node: Node, graph: Graph) -> int:
    """ONNX's own, of (batch, heads, length, size) or (batch, length, heads x size) with heads as attributes."""
    q, k, v = (graph.full(name) for name in node.inputs[:3])
    past = graph.full(_at(node, 4))[2] if _at(node, 4) else 0
    if len(q) == 4:
        return math.prod(q[:3]) * (k[2] + past) * (q[3] + v[3])
    values = int(node.attrs["q_num_heads"]) * v[2] // int(node.attrs["kv_num_heads"])
    return q[0] * q[1] * (k[1] + past) * (q[2] + values)


def _packed_attention(past: int) -> Callable[[Node, Graph], int]:
    """onnxruntime's, which makes queries, keys and values of one input by weights (inputs, sum of their sizes); input
    number `past` is (2, batch, heads, length, size)."""

    def count(node: Node, graph: Graph) -> int:
        (batch, length, width), sizes = graph.full(node.inputs[0]), graph.full(node.inputs[1])[1]
        q, _, v = (int(size) for size in node.attrs.get("qkv_hidden_sizes") or [sizes // 3] * 3)
        seen = length + (graph.full(_at(node, past))[3] if _at(node, past) else 0)
        return batch * length * (width * sizes + seen * (q + v))

    return count


def _multi_head(past: int) -> Callable[[Node, Graph], int]:
    """Of queries (batch, length, width), keys and values alike or already split into heads, or all packed as (batch,
    length, heads, 3, size), or keys and values as (..., 2, size); input `past` is (batch, heads, length, size)."""

    def count(node: Node, graph: Graph) -> int:
        q = graph.full(node.inputs[0])
        k = graph.full(_at(node, 1)) if _at(node, 1) else ()
        v = graph.full(_at(node, 2)) if _at(node, 2) else ()
        width = q[2] * (q[4] if len(q) == 5 else 1)
        values = v[2] if len(v) == 3 else v[1] * v[3] if v else width
        seen = k[2] if len(k) == 4 else k[1] if k else q[1]
        seen += graph.full(_at(node, past))[2] if _at(node, past) else 0
        return q[0] * q[1] * seen * (width + values)

    return count


def _grouped_query(node: Node, graph: Graph) -> int:
    """Queries (batch, length, heads x size), or packed with keys and values of fewer heads. What is attended to is as
    long as `total_sequence_length` says where that is known, else as the present keys, and no longer than a window."""
    batch, length, width = graph.full(node.inputs[0])
    heads, others = int(node.attrs["num_heads"]), int(node.attrs["kv_num_heads"])
    if not _at(node, 1):
        width = width * heads // (heads + 2 * others)
    past = graph.full(_at(node, 3))[2] if _at(node, 3) else 0
    total = graph.constants.get(_at(node, 6))
    present = graph.shapes.get(node.outputs[1]) if len(node.outputs) > 1 else None
    seen = int(total.reshape(-1)[0]) if total is not None else present[2] if present else past + length
    window = int(node.attrs.get("local_window_size", -1))
    return batch * length * (min(seen, window) if window > 0 else seen) * 2 * width


# Einsum


def _einsum(node: Node, graph: Graph) -> int:
    """The least that an order of products of two operands each needs."""
    return contraction(str(node.attrs["equation"]), [graph.full(name) for name in node.inputs])


def contraction(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Multiply-accumulates of an Einsum in the cheapest order of products of two operands each.

    What only one of two operands has and nothing later needs is summed before they are multiplied. The order is the
    best of all of up to eight operands; of more, always the next product that costs least.

    Args:
        equation: with or without an ellipsis and a right side.
        shapes: of the operands.

    Raises:
        ValueError: they do not fit.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_letters(term, len(shape)) for term, shape in zip(left.split(","), shapes, strict=True)]
    if len(terms) > _MOST:
        raise ValueError("too many operands")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if 1 not in (size, sizes.get(letter, 1)) and size != sizes[letter]:
                raise ValueError(f"{letter} has two sizes")
            sizes[letter] = max(sizes.get(letter, 1), size)
    often = Counter(itertools.chain(*terms))
    open_ = {letter for letter in often if letter.isdigit()}
    kept = open_ | (set(right) - {"."} if arrow else {letter for letter, count in often.items() if count == 1})
    sets = [
        frozenset(letter for letter, size in zip(term, shape, strict=True) if size > 1)  # of one: it is repeated
        for term, shape in zip(terms, shapes, strict=True)
    ]
    every = frozenset(range(len(sets)))

    @cache
    def left_of(group: frozenset[int]) -> frozenset[str]:
        """The letters of what some operands' product is."""
        others = kept.union(*(sets[i] for i in every - group))
        return frozenset().union(*(sets[i] for i in group)) & others

    def price(one: frozenset[int], other: frozenset[int]) -> int:
        return math.prod(sizes[letter] for letter in left_of(one) | left_of(other))

    @cache
    def best(group: frozenset[int]) -> int:
        if len(group) == 1:
            return 0
        first, *rest = sorted(group)
        halves = (frozenset((first, *more)) for n in range(len(rest)) for more in itertools.combinations(rest, n))
        return min(best(half) + best(group - half) + price(half, group - half) for half in halves)

    if len(sets) <= _EXACT:
        return best(every)
    groups, total = [frozenset((i,)) for i in every], 0
    while len(groups) > 1:
        cost, one, other = min(
            ((price(a, b), a, b) for a, b in itertools.combinations(groups, 2)), key=lambda found: found[0]
        )
        groups, total = [g for g in groups if g not in (one, other)] + [one | other], total + cost
    return total


def _letters(term: str, rank: int) -> list[str]:
    """One name a dimension; those of the ellipsis are numbers, counted from the last."""
    before, dots, behind = term.partition("...")
    more = rank - len(before) - len(behind)
    if more < 0 or (more and not dots):
        raise ValueError(f"{term} has not {rank} dimensions")
    return [*before, *(str(n) for n in range(more, 0, -1)), *behind]


def _all(names: str, count: Callable[[Node, Graph], int], domain: str = "") -> Iterable[tuple[str, Callable]]:
    return ((domain + name, count) for name in names.split())


MACS: dict[str, Callable[[Node, Graph], int]] = dict((
    *_all("MatMul Gemm MatMulInteger QLinearMatMul", _rows),
    *_all("FusedMatMul TransposeMatMul FusedGemm GemmFastGelu GemmFloat8 QGemm DynamicQuantizeMatMul "
          "MatMulIntegerToFloat MatMulInteger16", _rows, MS),
    *_all("MatMulNBits MatMulBnb4", _blocks, MS),
    *_all("Conv ConvInteger DeformConv", _windows(1)),
    *_all("FusedConv NhwcFusedConv NhwcConv nchwc.Conv", _windows(1), MS),
    *_all("QLinearConv", _windows(3)),
    *_all("QLinearConv", _windows(3), MS),
    *_all("ConvTranspose", _transposed),
    *_all("ConvTransposeWithDynamicPads", _transposed, MS),
    *_all("LSTM GRU RNN", _recurrent),
    *_all("DynamicQuantizeLSTM", _recurrent, MS),
    ("Einsum", _einsum),
    ("Attention", _attention),
    *_all("Attention", _packed_attention(4), MS),
    *_all("QAttention", _packed_attention(8), MS),
    *_all("MultiHeadAttention", _multi_head(6), MS),
    *_all("DecoderMaskedMultiHeadAttention", _multi_head(5), MS),
    *_all("GroupQueryAttention", _grouped_query, MS),
    *_all("LinearRegressor LinearClassifier", _coefficients, "ai.onnx.ml."),
))  # fmt: skip
"""Kinds of nodes that multiply matrices, and what counts their multiply-accumulates."""
