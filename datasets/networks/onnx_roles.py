"""Roles of the dimensions of an ONNX graph's inputs (batch, height, ...), by their names and their readers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_NAMES = {
    "batch": r"n|b|bs|n?_?batch.*|.*_batch(_size)?|num_(images|samples_in_batch)",
    "height": r"h|(.*_)?height|img_h|rows",
    "width": r"w|(.*_)?width|img_w|cols|columns",
    "channels": r"c|(.*_)?channels?",
    "time": r"t|(.*_)?(time|times|frames?|samples|n_?frames|audio|timesteps?|audio_len(gth)?)(_len(gth)?)?",
    "sequence": r"l|s|(.*_)?(seq|seq_?len|sequence|sequence_?length|tokens?|token_length|text_?len(gth)?|length)",
}
_LAYOUTS = {
    3: ("batch", "channels", "time"),
    4: ("batch", "channels", "height", "width"),
    5: ("batch", "channels", "time", "height", "width"),
}
_CHANNELS_FIRST = """
Conv ConvInteger QLinearConv FusedConv ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool
BatchNormalization InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth"""
_IMAGES = frozenset(_CHANNELS_FIRST.split())
_RECURRENT = frozenset(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"))
_KEPT = """
Cast Identity Relu LeakyRelu Sub Mul Div Add Pow Clip Pad QuantizeLinear DequantizeLinear Resize Upsample Abs Sqrt Log
Exp Neg Tanh Sigmoid DynamicQuantizeLinear"""
_PASSED = frozenset(_KEPT.split())
_FARTHEST = 64  # nodes between an input and the node that fixes its layout
_INTEGERS = (2, 3, 4, 5, 6, 7, 12, 13)  # TensorProto's numbers of integer types

Roles = tuple[str, ...]
Places = tuple[int, ...]


def role_of_name(name: str) -> str:
    """The role of a dimension by its name; '' if unknown."""
    text = re.sub(r"[^a-z]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()).strip("_")
    if "past" in text or len(text) > 60 or re.fullmatch(r"[su]\d+", name):
        return ""
    return next((role for role, pattern in _NAMES.items() if re.fullmatch(pattern, text)), "")


def roles(
    model: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto], axes: Mapping[str, Sequence[int]]
) -> dict[str, Roles]:
    """The roles of the dimensions of each input, '' for unknown ones.

    Args:
        model: with the nodes that read the inputs.
        inputs: of the network, without weights.
        axes: values of short constants of integers by name, for nodes that read their axes.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    found = {}
    for value in inputs:
        rank = len(value.type.tensor_type.shape.dim)
        found[value.name] = _read(value.name, rank, readers, axes) or _usual(value)
    return found


def _read(
    name: str, rank: int, readers: Mapping[str, list[onnx.NodeProto]], axes: Mapping[str, Sequence[int]]
) -> Roles:
    """Roles by the first reader with a known layout; nodes that keep or move dimensions are followed."""
    waiting: list[tuple[str, Places]] = [
        (name, tuple(range(rank)))
    ]  # per dimension of the tensor the dimension of the input; -1: none
    for tensor, places in waiting:
        for node in readers.get(tensor, ()):
            layout = _layout(node, list(node.input).index(tensor), len(places))
            if layout:
                by_place = {place: role for place, role in zip(places, layout, strict=True) if place >= 0}
                return tuple(by_place.get(i, "") for i in range(rank))
            moved = _moved(node, places, axes)
            if moved is not None and node.output and len(waiting) < _FARTHEST:
                waiting.append((node.output[0], moved))
    return ()


def _layout(node: onnx.NodeProto, port: int, rank: int) -> Roles:
    if node.op_type in _IMAGES and port == 0:
        return _LAYOUTS.get(rank, ())
    if node.op_type in _RECURRENT and rank == 3:
        first = any(a.name == "layout" and a.i == 1 for a in node.attribute)
        if port == 0:
            return ("batch", "sequence", "") if first else ("sequence", "batch", "")
        return (("batch", "", "") if first else ("", "batch", "")) if port in (5, 6) else ()
    if node.op_type == "Gather" and port == 1 and rank == 2:
        return ("batch", "sequence")
    if node.op_type in ("MatMul", "LayerNormalization") and port == 0 and rank == 3:
        return ("batch", "sequence", "")
    return ("batch", "time") if node.op_type == "STFT" and rank == 2 else ()


def _moved(node: onnx.NodeProto, places: Places, axes: Mapping[str, Sequence[int]]) -> Places | None:
    """The input's dimensions in the output of a node; None if unknown."""
    if node.op_type in _PASSED:
        return places
    if node.op_type == "Transpose":
        perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), list(range(len(places)))[::-1])
        return tuple(places[p] for p in perm) if sorted(perm) == list(range(len(places))) else None
    if node.op_type == "Unsqueeze":
        added = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
        added = list(axes.get(node.input[1], ())) if added is None and len(node.input) > 1 else added
        moved = list(places)
        for axis in sorted(a % (len(places) + len(added or ())) for a in added or ()):
            moved.insert(axis, -1)
        return tuple(moved) if added else None
    return None


def _usual(value: onnx.ValueInfoProto) -> Roles:
    """The usual roles for the tensor's rank and type."""
    dims = value.type.tensor_type.shape.dim
    integer = value.type.tensor_type.elem_type in _INTEGERS
    if len(dims) == 4:
        last, second = dims[3].dim_value, dims[1].dim_value
        nhwc = last in (1, 3, 4) and second not in (1, 3, 4)
        return ("batch", "height", "width", "channels") if nhwc else _LAYOUTS[4]
    by_rank: dict[int, Roles] = {
        1: ("batch",), 2: ("batch", "sequence" if integer else "time"), 3: ("batch", "sequence", ""), 5: _LAYOUTS[5],
    }  # fmt: skip
    return by_rank.get(len(dims), ("batch", *[""] * (len(dims) - 1)) if dims else ())
