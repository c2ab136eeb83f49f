"""Output shapes of the nodes of an ONNX graph, by onnx's own inference, one node at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.reading import shortened
from datasets.networks import onnx_microsoft
from datasets.networks.onnx_constants import Constants, type_of
from datasets.networks.onnx_microsoft import DOMAINS
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_ELEMENTS = 2**40
"""Largest number of elements of a tensor (4 TiB in fp32); more are an error in the file."""
_SAME = ("GroupNormalization", "MeanVarianceNormalization")  # onnx has no inference for these
_SIDES = "/shape"  # name of a Reshape's shape that opset 1 has as an attribute, later ones as an input
_SMALL = 1024  # elements of the largest constants whose values inference gets
_UNTIL = 2**31 - 1  # largest integer of an attribute; onnx's inference is C++, where larger ones read any memory
_OPEN = ("ends", "starts", "value_int", "value_ints", "k")  # attributes that may be larger: "to the end"


def output_types(
    proto: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Constants,
    imports: list[onnx.OperatorSetIdProto],
    path: str,
) -> dict[str, onnx.TypeProto]:
    """Inferred types of a node's outputs by name, without those that say less than the file's declarations.

    Raises:
        InputError: the shapes do not fit.
    """
    if not all(n in types for n in proto.input if n):
        return {}
    if proto.domain in DOMAINS:
        found = _microsoft(proto, types, constants, imports, path)
    else:
        found = _own(proto, types, constants, imports, path)
    return {name: type_ for name, type_ in found.items() if name not in types or shape_of(type_) is not None}


def _own(
    proto: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Constants,
    imports: list[onnx.OperatorSetIdProto],
    path: str,
) -> dict[str, onnx.TypeProto]:
    """Types by onnx's inference for the operator's version, or for the first later version that has one."""
    from onnx import checker, defs, numpy_helper, shape_inference

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    version = max((entry.version for entry in imports if entry.domain.replace("ai.onnx", "") == domain), default=0)
    version = version or max((entry.version for entry in imports if entry.domain == domain), default=0)
    if not defs.has(proto.op_type, version, domain):
        return {}
    schema, sides = defs.get_schema(proto.op_type, version, domain), None
    if not schema.has_type_and_shape_inference_function:
        while not schema.has_type_and_shape_inference_function and version < defs.onnx_opset_version():
            version += 1
            schema = defs.get_schema(proto.op_type, version, domain)
        shape = [list(a.ints) for a in proto.attribute if a.name == "shape" and proto.op_type == "Reshape"]
        sides = np.array(shape[0], np.int64) if shape else None
        proto = _renewed(proto, schema)
    inputs = {name: types[name] for name in proto.input if name}
    _check_numbers(proto, inputs, path)
    small = [name for name in inputs if name in constants and constants.size(name) <= _SMALL]
    values = {name: v for name in small if (v := constants.get(name)) is not None}
    if sides is not None:
        proto.input.append(_SIDES)
        inputs[_SIDES], values[_SIDES] = type_of(sides), sides
    data = {name: numpy_helper.from_array(value) for name, value in values.items()}
    if proto.op_type in _SAME:
        return {proto.output[0]: types[proto.input[0]]}
    try:
        return shape_inference.infer_node_outputs(schema, proto, inputs, data, opset_imports=imports)
    except (shape_inference.InferenceError, checker.ValidationError, ValueError, IndexError) as error:
        raise InputError(
            f"The shapes in {path} do not fit ({first_line(error)}); choose sizes that the file was made for, or "
            "export it again."
        ) from error


def _renewed(proto: onnx.NodeProto, schema: onnx.defs.OpSchema) -> onnx.NodeProto:
    """A node of an old opset without the attributes that the later version `schema` lacks."""
    from onnx import helper

    attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute if a.name in schema.attributes}
    if proto.op_type == "Concat":
        attrs.setdefault("axis", 1)
    return helper.make_node(proto.op_type, proto.input, proto.output, domain=proto.domain, **attrs)


def _microsoft(
    proto: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Constants,
    imports: list[onnx.OperatorSetIdProto],
    path: str,
) -> dict[str, onnx.TypeProto]:
    """Types by the rules of `onnx_microsoft`."""
    from onnx import TensorProto, helper

    attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    shapes = [shape_of(types[n]) if n else None for n in proto.input]
    if any(shape is None for n, shape in zip(proto.input, shapes, strict=True) if n):
        return {}
    if equivalent := onnx_microsoft.equivalent(proto.op_type):
        kind, ports, kept = equivalent
        inputs = [proto.input[i] for i in ports if i < len(proto.input)]
        same = {name: value for name, value in attrs.items() if name in kept and value != []}
        node = helper.make_node(kind, inputs, proto.output[:1], **same)
        known = {n: helper.make_tensor_type_proto(TensorProto.FLOAT, shape_of(types[n]) or ()) for n in inputs if n}
        like = _own(node, known, constants, [helper.make_opsetid("", 17)], path)
        made: list[tuple[int, ...] | None] = [shape_of(type_) for type_ in like.values()]
    else:
        try:
            made = onnx_microsoft.output_shapes(onnx_microsoft.Call(proto.op_type, shapes, attrs, len(proto.output)))
            if any(type(side) is not int or not 0 <= side <= MOST_ELEMENTS for shape in made for side in shape or ()):
                raise ValueError("a size is out of range")
        except (IndexError, TypeError, ValueError, KeyError, ZeroDivisionError) as error:
            if all(name in types and shape_of(types[name]) is not None for name in proto.output if name):
                return {}  # the file's declarations hold
            raise InputError(
                f"A {shortened(proto.op_type, 60)} in {path} does not fit its inputs ({first_line(error)}); export it "
                "again."
            ) from error
    port = onnx_microsoft.TYPE_OF.get(proto.op_type, 0)
    typed = proto.op_type not in onnx_microsoft.FLOATS and port < len(proto.input) and proto.input[port]
    element = types[proto.input[port]].tensor_type.elem_type if typed else TensorProto.FLOAT
    elements = [TensorProto.INT32 if (proto.op_type, i) in onnx_microsoft.COUNTS else element for i in range(len(made))]
    found = zip(proto.output, elements, made, strict=False)
    return {n: helper.make_tensor_type_proto(kind, shape) for n, kind, shape in found if n and shape is not None}


def bounded(
    proto: onnx.NodeProto, types: Mapping[str, onnx.TypeProto], constants: Constants
) -> dict[str, onnx.TypeProto]:
    """Types with the largest possible shapes of outputs whose sizes depend on values; none if unknown."""
    from onnx import TensorProto, helper

    inputs = [shape_of(types[n]) if n in types else None for n in proto.input]
    first = inputs[0] if inputs else None
    if first is None or not proto.output:
        return {}
    element = types[proto.input[0]].tensor_type.elem_type
    shapes: list[tuple[int, tuple[int, ...]]] = []
    size, attrs = math.prod(first), {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    axis = attrs.get("axis")
    axis = axis % len(first) if isinstance(axis, int) and first and -len(first) <= axis < len(first) else None
    if proto.op_type == "NonZero":
        shapes = [(TensorProto.INT64, (len(first), size))]
    elif proto.op_type == "Unique":
        most = size if axis is None else first[axis]
        shapes = [(element, (size,) if axis is None else first), *[(TensorProto.INT64, (most,))] * 3]
    elif proto.op_type == "Compress":
        shapes = [(element, (size,) if axis is None else first)]
    elif proto.op_type == "Slice":
        shapes = [(element, first)]
    elif proto.op_type == "TopK":
        shapes = [(element, first), (TensorProto.INT64, first)]
    elif proto.op_type == "NonMaxSuppression" and len(inputs) > 1 and inputs[1] is not None and len(first) == 3:
        limit = constants.get(proto.input[2]) if len(proto.input) > 2 else None
        boxes = first[1] if limit is None or not limit.size else min(first[1], max(int(limit.reshape(-1)[0]), 1))
        shapes = [(TensorProto.INT64, (math.prod(inputs[1][:2]) * boxes, 3))]
    pairs = zip(proto.output, shapes, strict=False)
    return {n: helper.make_tensor_type_proto(kind, shape) for n, (kind, shape) in pairs if n}


def _check_numbers(proto: onnx.NodeProto, inputs: Mapping[str, onnx.TypeProto], path: str) -> None:
    """Raise an `InputError` for numbers that onnx's inference would use as unchecked indices."""
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
    """The shape of a tensor; None if unknown."""
    dims = type_.tensor_type.shape.dim
    known = type_.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None


def checked_shape(name: str, type_: onnx.TypeProto, path: str) -> tuple[int, ...] | None:
    """The shape of a tensor after a check; None if unknown.

    Raises:
        InputError: a size is negative, or there are more elements than any network has.
    """
    shape = shape_of(type_)
    if any(dim.dim_value < 0 for dim in type_.tensor_type.shape.dim):
        raise InputError(
            f"The tensor '{shortened(name, 60)}' of {path} has a negative size; choose larger sizes, or export it "
            "again."
        )
    if shape is not None and math.prod(shape) > MOST_ELEMENTS:
        raise InputError(
            f"The tensor '{shortened(name, 60)}' of {path} would have {math.prod(shape):,} elements, more than any "
            f"network has ({MOST_ELEMENTS:,}); export it again."
        )
    return shape


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the full stop."""
    return shortened((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
