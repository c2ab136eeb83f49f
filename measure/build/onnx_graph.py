"""A shaped network as an ONNX model, written node by node (milliseconds, where exporters take seconds)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from datasets.records import Architecture
from measure.build.weights import BN_EPSILON, Weights

OPSET = 17
IR_VERSION = 9  # what opset 17 came with: older runtimes read it too
_POINTWISE = {"relu": "Relu", "hswish": "HardSwish", "add": "Add", "mul": "Mul"}


def build_onnx(network: Architecture, weights: Weights, batch: int = 1) -> onnx.ModelProto:
    """The model, fixed batch; ops that never reach the output are left out, as every exporter leaves them out."""
    inputs = network.inputs()
    needed = {len(network.ops) - 1}
    for node in reversed(range(len(network.ops))):
        if node in needed:
            needed.update(inputs[node])
    nodes, tensors = [], []

    def tensor(name: str, value: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(value, name))
        return name

    for i, op in enumerate(network.ops):
        if i not in needed or op.kind == "input":
            continue
        w = {key: tensor(f"{key}_{i}", value) for key, value in weights.get(i, {}).items()}
        a, x = op.attrs, [f"t{source}" for source in inputs[i]]
        out = [f"t{i}"]
        if op.kind == "zero":
            tensor(out[0], np.zeros((batch, *a["shape"]), np.float32))
        elif op.kind == "conv":
            operands = [*x, w["weight"], *([w["bias"]] if "bias" in w else [])]
            nodes.append(helper.make_node("Conv", operands, out, group=a["groups"], **_window(a)))
        elif op.kind == "avg_pool":
            nodes.append(helper.make_node("AveragePool", x, out, count_include_pad=0, **_window(a)))
        elif op.kind == "bn":
            operands = [*x, w["scale"], w["shift"], w["mean"], w["var"]]
            nodes.append(helper.make_node("BatchNormalization", operands, out, epsilon=BN_EPSILON))
        elif op.kind == "global_avg_pool":
            pooled = out if len(a["shape"]) == 3 else [f"p{i}"]
            nodes.append(helper.make_node("GlobalAveragePool", x, pooled))
            if pooled != out:
                nodes.append(helper.make_node("Flatten", pooled, out))
        elif op.kind == "dense":
            if len(network.ops[inputs[i][0]].attrs["shape"]) == 3:
                nodes.append(helper.make_node("Flatten", x, x := [f"f{i}"]))
            nodes.append(helper.make_node("Gemm", [*x, w["weight"], w["bias"]], out, transB=1))
        elif op.kind == "shuffle":
            channels, height, width = a["shape"]
            split = np.array([batch, a["groups"], channels // a["groups"], height, width])
            nodes.append(helper.make_node("Reshape", [*x, tensor(f"split_{i}", split)], [f"s{i}"]))
            nodes.append(helper.make_node("Transpose", [f"s{i}"], [f"p{i}"], perm=[0, 2, 1, 3, 4]))
            joined = tensor(f"joined_{i}", np.array([batch, *a["shape"]]))
            nodes.append(helper.make_node("Reshape", [f"p{i}", joined], out))
        elif op.kind == "hsigmoid":
            nodes.append(helper.make_node("HardSigmoid", x, out, alpha=1 / 6))
        else:
            nodes.append(helper.make_node(_POINTWISE[op.kind], x, out))

    def value_info(node: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(f"t{node}", TensorProto.FLOAT, [batch, *network.ops[node].attrs["shape"]])

    graph = helper.make_graph(nodes, "network", [value_info(0)], [value_info(len(network.ops) - 1)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _window(attrs: Mapping[str, Any]) -> dict[str, list[int]]:
    return {"kernel_shape": [attrs["kernel"]] * 2, "strides": [attrs["stride"]] * 2, "pads": [attrs["pad"]] * 4}
