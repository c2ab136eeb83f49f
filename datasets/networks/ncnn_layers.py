"""ncnn's layers as ops of the vocabulary with equal results, else by ONNX's names; others keep ncnn's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from datasets.networks.ncnn_graph import Blob, Shape
from datasets.networks.ncnn_products import Products
from datasets.networks.ncnn_text import DEFAULT, Layer

_POINTWISE = {"Sigmoid": "sigmoid", "TanH": "tanh", "Swish": "silu"}
_NAMES = """
AbsVal Abs  BNLL Softplus  Bias Add  CELU Celu  Cast Cast  CumulativeSum CumSum  Dequantize DequantizeLinear  ELU Elu
Erf Erf  Exp Exp  GELU Gelu  Log Log  LRN LRN  Mish Mish  MVN MeanVarianceNormalization  Power Pow
Quantize QuantizeLinear  Requantize QuantizeLinear  SELU Selu  Shrink Shrink  Softplus Softplus
Threshold ThresholdedRelu"""
NAMES = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))
"""ONNX's names of layers whose outputs have the shape of their inputs."""
_UNARY = "Abs Neg Floor Ceil Mul Sqrt RSQRT Exp Log Sin Cos Tan Asin Acos Atan Reciprocal Tanh Log Round Floor"
_BINARY = "Add Sub Mul Div Max Min Pow Sub Div Pow Atan2 Atan2"
_REDUCTIONS = """ReduceSum ReduceL1 ReduceSumSquare ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp"""
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Orders of the axes (c, h, w) by the parameter of a Permute."""
_ALIASES = ("Split", "Noop", "Dropout", "Packing")
_BOXES = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")


class Reader(Products):
    """Reads single layers; a method `_read_<kind>` reads layers of one input, `_join_<kind>` those of any number, and
    both return the blob, or blobs, of the outputs."""

    def read(self, layer: Layer) -> None:
        """Add a layer."""
        blobs = [self.blobs[name] for name in layer.inputs]
        if layer.kind == "MemoryData":
            found: Blob | Sequence[Blob] = self._constant(layer)
        elif not blobs:
            raise layer.fault("has no input")
        elif layer.kind in _ALIASES:
            found = [blobs[min(i, len(blobs) - 1)] for i in range(len(layer.outputs))]
        elif join := getattr(self, f"_join_{layer.kind.lower()}", None):
            found = join(layer, blobs)
        else:
            found = self._single(layer, blobs)
        outputs = [found] if isinstance(found, Blob) else list(found)
        if len(outputs) != len(layer.outputs):
            raise layer.fault(f"has {len(layer.outputs)} outputs, and layers of its kind have {len(outputs)}")
        self.blobs.update(zip(layer.outputs, outputs, strict=True))

    def _single(self, layer: Layer, blobs: Sequence[Blob]) -> Blob | Sequence[Blob]:
        read = getattr(self, f"_read_{layer.kind.lower()}", None)
        if read and len(blobs) == 1:
            return read(layer, blobs[0])
        if layer.kind in _POINTWISE and len(blobs) == 1:
            return self.like(layer, _POINTWISE[layer.kind], blobs[0])
        if layer.kind in NAMES and len(blobs) == 1:
            held = layer.number(0, 0, 0) if layer.kind == "Bias" else 0
            return self.foreign(layer, NAMES[layer.kind], [blobs[0].shape], blobs, held)
        shapes = self.stated(layer)
        if not shapes and layer.kind in _BOXES:
            self.notes[f"The number of boxes that {layer.kind} finds depends on the image; one is counted."] = None
            shapes = [(1, 6)]
        if shapes:
            return self.foreign(layer, layer.kind, shapes, blobs)
        raise layer.fault(
            f"reads {len(blobs)} tensors or is of a kind that is not known, and the file does not state the shape of "
            "its output; run ncnnoptimize, which writes shapes, or cut that part out of it"
        )

    def stated(self, layer: Layer) -> list[Shape]:
        """Shapes of the outputs of a layer of an unknown kind; [] if they are not known."""
        return layer.stated_shapes()

    def _constant(self, layer: Layer) -> Blob:
        sides = [layer.number(key, 0, 0) for key in (2, 11, 1, 0)]
        shape = tuple(side for side in sides if side)
        if not shape:
            raise layer.fault("has no size")
        return Blob(shape, None, layer.name)

    # Activations and normalisations

    def _read_relu(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, "LeakyRelu" if layer.real(0) else "relu", x)

    def _read_clip(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, "relu6" if (layer.real(0, -1), layer.real(1)) == (0, 6) else "Clip", x)

    def _read_hardswish(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, "hswish" if _hard(layer) else "HardSwish", x)

    def _read_hardsigmoid(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, "hsigmoid" if _hard(layer) else "HardSigmoid", x)

    def _read_prelu(self, layer: Layer, x: Blob) -> Blob:
        return self.foreign(layer, "PRelu", [x.shape], [x], layer.number(0, 0, 0))[0]

    def _read_softmax(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, "Softmax" if self._axis(layer, x, 0) else "softmax", x)

    def _read_unaryop(self, layer: Layer, x: Blob) -> Blob:
        return self.like(layer, self._named(layer, _UNARY), x)

    def _read_batchnorm(self, layer: Layer, x: Blob) -> Blob:
        if layer.number(0) != x.shape[0]:
            raise layer.fault(f"is for {layer.number(0)} channels and reads {x.shape[0]}")
        return self.like(layer, "bn", x)

    def _join_scale(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        size = max(layer.number(0), 0)  # -233: of a second input
        return self.foreign(layer, "Mul", [blobs[0].shape], blobs, size * (1 + (layer.number(1) != 0)))[0]

    def _read_layernorm(self, layer: Layer, x: Blob) -> Blob:
        return self._normalised(layer, x, "LayerNormalization", 2 * layer.number(0, 0, 0) * layer.number(2, 1))

    def _read_rmsnorm(self, layer: Layer, x: Blob) -> Blob:
        return self._normalised(layer, x, "RMSNormalization", layer.number(0, 0, 0) * layer.number(2, 1))

    def _read_groupnorm(self, layer: Layer, x: Blob) -> Blob:
        return self._normalised(layer, x, "GroupNormalization", 2 * layer.number(1, 0, 0) * layer.number(3, 1))

    def _read_instancenorm(self, layer: Layer, x: Blob) -> Blob:
        return self._normalised(layer, x, "InstanceNormalization", 2 * layer.number(0, 0, 0) * layer.number(2, 1))

    def _read_normalize(self, layer: Layer, x: Blob) -> Blob:
        return self._normalised(layer, x, "LpNormalization", layer.number(3, 0, 0))

    def _normalised(self, layer: Layer, x: Blob, kind: str, params: int) -> Blob:
        return self.foreign(layer, kind, [x.shape], [x], params)[0]

    # Of two and more inputs

    def _join_binaryop(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        kind = self._named(layer, _BINARY)
        if layer.number(1):
            return self.like(layer, kind, blobs[0])
        if len(blobs) != 2:
            raise layer.fault(f"reads {len(blobs)} tensors and needs 2")
        shape = self._broadcast(layer, blobs[0].shape, blobs[1].shape)
        return self._combined(layer, kind, blobs, shape)

    def _join_eltwise(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        if len(blobs) < 2 or len({blob.shape for blob in blobs}) > 1:
            raise layer.fault("needs two or more tensors of one shape")
        kind = self._named(layer, "Mul Add Max")
        if len(blobs) == 2 and not layer.params.get(1):
            return self._combined(layer, kind, blobs, blobs[0].shape)
        return self.foreign(layer, "Sum" if kind == "Add" else kind, [blobs[0].shape], blobs)[0]

    def _combined(self, layer: Layer, kind: str, blobs: Sequence[Blob], shape: Shape) -> Blob:
        """A sum or product by an op of the vocabulary if the shapes fit it."""
        first, second = sorted(blobs, key=lambda blob: blob.shape != shape)
        computed = None not in (first.node, second.node)
        if computed and kind == "Add" and first.shape == second.shape:
            xs = self._pair_of_nodes(layer, first, second)
            return Blob(shape, self.put(layer, "add", self.net.shape(xs[0]), xs))
        gate = len(shape) == 3 and second.shape in (shape[:1], (shape[0], 1, 1))
        if computed and kind == "Mul" and first.shape == shape and (gate or second.shape == shape):
            if gate and second.shape == shape[:1]:
                second = Blob((shape[0], 1, 1), second.node)
            xs = self._pair_of_nodes(layer, first, second)
            return Blob(shape, self.put(layer, "mul", self.net.shape(xs[0]), xs))
        return self.foreign(layer, kind, [shape], blobs)[0]

    def _pair_of_nodes(self, layer: Layer, first: Blob, second: Blob) -> list[int]:
        """Nodes of two blobs, in equal shapes where these are equal."""
        xs = [self.node(layer, first), self.node(layer, second)]
        if first.shape == second.shape and self.net.shape(xs[0]) != self.net.shape(xs[1]):
            xs = [x if self.net.shape(x) == first.shape else self.put(layer, "Reshape", first.shape, [x]) for x in xs]
        return xs

    def _broadcast(self, layer: Layer, a: Shape, b: Shape) -> Shape:
        """The shape of two tensors together: the smaller one is aligned at the outermost dimension if it fits there,
        else at the innermost."""
        large, small = (a, b) if len(a) >= len(b) else (b, a)
        missing = (1,) * (len(large) - len(small))
        for padded in (small + missing, missing + small):
            if all(x == y or 1 in (x, y) for x, y in zip(large, padded, strict=True)):
                return tuple(max(x, y) for x, y in zip(large, padded, strict=True))
        raise layer.fault(f"joins tensors of {_by(a)} and {_by(b)}, which do not fit together")

    def _join_concat(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        axis = self._axis(layer, blobs[0], 0)
        shapes = [(*blob.shape[:axis], *blob.shape[axis + 1 :]) for blob in blobs]
        if len({(len(blob.shape), other) for blob, other in zip(blobs, shapes, strict=True)}) > 1:
            raise layer.fault(f"joins tensors of {', '.join(_by(blob.shape) for blob in blobs[:5])}, which do not fit")
        first = blobs[0].shape
        shape = (*first[:axis], sum(blob.shape[axis] for blob in blobs), *first[axis + 1 :])
        if axis or None in [blob.node for blob in blobs]:
            return self.foreign(layer, "Concat", [shape], blobs)[0]
        xs = [self.node(layer, blob) for blob in blobs]
        if len({len(self.net.shape(x)) for x in xs}) > 1:
            xs = [x if self.net.shape(x) == blob.shape else self.put(layer, "Reshape", blob.shape, [x])
                  for x, blob in zip(xs, blobs, strict=True)]  # fmt: skip
        whole = (*shape, 1, 1) if len(self.net.shape(xs[0])) > len(shape) else shape
        return Blob(shape, self.put(layer, "concat", whole, xs))

    def _join_priorbox(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        """Boxes per position of the first input, for each of its sizes and aspects; only shapes are read."""
        _, height, width = self._image(layer, blobs[0])
        least, most, aspects = (layer.length(key) for key in (0, 1, 2))
        each = least * (1 + aspects * (2 if layer.number(7, 1) else 1)) + most
        shape: Shape = (2, 4 * height * width * each)
        if len(blobs) == 1:
            shape = (4 * height * width * (least + aspects - 1),)
        return self.foreign(layer, "PriorBox", [shape], blobs[:1], read_bytes=0)[0]

    # Shapes

    def _read_flatten(self, layer: Layer, x: Blob) -> Blob:
        return Blob((math.prod(x.shape),), x.node, x.name)

    def _read_reshape(self, layer: Layer, x: Blob) -> Blob:
        values = [layer.number(key, DEFAULT) for key in (2, 11, 1, 0)]
        sides = [value for value in values if value != DEFAULT]
        if not sides:
            raise layer.fault("has no size that is a number; ncnn's expressions of sizes are not read")
        own = x.shape[len(x.shape) - len(sides) :] if len(x.shape) >= len(sides) else x.shape
        sides = [own[i] if side == 0 and i < len(own) else side for i, side in enumerate(sides)]
        total, rest = math.prod(x.shape), math.prod(side for side in sides if side != -1)
        if sides.count(-1) == 1 and rest > 0:
            sides[sides.index(-1)] = total // rest
        if math.prod(sides) != total or min(sides) < 1:
            raise layer.fault(f"makes {_by(sides)} of {_by(x.shape)}, which has {total:,} numbers")
        return Blob(tuple(sides), x.node, x.name)

    def _read_squeeze(self, layer: Layer, x: Blob) -> Blob:
        keys = (2, 1, 0) if len(x.shape) < 4 else (2, 11, 1, 0)
        named = {axis for axis, key in enumerate(keys[-len(x.shape) :]) if layer.number(key)}
        axes = {axis % len(x.shape) for axis in layer.integers(3)} or named
        shape = tuple(side for axis, side in enumerate(x.shape) if axis not in axes or side != 1)
        return Blob(shape or (1,), x.node, x.name)

    def _read_expanddims(self, layer: Layer, x: Blob) -> Blob:
        axes, sides = layer.integers(3), list(x.shape)
        named = [axis for axis, key in enumerate((2, 1, 0)[-len(sides) - 1 :]) if layer.number(key)]
        for axis in sorted(axis % (len(sides) + len(axes)) for axis in axes) or named:
            sides.insert(axis, 1)
        return Blob(tuple(sides), x.node, x.name)

    def _read_permute(self, layer: Layer, x: Blob) -> Blob:
        order, rank = layer.number(0, 0, 0), len(x.shape)
        orders = {1: ((0,),), 2: ((0, 1), (1, 0)), 3: _ORDERS}.get(rank, ())
        if order >= len(orders):
            raise layer.fault(f"has the order {order} for a tensor of {rank} dimensions, which is not read")
        if order == 0:
            return x
        return self.foreign(layer, "Transpose", [tuple(x.shape[axis] for axis in orders[order])], [x])[0]

    def _read_shufflechannel(self, layer: Layer, x: Blob) -> Blob:
        channels, groups = self._image(layer, x)[0], layer.number(0, 1, 1)
        if channels % groups:
            raise layer.fault(f"divides {channels} channels into {groups} groups")
        return self.like(layer, "shuffle", x, groups=channels // groups if layer.number(1) else groups)

    def _read_slice(self, layer: Layer, x: Blob) -> list[Blob]:
        axis, parts, ends = self._axis(layer, x, 1), layer.integers(0), layer.integers(2)
        side, count = x.shape[axis], len(layer.outputs)
        if ends:
            places = [0, *(end + side if end < 0 else end for end in ends), side]
            parts = tuple(b - a for a, b in pairwise(places))
        if len(parts) != count:
            raise layer.fault(f"has {len(parts)} sizes for {count} outputs")
        sizes, rest = list[int](), side
        for i, part in enumerate(parts):
            sizes.append(rest // (count - i) if part == DEFAULT else part)
            rest -= sizes[-1]
        if rest < 0:
            raise layer.fault(f"takes {sum(sizes):,} of a dimension of {side:,}")
        return self.foreign(layer, "Split", [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes], [x])

    def _join_crop(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        x, sides = blobs[0], list(blobs[0].shape)
        if starts := layer.integers(9):
            ends, axes = layer.integers(10), layer.integers(11) or tuple(range(len(starts)))
            if not len(starts) == len(ends) == len(axes) or any(not -len(sides) <= a < len(sides) for a in axes):
                raise layer.fault("does not have a beginning and an end for each of its axes")
            for axis, start, end in zip(axes, starts, ends, strict=True):
                side = x.shape[axis]
                end = side if end == DEFAULT else end + side if end < 0 else min(end, side)
                sides[axis] = end - (start + side if start < 0 else start)
        elif len(blobs) > 1:
            sides = [*(sides[:1] if len(sides) > len(blobs[1].shape) else []), *blobs[1].shape]
        else:
            keys = ((2, 5, 8), (1, 4, 7), (0, 3, 6))[-len(sides) :]
            for i, (start, size, end) in enumerate(keys):
                cut = layer.number(start, 0, 0) + layer.number(end, 0, 0)
                size = layer.number(size)
                sides[i] = size if size > 0 else sides[i] - cut
        if any(side > own for side, own in zip(sides, x.shape, strict=False)):
            raise layer.fault(f"takes {_by(sides)} out of {_by(x.shape)}")
        moved = 4 * math.prod(sides) if min(sides) > 0 else 0
        return self.foreign(layer, "Slice", [tuple(sides)], [x], read_bytes=moved)[0]

    def _read_padding(self, layer: Layer, x: Blob) -> Blob:
        top, bottom, left, right = (layer.number(key) for key in range(4))
        front, behind = layer.number(7), layer.number(8)
        added = ((front + behind), top + bottom, left + right)[-len(x.shape) :]
        if len(x.shape) > 3:
            raise layer.fault(f"pads a tensor of {len(x.shape)} dimensions, which is not read")
        shape = tuple(side + more for side, more in zip(x.shape, added, strict=True))
        pad = (top, left, bottom, right)
        if len(shape) == 3 and not front and not behind and not layer.number(4) and not layer.real(5):
            return Blob(shape, self.put(layer, "pad", shape, [self.node(layer, x)], pad=pad))
        return self.foreign(layer, "Pad", [shape], [x], layer.number(6, 0, 0))[0]

    def _join_interp(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        shape = blobs[0].shape
        channels, height, width = (*shape, 1, 1)[:3] if len(shape) == 1 else (1, *shape)[-3:]
        if len(blobs) > 1:
            sides = (1, *blobs[1].shape)[-2:]
        else:
            fixed, scales = (layer.number(3, 0, 0), layer.number(4, 0, 0)), (layer.real(1, 1), layer.real(2, 1))
            sides = tuple(
                out or int(side * scale) for side, out, scale in zip((height, width), fixed, scales, strict=True)
            )
        out = (*shape[:1], sides[1]) if len(shape) == 2 else (channels, *sides)
        return self.foreign(layer, "Resize", [out], blobs[:1])[0]

    def _read_pixelshuffle(self, layer: Layer, x: Blob) -> Blob:
        (channels, height, width), r = self._image(layer, x), layer.number(0, 1, 1)
        if channels % (r * r):
            raise layer.fault(f"makes squares of {r} x {r} of {channels} channels")
        return self.foreign(layer, "DepthToSpace", [(channels // (r * r), height * r, width * r)], [x])[0]

    def _read_reorg(self, layer: Layer, x: Blob) -> Blob:
        (channels, height, width), r = self._image(layer, x), layer.number(0, 1, 1)
        return self.foreign(layer, "SpaceToDepth", [(channels * r * r, height // r, width // r)], [x])[0]

    def _read_tile(self, layer: Layer, x: Blob) -> Blob:
        repeats = layer.integers(2)
        if not repeats:
            axis = self._axis(layer, x, 0)
            repeats = tuple(layer.number(1, 1, 1) if i == axis else 1 for i in range(len(x.shape)))
        rank = max(len(repeats), len(x.shape))
        padded = [(1,) * (rank - len(some)) + tuple(some) for some in (x.shape, repeats)]
        return self.foreign(layer, "Tile", [tuple(a * b for a, b in zip(*padded, strict=True))], [x])[0]

    def _read_reduction(self, layer: Layer, x: Blob) -> Blob:
        kind, rank, keep = self._named(layer, _REDUCTIONS), len(x.shape), layer.number(4)
        axes = range(rank) if layer.number(1, 1) else {axis % rank for axis in layer.integers(3)}
        if kind == "ReduceMean" and rank == 3 and set(axes) == {1, 2}:
            y = self.put(layer, "global_avg_pool", (x.shape[0], 1, 1), [self.node(layer, x)])
            return Blob((x.shape[0], 1, 1) if keep else x.shape[:1], y)
        kept = [1 if axis in axes else side for axis, side in enumerate(x.shape) if keep or axis not in axes]
        return self.foreign(layer, kind, [tuple(kept) or (1,)], [x])[0]

    # Parameters

    def _axis(self, layer: Layer, x: Blob, key: int) -> int:
        axis, rank = layer.number(key), len(x.shape)
        if not -rank <= axis < rank:
            raise layer.fault(f"works along axis {axis} of a tensor of {rank} dimensions")
        return axis % rank

    def _named(self, layer: Layer, names: str) -> str:
        """The name, among several, of the operation whose number is a layer's parameter 0."""
        number, known = layer.number(0, 0, 0), names.split()
        if number >= len(known):
            raise layer.fault(f"has the operation {number}, which is not known")
        return known[number]


def _hard(layer: Layer) -> bool:
    """Whether an activation is max(0, min(1, x / 6 + 1 / 2)), maybe times x."""
    return abs(layer.real(0, 0.2) - 1 / 6) < 1e-4 and layer.real(1, 0.5) == 0.5


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
