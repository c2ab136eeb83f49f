"""Branches and bodies of loops in ONNX graphs: their names become unique and their constants move to one place."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.files.reading import listed
from datasets.networks.onnx_constants import Stored, stored_tensor
from datasets.networks.onnx_microsoft import DOMAINS, UNNAMED
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

Tensors = list[tuple[str, "onnx.TensorProto"]]


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Pairs of attribute name and graph of a node."""
    for a in node.attribute:
        if a.HasField("g"):
            yield a.name, a.g
        for graph in a.graphs:
            yield a.name, graph


def check_names(names: Iterable[object], path: Path) -> None:
    """Raise an `InputError` for names that are not UTF-8, which protobuf returns as bytes."""
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is damaged (a name in it is not UTF-8 text); export or copy it again.")


def take_constants(model: onnx.ModelProto, path: Path) -> dict[str, Stored]:
    """The constant tensors of a file by name, those of branches and loops included.

    The model is changed: its constants become inputs, so that nothing copies their bytes, and names of tensors in
    branches and loops become unique.

    Raises:
        InputError: a tensor is malformed, or two have the same name.
    """
    from onnx import helper

    graph, found = model.graph, Tensors()
    _take(graph, found, path)
    count = 0
    waiting: list[tuple[onnx.GraphProto, ChainMap[str, str]]] = [(graph, ChainMap())]
    while waiting:
        outer, names = waiting.pop()
        for node in outer.node:
            for _, inner in subgraphs(node):
                count += 1
                own = _renamed(inner, names, f"/{count}/", path)
                before = len(found)
                _take(inner, found, path)
                _give_out(inner, found, before)
                waiting.append((inner, own))
    check_names([name for name, _ in found], path)
    if twice := [name for name, times in Counter(name for name, _ in found).items() if times > 1]:
        raise InputError(f"{path} has two tensors of the name {listed(twice)}; export it again.")
    stored = {name: stored_tensor(tensor, path) for name, tensor in found}
    declared = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
        for name, tensor in found
        if name not in declared
    )
    return stored


def _take(graph: onnx.GraphProto, found: Tensors, path: Path) -> None:
    """Move the initialisers of a graph, and the values of its Constant nodes, to a list."""
    if graph.sparse_initializer:
        raise InputError(f"{path} has sparse weights, which are not read here; export it with dense ones.")
    found += [(tensor.name, tensor) for tensor in graph.initializer]
    others = []
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value" and a.HasField("t")]
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(values) == len(node.output) == 1:
            found.append((node.output[0], values[0]))
        else:
            others.append(node)
    if len(others) < len(graph.node):
        others = [type(node).FromString(node.SerializeToString()) for node in others]
        del graph.node[:]
        graph.node.extend(others)
    del graph.initializer[:]


def _give_out(graph: onnx.GraphProto, found: Tensors, start: int) -> None:
    """Let nodes compute the outputs of an inner graph that were constants, which onnx's checker requires."""
    from onnx import helper

    outputs = {value.name for value in graph.output}
    for i, (name, tensor) in enumerate(found[start:], start):
        if name in outputs:
            found[i] = (f"{name}/value", tensor)
            graph.node.append(helper.make_node("Identity", [f"{name}/value"], [name]))


def _renamed(graph: onnx.GraphProto, outer: ChainMap[str, str], prefix: str, path: Path) -> ChainMap[str, str]:
    """Make the names that an inner graph defines unique; returns new names by old ones, outer graphs included."""
    defined = [value.name for value in (*graph.input, *graph.initializer)]
    defined += [name for node in graph.node for name in node.output if name]
    check_names(defined, path)
    names = outer.new_child({name: prefix + name for name in defined})
    for value in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
        check_names([value.name], path)
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        check_names([*node.input], path)
        for place in (node.input, node.output):
            place[:] = [names.get(name, name) for name in place]
    return names


def name_domains(graph: onnx.GraphProto, opset: int) -> bool:
    """Set the domain of onnxruntime's operators that are written as ONNX's own; returns whether there are any."""
    from onnx import defs

    found = False
    for node in graph.node:
        if node.op_type in UNNAMED and node.domain in ("", "ai.onnx") and not defs.has(node.op_type, opset, ""):
            node.domain, found = DOMAINS[0], True
        for _, inner in subgraphs(node):
            found |= name_domains(inner, opset)
    return found


def count_uses(graph: onnx.GraphProto) -> Counter[str]:
    """Number of readers of each tensor, inner graphs included; outputs of graphs count as one more."""
    uses = Counter[str](value.name for value in graph.output)
    for node in graph.node:
        uses.update(node.input)
        for _, inner in subgraphs(node):
            uses.update(count_uses(inner))
    return uses
