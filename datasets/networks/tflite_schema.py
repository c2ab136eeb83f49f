"""The content of a .tflite file without interpretation: subgraphs of tensors and operators, and bytes of constants.

The numbers of fields, types and operators are those of TensorFlow Lite's schema.fbs, version 3, as of November 2026.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.files.reading import existing, shortened
from datasets.networks.flatbuffer import Buffer, Damaged, Table
from datasets.networks.ops import BITS
from datasets.records import InputError

MOST_ENTRIES = 100_000
"""Largest number of tensors, operators, buffers and subgraphs of a file, together and repetitions included."""
_MOST_LINKS = 1_000_000  # inputs and outputs of all operators and subgraphs
_MOST_AXES = 16

TYPES = ("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
         "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
         "float8", "float8")  # fmt: skip
"""Element types by number; two kinds of `float8`."""

_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND
TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL
LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS
SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG
ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND
HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS
RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD
UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL
STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE
STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT
STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW
STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE"""
OPERATORS = tuple(_OPERATORS.split())
"""Names of operators by number."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a subgraph.

    Attributes:
        name: not always unique.
        shape: with the batch; open sizes are those with which the file was written.
        open: axes whose sizes the file leaves open.
        dtype: one of `TYPES`.
        stored: position in the file (below 0: in another file) and number of its bytes; None if it is not constant.
        real: whether its elements represent real numbers, by their type or a scale.
        sparse: whether zeros are not stored.
    """

    name: str
    shape: tuple[int, ...]
    open: tuple[int, ...]
    dtype: str
    stored: tuple[int, int] | None
    real: bool
    sparse: bool

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all elements; none of strings and handles."""
        return -(-self.elements * BITS.get(self.dtype, 0) // 8)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: its name, `custom.NAME` if it is not in `OPERATORS`, indices of its tensors (-1: missing), and its
    options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True, slots=True)
class Subgraph:
    """Operators in execution order and their tensors, with the indices of inputs and outputs."""

    tensors: list[Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: list[Operator]


@dataclass(frozen=True)
class TFLite:
    """The content of a file."""

    subgraphs: list[Subgraph]
    content: Buffer

    def values(self, tensor: Tensor) -> np.ndarray | None:
        """The elements of a constant, flat; None if numpy lacks their type or not all are stored."""
        known = tensor.dtype in np.sctypeDict and "complex" not in tensor.dtype and not tensor.sparse
        if not known or tensor.stored is None or tensor.stored[0] < 0:
            return None
        return np.frombuffer(self.content, tensor.dtype, tensor.elements, tensor.stored[0])

    def integer(self, tensor: Tensor) -> int | None:
        """The value of a constant of one integer or boolean, else None."""
        values = self.values(tensor) if tensor.elements == 1 and not tensor.real else None
        return None if values is None else int(values[0])


def read_schema(path: Path) -> TFLite:
    """Read the content of a .tflite file.

    Raises:
        InputError: there is no such file, it is not a TFLite file, damaged, or has more than `MOST_ENTRIES` entries.
    """
    hint = "export or copy it again"
    with existing(path, "name a .tflite file").open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise InputError(f"{path} is no TFLite file of version 3; {hint}.")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return TFLite(_subgraphs(Table.root(content)), content)
    except Damaged as error:
        raise InputError(f"{path} is damaged ({shortened(error, 200)}); {hint}.") from None


def _subgraphs(model: Table) -> list[Subgraph]:
    count = sum(model.length(field, 4) for field in (1, 2, 4))
    graphs = model.tables(2) if count <= MOST_ENTRIES else []
    count += sum(graph.length(field, 4) for graph in graphs for field in (0, 3))
    if count > MOST_ENTRIES:
        raise Damaged(f"it claims to have {count:,} tensors, operators and buffers, and {MOST_ENTRIES:,} are read")
    codes = [_code(code) for code in model.tables(1)]
    buffers = [_buffer(buffer) for buffer in model.tables(4)]
    found, left = [], _MOST_LINKS
    for graph in graphs:
        tensors = [_tensor(tensor, buffers) for tensor in graph.tables(0)]
        operators = [_operator(operator, codes) for operator in graph.tables(3)]
        links = [graph.numbers(1), graph.numbers(2)]
        left -= len(links[0]) + len(links[1])
        if min(links[0] + links[1], default=0) < 0:
            raise Damaged("a subgraph lacks an input or output")
        for operator in operators:
            links += [operator.inputs, operator.outputs]
            left -= len(operator.inputs) + len(operator.outputs)
            if min(operator.outputs, default=0) < 0 or left < 0:
                raise Damaged(f"an operator lacks an output, or all have more than {_MOST_LINKS:,} inputs and outputs")
        if any(not -1 <= index < len(tensors) for side in links for index in side):
            raise Damaged("it names a tensor that is not there")
        found.append(Subgraph(tensors, links[0], links[1], operators))
    if not found:
        raise Damaged("it holds no network")
    return found


def _code(code: Table) -> str:
    """The name of an operator; old files have its number in a field of eight bits."""
    kind = max(code.number(3), code.number(0, "b"))
    name = OPERATORS[kind] if 0 <= kind < len(OPERATORS) else f"custom.operator_{kind}"
    return f"custom.{shortened(code.text(1), 60)}" if name == "CUSTOM" else name


def _buffer(buffer: Table) -> tuple[int, int] | None:
    """Position and number of a buffer's bytes, which large files have behind the flatbuffer; None if it is empty."""
    start, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if start <= 1:
        start, size = buffer.span(0)
    if start + size > len(buffer.buffer):
        raise Damaged("a part of it is missing")
    return (start, size) if size else None


def _tensor(tensor: Table, buffers: list[tuple[int, int] | None]) -> Tensor:
    kind, place, outside = tensor.number(1, "b"), tensor.number(2, "I"), tensor.number(10, "I")
    if not 0 <= kind < len(TYPES) or place >= max(len(buffers), 1):
        raise Damaged("a tensor has a type or a buffer that there is not")
    shape, signature = tensor.numbers(0, most=_MOST_AXES), tensor.numbers(7, most=_MOST_AXES)
    name, dtype, quantisation = tensor.text(3, 200), TYPES[kind], tensor.table(4)
    if min(shape, default=0) < 0:
        raise Damaged(f"the tensor '{shortened(name, 60)}' has a size below 0")
    opened = tuple(axis for axis, side in enumerate(signature[: len(shape)]) if side < 0)
    real = "float" in dtype or bool(quantisation and quantisation.length(2, 4))
    found = Tensor(name, shape, opened, dtype, None, real, tensor.table(6) is not None)
    stored = (-outside, found.bytes) if outside else buffers[place] if buffers else None
    if stored and dtype in BITS and not found.sparse and stored[1] != found.bytes:
        raise Damaged(f"the tensor '{shortened(name, 60)}' has {stored[1]:,} bytes and needs {found.bytes:,}")
    return Tensor(name, shape, opened, dtype, stored, real, found.sparse)


def _operator(operator: Table, codes: list[str]) -> Operator:
    code = operator.number(0, "I")
    if code >= len(codes):
        raise Damaged("an operator is of a kind that there is not")
    options = operator.table(4) or operator.table(12)
    return Operator(codes[code], operator.numbers(1), operator.numbers(2), options)
