"""Small files of networks of every format, with several inputs and outputs, as people export them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS = 50
"""Rows of the table that `ids` are indices of."""


def onnx_file(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[Any, Sequence[Any]]],
    outputs: dict[str, tuple[Any, Sequence[Any]]],
    **constants: np.ndarray,
) -> Path:
    """Write an ONNX file; inputs and outputs are pairs of an element type and a shape."""
    ends = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "network", *ends, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def texts(path: Path) -> Path:
    """An ONNX file of ids and their mask, with open batch and sequence, and two outputs: numbers, and a class."""
    rng = np.random.default_rng(0)
    sides = ["batch", "sequence"]
    nodes = [
        helper.make_node("Unsqueeze", ["ids", "last"], ["column"]),
        helper.make_node("Squeeze", ["column", "last"], ["flat"]),
        helper.make_node("Gather", ["table", "flat"], ["embedded"]),
        helper.make_node("Cast", ["mask"], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weight", "last"], ["weights"]),
        helper.make_node("Mul", ["embedded", "weights"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["numbers"]),
        helper.make_node("ArgMax", ["numbers"], ["class"], axis=1, keepdims=0),
    ]
    return onnx_file(
        path,
        nodes,
        {"ids": (TensorProto.INT64, sides), "mask": (TensorProto.INT64, sides)},
        {"numbers": (TensorProto.FLOAT, ["batch", 4]), "class": (TensorProto.INT64, ["batch"])},
        table=rng.standard_normal((ROWS, 8), np.float32),
        matrix=rng.standard_normal((8, 4), np.float32),
        last=np.array([-1]),
    )


def tflite(path: Path) -> Path:
    """A .tflite file of two inputs, indices and numbers, and two outputs."""
    from tests.doubles.tflite import TFLiteMaker

    rng, made = np.random.default_rng(0), TFLiteMaker()
    ids, x = made.tensor((1, 6), "INT32", "ids"), made.tensor((1, 6, 8), name="x")
    table = made.stored(rng.standard_normal((ROWS, 8), np.float32))
    embedded = made.op("GATHER", [table, ids], made.tensor((1, 6, 8)), kind="Gather")
    total = made.op("ADD", [embedded, x], made.tensor((1, 6, 8)), kind="Add")
    matrix = made.stored(rng.standard_normal((4, 8), np.float32))
    y = made.op("FULLY_CONNECTED", [total, matrix], made.tensor((1, 6, 4)), kind="FullyConnected", keepNumDims=True)
    made.end([ids, x], [y, made.op("TANH", [total], made.tensor((1, 6, 8)))])
    path.write_bytes(made.bytes())
    return path


def keras(path: Path) -> Path:
    """A .keras file of an image and numbers, with two outputs."""
    from measure.builders.keras_model import tensorflow

    tensorflow()
    from keras import Input, Model, layers

    image, numbers = Input((8, 8, 3), name="image"), Input((5,), name="numbers")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    joined = layers.Concatenate()([pooled, numbers])
    Model([image, numbers], [layers.Dense(3)(joined), layers.Softmax()(joined)]).save(path)
    return path


def pt2(path: Path) -> Path:
    """A .pt2 file of ids and a mask of booleans, with two outputs, a buffer and a constant."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.dense = torch.nn.Embedding(ROWS, 8), torch.nn.Linear(8, 4)
            self.register_buffer("scale", torch.tensor([2.0, 0.5, 1.0, 3.0]))

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.table(ids) * mask.unsqueeze(-1)
            first, second = x.split(4, dim=-1)
            return self.dense(x).softmax(-1) * self.scale, first.sum(1) + torch.tensor([1.0]) * second.mean(1)

    torch.manual_seed(0)
    example = torch.zeros(1, 6, dtype=torch.long), torch.ones(1, 6, dtype=torch.bool)
    torch.export.save(torch.export.export(Network().eval(), example), path)
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {".onnx": texts, ".tflite": tflite, ".keras": keras, ".pt2": pt2}
"""A file of every format, written to a path."""
