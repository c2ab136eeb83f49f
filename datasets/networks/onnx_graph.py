"""What has been read of an ONNX graph so far: tensors, shapes, weights, and nodes that stay what they are.

A node that has no equivalent in the vocabulary keeps its own name and says its `params` and, where it multiplies
matrices, its `macs` (`onnx_counts`, `onnx_macs`); weights that several ops share are the first one's.
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
    """Collects the network; nodes come in the file's (topological) order. What a kind of node is in the vocabulary a
    subclass says, in methods `_read_<kind>`.

    Attributes:
        times: how often what is added runs in one run of the network, as ops of a loop do.
        ties: op -> others that run whenever it does, though it reads nothing of them.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.times = 1
        self.ports: list[Port] = []
        self.ties: dict[int, set[int]] = {}
        self.net = NetworkBuilder()
        self.weights = Weights()
        self.nodes: dict[str, int] = {}  # tensor -> what computes it, maybe in another shape of as many elements
        self.sources: dict[int, tuple[int, ...]] = {}
        self.foreign: dict[int, Node] = {}
        self.own: dict[int, str] = {}  # op -> its own output, which other tensors may be views of
        self.held: dict[int, list[Held]] = {}  # op -> its parameters
        # what `onnx_counts` knows of constants: what they are other forms of, whether they are learnt, or masks
        self.forms: dict[tuple[str, ...], dict[str, str]] = {}
        self.learnt: dict[str, bool] = {}
        self.masks: dict[tuple[str, bool], bool] = {}

    def input(self, name: str) -> None:
        """An input of the network; `whole` where its first dimension is not the batch."""
        if self.full(name)[:1] != (self.batch,):
            self.unbatched.add(name)
        dtype = self.number(name)
        attrs: dict[str, Any] = {"dtype": dtype} if dtype != "float32" else {}
        attrs |= {"whole": 1} if name in self.unbatched else {}
        self.nodes[name] = self.net.add("input", self.shape(name), **attrs)
        self.ports.append(Port(name, self.nodes[name], dtype))
        self.own[self.nodes[name]] = name

    def add(self, node: Node) -> None:
        """Any other node."""
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
        """An op that no node stands for, which gives a tensor."""
        x = self._put(kind, self.shape(name), inputs, None, **attrs)
        self._describe(x, name)
        return x

    def _describe(self, x: int, name: str) -> None:
        """Write into an op what its tensor is: element type, and whether it is one of a whole run."""
        attrs, dtype = dict(self.net.ops[x].attrs), self.number(name)
        attrs |= {"dtype": dtype, "whole": int(self.batch > 1 and self.whole(name))}
        for default, value in (("dtype", "float32"), ("whole", 0)):
            if attrs[default] == value:
                del attrs[default]
        self.net.ops[x] = Op(self.net.ops[x].kind, attrs)

    def finish(self, outputs: Sequence[str], key: str) -> tuple[Network, Weights]:
        """What reaches the outputs, all inputs, and the weights; outputs that are constants are left out."""
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
        """The node that computes a tensor in the file's shape ((channels, 1, 1) for (channels,) will do)."""
        x, shape = self.nodes[name], self.shape(name)
        if self.net.shape(x) not in (shape, (*shape, 1, 1)):
            x = self.nodes[name] = self._put("Reshape", shape, [x])
            self._describe(x, name)
        return x

    def _images(self, node: Node) -> list[int] | None:
        """The node's inputs, if they are tensors that are computed and have the file's shape with the batch first."""
        known = all(name in self.nodes and self.full(name)[:1] == (self.batch,) for name in node.inputs)
        return [self._tensor(name) for name in node.inputs] if known else None

    def _image(self, node: Node) -> int | None:
        """The first input, if it is (batch, channels, height, width)."""
        name = node.inputs[0]
        four = name in self.nodes and len(self.full(name)) == 4 and self.full(name)[0] == self.batch
        return self._tensor(name) if four else None

    def _only(self, x: int, name: str) -> bool:
        """Whether nothing but one reader of this tensor needs an op, so that both may become one."""
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
        """One op, and an item for each further output that is read."""
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
        """Ops with their parameters; what an op before them holds is not theirs."""
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
            counted[x] = Op(op.kind, {**op.attrs, **counts})
            known.update(part.name for part in own)
        return tuple(counted.values())

    def _parameters(self, x: int, held: Sequence[Held], partly: bool) -> dict[str, Any]:
        """What an op says of its parameters, where its kind and shapes do not say as much."""
        elements, taken = sum(part.elements for part in held), sum(part.bytes for part in held)
        counts = {"params": elements} if elements and (partly or x not in self.weights) else {}
        return counts | ({"param_bytes": taken} if partly or taken != BYTES * elements else {})


def check_totals(network: Network, path: str) -> None:
    """Refuse a network whose MACs or bytes are more than numbers of 64 bits hold."""
    if (largest := max(totals(network).values())) > MOST:
        raise InputError(
            f"The network in {path} has totals up to {float(largest):.3g}, more than any network has; export it again."
        )
