"""Operators of a .tflite file that a delegate would refuse; LETI measures only networks that are delegated completely.

Sources, read on 20 November 2026, both of the repository tensorflow/tensorflow:

- gpu: tensorflow/lite/tools/versioning/gpu_compatibility.cc at commit 03a5e4e19a9c, the checks of the
  GPU delegate itself; int8 files are accepted, and computed in floating point (lite/g3doc/performance/gpu.md).
- nnapi: tensorflow/lite/delegates/nnapi/nnapi_delegate.cc at commit 002e5f47fa2e, `Validate`: operators
  that are passed to Android's Neural Networks API, by API level. 27 to 30 are NNAPI's versions 1.0 to 1.3; later
  levels added none of these operators. The vendor's driver may refuse more, which only the device reports.

The tables contain the operators of image classifiers; others are refused. The analyzers in the pip packages of
TensorFlow 2.21 and LiteRT 2.3 cannot be used: they call every file compatible, even with the operator ROUND.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.records import InputError
from measure.builders.tflite_file import Operator, is_int8, read_operators, same_scale

DELEGATES = ("gpu", "nnapi27", "nnapi28", "nnapi29", "nnapi30")

_GPU = frozenset(
    [
        "ABS",
        "ADD",
        "ADD_N",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CAST",
        "CEIL",
        "CONCATENATION",
        "CONV_2D",
        "COS",
        "CUMSUM",
        "DENSIFY",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "DIV",
        "ELU",
        "EQUAL",
        "EXP",
        "FLOOR",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "FULLY_CONNECTED",
        "GELU",
        "GREATER",
        "GREATER_EQUAL",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LESS",
        "LESS_EQUAL",
        "LOG",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "MUL",
        "NEG",
        "NOT_EQUAL",
        "PACK",
        "PAD",
        "PADV2",
        "POW",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SIGN",
        "SIN",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TILE",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    ]
)
_NNAPI = {
    27: "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE FLOOR FULLY_CONNECTED "
    "HARD_SWISH LOGISTIC MAX_POOL_2D MUL RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR SOFTMAX SPACE_TO_DEPTH TANH",
    28: "DIV MEAN NEG PAD PADV2 SQUEEZE STRIDED_SLICE SUB TRANSPOSE",
    29: "ABS CAST EXPAND_DIMS EXP GATHER LOG LOG_SOFTMAX MAXIMUM MINIMUM POW PRELU LEAKY_RELU QUANTIZE REDUCE_MAX "
    "REDUCE_MIN REDUCE_PROD RESIZE_NEAREST_NEIGHBOR RSQRT SIN SLICE SPLIT SQRT SUM TILE TRANSPOSE_CONV",
    30: "ELU FILL PACK",
}
"""Operators by the API level that introduced them."""
_NNAPI_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5, "RESHAPE": 1, "SUB": 3, "DIV": 1}
"""The highest version of an operator that is passed to NNAPI, if it is not 2."""


def refused(path: Path, delegate: str) -> list[str]:
    """One sentence per operator of a file that a delegate would leave to the CPU; empty if it is delegated completely.

    Raises:
        InputError: there is no such file or delegate.
    """
    if delegate not in DELEGATES:
        raise InputError(f"There is no delegate '{delegate}'; there are {', '.join(DELEGATES)}.")
    sentences = []
    for number, op in enumerate(read_operators(path)):
        reasons = _gpu(op) if delegate == "gpu" else _nnapi(op, int(delegate.removeprefix("nnapi")))
        try:
            reason = next(reasons, None)
        except (IndexError, AttributeError, TypeError):  # required fields are missing in the file
            reason = "its inputs or options are not complete"
        if reason:
            sentences.append(f"{delegate} refuses operator {number}, {op.name}: {reason}.")
    return sentences


def _gpu(op: Operator) -> Iterator[str]:
    shapes = [tuple(int(side) for side in tensor.shape) for tensor in op.inputs]
    running = op.constant.count(False)
    if op.name not in _GPU:
        yield "it has no such operator"
    if op.name in ("ADD", "ADD_N", "MUL") and len(shapes) != 2:
        yield f"it adds or multiplies two tensors, not {len(shapes)}"
    if op.name in ("ADD", "MUL") and not _broadcast(*shapes):
        yield f"it does not broadcast {shapes[0]} and {shapes[1]}"
    if op.name == "MUL" and len(shapes[0]) == len(shapes[1]):
        smaller = np.array(shapes[0]) < shapes[1], np.array(shapes[1]) < shapes[0]
        if smaller[0].any() and smaller[1].any():
            yield "one factor has to be at least as large as the other along every axis"
    if op.name == "DEPTHWISE_CONV_2D" and op.options.depthMultiplier != 1 and shapes[0][3] != 1:
        yield f"it has one filter a channel, not {op.options.depthMultiplier}"
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and running > 2:
        yield "its weight and bias may not both be computed"
    if op.name == "FULLY_CONNECTED" and op.constant[0]:
        yield "its input may not be constant"
    if op.name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD") and not op.constant[1]:
        yield "the axes have to be constant"
    if op.name == "SOFTMAX" and op.options.beta != 1:
        yield "beta has to be 1"
    if op.name in ("SLICE", "STRIDED_SLICE") and len(shapes[0]) not in (3, 4):
        yield f"it slices tensors of three or four axes, not {len(shapes[0])}"
    if op.name in ("PAD", "PADV2", "MIRROR_PAD") and shapes[1] not in ((3, 2), (4, 2)):
        yield f"it pads tensors of three or four axes, not {shapes[1][0]}"
    if op.name == "MIRROR_PAD" and op.options.mode != 0:
        yield "it mirrors without the border only"
    unary = "AVERAGE_POOL_2D MAX_POOL_2D MEAN RESHAPE TRANSPOSE PAD PADV2 HARD_SWISH LOGISTIC TANH QUANTIZE"
    if op.name in unary.split() and running != 1:
        yield f"it takes one computed input, not {running}"


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x == y or 1 in (x, y) for x, y in zip(reversed(a), reversed(b), strict=False))


def _nnapi(op: Operator, level: int) -> Iterator[str]:
    since = {name: first for first, names in _NNAPI.items() for name in names.split()}
    a, options, int8 = op.inputs[0], op.options, is_int8(op.inputs[0])
    if op.name not in since:
        yield "it has no such operator"
    elif level < since[op.name]:
        yield f"it came with API level {since[op.name]}"
    if op.version > (most := _NNAPI_VERSIONS.get(op.name, 2)):
        reason = ", which groups of channels need" if op.name == "CONV_2D" and op.version == 6 else ""
        yield f"it is passed on up to version {most}, not {op.version}{reason}"
    weighted = op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    if level < 29 and int8 and (weighted or op.name in ("MEAN", "PAD", "TANH", "SUB")):
        yield "int8 came with API level 29"
    if level < 29 and op.name == "PADV2":
        yield "a value to pad with came with API level 29"
    if level < 30 and op.name == "QUANTIZE":
        yield "int8 outputs came with API level 30"
    if level < 30 and op.name == "FULLY_CONNECTED" and options.keepNumDims:
        yield "outputs of more than two axes came with API level 30"
    if op.name == "CONV_2D" and len(op.inputs) != 3:
        yield "it has to have a bias"
    if (
        level < 29
        and weighted
        and (getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1)) != (1, 1)
    ):
        yield "dilation came with API level 29"
    if op.name == "CONCATENATION" and options.fusedActivationFunction:
        yield "it takes no activation along"
    if op.name in ("SUB", "SOFTMAX", "CONCATENATION") and max(len(x.shape) for x in op.inputs) > 4:
        yield "its inputs may have four axes at most"
    if level < 29 and op.name == "SOFTMAX" and len(a.shape) not in (2, 4):
        yield "inputs of other than two or four axes came with API level 29"
    if op.name in ("RESHAPE", "TRANSPOSE") and not all(op.constant[1:]):
        yield "the shape has to be constant"
    if op.name == "MEAN" and int8 and not same_scale(a, op.outputs[0]):
        yield "input and output have to have the same scale and zero point"
