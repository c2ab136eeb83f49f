"""Edits of ONNX graphs: nodes, attributes, tensors, shapes, names, functions."""

from random import Random
from typing import Any

from tests.fuzz.mutations import NUMBERS, WORDS, change_bytes

OPS = (
    "Relu", "Add", "Mul", "Range", "Pow", "Tile", "Cos", "Expand", "Shape", "Gather", "Concat", "Reshape", "Slice",
    "Squeeze",
    "Unsqueeze", "Transpose", "Pad", "Resize", "ConstantOfShape", "If", "Loop", "Scan", "Split", "TopK", "NonZero",
    "OneHot",
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Gemm", "MatMul", "Einsum", "Softmax",
    "Clip",
    "BatchNormalization", "LayerNormalization", "QuantizeLinear", "DequantizeLinear", "QLinearConv", "Cast",
    "Identity", "LSTM",
    "Constant", "Flatten", "Where", "Equal", "ReduceMean", "Nothing", "", "DepthToSpace", "Dropout", "Div", "EyeLike",
)  # fmt: skip
HUGE = (0, -1, 1, 2, 3, 1000, 10**6, 2**31, 2**40, 2**62, -(2**63), 2**63 - 1)


def change_graph(content: bytes, rng: Random) -> bytes:
    """A network file with an edited graph; where it cannot be read or written, damaged bytes."""
    import onnx

    model = onnx.load_from_string(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            rng.choice(_EDITS)(model, rng)
        except (
            IndexError,
            ValueError,
            TypeError,
            OverflowError,
        ):  # nothing of the kind is left, or protobuf refuses the value
            continue
    return model.SerializeToString()


def change_network(content: bytes, rng: Random) -> bytes:
    return change_bytes(content, rng) if rng.random() < 0.3 else change_graph(content, rng)


def _name(model: Any, rng: Random) -> str:
    graph = model.graph
    named = [n for node in graph.node for n in (*node.input, *node.output)] + [t.name for t in graph.initializer]
    return rng.choice((*named, "", "x", "none"))


def _drop(model: Any, rng: Random) -> None:
    parts = (model.graph.node, model.graph.initializer, model.graph.input, model.graph.output, model.opset_import)
    part = rng.choice(parts)
    if len(part):
        del part[rng.randrange(len(part))]


def _repeat(model: Any, rng: Random) -> None:
    part = rng.choice((model.graph.node, model.graph.initializer, model.graph.input, model.graph.output))
    part.append(part[rng.randrange(len(part))])


def _operator(model: Any, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(OPS)
    if rng.random() < 0.1:
        node.domain = rng.choice(("ai.onnx.ml", "com.microsoft", "x", "local"))


def _wire(model: Any, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    ends = rng.choice((node.input, node.output))
    kind = rng.randrange(4)
    if kind == 0 and len(ends):
        del ends[rng.randrange(len(ends))]
    elif kind == 1:
        ends.append(_name(model, rng))
    elif len(ends):
        ends[rng.randrange(len(ends))] = _name(model, rng)


def _insert(model: Any, rng: Random) -> None:
    """A node before another one, which reads it; often of constants, so that somebody may fold it."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph, at = model.graph, rng.randrange(len(model.graph.node))
    target = graph.node[at]
    constant = f"k{rng.randrange(10**6)}"
    value = rng.choice((np.array(rng.choice(HUGE)), np.array([rng.choice(HUGE)] * 2), np.ones((1, 4), np.float32)))
    graph.initializer.append(numpy_helper.from_array(value, constant))
    sources = [rng.choice((constant, constant, _name(model, rng))) for _ in range(rng.choice((1, 2, 3)))]
    node = helper.make_node(rng.choice(OPS[:-1]), sources, [f"o{constant}"])
    graph.node.insert(at, node)
    if len(target.input) and rng.random() < 0.7:
        graph.node[at + 1].input[rng.randrange(len(target.input))] = f"o{constant}"


def _attribute(model: Any, rng: Random) -> None:
    from onnx import helper

    nodes = [node for node in model.graph.node if len(node.attribute)]
    node = rng.choice(nodes or model.graph.node)
    kind = rng.randrange(4)
    if kind == 0 and len(node.attribute):
        del node.attribute[rng.randrange(len(node.attribute))]
        return
    names = [a.name for a in node.attribute] + [
        "axis",
        "pads",
        "strides",
        "kernel_shape",
        "group",
        "to",
        "perm",
        "value",
    ]
    name = rng.choice(names)
    for i in reversed(range(len(node.attribute))):
        if node.attribute[i].name == name and rng.random() < 0.9:
            del node.attribute[i]
    value = rng.choice(
        (rng.choice(HUGE), [rng.choice(HUGE) for _ in range(rng.choice((1, 2, 4)))], 1.5, "x", [0.5], ["a"])
    )
    node.attribute.append(helper.make_attribute(name, value))


def _tensor(model: Any, rng: Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(7)
    if kind == 0:
        tensor.dims[:] = [rng.choice(HUGE) for _ in range(rng.randrange(5))]
    elif kind == 1:
        tensor.data_type = rng.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 22, 99))
    elif kind == 2:
        tensor.raw_data = change_bytes(tensor.raw_data, rng)
    elif kind == 3:
        tensor.raw_data = rng.choice((b"", b"\xff" * len(tensor.raw_data), b"\0" * len(tensor.raw_data)))
    elif kind == 4:
        tensor.name = rng.choice(("", "x", _name(model, rng)))
    elif kind == 5:
        tensor.dims[:] = tensor.dims[::-1]
    else:
        entry = tensor.external_data.add()
        entry.key, entry.value = (
            "location",
            rng.choice(("/etc/passwd", "../p.onnx", "none.bin", "", "/dev/zero", "a" * 5000)),
        )
        tensor.data_location = 1


def _shape(model: Any, rng: Random) -> None:
    info = rng.choice((*model.graph.input, *model.graph.output))
    kind = rng.randrange(5)
    dims = info.type.tensor_type.shape.dim
    if kind == 0:
        info.type.tensor_type.elem_type = rng.choice((0, 1, 7, 8, 9, 10, 11, 16, 99))
    elif kind == 1 and len(dims):
        del dims[rng.randrange(len(dims))]
    elif kind == 2:
        info.ClearField("type")
    elif kind == 3 and len(dims):
        dims[rng.randrange(len(dims))].dim_param = rng.choice(("", "n", "x" * 5000))
    elif len(dims):
        dims[rng.randrange(len(dims))].dim_value = rng.choice(HUGE)


def _words(model: Any, rng: Random) -> None:
    word = rng.choice(WORDS).replace("\ud83d", "")
    node = rng.choice(model.graph.node)
    kind = rng.randrange(5)
    if kind == 0:
        node.name = word
    elif kind == 1:
        model.graph.name = word
    elif kind == 2 and len(node.output):
        node.output[0] = word
    elif kind == 3:
        model.graph.input[0].name = word
    else:
        model.ir_version = int(rng.choice([n for n in NUMBERS if isinstance(n, int) and abs(n) < 2**63]))


def _version(model: Any, rng: Random) -> None:
    entry = model.opset_import.add()
    entry.domain, entry.version = rng.choice(("", "x", "ai.onnx.ml")), rng.choice(HUGE)


def _function(model: Any, rng: Random) -> None:
    """A function of the model's own, perhaps one that calls itself."""
    from onnx import helper

    inside = helper.make_node(rng.choice(("F", "G", "Relu")), ["a"], ["b"], domain=rng.choice(("local", "")))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model.functions.append(helper.make_function("local", rng.choice(("F", "G")), ["a"], ["b"], [inside], opsets))
    node = rng.choice(model.graph.node)
    node.domain, node.op_type = "local", "F"
    model.opset_import.append(opsets[1])


_EDITS = (_drop, _repeat, _operator, _wire, _wire, _insert, _insert, _insert, _attribute, _attribute, _tensor, _tensor,
_shape,
          _words, _version, _function)  # fmt: skip
