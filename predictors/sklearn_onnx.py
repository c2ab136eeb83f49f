"""Conversion of fitted scikit-learn estimators to ONNX graphs of the ops that `onnx_check.py` accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.records import InputError
from predictors.export import IR_VERSION, OPSET, joined, session
from predictors.onnx_check import check_graph

TOLERANCE = 1e-3
"""Largest accepted difference between an estimator and its graph in single precision, in deviations of the labels."""


def converted(fitted: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Convert an estimator to an ONNX model from `x` [batch, features] to [batch, 1], and compare predictions.

    Args:
        fitted: the estimator.
        x: features that it was fitted to [A, features]; predictions are compared on them.
        y: labels that it was fitted to [A].

    Raises:
        InputError: skl2onnx cannot convert it, or converts it to unknown ops or to another function.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    name, features = type(fitted).__name__, x.shape[1]
    try:
        types = [("x", FloatTensorType([None, features]))]
        model = to_onnx(fitted, initial_types=types, target_opset={"": OPSET, "ai.onnx.ml": 3})
    except Exception as error:  # those of skl2onnx share no base but Exception
        raise _refusal(name, error) from error
    try:
        _without(model.graph, {"LinearRegressor": _line, "SVMRegressor": _support_vectors})
        graph = one_graph([model], np.zeros(features, np.float32), np.ones(features, np.float32))
        opened_graph = opened(graph, features, 1, len(x))
    except ValueError as error:
        raise _refusal(name, error) from error
    predicted = opened_graph.run(None, {"x": x.astype(np.float32)})[0][:, 0]
    difference = float(np.max(np.abs(predicted - np.ravel(fitted.predict(x)))) / (np.std(y) or 1))
    if not difference <= TOLERANCE:
        raise InputError(
            f"The ONNX form of {name} differs from it by {difference:.2g} deviations of the labels, more than "
            f"{TOLERANCE}: single precision does not suffice; choose other settings or another regressor."
        )
    return model


def _refusal(name: str, error: Exception) -> InputError:
    why = shortened(str(error).split("\n")[0], 150)
    return InputError(
        f"{name} with these settings has no ONNX form that Gnomon reads ({why}), so it could not be saved; choose "
        "another regressor, such as RandomForestRegressor, Ridge, SVR or MLPRegressor."
    )


def one_graph(models: Sequence[Any], mean: np.ndarray, std: np.ndarray) -> bytes:
    """Serialised graph from `x` [batch, features] to `z` [batch, D], one model per column on (x - mean) / std."""
    from onnx import TensorProto, helper, numpy_helper

    whole = joined(models, share_inputs=True)
    graph, outputs = whole.graph, [output.name for output in whole.graph.output]
    for node in graph.node:
        node.input[:] = ["features" if name == "x" else name for name in node.input]
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["features"]),
        *graph.node,
        helper.make_node("Concat", outputs, ["z"], axis=1),
    ]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", len(models)]))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    del graph.initializer[:], whole.opset_import[:]
    constants |= {"mean": mean, "std": std}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    whole.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)])
    whole.ir_version = IR_VERSION
    return whole.SerializeToString(deterministic=True)


def opened(graph: bytes, features: int, devices: int, batch: int) -> Any:
    """Check a serialised graph and open an onnxruntime session of it.

    Args:
        graph: from `one_graph`, or from a file.
        features: number of its inputs.
        devices: number of its output columns.
        batch: largest number of rows at once.

    Raises:
        ValueError: the graph is damaged, or no such graph.
    """
    import onnx

    try:
        example = np.broadcast_to(np.float32(0), (1, features))
        check_graph(onnx.load_model_from_string(graph), {"x": example}, "z", devices, batch)
        found = session(graph)
        found.run(None, {"x": np.zeros((2, features), np.float32)})
        return found
    except Exception as error:  # protobuf's, onnx's and onnxruntime's share no base but Exception
        raise ValueError(f"no graph of an estimator: {error}") from error


Nodes = tuple[list[Any], dict[str, np.ndarray]]
"""Nodes, and constants by name."""


def _without(graph: Any, written: dict[str, Callable[..., Nodes]]) -> None:
    """Replace some kinds of nodes by plain arithmetic, whose sizes can be checked."""
    from onnx import helper, numpy_helper

    nodes = []
    for number, node in enumerate(graph.node):
        if node.op_type not in written:
            nodes.append(node)
            continue
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        new, constants = written[node.op_type](values, node.input[0], node.output[0], f"n{number}_")
        nodes += new
        for name, value in constants.items():
            value = np.asarray(value)
            single = value.astype(np.float32) if value.dtype.kind == "f" else value
            graph.initializer.append(numpy_helper.from_array(single, name))
    del graph.node[:]
    graph.node.extend(nodes)


def _line(values: dict[str, Any], x: str, y: str, prefix: str) -> Nodes:
    from onnx import helper

    w, b = f"{prefix}w", f"{prefix}b"
    constants = {w: np.array(values["coefficients"])[:, None], b: np.array(values.get("intercepts", [0.0]), float)}
    return [helper.make_node("Gemm", [x, w, b], [y])], constants


def _support_vectors(values: dict[str, Any], x: str, y: str, prefix: str) -> Nodes:
    """Weighted kernels between x and the support vectors (scikit-learn's user guide, sections 1.4.6 and 1.4.7)."""
    from onnx.helper import make_node

    kernel, weights = values["kernel_type"], np.array(values["coefficients"])
    gamma, offset, degree = values["kernel_params"]
    vectors = np.array(values["support_vectors"]).reshape(len(weights), -1)
    if kernel == b"LINEAR":
        return _line({"coefficients": weights @ vectors, "intercepts": values["rho"]}, x, y, prefix)
    if kernel not in (b"RBF", b"POLY", b"SIGMOID") or not degree <= 32:
        raise ValueError(f"a kernel {kernel!r} of degree {degree}")
    v, shift, w, b, inner, kernels = (prefix + name for name in ("v", "shift", "w", "b", "inner", "kernels"))
    constants = {v: gamma * vectors.T, shift: np.full(len(weights), offset), w: weights[:, None], b: values["rho"]}
    nodes = [make_node("Gemm", [x, v, shift], [inner])]
    if kernel == b"RBF":  # -gamma |x - v|^2 = 2 gamma x v - gamma |v|^2 - gamma |x|^2
        axis, size, scaled, exponent, g = (prefix + name for name in ("axis", "size", "scaled", "exponent", "gamma"))
        constants |= {v: 2 * gamma * vectors.T, shift: -gamma * (vectors**2).sum(axis=1)}
        constants |= {axis: np.array([1]), g: np.array([gamma])}
        nodes += [make_node("ReduceSumSquare", [x, axis], [size]), make_node("Mul", [size, g], [scaled])]
        nodes += [make_node("Sub", [inner, scaled], [exponent]), make_node("Exp", [exponent], [kernels])]
    elif kernel == b"SIGMOID":
        nodes.append(make_node("Tanh", [inner], [kernels]))
    else:
        powers = [inner, *(f"{prefix}power{i}" for i in range(2, int(degree) + 1))]
        nodes += [make_node("Mul", [power, inner], [after]) for power, after in pairwise(powers)]
        kernels = powers[-1]
    return [*nodes, make_node("Gemm", [kernels, w, b], [y])], constants
