"""What a shaped network costs in theory, whatever the device: operations, parameters, memory.

The vocabulary of shaped ops, with `shape` = output shape without the batch dimension, (channels, height, width) or
(features,):

- input; zero (a constant);
- conv (kernel, stride, pad, groups, bias, dilation), max_pool and avg_pool (kernel, stride, pad; an average leaves the
  padding out unless `include_pad`). Kernel, stride and dilation are one number or (height, width), the padding is one
  number or (top, left, bottom, right); what is not there is 1, or 0 for the padding and what may be switched on;
- global_avg_pool (to (channels,) or (channels, 1, 1)); dense (reads its input flat; has a bias unless `bias` is 0);
- bn (without a factor if `scale` is 0, without a summand if `shift` is 0); relu, relu6, hswish, hsigmoid, sigmoid,
  tanh, silu; softmax (over channels or features);
- add, mul (two inputs; the second of mul may be one number a channel, (channels, 1, 1)); concat (of channels);
- pad (of zeros: `pad`; negative numbers cut off); truncate (to the first channels); shuffle (of channels between
  `groups`).

An op read from a file that is none of these keeps the file's name for it, and says itself what its `params` and `macs`
are. It can be counted and priced, and only the file's own runtime can run it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from datasets.architectures import InputError, Op
from datasets.files.reading import shortened
from datasets.networks.network import Network

VOCABULARY = frozenset(("input", "zero", "conv", "max_pool", "avg_pool", "global_avg_pool", "dense", "bn", "relu",
                        "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu", "softmax", "add", "mul", "concat",
                        "pad", "shuffle"))  # fmt: skip
"""The kinds above."""

FOLDED = ("bn", "relu", "relu6", "hswish", "hsigmoid", "sigmoid", "tanh", "silu")
"""What runtimes fold into the op before it, where nothing else reads that."""

BYTES = 4
"""Bytes of one fp32 number."""

BN_EPSILON = 1e-5
"""What every bn adds to its variance."""

PRODUCTS = frozenset(("LSTM", "GRU", "RNN", "Attention", "Einsum", "DeformConv", "MatMul", "Gemm", "Conv", "DFT",
                      "STFT", "ConvTranspose", "QLinearMatMul"))  # fmt: skip
"""Ops of files that multiply matrices: where they do not state their MACs, those are not counted."""

TOTALS = ("macs", "flops", "params", "peak_bytes", "moved_bytes", "kernels")
"""Names of what `totals` gives, in its order."""


def pair(value: Any) -> tuple[int, int]:
    """A kernel, stride or dilation as (height, width)."""
    return (value, value) if isinstance(value, int) else tuple(value)


def pads(value: Any) -> tuple[int, int, int, int]:
    """A padding as (top, left, bottom, right)."""
    return (value,) * 4 if isinstance(value, int) else tuple(value)


def window(op: Op, in_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what a kernel leaves of (channels, height, width), rounding down."""
    a = op.attrs
    top, left, bottom, right = pads(a.get("pad", 0))
    sides = zip(in_shape[1:], (top + bottom, left + right), pair(a["kernel"]), pair(a.get("stride", 1)),
                pair(a.get("dilation", 1)), strict=True)  # fmt: skip
    height, width = ((side + pad - (k - 1) * dilation - 1) // stride + 1 for side, pad, k, stride, dilation in sides)
    return height, width


def macs(op: Op, in_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions and dense layers (a bias adds none), as NAS-Bench-201 counts them."""
    if op.kind == "conv":
        per_output = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return per_output * math.prod(op.attrs["shape"])
    if op.kind == "dense":
        return math.prod(in_shape) * op.attrs["shape"][0]
    return op.attrs.get("macs", 0)


def params(op: Op, in_shape: tuple[int, ...]) -> int:
    """Trainable parameters (batch norm: scale and shift, unless `scale` or `shift` is 0)."""
    out = op.attrs["shape"][0]
    if op.kind == "conv":
        kernel = in_shape[0] // op.attrs.get("groups", 1) * math.prod(pair(op.attrs["kernel"]))
        return out * (kernel + op.attrs.get("bias", 0))
    if op.kind == "dense":
        return out * (math.prod(in_shape) + op.attrs.get("bias", 1))
    if op.kind == "bn":
        return out * (op.attrs.get("scale", 1) + op.attrs.get("shift", 1))
    return op.attrs.get("params", 0)


def totals(network: Network, batch: int | None = None) -> dict[str, int]:
    """Totals of a shaped network.

    Args:
        network: whose ops all have a `shape`.
        batch: by default that which the network fixes, else 1.

    Returns:
        macs: multiply-accumulates; flops: twice that; params: trainable parameters; peak_bytes: the most bytes of
        activations alive at once when ops run in order, nothing is done in place and a tensor dies after its last
        use (weights not counted); moved_bytes: activations read and written plus weights read, op by op without
        fusion; kernels: ops that run.
    """
    batch = batch or network.batch or 1
    shapes = [tuple(op.attrs["shape"]) for op in network.ops]
    size = [BYTES * batch * math.prod(shape) for shape in shapes]
    total = dict.fromkeys(TOTALS, 0)
    total["peak_bytes"] = max(alive(network, batch))
    for index, (op, sources) in enumerate(zip(network.ops, network.sources(), strict=True)):
        if op.kind in ("input", "zero"):
            continue
        in_shape = shapes[sources[0]]
        weights = params(op, in_shape)
        total["macs"] += batch * macs(op, in_shape)
        total["params"] += weights
        total["moved_bytes"] += size[index] + sum(size[source] for source in sources) + BYTES * weights
        total["kernels"] += 1
    total["flops"] = 2 * total["macs"]
    return total


MOST = 2**62
"""Most operations or bytes of a network; numbers of 64 bits hold them."""


def check_network(network: Network) -> Network:
    """The network itself, which was read from data that anybody may have written.

    Raises:
        InputError: an op lacks what its kind needs, or its totals are no numbers, or more than `MOST`.
    """
    sources = network.sources()
    try:
        for op, before in zip(network.ops, sources, strict=True):
            if not op.attrs["shape"] or (op.kind not in ("input", "zero") and not before):
                raise ValueError(f"{op.kind} lacks an input or a shape")
            _check_attributes(op)
        if max(totals(network).values()) > MOST:
            raise ValueError("it has more operations or bytes than any network")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"The network {shortened(network.key, 60)} is damaged ({shortened(error, 100)}); measure its file again."
        ) from None
    return network


def _check_attributes(op: Op) -> None:
    """Raise a ValueError, KeyError or TypeError where an op's attributes are not those of its kind."""
    a, counts = op.attrs, [op.attrs.get(name, 0) for name in ("macs", "params", "bias", "scale", "shift")]
    if any(type(count) not in (int, bool) or count < 0 for count in counts):
        raise ValueError(f"a count of {op.kind} is no whole number")
    if op.kind not in ("conv", "max_pool", "avg_pool"):
        return
    height, width = zip(*(pair(a[name] if name == "kernel" else a.get(name, 1)) for name in _SIZES), strict=True)
    sizes = (*height, *width, a.get("groups", 1))
    if any(type(size) is not int or not 0 < size < MOST for size in sizes):
        raise ValueError(f"a size of {op.kind} is no whole number above 0")
    top, left, bottom, right = pads(a.get("pad", 0))
    if any(type(side) is not int for side in (top, left, bottom, right)):
        raise ValueError(f"the padding of {op.kind} is no whole number")


_SIZES = ("kernel", "stride", "dilation")


def uncounted(network: Network) -> Counter[str]:
    """Ops of a file whose MACs are unknown and taken for none, and how many: recurrent layers, and whatever is no op of
    ONNX itself."""
    ops = (op.kind for op in network.ops if op.kind not in VOCABULARY and not op.attrs.get("macs"))
    return Counter(kind for kind in ops if kind in PRODUCTS or "." in kind)


def alive(network: Network, batch: int = 1) -> list[int]:
    """Bytes of the activations that are alive while each op runs, what it reads and writes among them."""
    size = [BYTES * batch * math.prod(op.attrs["shape"]) for op in network.ops]
    last_use = list(range(len(size)))
    for source, target, _ in network.edges:
        last_use[source] = max(last_use[source], target)
    for port in network.outputs:
        last_use[port.node] = len(size)  # outputs outlive the network
    dies = [0] * (len(size) + 1)
    for index, end in enumerate(last_use):
        dies[end] += size[index]
    born = list(accumulate(size))
    dead = list(accumulate(dies, initial=0))
    return [here - gone for here, gone in zip(born, dead, strict=False)]


def entries(network: Network) -> list[list[int]]:
    """What a runtime runs as one: an op with the batch norms and activations behind it that nothing else reads.

    The nodes of every entry, in the network's order; what never reaches the output, or only
    constants feed, is not there.
    """
    inputs = network.sources()
    ends = {port.node for port in network.outputs}
    constant, needed = set[int](), set(ends)
    for node, op in enumerate(network.ops):
        if op.kind == "zero" or (inputs[node] and constant.issuperset(inputs[node])):
            constant.add(node)
    for node in reversed(range(len(network.ops))):
        if node in needed:
            needed.update(inputs[node])
    real = [n for n, op in enumerate(network.ops) if n in needed and n not in constant and op.kind != "input"]
    readers: dict[int, list[int]] = {node: [] for node in range(len(network.ops))}
    for node in real:
        for source in inputs[node]:
            readers[source].append(node)
    found, taken = [], set()
    for node in real:
        if node in taken:
            continue
        entry = [node]
        while entry[-1] not in ends and len(after := readers[entry[-1]]) == 1 and network.ops[after[0]].kind in FOLDED:
            entry += after
        taken.update(entry)
        found.append(entry)
    return found


def cut(network: Network, nodes: Sequence[int]) -> Network:
    """Some nodes of a network, in order, as a network of its own; its key says all that it is."""
    inputs, ops, edges, new = network.sources(), list[Op](), list[tuple[int, int, int]](), dict[int, int]()

    def add(op: Op, *sources: int) -> int:
        ops.append(op)
        edges.extend((source, len(ops) - 1, port) for port, source in enumerate(sources))
        return len(ops) - 1

    def shape(node: int) -> tuple[int, ...]:
        return network.ops[node].attrs["shape"]

    main = shape(inputs[nodes[0]][0])
    start = add(Op("input", {"shape": main}))
    for node in nodes:
        sources = []
        for source in inputs[node]:
            if source in new or shape(source) == main:
                sources.append(new.get(source, start))
            else:
                other = add(Op("zero", {"shape": shape(source)}))
                gate = network.ops[node].kind == "mul"  # times zero would be nothing; a half is something
                sources.append(add(Op("hsigmoid", {"shape": shape(source)}), other) if gate else other)
        new[node] = add(network.ops[node], *sources)
    return Network.of(ops, edges)


def label(network: Network, nodes: Sequence[int] | None = None) -> str:
    """Some nodes (by default the first piece) in words: their kinds, the first one's window and groups, and the shapes
    before and behind them, as in `conv+bn+relu 3/1 16x32x32 -> 16x32x32`."""
    nodes = nodes or entries(network)[0]
    ops = [network.ops[node] for node in nodes]
    attrs, ports = ops[0].attrs, [(port, a) for a, b, port in network.edges if b == nodes[0]]
    window = f" {_by(attrs['kernel'])}/{_by(attrs.get('stride', 1))}" if "kernel" in attrs else ""
    groups = f" groups {attrs['groups']}" if attrs.get("groups", 1) > 1 else ""
    before = _by(network.shape(min(ports)[1])) if ports else ""
    return f"{'+'.join(op.kind for op in ops)}{window}{groups} {before} -> {_by(network.shape(nodes[-1]))}"


def _by(value: Any) -> str:
    return str(value) if isinstance(value, int) else "x".join(map(str, value))
