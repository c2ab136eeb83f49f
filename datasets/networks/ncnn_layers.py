"""ncnn's layers as ops of the vocabulary with equal results, else by ONNX's names; others keep ncnn's."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.networks.ncnn_graph import Blob, Shape
from datasets.networks.ncnn_shapes import Shapes, by
from datasets.networks.ncnn_text import Layer

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
_ALIASES = ("Split", "Noop", "Dropout", "Packing")
_BOXES = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")


class Reader(Shapes):
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
        return self.like(layer, "Softmax" if self._axis(layer, x, 0) or len(x.shape) == 2 else "softmax", x)

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
        raise layer.fault(f"joins tensors of {by(a)} and {by(b)}, which do not fit together")

    def _join_concat(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        axis = self._axis(layer, blobs[0], 0)
        shapes = [(*blob.shape[:axis], *blob.shape[axis + 1 :]) for blob in blobs]
        if len({(len(blob.shape), other) for blob, other in zip(blobs, shapes, strict=True)}) > 1:
            raise layer.fault(f"joins tensors of {', '.join(by(blob.shape) for blob in blobs[:5])}, which do not fit")
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


def _hard(layer: Layer) -> bool:
    """Whether an activation is max(0, min(1, x / 6 + 1 / 2)), maybe times x."""
    return abs(layer.real(0, 0.2) - 1 / 6) < 1e-4 and layer.real(1, 0.5) == 0.5
