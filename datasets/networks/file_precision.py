"""The precision in which a network's file computes, by what stands in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from datasets.records import InputError

QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "QLinear", "ConvInteger", "MatMulInteger",
             "MatMulNBits", "QGemm", "QAttention")  # fmt: skip
"""Beginnings of names of ONNX operators that read or write integers which stand for real numbers."""


def file_precision(path: Path) -> str:
    """`int8` for quantised files, `fp16` or `bf16` if most numbers of the weights are, else `fp32`.

    A file that cannot be read is `fp32`: its reader says why.
    """
    find = {".onnx": _of_onnx, ".tflite": _of_tflite, ".pt2": _of_pt2}.get(path.suffix)
    try:
        return find(path) if find else "fp32"
    except InputError:
        return "fp32"


def _most(sizes: Iterable[tuple[str, int]]) -> str:
    """The precision of the type that most elements have, of pairs of a type and a number of elements."""
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
    counts = dict.fromkeys(names.values(), 0)
    for dtype, elements in sizes:
        if dtype in names:
            counts[names[dtype]] += elements
    return max(counts, key=lambda name: counts[name])


def _of_onnx(path: Path) -> str:
    import onnx
    from google.protobuf.message import DecodeError

    from datasets.networks.onnx_outline import outline

    try:
        graph = onnx.load_model_from_string(outline(path)).graph
    except DecodeError:
        return "fp32"
    if any(node.op_type.startswith(QUANTISED) for node in graph.node):
        return "int8"
    names = {1: "float32", 10: "float16", 16: "bfloat16"}
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    return _most((names.get(tensor.data_type, ""), math.prod(tensor.dims)) for tensor in tensors)


def _of_tflite(path: Path) -> str:
    from datasets.networks.tflite_schema import read_schema

    found = []
    for graph in read_schema(path).subgraphs:
        for operator in graph.operators:
            read = [graph.tensors[i] for i in operator.inputs if i >= 0]
            if operator.name in _PRODUCTS and len(read) > 1 and read[1].dtype in ("int8", "uint8", "int4"):
                return "int8"
        found += [(tensor.dtype, tensor.elements) for tensor in graph.tensors if tensor.stored]
    return _most(found)


_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D", "SVDF",
             "UNIDIRECTIONAL_SEQUENCE_LSTM")  # fmt: skip


def _of_pt2(path: Path) -> str:
    from datasets.files.zip_entry import UNREADABLE
    from datasets.networks.pt2_archive import DAMAGED, read_config

    names = {6: "float16", 7: "float32", 13: "bfloat16"}
    try:
        metas = [entry["tensor_meta"] for entry in read_config(path, "weights").values() if entry["tensor_meta"]]
        return _most((names.get(m["dtype"], ""), math.prod(size["as_int"] for size in m["sizes"])) for m in metas)
    except (*UNREADABLE, *DAMAGED):
        return "fp32"
