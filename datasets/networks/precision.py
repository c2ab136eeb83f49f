"""The precision that a network computes in (fp32, fp16, bf16, fp64 or int8): of each of its ops, and of its file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from datasets.networks.network import Network
from datasets.networks.ops import param_bytes, params
from datasets.records import InputError

_BY_TYPE = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64",
            **dict.fromkeys(("int8", "uint8", "int4", "uint4"), "int8")}  # fmt: skip
_QUANTISED = ("QLinear", "Integer", "uantize", "QGemm", "QAttention", "NBits")
"""Parts of the names of ops and ONNX operators whose inputs or outputs are quantised."""


def precisions(network: Network) -> list[str]:
    """The precision of each op: of the tensors that it reads and writes, or of its weights if these are narrower; ''
    for inputs and for ops on other whole numbers. What reads dequantised numbers is int8, since runtimes fuse the
    two; fp16 weights of ops on fp32 tensors are converted when they are loaded, and the ops compute in fp32."""
    found = []
    for op, sources in zip(network.ops, network.sources(), strict=True):
        before = [network.ops[source] for source in sources]
        types = {_BY_TYPE.get(each.attrs.get("dtype", "float32"), "") for each in (op, *before[:1])} - {""}
        held = params(op, network.shape(sources[0])) if before else 0
        bits = 8 * param_bytes(op, network.shape(sources[0])) / held if held else 32  # a bias may have 32
        quantised = any(part in op.kind for part in _QUANTISED) or bits < 12
        if not before:
            found.append("")
        elif quantised or any(each.kind == "DequantizeLinear" for each in before):
            found.append("int8")
        elif len(types) == 2 and "fp32" in types and op.kind != "Cast":
            found.append(min(types - {"fp32"}))
        else:
            found.append(_BY_TYPE.get(op.attrs.get("dtype", "float32"), ""))
    return found


def file_precision(path: Path) -> str:
    """`int8` for quantised files, `fp16` or `bf16` if most numbers of the weights are, else `fp32`.

    Weights that the file itself converts first (by Cast, DEQUANTIZE) do not count. A file that cannot be read is
    `fp32`: its reader says why.
    """
    find = {".onnx": _of_onnx, ".tflite": _of_tflite, ".pt2": _of_pt2, ".param": _of_ncnn}.get(path.suffix)
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
    if any(part in node.op_type for node in graph.node for part in _QUANTISED):
        return "int8"
    names = {1: "float32", 10: "float16", 16: "bfloat16"}
    cast = {name for node in graph.node if node.op_type == "Cast" for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name not in cast]
    tensors += [a.t for node in graph.node if not cast & {*node.output} for a in node.attribute if a.HasField("t")]
    return _most((names.get(tensor.data_type, ""), math.prod(tensor.dims)) for tensor in tensors)


def _of_tflite(path: Path) -> str:
    from datasets.networks.tflite_schema import read_schema

    found = []
    for graph in read_schema(path).subgraphs:
        for operator in graph.operators:
            read = [graph.tensors[i] for i in operator.inputs if i >= 0]
            found += [(tensor.dtype, tensor.elements) for tensor in read
                      if tensor.stored and operator.name != "DEQUANTIZE"]  # fmt: skip
            if operator.name in _PRODUCTS and len(read) > 1 and read[1].dtype in ("int8", "uint8", "int4"):
                return "int8"
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


def _of_ncnn(path: Path) -> str:
    from datasets.networks.ncnn_text import read_layers

    layers, _ = read_layers(path)
    return "int8" if any(layer.kind in _QUANTISED_LAYERS and layer.number(8) for layer in layers) else "fp32"


_QUANTISED_LAYERS = ("Convolution", "ConvolutionDepthWise", "InnerProduct")
"""ncnn's layers that compute in int8 if their parameter 8 is not 0."""
