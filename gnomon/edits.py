"""Edits of a network that may make it faster, each a valid network of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.architectures import Op
from datasets.networks.activations import CHEAP, SMOOTH, STEPPED
from datasets.networks.changed import changed
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.networks.parts import entries
from datasets.records import InputError

Kind = Literal["width", "kernel", "resolution", "activation", "normalisation", "precision", "fusion"]

NARROWER = 0.75
"""Share of the channels that an edit of the width keeps."""
SMALLER = (6 / 7, 5 / 7)
"""Shares of height and width that edits of the resolution keep: 224 becomes 192, or 160."""
COSTLIEST = 6
"""Number of groups of channels, and of single convolutions, that are edited one at a time."""
_NORMS = ("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization")


@dataclass(frozen=True)
class Edit:
    """A changed network.

    Attributes:
        kind: what is changed.
        text: a description.
        network: the network after the edit.
    """

    kind: Kind
    text: str
    network: Network


def edits(network: Network, ms: Sequence[float]) -> Iterator[Edit]:
    """The edits of a network that give a valid one.

    Args:
        network: all ops have a `shape`.
        ms: times of its pieces (`datasets.networks.parts.entries`), by which single layers are chosen.
    """
    groups = entries(network)
    cost = {node: own for nodes, own in zip(groups, ms, strict=True) for node in nodes}
    for kind, text, changes in (
        *_widths(network, ms),
        *_kernels(network, cost),
        *_resolutions(network),
        *_activations(network),
        *_norms(network, groups),
        *_fusion(network),
    ):
        with suppress(InputError):
            yield Edit(kind, text, changed(network, changes))


_Change = tuple[Kind, str, Mapping[int, Op | None]]


def _with(op: Op, **attrs: object) -> Op:
    return Op(op.kind, {**op.attrs, **attrs}, op.name)


def _widths(network: Network, ms: Sequence[float]) -> Iterator[_Change]:
    """All channels, and those of the costliest groups of layers that have to have equally many."""
    from search.netadapt.channels import find_groups

    try:
        groups = find_groups(network)
    except InputError:
        return
    steps = groups.steps()
    widths = np.maximum(np.round(NARROWER * groups.sizes / steps).astype(int), 1) * steps
    widths = np.where(widths < groups.sizes, widths, groups.sizes)

    def change(new: np.ndarray) -> Mapping[int, Op | None]:
        resized = groups.resized(new)
        return {node: op for node, op in enumerate(resized.ops) if op != network.ops[node]}

    own = [sum(ms[i] for i in touching) for touching in groups.touching]
    narrower = [group for group in np.argsort(own)[::-1].tolist() if widths[group] < groups.sizes[group]]
    if len(narrower) > 1:
        yield "width", f"{100 * NARROWER:.0f} % of the channels of all layers", change(widths)
    for group in narrower[:COSTLIEST]:
        new = np.where(np.arange(len(groups)) == group, widths, groups.sizes)
        yield "width", f"channels of {groups.names[group]} {groups.sizes[group]} -> {widths[group]}", change(new)


def _kernels(network: Network, cost: Mapping[int, float]) -> Iterator[_Change]:
    """Kernels above 3x3 as 3x3, all of a size at once, and the costliest 3x3 convolutions as 1x1."""
    found: dict[tuple[int, bool], list[int]] = {}
    for node in cost:
        op = network.ops[node]
        height, width = pair(op.attrs.get("kernel", 1))
        if op.kind == "conv" and height == width and height % 2 and height > 1:
            found.setdefault((height, op.attrs.get("groups", 1) > 1), []).append(node)
    for (kernel, grouped), nodes in sorted(found.items()):
        if kernel > 3:
            what = f"{len(nodes)} x {'grouped ' * grouped}convolution {kernel}x{kernel} -> 3x3"
            yield "kernel", what, {node: _narrowed(network.ops[node], kernel, 3) for node in nodes}
        elif not grouped:
            same = [node for node in nodes if pair(network.ops[node].attrs.get("stride", 1)) == (1, 1)]
            for node in sorted(same, key=lambda each: -cost[each])[:COSTLIEST]:
                shape = "x".join(map(str, network.shape(node)))
                yield "kernel", f"convolution to {shape} 3x3 -> 1x1", {node: _narrowed(network.ops[node], 3, 1)}


def _narrowed(op: Op, kernel: int, new: int) -> Op:
    """A convolution with a smaller kernel, padded less by as much."""
    high, wide = pair(op.attrs.get("dilation", 1))
    less = (high * (kernel - new) // 2, wide * (kernel - new) // 2) * 2
    padded = tuple(max(pad - own, 0) for pad, own in zip(pads(op.attrs.get("pad", 0)), less, strict=True))
    return _with(op, kernel=new, pad=padded)


def _resolutions(network: Network) -> Iterator[_Change]:
    """Smaller images."""
    images = [node for node, op in enumerate(network.ops) if op.kind == "input" and len(op.attrs["shape"]) == 3]
    if len(network.inputs) != 1 or len(images) != 1:
        return
    channels, height, width = network.shape(images[0])
    step = 32 if min(height, width) >= 128 else 4
    for share in SMALLER:
        high, wide = (max(round(share * side / step), 1) * step for side in (height, width))
        if high < height and wide < width:
            op = _with(network.ops[images[0]], shape=(channels, high, wide))
            yield "resolution", f"image {height}x{width} -> {high}x{wide}", {images[0]: op}


def _activations(network: Network) -> Iterator[_Change]:
    """Activations other than ReLU as ReLU, all of a kind at once; those that gate channels stay."""
    readers = _readers(network)
    ends = {port.node for port in network.outputs}
    kinds = {*SMOOTH, *STEPPED, *CHEAP} - {"relu", "Relu", "softmax", "Softmax", "LogSoftmax"}
    kinds -= {"Pow", "Sqrt", "RSQRT", "Exp", "Log", "Sin", "Cos", "Clip"}  # arithmetic
    found: dict[str, list[int]] = {}
    for node, op in enumerate(network.ops):
        gates = bool(readers[node]) and all(network.ops[reader].kind in ("mul", "Mul") for reader in readers[node])
        if op.kind in kinds and node not in ends and not gates:
            found.setdefault(op.kind, []).append(node)
    for kind, nodes in found.items():
        kept = ("shape", "dtype")
        ops = {n: Op("relu", {k: v for k, v in network.ops[n].attrs.items() if k in kept}) for n in nodes}
        yield "activation", f"{len(nodes)} x {kind} -> relu", ops


def _norms(network: Network, groups: Sequence[Sequence[int]]) -> Iterator[_Change]:
    """No norms that runtimes compute by themselves: batch norms that no convolution precedes, and norms of tokens."""
    folding = ("conv", "dense")
    found = [
        node
        for nodes in groups
        for node in nodes
        if network.ops[node].kind in (_NORMS if network.ops[nodes[0]].kind in folding else (*_NORMS, "bn"))
    ]
    if found:
        counts = Counter(network.ops[node].kind for node in found)
        text = " and ".join(f"{count} x {kind}" for kind, count in counts.items())
        yield "normalisation", f"without {text}", dict.fromkeys(found)


def _fusion(network: Network) -> Iterator[_Change]:
    """Without ops that stand between layers that could run as one: paddings, shuffles, gates of channels."""
    readers, sources = _readers(network), network.sources()
    merged = dict[int, Op | None]()
    paddings = [node for node, op in enumerate(network.ops) if op.kind == "pad" and min(pads(op.attrs["pad"])) >= 0]
    for node in paddings:
        if readers[node] and all(network.ops[reader].kind == "conv" for reader in readers[node]):
            merged[node] = None
            for reader in readers[node]:
                op, more = network.ops[reader], pads(network.ops[node].attrs["pad"])
                own = pads(op.attrs.get("pad", 0))
                merged[reader] = _with(op, pad=tuple(a + b for a, b in zip(own, more, strict=True)))
    if merged:
        count = sum(op is None for op in merged.values())
        yield "fusion", f"{count} x padding as part of the convolution behind it", merged
    if shuffles := [node for node, op in enumerate(network.ops) if op.kind == "shuffle"]:
        yield "fusion", f"without {len(shuffles)} x shuffle of channels", dict.fromkeys(shuffles)
    gates = [node for node, op in enumerate(network.ops) if op.kind == "mul" and _gate(network, sources[node])]
    if gates:
        yield "fusion", f"without {len(gates)} x gate of channels (squeeze and excitation)", dict.fromkeys(gates)


def _gate(network: Network, sources: Sequence[int]) -> bool:
    """Whether the second of two tensors is one number per channel of the first."""
    shapes = [network.shape(source) for source in sources]
    return len(shapes) == 2 and len(shapes[0]) == 3 and shapes[1] == (shapes[0][0], 1, 1) != shapes[0]


def _readers(network: Network) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {node: [] for node in range(len(network.ops))}
    for source, node, _ in network.edges:
        found[source].append(node)
    return found
