"""Multiply-accumulates of the nodes of ONNX graphs that multiply matrices, by their shapes and attributes.

A table, kind of node -> function; kinds of other domains than ONNX's own begin with the domain. A function returns the
number for a whole run, all samples of a batch together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from datasets.networks.einsum import contraction

if TYPE_CHECKING:
    from datasets.networks.onnx_graph import Graph, Node

MS = "com.microsoft."
"""Prefix of the kinds of onnxruntime's own operators, their domain."""


def macs_of(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of a node in one run; 0 if it has none, or if its inputs do not fit its kind."""
    count = MACS.get(node.kind)
    try:
        return max(count(node, graph), 0) if count else 0
    except (IndexError, KeyError, ValueError, TypeError, ZeroDivisionError, OverflowError):
        return 0


def _at(node: Node, index: int) -> str:
    """The name of an input; '' if there is none."""
    return node.inputs[index] if index < len(node.inputs) else ""


def _size(graph: Graph, name: str) -> int:
    return math.prod(graph.full(name))


def _rows(node: Node, graph: Graph) -> int:
    """A product of two tensors of any ranks; each output element is a sum over the first one's last dimension."""
    inner = -2 if node.attrs.get("transA") else -1
    if node.attrs.get("transA") and node.attrs.get("transBatchA"):
        inner = 0
    return _size(graph, node.outputs[0]) * graph.full(node.inputs[0])[inner]


def _blocks(node: Node, graph: Graph) -> int:
    """A product with a matrix of K rows, packed in blocks."""
    return _size(graph, node.outputs[0]) * int(node.attrs["K"])


def _several(*sides: tuple[str, int]) -> Callable[[Node, Graph], int]:
    """Products of an input with several packed matrices, given by attributes with their numbers of columns."""

    def count(node: Node, graph: Graph) -> int:
        columns = sum(times * int(node.attrs[name]) for name, times in sides)
        return _size(graph, node.inputs[0]) * columns

    return count


def _experts(weights: Sequence[int]) -> Callable[[Node, Graph], int]:
    """A mixture of experts, `k` per row; the inputs `weights` are (experts, rows, columns), packed if quantised."""

    def count(node: Node, graph: Graph) -> int:
        rows = _size(graph, node.inputs[1]) // graph.full(node.inputs[1])[-1]
        names = [name for index in weights if (name := _at(node, index))]
        packed = [8 // int(node.attrs.get("expert_weight_bits", 4)) if graph.bits(name) == 8 else 1 for name in names]
        each = sum(math.prod(graph.full(name)[1:]) * times for name, times in zip(names, packed, strict=True))
        return rows * int(node.attrs.get("k", 1)) * each

    return count


def _windows(kernel: int) -> Callable[[Node, Graph], int]:
    """A convolution with kernel (out, in / groups, *window) as input number `kernel`."""
    return lambda node, graph: _size(graph, node.outputs[0]) * math.prod(graph.full(node.inputs[kernel])[1:])


def _transposed(node: Node, graph: Graph) -> int:
    """A transposed convolution: each input element times its channel's kernels, cropped outputs included."""
    return _size(graph, node.inputs[0]) * math.prod(graph.full(node.inputs[1])[1:])


def _recurrent(node: Node, graph: Graph) -> int:
    """Steps x samples x weights of all gates, which are (directions, gates x hidden, inputs or hidden)."""
    steps, samples, _ = graph.full(node.inputs[0])
    return steps * samples * (_size(graph, node.inputs[1]) + _size(graph, node.inputs[2]))


def _coefficients(node: Node, graph: Graph) -> int:
    """A linear model of scikit-learn, with its coefficients as an attribute."""
    return _size(graph, node.inputs[0]) // graph.full(node.inputs[0])[-1] * len(node.attrs["coefficients"])


# Attention: queries x keys, then weights x values


def _attention(node: Node, graph: Graph) -> int:
    """ONNX's attention of (batch, heads, length, size), or (batch, length, heads x size) with heads as attributes."""
    q, k, v = (graph.full(name) for name in node.inputs[:3])
    past = graph.full(_at(node, 4))[2] if _at(node, 4) else 0
    if len(q) == 4:
        return math.prod(q[:3]) * (k[2] + past) * (q[3] + v[3])
    values = int(node.attrs["q_num_heads"]) * v[2] // int(node.attrs["kv_num_heads"])
    return q[0] * q[1] * (k[1] + past) * (q[2] + values)


def _packed_attention(past: int) -> Callable[[Node, Graph], int]:
    """onnxruntime's attention that computes queries, keys and values from one input by weights (inputs, sum of their
    sizes); input number `past` is (2, batch, heads, length, size)."""

    def count(node: Node, graph: Graph) -> int:
        (batch, length, width), sizes = graph.full(node.inputs[0]), graph.full(node.inputs[1])[1]
        q, _, v = (int(size) for size in node.attrs.get("qkv_hidden_sizes") or [sizes // 3] * 3)
        seen = length + (graph.full(_at(node, past))[3] if _at(node, past) else 0)
        return batch * length * (width * sizes + seen * (q + v))

    return count


def _multi_head(past: int) -> Callable[[Node, Graph], int]:
    """Attention of queries, keys and values (batch, length, width), the latter two possibly split into heads; or all
    packed as (batch, length, heads, 3, size), or keys and values as (..., 2, size). Input number `past` is (batch,
    heads, length, size)."""

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
    """Attention of queries (batch, length, heads x size), or of queries packed with keys and values of fewer heads. The
    length of keys is `total_sequence_length` if known, else that of the present keys, and at most a window."""
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


def _linear_attention(node: Node, graph: Graph) -> int:
    """Per step and head: keys x values for the update of a state, twice with a delta rule, and queries x state."""
    (batch, steps, q), v = graph.full(node.inputs[0]), graph.full(node.inputs[2])[2]
    heads, states = int(node.attrs["q_num_heads"]), int(node.attrs["kv_num_heads"])
    updates = 2 if "delta" in str(node.attrs.get("update_rule", "gated_delta")) else 1
    return batch * steps * (q // heads) * (v // states) * (heads + updates * states)


def _einsum(node: Node, graph: Graph) -> int:
    """The cheapest order of products of two operands each."""
    return contraction(str(node.attrs["equation"]), tuple(graph.full(name) for name in node.inputs))


def _all(names: str, count: Callable[[Node, Graph], int], domain: str = "") -> Iterable[tuple[str, Callable]]:
    return ((domain + name, count) for name in names.split())


MACS: dict[str, Callable[[Node, Graph], int]] = dict((
    *_all("MatMul Gemm MatMulInteger QLinearMatMul", _rows),
    *_all("FusedMatMul TransposeMatMul FusedGemm GemmFastGelu GemmFloat8 QGemm DynamicQuantizeMatMul CDist "
          "MatMulIntegerToFloat MatMulInteger16 FusedMatMulActivation QOrderedMatMul "
          "MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight", _rows, MS),
    *_all("MatMulNBits MatMulBnb4", _blocks, MS),
    *_all("MatMulNBitsMlp", _several(("N", 2)), MS),
    *_all("MatMulNBitsQkv", _several(("Nq", 1), ("Nkv", 2)), MS),
    *_all("MoE", _experts((2, 4, 6)), MS),
    *_all("QMoE", _experts((2, 5, 8)), MS),
    *_all("Conv ConvInteger DeformConv CausalConvWithState", _windows(1)),
    *_all("FusedConv NhwcFusedConv NhwcConv nchwc.Conv CausalConvWithState", _windows(1), MS),
    *_all("QLinearConv", _windows(3)),
    *_all("QLinearConv", _windows(3), MS),
    *_all("ConvTranspose", _transposed),
    *_all("ConvTransposeWithDynamicPads", _transposed, MS),
    *_all("LSTM GRU RNN", _recurrent),
    *_all("DynamicQuantizeLSTM", _recurrent, MS),
    ("Einsum", _einsum),
    ("Attention", _attention),
    ("ai.onnx.preview.FlexAttention", _attention),
    ("LinearAttention", _linear_attention),
    *_all("LinearAttention", _linear_attention, MS),
    *_all("Attention DecoderMaskedSelfAttention", _packed_attention(4), MS),
    *_all("QAttention", _packed_attention(8), MS),
    *_all("MultiHeadAttention", _multi_head(6), MS),
    *_all("DecoderMaskedMultiHeadAttention", _multi_head(5), MS),
    *_all("GroupQueryAttention", _grouped_query, MS),
    *_all("LinearRegressor LinearClassifier", _coefficients, "ai.onnx.ml."),
))  # fmt: skip
"""Kind of a node that multiplies matrices -> function that counts its multiply-accumulates."""
