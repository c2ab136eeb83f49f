"""`Network`: a graph of ops with the output shape of every op, named inputs and outputs, and a JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets.architectures import InputError, Op, ordered_sources
from datasets.networks.ops import BITS

KEYED_BY_JSON = "layers"
"""`Network.space` of networks whose key is their own JSON form."""
FILES = ("onnx", "keras", "tflite", "pt2", "param", "torch")
"""`Network.space` of networks whose key is the name of a file or module and a hash of its content."""


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of a network.

    Attributes:
        name: unique among the network's inputs, or its outputs.
        node: position of the op whose output it is.
        dtype: element type, by numpy's name.
    """

    name: str
    node: int
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Network:
    """A directed acyclic graph of ops in topological order, each with its output `shape` without the batch dimension.

    `datasets.networks.ops` describes the ops. A `Model` adds the weights and the file that the network was read from.

    Attributes:
        space: how to read `key`: the text form of a search space; `layers` (the network's JSON form); `onnx`, `keras`,
            `tflite`, `pt2` or `param` (the name of a file and a hash of its bytes); `torch` (the name of a module and a
            hash of its network).
        key: the name, unique within `space`.
        ops: the nodes; every edge goes from a lower to a higher index.
        edges: (source, target, port): the output of `source` is input number `port` of `target`.
        batch: samples per run if the network fixes it, else None.
        inputs: by default every op of kind `input`, named x, or x0, x1, ... if there are several.
        outputs: by default the last op, named y.
    """

    space: str
    key: str
    ops: tuple[Op, ...]
    edges: tuple[tuple[int, int, int], ...]
    batch: int | None = None
    inputs: tuple[Port, ...] = field(default=())
    outputs: tuple[Port, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.inputs:
            object.__setattr__(self, "inputs", _default_inputs(self.ops))
        if not self.outputs and self.ops:
            object.__setattr__(self, "outputs", (Port("y", len(self.ops) - 1),))

    @staticmethod
    def of(
        ops: Sequence[Op],
        edges: Sequence[tuple[int, int, int]],
        batch: int | None = None,
        inputs: tuple[Port, ...] = (),
        outputs: tuple[Port, ...] = (),
    ) -> Network:
        """A network whose key is its own JSON form."""
        bare = Network(KEYED_BY_JSON, "", tuple(ops), tuple(edges), batch, inputs, outputs)
        return Network(bare.space, bare.to_json(), bare.ops, bare.edges, batch, bare.inputs, bare.outputs)

    def sources(self) -> list[list[int]]:
        """The sources of every op, in the order of their ports."""
        return ordered_sources(len(self.ops), self.edges)

    def shape(self, node: int) -> tuple[int, ...]:
        """Output shape of an op, batch dimension left out."""
        return self.ops[node].attrs["shape"]

    def to_json(self) -> str:
        """All fields but `space` and `key` in one line: `[[[kind, attrs], ...], edges]`, followed by an object with
        `batch`, `inputs` and `outputs` if these are not the defaults. `from_json` reads it back."""
        parts: list[Any] = [[[op.kind, dict(op.attrs)] for op in self.ops], self.edges]
        options: dict[str, Any] = {"batch": self.batch} if self.batch is not None else {}
        if self.inputs != _default_inputs(self.ops):
            options["inputs"] = [[port.name, port.node, port.dtype] for port in self.inputs]
        if self.outputs != (Port("y", len(self.ops) - 1),):
            options["outputs"] = [[port.name, port.node, port.dtype] for port in self.outputs]
        return json.dumps([*parts, options] if options else parts, separators=(",", ":"))

    @staticmethod
    def from_json(text: str, space: str = KEYED_BY_JSON, key: str = "") -> Network:
        """Read a network that `to_json` wrote.

        Args:
            text: the JSON form.
            space, key: the network's; by default `layers` and the text itself.

        Raises:
            InputError: the text is not JSON, an op is malformed, or an edge points nowhere or backwards.
        """
        try:
            ops, edges, *rest = json.loads(text)
            options = dict(rest[0]) if rest else {}
            nodes = tuple(Op(str(kind), _attrs(attrs)) for kind, attrs in ops)
            links = tuple((int(a), int(b), int(c)) for a, b, c in edges)
            ports = {name: tuple(Port(*port) for port in options.get(name, ())) for name in ("inputs", "outputs")}
            network = Network(space, key or text, nodes, links, options.get("batch"), **ports)
            _check(network)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise InputError(
                f"'{text[:60]}' is not a network's JSON form; `python -m search layers` and `measure table` write such "
                "texts."
            ) from error
        return network


def _default_inputs(ops: Sequence[Op]) -> tuple[Port, ...]:
    nodes = [node for node, op in enumerate(ops) if op.kind == "input"]
    return tuple(Port(f"x{i}" if len(nodes) > 1 else "x", node) for i, node in enumerate(nodes))


def _attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    read = {str(name): _tuples(value) for name, value in attrs.items()}
    if not all(type(side) is int and side >= 0 for side in read["shape"]):
        raise ValueError("a shape is made of whole numbers")
    return read


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check(network: Network) -> None:
    size, batch = len(network.ops), network.batch
    if not size or not all(0 <= a < b < size and c >= 0 for a, b, c in network.edges):
        raise ValueError("an edge points nowhere")
    if batch is not None and (type(batch) is not int or batch < 1):
        raise ValueError("a batch is a whole number from 1 on")
    for port in (*network.inputs, *network.outputs):
        if type(port.node) is not int or not 0 <= port.node < size or not isinstance(port.name, str):
            raise ValueError("a port points nowhere")
        if port.dtype not in BITS:
            raise ValueError("a port has an unknown element type")


SMALLEST = Network(
    KEYED_BY_JSON,
    "one number",
    (Op("input", {"shape": (1, 1, 1)}), Op("relu", {"shape": (1, 1, 1)})),
    ((0, 1, 0),),
)
"""The smallest network, one ReLU of one number; its latency is the overhead of a session."""


def of_key(key: str) -> Network:
    """The network of a key of the space `layers`, which is JSON or the name of `SMALLEST`; raises `InputError` for
    other texts."""
    return SMALLEST if key == SMALLEST.key else Network.from_json(key)
