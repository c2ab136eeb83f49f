"""The kinds of ops of networks, and the multiply-accumulates, parameters and bytes of one op on any device.

Every op has the attribute `shape`, its output shape without the batch dimension: (channels, height, width) or
(features,). The kinds, with their further attributes:

- input; zero (a constant);
- conv (kernel, stride, pad, groups, bias, dilation), max_pool and avg_pool (kernel, stride, pad; an average excludes
  the padding unless `include_pad`). Kernel, stride and dilation are one number or (height, width), the padding is one
  number or (top, left, bottom, right). Defaults are 1, and 0 for `pad`, `bias` and `include_pad`;
- global_avg_pool (to (channels,) or (channels, 1, 1)); dense (flattens its input; has a bias unless `bias` is 0);
- bn (has no factor if `scale` is 0, no summand if `shift` is 0); relu, relu6, hswish, hsigmoid, sigmoid, tanh, silu;
  softmax (over channels or features);
- add, mul (two inputs; the second of mul may be one number per channel, (channels, 1, 1)); concat (of channels);
- pad (with zeros: `pad`; negative numbers crop); truncate (to the first channels); shuffle (of channels between
  `groups`).

An op of a file that is none of these keeps its name in the file, and has its counts as attributes: `params`, `macs`
and, if it does not read its inputs and weights exactly once, `read_bytes` (per sample). Its cost can be counted and
predicted, but only the file's own runtime can run it. An op of kind `item` is a further output of the op that it
follows, and computes nothing.

Any op of a file may have these attributes:

- dtype: element type of the output by numpy's name, by default float32; param_bytes: bytes of its weights, if they are
  not fp32; params: number of its own weights, if it shares others with another op;
- whole: 1 if shape and counts are those of a whole run, whatever the batch;
- times: how often the op runs in one run, for ops in a loop;
- tied: 1 if an earlier op has the same weights and counts them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.architectures import Op

VOCABULARY = frozenset(("input", "zero", "conv", "max_pool", "avg_pool", "global_avg_pool", "dense", "bn", "relu",
                        "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu", "softmax", "add", "mul", "concat",
                        "pad", "shuffle"))  # fmt: skip
"""Kinds of ops that this module describes; other ops keep the name that they have in their file."""

FOLDED = ("bn", "relu", "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu")
"""Ops that runtimes fold into the op before them if nothing else reads its output."""

BYTES = 4
"""Bytes of one fp32 number."""

BITS = {
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 64), "complex128": 128,
    **dict.fromkeys(("float32", "int32", "uint32"), 32),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 16),
    **dict.fromkeys(("int8", "uint8", "bool", "float8"), 8),
    **dict.fromkeys(("int4", "uint4", "float4"), 4), "int2": 2, "uint2": 2,
}  # fmt: skip
"""Bits per element, by the name of the element type."""

ITEM = "item"
"""Kind of an op that stands for a further output of the op before it."""

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
"""Ops that change the shape of a tensor, not its bytes."""

LONGEST = 1000
"""Elements of a side of a window that `taps` looks at; of longer ones as many, evenly spread."""

BN_EPSILON = 1e-5
"""Number that every batch norm adds to its variance."""


def pair(value: Any) -> tuple[int, int]:
    """A kernel, stride or dilation as (height, width)."""
    return (value, value) if isinstance(value, int) else tuple(value)


def pads(value: Any) -> tuple[int, int, int, int]:
    """A padding as (top, left, bottom, right)."""
    return (value,) * 4 if isinstance(value, int) else tuple(value)


def window(op: Op, in_shape: tuple[int, ...]) -> tuple[int, int]:
    """Output height and width, rounded down, of a convolution or pooling of an input (channels, height, width)."""
    a = op.attrs
    top, left, bottom, right = pads(a.get("pad", 0))
    sides = zip(in_shape[1:], (top + bottom, left + right), pair(a["kernel"]), pair(a.get("stride", 1)),
                pair(a.get("dilation", 1)), strict=True)  # fmt: skip
    height, width = ((side + pad - (k - 1) * dilation - 1) // stride + 1 for side, pad, k, stride, dilation in sides)
    return height, width


def taps(op: Op, in_shape: tuple[int, ...]) -> float:
    """Elements of an op's window that lie on the image, in the mean of its positions; the others are on the padding.

    Args:
        op: with a window; of others it is 1.
        in_shape: shape of the first input, (channels, height, width).
    """
    a, mean = op.attrs, 1.0
    if "kernel" not in a or len(in_shape) != 3 or len(a["shape"]) != 3:
        return mean
    kernels, strides, dilations = (pair(a.get(name, 1)) for name in ("kernel", "stride", "dilation"))
    for side in zip(in_shape[1:], a["shape"][1:], pads(a.get("pad", 0)), kernels, strides, dilations, strict=False):
        mean *= _taps(*side)
    return mean


@lru_cache(100_000)
def _taps(size: int, out: int, before: int, kernel: int, stride: int, dilation: int) -> float:
    """Elements of one side of a window that lie on the image, in the mean of its positions."""
    start = np.linspace(0, kernel - 1, min(kernel, LONGEST)).astype(int) * dilation - before
    first, last = -(start // stride), (size - 1 - start) // stride  # positions at which an element is on the image
    on = np.clip(np.minimum(last, out - 1) - np.maximum(first, 0) + 1, 0, None)
    return kernel * float(on.mean()) / max(out, 1)


def macs(op: Op, in_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of an op per sample, counted as NAS-Bench-201 does: a bias adds none.

    Args:
        op: of any kind; ops of files have them as an attribute, other kinds than conv and dense have none.
        in_shape: shape of the first input, without the batch dimension.
    """
    if op.kind == "conv":
        per_output = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return per_output * math.prod(op.attrs["shape"])
    if op.kind == "dense":
        return math.prod(in_shape) * op.attrs["shape"][0]
    return op.attrs.get("macs", 0)


def params(op: Op, in_shape: tuple[int, ...]) -> int:
    """Number of trainable parameters of an op; of a batch norm its scale and its shift, unless switched off."""
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
    """Bytes of an op's weights."""
    return op.attrs.get("param_bytes", BYTES * params(op, in_shape))


def tensor_bytes(op: Op, batch: int = 1) -> int:
    """Bytes of an op's output in a run of `batch` samples."""
    elements = math.prod(op.attrs["shape"]) * (1 if op.attrs.get("whole") else batch)
    return -(-elements * BITS[op.attrs.get("dtype", "float32")] // 8)
