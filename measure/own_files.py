"""Which files belong to a network, and which networks are built again where a runtime does not take the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.files.reading import listed
from datasets.networks.model import Model, suffix_of
from datasets.networks.ops import ITEM, VOCABULARY
from datasets.records import InputError
from datasets.spaces import save_operation


def with_file(model: Model, folder: Path) -> Model:
    """The model; that of a single operation of a space gets its ONNX file, which is written into the folder."""
    path = folder / "operation.onnx"
    shapes = () if model.source else save_operation(model.network, path)
    return replace(model, source=path, shapes=shapes) if shapes else model


def files_beside(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold its weights; none of other files."""
    if path.suffix != ".onnx":
        return []
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return [path.parent / name for name in sorted(names)]


def rebuilt_note(model: Model, runtime: str) -> tuple[str, ...]:
    """A sentence for rows in which a network of a file was built again; none if the model is of no file.

    Raises:
        InputError: the network has parts that builders do not support.
    """
    if model.source is None:
        return ()
    network = model.network
    others = {op.kind for op in network.ops} - VOCABULARY - {ITEM}
    others |= {op.attrs["dtype"] for op in network.ops if "dtype" in op.attrs}
    why = [listed(sorted(others), 6)] if others else []
    if (len(network.inputs), len(network.outputs)) != (1, 1):
        ends = [("input", len(network.inputs)), ("output", len(network.outputs))]
        why.append(" and ".join(f"{count} {what}{'s' * (count != 1)}" for what, count in ends))
    if why:
        suffix = suffix_of(model.source)
        raise InputError(
            f"Backend {runtime} does not run {suffix} files, and {network.key} cannot be built again for it: "
            f"it has {' and '.join(why)}, and only fp32 networks of one input and one output, of convolutions, "
            f"pooling, dense layers and elementwise ops can. Name a runtime that runs {suffix} files themselves."
        )
    return (f"What runs is the network that was read from {model.source.name}, and not the file itself.",)
