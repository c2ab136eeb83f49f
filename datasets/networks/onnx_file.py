"""Reader of ONNX files.

Shapes are inferred, constants folded where their values are needed, and nodes mapped to the vocabulary of
`networks.ops` by `onnx_ops`. Nodes that never reach an output are left out, which every runtime does too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files.reading import existing, listed
from datasets.networks.model import Model
from datasets.networks.onnx_constants import Constants
from datasets.networks.onnx_graph import check_totals
from datasets.networks.onnx_microsoft import DOMAINS
from datasets.networks.onnx_nested import check_names, count_uses, name_domains, subgraphs, take_constants
from datasets.networks.onnx_outline import outline
from datasets.networks.onnx_ports import fix_sizes, is_tensor, tensors
from datasets.networks.onnx_shapes import first_line
from datasets.networks.onnx_walk import Walk
from datasets.networks.sizes import Sizes
from datasets.records import InputError

if TYPE_CHECKING:
    import onnx

MOST_NODES = 20_000
"""Largest number of nodes of a network, after inlining the file's own functions."""
_DEEPEST = 50  # functions that call each other


def read_onnx(path: Path, batch: int | None = None, sizes: Sizes = Sizes()) -> Model:
    """Read the network in a file and its weights.

    The network's space is `onnx`, its key the file's name and the first twelve digits of the SHA-256 of its bytes
    (without weights in other files), and `sizes`; it fixes the batch.

    Args:
        path: the file; weights in files beside it are read from there.
        batch: fixes a batch dimension that the file leaves open; by default 1.
        sizes: other dimensions that the file leaves open, and trips of its loops.

    Raises:
        InputError: it is no ONNX file, is damaged, too new or too large, has inputs or outputs that are no tensors of
            numbers, sequences of tensors, or sizes or loops that it leaves open.
    """
    path = Path(path)
    model = _parse(path)
    constants = Constants(take_constants(model, path), model.opset_import)
    inputs = tensors([value for value in model.graph.input if value.name not in constants], "input", path)
    left_out = [value.name for value in model.graph.output if not is_tensor(value)]
    kept = [value for value in model.graph.output if value.name not in left_out] or model.graph.output
    outputs = [value.name for value in tensors(kept, "output", path)]
    batch = fix_sizes(model, inputs, batch, sizes, _axes(constants), path)
    _check(model, path)
    declared = [*model.graph.value_info, *model.graph.output, *model.graph.input]
    uses, imports = count_uses(model.graph), list(model.opset_import)
    walk = Walk(constants, declared, uses, imports, batch, sizes.loops(), path)
    reader = walk.reader()
    for value in inputs:
        reader.input(value.name)
    walk.read(model.graph.node, reader)
    if left_out:
        walk.notes[f"Outputs that are no tensors of numbers are left out: {listed(left_out)}."] = None
    network, weights = reader.finish(outputs, file_key(path) + sizes.label)
    check_totals(network, str(path))
    shapes = tuple(reader.full(value.name) for value in inputs)
    return Model(network, weights, path, walk.sentences(), shapes=shapes)


def _axes(constants: Constants) -> dict[str, list[int]]:
    """Values of short constants of integers, such as the axes of an Unsqueeze, by name."""
    found = {}
    for name, shape in constants.shapes.items():
        if len(shape) < 2 and constants.size(name) < 9 and name not in constants.floating:
            value = constants.get(name)
            if value is not None and value.dtype == np.int64:
                found[name] = [int(number) for number in value.reshape(-1)]
    return found


def file_key(path: Path) -> str:
    """Key of a network that was read from a file: the file's name and a hash of its bytes."""
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
    if not _opset(model) and not any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        model.opset_import.add(domain="", version=newest)
    if not 1 <= _opset(model) <= newest:
        raise InputError(f"{path} has opset {_opset(model)}; export it with one that this onnx reads, 1 to {newest}.")
    model = _inlined(model, path)
    ours = name_domains(model.graph, _opset(model))
    if ours and DOMAINS[0] not in [entry.domain for entry in model.opset_import]:
        model.opset_import.add(domain=DOMAINS[0], version=1)
    return model


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with its own functions inlined; its size is checked first."""
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
            key = node.domain, node.op_type, node.overload
            check_names((*key, *node.input, *node.output), path)
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, depth + 1)
            total += sizes.get(key, 1)
            total += sum(size(inner.node, depth) for _, inner in subgraphs(node))
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


def _opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 if there is none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _check(model: onnx.ModelProto, path: Path) -> None:
    """Run onnx's own checker, which requires types of all outputs; runtimes infer them."""
    from onnx import TypeProto, checker

    bare = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    types = [TypeProto.FromString(value.type.SerializeToString()) for value in bare]
    for value in bare:
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or 1
        value.type.tensor_type.shape.SetInParent()
    try:
        checker.check_model(model)
    except (checker.ValidationError, ValueError) as error:  # ValueError: a text in it is not UTF-8
        raise InputError(f"{path} is not a sound ONNX model ({first_line(error)}); export it again.") from error
    for value, type_ in zip(bare, types, strict=True):
        value.type.CopyFrom(type_)
