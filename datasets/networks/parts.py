"""Parts of networks: groups of ops that a runtime runs as one, their labels, and parts as networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.architectures import Op
from datasets.networks.network import Network
from datasets.networks.ops import FOLDED, ITEM


def entries(network: Network) -> list[list[int]]:
    """Groups of ops that a runtime runs as one: an op and the batch norms and activations folded into it.

    Returns:
        Nodes of every group, in the network's order. Ops that never reach an output, and ops of constants only, are in
        no group.
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
    items = {node for node, op in enumerate(network.ops) if op.kind == ITEM}
    idle = items | {node for node, op in enumerate(network.ops) if op.kind == "input"}
    ends |= {source for node in items for source in inputs[node]}  # an op with several outputs takes nothing in
    real = [node for node in range(len(network.ops)) if node in needed and node not in constant | idle]
    readers: dict[int, list[int]] = {node: [] for node in range(len(network.ops))}
    for node in real:
        for source in inputs[node]:
            readers[source].append(node)
    groups, taken = [], set()
    for node in real:
        if node in taken:
            continue
        entry = [node]
        while entry[-1] not in ends and len(after := readers[entry[-1]]) == 1 and network.ops[after[0]].kind in FOLDED:
            entry += after
        taken.update(entry)
        groups.append(entry)
    return groups


def cut(network: Network, nodes: Sequence[int]) -> Network:
    """Some nodes of a network as a network of their own, whose key is its JSON form.

    Args:
        network: all ops have a `shape`.
        nodes: in the network's order; they read one input, further tensors from outside become constants.
    """
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
                gate = network.ops[node].kind == "mul"  # a half, since a factor of zero could be optimised away
                sources.append(add(Op("hsigmoid", {"shape": shape(source)}), other) if gate else other)
        op = network.ops[node]
        alone = Op(op.kind, {name: value for name, value in op.attrs.items() if name != "tied"})
        new[node] = add(alone, *sources)
    return Network.of(ops, edges)


def label(network: Network, nodes: Sequence[int] | None = None, inputs: Sequence[Sequence[int]] | None = None) -> str:
    """A label of some nodes, by default those of the first group: their kinds, kernel / stride and groups of the first
    op, and the shapes of input and output, for example `conv+bn+relu 3/1 16x32x32 -> 16x32x32`. `inputs` are the
    network's `sources()`, where they are known."""
    nodes = nodes or entries(network)[0]
    ops = [network.ops[node] for node in nodes]
    attrs, sources = ops[0].attrs, (inputs or network.sources())[nodes[0]]
    window = f" {_by(attrs['kernel'])}/{_by(attrs.get('stride', 1))}" if "kernel" in attrs else ""
    groups = f" groups {attrs['groups']}" if attrs.get("groups", 1) > 1 else ""
    before = _by(network.shape(sources[0])) if sources else ""
    return f"{'+'.join(op.kind for op in ops)}{window}{groups} {before} -> {_by(network.shape(nodes[-1]))}"


def _by(value: Any) -> str:
    return str(value) if isinstance(value, int) else "x".join(map(str, value))
