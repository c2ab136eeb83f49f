"""Parameters of the nodes of ONNX graphs, and the bytes that nodes read.

Parameters are constants that training changes: kernels, matrices, biases, embeddings. Masks, scales, zero points,
shapes, indices, regions and initial states are none. A constant computed from another one by a change of form
(transposed, quantised, repeated) counts as that one, so two nodes that read it share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from datasets.networks.onnx_macs import MS
from datasets.networks.ops import BITS

if TYPE_CHECKING:
    from datasets.networks.onnx_graph import Graph, Node

_WEIGHTS = {
    (1,): "ConvInteger PRelu RMSNormalization SimplifiedLayerNormalization",
    (0, 1): "MatMul MatMulInteger",
    (1, 2): """Conv ConvTranspose CausalConvWithState BatchNormalization LayerNormalization InstanceNormalization
GroupNormalization""",
    (1, 3): "DeformConv",
    (0, 3): "QLinearMatMul",
    (3, 8): "QLinearConv",
    (0, 1, 2): "Gemm",
    (1, 2, 3): "GRU RNN",
    (1, 2, 3, 7): "LSTM",
    tuple(range(32)): "Einsum",
    (): """
Resize Upsample Clip Pad Slice Split TopK Range Expand Tile Reshape Squeeze Unsqueeze OneHot Dropout CumSum Trilu Cast
QuantizeLinear DequantizeLinear DynamicQuantizeLinear NonMaxSuppression RoiAlign MaxRoiPool GridSample AffineGrid DFT
STFT MelWeightMatrix Attention LinearAttention RotaryEmbedding ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd
ReduceL1 ReduceL2 Equal Greater Less GreaterOrEqual LessOrEqual Mod Pow""",
}
_MS_WEIGHTS = {
    (1,): "BiasGelu FastGelu BiasSplitGelu BiasAdd MatMulBnb4",
    (3,): "MultiHeadAttention PackedMultiHeadAttention",
    (10,): "DecoderMaskedMultiHeadAttention",
    (0, 1): "FusedMatMul FusedMatMulActivation TransposeMatMul",
    (0, 3): "QLinearAdd QLinearMul",
    (1, 2): "FusedConv NhwcFusedConv NhwcConv nchwc.Conv CausalConvWithState Attention QAttention PackedAttention "
            "DecoderMaskedSelfAttention GroupNorm GemmFastGelu",
    (1, 2, 4): "SkipGroupNorm",
    (1, 4): "DynamicQuantizeMatMul MatMulBlockQuantizedFp8Weight",
    (1, 5): "MatMulNBits MatMulBlockQuantizedFp4Weight",
    (2, 5): "QOrderedMatMul",
    (2, 3): "SkipSimplifiedLayerNormalization",
    (3, 6): "QGemm",
    (3, 8): "QLinearConv",
    (0, 1, 2): "FusedGemm",
    (0, 1, 6): "MatMulIntegerToFloat",
    (2, 3, 4): "SkipLayerNormalization",
    (1, 2, 3, 7): "DynamicQuantizeLSTM",
    (11, 14, 15): "GroupQueryAttention",
    (2, 3, 5, 6, 8): "MatMulNBitsMlp",
    (2, 3, 5, 6, 8, 9, 11): "MatMulNBitsQkv",
    (2, 3, 4, 5, 6, 7): "MoE",
    (2, 4, 5, 7, 8, 10): "QMoE",
    (2, 3, 4, 5, 6): "EmbedLayerNormalization",
    (): """
CDist LinearAttention RotaryEmbedding QuickGelu Gelu QuantizeLinear DequantizeLinear QLinearConcat QLinearWhere
QLinearGlobalAveragePool QLinearAveragePool QLinearReduceMean QLinearSigmoid QLinearLeakyRelu QLinearSoftmax BiasSoftmax
ExpandDims Pad Trilu NhwcMaxPool Inverse Unique GridSample CropAndResize nchwc.ReorderInput nchwc.ReorderOutput
nchwc.MaxPool nchwc.AveragePool nchwc.GlobalAveragePool nchwc.GlobalMaxPool nchwc.Upsample""",
}  # fmt: skip
_ML_WEIGHTS: dict[tuple[int, ...], str] = {
    (): """
ArrayFeatureExtractor Binarizer CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder LinearClassifier
LinearRegressor Normalizer OneHotEncoder Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap""",
}
WEIGHTS = {
    domain + kind: places
    for domain, table in (("", _WEIGHTS), (MS, _MS_WEIGHTS), ("ai.onnx.ml.", _ML_WEIGHTS))
    for places, kinds in table.items()
    for kind in kinds.split()
}
"""Kind of node -> indices of the inputs that are parameters if they are constants; of other kinds, all constants
that fulfil `_learnt` and are not masks."""

UNCOUNTED = frozenset(MS + kind for kind in ("PackedAttention", "PackedMultiHeadAttention"))
"""Products whose number of operations depends on values of their inputs."""

_SAME = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_REWRITTEN = (*_SAME, "Cast", "QuantizeLinear", "DequantizeLinear", "Expand", "Tile")
"""Nodes that change the form of a constant, not its content."""

_HIDDEN = 1e4  # least number that masks subtract at hidden places
_LARGEST_MASK = 2**24  # elements


@dataclass(frozen=True)
class Held:
    """A constant tensor of parameters.

    Attributes:
        name: name of the original tensor, without changes of form.
        elements: number of parameters.
        bytes: of the form that a runtime holds in memory.
    """

    name: str
    elements: int
    bytes: int


def held_by(node: Node, graph: Graph) -> list[Held]:
    """The parameters of a node, each tensor once."""
    if node.kind in WEIGHTS:
        names = [node.inputs[i] for i in WEIGHTS[node.kind] if i < len(node.inputs)]
        names = [name for name in names if name in graph.constants and graph.element(name) not in ("int64", "bool")]
    else:
        names = [name for name in node.inputs if name in graph.constants and _counts(name, node, graph)]
    found = [held(name, graph, node) for name in names]
    return list({part.name: part for part in found}.values())


def held(name: str, graph: Graph, node: Node | None = None) -> Held:
    """The parameters in a constant; some nodes have several packed in one byte."""
    first, kept = _walk(name, graph, _REWRITTEN), _walk(name, graph, _SAME)
    proto = graph.constants.computed.get(kept)
    if proto is not None and proto.op_type == "DequantizeLinear":
        kept = proto.input[0]
    elements, taken = graph.constants.size(first), graph.constants.size(first) * graph.bits(kept)
    if node is not None and node.kind in _PACKED and graph.bits(name) == 8:
        elements *= 8 // _whole(node, "bits", _whole(node, "expert_weight_bits", 4))
        if node.kind == MS + "MatMulNBits":  # in whole blocks, a scale and maybe a zero point each
            elements = min(elements, _whole(node, "K", elements) * _whole(node, "N", 1))
            taken += sum(graph.constants.size(n) * graph.bits(n) for n in node.inputs[2:4] if n in graph.constants)
    return Held(first, elements, -(-taken // 8))


def _whole(node: Node, name: str, default: int) -> int:
    """An attribute, or the default if it is not a whole number above 0."""
    value = node.attrs.get(name)
    return value if isinstance(value, int) and value > 0 else default


_PACKED = frozenset(MS + kind for kind in (
    "GatherBlockQuantized", "MatMulNBits", "MatMulBnb4", "MatMulNBitsMlp", "MatMulNBitsQkv", "QMoE",
    "MatMulBlockQuantizedFp4Weight",
))  # fmt: skip
"""Nodes that may pack several weights in a byte."""


def _walk(name: str, graph: Graph, through: tuple[str, ...]) -> str:
    """The original of a constant, before the nodes of kinds `through`."""
    known, path = graph.forms.setdefault(through, {}), []
    while name not in known:
        proto = graph.constants.computed.get(name)
        if proto is None or proto.op_type not in through or proto.input[0] not in graph.constants:
            known[name] = name
        else:
            path.append(name)
            name = proto.input[0]
    known.update(dict.fromkeys(path, known[name]))
    return known[name]


def _counts(name: str, node: Node, graph: Graph) -> bool:
    """Whether a constant is a parameter of a node whose kind is not in `WEIGHTS`."""
    if not _real(name, graph):
        return False
    if graph.constants.size(_walk(name, graph, _REWRITTEN)) == 1:  # a factor, unless it is the bias of one output
        shape = graph.constants.shapes[name]
        return node.kind == "Add" and shape == (1,) and graph.full(node.outputs[0])[-1:] == (1,)
    return _learnt(name, graph) and not _masks(name, node.kind, graph)


def _real(name: str, graph: Graph) -> bool:
    """Whether a tensor holds real numbers, possibly quantised."""
    kind = graph.element(name)
    return "float" in kind or (BITS[kind] <= 8 and kind != "bool")


def _learnt(name: str, graph: Graph) -> bool:
    """Whether a constant is computed from a tensor of the file of more than one real number."""
    known, c, waiting = graph.learnt, graph.constants, [name]
    while waiting:
        last = waiting[-1]
        read = [n for n in c.computed[last].input if n in c] if last in c.computed else []
        missing = [n for n in read if n not in known]
        if last not in known and not missing:
            stands = last in c.stored and c.size(last) > 1 and _real(last, graph)
            known[last] = stands or any(known[n] for n in read)
        if last in known:
            waiting.pop()
        waiting += missing
    return known[name]


def _masks(name: str, kind: str, graph: Graph) -> bool:
    """Whether a constant is a mask: zeros and large negative numbers to add, or zeros and ones to multiply by."""
    if kind not in ("Add", "Sub", "Mul", "Where") or graph.constants.size(name) > _LARGEST_MASK:
        return False
    key = name, kind == "Mul"
    if key not in graph.masks:
        value = graph.constants.get(name)
        if value is None:
            return False
        visible, hidden = (value == 1, value == 0) if kind == "Mul" else (value == 0, np.abs(value) >= _HIDDEN)
        binary = (visible | hidden).all() and hidden.any()
        graph.masks[key] = bool(binary and (kind != "Mul" or visible.any()))
    return graph.masks[key]


# Bytes read


def read_bytes(node: Node, graph: Graph) -> int | None:
    """Bytes that a node reads in one run if it reads less than its whole inputs, else None."""
    count = _READ.get(node.kind)
    return count(node, graph) if count else None


def _size(name: str, graph: Graph) -> int:
    return -(-math.prod(graph.full(name)) * graph.bits(name) // 8) if name else 0


def _written(node: Node, graph: Graph) -> int:
    return sum(_size(name, graph) for name in node.outputs if graph.uses[name])


def _rows(node: Node, graph: Graph) -> int:
    """Bytes of the selected rows, and of the indices."""
    return _size(node.outputs[0], graph) + _size(node.inputs[1], graph)


def _packed_rows(node: Node, graph: Graph) -> int:
    return -(-math.prod(graph.full(node.outputs[0])) * _whole(node, "bits", 4) // 8) + _size(node.inputs[1], graph)


def _embedded(node: Node, graph: Graph) -> int:
    """Bytes of a row per embedding table (words, positions, maybe segments) and output, and of the other inputs."""
    tables = sum(1 for name in node.inputs[2:5] if name)
    others = [name for name in (*node.inputs[:2], *node.inputs[5:]) if name]
    return tables * _size(node.outputs[0], graph) + sum(_size(name, graph) for name in others)


_READ: dict[str, Callable[[Node, Graph], int]] = {
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), _rows),
    **dict.fromkeys(("Slice", "Split", "Concat", "Compress"), _written),
    **dict.fromkeys(("Shape", "Size", "ConstantOfShape"), lambda node, graph: 0),
    MS + "GatherBlockQuantized": _packed_rows,
    MS + "EmbedLayerNormalization": _embedded,
}


# Types


@cache
def element_type(number: int) -> str:
    """The name in `ops.BITS` of a type by its number in TensorProto; '' if there is none."""
    from onnx import TensorProto

    name = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else ""
    name = {"float": "float32", "double": "float64"}.get(name, name.partition("e")[0] if "float" in name else name)
    return name if name in BITS else ""
