"""What an exported file must be before onnxruntime reads it: whole, made of what we write, small in all it computes.

onnxruntime works out what depends on no input as it opens a file, whatever size that has, and believes the nodes of
trees. So ops, types and sizes are checked first, with shapes worked out for a batch of known size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

OPS = frozenset(
    """Add Cast Concat Div Equal Exp Expand Gather Gemm Greater Identity LayerNormalization LeakyRelu Log MatMul Max Min
    Mul Pad ReduceMax ReduceMean ReduceSum ReduceSumSquare Relu Reshape Shape Sigmoid Slice Softmax Split Squeeze Sub
    Sum Tanh Transpose TreeEnsembleRegressor Unsqueeze Where""".split()  # noqa: SIM905
)
"""All that exports of ours are made of."""
MOST_NODES = 100_000
MOST_CONSTANT = 2**25
"""Most numbers that depend on no input, all together."""
MOST_NUMBERS = 2**27
"""Most numbers that any op may give for one batch."""
MOST_FOLLOWED = 1_000_000
"""Most numbers of a list that onnx follows."""
MOST_LEVELS = 500
"""Deepest tree."""

_NOT_FOLLOWED = frozenset(
    """Exp Gemm LayerNormalization LeakyRelu Log MatMul ReduceSum ReduceSumSquare Relu Sigmoid Softmax
    TreeEnsembleRegressor""".split()  # noqa: SIM905
)
_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
_PLAIN = (1, 2, 3, 6, 7, 8)
"""Attributes that are numbers or texts, one or several: no tensors and no graphs."""
_START = b"\x72\x51\x0a\x0dgnomon_digest\x12\x40"
"""An entry of a model's `metadata_props` in protobuf, up to the 64 letters of its value."""


def with_digest(content: bytes) -> bytes:
    """A serialised model with one more entry of metadata at its end, `gnomon_digest`: SHA-256 of all before it."""
    return content + _START + hashlib.sha256(content).hexdigest().encode()


def digest_of(content: bytes) -> bool | None:
    """Whether the digest at the end of a serialised model is right; None where there is none."""
    size = len(_START) + 64
    if content[-size:-64] != _START:
        return None
    return with_digest(content[:-size]) == content


def check_graph(model: Any, inputs: Mapping[str, np.ndarray], output: str, devices: int, batch: int) -> None:
    """Raise ValueError where a parsed model is not what `export` writes; onnx's own errors come from its shapes.

    Args:
        model: an onnx.ModelProto.
        inputs: examples of all that it may take, by their names.
        output: the name of the only thing it gives.
        devices: columns of that.
        batch: most architectures at once.
    """
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer or len(graph.node) > MOST_NODES:
        raise ValueError("functions, training or too many nodes")
    constants = {tensor.name: _checked(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in OPS or node.domain not in ("", "ai.onnx.ml"):
            raise ValueError(f"{node.op_type} is no op that is exported")
        if any(attribute.type not in _PLAIN or attribute.ref_attr_name for attribute in node.attribute):
            raise ValueError(f"{node.op_type} has a tensor or a graph as an attribute")
    free = {value.name for value in graph.input}
    if len(free) < len(graph.input) or not free or free - set(inputs) or free & set(constants):
        raise ValueError(f"it takes {sorted(free)}")
    _check_order(graph, constants, free)
    shapes = _shapes(model, {name: (batch, *inputs[name].shape[1:]) for name in free}) | constants
    if [value.name for value in graph.output] != [output] or shapes[output] != (batch, devices):
        raise ValueError(f"it gives {[(value.name, shapes[value.name]) for value in graph.output]}")
    for value in graph.value_info:
        of = value.type.tensor_type.shape.dim
        right = zip(of, shapes.get(value.name, [0] * len(of)), strict=True)
        if value.name in shapes and any(d.HasField("dim_value") and d.dim_value != n for d, n in right):
            raise ValueError(f"{value.name} has another shape than is said of it")
    fixed = 0
    for node in graph.node:
        sizes = [math.prod(shapes[name]) for name in node.output if name]
        if free.isdisjoint(node.input):
            fixed += sum(sizes)
        free.update(() if free.isdisjoint(node.input) else node.output)
        if fixed > MOST_CONSTANT or max(sizes) > MOST_NUMBERS:
            raise ValueError(f"{node.op_type} gives {max(sizes):,} numbers")
        if node.op_type == "TreeEnsembleRegressor":
            _check_trees({attribute.name: attribute for attribute in node.attribute}, shapes[node.input[0]][-1])


def _checked(tensor: Any) -> tuple[int, ...]:
    """The shape of a constant that stands in the file, whole and without NaN."""
    kind, shape = _TYPES.get(tensor.data_type), tuple(tensor.dims)
    if kind is None or tensor.data_location or tensor.external_data or min(shape, default=0) < 0:
        raise ValueError(f"constant {tensor.name} is of another type, or not in the file")
    if len(tensor.raw_data) != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"constant {tensor.name} has another size than its shape {shape}")
    if np.issubdtype(kind, np.floating) and np.isnan(np.frombuffer(tensor.raw_data, kind)).any():
        raise ValueError(f"constant {tensor.name} has numbers that are none")
    return shape


def _check_order(graph: Any, constants: Mapping[str, tuple[int, ...]], free: set[str]) -> None:
    """Nodes come after what they read; no list of numbers, which onnx follows to learn shapes, becomes long as it is
    joined to itself."""
    lengths = dict.fromkeys(free, 0) | {name: math.prod(shape) for name, shape in constants.items() if len(shape) < 2}
    known = free | set(constants) | {""}
    for node in graph.node:
        if not known.issuperset(node.input) or not known.isdisjoint(node.output):
            raise ValueError(f"{node.op_type} reads what is not there, or writes what is")
        known.update(node.output)
        parts = [lengths.get(name, 0) for name in node.input]
        length = sum(parts) if node.op_type == "Concat" else max([*parts, 0])
        length = {"Shape": 8, **dict.fromkeys(_NOT_FOLLOWED, 0)}.get(node.op_type, length)
        if length > MOST_FOLLOWED:
            raise ValueError("a list of numbers is joined to itself again and again")
        lengths.update(dict.fromkeys(node.output, length))


def _shapes(model: Any, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Of all that is computed, worked out from those of the inputs alone, which must be numbers in single precision."""
    from onnx import ModelProto, helper, shape_inference

    copied = ModelProto()
    copied.CopyFrom(model)
    graph, single = copied.graph, 1
    if any(value.type.tensor_type.elem_type != single for value in (*graph.input, *graph.output)):
        raise ValueError("inputs and output are single-precision numbers")
    del graph.value_info[:], graph.input[:], copied.metadata_props[:]
    graph.input.extend(helper.make_tensor_value_info(name, single, shape) for name, shape in inputs.items())
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(copied, check_type=True, strict_mode=True, data_prop=True).graph
    found = dict(inputs)
    for value in (*inferred.value_info, *inferred.output):
        of = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in of):
            found[value.name] = tuple(d.dim_value for d in of)
    return found


def _check_trees(attributes: Mapping[str, Any], features: int) -> None:
    """Nodes of each tree are numbered from 0, reached from there at most once and within `MOST_LEVELS` steps."""
    ints = {name: np.array(attributes[f"nodes_{name}"].ints, np.int64) for name in
            ("treeids", "nodeids", "truenodeids", "falsenodeids", "featureids")}  # fmt: skip
    values, modes = attributes["nodes_values"].floats, np.array(attributes["nodes_modes"].strings)
    targets = [np.array(attributes[f"target_{name}"].ints, np.int64) for name in ("treeids", "nodeids", "ids")]
    size, trees = len(modes), ints["treeids"]
    if not size or any(len(part) != size for part in (*ints.values(), values)) or attributes["n_targets"].i != 1:
        raise ValueError("trees have parts of different sizes, or several outputs")
    starts = np.flatnonzero(np.diff(trees, prepend=-1))
    sizes = np.diff(np.append(starts, size))
    first = np.repeat(starts, sizes)
    inner = modes != b"LEAF"
    if not np.array_equal(ints["nodeids"], np.arange(size) - first) or not np.array_equal(
        trees[starts], np.arange(len(starts))
    ):
        raise ValueError("trees or their nodes are not numbered in their order")
    children = np.stack([ints["truenodeids"], ints["falsenodeids"]])
    good = (children > 0) & (children < np.repeat(sizes, sizes))
    if not good[:, inner].all() or not ((ints["featureids"] >= 0) & (ints["featureids"] < features)).all():
        raise ValueError("a node has a child or a feature that there is not")
    if len({len(part) for part in (*targets, attributes["target_weights"].floats)}) > 1 or targets[2].any():
        raise ValueError("leaves have parts of different sizes")
    at = targets[0].clip(0, len(starts) - 1)
    if not (targets[0] == at).all() or not ((targets[1] >= 0) & (targets[1] < sizes[at])).all():
        raise ValueError("a leaf belongs to no tree")
    reached, visits = starts, np.bincount((children + first)[:, inner].ravel(), minlength=size)
    for _ in range(MOST_LEVELS):
        reached = reached[inner[reached]]
        if not len(reached):
            break
        reached = (children + first)[:, reached].ravel()
    if len(reached) or visits.max() > 1:
        raise ValueError("trees are too deep, or not trees")
