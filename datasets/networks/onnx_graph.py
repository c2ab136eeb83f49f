"""What has been read of an ONNX graph so far: tensors, shapes, weights, and nodes that stay what they are.

A node that has no equivalent in the vocabulary keeps its own name and says its `params` (elements of its constant
tensors; those that several nodes share count for each) and, where it multiplies matrices, its `macs`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Weights
from datasets.networks.network import Network, Port
from datasets.networks.onnx_constants import Constants
from datasets.networks.ops import BITS, params
from datasets.records import InputError, Op

if TYPE_CHECKING:
    import onnx

_POINTWISE = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hswish"}
_ALIASES = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
MOST = 2**62
"""Most of any total of a network, such as its MACs; int64 ends at twice as much."""

_WEIGHT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}  # which input is a convolution's kernel


@dataclass(frozen=True)
class Node:
    """A node of the file; optional inputs and outputs that are not there are ''."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Collects the network; nodes come in the file's (topological) order. What a kind of node is in the vocabulary a
    subclass says, in methods `_read_<kind>`.

    Args:
        constants: the tensors that do not depend on the input.
        shapes: of all tensors, batch dimension included.
        uses: how often each tensor is read.
        batch: first dimension of the input.
        opset: of the file.
        path: of the file, for sentences.
        types: of all tensors, as far as they are known.

    Attributes:
        times: how often what is added runs in one run of the network, as ops of a loop do.
        ties: op -> others that run whenever it does, though it reads nothing of them.
    """

    def __init__(self, constants: Constants, shapes: dict[str, tuple[int, ...]], uses: Counter[str],
                 batch: int, opset: int, path: str, types: Mapping[str, onnx.TypeProto]) -> None:  # fmt: skip
        self.constants, self.shapes, self.uses = constants, shapes, uses
        self.batch, self.opset, self.path, self.types = batch, opset, path, types
        self.times = 1
        self.ports: list[Port] = []
        self.apart: set[str] = set()  # inputs whose first dimension is not the batch
        self.ties: dict[int, set[int]] = {}
        self.net = NetworkBuilder()
        self.weights = Weights()
        self.nodes: dict[str, int] = {}  # tensor -> what computes it, maybe in another shape of as many elements
        self.sources: dict[int, tuple[int, ...]] = {}
        self.foreign: dict[int, Node] = {}
        self.own: dict[int, str] = {}  # op -> its own output, which other tensors may be views of

    def input(self, name: str) -> None:
        """An input of the network; `whole` where its first dimension is not the batch."""
        if self.full(name)[:1] != (self.batch,):
            self.apart.add(name)
        dtype = self.element(name)
        attrs: dict[str, Any] = {"dtype": dtype} if dtype != "float32" else {}
        attrs |= {"whole": 1} if name in self.apart else {}
        self.nodes[name] = self.net.add("input", self.shape(name), **attrs)
        self.ports.append(Port(name, self.nodes[name], dtype))

    def add(self, node: Node) -> None:
        """Any other node."""
        start = len(self.net.ops)
        if not any(name in self.nodes for name in node.inputs):
            x: int | None = None  # of constants, in a way that is not known here
        elif node.kind in _POINTWISE:
            x = self._pointwise(_POINTWISE[node.kind], self.nodes[node.inputs[0]])
        else:
            kind = "Reshape" if node.kind in _ALIASES else node.kind
            equivalent = getattr(self, f"_read_{kind.lower()}", None)
            x = equivalent(node) if equivalent else None
        if x is None or (x < start and self.net.ops[x].attrs.get("dtype", "float32") != self.element(node.outputs[0])):
            self._foreign(node)
        else:
            self.nodes[node.outputs[0]] = x
            self.own.setdefault(x, node.outputs[0])
        for name in node.outputs:
            if self.nodes.get(name, -1) >= start:
                self._describe(self.nodes[name], name)

    def placed(self, kind: str, name: str, inputs: Sequence[int], **attrs: Any) -> int:
        """An op that no node stands for, which gives a tensor."""
        x = self._put(kind, self.shape(name), inputs, None, **attrs)
        self._describe(x, name)
        return x

    def element(self, name: str) -> str:
        """Element type of a tensor; float32 where it is not known."""
        dtype = element_name(self.types[name].tensor_type.elem_type if name in self.types else 0)
        if dtype not in BITS:
            raise InputError(
                f"The tensor '{shortened(name, 60)}' of {self.path} holds texts or other things that are no numbers; "
                "cut the part behind it out by onnx.utils.extract_model."
            )
        return dtype

    def _describe(self, x: int, name: str) -> None:
        """Write into an op what its tensor is: element type, and whether it is one of a whole run."""
        attrs, dtype = dict(self.net.ops[x].attrs), self.element(name)
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
        ends = [Port(name, self._tensor(name), self.element(name)) for name in outputs if name in self.nodes]
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
        ops = tuple(self.net.ops[old] for old in number)
        edges = tuple((number[s], number[t], port) for s, t, port in self.net.edges if t in number)
        starts, stops = (tuple(replace(p, node=number[p.node]) for p in ports) for ports in (self.ports, ends))
        network = Network("onnx", key, ops, edges, self.batch, starts, stops)
        return network, {number[n]: w for n, w in self.weights.items() if n in number}

    # Shapes and tensors

    def full(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, batch dimension included."""
        if name not in self.shapes:
            raise InputError(
                f"The shape of '{shortened(name, 60)}' in {self.path} cannot be inferred; run the file through onnxsim "
                "or `python -m onnxruntime.tools.symbolic_shape_infer` first."
            )
        return self.shapes[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Without the batch: the first dimension where that is the batch, else a share of it or of all elements; the
        full shape of what is `whole`."""
        full = self.full(name) or (1,)
        if 0 in full:
            raise InputError(f"The tensor '{shortened(name, 60)}' of {self.path} has no elements; export it again.")
        if self.whole(name):
            return full
        if full[0] == self.batch:
            return full[1:] or (1,)
        return (full[0] // self.batch, *full[1:]) if full[0] % self.batch == 0 else (math.prod(full) // self.batch,)

    def whole(self, name: str) -> bool:
        """Whether a tensor is one of a whole run, and not as many elements for each sample."""
        return name in self.apart or bool(math.prod(self.full(name)) % self.batch)

    def samples(self, name: str) -> int:
        """Of how many samples the counts of the op that gives a tensor are not: 1 for what is `whole`."""
        return 1 if name and self.whole(name) else self.batch

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

    def _constant(self, node: Node, index: int) -> np.ndarray | None:
        return self.constants.get(node.inputs[index]) if len(node.inputs) > index else None

    def _constants(self, node: Node) -> list[np.ndarray] | None:
        """All inputs but the first; None if one of them is computed."""
        values = [self.constants.get(name) for name in node.inputs[1:] if name]
        return None if any(value is None for value in values) else values  # type: ignore[return-value]

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
        """One op for each output that is read; what it needs is said by the first."""
        inputs = [self._tensor(name) for name in node.inputs if name in self.nodes]
        told = {name: value for name, value in (("params", self._params(node)), ("macs", self._macs(node))) if value}
        for name in node.outputs:
            if self.uses[name]:
                x = self._put(node.kind, self.shape(name), inputs, None, **told)
                self.nodes[name], self.foreign[x], told = x, node, {}

    def _params(self, node: Node) -> int:
        names = node.inputs[:3] if node.kind == "BatchNormalization" else node.inputs
        c = self.constants
        return sum(c.size(n) for n in names if n in c and (len(c.shapes[n]) > 1 or (c.size(n) > 1 and n in c.floating)))

    def _macs(self, node: Node) -> int:
        """Of one image, or of a whole run where the output is one."""
        samples = self.samples(node.outputs[0])
        out = math.prod(self.full(node.outputs[0])) if node.outputs[0] else 0
        if node.kind in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"):
            inner = -2 if node.attrs.get("transA") else -1
            return out * self.full(node.inputs[0])[inner] // samples
        if node.kind in _WEIGHT:
            return out * math.prod(self.full(node.inputs[_WEIGHT[node.kind]])[1:]) // samples
        if node.kind == "ConvTranspose":
            return math.prod(self.full(node.inputs[0])) * math.prod(self.full(node.inputs[1])[1:]) // samples
        if node.kind == "Einsum" and len(node.inputs) == 2 and "." not in node.attrs["equation"]:
            terms = node.attrs["equation"].replace(" ", "").split("->")[0].split(",")
            sizes = {
                i: n
                for term, name in zip(terms, node.inputs, strict=True)
                for i, n in zip(term, self.full(name), strict=True)
            }
            return math.prod(sizes.values()) // samples
        return 0


def element_name(number: int) -> str:
    """Name of TensorProto's element type as `networks.ops.BITS` has it; float32 where there is none."""
    from onnx import TensorProto

    name = TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else ""
    name = {"undefined": "float32", "float": "float32", "double": "float64", "float4e2m1": "float4"}.get(name, name)
    return "float8" if name.startswith(("float8", "float6e")) else name


def check_totals(network: Network, path: str) -> None:
    """Refuse a network whose MACs or bytes are more than numbers of 64 bits hold."""
    if (largest := max(totals(network).values())) > MOST:
        raise InputError(
            f"The network in {path} has totals up to {float(largest):.3g}, more than any network has; export it again."
        )
