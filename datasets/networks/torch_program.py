"""Programs of torch.export without torch: calls of ATen ops on named tensors.

A program comes from an `ExportedProgram` in memory (`program_of`) or from a .pt2 file (`datasets.networks.pt2_file`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datasets.networks.ops import BITS
from datasets.records import InputError

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Ref:
    """A tensor that a call reads."""

    name: str


@dataclass(frozen=True)
class Call:
    """One op.

    Attributes:
        op: its namespace and name without the overload: `aten.linear`.
        args: by the names in its schema: tensors (`Ref`), numbers, texts, None, and lists of these; defaults may be
            missing.
        outputs: names of the tensors that it computes.
    """

    op: str
    args: dict[str, Any]
    outputs: list[str]

    def refs(self) -> list[str]:
        """Names of the tensors that it reads, in order."""
        return [ref.name for ref in flat(list(self.args.values())) if isinstance(ref, Ref)]


@dataclass
class Program:
    """Calls in the order in which they run.

    Attributes:
        shapes: of all tensors.
        dtypes: element types by numpy's names.
        weights: tensor -> its parameter; tensors that share one have equal texts.
        inputs, outputs: names of tensors.
        notes: sentences on assumptions.
    """

    calls: list[Call] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def bytes(self, name: str) -> int:
        """Bytes of a tensor."""
        return -(-math.prod(self.shapes[name]) * BITS[self.dtypes[name]] // 8)


def flat(value: Any) -> Iterator[Any]:
    """The elements of nested lists, in order."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from flat(part)
    else:
        yield value


def element_type(name: str) -> str:
    """Numpy's name of a type of torch (`float32`, `float8_e4m3fn`, `qint8`); float32 for unknown types."""
    name = name.lower().removeprefix("torch.")
    name = "float8" if name.startswith("float8") else name.removeprefix("q") if name.startswith("q") else name
    return name if name in BITS else "float32"


def needs_writing_out(exported: ExportedProgram) -> bool:
    """Whether a program writes into parts of tensors or has graphs in graphs, which torch can write out."""
    for node in exported.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op == "call_function" and schema is None and isinstance(node.meta.get("val"), list | tuple):
            return True
        if schema is not None and schema.is_mutable:
            source = node.args[0]
            while source.target is operator.getitem:
                source = source.args[0]
            own = getattr(source.target, "_schema", None)
            if own is None or (not own.is_mutable and any(value.alias_info for value in own.returns)):
                return True
    return False


def program_of(exported: ExportedProgram) -> Program:
    """The program of a module that was exported with fixed sizes.

    Raises:
        InputError: a size depends on numbers that only a run computes, or there is control flow.
    """
    signature, program, names = exported.graph_signature, Program(), dict[Any, list[str]]()
    first: dict[int, str] = {}
    for name, target in signature.inputs_to_parameters.items():
        program.weights[name] = first.setdefault(id(exported.state_dict[target]), target)
    for node in exported.graph.nodes:
        if node.op not in ("placeholder", "call_function"):
            continue
        if node.target is operator.getitem:
            names[node] = [names[node.args[0]][node.args[1]]]
            continue
        value = node.meta.get("val")
        several = isinstance(value, list | tuple)
        names[node] = [f"{node.name}.{i}" for i in range(len(value))] if several else [node.name]
        for name, tensor in zip(names[node], value if several else [value], strict=True):
            _declare(program, name, tensor)
        outputs = [name for name in names[node] if name in program.shapes]
        if node.op == "call_function" and outputs:
            schema = getattr(node.target, "_schema", None)
            if schema is None:
                raise InputError(f"The module has control flow ({node.target}); export it without.")
            args = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
            op = schema.name.replace("::", ".")
            program.calls.append(Call(op, {k: _argument(v, names) for k, v in args.items()}, outputs))
    (last,) = (node for node in exported.graph.nodes if node.op == "output")
    user = set(signature.user_outputs)
    ends = [node for node in last.args[0] if getattr(node, "name", None) in user]
    program.inputs = [name for name in signature.user_inputs if name in program.shapes]
    program.outputs = [names[node][0] for node in ends if names[node][0] in program.shapes]
    return program


def _declare(program: Program, name: str, value: Any) -> None:
    """Add shape and type of a value that is a tensor."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        program.shapes[name] = tuple(_size(size) for size in value.shape)
        program.dtypes[name] = element_type(str(value.dtype))


def _size(size: Any) -> int:
    hint = size if isinstance(size, int) else size.node.hint
    if hint is None:
        raise InputError("A size of a tensor depends on what a run computes, so the network has no fixed shapes.")
    return int(hint)


def _argument(value: Any, names: dict[Any, list[str]]) -> Any:
    if isinstance(value, list | tuple):
        return [_argument(part, names) for part in value]
    if value in names if hasattr(value, "meta") else False:
        return Ref(names[value][0])
    return value if isinstance(value, int | float | str | None) else None
