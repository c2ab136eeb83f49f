"""Memory that a run of a network needs: weights, and the activations that are alive at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from datasets.networks.network import Network
from datasets.networks.ops import ITEM, VIEWS, param_bytes, tensor_bytes

_IN_PLACE = """
bn relu relu6 hswish hsigmoid sigmoid tanh silu softmax add mul
Add Sub Mul Div Neg Abs Relu LeakyRelu PRelu Elu Selu Celu Clip Sigmoid HardSigmoid Tanh Softplus Softsign Erf Exp Log
Sqrt Reciprocal Floor Ceil Round Sign Not And Or Xor Pow Min Max Sum Mean Sin Cos Gelu HardSwish Mish Softmax
LogSoftmax BatchNormalization InstanceNormalization LayerNormalization RMSNormalization Where
com.microsoft.Gelu com.microsoft.BiasGelu com.microsoft.FastGelu com.microsoft.QuickGelu"""
IN_PLACE = frozenset(_IN_PLACE.split())
"""Ops that may overwrite their first input if nothing else reads it."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a run needs.

    Attributes:
        weights: bytes of all weights; weights that several ops share count once.
        activations: largest number of bytes alive at once when ops run in the network's order, nothing is done in place
            and a tensor is freed after its last use.
        in_place: largest number of bytes alive at once if elementwise ops overwrite their first input and views copy
            nothing.
    """

    weights: int
    activations: int
    in_place: int


def memory(network: Network, batch: int | None = None) -> Memory:
    """The memory of one run.

    Args:
        network: all ops have a `shape`.
        batch: samples per run; by default the batch that the network fixes, else 1.
    """
    batch, weights = batch or network.batch or 1, 0
    for op, sources in zip(network.ops, network.sources(), strict=True):
        if sources and not op.attrs.get("tied"):
            weights += param_bytes(op, network.shape(sources[0]))
    return Memory(weights, max(alive(network, batch)), max(alive(network, batch, in_place=True)))


def alive(network: Network, batch: int = 1, in_place: bool = False) -> list[int]:
    """Bytes of the activations that are alive while each op runs, its inputs and output included.

    Args:
        network: all ops have a `shape`.
        batch: samples per run.
        in_place: whether elementwise ops overwrite their first input if nothing reads it later, and views copy nothing.

    Returns:
        Bytes per op, in the network's order.
    """
    size = [tensor_bytes(op, batch) for op in network.ops]
    last_read = _last_reads(network)
    buffer, born = list(range(len(size))), list(range(len(size)))
    ends = list(last_read)  # per buffer, by the tensors in it so far
    for node, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        if op.kind == ITEM:
            born[node] = sources[0]  # all outputs of an op are there at once
        elif in_place and sources:
            first = buffer[sources[0]]
            over = op.kind in IN_PLACE and ends[first] == node and network.ops[first].kind != "input"
            if size[node] == size[first] and (op.kind in VIEWS or over):
                buffer[node], ends[first] = first, max(ends[first], last_read[node])
    change = [0] * (len(size) + 1)
    for node, own in enumerate(buffer):
        if own == node:
            change[born[node]] += size[node]
            change[min(ends[node] + 1, len(size))] -= size[node]
    return list(accumulate(change[:-1]))


def _last_reads(network: Network) -> list[int]:
    """Index of the last op that reads each tensor; the number of ops for outputs of the network."""
    last = list(range(len(network.ops)))
    for source, target, _ in network.edges:
        last[source] = max(last[source], target)
    for port in network.outputs:
        last[port.node] = len(network.ops)
    return last
