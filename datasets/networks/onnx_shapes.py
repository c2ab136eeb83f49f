"""Shapes of what the nodes of an ONNX graph compute, by onnx's own inference, one node at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from datasets.files.reading import shortened
from datasets.networks.onnx_constants import Constants
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_ELEMENTS = 2**40
"""A tensor of more elements, 4 TiB in fp32, is an error in the file."""
_SMALL = 1024  # elements: constants that inference may have to look into are no larger
_UNTIL = 2**31 - 1  # largest integer of an attribute; onnx's inference is C++, where larger ones read any memory
_OPEN = ("ends", "starts", "value_int", "value_ints", "k")  # of these larger ones mean "to the end"


def output_types(
    proto: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Constants,
    imports: list[onnx.OperatorSetIdProto],
    path: str,
) -> dict[str, onnx.TypeProto]:
    """What can be inferred of a node's outputs; nothing where that is less than the file declares.

    Raises:
        InputError: the shapes do not fit.
    """
    from onnx import checker, defs, numpy_helper, shape_inference

    version = max((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), default=0)
    if not defs.has(proto.op_type, version, proto.domain) or not all(n in types for n in proto.input if n):
        return {}
    schema = defs.get_schema(proto.op_type, version, proto.domain)
    inputs = {name: types[name] for name in proto.input if name}
    _check_numbers(proto, inputs, path)
    small = [name for name in inputs if name in constants and constants.size(name) <= _SMALL]
    data = {name: numpy_helper.from_array(v) for name in small if (v := constants.get(name)) is not None}
    try:
        found = shape_inference.infer_node_outputs(schema, proto, inputs, data, opset_imports=imports)
    except (shape_inference.InferenceError, checker.ValidationError, ValueError, IndexError) as error:
        raise InputError(f"The shapes in {path} do not fit ({first_line(error)}); export it again.") from error
    return {name: type_ for name, type_ in found.items() if name not in types or shape_of(type_) is not None}


def _check_numbers(proto: onnx.NodeProto, inputs: Mapping[str, onnx.TypeProto], path: str) -> None:
    """Refuse numbers that onnx's inference takes for places in memory without a look at them."""
    ranks = [len(type_.tensor_type.shape.dim) for type_ in inputs.values()]
    for a in proto.attribute:
        limit = max(ranks, default=0) + 1 if a.name in ("axis", "axes", "batch_dims") else _UNTIL
        least = 0 if a.name == "batch_dims" else -limit
        wrong = a.name == "num_outputs" and a.i != len(proto.output)
        if wrong or (a.name not in _OPEN and any(not least <= value <= limit for value in (a.i, *a.ints))):
            raise InputError(
                f"The attribute '{shortened(a.name, 60)}' of a {proto.op_type} in {path} is out of range; export it "
                "again."
            )


def shape_of(type_: onnx.TypeProto) -> tuple[int, ...] | None:
    """The shape of a tensor; None where it is not known."""
    dims = type_.tensor_type.shape.dim
    known = type_.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None


def checked_shape(name: str, type_: onnx.TypeProto, path: str) -> tuple[int, ...] | None:
    """The shape of a tensor; None where it is not known.

    Raises:
        InputError: a size is negative, or there are more elements than any network has.
    """
    shape = shape_of(type_)
    if any(dim.dim_value < 0 for dim in type_.tensor_type.shape.dim):
        raise InputError(f"The tensor '{shortened(name, 60)}' of {path} has a negative size; export it again.")
    if shape is not None and math.prod(shape) > MOST_ELEMENTS:
        raise InputError(
            f"The tensor '{shortened(name, 60)}' of {path} would have {math.prod(shape):,} elements, more than any "
            f"network has ({MOST_ELEMENTS:,}); export it again."
        )
    return shape


def first_line(error: Exception) -> str:
    """What onnx says, without its context and its full stop."""
    return shortened((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
