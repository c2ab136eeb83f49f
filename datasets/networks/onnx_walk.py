"""A walk over the nodes of an ONNX graph, which infers shapes, folds constants and adds ops to a network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import listed, shortened
from datasets.networks.onnx_constants import FOLDED, Constants, type_of
from datasets.networks.onnx_graph import Node
from datasets.networks.onnx_microsoft import DOMAINS, UNNAMED
from datasets.networks.onnx_ops import Reader
from datasets.networks.onnx_shapes import bounded, checked_shape, output_types
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_STEPS = 30_000
"""Largest number of visits of nodes; nodes of branches may be visited several times."""
MOST_NOTES = 10
"""Largest number of notes of one network."""
_SMALL = 1024  # elements of the largest constants from which shapes of others are computed


class Walk:
    """A walk over one file, with the tensors found so far.

    Args:
        constants: tensors that do not depend on an input.
        declared: types that the file declares; inputs have shapes.
        uses: number of readers of each tensor.
        imports: versions of operators.
        batch: samples per run.
        trips: number of trips of loops by name.
        path: of the file, for messages.

    Attributes:
        notes: sentences on assumptions, in order.
    """

    def __init__(
        self,
        constants: Constants,
        declared: Iterable[onnx.ValueInfoProto],
        uses: Counter[str],
        imports: list[onnx.OperatorSetIdProto],
        batch: int,
        trips: dict[str, int],
        path: Path,
    ) -> None:
        self.constants, self.uses, self.imports = constants, uses, imports
        self.batch, self.trips, self.path = batch, trips, path
        self.types: dict[str, onnx.TypeProto] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.notes: dict[str, None] = {}
        self.loops: list[str] = []  # names of loops that were met
        self.taken: dict[str, str] = {}  # first output of an If -> the branch that is counted
        self.lists: dict[str, list[str]] = {}  # sequences of tensors
        self.bounded: Counter[str] = Counter()
        self.steps = 0
        for value in declared:
            if not any(dim.dim_value < 0 for dim in value.type.tensor_type.shape.dim):
                self.declare(value.name, value.type)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return max((entry.version for entry in self.imports if entry.domain in ("", "ai.onnx")), default=0)

    def reader(self) -> Reader:
        """An empty network of this file."""
        return Reader(self.constants, self.shapes, self.uses, self.batch, self.opset, str(self.path), self.types)

    def declare(self, name: str, type_: onnx.TypeProto) -> None:
        """Add the type of a tensor, and its shape if all sizes are known."""
        self.types[name] = type_
        shape = checked_shape(name, type_, str(self.path))
        if shape is not None:
            self.shapes[name] = shape

    def alias(self, reader: Reader, new: str, old: str) -> None:
        """Add another name for a tensor."""
        if old in self.types:
            self.declare(new, self.types[old])
        if old in self.lists:
            self.lists[new] = self.lists[old]
        elif old in self.constants:
            self.constants.alias(new, old)
        elif old in reader.nodes:
            reader.nodes[new] = reader.nodes[old]

    def read(self, protos: Iterable[onnx.NodeProto], reader: Reader) -> None:
        """Read nodes in the file's order."""
        from datasets.networks.onnx_flow import FLOW, read_flow
        from datasets.networks.onnx_sequences import SEQUENCES, read_sequence

        for proto in protos:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise InputError(f"{self.path} has branches in branches of too many nodes; export it without them.")
            reader.net.name = proto.name or next(filter(None, proto.output), "")
            ours = proto.domain in ("", "ai.onnx")
            if ours and proto.op_type in SEQUENCES:
                read_sequence(self, proto, reader)
            elif ours and proto.op_type == "Identity" and proto.input[0] in self.lists:
                self.alias(reader, proto.output[0], proto.input[0])
            elif ours and proto.op_type in FLOW:
                read_flow(self, proto, reader)
            else:
                self._node(proto, reader)

    def _node(self, proto: onnx.NodeProto, reader: Reader) -> None:
        node, constants = read_node(proto), self.constants
        others = [name for name in node.inputs if name and name not in constants]
        if unknown := [name for name in others if name not in reader.nodes]:
            raise InputError(
                f"A {shortened(node.kind, 60)} of {self.path} reads '{shortened(unknown[0], 60)}', which is no tensor "
                "that is known by then; export it again."
            )
        fixed = not others
        if node.kind in ("Shape", "Size") and node.inputs and node.inputs[0] in self.shapes:
            shape = np.array(self.shapes[node.inputs[0]], np.int64)
            sides = shape[node.attrs.get("start", 0) : node.attrs.get("end")]
            self.fix(node.outputs[0], sides if node.kind == "Shape" else np.array(shape.prod()))
            return
        for name, type_ in output_types(proto, self.types, constants, self.imports, str(self.path)).items():
            self.declare(name, type_)
        missing = [name for name in node.outputs if name and name not in self.shapes]
        if missing and len(node.outputs) == 1 and proto.domain not in ("", "ai.onnx", *DOMAINS):
            missing = self._assume(node)
        if missing and fixed and node.kind in FOLDED and self._small(node):
            for name, value in constants.compute(proto).items():
                self.declare(name, type_of(value))
        elif missing and not fixed:
            most = bounded(proto, self.types, constants)
            for name in missing:
                if name in most:
                    self.declare(name, most[name])
                    self.bounded[node.kind] += 1
        if node.kind == "Reshape" and not fixed and not self.bounded:
            self._check_reshape(node)
        empty = [name for name in node.outputs if name and 0 in self.shapes.get(name, ())]
        if fixed and all(name in self.shapes for name in node.outputs if name):
            self._fold(proto)
        elif len(empty) == len([name for name in node.outputs if name]):
            self._empty(empty)
        else:
            self._empty(empty)
            reader.add(node)

    def _assume(self, node: Node) -> list[str]:
        """Assume that an operator of an unknown domain, for example a quantiser, keeps the shape of its first input;
        returns the outputs that still have no shape."""
        if not node.inputs or node.inputs[0] not in self.shapes:
            return node.outputs
        self.declare(node.outputs[0], self.types[node.inputs[0]])
        self.notes[f"{node.kind} is not known; its output is taken to have the shape of its first input."] = None
        return []

    def _check_reshape(self, node: Node) -> None:
        """Raise an `InputError` for sizes that a Reshape with an exporter's constant shape does not fit."""
        before, after = (self.shapes.get(name) for name in (node.inputs[0], node.outputs[0]))
        if before is not None and after is not None and math.prod(before) != math.prod(after):
            sides = ["x".join(map(str, shape)) for shape in (before, after)]
            raise InputError(
                f"The shapes in {self.path} do not fit (a Reshape makes {sides[0]} to {sides[1]}); choose sizes that "
                "the file was made for, or export it again."
            )

    def _empty(self, names: list[str]) -> None:
        """Add tensors without elements as constants."""
        from onnx import helper

        for name in names:
            dtype = helper.tensor_dtype_to_np_dtype(self.types[name].tensor_type.elem_type or 1)
            self.constants.add_value(name, np.empty(self.shapes[name], dtype))
            self.uses[name] = 0

    def fix(self, name: str, value: np.ndarray) -> None:
        """Add a constant by its value."""
        self.constants.add_value(name, value)
        self.declare(name, type_of(value))

    def _small(self, node: Node) -> bool:
        names = [name for name in node.inputs if name]
        return all(self.constants.size(n) <= _SMALL and self.constants.get(n) is not None for n in names)

    def _fold(self, proto: onnx.NodeProto) -> None:
        constants = self.constants
        constants.add(proto, self.types, self.shapes)
        for name in filter(None, proto.output):
            if constants.size(name) > constants.largest:
                raise InputError(
                    f"{self.path} computes a constant '{shortened(name, 60)}' of {constants.size(name):,} elements by "
                    f"{proto.op_type}, more than the {constants.largest:,} that a runtime should hold; simplify the "
                    "file."
                )

    def sentences(self) -> tuple[str, ...]:
        """The notes, at most `MOST_NOTES` and how many more; raises `InputError` for trips of unknown loops."""
        if unknown := [name for name in self.trips if name not in self.loops]:
            known = f"its loops are {listed(list(dict.fromkeys(self.loops)))}" if self.loops else "it has no loops"
            raise InputError(f"--trips {shortened(unknown[0], 60)} is no loop of {self.path}; {known}.")
        kinds = listed(list(self.bounded))
        most = f"Sizes that depend on values are taken as the most that they can be ({kinds})."
        notes = [*self.notes, *([most] if self.bounded else [])]
        more = f"And {len(notes) - MOST_NOTES:,} more such things were assumed."
        return (*notes[:MOST_NOTES], more) if len(notes) > MOST_NOTES else tuple(notes)


def read_node(proto: onnx.NodeProto) -> Node:
    """A `Node` of a protobuf node, without inner graphs."""
    from onnx import helper

    attrs: dict[str, Any] = {
        a.name: helper.get_attribute_value(a) for a in proto.attribute if not (a.HasField("g") or a.graphs)
    }
    attrs = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in attrs.items()
    }
    bare = proto.domain in ("", "ai.onnx") or (proto.op_type in UNNAMED and proto.domain == DOMAINS[0])
    kind = proto.op_type if bare else f"{proto.domain}.{proto.op_type}"
    return Node(kind, list(proto.input), list(proto.output), attrs)
