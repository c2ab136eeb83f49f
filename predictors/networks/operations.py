"""The operations of networks: what of a network is a point of a space of operations (`datasets.blocks.operations`).

Most operations are one piece of a network. Functions, norms and attention that exporters write as several nodes are
several pieces, which the spaces have as one point (`form=written`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from datasets.networks.network import Network, Port
from datasets.networks.onnx_macs import MS
from datasets.networks.ops import ITEM, macs
from datasets.networks.parts import entries
from datasets.records import Op
from predictors.networks.written import Readers, written

_KINDS = {
    "layer_norm": f"LayerNormalization RMSNormalization {MS}SkipLayerNormalization {MS}SimplifiedLayerNormalization",
    "group_norm": "GroupNormalization InstanceNormalization",
    "smooth": "sigmoid tanh silu Sigmoid Tanh Gelu Mish Erf Exp Elu Selu Softplus Pow Sqrt Log Sin Cos Reciprocal "
    f"{MS}Gelu {MS}BiasGelu {MS}FastGelu {MS}QuickGelu",
    "stepped": "relu relu6 hswish hsigmoid Clip LeakyRelu PRelu HardSwish HardSigmoid Abs Neg Sign Floor Ceil Round",
    "softmax": "softmax Softmax LogSoftmax",
    "elementwise": "add mul Add Sub Mul Div Max Min Where",
    "transposed_convolution": "ConvTranspose",
    "average_pooling": "avg_pool global_avg_pool AveragePool GlobalAveragePool",
    "resize": "Resize Upsample",
    "reduction": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ReduceProd ArgMax ArgMin",
    "gather": "Gather",
    "recurrent": "LSTM GRU RNN",
    "layout": "Transpose Concat concat Split Slice Pad pad shuffle DepthToSpace SpaceToDepth truncate",
    "attention": f"Attention {MS}MultiHeadAttention {MS}GroupQueryAttention {MS}Attention",
}
"""Kinds of ops by the kind of their space; products and convolutions depend on more (`kind_of`)."""

_OF = {op: kind for kind, ops in _KINDS.items() for op in ops.split()}
_PRODUCTS = ("MatMul", "Gemm", "Einsum", MS + "FusedMatMul", MS + "FusedGemm")

OPERATIONS = ("matmul", "linear", "cached_attention", "grouped_convolution", "depthwise_convolution", *_KINDS)
"""Kinds of spaces of operations."""

_LARGEST_WINDOW = 11  # elements of the windows of depthwise convolutions over sequences


def kind_of(op: Op, in_shape: tuple[int, ...], inputs: int) -> str:
    """The kind of the space that an op alone is a point of; '' for ops without one, such as layers of PerfNetRT's.

    Args:
        op: of any kind.
        in_shape: shape of its first input, without the batch dimension.
        inputs: number of inputs that are computed.
    """
    if op.kind in _PRODUCTS and op.attrs.get("macs"):
        return "linear" if op.attrs.get("params") else "matmul"
    if op.kind == "conv" and (groups := op.attrs.get("groups", 1)) > 1:
        return "depthwise_convolution" if in_shape[0] == groups == op.attrs["shape"][0] else "grouped_convolution"
    if op.kind == "Conv" and op.attrs.get("macs"):  # over a sequence; its file has the number of groups
        each, channels = macs(op, in_shape) / max(math.prod(op.attrs["shape"]), 1), op.attrs["shape"][0]
        narrow = each <= _LARGEST_WINDOW and channels == in_shape[0]
        return "depthwise_convolution" if narrow else "grouped_convolution"
    kind = _OF.get(op.kind, "")
    return "cached_attention" if kind == "attention" and inputs > 4 else kind


class Operation(NamedTuple):
    """An operation of a network.

    Attributes:
        kind: kind of its space.
        rows: its pieces, as positions in `datasets.networks.parts.entries`.
        network: the operation alone, once, without what runtimes fold into it.
        times: how often it runs in one run.
        folded: whether it is one op, no activation itself, and runtimes fold others into it.
    """

    kind: str
    rows: tuple[int, ...]
    network: Network
    times: int
    folded: bool


def operations(network: Network) -> list[Operation]:
    """The operations of a network, each piece in at most one."""
    groups, sources = entries(network), network.sources()
    readers = _readers(network, sources)
    heads = [nodes[0] for nodes in groups]
    kinds = [kind_of(network.ops[node], network.shape(sources[node][0]), len(sources[node])) for node in heads]
    found, taken = list[Operation](), set[int]()
    for kind, rows in written(network, groups, kinds, readers):
        nodes = sorted(node for i in rows for node in groups[i])
        taken.update(rows)
        found.append(_operation(network, kind, rows, nodes, sources, readers))
    for i, (kind, nodes) in enumerate(zip(kinds, groups, strict=True)):
        if kind and i not in taken:
            folded = len(nodes) > 1 and kind not in ("smooth", "stepped")
            found.append(_operation(network, kind, [i], nodes[:1], sources, readers, folded))
    return found


def _operation(network: Network, kind: str, rows: Sequence[int], nodes: Sequence[int],
               sources: Sequence[Sequence[int]], readers: Readers, folded: bool = False) -> Operation:  # fmt: skip
    """An operation of some nodes, in the network's order."""
    times = network.ops[nodes[0]].attrs.get("times", 1)
    return Operation(kind, tuple(sorted(rows)), _alone(network, nodes, sources, readers), times, folded)


def _alone(network: Network, nodes: Sequence[int], sources: Sequence[Sequence[int]], readers: Readers) -> Network:
    """Some nodes of a network as a network of their own, with an input for every tensor from outside."""
    inside, new = set(nodes), dict[int, int]()
    outside = dict.fromkeys(source for node in nodes for source in sources[node] if source not in inside)
    ops, edges = list[Op](), list[tuple[int, int, int]]()
    for node in (*outside, *nodes):
        new[node] = len(ops)
        op, drop = network.ops[node], ("times", "tied")
        kept = ("shape", "dtype", "whole") if node in outside else [name for name in op.attrs if name not in drop]
        attrs = {name: op.attrs[name] for name in kept if name in op.attrs}
        ops.append(Op("input" if node in outside else op.kind, attrs))
        if node in inside:
            edges += [(new[source], new[node], port) for port, source in enumerate(sources[node])]
    ends = [node for node in nodes if not inside.issuperset(readers[node]) or not readers[node]]
    outputs = tuple(Port(f"y{node}", new[node]) for node in ends)
    return Network("operations", "", tuple(ops), tuple(edges), network.batch, outputs=outputs)


def _readers(network: Network, sources: Sequence[Sequence[int]]) -> Readers:
    found: Readers = {node: set() for node in range(len(network.ops))}
    for source, node, _ in network.edges:
        found[source].add(node)
    for port in network.outputs:
        found[port.node].add(-1)
    for node in reversed(range(len(network.ops))):
        if network.ops[node].kind == ITEM:
            found[sources[node][0]] |= found.pop(node)
    return found
