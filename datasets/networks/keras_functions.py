"""Functions of keras.ops in Keras models (`x * 2`, `keras.ops.matmul(a, b)`), which are no layers.

The configuration has the shape of every tensor with a reader. So a function is read by its name, its inputs and
the shape of its output; only those that multiply matrices are looked at more closely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from datasets.networks.keras_layer import Layer, Tensor, broadcast
from datasets.networks.keras_shapes import ShapeReader
from datasets.networks.ops import ITEM

_EXACT = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu",
          "HardSigmoid": "hsigmoid", "HardSilu": "hswish"}  # fmt: skip
_PRODUCTS = ("Matmul", "Dot", "Vdot", "Inner", "Tensordot")
_UNKNOWN = ("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv", "DotProductAttention", "FFT", "RFFT", "STFT",
            "Map", "Scan", "WhileLoop", "Cond", "ForiLoop", "VectorizedMap", "AssociativeScan", "Switch")  # fmt: skip
_REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "Var", "Std", "Any", "All", "Argmax", "Argmin", "Logsumexp")
_SHAPED = """
Reshape Transpose GetItem Squeeze ExpandDims Split Stack Take TakeAlongAxis Slice Tile Repeat BroadcastTo Pad Flip
Moveaxis Swapaxes Ravel Norm TopK Resize OneHot Unstack Average Diagonal Trace SegmentSum"""
_NAMES = {"Multiply": "Mul", "Subtract": "Sub", "Divide": "Div", "TrueDivide": "Div", "Negative": "Neg", "Power": "Pow",
          "Maximum": "Max", "Minimum": "Min", "Mean": "ReduceMean", "Sum": "ReduceSum", "Max": "ReduceMax",
          "Min": "ReduceMin", "GetItem": "Slice", "ExpandDims": "Unsqueeze", "Absolute": "Abs", "Take": "Gather",
          "Stack": "Concat", "Argmax": "ArgMax", "Unstack": "Split", "BroadcastTo": "Expand",
          "Repeat": "Tile"}  # fmt: skip
MOST_OUTPUTS = 1000
"""Largest number of outputs of a function."""
_MOVES = ("Slice", "Gather", "Expand", "Tile")


class FunctionReader(ShapeReader):
    """Adds functions to a network."""

    def function(self, it: Layer, xs: Sequence[Tensor], declared: dict[int, tuple[int, ...]]) -> list[Tensor]:
        """The outputs of a function.

        Args:
            it: name and arguments of the function.
            xs: input tensors.
            declared: shapes of the outputs that have readers, by number.
        """
        if it.kind in _EXACT and len(xs) == 1:
            return [Tensor(self.net.pointwise(_EXACT[it.kind], xs[0].node), xs[0].flat)]
        if it.kind in ("Add", "Multiply") and len(xs) == 2:
            return [self._read_add(it, *xs)]
        if it.kind == "Concatenate":
            return [self._read_concatenate(it, *xs)]
        if it.kind in _UNKNOWN or not xs:
            raise it.fault("is not known here")
        shapes = [self.shape(x) for x in xs]
        first = (
            declared.get(0) or next(iter(declared.values()), ()) or self._shape(it, shapes)
        )  # outputs mostly have equal shapes
        kind = _NAMES.get(it.kind, it.kind)
        if it.kind in _PRODUCTS:
            y = self.put("MatMul", first, *xs, macs=math.prod(first) * shapes[0][-1])
        elif it.kind == "Einsum":
            y = self.put(
                kind,
                first,
                *xs,
                macs=self.einsum(it, str(it.fields.get("subscripts")), [(1, *shape) for shape in shapes]),
            )
        else:
            y = self.moved(kind, first, xs[0]) if kind in _MOVES and len(xs) == 1 else self.put(kind, first, *xs)
        if not all(0 <= i < MOST_OUTPUTS for i in declared):
            raise it.fault("has an output of a number that none has")
        return [y, *(self.put(ITEM, declared.get(i, first), y) for i in range(1, max(declared, default=0) + 1))]

    def _shape(self, it: Layer, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The output shape of a function without readers, which is a reduction or elementwise."""
        first = shapes[0]
        if it.kind == "Matmul" and len(shapes) == 2 and min(map(len, shapes)) > 1:
            return (*first[:-1], shapes[1][-1])
        if it.kind in _REDUCTIONS and it.fields.get("axis") is not None:
            gone = it.axes("axis", len(first))
            if it.fields.get("keepdims"):
                return tuple(1 if i in gone else size for i, size in enumerate(first))
            return tuple(size for i, size in enumerate(first) if i not in gone) or (1,)
        if it.kind in (*_REDUCTIONS, *_SHAPED.split(), *_PRODUCTS, "Einsum"):
            raise it.fault("is an output whose shape the file does not say")
        try:
            return broadcast(*shapes)
        except ValueError:
            raise it.fault("has inputs of different shapes") from None
