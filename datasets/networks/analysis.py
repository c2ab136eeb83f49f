"""What a shaped network costs in theory, whatever the device: operations, parameters, memory.

The vocabulary of shaped ops, with `shape` = output shape without the batch dimension, (channels, height, width) or
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
`macs` (of one sample) and, where it reads less than its inputs and weights, `read_bytes`. It can be counted and priced,
and only the file's own runtime can run it. `item` is a further output of the op that it follows, and computes nothing.

Attributes that any op of a file may have:

- dtype: element type of the output by numpy's name, float32 where it is not there; param_bytes: of its weights, where
  they are not fp32;
- whole: 1 where shape and counts are of a whole run, whatever its batch;
- times: how often it runs in one run, as ops of a loop do;
- tied: 1 where its weights are those of an op before it, which counts them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from datasets.architectures import InputError, Op
from datasets.files.reading import shortened
from datasets.networks.network import Network

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

PRODUCTS = frozenset(("LSTM", "GRU", "RNN", "Attention", "Einsum", "DeformConv", "MatMul", "Gemm", "Conv", "DFT",
                      "STFT", "ConvTranspose", "QLinearMatMul"))  # fmt: skip
"""Ops of files that multiply matrices: where they do not state their MACs, those are not counted."""

TOTALS = ("macs", "flops", "params", "peak_bytes", "moved_bytes", "kernels")
"""Names of what `totals` gives, in its order."""


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
    out = op.attrs["shape"][0]
    if op.kind == "conv":
        kernel = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return out * (kernel + op.attrs.get("bias", 0))
    if op.kind == "dense":
        return out * (math.prod(in_shape) + op.attrs.get("bias", 1))
    if op.kind == "bn":
        return out * (op.attrs.get("scale", 1) + op.attrs.get("shift", 1))
    return op.attrs.get("params", 0)


def param_bytes(op: Op, in_shape: tuple[int, ...]) -> int:
    """Bytes of the op's weights."""
    return op.attrs.get("param_bytes", BYTES * params(op, in_shape))


def tensor_bytes(op: Op, batch: int = 1) -> int:
    """Bytes of an op's output."""
    elements = math.prod(op.attrs["shape"]) * (1 if op.attrs.get("whole") else batch)
    return -(-elements * BITS[op.attrs.get("dtype", "float32")] // 8)


def totals(network: Network, batch: int | None = None) -> dict[str, int]:
    """Totals of a shaped network.

    Args:
        network: whose ops all have a `shape`.
        batch: by default that which the network fixes, else 1.

    Returns:
        macs: multiply-accumulates; flops: twice that; params: trainable parameters; peak_bytes: the most bytes of
        activations alive at once when ops run in order, nothing is done in place and a tensor dies after its last
        use (weights not counted; `memory` has them); moved_bytes: activations read and written plus weights read, op by
        op without fusion; kernels: ops that run.
    """
    from datasets.networks.memory import alive

    batch = batch or network.batch or 1
    size = [tensor_bytes(op, batch) for op in network.ops]
    total = dict.fromkeys(TOTALS, 0)
    total["peak_bytes"] = max(alive(network, batch))
    for index, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        times, samples = op.attrs.get("times", 1), 1 if op.attrs.get("whole") else batch
        if op.kind == ITEM:
            total["moved_bytes"] += times * size[index]
        elif op.kind not in ("input", "zero"):
            in_shape = network.shape(sources[0])
            read = sum(size[source] for source in sources) + param_bytes(op, in_shape)
            if "read_bytes" in op.attrs:
                read = samples * op.attrs["read_bytes"]
            total["macs"] += times * samples * macs(op, in_shape)
            total["params"] += 0 if op.attrs.get("tied") else params(op, in_shape)
            total["moved_bytes"] += times * (size[index] + read)
            total["kernels"] += times
    total["flops"] = 2 * total["macs"]
    return total


MOST = 2**62
"""Most operations or bytes of a network; numbers of 64 bits hold them."""


def check_network(network: Network) -> Network:
    """The network itself, which was read from data that anybody may have written.

    Raises:
        InputError: an op lacks what its kind needs, or its totals are no numbers, or more than `MOST`.
    """
    sources = network.sources()
    try:
        for op, before in zip(network.ops, sources, strict=True):
            if not op.attrs["shape"] or (op.kind not in ("input", "zero") and not before):
                raise ValueError(f"{op.kind} lacks an input or a shape")
            _check_attributes(op)
        if max(totals(network).values()) > MOST:
            raise ValueError("it has more operations or bytes than any network")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"The network {shortened(network.key, 60)} is damaged ({shortened(error, 100)}); measure its file again."
        ) from None
    return network


def _check_attributes(op: Op) -> None:
    """Raise a ValueError, KeyError or TypeError where an op's attributes are not those of its kind."""
    a, counts = op.attrs, [op.attrs.get(name, 0) for name in _COUNTS]
    if any(type(count) not in (int, bool) or count < 0 for count in counts):
        raise ValueError(f"a count of {op.kind} is no whole number")
    if a.get("dtype", "float32") not in BITS:
        raise ValueError(f"{op.kind} has an unknown element type")
    if op.kind not in ("conv", "max_pool", "avg_pool"):
        return
    height, width = zip(*(pair(a[name] if name == "kernel" else a.get(name, 1)) for name in _SIZES), strict=True)
    sizes = (*height, *width, a.get("groups", 1))
    if any(type(size) is not int or not 0 < size < MOST for size in sizes):
        raise ValueError(f"a size of {op.kind} is no whole number above 0")
    top, left, bottom, right = pads(a.get("pad", 0))
    if any(type(side) is not int for side in (top, left, bottom, right)):
        raise ValueError(f"the padding of {op.kind} is no whole number")


_SIZES = ("kernel", "stride", "dilation")
_COUNTS = ("macs", "params", "param_bytes", "read_bytes", "times", "whole", "tied", "bias", "scale", "shift")


def uncounted(network: Network) -> Counter[str]:
    """Ops of a file whose MACs are unknown and taken for none, and how many: recurrent layers, and whatever is no op of
    ONNX itself."""
    ops = (op.kind for op in network.ops if op.kind not in VOCABULARY and not op.attrs.get("macs"))
    return Counter(kind for kind in ops if kind in PRODUCTS or "." in kind)
