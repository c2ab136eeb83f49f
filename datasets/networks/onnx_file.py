"""Any ONNX file as a `Model`.

Shapes are inferred, constants folded where their values are needed, and nodes mapped to the vocabulary of
`networks.ops` (`onnx_ops` says how). What never reaches the output is left out, as every runtime leaves it out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import existing, listed, shortened
from datasets.networks.model import Model
from datasets.networks.onnx_constants import Constants, Stored, stored_tensor, type_of
from datasets.networks.onnx_graph import Node, check_totals
from datasets.networks.onnx_ops import Reader
from datasets.networks.onnx_outline import outline
from datasets.networks.onnx_shapes import checked_shape, first_line, output_types
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_NODES = 20_000
"""Most nodes of a network, functions of the file's own written out."""
_DEEPEST = 50  # functions that call each other


def read_onnx(path: Path, batch: int | None = None) -> Model:
    """The network in a file and its weights, fp32, keyed by node.

    The network's space is `onnx`, its key the file's name and the first twelve digits of the SHA-256 of its bytes
    (weights that stand in other files are not in them); it fixes the batch.

    Args:
        path: the file; weights in files beside it are read where they stand.
        batch: fixes a batch dimension that the file leaves open; by default 1.

    Raises:
        InputError: it is no ONNX file, is damaged, too new or too large, has more than one input or output, control
            flow, or sizes that it leaves open.
    """
    path = Path(path)
    model = _parse(path)
    constants = Constants(_take_constants(model, path), model.opset_import)
    x, y = _ends(model, constants, path)
    batch = _fix_batch(model, x, batch, path)
    _check(model, path)
    declared = [*model.graph.value_info, *model.graph.output, *model.graph.input]
    types = {value.name: value.type for value in declared if not _negative(value.type)}
    shapes = {name: shape for name, t in types.items() if (shape := checked_shape(name, t, str(path))) is not None}
    nodes = [_node(node) for node in model.graph.node]
    uses = Counter([name for node in nodes for name in node.inputs] + [y])
    reader = Reader(constants, shapes, uses, batch, _opset(model), str(path), types)
    reader.input(x)
    imports = list(model.opset_import)
    for node, proto in zip(nodes, model.graph.node, strict=True):
        fixed = all(name in constants for name in node.inputs if name)
        if node.kind == "Shape" and not fixed and node.inputs[0] in shapes:
            shape = shapes[node.inputs[0]][node.attrs.get("start", 0) : node.attrs.get("end")]
            constants.know(node.outputs[0], np.array(shape, np.int64))
            types[node.outputs[0]], fixed = type_of(np.array(shape, np.int64)), True
        else:
            types |= output_types(proto, types, constants, imports, str(path))
            if fixed and node.kind == "NonZero" and constants.get(node.inputs[0]) is not None:
                types |= {name: type_of(value) for name, value in constants.compute(proto).items()}
        found = {n: checked_shape(n, types[n], str(path)) for n in node.outputs if n in types}
        shapes |= {n: shape for n, shape in found.items() if shape is not None}
        if fixed and all(name in shapes for name in node.outputs if name):
            _fold(proto, constants, types, shapes, path)
        else:
            reader.add(node)
    network, weights = reader.finish(y, file_key(path))
    check_totals(network, str(path))
    return Model(network, weights, path)


def _fold(
    proto: onnx.NodeProto,
    constants: Constants,
    types: dict[str, onnx.TypeProto],
    shapes: dict[str, tuple[int, ...]],
    path: Path,
) -> None:
    constants.add(proto, types, shapes)
    for name in filter(None, proto.output):
        if constants.size(name) > constants.largest:
            raise InputError(
                f"{path} computes a constant '{shortened(name, 60)}' of {constants.size(name):,} elements by "
                f"{proto.op_type}, more than the {constants.largest:,} that a runtime should hold; simplify the file."
            )


def file_key(path: Path) -> str:
    """What a network that was read from a file is called: the file's name and what its bytes hash to."""
    with existing(path, "name a network's file").open("rb") as stream:
        return f"{path.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()[:12]}"


def _parse(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(outline(path))
    except DecodeError as error:
        raise InputError(f"{path} is not an ONNX file, or a part of it is missing; export or copy it again.") from error
    if not model.graph.node:
        raise InputError(f"{path} holds no network; is it an ONNX file?")
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= _opset(model) <= newest:
        raise InputError(f"{path} has opset {_opset(model)}; export it with one that this onnx reads, 1 to {newest}.")
    return _inlined(model, path)


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The network without functions of its own, after a look at how large it becomes."""
    import onnx.inliner

    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def size(nodes: Any, depth: int) -> int:
        if depth > _DEEPEST:
            raise InputError(
                f"The functions in {path} call themselves, or each other more than {_DEEPEST} levels deep; export it "
                "again with its functions inlined."
            )
        total = 0
        for node in nodes:
            if any(a.type in (a.GRAPH, a.GRAPHS) or a.graphs or a.HasField("g") for a in node.attribute):
                raise InputError(
                    f"{path} has control flow ({shortened(node.op_type, 60)}), so what it computes is not fixed; "
                    "export the network with its loops unrolled and its branches taken."
                )
            key = node.domain, node.op_type, node.overload
            _check_names((*key, *node.input, *node.output), path)
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, depth + 1)
            total += sizes.get(key, 1)
        return total

    if (count := size(model.graph.node, 0)) > MOST_NODES:
        raise InputError(
            f"{path} has {count:,} nodes, more than the {MOST_NODES:,} that are read; cut a part out of it."
        )
    kept = [f for key, f in functions.items() if key in sizes]
    if not kept:
        del model.functions[:]
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # C++ of onnx, which raises several kinds
        raise InputError(
            f"The functions in {path} cannot be inlined ({first_line(error)}); export it again."
        ) from error


def _check_names(names: Iterable[object], path: Path) -> None:
    """Refuse names that protobuf gives as bytes, since they are not UTF-8."""
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is damaged (a name in it is not UTF-8 text); export or copy it again.")


def _opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 if there is none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _take_constants(model: onnx.ModelProto, path: Path) -> dict[str, Stored]:
    """The tensors of the file by name; in the model they become inputs, so that nothing copies their bytes."""
    from onnx import helper

    graph = model.graph
    if graph.sparse_initializer:
        raise InputError(f"{path} has sparse weights, which are not read here; export it with dense ones.")
    found = [(tensor.name, tensor) for tensor in graph.initializer]
    others = []
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value" and a.HasField("t")]
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(values) == len(node.output) == 1:
            found.append((node.output[0], values[0]))
        else:
            others.append(node)
    _check_names((name for name, _ in found), path)
    stored = {name: stored_tensor(tensor, path) for name, tensor in found}
    if twice := [name for name, count in Counter(name for name, _ in found).items() if count > 1]:
        raise InputError(f"{path} has two tensors of the name {listed(twice)}; export it again.")
    declared = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
        for name, tensor in found
        if name not in declared
    )
    if len(others) < len(graph.node):
        others = [type(node).FromString(node.SerializeToString()) for node in others]
        del graph.node[:]
        graph.node.extend(others)
    del graph.initializer[:]
    return stored


def _ends(model: onnx.ModelProto, constants: Constants, path: Path) -> tuple[str, str]:
    """Names of the only input and the only output."""
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            raise InputError(
                f"{path} has {len(names)} {what} ({listed(names)}), and one is needed; cut a part with one out by "
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
            f"{path} leaves sizes of its input '{x}' open besides the batch ({listed(unknown)}); export it with "
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
        raise InputError(f"{path} is not a sound ONNX model ({first_line(error)}); export it again.") from error


def _negative(type_: onnx.TypeProto) -> bool:
    """Whether a declared shape has a size below 0, which some exporters write where they know none."""
    return any(dim.dim_value < 0 for dim in type_.tensor_type.shape.dim)


def _node(proto: onnx.NodeProto) -> Node:
    from onnx import helper

    attrs: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    attrs = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in attrs.items()
    }
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    return Node(kind, list(proto.input), list(proto.output), attrs)
