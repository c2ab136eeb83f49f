"""Output shapes of `com.microsoft` operators, which onnxruntime's optimiser and exporters of transformers write.

The operators are described in onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Domains of onnxruntime's own operators."""

_FIRST = """
BiasGelu BiasSoftmax BiasDropout BiasAdd FastGelu QuickGelu Gelu Silu FusedGelu SkipLayerNormalization
SimplifiedLayerNormalization SkipSimplifiedLayerNormalization LayerNormalization GroupNorm SkipGroupNorm
RotaryEmbedding GemmaRotaryEmbedding Trilu MoE QMoE QLinearSigmoid QLinearLeakyRelu QLinearSoftmax ReorderInput
BitmaskDropout Inverse ExpandDims FusedMatMulActivation MulSigmoid Sigmoid DecoderMaskedSelfAttention
LongformerAttention NGramRepeatBlock RestorePadding Affine ImageScaler ParametricSoftplus ScaledTanh"""
SAME = frozenset(_FIRST.split())
"""Operators whose outputs have the shape of the first input."""

_UNNAMED = "SimplifiedLayerNormalization LayerNormalization Affine ImageScaler ParametricSoftplus ScaledTanh"
UNNAMED = frozenset(_UNNAMED.split())
"""Operators that onnxruntime writes without a domain, though ONNX itself may have no such operator."""

_CONV = ("kernel_shape", "pads", "strides", "dilations", "auto_pad", "group")
_POOL = (*_CONV, "ceil_mode", "count_include_pad", "storage_order")
_EQUIVALENT: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
    "FusedConv": ("Conv", (0, 1), _CONV),
    "Conv": ("Conv", (0, 1), _CONV),
    "QLinearAveragePool": ("AveragePool", (0,), _POOL),
    "AveragePool": ("AveragePool", (0,), _POOL),
    "MaxPool": ("MaxPool", (0,), _POOL),
    "GlobalAveragePool": ("GlobalAveragePool", (0,), ()),
    "GlobalMaxPool": ("GlobalMaxPool", (0,), ()),
    "FusedGemm": ("Gemm", (0, 1), ("transA", "transB")),
    "QGemm": ("Gemm", (0, 3), ("transA", "transB")),
    "GemmFastGelu": ("MatMul", (0, 1), ()),
    "GemmFloat8": ("Gemm", (0, 1), ("transA", "transB")),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1), ()),
    "MatMulIntegerToFloat": ("MatMul", (0, 1), ()),
    "MatMulInteger16": ("MatMul", (0, 1), ()),
    "QLinearReduceMean": ("ReduceMean", (0,), ("axes", "keepdims")),
    "QLinearWhere": ("Where", (0, 1, 5), ()),
    "DynamicQuantizeLSTM": ("LSTM", (0, 1, 2), ("hidden_size", "direction", "layout")),
    "GridSample": ("GridSample", (0, 1), ("mode", "padding_mode", "align_corners")),
    "QuantizeLinear": ("Identity", (0,), ()),
    "DequantizeLinear": ("Identity", (0,), ()),
}
"""Operator -> ONNX's operator with equal output shapes, indices of that one's inputs, and their common attributes."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One operator: its kind, shapes of its inputs (None for missing ones), attributes and number of outputs."""

    kind: str
    shapes: Sequence[Shape | None]
    attrs: Mapping[str, Any]
    outputs: int

    def shape(self, index: int) -> Shape:
        """The shape of a required input; raises IndexError or TypeError if it is missing."""
        return tuple(self.shapes[index])  # type: ignore[arg-type]

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return len(self.shapes) > index and self.shapes[index] is not None


def equivalent(kind: str) -> tuple[str, tuple[int, ...], tuple[str, ...]] | None:
    """ONNX's operator with equal output shapes: its name, indices of inputs and names of attributes; or None."""
    return _EQUIVALENT.get(kind)


def output_shapes(call: Call) -> list[Shape | None]:
    """Shapes of the outputs, None for unknown ones; [] for an unknown operator.

    Raises:
        IndexError, TypeError, ValueError, KeyError, ZeroDivisionError: an input or attribute is missing or does not
            fit.
    """
    if call.kind in SAME:
        x = call.shape(0)
        if call.kind == "ReorderInput" and call.attrs.get("channels_last"):
            x = (x[0], x[-1], *x[1:-1])
        normed = "Normalization" in call.kind
        return [x, *([(*x[:-1], 1)] * 2 if normed else [x, x]), x]
    rule = _RULES.get(call.kind)
    return [] if rule is None else rule(call)


def _broadcast(*shapes: Shape) -> Shape:
    import numpy as np

    return tuple(int(n) for n in np.broadcast_shapes(*shapes))


def _matmul(a: Shape, b: Shape) -> Shape:
    if len(b) == 1:
        return a[:-1]
    return (*_broadcast(a[:-2], b[:-2]), *a[-2:-1], b[-1])


def _turned(shape: Shape, call: Call, letter: str) -> Shape:
    if call.attrs.get(f"transBatch{letter}"):
        shape = (*shape[1:-1], shape[0], shape[-1])
    return (*shape[:-2], shape[-1], shape[-2]) if call.attrs.get(f"trans{letter}") else shape


def _fused_matmul(c: Call) -> list[Shape | None]:
    return [_matmul(_turned(c.shape(0), c, "A"), _turned(c.shape(1), c, "B"))]


def _attention(c: Call) -> list[Shape | None]:
    """Attention and QAttention: weights [D, q + k + v], in equal parts unless there is a `qkv_hidden_sizes`."""
    batch, length, _ = c.shape(0)
    sizes = c.attrs.get("qkv_hidden_sizes")
    wide = sizes[2] if sizes else c.shape(1)[-1] // 3
    heads = c.attrs["num_heads"]
    past = c.shape(8 if c.kind == "QAttention" else 4)[3] if c.has(8 if c.kind == "QAttention" else 4) else 0
    return [(batch, length, wide), (2, batch, heads, past + length, wide // heads)]


def _multi_head(c: Call) -> list[Shape | None]:
    """MultiHeadAttention: query [B, L, D], or [B, L, heads, 3, D / heads] with all three; key, value; past key at 6."""
    query, heads = c.shape(0), c.attrs["num_heads"]
    batch, length = query[:2]
    if len(query) == 5:
        wide, source = heads * query[4], length
    elif not c.has(1):
        wide, source = query[2] // 3, length
    else:
        key = c.shape(1)
        source = key[2] if len(key) == 4 else key[1]
        wide = query[2]
        if c.has(2):
            value = c.shape(2)
            wide = value[1] * value[3] if len(value) == 4 else value[2]
    past = c.shape(6)[2] if c.has(6) else 0
    present = (batch, heads, past + source, wide // heads)
    return [(batch, length, wide), present, present]


def _grouped(c: Call) -> list[Shape | None]:
    """GroupQueryAttention: query [B, L, heads * H], or all three packed; past key [B, kv heads, P, H] at 3."""
    batch, length, wide = c.shape(0)
    heads, kv = c.attrs["num_heads"], c.attrs["kv_num_heads"]
    head = wide // heads if c.has(1) else wide // (heads + 2 * kv)
    past = c.shape(3)[2] if c.has(3) else 0
    present = (batch, kv, past + length, head)
    return [(batch, length, heads * head), present, present]


def _embed(c: Call) -> list[Shape | None]:
    """EmbedLayerNormalization: ids [B, L], word table [V, D] at 2."""
    quantised = c.kind == "QEmbedLayerNormalization"
    x = (*c.shape(0), c.shape(2)[1])
    return [x, (c.shape(0)[0],), None if quantised else x]


def _n_bits(c: Call) -> list[Shape | None]:
    return [(*c.shape(0)[:-1], c.attrs["N"])]


def _binary(c: Call) -> list[Shape | None]:
    return [_broadcast(c.shape(0), c.shape(3))]


def _concat(c: Call) -> list[Shape | None]:
    parts = [c.shape(i) for i in range(2, len(c.shapes), 3)]
    axis = c.attrs["axis"] % len(parts[0])
    return [tuple(sum(p[i] for p in parts) if i == axis else n for i, n in enumerate(parts[0]))]


def _global_pool(c: Call) -> list[Shape | None]:
    x = c.shape(0)
    return [(x[0], *[1] * (len(x) - 2), x[-1]) if c.attrs.get("channels_last") else (*x[:2], *[1] * (len(x) - 2))]


def _half(c: Call) -> list[Shape | None]:
    return [(*c.shape(0)[:-1], c.shape(0)[-1] // 2)]


def _reorder(c: Call) -> list[Shape | None]:
    x = c.shape(0)
    x = (x[0], c.attrs.get("channels", x[1]), *x[2:])
    return [(x[0], *x[2:], x[1]) if c.attrs.get("channels_last") else x]


def _gather_quantised(c: Call) -> list[Shape | None]:
    data, axis = c.shape(0), c.attrs.get("gather_axis", 0)
    return [(*data[:axis], *c.shape(1), *data[axis + 1 :])]


def _nhwc_conv(c: Call) -> list[Shape | None]:
    """Convolutions with channels last and kernels [M, height, width, C / groups]."""
    x, w = c.shape(0), c.shape(1)
    sides, kernel = x[1:-1], w[1:-1]
    n = len(sides)
    pads, strides = c.attrs.get("pads", [0] * 2 * n), c.attrs.get("strides", [1] * n)
    dilations = c.attrs.get("dilations", [1] * n)
    out = [(s + pads[i] + pads[i + n] - dilations[i] * (k - 1) - 1) // strides[i] + 1
           for i, (s, k) in enumerate(zip(sides, kernel, strict=True))]  # fmt: skip
    return [(x[0], *out, w[0])]


_RULES: dict[str, Callable[[Call], list[Shape | None]]] = {
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _multi_head,
    "DecoderMaskedMultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
    "SparseAttention": _grouped,
    "EmbedLayerNormalization": _embed,
    "QEmbedLayerNormalization": _embed,
    "MatMulNBits": _n_bits,
    "MatMulBnb4": _n_bits,
    "MatMulFpQ4": _n_bits,
    "QLinearAdd": _binary,
    "QLinearMul": _binary,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _global_pool,
    "BiasSplitGelu": _half,
    "ReorderOutput": _reorder,
    "NhwcConv": _nhwc_conv,
    "NhwcFusedConv": _nhwc_conv,
    "GatherBlockQuantized": _gather_quantised,
}

FLOATS = frozenset(("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "DynamicQuantizeLSTM",
                    "DequantizeLinear"))  # fmt: skip
"""Operators whose outputs are floats for inputs of any type."""
TYPE_OF = {"EmbedLayerNormalization": 2, "QGemm": 8, "QuantizeLinear": 2, "QLinearWhere": 1, "QLinearConcat": 1,
           "GatherBlockQuantized": 2}  # fmt: skip
"""Operator -> index of the input with the element type of its outputs; by default 0."""
COUNTS = (("EmbedLayerNormalization", 1), ("QEmbedLayerNormalization", 1))
"""Operators and indices of their outputs that are int32."""
