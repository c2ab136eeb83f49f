"""Sequences of tensors in ONNX graphs as lists of tensors, whose lengths must be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import shortened
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

    from datasets.networks.onnx_ops import Reader
    from datasets.networks.onnx_walk import Walk

_LISTS = """
SequenceConstruct SequenceEmpty SequenceAt SequenceInsert SequenceErase SequenceLength SplitToSequence
ConcatFromSequence"""
SEQUENCES = frozenset((*_LISTS.split(), "SequenceMap", "Optional", "OptionalGetElement", "OptionalHasElement"))
"""Operators with sequences or optional tensors as inputs or outputs."""
MOST_PARTS = 1000
"""Longest sequence that is read."""


def read_sequence(walk: Walk, proto: onnx.NodeProto, reader: Reader) -> None:
    """Read a node with a sequence as input or output.

    Raises:
        InputError: the length of the sequence, or the position of an element, is unknown.
    """
    from onnx import helper

    attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    kind, names, out = proto.op_type, list(proto.input), proto.output[0]
    known = walk.lists.get(names[0]) if names else None
    if kind in ("SequenceConstruct", "SequenceEmpty"):
        walk.lists[out] = names
    elif kind == "SplitToSequence" and names[0] in walk.shapes:
        _split(walk, reader, names, out, attrs.get("axis", 0), attrs.get("keepdims", 1))
    elif known is not None and kind == "SequenceLength":
        walk.fix(out, np.array(len(known), np.int64))
    elif known and kind == "ConcatFromSequence":
        _concat(walk, reader, known, out, attrs.get("axis", 0), attrs.get("new_axis", 0))
    elif known is not None and kind in ("SequenceAt", "SequenceInsert", "SequenceErase"):
        _place(walk, reader, kind, known, names, out)
    else:
        _refuse(walk, proto)
    if len(walk.lists.get(out, ())) > MOST_PARTS:
        _refuse(walk, proto)


def _refuse(walk: Walk, proto: Any) -> None:
    kind = proto if isinstance(proto, str) else proto.op_type
    raise InputError(
        f"{walk.path} has sequences of tensors or optional ones ({shortened(kind, 60)}) of which it is not known what "
        "is in them; export it with tensors of fixed numbers, by a newer exporter."
    )


def _place(walk: Walk, reader: Reader, kind: str, known: list[str], names: list[str], out: str) -> None:
    """Select, insert or remove the element at a constant position."""
    port = 2 if kind == "SequenceInsert" else 1
    place: int | None = len(known) if kind == "SequenceInsert" else -1
    if len(names) > port and names[port]:
        value = walk.constants.get(names[port])
        place = int(value.reshape(-1)[0]) if value is not None and value.size and value.dtype.kind == "i" else None
    if place is None or not -len(known) <= place <= len(known) - (kind != "SequenceInsert"):
        _refuse(walk, kind)
    elif kind == "SequenceAt":
        walk.alias(reader, out, known[place])
    elif kind == "SequenceInsert":
        walk.lists[out] = [*known[:place], names[1], *known[place:]]
    else:
        place %= len(known)
        walk.lists[out] = [*known[:place], *known[place + 1 :]]


def _reshaped(walk: Walk, reader: Reader, name: str, shape: Sequence[int], new: str) -> str:
    from onnx import helper

    walk.fix(f"{new}/shape", np.array(shape, np.int64))
    walk.uses[new] += 1
    walk.read([helper.make_node("Reshape", [name, f"{new}/shape"], [new])], reader)
    return new


def _split(walk: Walk, reader: Reader, names: list[str], out: str, axis: int, keep: int) -> None:
    from onnx import helper

    shape, given = walk.shapes[names[0]], len(names) > 1 and bool(names[1])
    sizes = walk.constants.get(names[1]) if given else np.array(1)
    if (
        sizes is None
        or sizes.ndim > 1
        or sizes.dtype.kind != "i"
        or not sizes.size
        or not -len(shape) <= axis < len(shape)
        or (sizes.ndim == 0 and sizes < 1)
    ):
        return _refuse(walk, "SplitToSequence")
    axis %= len(shape)
    whole, step = shape[axis], int(sizes) if sizes.ndim == 0 else 0
    if sizes.size > MOST_PARTS or (step and whole > step * MOST_PARTS):
        return _refuse(walk, "SplitToSequence")
    parts = [min(step, whole - start) for start in range(0, whole, step)] if step else [int(n) for n in sizes]
    ends = [f"{out}/{i}" for i in range(len(parts))]
    walk.uses.update(ends)
    if len(ends) == 1:
        walk.alias(reader, ends[0], names[0])
    elif walk.opset < 13:
        walk.read([helper.make_node("Split", names[:1], ends, axis=axis, split=parts)], reader)
    else:
        walk.fix(f"{out}/sizes", np.array(parts, np.int64))
        walk.read([helper.make_node("Split", [names[0], f"{out}/sizes"], ends, axis=axis)], reader)
    if not keep and not given:
        rest = (*shape[:axis], *shape[axis + 1 :])
        ends = [_reshaped(walk, reader, end, rest, f"{end}/squeezed") for end in ends]
    walk.lists[out] = ends
    return None


def _concat(walk: Walk, reader: Reader, known: list[str], out: str, axis: int, new_axis: int) -> None:
    from onnx import helper

    if new_axis:
        shape = walk.shapes.get(known[0], ())
        axis %= len(shape) + 1
        wide = (*shape[:axis], 1, *shape[axis:])
        known = [_reshaped(walk, reader, name, wide, f"{out}/{i}") for i, name in enumerate(known)]
    walk.read([helper.make_node("Concat", known, [out], axis=axis)], reader)
