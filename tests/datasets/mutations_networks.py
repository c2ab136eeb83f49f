"""Damaged network files for property tests: seeded changes of the bytes or of the graph of an ONNX or Keras file."""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

INTEGERS = (0, 1, -1, 2, 3, 5, 7, 64, -64, 2**20, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
NAMES = ("", "x", "y", "nothing", "../../etc/passwd", "/dev/zero", "a" * 300)
_KINDS = """
Relu Conv Gemm MatMul Add Mul Concat Reshape Transpose Shape Range Pow Tile ConstantOfShape Pad Slice Split Gather
GatherND LayerNormalization LSTM Einsum NonZero Resize ReduceMean Softmax Clip Cast Identity Loop OneHot Expand
AveragePool MaxPool Sum BatchNormalization Flatten Sigmoid HardSigmoid Cos Constant ConvTranspose Dropout"""
KINDS = _KINDS.split()
VALUES: tuple[Any, ...] = (None, True, 0, -1, 2**31, 2**70, 1.5, float("nan"), "", "relu", "conv2d", [], [1, 2], [[1]],
                           {}, {"class_name": "Lambda"}, {"module": "os", "class_name": "system"})  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """An ONNX file with one or two changes, of its bytes or of its graph."""
    if rng.random() < 0.15:
        return mutate_bytes(content, rng)
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 2))):
        try:
            rng.choice((_insert, _insert, _insert, _nodes, _ends, _attribute, _tensor, _shape, _kind, _header))(
                model, rng
            )
        except (ValueError, IndexError, TypeError, DecodeError):  # nothing of the kind is left to change
            continue
    return model.SerializeToString()


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """A file with bytes changed, cut out, repeated or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 100))
        what = rng.choice((0, 0, 0, 0, 0, 1, 2, 3))
        if what == 0 and at < len(data):
            data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = rng.randbytes(length)
    return bytes(data)


def mutate_keras(content: bytes, rng: random.Random) -> bytes:
    """A `.keras` file with changed bytes, a changed configuration or changed bytes of its weights, in a sound zip."""
    if rng.random() < 0.1:
        return mutate_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if rng.random() < 0.15:
        name = rng.choice(sorted(files))
        files[name] = mutate_bytes(files[name], rng)
    else:
        config = json.loads(files["config.json"])
        for _ in range(rng.choice((1, 1, 2))):
            _change(config, rng)
        files["config.json"] = json.dumps(config).encode()
    if rng.random() < 0.02:
        del files[rng.choice(sorted(files))]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def _change(tree: Any, rng: random.Random) -> None:
    """One place of a tree of lists and dictionaries, found from the top by chance."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(tree[key], dict | list) and rng.random() < 0.85:
            tree = tree[key]
            continue
        what = rng.randrange(4)
        if what == 0:
            del tree[key]
        elif what == 1 and isinstance(tree, list):
            tree.append(tree[key])
        elif what == 2 and isinstance(tree[key], int):
            tree[key] = rng.choice(INTEGERS)
        else:
            tree[key] = rng.choice(VALUES)
        return


def change_anywhere(tree: Any, rng: random.Random) -> None:
    """One place of a tree, all as likely as each other."""
    places: list[tuple[Any, Any]] = []

    def collect(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                collect(part[key])

    collect(tree)
    part, key = rng.choice(places)
    if rng.random() < 0.3:
        del part[key]
    else:
        part[key] = rng.choice(INTEGERS if isinstance(part[key], int) else VALUES)


def _insert(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node of any kind, whose output one node behind it reads."""
    graph = model.graph
    at = rng.randrange(len(graph.node))
    known = [graph.input[0].name, *(t.name for t in graph.initializer), *(o for n in graph.node[:at] for o in n.output)]
    kind, opset = rng.choice(KINDS), model.opset_import[0].version
    if not onnx.defs.has(kind, opset, ""):
        return
    schema = onnx.defs.get_schema(kind, opset)
    many = max(schema.min_input, min(schema.max_input, rng.choice((1, 2, 3))))
    inputs = [rng.choice(known[-3:] if i == 0 else known) for i in range(many)]
    if rng.random() < 0.3:
        values = [rng.choice(INTEGERS[:8] if rng.random() < 0.7 else INTEGERS) for _ in range(rng.choice((0, 1, 2, 4)))]
        graph.initializer.append(
            helper.make_tensor(f"c{len(graph.initializer)}", TensorProto.INT64, [len(values)], values)
        )
        inputs[-1] = graph.initializer[-1].name
    new = helper.make_node(schema.name, inputs, [f"new{len(graph.node)}"])
    for name, attribute in schema.attributes.items():
        if attribute.required or rng.random() < 0.3:
            value = _value(attribute.type, rng)
            if value is not None:
                new.attribute.append(helper.make_attribute(name, value))
    reader = rng.choice(graph.node[at:])
    if reader.input:
        reader.input[rng.randrange(len(reader.input))] = new.output[0]
    else:
        graph.output[0].name = new.output[0]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes[:at], new, *nodes[at:]])


def _value(kind: Any, rng: random.Random) -> Any:
    """Of an attribute of this type; None of tensors and graphs."""
    types = onnx.defs.OpSchema.AttrType
    number = rng.choice(INTEGERS[:8] if rng.random() < 0.7 else INTEGERS)
    if kind == types.INT:
        return number
    if kind == types.INTS:
        return [rng.choice((1, 1, 2, 3, number)) for _ in range(rng.choice((1, 2, 2, 4)))]
    if kind == types.FLOAT:
        return rng.choice((0.0, 1.0, -1.0, 1e30, float("nan"), float("inf")))
    if kind == types.STRING:
        return rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID", "ij,jk->ik", "...i->i", "reflect", "linear", ""))
    return None


def _nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    at = rng.randrange(len(nodes))
    copy = onnx.NodeProto.FromString(nodes[at].SerializeToString())
    what = rng.randrange(3)
    if what == 0:
        del nodes[at]
    else:
        nodes.insert(rng.randrange(len(nodes) + 1), copy)
        if what == 2:
            copy.output[0] = f"{copy.output[0]}{rng.randrange(99)}"
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _ends(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    known = [*NAMES, *(t.name for t in model.graph.initializer), *(o for n in model.graph.node for o in n.output)]
    ends = rng.choice((node.input, node.output, node.input))
    what = rng.randrange(4)
    if what == 0 and ends:
        del ends[rng.randrange(len(ends))]
    elif what == 1:
        ends.append(rng.choice(known))
    elif what == 2 and len(ends) > 1:
        ends[0], ends[-1] = ends[-1], ends[0]
    else:
        ends[rng.randrange(len(ends))] = rng.choice(known)


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    if node.attribute and rng.random() < 0.2:
        del node.attribute[rng.randrange(len(node.attribute))]
        return
    if node.attribute and rng.random() < 0.7:
        attribute = rng.choice(node.attribute)
        if attribute.type == attribute.INT:
            attribute.i = rng.choice(INTEGERS)
        elif attribute.type == attribute.INTS and rng.random() < 0.7:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(INTEGERS)
        elif attribute.type == attribute.INTS:
            attribute.ints.append(rng.choice(INTEGERS))
        elif attribute.type == attribute.STRING:
            attribute.s = rng.choice((b"SAME_UPPER", b"VALID", b"\xff\xfe", b"ij,jk->ik", b"...i->i"))
        else:
            attribute.type = rng.randrange(12)
        return
    name = rng.choice(("axis", "axes", "group", "strides", "pads", "auto_pad", "kernel_shape", "to", "perm", "transA"))
    value = rng.choice(
        (rng.choice(INTEGERS), [rng.choice(INTEGERS) for _ in range(rng.randint(1, 4))], "SAME_LOWER", 0.5)
    )
    node.attribute.append(helper.make_attribute(name, value))


def _tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    what = rng.randrange(6)
    if what == 0:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTEGERS)
    elif what == 1:
        tensor.dims.append(rng.choice(INTEGERS))
    elif what == 2:
        tensor.data_type = rng.randrange(40)
    elif what == 3:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif what == 4:
        tensor.name = rng.choice([t.name for t in model.graph.initializer] + list(NAMES))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", rng.choice(NAMES)), ("offset", str(rng.choice(INTEGERS))), ("length", "12")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value


def _shape(model: onnx.ModelProto, rng: random.Random) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    tensor = value.type.tensor_type
    what = rng.randrange(4)
    if what == 0:
        tensor.shape.dim[rng.randrange(len(tensor.shape.dim))].dim_value = rng.choice(INTEGERS)
    elif what == 1:
        tensor.elem_type = rng.randrange(40)
    elif what == 2:
        tensor.shape.dim.add().dim_value = rng.choice(INTEGERS)
    else:
        value.type.Clear()


def _kind(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(KINDS)
    if rng.random() < 0.2:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", "ai.onnx"))


def _header(model: onnx.ModelProto, rng: random.Random) -> None:
    what = rng.randrange(3)
    if what == 0:
        model.ir_version = rng.choice((0, 1, 3, 4, 99))
    elif what == 1:
        model.opset_import[0].version = rng.randint(1, 26)
    else:
        model.opset_import[0].domain = rng.choice(NAMES)
