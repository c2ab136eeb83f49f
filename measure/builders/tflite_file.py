"""Reads and writes .tflite files by their flatbuffer schema, without TensorFlow.

Int8 follows TensorFlow's quantisation specification: activations int8 with one scale and zero point, weights
int8 with one scale per output channel and no zero point, biases int32 with the product of the two scales.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from datasets.files.reading import existing, shortened
from datasets.records import InputError
from measure.builders.affine import Affine

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: its index, its shape with the batch, and its quantisation (None for fp32)."""

    index: int
    shape: tuple[int, ...]
    affine: Affine | None = None


class TFLiteFile:
    """Collects tensors and operators in execution order; one subgraph."""

    def __init__(self) -> None:
        self.tensors: list[schema.TensorT] = []
        self.operators: list[schema.OperatorT] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.buffers: list[schema.BufferT] = [schema.BufferT()]  # the first is empty by convention

    def activation(self, shape: tuple[int, ...], affine: Affine | None = None) -> Tensor:
        """Add the output of an operator, or the input."""
        return Tensor(self._tensor(shape, np.dtype(np.int8 if affine else np.float32), 0, affine), shape, affine)

    def constant(self, value: np.ndarray, affine: Affine | None = None) -> Tensor:
        """Add constant numbers, quantised if `affine` is given."""
        value = np.ascontiguousarray(affine.quantise(value) if affine else value)
        return Tensor(self._stored(value, affine), value.shape, affine)

    def weight(self, value: np.ndarray, axis: int) -> tuple[Tensor, np.ndarray]:
        """Add an int8 weight (-127 to 127) with a scale per index of `axis`; returns it and the scales."""
        others = tuple(i for i in range(value.ndim) if i != axis)
        scales = np.abs(value).max(others) / np.float32(127)
        scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
        q = np.round(value / np.expand_dims(scales, others)).astype(np.int8)
        return Tensor(self._stored(q, scales, axis), q.shape), scales

    def bias(self, value: np.ndarray, scales: np.ndarray) -> Tensor:
        """Add an int32 bias with the given scales."""
        q = np.clip(np.round(value / scales.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32)
        return Tensor(self._stored(q, scales), q.shape)

    def operator(
        self, name: str, inputs: Sequence[Tensor], output: Tensor, version: int = 1, kind: str = "", **options: Any
    ) -> Tensor:
        """Add a builtin operator; `kind` is the name of its options' table without `Options`. Returns the output."""
        op = schema.OperatorT(inputs=[x.index for x in inputs], outputs=[output.index])
        op.opcodeIndex = self.codes.setdefault((name, version), len(self.codes))
        if kind:
            op.builtinOptions = getattr(schema, f"{kind}OptionsT")(**options)
            op.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
        self.operators.append(op)
        return output

    def content(self, x: Tensor, y: Tensor) -> bytes:
        """The file's bytes, for an input and an output."""
        graph = schema.SubGraphT(self.tensors, [x.index], [y.index], self.operators, "main")
        codes = []
        for name, version in self.codes:
            code = getattr(schema.BuiltinOperator, name)
            # Old readers look for the code in a field of eight bits.
            codes.append(schema.OperatorCodeT(min(code, 127), version=version, builtinCode=code))
        model = schema.ModelT(3, codes, [graph], "Gnomon", self.buffers)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _stored(self, value: np.ndarray, quantisation: Affine | np.ndarray | None, axis: int = 0) -> int:
        self.buffers.append(_Buffer(np.ascontiguousarray(value)))
        return self._tensor(value.shape, value.dtype, len(self.buffers) - 1, quantisation, axis)

    def _tensor(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        buffer: int,
        quantisation: Affine | np.ndarray | None,
        axis: int = 0,
    ) -> int:
        parameters = None
        if isinstance(quantisation, Affine):
            parameters = schema.QuantizationParametersT(scale=[quantisation.scale], zeroPoint=[quantisation.zero_point])
        elif quantisation is not None:
            parameters = schema.QuantizationParametersT(
                scale=quantisation, zeroPoint=np.zeros(len(quantisation), np.int64), quantizedDimension=axis
            )
        name = f"t{len(self.tensors)}"
        self.tensors.append(schema.TensorT(list(shape), _TYPES[dtype], buffer, name, parameters))
        return len(self.tensors) - 1


class _Buffer(schema.BufferT):
    """Numbers aligned to 16 bytes, as the schema requires; its generated code does not align them."""

    def __init__(self, value: np.ndarray) -> None:
        super().__init__()
        self.value = value

    def Pack(self, builder: flatbuffers.Builder) -> int:
        data = self.value.tobytes()
        builder.StartVector(1, len(data), 16)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


@dataclass(frozen=True)
class Operator:
    """An operator read from a file: name, version, present input and output tensors, which are constant, options."""

    name: str
    version: int
    inputs: list[schema.TensorT]
    outputs: list[schema.TensorT]
    constant: list[bool]
    options: Any


MOST_ENTRIES = 100_000
"""Largest total number of tensors, operators and buffers of a file; entries that share bytes count separately."""


def read_operators(path: Path) -> list[Operator]:
    """The operators of a .tflite file's subgraphs, in order.

    Raises:
        InputError: there is no such file, it is no .tflite file or damaged, or has more than `MOST_ENTRIES` entries.
    """
    hint = "give a .tflite file"
    content = existing(path, hint).read_bytes()
    if content[4:8] != b"TFL3":
        raise InputError(f"{path} is no TFLite file; {hint}.")
    try:
        return _operators(schema.Model.GetRootAs(content, 0), path)
    except (struct.error, ValueError, TypeError, IndexError, AttributeError) as error:  # of the schema's generated code
        raise InputError(f"{path} is damaged or no TFLite file ({shortened(error)}); {hint}.") from error


def _operators(model: Any, path: Path) -> list[Operator]:
    graphs = [model.Subgraphs(i) for i in range(min(model.SubgraphsLength(), MOST_ENTRIES))]
    count = model.SubgraphsLength() + model.OperatorCodesLength() + model.BuffersLength()
    count += sum(graph.OperatorsLength() + graph.TensorsLength() for graph in graphs)
    if count > MOST_ENTRIES:
        raise InputError(f"{path} claims to have {count:,} entries, more than the {MOST_ENTRIES:,} that are read.")
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    stored = [not model.Buffers(i).DataIsNone() for i in range(model.BuffersLength())]
    found: list[Operator] = []
    links = 0
    for graph in graphs:
        tensors = [_tensor(graph.Tensors(i)) for i in range(graph.TensorsLength())]
        for i in range(graph.OperatorsLength()):
            op = schema.OperatorT.InitFromObj(graph.Operators(i))
            code = codes[op.opcodeIndex]
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            links += sum(len(side) for side in (op.inputs, op.outputs) if side is not None)
            if links > 10 * MOST_ENTRIES:
                raise ValueError("operators share their inputs")
            ends = [[int(j) for j in side] if side is not None else [] for side in (op.inputs, op.outputs)]
            if any(j >= len(tensors) for side in ends for j in side) or min(ends[1], default=0) < 0:
                raise ValueError(f"operator {i} names a tensor that is not there")
            inputs, outputs = ([tensors[j] for j in side if j >= 0] for side in ends)
            constant = [stored[tensor.buffer] for tensor in inputs]
            name = names.get(number, f"operator {number}")
            found.append(Operator(name, code.Version(), inputs, outputs, constant, op.builtinOptions))
    return found


def _tensor(tensor: Any) -> schema.TensorT:
    """Shape, type, buffer and quantisation of a tensor."""
    stored = tensor.Quantization()
    quantization = stored and schema.QuantizationParametersT(
        scale=stored.ScaleAsNumpy(), zeroPoint=stored.ZeroPointAsNumpy()
    )
    shape = () if tensor.ShapeIsNone() else tensor.ShapeAsNumpy()
    return schema.TensorT(shape, tensor.Type(), tensor.Buffer(), quantization=quantization)


def is_int8(tensor: schema.TensorT) -> bool:
    """Whether a tensor that was read is int8."""
    return tensor.type == schema.TensorType.INT8


def same_scale(a: schema.TensorT, b: schema.TensorT) -> bool:
    """Whether two tensors have the same quantisation."""
    p, q = a.quantization, b.quantization
    if p is None or q is None:
        return False
    return bool(np.array_equal(p.scale, q.scale) and np.array_equal(p.zeroPoint, q.zeroPoint))
