"""Operators of TFLite as ops of the vocabulary with exactly equal results, else by ONNX's names.

Multiply-accumulates of recurrent layers are steps times the elements of all weight matrices; those of products and
convolutions, elements of the output times what each is summed over.
"""

from __future__ import annotations

import math
from typing import Any

from datasets.networks.flatbuffer import Damaged
from datasets.networks.ops import window
from datasets.networks.tflite_calls import Call, Constant
from datasets.networks.tflite_graph import Graph
from datasets.records import Op

_POINTWISE = {"RELU": "relu", "RELU6": "relu6", "HARD_SWISH": "hswish", "LOGISTIC": "sigmoid", "TANH": "tanh"}

_NAMES = """
ABS Abs  ADD Add  ADD_N Sum  ARG_MAX ArgMax  ARG_MIN ArgMin  AVERAGE_POOL_2D AveragePool  BATCH_MATMUL MatMul
BIDIRECTIONAL_SEQUENCE_LSTM LSTM  BIDIRECTIONAL_SEQUENCE_RNN RNN  BITCAST Cast  BROADCAST_TO Expand  CAST Cast
CEIL Ceil  CONCATENATION Concat  CONV_2D Conv  CONV_3D Conv  CONV_3D_TRANSPOSE ConvTranspose  COS Cos  CUMSUM CumSum
DEPTHWISE_CONV_2D Conv  DEPTH_TO_SPACE DepthToSpace  DEQUANTIZE DequantizeLinear  DIV Div  ELU Elu
EMBEDDING_LOOKUP Gather  EQUAL Equal  EXP Exp  EXPAND_DIMS Reshape  FLOOR Floor  FLOOR_DIV Div  FLOOR_MOD Mod
FULLY_CONNECTED MatMul  GATHER Gather  GATHER_ND GatherND  GELU Gelu  GREATER Greater  GREATER_EQUAL GreaterOrEqual
L2_NORMALIZATION LpNormalization  L2_POOL_2D LpPool  LEAKY_RELU LeakyRelu  LESS Less  LESS_EQUAL LessOrEqual
LOCAL_RESPONSE_NORMALIZATION LRN  LOG Log  LOGICAL_AND And  LOGICAL_NOT Not  LOGICAL_OR Or  LOG_SOFTMAX LogSoftmax
LSTM LSTM  MAXIMUM Max  MAX_POOL_2D MaxPool  MEAN ReduceMean  MINIMUM Min  MIRROR_PAD Pad  MUL Mul  NEG Neg
NON_MAX_SUPPRESSION_V4 NonMaxSuppression  NON_MAX_SUPPRESSION_V5 NonMaxSuppression  ONE_HOT OneHot  PACK Concat
PAD Pad  PADV2 Pad  POW Pow  PRELU PRelu  QUANTIZE QuantizeLinear  RANGE Range  RANK Size  REDUCE_ALL ReduceMin
REDUCE_ANY ReduceMax  REDUCE_MAX ReduceMax  REDUCE_MIN ReduceMin  REDUCE_PROD ReduceProd  RELU_0_TO_1 Clip
RELU_N1_TO_1 Clip  RESHAPE Reshape  RESIZE_BILINEAR Resize  RESIZE_NEAREST_NEIGHBOR Resize
REVERSE_SEQUENCE ReverseSequence  RFFT2D DFT  RNN RNN  ROUND Round  SCATTER_ND ScatterND  SELECT Where
SELECT_V2 Where  SHAPE Shape  SIGN Sign  SIN Sin  SLICE Slice  SOFTMAX Softmax  SPACE_TO_DEPTH SpaceToDepth
SPLIT Split  SPLIT_V Split  SQRT Sqrt  SQUEEZE Reshape  STABLEHLO_ABS Abs  STABLEHLO_ADD Add  STABLEHLO_AND And
STABLEHLO_BROADCAST_IN_DIM Expand  STABLEHLO_CASE custom.STABLEHLO_CASE  STABLEHLO_CLAMP Clip
STABLEHLO_COMPARE Equal  STABLEHLO_CONCATENATE Concat  STABLEHLO_CONVERT Cast  STABLEHLO_CONVOLUTION Conv
STABLEHLO_COSINE Cos  STABLEHLO_CUSTOM_CALL custom.STABLEHLO_CUSTOM_CALL  STABLEHLO_DIVIDE Div
STABLEHLO_DOT_GENERAL MatMul  STABLEHLO_EXPONENTIAL Exp  STABLEHLO_FLOOR Floor  STABLEHLO_GATHER Gather
STABLEHLO_LOG Log  STABLEHLO_LOGISTIC Sigmoid  STABLEHLO_MAXIMUM Max  STABLEHLO_MINIMUM Min  STABLEHLO_MULTIPLY Mul
STABLEHLO_NEGATE Neg  STABLEHLO_OR Or  STABLEHLO_PAD Pad  STABLEHLO_POWER Pow  STABLEHLO_REDUCE ReduceSum
STABLEHLO_RESHAPE Reshape  STABLEHLO_RSQRT RSQRT  STABLEHLO_SELECT Where  STABLEHLO_SLICE Slice
STABLEHLO_SUBTRACT Sub  STABLEHLO_TANH Tanh  STABLEHLO_TRANSPOSE Transpose  STABLEHLO_WHILE custom.STABLEHLO_WHILE
STRIDED_SLICE Slice  SUB Sub  SUM ReduceSum  TILE Tile  TOPK_V2 TopK  TRANSPOSE Transpose
TRANSPOSE_CONV ConvTranspose  UNIDIRECTIONAL_SEQUENCE_LSTM LSTM  UNIDIRECTIONAL_SEQUENCE_RNN RNN  UNPACK Split
WHERE NonZero  custom.Convolution2DTransposeBias ConvTranspose"""
NAMES = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))
"""ONNX's names of operators; others keep TFLite's."""

ACTIVATED = {"ADD": 0, "SUB": 0, "MUL": 0, "DIV": 0, "L2_NORMALIZATION": 0, "FULLY_CONNECTED": 0, "CONCATENATION": 1,
             "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "TRANSPOSE_CONV": 3, "CONV_3D": 4, "CONV_3D_TRANSPOSE": 4,
             "AVERAGE_POOL_2D": 5, "MAX_POOL_2D": 5, "L2_POOL_2D": 5}  # fmt: skip
"""Operator -> number of its option with the fused activation."""

_PART = ("GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "SLICE", "STRIDED_SLICE")
_RECURRENT = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "SVDF",
              "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN")  # fmt: skip
_TRANSPOSED = {"TRANSPOSE_CONV": (2, 1), "CONV_3D_TRANSPOSE": (2, 1), "custom.Convolution2DTransposeBias": (0, 1)}
"""Transposed convolution -> indices of image and kernel among its inputs."""
_SAME = 0
_LARGEST = 2**20  # kernel, stride, dilation or padding


class Reader(Graph):
    """Reads single operators; methods `_read_<operator>` return whether there is an equivalent."""

    def read(self, call: Call) -> None:
        """Add an operator whose outputs depend on inputs."""
        equivalent = getattr(self, f"_read_{call.name.lower()}", None)
        if call.name in _POINTWISE and call.computed():
            self._put(call, _POINTWISE[call.name], [self.node(call.frame, call.computed()[0])])
        elif not (call.computed() and equivalent and equivalent(call)):
            self.foreign(call, NAMES.get(call.name, call.name), self._macs(call), self._read_bytes(call))
        if call.name in ACTIVATED:
            self.activated(call, call.option(ACTIVATED[call.name], "b"))

    def _put(self, call: Call, kind: str, inputs: list[int], weights: Any = (), **attrs: Any) -> bool:
        call.frame.nodes[call.outputs[0]] = self.put(kind, call.frame, call.outputs[0], inputs, weights, **attrs)
        return True

    # Windows

    def _read_conv_2d(self, call: Call) -> bool:
        kernel = call.tensor(1, 4)
        if not kernel.shape[3]:
            raise Damaged("a convolution has a kernel without channels")
        groups = call.tensor(0, 4).shape[3] // kernel.shape[3]
        return self._convolution(call, kernel.shape[3], max(groups, 1), (2, 1), (5, 4))

    def _read_depthwise_conv_2d(self, call: Call) -> bool:
        call.tensor(1, 4)
        return self._convolution(call, 1, call.tensor(0, 4).shape[3], (2, 1), (6, 5))

    def _convolution(self, call: Call, width: int, groups: int, stride: Any, dilation: Any) -> bool:
        weights = self._weights(call)
        kernel, channels = call.tensor(1).shape, call.output.shape[-1:]
        out = kernel[3] if call.name == "DEPTHWISE_CONV_2D" else kernel[0]
        if (
            weights is None
            or not groups
            or channels != (out,)
            or groups * width != call.tensor(0).shape[3]
            or out % groups
        ):
            return False
        more = {"groups": groups, "bias": len(weights) - 1}
        return self._windowed(call, "conv", kernel[1:3], stride, dilation, weights, **more)

    def _weights(self, call: Call) -> list[Constant] | None:
        """Weight and bias, the latter unless it is zero; None if they are not constant."""
        found = [call.known(1)]
        if call.has(2):
            bias = call.known(2)
            found += [] if bias and self.looks(bias)[0] else [bias]
        return None if None in found else found  # type: ignore[return-value]

    def _read_max_pool_2d(self, call: Call, kind: str = "max_pool") -> bool:
        return self._windowed(call, kind, (call.option(4), call.option(3)), (2, 1), ())

    def _read_average_pool_2d(self, call: Call) -> bool:
        return self._read_max_pool_2d(call, "avg_pool")

    def _windowed(
        self,
        call: Call,
        kind: str,
        kernel: tuple[int, ...],
        stride: Any,
        dilation: Any,
        weights: Any = (),
        **attrs: Any,
    ) -> bool:
        """An op with a kernel; `stride` and `dilation` are numbers of the options (height, width)."""
        strides = [call.option(field) for field in stride]
        dilations = [call.option(field, default=1) for field in dilation] or [1, 1]
        if not all(0 < number <= _LARGEST for number in (*kernel, *strides, *dilations)):
            raise Damaged(f"a {kind} has a kernel, stride or dilation that is none")
        x, out = self.images(call, 1), self.shape(call.frame, call.outputs[0])
        if x is None or len(call.tensor(0).shape) != 4 or len(call.output.shape) != 4:
            return False
        pad = [0, 0, 0, 0]
        if call.option(0, "b") == _SAME:
            for i, (side, k, s, d) in enumerate(zip(self.net.shape(x[0])[1:], kernel, strides, dilations, strict=True)):
                missing = max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
                pad[i], pad[i + 2] = missing // 2, missing - missing // 2
        attrs |= {"kernel": _collapsed(kernel), "stride": _collapsed(strides), "pad": _collapsed(pad)}
        attrs |= {"dilation": _collapsed(dilations)} if set(dilations) != {1} else {}
        same = window(Op(kind, attrs), self.net.shape(x[0])) == out[1:]
        same = same and (kind == "conv" or out[0] == self.net.shape(x[0])[0])
        return same and self._put(call, kind, x, weights, **attrs)

    # Products

    def _read_fully_connected(self, call: Call) -> bool:
        """A dense layer if each sample is one row, else a product of rows and a matrix."""
        weights, kernel, x = self._weights(call), call.tensor(1, 2).shape, call.inputs[0]
        if weights is None or x not in call.frame.nodes or 0 in kernel:
            return False
        out, bias = kernel[0], len(weights) - 1
        image, begins = call.tensor(0), {call.tensor(0).shape[:1], call.output.shape[:1]} == {(self.batch,)}
        if begins and image.elements == self.batch * kernel[1] and not self._whole(call):
            return self._put(call, "dense", [call.frame.nodes[x]], weights, shape=(out,), bias=bias)
        kind, macs = "Gemm" if bias else "MatMul", image.elements * out
        self.foreign(call, kind, macs, None, weights, **({"bias": 1} if bias else {}))
        return True

    def _whole(self, call: Call) -> bool:
        return bool(self.net.ops[call.frame.nodes[call.inputs[0]]].attrs.get("whole"))

    def _macs(self, call: Call) -> int:
        """Multiply-accumulates of a whole run of an operator without an equivalent."""
        name, out = call.name, call.output.elements if call.outputs else 0
        if name in _RECURRENT:
            matrices = [c.elements for c in call.constants() if len(c.tensor.shape) == 2]
            return math.prod(call.tensor(0, 1).shape[:-1]) * sum(matrices)
        if name in _TRANSPOSED:
            image, kernel = (call.tensor(index, 4) for index in _TRANSPOSED[name])
            per_input = kernel.elements // (kernel.shape[-1] or 1)
            return image.elements * per_input
        if name == "CONV_2D":
            return out * math.prod(call.tensor(1, 4).shape[1:])
        if name == "DEPTHWISE_CONV_2D":
            return out * math.prod(call.tensor(1, 4).shape[1:3])
        if name == "CONV_3D":
            return out * math.prod(call.tensor(1, 5).shape[:4])
        if name == "FULLY_CONNECTED":
            return out * call.tensor(1, 1).shape[-1]
        if name == "BATCH_MATMUL":
            return out * call.tensor(0, 2).shape[-2 if call.option(0, "B") else -1]
        if name == "STABLEHLO_CONVOLUTION" and 0 <= (axis := call.option(12, "q")) < len(call.output.shape):
            return out * call.tensor(1).elements // (call.output.shape[axis] or 1)
        if name == "STABLEHLO_DOT_GENERAL" and call.operator.options:
            axes, left = call.operator.options.numbers(2, "q", most=32), call.tensor(0).shape
            return out * math.prod(left[axis] for axis in axes if 0 <= axis < len(left))
        return 0

    def _read_bytes(self, call: Call) -> int | None:
        """Bytes that a whole run of an operator reads if it reads less than its inputs, else None."""
        if call.name in _PART:
            indices = call.tensor(0 if call.name == "EMBEDDING_LOOKUP" else 1)
            return call.output.bytes + (indices.bytes if "SLICE" not in call.name else 0)
        return 0 if call.name in ("SHAPE", "RANK") else None

    # Pointwise, and what only moves

    def _read_add(self, call: Call) -> bool:
        xs = self.images(call, 2) or []
        return len({self.net.shape(x) for x in xs}) == 1 and self._put(call, "add", xs)

    def _read_mul(self, call: Call) -> bool:
        xs = self.images(call, 2)
        if xs is None or call.option(ACTIVATED["MUL"], "b"):
            return False
        for (x, gate), index in ((xs, call.inputs[1]), (xs[::-1], call.inputs[0])):
            sigmoid = self.net.ops[gate].kind == "sigmoid" and self.sources[gate] == (x,)
            if sigmoid and len(call.frame.readers[index]) == 1:
                return self._put(call, "silu", [x])
        for x, y in (xs, xs[::-1]):
            shape = self.net.shape(x)
            if self.net.shape(y) in (shape, (shape[0], 1, 1)) and self.shape(call.frame, call.outputs[0]) == shape:
                return self._put(call, "mul", [x, y])
        return False

    def _read_concatenation(self, call: Call) -> bool:
        xs, rank = self.images(call, len(call.inputs)), len(call.output.shape)
        if not xs or rank not in (2, 4) or call.option(0) % rank != rank - 1:
            return False
        shapes = {(len(self.net.shape(x)), self.net.shape(x)[1:]) for x in xs}
        return len(shapes) == 1 and self._put(call, "concat", xs)

    def _read_softmax(self, call: Call) -> bool:
        xs = self.images(call, 1)
        return xs is not None and len(call.output.shape) in (2, 4) and self._put(call, "softmax", xs)

    def _read_mean(self, call: Call) -> bool:
        xs, axes = self.images(call, 1), self.integers(call, 1)
        if xs is None or axes is None or len(call.tensor(0).shape) != 4 or sorted(axis % 4 for axis in axes) != [1, 2]:
            return False
        channels = self.net.shape(xs[0])[:1]
        fits = self.shape(call.frame, call.outputs[0]) in (channels, (*channels, 1, 1))
        return fits and self._put(call, "global_avg_pool", xs)

    def _read_pad(self, call: Call) -> bool:
        xs, sides = self.images(call, 1), self.integers(call, 1)
        if xs is None or sides is None or len(call.tensor(0).shape) != 4 or len(sides) != 8:
            return False
        top, bottom, left, right = sides[2:6]
        (channels, height, width), out = self.net.shape(xs[0]), self.shape(call.frame, call.outputs[0])
        fits = out == (channels, height + top + bottom, width + left + right) and not any(sides[:2] + sides[6:])
        return fits and self._put(call, "pad", xs, pad=_collapsed((top, left, bottom, right)))

    def _read_reshape(self, call: Call) -> bool:
        """No op if the shape stays or only dense layers read the output."""
        index, frame = call.inputs[0], call.frame
        if index not in frame.nodes:
            return False
        x, out = frame.nodes[index], call.outputs[0]
        flat = call.output.shape == (self.batch, math.prod(self.net.shape(x))) and self._read_flat(call)
        if flat or self.net.shape(x) == self.shape(frame, out):
            frame.nodes[out] = x
            return True
        return self._put(call, "Reshape", [x])

    _read_squeeze = _read_expand_dims = _read_reshape

    def _read_flat(self, call: Call) -> bool:
        """Whether only fully connected layers read the output."""
        return set(call.frame.readers.get(call.outputs[0], ())) == {"FULLY_CONNECTED"}


def _collapsed(values: Any) -> Any:
    """One number if all are equal, else all of them."""
    numbers = tuple(int(value) for value in values)
    return numbers[0] if len(set(numbers)) == 1 else numbers
