"""Control flow of ONNX graphs: the branch that runs, or the costlier one; loops as repetitions of their middle trip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.networks.onnx_nested import subgraphs
from datasets.networks.onnx_sequences import MOST_PARTS
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

    from datasets.networks.onnx_ops import Reader
    from datasets.networks.onnx_walk import Walk

FLOW = ("If", "Loop", "Scan")
MOST_TRIPS = 2**31
"""Number of trips from which on a loop counts as unbounded; exporters write such numbers for `while`."""


def read_flow(walk: Walk, proto: onnx.NodeProto, reader: Reader) -> None:
    """Read an If, Loop or Scan.

    Raises:
        InputError: its number of trips is unknown, or it lacks a graph, an input or an output.
    """
    graphs = dict(subgraphs(proto))
    wanted = ("then_branch", "else_branch") if proto.op_type == "If" else ("body",)
    if any(name not in graphs for name in wanted):
        raise InputError(f"The {proto.op_type} '{_name(proto)}' of {walk.path} lacks a graph; export it again.")
    if proto.op_type == "If":
        _branch(walk, proto, graphs, reader)
    elif proto.op_type == "Loop":
        _loop(walk, proto, graphs["body"], reader)
    else:
        _scan(walk, proto, graphs["body"], reader)


def _name(proto: onnx.NodeProto) -> str:
    return shortened(proto.name or next(filter(None, proto.output), ""), 60)


def _check(right: bool, walk: Walk, proto: onnx.NodeProto) -> None:
    if not right:
        raise InputError(
            f"The graph of the {proto.op_type} '{_name(proto)}' of {walk.path} does not have the inputs and outputs "
            "that it needs; export it again."
        )


# Branches


def _branch(walk: Walk, proto: onnx.NodeProto, graphs: dict[str, onnx.GraphProto], reader: Reader) -> None:
    _check(bool(proto.input) and all(len(g.output) == len(proto.output) for g in graphs.values()), walk, proto)
    condition = walk.constants.get(proto.input[0])
    if condition is not None:
        taken = "then_branch" if condition.any() else "else_branch"
    else:
        taken = _dearer(walk, proto, graphs, reader)
    graph = graphs[taken]
    walk.read(graph.node, reader)
    for outer, inner in zip(proto.output, graph.output, strict=True):
        walk.alias(reader, outer, inner.name)


def _dearer(walk: Walk, proto: onnx.NodeProto, graphs: dict[str, onnx.GraphProto], reader: Reader) -> str:
    """The branch with more MACs, or more bytes if these are equal; if one cannot be read, the other."""
    key = next(filter(None, proto.output), "")
    if key not in walk.taken:
        costs, faults = dict[str, tuple[int, int]](), list[InputError]()
        for name in ("then_branch", "else_branch"):
            try:
                costs[name] = _cost(walk, graphs[name], reader)
            except InputError as fault:
                faults.append(fault)
        if not costs:
            raise faults[0]
        walk.taken[key] = max(costs, key=lambda name: costs[name])
    taken = walk.taken[key]
    walk.notes[f"Which branch of '{_name(proto)}' runs depends on values; {taken}, the dearer one, is counted."] = None
    return taken


def _cost(walk: Walk, graph: onnx.GraphProto, reader: Reader) -> tuple[int, int]:
    """MACs and moved bytes of a branch."""
    trial, notes, seen = walk.reader(), dict(walk.notes), walk.bounded.copy()
    for name in dict.fromkeys(_read_inside(graph)):
        if name in reader.nodes and name in walk.shapes:
            trial.input(name)
    try:
        walk.read(graph.node, trial)
    finally:
        walk.notes, walk.bounded = notes, seen
    if not trial.net.ops:
        return 0, 0
    total = totals(Network("onnx", "", tuple(trial.net.ops), tuple(trial.net.edges), walk.batch))
    return total["macs"], total["moved_bytes"]


def _read_inside(graph: onnx.GraphProto) -> list[str]:
    names = [value.name for value in graph.output]
    for node in graph.node:
        names += node.input
        for _, inner in subgraphs(node):
            names += _read_inside(inner)
    return names


# Loops


def _loop(walk: Walk, proto: onnx.NodeProto, body: onnx.GraphProto, reader: Reader) -> None:
    carried = len(proto.input) - 2
    scans = len(proto.output) - carried
    _check(carried >= 0 and scans >= 0 and len(body.input) == carried + 2, walk, proto)
    _check(len(body.output) == len(proto.output) + 1, walk, proto)
    trips = _trips(walk, proto)
    walk.fix(body.input[0].name, np.array(trips // 2, np.int64))  # a middle trip is like most
    walk.fix(body.input[1].name, np.array(True))
    for initial, value in zip(proto.input[2:], body.input[2:], strict=True):
        _carry(walk, reader, initial, value.name)
    start = _body(walk, body, reader, trips)
    going = body.output[0].name
    goes = walk.constants.get(going)
    if not (goes is not None and goes.all()) and _given(walk, proto) is None:
        walk.notes[f"The loop '{_name(proto)}' may end early; all of its {trips:,} trips are counted."] = None
    inner = [value.name for value in body.output[1:]]
    changed = [n for n, i in zip(inner, proto.input[2:], strict=False) if walk.shapes.get(n) != walk.shapes.get(i)]
    if changed:
        walk.notes[f"Sizes in the loop '{_name(proto)}' change; those of its first trip are counted."] = None
    _leave(walk, reader, proto.output[:carried], inner[:carried])
    for outer, name, initial in zip(proto.output, inner, proto.input[2:], strict=False):
        if name in walk.lists:  # each trip adds as many tensors
            known = walk.lists[name]
            added = known[len(walk.lists.get(initial, ())) :]
            walk.lists[outer] = [*known, *(added * max(min(trips, MOST_PARTS + 1) - 1, 0))][: MOST_PARTS + 1]
    for outer, name in zip(proto.output[carried:], inner[carried:], strict=True):
        _collect(walk, reader, outer, name, trips, 0)
    _tie(walk, reader, proto, inner, start)


def _given(walk: Walk, proto: onnx.NodeProto) -> int | None:
    """The number of trips from the command line, or None."""
    return next((walk.trips[n] for n in (proto.name, *proto.output) if n and n in walk.trips), None)


def _trips(walk: Walk, proto: onnx.NodeProto) -> int:
    walk.loops += [name for name in (proto.name, *proto.output) if name]
    if (given := _given(walk, proto)) is not None:
        return given
    most = walk.constants.get(proto.input[0]) if proto.input[0] else None
    first = walk.constants.get(proto.input[1]) if proto.input[1] else None
    if first is not None and not first.any():
        return 0
    if most is None or not most.size or int(most.reshape(-1)[0]) >= MOST_TRIPS:
        raise InputError(
            f"How often the loop '{_name(proto)}' of {walk.path} runs depends on values; say it, as in --trips "
            f"{_name(proto)}=8."
        )
    return max(int(most.reshape(-1)[0]), 0)


def _scan(walk: Walk, proto: onnx.NodeProto, body: onnx.GraphProto, reader: Reader) -> None:
    from onnx import helper

    attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute if a.name != "body"}
    slices = attrs.get("num_scan_inputs", 0)
    _check(0 < slices <= len(proto.input), walk, proto)
    carried, places = len(proto.input) - slices, attrs.get("scan_input_axes", [0] * slices)
    right = len(places) == slices and len(body.input) == len(proto.input)
    scans = len(proto.output) - carried
    _check(right and scans >= 0 and len(body.output) == len(proto.output) and all(proto.input), walk, proto)
    sources = list(zip(proto.input[carried:], body.input[carried:], places, strict=True))
    shapes = [walk.shapes.get(name, ()) for name, _, _ in sources]
    _check(all(-len(s) <= a < len(s) for s, (*_, a) in zip(shapes, sources, strict=True)), walk, proto)
    trips = shapes[0][places[0]]
    for initial, value in zip(proto.input[:carried], body.input[:carried], strict=True):
        _carry(walk, reader, initial, value.name)
    before, reader.times = reader.times, reader.times * trips
    for (name, value, axis), shape in zip(sources, shapes, strict=True):
        rest = (*shape[: axis % len(shape)], *shape[axis % len(shape) + 1 :])
        _declare(walk, value.name, name, rest)
        _put(walk, reader, "Slice", value.name, [reader.nodes[name]] if name in reader.nodes else [])
    reader.times = before
    start = _body(walk, body, reader, trips)
    inner = [value.name for value in body.output]
    _leave(walk, reader, proto.output[:carried], inner[:carried])
    axes = attrs.get("scan_output_axes", [0] * scans)
    for outer, name, axis in zip(proto.output[carried:], inner[carried:], axes, strict=False):
        _collect(walk, reader, outer, name, trips, axis)
    _tie(walk, reader, proto, inner, start)


def _body(walk: Walk, body: onnx.GraphProto, reader: Reader, trips: int) -> int:
    """Read the nodes of a body, which run `trips` times; returns the index of the first op that may belong to it."""
    for name in _read_inside(body):
        walk.uses[name] += name in reader.nodes  # a tensor that each trip reads cannot fuse into the op before
    start, before = len(reader.net.ops), reader.times
    reader.times = before * trips
    walk.read(body.node, reader)
    reader.times = before
    return start


def _carry(walk: Walk, reader: Reader, initial: str, name: str) -> None:
    """Set the initial value of a loop's variable; a constant is the value of the first trip only."""
    if initial not in walk.constants:
        walk.alias(reader, name, initial)
        return
    _declare(walk, name, initial, walk.shapes[initial])
    _put(walk, reader, "Expand", name, [])


def _leave(walk: Walk, reader: Reader, outer: Any, inner: list[str]) -> None:
    for new, old in zip(outer, inner, strict=True):
        if new:
            walk.alias(reader, new, old)


def _collect(walk: Walk, reader: Reader, outer: str, inner: str, trips: int, axis: int) -> None:
    """Concatenate an output of all trips."""
    if not outer or not walk.uses[outer]:
        return
    shape = reader.full(inner)
    axis %= len(shape) + 1
    _declare(walk, outer, inner, (*shape[:axis], trips, *shape[axis:]))
    _put(walk, reader, "Concat", outer, [reader.nodes[inner]] if inner in reader.nodes else [])


def _tie(walk: Walk, reader: Reader, proto: onnx.NodeProto, inner: list[str], start: int) -> None:
    """Make each output of a loop depend on all variables that its trips compute for the next."""
    ends = {reader.nodes[name] for name in inner if name in reader.nodes and reader.nodes[name] >= start}
    for name in proto.output:
        node = reader.nodes.get(name, -1)
        if node >= start:
            reader.ties[node] = ends


def _declare(walk: Walk, name: str, like: str, shape: tuple[int, ...]) -> None:
    """Declare a tensor with the element type of another."""
    from onnx import helper

    element = walk.types[like].tensor_type.elem_type if like in walk.types else 1
    walk.declare(name, helper.make_tensor_type_proto(element, shape))


def _put(walk: Walk, reader: Reader, kind: str, name: str, sources: list[int]) -> None:
    """Add an op that reads as many bytes as its output has; without sources it reads the network's first input."""
    shape = reader.shape(name)
    if not sources and not reader.net.ops:
        reader.nodes[name] = reader.net.add("zero", shape)
        return
    size = -(-math.prod(shape) * reader.bits(name) // 8)
    reader.nodes[name] = reader.placed(kind, name, sources or [0], read_bytes=size)
