"""The pieces of a network that a runtime runs one after another, each with the quantities that its cost depends on.

A piece is one op with the batch norms and activations that runtimes fold into it (`parts.entries`). Its cost is

- the prediction of a layer predictor, if it is a layer of PerfNetRT's tables. A layer out of their range (11x11
  kernels, sides above 512, images that are not square, too much work) has the cost of the nearest layer within
  (`nearest`), times the ratio of their roofline times. Grouped convolutions count as ungrouped ones of equal work;
  depthwise ones, which have no channels to sum over and no table, cost their roofline time;
- the roofline time of its multiply-accumulates and bytes, if it multiplies matrices in another way (recurrent layers,
  attention, quantised products);
- a time per byte moved, for all other ops;
- plus a time per element of its activations other than ReLU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.networks.activations import SMOOTH, STEPPED, TANH
from datasets.networks.network import Network
from datasets.networks.onnx_counts import WEIGHTS
from datasets.networks.onnx_macs import MACS, MS
from datasets.networks.ops import BYTES, ITEM, VIEWS, VOCABULARY, macs, pads, pair, param_bytes, tensor_bytes
from datasets.networks.parts import entries, label
from datasets.records import Architectures, Op

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
"""Ops whose cost follows from the bytes that they read and write, or from their multiply-accumulates; a price lists
all others as unknown."""

_DENSE = ("MatMul", "Gemm", "Einsum", *(MS + kind for kind in ("FusedMatMul", "FusedGemm", "GemmFastGelu")))

KINDS = ("convolution", "depthwise", "pooling", "dense", "moved")
"""Cost models of pieces: four tables of layers, and bytes moved."""


@dataclass(frozen=True)
class Piece:
    """One op with the ops folded into it; counts are of a whole batch.

    Attributes:
        label: kinds of its ops, kernel and stride, shapes of input and output.
        kind: one of `KINDS`.
        op: kind of its first op.
        macs: multiply-accumulates.
        moved: bytes of activations read and written, and of weights read.
        weights: bytes of the weights alone.
        layer: values by feature of the layer, possibly out of range; empty for other kinds than layers.
        smooth, tanh, stepped: elements that pass activations other than ReLU.
        name: name of its first op in the network's file; '' if it has none.
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
    name: str = ""


def pieces(network: Network, batch: int | None = None) -> list[Piece]:
    """The pieces of a network, in its order.

    Args:
        network: all ops have a `shape`, as after `Space.expand` or reading a file.
        batch: samples per run; by default the batch that the network fixes, else 1.
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
        weights = weights if weights <= read else 0  # only some rows of a table are read
    moved = read + sum(tensor_bytes(network.ops[node], batch) for node in (nodes[-1], *_items(network, nodes[0])))
    if kind not in ("convolution", "depthwise", "dense"):  # activations fold into sums in registers only
        moved += 2 * sum(tensor_bytes(op, batch) for op in ops[1:])
    if head.kind in VIEWS:
        moved = weights
    count = {
        name: times * sum(n for op, n in zip(ops, elements, strict=True) if op.kind in kinds)
        for name, kinds in (("smooth", set(SMOOTH) - set(TANH)), ("tanh", TANH), ("stepped", STEPPED))
    }
    work = times * samples * macs(head, shape)
    return Piece(
        label(network, nodes, inputs), kind, head.kind, work, times * moved, weights, layer, **count, name=head.name
    )


def _items(network: Network, node: int) -> list[int]:
    """Further outputs of an op, which follow it directly."""
    behind = itertools.takewhile(lambda n: network.ops[n].kind == ITEM, range(node + 1, len(network.ops)))
    return list(behind)


def _layer(ops: Sequence[Op], shape: tuple[int, ...], batch: int) -> tuple[str, dict[str, int]]:
    """The kind of a piece, one of `KINDS`, and the features of its layer."""
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
    """The layers of a space that are nearest to requested layers, which may be out of its range.

    Features are clipped to their ranges; then, while a layer needs more work or memory than the space allows, its
    batch, its image and its channels, in this order, shrink as far as necessary.

    Args:
        space: space of the layers.
        rows: per requested layer a value for each feature.

    Returns:
        The nearest layers; operations and bytes [A, 2] of the requested layers; operations and bytes [A, 2] of the
        nearest ones.
    """
    names = [f.name for f in space.features]
    low, high = (np.array([getattr(f, end) for f in space.features]) for end in ("low", "high"))
    requested = np.array([[row[name] for name in names] for row in rows], np.int64).reshape(len(rows), len(names))
    values = requested.clip(low, high)

    def column(table: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, table.T, strict=True))

    def need(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        work = space.work(column(table))
        return work.operations, BYTES * (work.inputs + work.outputs + work.params)

    if "pad" in names:
        pad = names.index("pad")
        values[space.work(column(values)).outputs == 0, pad] = 1  # the kernel is larger than the image
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
    wanted = np.stack(need(requested), axis=1)
    return Architectures(space, values - low), wanted, np.stack(need(values), axis=1)
