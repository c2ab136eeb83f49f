"""A shaped network as the pieces that a runtime runs one by one, each with what its cost is made of.

A piece is one op with the batch norms and activations that runtimes fold into it (`parts.entries`). It
costs

- what a layer predictor says of the layer of PerfNetRT's tables that it is. Where it is none (11x11 kernels, sides
  above 512, images that are not square, more work than the space has) of the nearest layer that is one (`nearest`),
  times the ratio of their roofline times. Grouped convolutions are ungrouped ones of as much work; depthwise ones have
  no channels to sum over and no table, and are priced by their roofline;
- or, where it multiplies matrices in another way (recurrent layers, attention, quantised products), what its roofline
  says of its multiply-accumulates and bytes;
- or, all else, by the bytes that it moves;
- what its activations add that are no ReLU, by the element.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.networks.network import Network
from datasets.networks.onnx_counts import WEIGHTS
from datasets.networks.onnx_macs import MACS, MS
from datasets.networks.ops import BYTES, ITEM, VIEWS, VOCABULARY, macs, pads, pair, param_bytes, tensor_bytes
from datasets.networks.parts import entries, label
from datasets.records import Architectures, Op

SMOOTH = ("sigmoid", "tanh", "silu", "softmax", "Softmax", "Erf", "Exp", "Gelu", "Elu", "Selu", "Softplus", "Mish",
          "Log", "Pow", "Sqrt", "RSQRT", "Sin", "Cos", "LogSoftmax", "Sigmoid", "Tanh",
          *(MS + kind for kind in ("Gelu", "BiasGelu", "FastGelu", "QuickGelu")))  # fmt: skip
"""Functions that take tens of instructions an element."""

TANH = ("tanh", "Tanh")
"""The one of them that OpenVINO takes longer for than for the others, onnxruntime less long."""

STEPPED = ("hswish", "hsigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Clip")
"""Functions of a few instructions, which runtimes often run apart from the layer before."""

_MOVERS = """
Add Sub Mul Div Neg Abs Relu Min Max Mean Sum Reciprocal Floor Ceil Round Sign Not And Or Equal Greater Less Where
BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LpNormalization RMSNormalization LRN
MeanVarianceNormalization ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ReduceProd ArgMax ArgMin TopK CumSum
GlobalAveragePool GlobalMaxPool AveragePool MaxPool LpPool Concat Split Slice Gather GatherElements GatherND Compress
ScatterElements ScatterND Pad Transpose Expand Tile Resize Upsample DepthToSpace SpaceToDepth GridSample Shape Size
QuantizeLinear DequantizeLinear DynamicQuantizeLinear GreaterOrEqual LessOrEqual Mod OneHot NonZero ReverseSequence
SQUARE SQUARED_DIFFERENCE NOT_EQUAL REVERSE_V2 FILL READ_VARIABLE BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND
DYNAMIC_UPDATE_SLICE ZEROS_LIKE COMPLEX_ABS Range SVDF"""

KNOWN = VOCABULARY | {"truncate", *SMOOTH, *STEPPED, *VIEWS, "Cast", *_MOVERS.split(), *MACS}
KNOWN |= {kind for kind in WEIGHTS if "." in kind}
"""Ops that move as many bytes as they read and write, or say their multiply-accumulates; others are told by name."""

_DENSE = ("MatMul", "Gemm", "Einsum", *(MS + kind for kind in ("FusedMatMul", "FusedGemm", "GemmFastGelu")))

KINDS = ("convolution", "depthwise", "pooling", "dense", "moved")
"""What prices a piece."""


@dataclass(frozen=True)
class Piece:
    """One thing that a runtime runs, all images of a batch together.

    Attributes:
        label: its ops, the window and the shapes before and behind it.
        kind: one of `KINDS`.
        op: of the file or network, the first of the piece's.
        macs: multiply-accumulates.
        moved: bytes of activations read and written by what is fused, and of weights.
        weights: bytes of the weights alone.
        layer: values of the features of the layer that it is, where `kind` is one; maybe out of their ranges.
        smooth, tanh, stepped: elements that pass activations other than ReLU.
    """

    label: str
    kind: str
    op: str
    macs: int
    moved: int
    weights: int
    layer: dict[str, int] = field(default_factory=dict)
    smooth: int = 0
    tanh: int = 0
    stepped: int = 0


def pieces(network: Network, batch: int | None = None) -> list[Piece]:
    """The pieces of a shaped network, in its order.

    Args:
        network: as `Space.expand` and the readers of files give it.
        batch: images a run; by default the network's own.
    """
    batch = batch or network.batch or 1
    inputs = network.sources()
    return [_piece(network, inputs, nodes, batch) for nodes in entries(network)]


def _piece(network: Network, inputs: Sequence[Sequence[int]], nodes: Sequence[int], batch: int) -> Piece:
    ops, head = [network.ops[node] for node in nodes], network.ops[nodes[0]]
    before = [network.ops[source] for source in inputs[nodes[0]]] or [head]
    shape: tuple[int, ...] = before[0].attrs["shape"]
    samples, times = 1 if head.attrs.get("whole") else batch, head.attrs.get("times", 1)
    elements = [samples * math.prod(op.attrs["shape"]) for op in ops]
    kind, layer = _layer(ops, shape, samples)
    weights = sum(param_bytes(op, shape) for op in ops if op.kind != "bn" or kind == "moved")
    read = sum(tensor_bytes(op, batch) for op in before) + weights
    if "read_bytes" in head.attrs:
        read = samples * head.attrs["read_bytes"]
        weights = weights if weights <= read else 0  # a row of a table is no cold weight
    moved = read + sum(tensor_bytes(network.ops[node], batch) for node in (nodes[-1], *_items(network, nodes[0])))
    if kind not in ("convolution", "depthwise", "dense"):  # nothing is folded into what has no sums in registers
        moved += 2 * sum(tensor_bytes(op, batch) for op in ops[1:])
    if head.kind in VIEWS:
        moved = weights
    count = {
        name: times * sum(n for op, n in zip(ops, elements, strict=True) if op.kind in kinds)
        for name, kinds in (("smooth", set(SMOOTH) - set(TANH)), ("tanh", TANH), ("stepped", STEPPED))
    }
    work = times * samples * macs(head, shape)
    return Piece(label(network, nodes), kind, head.kind, work, times * moved, weights, layer, **count)


def _items(network: Network, node: int) -> list[int]:
    """Further outputs of an op, which stand directly behind it."""
    behind = itertools.takewhile(lambda n: network.ops[n].kind == ITEM, range(node + 1, len(network.ops)))
    return list(behind)


def _layer(ops: Sequence[Op], shape: tuple[int, ...], batch: int) -> tuple[str, dict[str, int]]:
    """What prices an op, and the features of its layer."""
    op, a = ops[0], ops[0].attrs
    folded = [other.kind for other in ops[1:]]
    act = int("relu" in folded or "relu6" in folded)
    if op.kind == "dense":
        bias = int(bool(a.get("bias", 1)))
        return "dense", {"batch": batch, "in": math.prod(shape), "out": a["shape"][0], "act": act, "bias": bias}
    if op.kind in _DENSE and a.get("params") and a.get("macs"):  # rows of tokens, each a dense layer's input
        inner, bias = max(a["macs"] // max(math.prod(a["shape"]), 1), 1), int(bool(a.get("bias")))
        out = max(a["params"] // (inner + bias), 1)
        rows = max(batch * math.prod(a["shape"]) // out, 1)
        return "dense", {"batch": rows, "in": inner, "out": out, "act": act, "bias": bias}
    if op.kind not in ("conv", "max_pool", "avg_pool") or len(shape) != 3:
        return "moved", {}
    channels, height, width = shape
    kernel, stride = (max(round(math.sqrt(math.prod(pair(a.get(name, 1))))), 1) for name in ("kernel", "stride"))
    square = max(round(math.sqrt(height * width)), 1)
    values = {"batch": batch, "size": square, "kernel": kernel, "in": channels, "stride": stride}
    values |= {"pad": int(any(pads(a.get("pad", 0)))), "act": act}
    if op.kind != "conv":
        return "pooling", values
    groups = a.get("groups", 1)
    if groups > 1 and channels == groups:
        return "depthwise", {**values, "in": a["shape"][0]}
    bias = int(bool(a.get("bias", 0)) or "bn" in folded)
    return "convolution", {**values, "in": channels // groups, "out": a["shape"][0], "bias": bias}


def nearest(space: LayerSpace, rows: Sequence[dict[str, int]]) -> tuple[Architectures, np.ndarray, np.ndarray]:
    """The layers of a space that are nearest to some values of its features.

    Features are clipped to their ranges; then, as long as a layer needs more work or memory than the space allows, its
    batch, else its image, else its channels shrink by as much as is needed.

    Returns:
        The layers; operations and bytes [A, 2] of what was asked for, and of these.
    """
    names = [f.name for f in space.features]
    low, high = (np.array([getattr(f, end) for f in space.features]) for end in ("low", "high"))
    asked = np.array([[row[name] for name in names] for row in rows], np.int64).reshape(len(rows), len(names))
    values = asked.clip(low, high)

    def column(table: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, table.T, strict=True))

    def need(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        work = space.work(column(table))
        return work.operations, BYTES * (work.inputs + work.outputs + work.params)

    if "pad" in names:
        pad = names.index("pad")
        values[space.work(column(values)).outputs == 0, pad] = 1  # a kernel that does not fit in without padding
    for _ in range(8):
        operations, moved = need(values)
        over = np.maximum(operations / (1e6 * space.megamacs), moved / (1e6 * space.megabytes))
        if (over <= 1).all():
            break
        shrunk = column(values)  # views
        for name, power in (("batch", 1), ("size", 2), ("in", 1), ("out", 1)):
            if name in shrunk:
                least = np.minimum(2 * shrunk["kernel"], shrunk["size"]) if name == "size" else 1
                before = shrunk[name].copy()
                np.copyto(
                    shrunk[name], np.maximum(before / over ** (1 / power), least).astype(np.int64), where=over > 1
                )
                over = over / (before / shrunk[name]) ** power
    wanted = np.stack(need(asked), axis=1)
    return Architectures(space, values - low), wanted, np.stack(need(values), axis=1)
