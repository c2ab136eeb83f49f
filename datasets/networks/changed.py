"""Networks with some ops changed or left out; the shapes of all others follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datasets.architectures import Op
from datasets.networks.network import Network, Port
from datasets.networks.ops import VOCABULARY, pads, window
from datasets.records import InputError

_COUNTED = {"params", "macs", "read_bytes", "param_bytes", "times", "whole", "tied"}
"""Attributes of counts and weights that a change would falsify."""

Shape = tuple[int, ...]


def changed(network: Network, changes: Mapping[int, Op | None]) -> Network:
    """A network with some ops replaced, whose key is its JSON form; ops that no output needs any more are left out.

    Shapes are inferred for the ops of `datasets.networks.ops`. Other ops have to keep the shapes of their inputs.

    Args:
        network: all ops have a `shape`.
        changes: by node, the new op, whose shape gives a convolution's or dense layer's channels and an input's shape;
            None leaves the op out: what reads it reads its first input.

    Raises:
        InputError: the changed ops do not fit together.
    """
    sources, ops, edges, at = network.sources(), list[Op](), list[tuple[int, int, int]](), dict[int, int]()
    for node, old in enumerate(network.ops):
        op = changes.get(node, old)
        if op is None:
            at[node] = at[sources[node][0]]
            continue
        own = [at[source] for source in sources[node]]
        shapes, before = [ops[i].attrs["shape"] for i in own], [network.shape(source) for source in sources[node]]
        if (op != old or shapes != before) and own:
            op = Op(op.kind, {**op.attrs, "shape": _shape(op, old, shapes, before)}, op.name)
        at[node] = len(ops)
        edges += [(source, len(ops), port) for port, source in enumerate(own)]
        ops.append(op)
    inputs, outputs = (
        [Port(port.name, at[port.node], port.dtype) for port in ports] for ports in (network.inputs, network.outputs)
    )
    return _needed(ops, edges, network.batch, inputs, outputs)


def _needed(
    ops: Sequence[Op], edges: Sequence[tuple[int, int, int]], batch: int | None, inputs: list[Port], outputs: list[Port]
) -> Network:
    """The network of the inputs and of the ops that outputs need."""
    kept = {port.node for port in (*inputs, *outputs)}
    for source, node, _ in sorted(edges, key=lambda edge: -edge[1]):
        if node in kept:
            kept.add(source)
    at = {node: i for i, node in enumerate(sorted(kept))}
    moved = [(at[a], at[b], port) for a, b, port in edges if b in kept]
    ports = (tuple(Port(port.name, at[port.node], port.dtype) for port in each) for each in (inputs, outputs))
    return Network.of([ops[node] for node in sorted(kept)], moved, batch, *ports)


def _shape(op: Op, old: Op, shapes: Sequence[Shape], before: Sequence[Shape]) -> Shape:
    """The shape of an op whose attributes or inputs changed."""
    first, shape = shapes[0], op.attrs["shape"]
    if op.kind not in VOCABULARY or _COUNTED & op.attrs.keys():
        raise InputError(f"The shape of {op.kind} is known for its own inputs only.")
    if op.kind in ("conv", "max_pool", "avg_pool"):
        return _windowed(op, old, first, before[0])
    if op.kind == "dense":
        return shape
    if op.kind == "global_avg_pool":
        return (first[0], *shape[1:])
    if op.kind in ("add", "mul", "concat"):
        return _joined(op, shapes)
    if op.kind == "pad":
        top, left, bottom, right = pads(op.attrs["pad"])
        return first[0], first[1] + top + bottom, first[2] + left + right
    if op.kind == "shuffle" and first[0] % op.attrs["groups"]:
        raise InputError(f"{first[0]} channels cannot be shuffled between {op.attrs['groups']} groups.")
    return first


def _windowed(op: Op, old: Op, first: Shape, before: Shape) -> Shape:
    channels, groups = op.attrs["shape"][0] if op.kind == "conv" else first[0], op.attrs.get("groups", 1)
    if len(first) != 3 or first[0] % groups or channels % groups:
        raise InputError(f"A convolution of {groups} groups does not fit to {first[0]} and {channels} channels.")
    same = {**op.attrs, "shape": 0, "groups": 0} == {**old.attrs, "shape": 0, "groups": 0}
    if same and first[1:] == before[1:]:
        return (channels, *old.attrs["shape"][1:])
    if window(old, before) != old.attrs["shape"][1:]:
        raise InputError(f"The sides of a {op.kind} are rounded up, which is known for its own input only.")
    sides = window(op, first)
    if min(sides) < 1:
        raise InputError(f"Nothing is left of {first[1]} x {first[2]} pixels behind a {op.kind}.")
    return (channels, *sides)


def _joined(op: Op, shapes: Sequence[Shape]) -> Shape:
    """The shape of a sum, product or concatenation."""
    first, *others = shapes
    if op.kind == "concat":
        if any(other[1:] != first[1:] for other in others):
            raise InputError(f"Tensors of {shapes} cannot be concatenated.")
        return (sum(shape[0] for shape in shapes), *first[1:])
    gate = (first[0], *[1] * (len(first) - 1))
    if any(other not in (first, gate) for other in others):
        raise InputError(f"Tensors of {shapes} cannot be added or multiplied.")
    return first
