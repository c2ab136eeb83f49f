"""The network under construction from ncnn's layers.

ncnn computes one sample at a time, and its tensors ("blobs") have one dimension (w), two (h, w) or three (c, h, w). A
blob of one dimension may stand for a node of shape (channels, 1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.networks.builder import NetworkBuilder
from datasets.networks.ncnn_text import LARGEST, Layer
from datasets.networks.network import Network, Port
from datasets.networks.ops import ITEM
from datasets.records import InputError

Shape = tuple[int, ...]


@dataclass
class Blob:
    """A tensor.

    Attributes:
        shape: outermost dimension first.
        node: node of the network that computes it, possibly in another shape of equal size; None for constants.
        name: name of the layer that holds a constant.
    """

    shape: Shape
    node: int | None = None
    name: str = ""


class Graph:
    """Collects a network layer by layer.

    Args:
        path: the file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.net = NetworkBuilder(1)
        self.blobs: dict[str, Blob] = {}
        self.ports: list[Port] = []
        self.notes: dict[str, None] = {}
        self.counted: set[str] = set()  # constants that an op counts as its parameters

    def input(self, name: str, shape: Shape, layer: Layer) -> None:
        """Add an input of the network."""
        self.blobs[name] = Blob(shape, self.put(layer, "input", shape, []))
        self.ports.append(Port(name, len(self.net.ops) - 1))

    def put(self, layer: Layer, kind: str, shape: Shape, inputs: Sequence[int], **attrs: Any) -> int:
        """Add an op; raises `InputError` where a side of its output is empty or too large."""
        if not shape or not all(0 < side < LARGEST for side in shape):
            sides = "x".join(f"{side:.6g}" if abs(side) > LARGEST else str(side) for side in shape) or "nothing"
            raise layer.fault(f"would have an output of {sides}; give the network other sizes, or convert it again")
        self.net.name = layer.name
        return self.net.add(kind, shape, *inputs, **attrs)

    def node(self, layer: Layer, blob: Blob) -> int:
        """The node that computes a blob in its shape, or as (channels, 1, 1) instead of (channels,)."""
        if blob.node is None:
            raise layer.fault("reads a constant where it should read what the network computes")
        if self.net.shape(blob.node) not in (blob.shape, (*blob.shape, 1, 1)):
            blob.node = self.put(layer, "Reshape", blob.shape, [blob.node])
        return blob.node

    def like(self, layer: Layer, kind: str, blob: Blob, **attrs: Any) -> Blob:
        """Add an op on one blob whose output has its shape."""
        x = self.node(layer, blob)
        return Blob(blob.shape, self.put(layer, kind, self.net.shape(x), [x], **attrs))

    def foreign(
        self, layer: Layer, kind: str, shapes: Sequence[Shape], inputs: Sequence[Blob], params: int = 0, **attrs: Any
    ) -> list[Blob]:
        """Add an op outside of the vocabulary, with an item per further output.

        Args:
            layer: that it stands for.
            kind, attrs: of the op.
            shapes: of its outputs.
            inputs: constants among them are its parameters.
            params: further parameters.
        """
        nodes = [self.node(layer, blob) for blob in inputs if blob.node is not None]
        if not nodes:
            raise layer.fault("computes with constants alone; fold them by ncnnoptimize, or convert it again")
        constants = [blob for blob in inputs if blob.node is None]
        if constants and not params and all(blob.name in self.counted for blob in constants):
            attrs["tied"] = 1
        self.counted.update(blob.name for blob in constants)
        params += sum(math.prod(blob.shape) for blob in constants)
        attrs = {name: value for name, value in {"params": params, **attrs}.items() if value or name == "read_bytes"}
        first = self.put(layer, kind, shapes[0], nodes, **attrs)
        return [Blob(shapes[0], first), *(Blob(s, self.put(layer, ITEM, s, [first])) for s in shapes[1:])]

    def finish(self, key: str, outputs: Sequence[str]) -> Network:
        """The network of all inputs and the ops that reach an output."""
        ends = [Port(name, node) for name in outputs if (node := self.blobs[name].node) is not None]
        sources, starts = self._sources(), {port.node for port in self.ports}
        needed = {port.node for port in ends}
        if needed <= starts:
            raise InputError(f"No output of {self.path} depends on its inputs, so there is no network to look at.")
        for node in reversed(range(len(self.net.ops))):
            if node in needed:
                needed.update(sources[node])
        number = {old: new for new, old in enumerate(sorted(needed | starts))}
        ops = tuple(self.net.ops[old] for old in number)
        edges = tuple((number[a], number[b], port) for a, b, port in self.net.edges if b in number)
        ports = [tuple(replace(port, node=number[port.node]) for port in some) for some in (self.ports, ends)]
        return Network("param", key, ops, edges, 1, *ports)

    def _sources(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.net.ops]
        for a, b, _ in self.net.edges:
            found[b].append(a)
        return found
