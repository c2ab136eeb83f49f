"""Calls of subgraphs of a .tflite file and of their operators, with the origin of every tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from datasets.networks.flatbuffer import Damaged
from datasets.networks.tflite_schema import Operator, Subgraph, Tensor


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that does not depend on inputs.

    Attributes:
        tensor: of the file, from which the constant is computed.
        elements: number of elements.
        bytes: stored bytes.
        weight: whether it has more than one real number.
        plain: whether it is `tensor` itself.
    """

    tensor: Tensor
    elements: int
    bytes: int
    weight: bool
    plain: bool = True


@dataclass
class Frame:
    """One call of a subgraph, with the origin of its tensors.

    Attributes:
        graph: the subgraph.
        nodes: tensor -> node of the network.
        known: tensor -> constant.
        depth: number of nested calls around it.
        readers: tensor -> operators that read it; "" for the caller of the subgraph.
        first: tensors with channels first.
    """

    graph: Subgraph
    nodes: dict[int, int]
    known: dict[int, Constant]
    depth: int = 0
    readers: dict[int, list[str]] = field(default_factory=dict)
    first: set[int] = field(default_factory=set)


class Call:
    """A call of an operator.

    Args:
        frame: call of the subgraph that it belongs to.
        operator: the operator.
    """

    def __init__(self, frame: Frame, operator: Operator) -> None:
        self.frame, self.operator = frame, operator
        self.name, self.inputs, self.outputs = operator.name, operator.inputs, operator.outputs

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.inputs) and self.inputs[index] >= 0

    def tensor(self, index: int, axes: int = 0) -> Tensor:
        """A required input with at least `axes` axes; raises `Damaged` for others."""
        if not self.has(index):
            raise Damaged(f"an operator {self.name} lacks an input")
        tensor = self.frame.graph.tensors[self.inputs[index]]
        if len(tensor.shape) < axes:
            raise Damaged(f"an input of an operator {self.name} has too few axes")
        return tensor

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.frame.graph.tensors[self.outputs[0]]

    def known(self, index: int) -> Constant | None:
        """An input, if it is constant, else None."""
        return self.frame.known.get(self.inputs[index]) if self.has(index) else None

    def computed(self) -> list[int]:
        """Indices of the input tensors that are not constant."""
        return [index for index in self.inputs if index in self.frame.nodes]

    def constants(self) -> Iterator[Constant]:
        """Its constant inputs."""
        return (self.frame.known[index] for index in self.inputs if index in self.frame.known)

    def option(self, field: int, code: str = "i", default: int = 0) -> int:
        """A number among its options."""
        return self.operator.options.number(field, code, default) if self.operator.options else default
