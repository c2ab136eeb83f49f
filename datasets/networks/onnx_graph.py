"""The network under construction from an ONNX graph: tensors, shapes, weights, and nodes without an equivalent op.

A node that has no equivalent in the vocabulary keeps its name and has its `params` and, if it multiplies matrices, its
`macs` as attributes (`onnx_counts`, `onnx_macs`). Weights that several ops share are counted by the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.networks.analysis import MOST, totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Weights
from datasets.networks.network import Network, Port
from datasets.networks.onnx_counts import Held, held_by, read_bytes
from datasets.networks.onnx_macs import MS, macs_of
from datasets.networks.onnx_tensors import Node, Tensors
from datasets.networks.ops import BYTES, ITEM, params, tensor_bytes
from datasets.records import InputError, Op

_POINTWISE = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hswish"}
_FUSED = MS + "FusedConv"
_ALIASES = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")


class Graph(Tensors):
    """Collects a network; nodes are added in the file's (topological) order. A subclass has a method `_read_<kind>` per
    kind of node that has an equivalent in the vocabulary.

    Attributes:
        times: number of runs of added ops per run of the network, more than 1 in loops.
        ties: op -> ops that run whenever it does without being read by it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.times = 1
        self.ports: list[Port] = []
        self.ties: dict[int, set[int]] = {}
        self.net = NetworkBuilder()
        self.weights = Weights()
        self.nodes: dict[str, int] = {}  # tensor -> node that computes it, possibly in another shape of equal size
        self.sources: dict[int, tuple[int, ...]] = {}
        self.foreign: dict[int, Node] = {}
        self.own: dict[int, str] = {}  # op -> its own output, which other tensors may be views of
        self.held: dict[int, list[Held]] = {}  # op -> its parameters
        # results of `onnx_counts` on constants: their originals, whether they are learnt, whether they are masks
        self.forms: dict[tuple[str, ...], dict[str, str]] = {}
        self.learnt: dict[str, bool] = {}
        self.masks: dict[tuple[str, bool], bool] = {}

    def input(self, name: str) -> None:
        """Add an input of the network, which is `whole` if its first dimension is not the batch."""
        if self.full(name)[:1] != (self.batch,):
            self.unbatched.add(name)
        dtype = self.number(name)
        attrs: dict[str, Any] = {"dtype": dtype} if dtype != "float32" else {}
        attrs |= {"whole": 1} if name in self.unbatched else {}
        self.nodes[name] = self.net.add("input", self.shape(name), **attrs)
        self.ports.append(Port(name, self.nodes[name], dtype))
        self.own[self.nodes[name]] = name

    def add(self, node: Node) -> None:
        """Add a node."""
        start = len(self.net.ops)
        if not any(name in self.nodes for name in node.inputs):
            x: int | None = None  # of constants, in a way that is not known here
        elif node.kind in _POINTWISE:
            x = self._pointwise(_POINTWISE[node.kind], self.nodes[node.inputs[0]])
        else:
            kind = "Reshape" if node.kind in _ALIASES else "FusedConv" if node.kind == _FUSED else node.kind
            equivalent = getattr(self, f"_read_{kind.lower()}", None)
            x = equivalent(node) if equivalent else None
        if x is None or (x < start and self.net.ops[x].attrs.get("dtype", "float32") != self.element(node.outputs[0])):
            self._foreign(node)
        else:
            self.nodes[node.outputs[0]] = x
            self.own.setdefault(x, node.outputs[0])
            if x in self.weights and x not in self.held:
                self.held[x] = held_by(node, self)
        for name in node.outputs:
            if self.nodes.get(name, -1) >= start:
                self._describe(self.nodes[name], name)

    def placed(self, kind: str, name: str, inputs: Sequence[int], **attrs: Any) -> int:
        """Add an op that computes a tensor and has no node of its own in the file."""
        x = self._put(kind, self.shape(name), inputs, None, **attrs)
        self._describe(x, name)
        return x

    def _describe(self, x: int, name: str) -> None:
        """Set the attributes `dtype` and `whole` of an op from its output tensor."""
        attrs, dtype = dict(self.net.ops[x].attrs), self.number(name)
        attrs |= {"dtype": dtype, "whole": int(self.batch > 1 and self.whole(name))}
        for default, value in (("dtype", "float32"), ("whole", 0)):
            if attrs[default] == value:
                del attrs[default]
        self.net.ops[x] = replace(self.net.ops[x], attrs=attrs)

    def finish(self, outputs: Sequence[str], key: str) -> tuple[Network, Weights]:
        """The network of all inputs and the ops that reach an output, and its weights, without constant outputs."""
        if not any(name in self.nodes for name in outputs):
            for name in outputs:
                self.shape(name)
            raise InputError(f"The output of {self.path} is a constant, so there is no network to look at.")
        ends = [Port(name, self._tensor(name), self.number(name)) for name in outputs if name in self.nodes]
        inputs, waiting, needed = {port.node for port in self.ports}, [port.node for port in ends], set[int]()
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += [*self.sources.get(node, ()), *self.ties.get(node, ())]
        if not needed & inputs or needed <= inputs:
            raise InputError(
                f"The output of {self.path} does not depend on its input, so there is no network to look at."
            )
        number = {old: new for new, old in enumerate(sorted(needed | inputs))}
        ops = self._counted(number)
        edges = tuple((number[s], number[t], port) for s, t, port in self.net.edges if t in number)
        starts, stops = (tuple(replace(p, node=number[p.node]) for p in ports) for ports in (self.ports, ends))
        network = Network("onnx", key, ops, edges, self.batch, starts, stops)
        return network, {number[n]: w for n, w in self.weights.items() if n in number}

    # Shapes and tensors

    def _tensor(self, name: str) -> int:
        """The node that computes a tensor in the file's shape, or (channels, 1, 1) instead of (channels,)."""
        x, shape = self.nodes[name], self.shape(name)
        if self.net.shape(x) not in (shape, (*shape, 1, 1)):
            x = self.nodes[name] = self._put("Reshape", shape, [x])
            self._describe(x, name)
        return x

    def _images(self, node: Node) -> list[int] | None:
        """Nodes of all inputs, if each is computed and has the batch as its first dimension, else None."""
        known = all(name in self.nodes and self.full(name)[:1] == (self.batch,) for name in node.inputs)
        return [self._tensor(name) for name in node.inputs] if known else None

    def _image(self, node: Node) -> int | None:
        """Node of the first input, if that is (batch, channels, height, width), else None."""
        name = node.inputs[0]
        four = name in self.nodes and len(self.full(name)) == 4 and self.full(name)[0] == self.batch
        return self._tensor(name) if four else None

    def _only(self, x: int, name: str) -> bool:
        """Whether an op has a single reader, by this tensor, so that the two may become one op."""
        return self.own.get(x) == name and self.uses[name] == 1

    # Adding ops

    def _put(
        self,
        kind: str,
        shape: tuple[int, ...],
        inputs: Sequence[int],
        weights: dict[str, np.ndarray] | None = None,
        **attrs: Any,
    ) -> int:
        if self.times > 1:
            attrs["times"] = self.times
        if inputs and shape == self.net.shape(inputs[0]):
            attrs = {n: v for n, v in self.net.ops[inputs[0]].attrs.items() if n in ("dtype", "whole")} | attrs
        x = self.net.add(kind, shape, *inputs, **attrs)
        self.sources[x] = tuple(inputs)
        if weights:
            held = sum(value.size for name, value in weights.items() if name not in ("mean", "var"))
            if held != params(self.net.ops[x], self.net.shape(inputs[0])):
                raise InputError(f"The weights of a {kind} in {self.path} do not fit its input; export it again.")
            self.weights[x] = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}
        return x

    def _pointwise(self, kind: str, x: int, *others: int, **attrs: Any) -> int:
        return self._put(kind, self.net.shape(x), [x, *others], **attrs)

    def _foreign(self, node: Node) -> None:
        """Add a node without an equivalent: an op, and an item per further output that is read."""
        inputs, first = [self._tensor(name) for name in node.inputs if name in self.nodes], None
        counts = {"macs": macs_of(node, self) or None, "read_bytes": read_bytes(node, self)}
        samples = self.samples(next(filter(self.uses.get, node.outputs), ""))
        shares = {name: -(-count // samples) for name, count in counts.items() if count is not None}
        for name in filter(self.uses.get, node.outputs):
            if first is None:
                x = first = self._put(node.kind, self.shape(name), inputs, None, **shares)
                self.foreign[x], self.held[x] = node, held_by(node, self)
            else:
                x = self._put(ITEM, self.shape(name), [first])
            self.nodes[name], self.own[x] = x, name

    # What ops hold

    def _counted(self, nodes: Iterable[int]) -> tuple[Op, ...]:
        """Ops with their parameters; those that an earlier op holds are not counted again."""
        counted, known = dict[int, Op](), set[str]()
        for x in nodes:
            op, sources, all_ = self.net.ops[x], self.sources.get(x, ()), self.held.get(x, [])
            own = [part for part in all_ if part.name not in known]
            counts = self._parameters(x, own or all_, partly=0 < len(own) < len(all_))
            if all_ and not own:
                counts["tied"] = 1
            elif len(own) < len(all_) and "read_bytes" not in op.attrs:  # it reads what is another's, too
                read = sum(part.bytes for part in all_) + sum(
                    tensor_bytes(counted[source], self.batch) for source in sources
                )
                counts["read_bytes"] = -(-read // (1 if op.attrs.get("whole") else self.batch))
            counted[x] = replace(op, attrs={**op.attrs, **counts})
            known.update(part.name for part in own)
        return tuple(counted.values())

    def _parameters(self, x: int, held: Sequence[Held], partly: bool) -> dict[str, Any]:
        """Attributes for the parameters of an op that do not follow from its kind and shapes."""
        elements, taken = sum(part.elements for part in held), sum(part.bytes for part in held)
        counts = {"params": elements} if elements and (partly or x not in self.weights) else {}
        return counts | ({"param_bytes": taken} if partly or taken != BYTES * elements else {})


def check_totals(network: Network, path: str) -> None:
    """Raise an `InputError` if a total of a network exceeds `MOST`."""
    if (largest := max(totals(network).values())) > MOST:
        raise InputError(
            f"The network in {path} has totals up to {float(largest):.3g}, more than any network has; export it again."
        )
