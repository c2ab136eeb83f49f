"""Any ONNX file as a `Model`.

Shapes are inferred, constants folded, and nodes mapped to the vocabulary of `networks.analysis` (`onnx_ops` says how).
What never reaches the output is left out, as every runtime leaves it out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.networks.model import Model
from datasets.networks.onnx_graph import Node
from datasets.networks.onnx_ops import Reader
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

_SMALL = 1024  # elements: tensors that shape inference may have to look into are no larger


def read_onnx(path: Path, batch: int | None = None) -> Model:
    """The network in a file and its weights, fp32, keyed by node.

    The network's space is `onnx`, its key the file's name and the first twelve digits of the SHA-256 of its bytes
    (weights that stand in other files are not in them); it fixes the batch.

    Args:
        path: the file; weights in files beside it are read where they stand.
        batch: fixes a batch dimension that the file leaves open; by default 1.

    Raises:
        InputError: it is no ONNX file, is damaged or too new, has more than one input or output, control flow, or sizes
            that it leaves open.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    content = path.read_bytes()
    model = _parse(content, path)
    key = file_key(path, content)
    del content
    constants = _take_constants(model, path)
    x, y = _ends(model, constants, path)
    batch = _fix_batch(model, x, batch, path)
    _check(model, path)
    declared = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    types = {value.name: value.type for value in declared} | {name: _type(value) for name, value in constants.items()}
    shapes = {name: shape for name, type_ in types.items() if (shape := _shape(type_)) is not None}
    nodes = [_node(node) for node in model.graph.node]
    uses = Counter([name for node in nodes for name in node.inputs] + [y])
    reader = Reader(constants, shapes, uses, batch, _opset(model), str(path))
    reader.input(x)
    for node, proto in zip(nodes, model.graph.node, strict=True):
        known: dict[str, np.ndarray] = {}
        if node.kind == "Shape" and node.inputs[0] in shapes:
            shape = shapes[node.inputs[0]][node.attrs.get("start", 0) : node.attrs.get("end")]
            known = {node.outputs[0]: np.array(shape, np.int64)}
        elif all(name in constants for name in node.inputs if name):
            known = _folded(proto, constants, model, path)
        constants |= known
        types |= {n: _type(v) for n, v in known.items()} or _output_types(proto, types, constants, model, path)
        shapes |= {n: shape for n in node.outputs if n in types and (shape := _shape(types[n])) is not None}
        if not known:
            reader.add(node)
    return Model(*reader.finish(y, key), path)


def file_key(path: Path, content: bytes) -> str:
    """What a network that was read from a file is called: the file's name and what its bytes hash to."""
    return f"{path.name}:{hashlib.sha256(content).hexdigest()[:12]}"


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    import onnx
    import onnx.inliner
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file, or a part of it is missing; export or copy it again.") from error
    if not model.graph.node:
        raise InputError(f"{path} holds no network; is it an ONNX file?")
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= _opset(model) <= newest:
        raise InputError(f"{path} has opset {_opset(model)}; export it with one that this onnx reads, 1 to {newest}.")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    for node in model.graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise InputError(
                f"{path} has control flow ({node.op_type}), so what it computes is not fixed; export the network with "
                "its loops unrolled and its branches taken."
            )
    return model


def _opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 if there is none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _take_constants(model: onnx.ModelProto, path: Path) -> dict[str, np.ndarray]:
    """All initialisers; the large ones become inputs of the model, so that nothing copies their bytes again."""
    from onnx import checker, helper, numpy_helper

    graph = model.graph
    constants, small = {}, []
    declared = {value.name for value in graph.input}
    for tensor in graph.initializer:
        try:
            constants[tensor.name] = numpy_helper.to_array(tensor, str(path.parent))
        except (OSError, ValueError, KeyError, TypeError, checker.ValidationError) as error:  # KeyError: no such type
            where = next((entry.value for entry in tensor.external_data if entry.key == "location"), path.name)
            raise InputError(
                f"The weights '{tensor.name}' of {path} cannot be read from {where}; copy or export them again."
            ) from error
        if constants[tensor.name].size <= _SMALL and not tensor.external_data:
            small.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del graph.initializer[:]
    graph.initializer.extend(small)
    return constants


def _ends(model: onnx.ModelProto, constants: dict[str, np.ndarray], path: Path) -> tuple[str, str]:
    """Names of the only input and the only output."""
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            raise InputError(
                f"{path} has {len(names)} {what} ({', '.join(names)}), and one is needed; cut a part with one out by "
                "onnx.utils.extract_model."
            )
    return inputs[0], outputs[0]


def _fix_batch(model: onnx.ModelProto, x: str, batch: int | None, path: Path) -> int:
    """Write the batch wherever the input's first dimension stands; returns it."""
    if batch is not None and batch < 1:
        raise InputError(f"A batch has 1 or more images, not {batch}.")
    (value,) = (value for value in model.graph.input if value.name == x)
    dims = value.type.tensor_type.shape.dim
    if not dims:
        raise InputError(
            f"The input '{x}' of {path} has no shape; export it with one whose first dimension is the batch."
        )
    if unknown := [d.dim_param or f"number {i}" for i, d in enumerate(dims) if i and not d.HasField("dim_value")]:
        raise InputError(
            f"{path} leaves sizes of its input '{x}' open besides the batch ({', '.join(unknown)}); export it with "
            "fixed ones, or fix them with `python -m onnxruntime.tools.make_dynamic_shape_fixed`."
        )
    if any(dim.HasField("dim_value") and dim.dim_value < 1 for dim in dims):
        raise InputError(f"The input '{x}' of {path} has no elements; export it with a real shape.")
    if dims[0].HasField("dim_value"):
        if batch not in (None, dims[0].dim_value):
            raise InputError(
                f"{path} fixes its batch at {dims[0].dim_value}; leave the batch {batch} out, or export it open."
            )
        return dims[0].dim_value
    name, batch = dims[0].dim_param, batch or 1
    dims[0].dim_value = batch
    for other in [*model.graph.value_info, *model.graph.output]:
        for dim in other.type.tensor_type.shape.dim:
            if name and dim.dim_param == name:
                dim.dim_value = batch
    return batch


def _check(model: onnx.ModelProto, path: Path) -> None:
    from onnx import checker

    try:
        checker.check_model(model)
    except (checker.ValidationError, ValueError) as error:  # ValueError: a text in it is not UTF-8
        raise InputError(f"{path} is not a sound ONNX model ({_first_line(error)}); export it again.") from error


def _output_types(
    proto: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    constants: dict[str, np.ndarray],
    model: onnx.ModelProto,
    path: Path,
) -> dict[str, onnx.TypeProto]:
    """What can be inferred of a node's outputs; nothing where that is less than the file tells."""
    from onnx import checker, defs, numpy_helper, shape_inference

    if not defs.has(proto.op_type, _opset(model), proto.domain) or not all(n in types for n in proto.input if n):
        return {}
    schema = defs.get_schema(proto.op_type, _opset(model), proto.domain)
    inputs = {name: types[name] for name in proto.input if name}
    small = [name for name in inputs if name in constants and constants[name].size <= _SMALL]
    data = {name: numpy_helper.from_array(constants[name]) for name in small}
    try:
        found = shape_inference.infer_node_outputs(schema, proto, inputs, data, opset_imports=list(model.opset_import))
    except (shape_inference.InferenceError, checker.ValidationError, ValueError) as error:
        raise InputError(f"The shapes in {path} do not fit ({_first_line(error)}); export it again.") from error
    return {name: type_ for name, type_ in found.items() if name not in types or _shape(type_) is not None}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _type(value: np.ndarray) -> onnx.TypeProto:
    from onnx import helper

    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _shape(type_: onnx.TypeProto) -> tuple[int, ...] | None:
    """None where it is not known."""
    dims = type_.tensor_type.shape.dim
    known = type_.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None


def _node(proto: onnx.NodeProto) -> Node:
    from onnx import helper

    attrs: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    attrs = {name: value.decode() if isinstance(value, bytes) else value for name, value in attrs.items()}
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    return Node(kind, list(proto.input), list(proto.output), attrs)


def _folded(
    proto: onnx.NodeProto, constants: dict[str, np.ndarray], model: onnx.ModelProto, path: Path
) -> dict[str, np.ndarray]:
    """The outputs of a node of constants."""
    from onnx import helper, reference

    names, outputs = ([name for name in ends if name] for ends in (proto.input, proto.output))
    inputs = [helper.make_value_info(name, _type(constants[name])) for name in dict.fromkeys(names)]
    graph = helper.make_graph([proto], "constants", inputs, [helper.make_empty_tensor_value_info(n) for n in outputs])
    try:
        evaluator = reference.ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import))
        results = evaluator.run(None, {name: constants[name] for name in names})
    except Exception as error:  # whatever onnx's own numpy code meets in it
        raise InputError(
            f"{path} computes '{outputs[0]}' from constants by {proto.op_type}, which cannot be done here; simplify "
            "the file, for example with onnxsim."
        ) from error
    return dict(zip(outputs, map(np.asarray, results), strict=True))
