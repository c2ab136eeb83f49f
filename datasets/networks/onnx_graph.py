"""What has been read of an ONNX graph so far: tensors, shapes, weights, and nodes that stay what they are.

A node that has no equivalent in the vocabulary keeps its own name and says its `params` and, where it multiplies
matrices, its `macs` (`onnx_counts`, `onnx_macs`); weights that several ops share are the first one's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.onnx_constants import Constants
from datasets.networks.onnx_counts import Held, element_type, held_by, read_bytes
from datasets.networks.onnx_macs import MS, macs_of
from datasets.networks.ops import BITS, BYTES, ITEM, params, tensor_bytes
from datasets.records import InputError, Op

if TYPE_CHECKING:
    import onnx

_POINTWISE = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hswish"}
_FUSED = MS + "FusedConv"
_ALIASES = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
MOST = 2**62
"""Most of any total of a network, such as its MACs; int64 ends at twice as much."""


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
    """

    def __init__(self, constants: Constants, shapes: dict[str, tuple[int, ...]], uses: Counter[str],
                 batch: int, opset: int, path: str, types: Mapping[str, onnx.TypeProto]) -> None:  # fmt: skip
        self.constants, self.shapes, self.uses = constants, shapes, uses
        self.batch, self.opset, self.path, self.types = batch, opset, path, types
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
        """The network's input."""
        self.nodes[name] = self.net.add("input", self.shape(name))
        self.own[self.nodes[name]] = name

    def add(self, node: Node) -> None:
        """Any other node."""
        if not any(name in self.nodes for name in node.inputs):
            x: int | None = None  # of constants, in a way that is not known here
        elif node.kind in _POINTWISE:
            x = self._pointwise(_POINTWISE[node.kind], self.nodes[node.inputs[0]])
        else:
            kind = "Reshape" if node.kind in _ALIASES else "FusedConv" if node.kind == _FUSED else node.kind
            equivalent = getattr(self, f"_read_{kind.lower()}", None)
            x = equivalent(node) if equivalent else None
        if x is None:
            self._foreign(node)
        else:
            self.nodes[node.outputs[0]] = x
            self.own.setdefault(x, node.outputs[0])
            if x in self.weights and x not in self.held:
                self.held[x] = held_by(node, self)

    def finish(self, output: str, key: str) -> tuple[Network, Weights]:
        """What reaches the output, and its weights."""
        if output not in self.nodes:
            raise InputError(f"The output of {self.path} is a constant, so there is no network to look at.")
        needed = {self._tensor(output)}
        for node in reversed(range(len(self.net.ops))):
            if node in needed:
                needed.update(self.sources.get(node, ()))
        if 0 not in needed or len(needed) == 1:
            raise InputError(
                f"The output of {self.path} does not depend on its input, so there is no network to look at."
            )
        number = {old: new for new, old in enumerate(sorted(needed))}
        ops = self._counted(number)
        edges = tuple((number[s], number[t], port) for s, t, port in self.net.edges if t in number)
        network = Network("onnx", key, ops, edges, self.batch)
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
        """Without the batch: the first dimension where that is the batch, else a share of it or of all elements."""
        full = self.full(name) or (1,)
        if 0 in full:
            raise InputError(f"The tensor '{shortened(name, 60)}' of {self.path} has no elements; export it again.")
        if math.prod(full) % self.batch:
            raise InputError(
                f"The elements of '{shortened(name, 60)}' in {self.path} cannot be split into {self.batch} images; "
                "read it with batch 1."
            )
        if full[0] == self.batch:
            return full[1:] or (1,)
        return (full[0] // self.batch, *full[1:]) if full[0] % self.batch == 0 else (math.prod(full) // self.batch,)

    def _tensor(self, name: str) -> int:
        """The node that computes a tensor in the file's shape ((channels, 1, 1) for (channels,) will do)."""
        x, shape = self.nodes[name], self.shape(name)
        if self.net.shape(x) not in (shape, (*shape, 1, 1)):
            x = self.nodes[name] = self._put("Reshape", shape, [x])
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
        shares = {name: -(-count // self.batch) for name, count in counts.items() if count is not None}
        for name in filter(self.uses.get, node.outputs):
            if first is None:
                x = first = self._put(node.kind, self.shape(name), inputs, None, **shares)
                self.foreign[x], self.held[x] = node, held_by(node, self)
            else:
                x = self._put(ITEM, self.shape(name), [first])
            self.nodes[name], self.own[x] = x, name

    # What ops hold

    def element(self, name: str) -> str:
        """The element type of a tensor; float32 where it is not known."""
        return self._type(name) or "float32"

    def bits(self, name: str) -> int:
        """Bits of one element of a tensor."""
        return BITS[self.element(name)]

    def _type(self, name: str) -> str:
        if name in self.constants.stored:
            return element_type(self.constants.stored[name].proto.data_type)
        return element_type(self.types[name].tensor_type.elem_type) if name in self.types else ""

    def _counted(self, nodes: Iterable[int]) -> tuple[Op, ...]:
        """Ops with their element types and parameters; what an op before them holds is not theirs."""
        made, known = dict[int, Op](), set[str]()
        for x in nodes:
            op, sources, all_ = self.net.ops[x], self.sources.get(x, ()), self.held.get(x, [])
            kind = self._type(self.own.get(x, "")) or (made[sources[0]].attrs.get("dtype") if sources else None)
            told = {"dtype": kind} if kind not in (None, "float32") else {}
            own = [part for part in all_ if part.name not in known]
            told |= self._parameters(x, own or all_, partly=0 < len(own) < len(all_))
            if all_ and not own:
                told["tied"] = 1
            elif len(own) < len(all_) and "read_bytes" not in op.attrs:  # it reads what is another's, too
                weights = -(-sum(part.bytes for part in all_) // self.batch)
                told["read_bytes"] = weights + sum(tensor_bytes(made[source]) for source in sources)
            made[x] = Op(op.kind, {**op.attrs, **told})
            known.update(part.name for part in own)
        return tuple(made.values())

    def _parameters(self, x: int, held: Sequence[Held], partly: bool) -> dict[str, Any]:
        """What an op says of its parameters, where its kind and shapes do not say as much."""
        elements, taken = sum(part.elements for part in held), sum(part.bytes for part in held)
        told = {"params": elements} if elements and (partly or x not in self.weights) else {}
        return told | ({"param_bytes": taken} if partly or taken != BYTES * elements else {})


def check_totals(network: Network, path: str) -> None:
    """Refuse a network whose MACs or bytes are more than numbers of 64 bits hold."""
    if (largest := max(totals(network).values())) > MOST:
        raise InputError(
            f"The network in {path} has totals up to {float(largest):.3g}, more than any network has; export it again."
        )
