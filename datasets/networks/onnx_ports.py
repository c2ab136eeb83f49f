"""Inputs and outputs of an ONNX graph, and sizes of inputs that the file leaves open."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.files.reading import listed, shortened
from datasets.networks.onnx_nested import check_names
from datasets.networks.onnx_roles import role_of_name, roles
from datasets.networks.sizes import ROLES, Sizes
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

_NAMELESS = ("?", "??", "-1", "none", "null", "unk", "unknown", "dynamic", "any")  # names that several sizes have
MOST_PORTS = 1000
"""Largest number of inputs or outputs of a network."""
_MOST_SIDES = 64  # dimensions, numpy's own limit
_EXAMPLES = {"height": 224, "width": 224, "channels": 3, "sequence": 128, "time": 16000, "batch": 1}
_STRING = 8  # TensorProto's number of texts


@dataclass
class Axis:
    """A dimension of an input.

    Attributes:
        input: name of the input.
        number: index of the dimension.
        name: in the file; may be empty.
        role: one of `ROLES`, or empty.
        size: None if open.
        fixed: whether the file fixes the size.
    """

    input: str
    number: int
    name: str
    role: str
    size: int | None
    fixed: bool


def is_tensor(value: onnx.ValueInfoProto) -> bool:
    """Whether an input or output is a tensor of numbers, not a sequence, map or tensor of texts."""
    kind = value.type.WhichOneof("value") or "tensor_type"
    return kind == "tensor_type" and value.type.tensor_type.elem_type != _STRING


def tensors(values: Sequence[onnx.ValueInfoProto], what: str, path: Path) -> list[onnx.ValueInfoProto]:
    """Check the inputs or outputs of a network, and return them.

    Raises:
        InputError: one is not a tensor of numbers, or there are none or too many.
    """
    for value in values:
        if len(value.type.tensor_type.shape.dim) > _MOST_SIDES:
            raise InputError(
                f"The {what} '{shortened(value.name, 60)}' of {path} has too many dimensions; export it again."
            )
        check_names([value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim)], path)
        if not is_tensor(value):
            kind = value.type.WhichOneof("value") or "tensor_type"
            texts = value.type.tensor_type.elem_type == _STRING
            problem = "texts" if texts else f"no tensor but a {kind.removesuffix('_type').replace('_', ' ')}"
            raise InputError(
                f"The {what} '{shortened(value.name, 60)}' of {path} is {problem}, and networks of tensors of numbers "
                "are read; cut the part between such tensors out by onnx.utils.extract_model."
            )
    if twice := [name for name, count in Counter(value.name for value in values).items() if count > 1]:
        raise InputError(f"{path} has two {what}s of the name {listed(twice)}; export it again.")
    if not 0 < len(values) <= MOST_PORTS:
        count = f"{len(values):,} {what}s, more than the {MOST_PORTS:,} that are read" if values else f"no {what}s"
        raise InputError(f"{path} has {count}; is it a network?")
    return list(values)


def fix_sizes(
    model: onnx.ModelProto,
    inputs: Sequence[onnx.ValueInfoProto],
    batch: int | None,
    sizes: Sizes,
    numbers: Mapping[str, Sequence[int]],
    path: Path,
) -> int:
    """Fix all sizes of the inputs, and of other tensors with dimensions of the same names; returns the batch.

    Args:
        model: is changed.
        inputs: of the network, without weights.
        batch: size of open dimensions with the role batch; by default 1.
        sizes: other open dimensions.
        numbers: values of short constants of integers by name, for nodes that read their axes.
        path: of the file, for messages.

    Raises:
        InputError: a requested size does not fit or belongs to nothing in the file, or a dimension remains open.
    """
    if batch is not None and batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    shapes = sizes.shapes()
    for value in inputs:
        _give_shape(value, shapes.get(value.name), path)
    if unknown := [name for name in shapes if name not in {value.name for value in inputs}]:
        raise InputError(
            f"'{shortened(unknown[0], 60)}' is no input of {path}; those are {listed([v.name for v in inputs])}."
        )
    axes = _axes(model, inputs, numbers)
    for axis in axes:
        if axis.size is None and axis.input in shapes:
            axis.size = shapes[axis.input][axis.number]
    known = _known(axes, batch, sizes, path)
    by_name = {axis.name: axis.size for axis in axes if axis.name and axis.size}
    for axis in axes:
        if axis.size is None:
            axis.size = by_name.get(axis.name) or _size(axis, known)
            if axis.name and axis.size:
                by_name[axis.name] = axis.size
    for axis in axes:
        axis.size = by_name.get(axis.name) if axis.size is None else axis.size
    _check_open(axes, path)
    _write(model, inputs, axes, by_name)
    return _batch(axes, batch, path)


def _give_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...] | None, path: Path) -> None:
    """Compare a requested shape of an input with the file's; an input without a shape gets it."""
    type_ = value.type.tensor_type
    name = shortened(value.name, 60)
    if not type_.HasField("shape"):
        if shape is None:
            raise InputError(
                f"The input '{name}' of {path} has no shape; give it one, as in --shape {name}=1x3x224x224."
            )
        for _ in shape:
            type_.shape.dim.add()
    if shape is None:
        return
    dims = type_.shape.dim
    if len(dims) != len(shape):
        raise InputError(f"The shape of '{name}' has {len(shape)} sizes, and that input of {path} has {len(dims)}.")
    for number, (dim, side) in enumerate(zip(dims, shape, strict=True)):
        if _fixed(dim, number) and dim.dim_value != side:
            raise InputError(
                f"{path} fixes size {number} of its input '{name}' at {dim.dim_value}; its shape gives {side}."
            )


def _fixed(dim: onnx.TensorShapeProto.Dimension, number: int) -> bool:
    """Whether a file fixes a dimension; sizes below 0, and a batch of 0, are open."""
    return bool(dim.HasField("dim_value") and dim.dim_value >= (0 if number else 1))


def _axes(
    model: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto], numbers: Mapping[str, Sequence[int]]
) -> list[Axis]:
    read, axes = roles(model, inputs, numbers), list[Axis]()
    for value in inputs:
        for i, (dim, role) in enumerate(zip(value.type.tensor_type.shape.dim, read[value.name], strict=True)):
            fixed = _fixed(dim, i)
            name = "" if fixed or dim.dim_param.lower() in _NAMELESS else dim.dim_param
            role = role_of_name(name) or ("" if re.search("past|[-+*/]", name) else role)
            axes.append(Axis(value.name, i, name, role, dim.dim_value if fixed else None, fixed))
    _states(axes)
    return axes


def _states(axes: list[Axis]) -> None:
    """Set roles of recurrent layers' states: [layers, batch, features] beside inputs that begin with an open batch."""
    open_first = {axis.input for axis in axes if not axis.number and not axis.fixed}
    for name in {axis.input for axis in axes} - open_first if open_first else ():
        own = [axis for axis in axes if axis.input == name]
        if [axis.fixed for axis in own] == [True, False, True] and not role_of_name(own[1].name):
            own[0].role, own[1].role = "", "batch"


def _known(axes: Sequence[Axis], batch: int | None, sizes: Sizes, path: Path) -> dict[str, int]:
    """Sizes by name and by role (`:height`)."""
    names = {axis.name for axis in axes if axis.name}
    given = [axis for axis in axes if axis.size is not None and not axis.fixed]
    known = {key: axis.size or 1 for axis in given for key in (axis.name, f":{axis.role}") if key.strip(":")}
    for name, size in sizes.sizes().items():
        atoms = {atom for own in names for atom in re.findall(r"\w+", own)}
        if name not in names and name not in ROLES and name not in atoms:
            open_ = dict.fromkeys(_called(axis) for axis in axes if not axis.fixed)
            has = f"open are {listed(list(open_))}" if open_ else "it leaves none open"
            raise InputError(f"--size {shortened(name, 60)} is no size of {path}: {has}.")
        known[name] = size
        if name in ROLES:
            known[f":{name}"] = size
    if batch is not None and known.get(":batch", batch) != batch:
        raise InputError(f"The batch {batch} and --size batch={known[':batch']} are two batches; leave one out.")
    return known | {":batch": batch or known.get(":batch", 1)}


def _size(axis: Axis, known: Mapping[str, int]) -> int | None:
    if axis.name in known:
        return known[axis.name]
    if re.search("[-+*]", axis.name) and (terms := re.split(r"\s*([-+*])\s*", axis.name.strip())):
        return _computed(terms, known)
    return known.get(f":{axis.role}")


def _computed(terms: Sequence[str], known: Mapping[str, int]) -> int | None:
    """The value of a formula such as `past_sequence_length + 1`, from left to right; None if a name is unknown."""

    def value(term: str) -> int | None:
        return (
            int(term) if term.isdecimal() and len(term) < 13 else known.get(term, known.get(f":{role_of_name(term)}"))
        )

    values = [value(term) for term in terms[::2]]
    if None in values:
        return None
    total = values[0] or 0
    for sign, number in zip(terms[1::2], values[1:], strict=True):
        total = total * (number or 0) if sign == "*" else total + (number or 0) * (1 if sign == "+" else -1)
    return total if total > 0 else None


def _called(axis: Axis) -> str:
    """A name of the dimension that `--size` accepts."""
    return axis.role or axis.name


def _check_open(axes: Sequence[Axis], path: Path) -> None:
    """Raise an `InputError` for dimensions that remain open, with flags that would fix them."""
    left = [axis for axis in axes if axis.size is None]
    if not left:
        return
    flags, named = dict[str, None](), list[str]()
    for axis in left:
        own = f"'{shortened(axis.name, 60)}'" if axis.name else f"number {axis.number}"
        label = f"{own} of '{shortened(axis.input, 60)}'"
        named.append(f"{axis.role} ({label})" if axis.role else label)
        parts = re.findall(r"[A-Za-z_]\w*", axis.name) if re.search("[-+*]", axis.name) else [axis.name]
        if axis.role:
            flags[f"--size {axis.role}={_EXAMPLES[axis.role]}"] = None
        elif all(parts) and parts:
            named_ = [role_of_name(part) or part for part in parts]
            flags |= dict.fromkeys(f"--size {part}={_EXAMPLES.get(part, 16)}" for part in named_)
        else:
            sides = [a.size or _EXAMPLES.get(a.role, 16) for a in axes if a.input == axis.input]
            flags[f"--shape {axis.input}={'x'.join(map(str, sides))}"] = None
    raise InputError(
        f"{path} leaves sizes of its inputs open besides the batch: {listed(named, 6)}; fix them, for example by "
        f"{shortened(' '.join(flags), 300)}."
    )


def _write(
    model: onnx.ModelProto,
    inputs: Sequence[onnx.ValueInfoProto],
    axes: Sequence[Axis],
    by_name: Mapping[str, int | None],
) -> None:
    for axis in axes:
        value = next(value for value in inputs if value.name == axis.input)
        value.type.tensor_type.shape.dim[axis.number].dim_value = axis.size or 0
    for other in [*model.graph.value_info, *model.graph.output]:
        for dim in other.type.tensor_type.shape.dim:
            if size := by_name.get(dim.dim_param):
                dim.dim_value = size


def _batch(axes: Sequence[Axis], batch: int | None, path: Path) -> int:
    """Samples per run: the size of the first dimension with the role batch, open ones first."""
    if empty := next((axis for axis in axes if axis.size is not None and axis.size < 1), None):
        raise InputError(
            f"The input '{shortened(empty.input, 60)}' of {path} has no elements; export it with a real shape."
        )
    rank = Counter(axis.input for axis in axes)
    found = sorted((axis for axis in axes if axis.role == "batch"), key=lambda axis: (axis.fixed, rank[axis.input] < 2))
    first = next(iter(found), None)
    size = 1 if first is None else first.size or 1
    if batch not in (None, size):
        raise InputError(f"{path} fixes its batch at {size}; leave the batch {batch} out, or export it open.")
    return size
