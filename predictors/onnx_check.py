"""Checks of exported files before onnxruntime reads them: intact, of known ops, and bounded in size.

onnxruntime folds constants of any size when it opens a file, and trusts the nodes of trees. So ops, types and sizes are
checked first, with shapes inferred for a batch of known size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

OPS = frozenset(
    """Add Cast Clip Concat ConstantOfShape Div Equal Exp Expand Gather GatherND Gemm Greater Identity
    LayerNormalization LeakyRelu Log MatMul Max Min Mul Pad Pow ReduceL2 ReduceMax ReduceMean ReduceSum ReduceSumSquare
    Relu Reshape ScatterElements Shape Sigmoid Slice Softmax Split Squeeze Sub Sum Tanh Transpose TreeEnsembleRegressor
    Unsqueeze Where""".split()  # noqa: SIM905
)
"""Ops of exported predictors."""
MOST_NODES = 100_000
MOST_CONSTANT = 2**25
"""Largest total size of folded constants, in elements."""
MOST_NUMBERS = 2**27
"""Largest output of an op for one batch, in elements."""
MOST_PROPAGATED = 1_000_000
"""Longest list of integers that onnx propagates when it infers shapes."""
MOST_LEVELS = 500
"""Largest depth of a tree."""

_NOT_PROPAGATED = frozenset(
    """Exp Gemm LayerNormalization LeakyRelu Log MatMul ReduceSum ReduceSumSquare Relu Sigmoid Softmax
    TreeEnsembleRegressor""".split()  # noqa: SIM905
)
"""Ops whose values onnx does not propagate when it infers shapes."""
_NUMPY_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""By the numbers of ONNX's data types."""
_PLAIN = (1, 2, 3, 6, 7, 8)
"""Types of attributes that are numbers or texts, or lists of them: no tensors and no graphs."""
_DIGEST_ENTRY = b"\x72\x51\x0a\x0dgnomon_digest\x12\x40"
"""Protobuf encoding of an entry of `metadata_props`, up to the 64 letters of its value."""


def with_digest(content: bytes) -> bytes:
    """Append an entry of metadata to a serialised model: `gnomon_digest`, the SHA-256 of all bytes before it."""
    return content + _DIGEST_ENTRY + hashlib.sha256(content).hexdigest().encode()


def digest_matches(content: bytes) -> bool | None:
    """Whether the digest at the end of a serialised model matches; None where there is none."""
    size = len(_DIGEST_ENTRY) + 64
    if content[-size:-64] != _DIGEST_ENTRY:
        return None
    return with_digest(content[:-size]) == content


def check_graph(model: Any, inputs: Mapping[str, np.ndarray], output: str, devices: int, batch: int) -> None:
    """Raise ValueError, or an error of onnx, unless a model is one that `export` could have written.

    Args:
        model: an onnx.ModelProto.
        inputs: example inputs by name; a model may use a subset.
        output: name of the only output.
        devices: number of columns of the output.
        batch: largest number of architectures at once.
    """
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer or len(graph.node) > MOST_NODES:
        raise ValueError("functions, training or too many nodes")
    constants = {tensor.name: _checked(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in OPS or node.domain not in ("", "ai.onnx.ml"):
            raise ValueError(f"{node.op_type} is no op that is exported")
        if any(attribute.ref_attr_name or not _plain(attribute, node.op_type) for attribute in node.attribute):
            raise ValueError(f"{node.op_type} has a tensor or a graph as an attribute")
    free = {value.name for value in graph.input}
    if len(free) < len(graph.input) or not free or free - set(inputs) or free & set(constants):
        raise ValueError(f"it takes {sorted(free)}")
    _check_order(graph, constants, free)
    shapes = _shapes(model, {name: (batch, *inputs[name].shape[1:]) for name in free}) | constants
    if [value.name for value in graph.output] != [output] or shapes[output] != (batch, devices):
        raise ValueError(f"it gives {[(value.name, shapes[value.name]) for value in graph.output]}")
    for value in graph.value_info:
        dims = value.type.tensor_type.shape.dim
        pairs = zip(dims, shapes.get(value.name, [0] * len(dims)), strict=True)
        if value.name in shapes and any(d.HasField("dim_value") and d.dim_value != n for d, n in pairs):
            raise ValueError(f"{value.name} has another shape than stated")
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


def _plain(attribute: Any, kind: str) -> bool:
    """Whether an attribute of an op is numbers or texts; the number that ConstantOfShape repeats may be a tensor."""
    if kind == "ConstantOfShape" and attribute.name == "value":
        return _checked(attribute.t) in ((), (1,))
    return attribute.type in _PLAIN


def _checked(tensor: Any) -> tuple[int, ...]:
    """Shape of a constant; raises ValueError unless it is inside of the file, complete and without NaN."""
    kind, shape = _NUMPY_TYPES.get(tensor.data_type), tuple(tensor.dims)
    if kind is None or tensor.data_location or tensor.external_data or min(shape, default=0) < 0:
        raise ValueError(f"constant {tensor.name} is of another type, or not in the file")
    if len(tensor.raw_data) != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"constant {tensor.name} has another size than its shape {shape}")
    if np.issubdtype(kind, np.floating) and np.isnan(np.frombuffer(tensor.raw_data, kind)).any():
        raise ValueError(f"constant {tensor.name} contains NaN")
    return shape


def _check_order(graph: Any, constants: Mapping[str, tuple[int, ...]], free: set[str]) -> None:
    """Check that nodes follow their inputs, and that no list of integers, which onnx propagates to infer shapes, grows
    by repeated concatenation."""
    lengths = dict.fromkeys(free, 0) | {name: math.prod(shape) for name, shape in constants.items() if len(shape) < 2}
    known = free | set(constants) | {""}
    for node in graph.node:
        if not known.issuperset(node.input) or not known.isdisjoint(node.output):
            raise ValueError(f"{node.op_type} reads an unknown value, or writes a known one")
        known.update(node.output)
        parts = [lengths.get(name, 0) for name in node.input]
        length = sum(parts) if node.op_type == "Concat" else max([*parts, 0])
        length = {"Shape": 8, **dict.fromkeys(_NOT_PROPAGATED, 0)}.get(node.op_type, length)
        if length > MOST_PROPAGATED:
            raise ValueError("a list of integers is concatenated again and again")
        lengths.update(dict.fromkeys(node.output, length))


def _shapes(model: Any, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Infer the shapes of all values from those of the inputs, which must be in single precision."""
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
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found


def _check_trees(attributes: Mapping[str, Any], features: int) -> None:
    """Check that nodes of each tree are numbered from 0, with one parent each and at most `MOST_LEVELS` deep."""
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
        raise ValueError("a node has an unknown child or feature")
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
