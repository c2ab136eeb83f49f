"""The vocabulary of shaped ops, and what one op computes, holds and moves, whatever the device.

The ops, with `shape` = output shape without the batch dimension, (channels, height, width) or
(features,):

- input; zero (a constant);
- conv (kernel, stride, pad, groups, bias, dilation), max_pool and avg_pool (kernel, stride, pad; an average leaves the
  padding out unless `include_pad`). Kernel, stride and dilation are one number or (height, width), the padding is one
  number or (top, left, bottom, right); what is not there is 1, or 0 for the padding and what may be switched on;
- global_avg_pool (to (channels,) or (channels, 1, 1)); dense (reads its input flat; has a bias unless `bias` is 0);
- bn (without a factor if `scale` is 0, without a summand if `shift` is 0); relu, relu6, hswish, hsigmoid, sigmoid,
  tanh, silu; softmax (over channels or features);
- add, mul (two inputs; the second of mul may be one number a channel, (channels, 1, 1)); concat (of channels);
- pad (of zeros: `pad`; negative numbers cut off); truncate (to the first channels); shuffle (of channels between
  `groups`).

An op read from a file that is none of these keeps the file's name for it, and has its counts as attributes: `params`,
`macs` and, where it does not read its inputs and weights once, `read_bytes` (of one sample). It can be counted and
priced, and only the file's own runtime can run it. `item` is a further output of the op that it follows, and computes
nothing.

Attributes that any op of a file may have:

- dtype: element type of the output by numpy's name, float32 where it is not there; param_bytes: of its weights, where
  they are not fp32; params: where it holds some weights of its own and some of another;
- whole: 1 where shape and counts are of a whole run, whatever its batch;
- times: how often it runs in one run, as ops of a loop do;
- tied: 1 where its weights are those of an op before it, which counts them.
"""

from __future__ import annotations

import math
from typing import Any

from datasets.architectures import Op

VOCABULARY = frozenset(("input", "zero", "conv", "max_pool", "avg_pool", "global_avg_pool", "dense", "bn", "relu",
                        "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu", "softmax", "add", "mul", "concat",
                        "pad", "shuffle"))  # fmt: skip
"""The kinds above."""

FOLDED = ("bn", "relu", "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu")
"""What runtimes fold into the op before it, where nothing else reads that."""

BYTES = 4
"""Bytes of one fp32 number."""

BITS = {
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 64), "complex128": 128,
    **dict.fromkeys(("float32", "int32", "uint32"), 32),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 16),
    **dict.fromkeys(("int8", "uint8", "bool", "float8"), 8),
    **dict.fromkeys(("int4", "uint4", "float4"), 4), "int2": 2, "uint2": 2,
}  # fmt: skip
"""Bits of one element, by the name of its type."""

ITEM = "item"
"""The kind of a further output of an op."""

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
"""Ops that only tell the same bytes another shape."""

BN_EPSILON = 1e-5
"""What every bn adds to its variance."""


def pair(value: Any) -> tuple[int, int]:
    """A kernel, stride or dilation as (height, width)."""
    return (value, value) if isinstance(value, int) else tuple(value)


def pads(value: Any) -> tuple[int, int, int, int]:
    """A padding as (top, left, bottom, right)."""
    return (value,) * 4 if isinstance(value, int) else tuple(value)


def window(op: Op, in_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what a kernel leaves of (channels, height, width), rounding down."""
    a = op.attrs
    top, left, bottom, right = pads(a.get("pad", 0))
    sides = zip(in_shape[1:], (top + bottom, left + right), pair(a["kernel"]), pair(a.get("stride", 1)),
                pair(a.get("dilation", 1)), strict=True)  # fmt: skip
    height, width = ((side + pad - (k - 1) * dilation - 1) // stride + 1 for side, pad, k, stride, dilation in sides)
    return height, width


def macs(op: Op, in_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions and dense layers (a bias adds none), as NAS-Bench-201 counts them."""
    if op.kind == "conv":
        per_output = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return per_output * math.prod(op.attrs["shape"])
    if op.kind == "dense":
        return math.prod(in_shape) * op.attrs["shape"][0]
    return op.attrs.get("macs", 0)


def params(op: Op, in_shape: tuple[int, ...]) -> int:
    """Trainable parameters (batch norm: scale and shift, unless `scale` or `shift` is 0)."""
    if "params" in op.attrs:
        return op.attrs["params"]
    out = op.attrs["shape"][0]
    if op.kind == "conv":
        kernel = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return out * (kernel + op.attrs.get("bias", 0))
    if op.kind == "dense":
        return out * (math.prod(in_shape) + op.attrs.get("bias", 1))
    if op.kind == "bn":
        return out * (op.attrs.get("scale", 1) + op.attrs.get("shift", 1))
    return 0


def param_bytes(op: Op, in_shape: tuple[int, ...]) -> int:
    """Bytes of the op's weights."""
    return op.attrs.get("param_bytes", BYTES * params(op, in_shape))


def tensor_bytes(op: Op, batch: int = 1) -> int:
    """Bytes of an op's output."""
    elements = math.prod(op.attrs["shape"]) * (1 if op.attrs.get("whole") else batch)
    return -(-elements * BITS[op.attrs.get("dtype", "float32")] // 8)
