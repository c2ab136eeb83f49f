"""Graphs of single operations: written once, for one operation as an ONNX file and for arrays of them as totals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.analysis import TOTALS
from datasets.networks.ops import BITS
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

OPSET = 23
"""Version of ONNX's operators in the files: the first with Attention and RMSNormalization."""
IR_VERSION = 11
"""Version of the file's format, the one of `OPSET`."""
_LARGE = 256  # elements of the largest weight whose numbers are in files without numbers
_MOST_BYTES = 2**31 - 2**20  # of all weights; files have less than 2 GiB

Size = Any
"""Size of a dimension: an int, or an array [A] with that of `A` operations."""
Shape = tuple[Size, ...]
"""Shape of a tensor, with the batch."""


@dataclass
class Tensor:
    """A tensor of a graph.

    Attributes:
        name: unique in the graph.
        shape: with the batch.
        dtype: by numpy's name.
        born, last: positions of the nodes that compute it and that read it last; weights and constants have -1 twice.
        values: values of a constant.
        range: mean and standard deviation of a weight's numbers.
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    born: int = -1
    last: int = -1
    values: Any = None
    range: tuple[float, float] | None = None

    @property
    def elements(self) -> Size:
        return math.prod(self.shape)

    @property
    def bytes(self) -> Size:
        return -(-self.elements * BITS[self.dtype] // 8)


@dataclass
class Node:
    """A node of a graph, or an input, which has no `kind`.

    Attributes:
        kind: ONNX's name.
        inputs, outputs: its tensors; None is an input that is left out.
        macs: its multiply-accumulates.
        operations: its elements under a window.
        reads: bytes that it reads if not its inputs and weights once each.
        domain: of onnxruntime's own operators.
        attrs: its attributes.
        merged: whether it is a part of the node that reads it, in networks.
    """

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: list[Tensor]
    macs: Size = 0
    operations: Size = 0
    reads: Size | None = None
    domain: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    merged: bool = False


class OperationGraph:
    """Collects the nodes of an operation; sizes are ints, or arrays [A] of operations with the same nodes.

    Tensors begin with the batch. The output is that of the last node, unless `outputs` are set.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.kept: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def input(self, *shape: Size, dtype: str = "float32", name: str = "") -> Tensor:
        """Add an input, called x0, x1, ... unless it has a name: masks and indices are drawn by theirs."""
        tensor = Tensor(name or f"x{len(self.nodes)}", shape, dtype, len(self.nodes), len(self.nodes))
        self.nodes.append(Node("", (), [tensor]))
        return tensor

    def weight(self, *shape: Size, mean: float = 0.0, deviation: float | None = None) -> Tensor:
        """Add a trainable parameter with normally distributed numbers.

        Args:
            shape: of the tensor.
            mean: of the numbers.
            deviation: their standard deviation; by default 1 over the root of the first dimension.
        """
        return self._keep(Tensor(f"w{len(self.kept)}", shape, range=(mean, -1.0 if deviation is None else deviation)))

    def constant(self, values: Any, dtype: str = "float32", shape: Shape | None = None) -> Tensor:
        """Add numbers that are no parameters: a factor, axes, a shape; or a function that gives an array of a shape."""
        if shape is None:
            shape = (len(values),) if isinstance(values, Sequence) else ()
        return self._keep(Tensor(f"c{len(self.kept)}", shape, dtype, values=values))

    def _keep(self, tensor: Tensor) -> Tensor:
        self.kept.append(tensor)
        return tensor

    def add(
        self,
        kind: str,
        *inputs: Tensor | None,
        shape: Shape | None = None,
        macs: Size = 0,
        operations: Size = 0,
        reads: Size | None = None,
        dtype: str | None = None,
        domain: str = "",
        more: Sequence[Shape] = (),
        **attrs: Any,
    ) -> Tensor:
        """Add a node; returns its first output.

        Args:
            kind: ONNX's name.
            inputs: its tensors; None leaves one out.
            shape: of the output; by default that of the first input.
            macs: multiply-accumulates.
            operations: elements under a window, of nodes without multiply-accumulates.
            reads: bytes read, if not each input and weight once.
            dtype: of the output; by default that of the first input.
            domain: of onnxruntime's own operators.
            more: shapes of further outputs.
            attrs: of the node.
        """
        (first, *_), at = inputs, len(self.nodes)
        assert first is not None
        shapes = [first.shape if shape is None else shape, *more]
        made = [Tensor(f"y{at}" + f"_{i}" * (i > 0), s, dtype or first.dtype, at, at) for i, s in enumerate(shapes)]
        for tensor in inputs:
            if tensor is not None and tensor.born >= 0:
                tensor.last = at
        self.nodes.append(Node(kind, inputs, made, macs, operations, reads, domain, attrs))
        return made[0]

    def reshape(self, x: Tensor, *shape: Size) -> Tensor:
        """Add a Reshape."""
        return self.add("Reshape", x, self.constant(list(shape), "int64"), shape=shape)

    def transpose(self, x: Tensor, *perm: int) -> Tensor:
        """Add a Transpose."""
        return self.add("Transpose", x, shape=tuple(x.shape[p] for p in perm), perm=list(perm))

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """Add a product of two tensors, or of a tensor and a weight (inner, columns)."""
        shape = (*x.shape[:-1], y.shape[-1])
        return self.add("MatMul", x, y, shape=shape, macs=math.prod(shape) * x.shape[-1])

    def gate(self, x: Tensor, gate: Tensor) -> Tensor:
        """Add the product of a tensor and a function of it, which files have as two nodes and networks as one."""
        self.nodes[gate.born].merged = True
        return self.add("Mul", x, gate, reads=x.bytes)

    @property
    def ends(self) -> list[Tensor]:
        """The outputs."""
        return self.outputs or self.nodes[-1].outputs

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs."""
        return [node.outputs[0] for node in self.nodes if not node.kind]

    @property
    def params(self) -> Size:
        """Number of parameters."""
        return sum(tensor.elements for tensor in self.kept if tensor.range)

    def totals(self) -> dict[str, Size]:
        """The numbers that `networks.analysis.totals` has of the network, with its keys."""
        made, ends = (
            [t for node in self.nodes if not node.merged for t in node.outputs],
            {id(tensor) for tensor in self.ends},
        )
        peak: Size = 0
        for at in range(len(self.nodes)):
            alive = [t.bytes for t in made if t.born <= at and (t.last >= at or id(t) in ends)]
            peak = np.maximum(peak, sum(alive))
        ops = [node for node in self.nodes if node.kind and not node.merged]
        moved = sum(self._read(node) + sum(tensor.bytes for tensor in node.outputs) for node in ops)
        macs = sum(node.macs for node in ops)
        return dict(zip(TOTALS, (macs, 2 * macs, self.params, peak, moved, len(ops)), strict=True))

    @staticmethod
    def _read(node: Node) -> Size:
        if node.reads is not None:
            return node.reads
        return sum(t.bytes for t in node.inputs if t is not None and (t.born >= 0 or t.range))

    def save(self, path: Path, numbers: bool = True) -> Path:
        """Write the ONNX file of one operation.

        Args:
            path: the file.
            numbers: whether it holds the numbers of its weights; if not, large weights are zeros in a sparse file
                beside it, which is enough to read shapes.

        Raises:
            InputError: its weights are too large for a file.
        """
        import onnx
        from onnx import TensorProto, helper

        if sum(tensor.bytes for tensor in self.kept) > _MOST_BYTES:
            raise InputError(f"The weights of {path.name} have more than 2 GiB, which no ONNX file holds.")
        types = {name: getattr(TensorProto, {"float32": "FLOAT"}.get(name, name.upper())) for name in _TYPES}
        generator = np.random.default_rng(0)
        beside = None if numbers else path.with_suffix(".zeros")
        stored = [_proto(tensor, types[tensor.dtype], generator, beside) for tensor in self.kept]
        ports = [[helper.make_tensor_value_info(t.name, types[t.dtype], [int(side) for side in t.shape]) for t in ends]
                 for ends in (self.inputs, self.ends)]  # fmt: skip
        nodes = [
            helper.make_node(node.kind, ["" if t is None else t.name for t in node.inputs],
                             [t.name for t in node.outputs], domain=node.domain or None, **node.attrs)
            for node in self.nodes if node.kind
        ]  # fmt: skip
        domains = sorted({node.domain for node in self.nodes if node.domain})
        imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
        graph = helper.make_graph(nodes, "operation", *ports, stored)
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION), path)
        if beside:
            largest = max((int(tensor.bytes) for tensor in self.kept), default=0)
            with beside.open("wb") as stream:
                stream.truncate(largest)
        return path


_TYPES = ("float32", "int64", "int32", "bool")
"""Element types of tensors of operations."""


def _proto(tensor: Tensor, type_: int, generator: np.random.Generator, beside: Path | None) -> onnx.TensorProto:
    """A weight or constant; large weights refer to the file `beside` if there is one."""
    from onnx import TensorProto, numpy_helper

    if tensor.range is None:
        values = tensor.values() if callable(tensor.values) else tensor.values
        return numpy_helper.from_array(np.array(values, tensor.dtype), tensor.name)
    shape = [int(side) for side in tensor.shape]
    if beside and math.prod(shape) > _LARGE:
        proto = TensorProto(name=tensor.name, data_type=type_, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in {"location": beside.name, "offset": "0", "length": str(int(tensor.bytes))}.items():
            proto.external_data.add(key=key, value=value)
        return proto
    mean, deviation = tensor.range
    numbers = generator.standard_normal(shape, np.float32)
    numbers *= shape[0] ** -0.5 if deviation < 0 else deviation
    numbers += mean
    return numpy_helper.from_array(numbers, tensor.name)
