"""A shaped network as an ONNX model, written node by node (milliseconds, where exporters take seconds)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from datasets.networks.model import Weights
from datasets.networks.network import Network
from datasets.networks.ops import pads, pair
from datasets.records import InputError
from measure.builders.weights import BN_EPSILON

OPSET = 17
IR_VERSION = 9  # the one of opset 17, which older runtimes read too
_POINTWISE = {
    "relu": "Relu",
    "hswish": "HardSwish",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "add": "Add",
    "mul": "Mul",
}


def build_onnx(network: Network, weights: Weights, batch: int = 1) -> onnx.ModelProto:
    """The model with a fixed batch; ops that never reach the output are left out, as by every exporter."""
    inputs = network.sources()
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
            nodes.append(helper.make_node("Conv", operands, out, group=a.get("groups", 1), **_window(a)))
        elif op.kind == "max_pool":
            nodes.append(helper.make_node("MaxPool", x, out, **_window(a)))
        elif op.kind == "avg_pool":
            nodes.append(
                helper.make_node("AveragePool", x, out, count_include_pad=int(a.get("include_pad", 0)), **_window(a))
            )
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
            operands = [*x, w["weight"], *([w["bias"]] if "bias" in w else [])]
            nodes.append(helper.make_node("Gemm", operands, out, transB=1))
        elif op.kind == "shuffle":
            channels, height, width = a["shape"]
            split = np.array([batch, a["groups"], channels // a["groups"], height, width])
            nodes.append(helper.make_node("Reshape", [*x, tensor(f"split_{i}", split)], [f"s{i}"]))
            nodes.append(helper.make_node("Transpose", [f"s{i}"], [f"p{i}"], perm=[0, 2, 1, 3, 4]))
            joined = tensor(f"joined_{i}", np.array([batch, *a["shape"]]))
            nodes.append(helper.make_node("Reshape", [f"p{i}", joined], out))
        elif op.kind == "relu6":
            low, high = tensor(f"low_{i}", np.array(0, np.float32)), tensor(f"high_{i}", np.array(6, np.float32))
            nodes.append(helper.make_node("Clip", [*x, low, high], out))
        elif op.kind == "silu":
            nodes += [helper.make_node("Sigmoid", x, [f"g{i}"]), helper.make_node("Mul", [*x, f"g{i}"], out)]
        elif op.kind == "softmax":
            nodes.append(helper.make_node("Softmax", x, out, axis=1))
        elif op.kind == "concat":
            nodes.append(helper.make_node("Concat", x, out, axis=1))
        elif op.kind == "pad":
            top, left, bottom, right = pads(a["pad"])
            sides = tensor(f"pad_{i}", np.array([0, 0, top, left, 0, 0, bottom, right]))
            nodes.append(helper.make_node("Pad", [*x, sides], out))
        elif op.kind == "truncate":
            bounds = [
                tensor(f"{name}_{i}", np.array([at]))
                for name, at in (("start", 0), ("end", a["shape"][0]), ("axis", 1))
            ]
            nodes.append(helper.make_node("Slice", [*x, *bounds], out))
        elif op.kind not in (*_POINTWISE, "hsigmoid"):
            raise InputError(f"ONNX files are not written for the op '{op.kind}'; give the file itself to a backend.")
        elif op.kind == "hsigmoid":
            nodes.append(helper.make_node("HardSigmoid", x, out, alpha=1 / 6))
        else:
            nodes.append(helper.make_node(_POINTWISE[op.kind], x, out))

    def value_info(node: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(f"t{node}", TensorProto.FLOAT, [batch, *network.ops[node].attrs["shape"]])

    graph = helper.make_graph(nodes, "network", [value_info(0)], [value_info(len(network.ops) - 1)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _window(attrs: Mapping[str, Any]) -> dict[str, list[int]]:
    stride, dilation = pair(attrs.get("stride", 1)), pair(attrs.get("dilation", 1))
    window = {"kernel_shape": pair(attrs["kernel"]), "strides": stride, "pads": pads(attrs.get("pad", 0))}
    return {name: list(value) for name, value in window.items()} | (
        {"dilations": list(dilation)} if dilation != (1, 1) else {}
    )
