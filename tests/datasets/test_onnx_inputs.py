"""What ONNX files may have: any inputs and outputs, element types, open sizes, old opsets, links."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from datasets.networks.analysis import check_network, totals
from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.onnx_file import read_onnx
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from predictors.networks.pieces import pieces
from tests.conftest import run

node = helper.make_node
RNG = np.random.default_rng(0)
Value = tuple[str, Sequence[int | str | None] | None, int]
"""Name, shape and element type of an input or output."""
F, H, I64, B, U8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8


def w(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.1).astype(dtype)


def value(name: str, shape: Sequence[int | str | None] | None = None, kind: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def saved(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto] | str = "y",
    tensors: dict[str, Any] | None = None,
    opset: int = 17,
    **options: Any,
) -> Path:
    """A file; outputs that are a text are names, without types."""
    ends = (
        outputs if not isinstance(outputs, str) else [helper.make_empty_tensor_value_info(n) for n in outputs.split()]
    )
    protos = [
        t if isinstance(t, TensorProto) else numpy_helper.from_array(np.asarray(t), n)
        for n, t in (tensors or {}).items()
    ]
    graph = helper.make_graph(nodes, "g", inputs, ends, protos, **options)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )
    return path


def body(nodes: Sequence[NodeProto], inputs: str, outputs: str, tensors: dict[str, Any] | None = None) -> GraphProto:
    """A graph inside of a node: `name:type` for inputs of another type than float."""
    kinds = {"i": I64, "b": B}
    ends = []
    for names in (inputs, outputs):
        parts = [name.partition(":") for name in names.split()]
        ends.append([value(name, [] if kind else None, kinds.get(kind, F)) for name, _, kind in parts])
    held = [numpy_helper.from_array(np.asarray(t), n) for n, t in (tensors or {}).items()]
    return helper.make_graph(nodes, "inner", *ends, held)


def kinds(network: Network) -> str:
    return " ".join(op.kind for op in network.ops if op.kind != "input")


def refused(path: Path, **options: Any) -> str:
    """The sentence that a file is refused with."""
    with pytest.raises(InputError) as fault:
        pytest.fail(str(read_onnx(path, **options)))
    text = str(fault.value)
    assert "\n" not in text and len(text) < 700
    return text


def as_the_runtime_says(path: Path, model: Model, **fed: np.ndarray) -> None:
    """onnxruntime takes inputs of the network's shapes and types, and gives outputs of them."""
    assert pieces(model.network)
    network, session = check_network(model.network), onnxruntime.InferenceSession(path.read_bytes())
    feeds = dict(fed)
    for port, theirs in zip(network.inputs, session.get_inputs(), strict=True):
        shape, attrs = network.shape(port.node), network.ops[port.node].attrs
        full = shape if attrs.get("whole") else (network.batch or 1, *shape)
        feeds.setdefault(port.name, np.zeros(full if theirs.shape else (), port.dtype))
    names = [port.name for port in network.outputs]
    for port, given in zip(network.outputs, session.run(names, feeds), strict=True):
        attrs = network.ops[port.node].attrs
        size = np.prod(attrs["shape"]) * (1 if attrs.get("whole") else network.batch or 1)
        assert (size, port.dtype) == (given.size, given.dtype.name), port


# Inputs and outputs


def test_inputs_and_outputs_of_any_number_and_type(tmp_path: Path) -> None:
    """A text encoder with a mask, beside an image of bytes: four inputs of four types, three outputs."""
    nodes = [
        node("Gather", ["e", "ids"], ["g"]),
        node("Where", ["mask", "g", "zero"], ["m"]),
        node("MatMul", ["m", "a"], ["tokens"]),
        node("Cast", ["image"], ["f"], to=F),
        node("Conv", ["f", "c"], ["pixels"]),
        node("ArgMax", ["tokens"], ["best"], axis=2),
    ]
    inputs = [
        value("ids", ["batch", 6], I64),
        value("mask", ["batch", 6, 1], B),
        value("image", ["batch", 3, 8, 8], U8),
        value("unused", ["batch", 2], TensorProto.DOUBLE),
    ]
    tensors = {"e": w(50, 4), "a": w(4, 5), "c": w(2, 3, 3, 3), "zero": np.float32(0)}
    path = saved(tmp_path / "m.onnx", nodes, inputs, "tokens pixels best", tensors)
    for batch in (1, 3):
        model = read_onnx(path, batch)
        network = model.network
        assert [(p.name, p.dtype, network.shape(p.node)) for p in network.inputs] == [
            ("ids", "int64", (6,)),
            ("mask", "bool", (6, 1)),
            ("image", "uint8", (3, 8, 8)),
            ("unused", "float64", (2,)),
        ]
        assert [(p.name, p.dtype, network.shape(p.node)) for p in network.outputs] == [
            ("tokens", "float32", (6, 5)), ("pixels", "float32", (2, 6, 6)), ("best", "int64", (6, 1)),
        ]  # fmt: skip
        assert totals(network)["macs"] == batch * (6 * 4 * 5 + 36 * 54) and network.batch == batch
        as_the_runtime_says(path, model)
    text = network.to_json()
    assert Network.from_json(text).inputs == network.inputs
    with pytest.raises(InputError, match="is not a network's JSON form"):
        Network.from_json(text.replace('"image",2,"uint8"', '"image",2,["uint8"]'))


@pytest.mark.parametrize(
    ("kind", "name", "dtype"), [(H, "float16", np.float16), (TensorProto.DOUBLE, "float64", float)]
)
def test_networks_of_other_floats(kind: int, name: str, dtype: Any, tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        node("Relu", ["a"], ["b"]),
        node("Cast", ["b"], ["y"], to=F),
    ]
    path = saved(tmp_path / "m.onnx", nodes, [value("x", [1, 3, 8, 8], kind)], "y b", {"w": w(4, 3, 3, 3, dtype=dtype)})
    model = read_onnx(path)
    assert totals(model.network)["macs"] == 6912
    assert [op.attrs.get("dtype", "float32") for op in model.network.ops] == [name] * 3 + ["float32"]
    assert kinds(model.network) == "conv relu Cast"
    if kind == H:  # onnxruntime has no convolution of doubles
        as_the_runtime_says(path, model)


def test_bfloat16_is_an_element_type(tmp_path: Path) -> None:
    nodes = [node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16), node("MatMul", ["a", "a"], ["y"])]
    network = read_onnx(saved(tmp_path / "m.onnx", nodes, [value("x", [4, 4])])).network
    assert [op.attrs.get("dtype") for op in network.ops] == [None, "bfloat16", "bfloat16"]


def test_what_is_no_tensor_of_numbers_is_refused(tmp_path: Path) -> None:
    texts = [node("StringNormalizer", ["x"], ["y"])]
    assert "'x' of" in (text := refused(saved(tmp_path / "1", texts, [value("x", [3], TensorProto.STRING)])))
    assert "is texts" in text
    lists = [node("Cast", ["x"], ["i"], to=I64), node("SplitToSequence", ["x", "i"], ["s"], axis=0),
             node("ConcatFromSequence", ["s"], ["y"], axis=0)]  # fmt: skip
    assert "sequences of tensors" in refused(saved(tmp_path / "2", lists, [value("x", [2])]))
    sequence = helper.make_tensor_sequence_value_info("x", F, None)
    assert "no tensor but a sequence" in refused(
        saved(tmp_path / "3", [node("SequenceLength", ["x"], ["y"])], [sequence])
    )
    assert "has no inputs; is it" in refused(
        saved(tmp_path / "4", [node("Relu", ["c"], ["y"])], [], tensors={"c": w(3)})
    )
    inner = [node("Cast", ["x"], ["s"], to=TensorProto.STRING), node("Cast", ["s"], ["y"], to=F)]
    assert "holds texts" in refused(saved(tmp_path / "5", inner, [value("x", [1, 4])]))


def test_outputs_that_are_constants_or_inputs(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Identity", ["c"], ["fixed"])]
    network = read_onnx(saved(tmp_path / "m.onnx", nodes, [value("x", [1, 4])], "y x fixed", {"c": w(3)})).network
    assert [(port.name, port.node) for port in network.outputs] == [("y", 1), ("x", 0)]


def test_weights_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    inputs = [value("x", [1, 3, 8, 8]), value("w", [4, 3, 3, 3])]
    conv = [node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    network = read_onnx(saved(tmp_path / "m.onnx", conv, inputs, tensors={"w": w(4, 3, 3, 3)}, opset=8)).network
    assert [port.name for port in network.inputs] == ["x"] and totals(network)["macs"] == 6912


OLD = [
    (1, [node("Conv", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"], consumed_inputs=[0])], (4, 6, 6)),
    (1, [node("Concat", ["x", "x"], ["y"])], (6, 8, 8)),
    (1, [node("Reshape", ["x"], ["r"], shape=[0, 2, -1]), node("Tanh", ["r"], ["y"])], (2, 96)),
    (6, [node("Dropout", ["x"], ["d"], is_test=1, ratio=0.5), node("Relu", ["d"], ["y"])], (3, 8, 8)),
    (6, [node("Flatten", ["x"], ["f"]), node("Dropout", ["f"], ["y"], is_test=1)], (192,)),
    (7, [node("MaxPool", ["x"], ["y"], auto_pad="SAME_LOWER", kernel_shape=[3, 3], strides=[2, 2])], (3, 4, 4)),
    (8, [node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 2.0])], (3, 16, 16)),
    (9, [node("Slice", ["x"], ["y"], axes=[2], starts=[1], ends=[5])], (3, 4, 8)),
    (12, [node("GreaterOrEqual", ["x", "x"], ["g"]), node("Cast", ["g"], ["y"], to=F)], (3, 8, 8)),
    (13, [node("MeanVarianceNormalization", ["x"], ["m"]), node("Relu", ["m"], ["y"])], (3, 8, 8)),
    (21, [node("GroupNormalization", ["x", "c", "c"], ["g"], num_groups=1), node("Relu", ["g"], ["y"])], (3, 8, 8)),
    (onnx.defs.onnx_opset_version(), [node("Conv", ["x", "w"], ["y"])], (4, 6, 6)),
]


@pytest.mark.parametrize(("opset", "nodes", "shape"), OLD)
def test_opsets_from_the_first_to_the_newest(
    opset: int, nodes: list[NodeProto], shape: tuple[int, ...], tmp_path: Path
) -> None:
    tensors = {"w": w(4, 3, 3, 3), "c": w(3)}
    path = saved(tmp_path / "m.onnx", nodes, [value("x", [1, 3, 8, 8])], tensors=tensors, opset=opset)
    network = read_onnx(path).network
    assert network.shape(network.outputs[0].node) == shape


def test_odd_sides_padded_at_the_start(tmp_path: Path) -> None:
    pool = [node("MaxPool", ["x"], ["y"], auto_pad="SAME_LOWER", kernel_shape=[3, 3], strides=[2, 2])]
    path = saved(tmp_path / "m.onnx", pool, [value("x", [1, 3, 15, 17])])
    model = read_onnx(path)
    assert kinds(model.network) == "max_pool"
    as_the_runtime_says(path, model)


# The batch


@pytest.mark.parametrize("first", [-1, 0, None, "N", "batch_size"])
def test_a_batch_of_any_spelling_is_open(first: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [node("Conv", ["x", "w"], ["y"])], [value("x", [first, 3, 8, 8])],
                 [value("y", [first, 4, 6, 6])], {"w": w(4, 3, 3, 3)})  # fmt: skip
    for batch in (None, 5):
        network = read_onnx(path, batch).network
        assert (network.batch, network.shape(1)) == (batch or 1, (4, 6, 6))
    assert read_onnx(path, sizes=Sizes(size="batch=5")).network.batch == 5
    assert read_onnx(path, sizes=Sizes(shape="x=5x3x8x8")).network.batch == 5
    assert "two batches" in refused(path, batch=2, sizes=Sizes(size="batch=5"))


def test_what_does_not_scale_with_the_batch_is_whole(tmp_path: Path) -> None:
    """A table of five rows is computed from the sum of all samples, and added to each of them."""
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Mul", ["s", "t"], ["table"]),
        node("Relu", ["table"], ["r"]),
        node("MatMul", ["r", "a"], ["m"]),
        node("Add", ["x", "m"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, [value("x", ["n", 5, 7])], "y r", {"t": w(5, 3), "a": w(3, 7)})
    model = read_onnx(path, 4)
    found = {op.kind: (op.attrs["shape"], op.attrs.get("whole")) for op in model.network.ops}
    assert found == {"input": ((5, 7), None), "ReduceSum": ((1,), 1), "Mul": ((5, 3), 1), "relu": ((5, 3), 1),
                     "MatMul": ((5, 7), 1), "Add": ((5, 7), None)}  # fmt: skip
    counted = totals(model.network)
    assert counted["macs"] == 5 * 3 * 7
    assert counted["moved_bytes"] == 4 * (140 + 1 + (1 + 15 + 15) + 30 + (15 + 21 + 35) + (140 + 35 + 140))
    as_the_runtime_says(path, model)
    assert "whole" not in str(read_onnx(path).network.to_json())


def test_a_state_has_its_batch_in_the_middle(tmp_path: Path) -> None:
    """A recurrent layer: sequence first, or layers first; the batch is what its samples are, wherever it stands."""
    lstm = [node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=8)]
    tensors = {"w": w(1, 32, 4), "r": w(1, 32, 8)}
    states = [value(name, [1, "n", 8]) for name in "hc"]
    path = saved(tmp_path / "m.onnx", lstm, [value("x", [10, "n", 4]), *states], "y hn", tensors)
    model = read_onnx(path, 3)
    network = model.network
    assert network.batch == 3
    assert [network.ops[port.node].attrs for port in network.inputs] == [
        {"shape": (10, 3, 4), "whole": 1}, {"shape": (1, 3, 8), "whole": 1}, {"shape": (1, 3, 8), "whole": 1}
    ]  # fmt: skip
    as_the_runtime_says(path, model)
    inputs = [value("x", [10, 1, 4]), *(value(name, [1, 1, 8]) for name in "hc")]
    fixed = saved(tmp_path / "fixed.onnx", lstm, inputs, "y", tensors)
    assert read_onnx(fixed).network.batch == 1


# Open sizes

CONV = [node("Conv", ["x", "w"], ["y"])]
LAYOUTS: dict[str, tuple[list[NodeProto], onnx.ValueInfoProto, str, tuple[int, ...]]] = {
    "by name": (CONV, value("x", [1, 3, "H", "image_width"]), "height=10 width=12", (3, 10, 12)),
    "by the file's own name": (CONV, value("x", [1, 3, "rows!", "p.2"]), "rows!=10 p.2=12", (3, 10, 12)),
    "by the reader": (CONV, value("x", [None, 3, None, "?"]), "height=10 width=12", (3, 10, 12)),
    "channels last": ([node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "w"], ["y"])],
                      value("x", [None, -1, -1, 3]), "height=10 width=12", (10, 12, 3)),
    "behind a cast": ([node("Cast", ["x"], ["f"], to=F), node("Sub", ["f", "half"], ["s"]),
                       node("Conv", ["s", "w"], ["y"])], value("x", [1, 3, "?", "??"], U8), "height=10 width=12",
                      (3, 10, 12)),
    "of a signal": ([node("Unsqueeze", ["x", "one"], ["u"]), node("Conv", ["u", "k"], ["y"])],
                    value("x", [None, None]), "time=90", (90,)),
    "of a recurrent layer": ([node("LSTM", ["x", "wi", "r"], ["y"], hidden_size=8)], value("x", [None, None, 4]),
                             "sequence=9", (9, 1, 4)),
    "of tokens": ([node("Gather", ["e", "x"], ["y"])], value("x", [None, None], I64), "sequence=9", (9,)),
    "symbols of torch": (CONV, value("x", ["s77", 3, "s0", "s1"]), "height=10 width=12", (3, 10, 12)),
}  # fmt: skip
TENSORS = {"w": w(4, 3, 3, 3), "k": w(4, 1, 3), "wi": w(1, 32, 4), "r": w(1, 32, 8), "e": w(50, 8),
           "one": np.array([1]), "half": np.float32(0.5)}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_open_sizes_are_fixed_by_name_and_by_role(case: str, tmp_path: Path) -> None:
    nodes, x, size, shape = LAYOUTS[case]
    path = saved(tmp_path / "m.onnx", nodes, [x], tensors=TENSORS)
    text = refused(path)
    assert "open besides the batch" in text and "for example by --size" in text
    example = text.partition("for example by ")[2].rstrip(".").replace("--size ", "")
    read_onnx(path, sizes=Sizes(size=example))
    model = read_onnx(path, sizes=Sizes(size=size + " channels=99"))
    network = model.network
    assert (network.batch, network.shape(0)) == (1, shape)
    assert network.key.endswith(f"({size.replace(' ', ',')},channels=99)")
    as_the_runtime_says(path, model)


def test_a_cache_of_a_decoder_is_sized_by_the_files_own_names(tmp_path: Path) -> None:
    nodes = [node("Gather", ["e", "ids"], ["g"]), node("Unsqueeze", ["g", "one"], ["u"]),
             node("Concat", ["past", "u"], ["k"], axis=2), node("Cast", ["mask"], ["m"], to=F),
             node("Unsqueeze", ["m", "ends"], ["n"]), node("Add", ["k", "n"], ["y"])]  # fmt: skip
    inputs = [value("ids", ["batch", "seq"], I64), value("mask", ["batch", "past_len + seq"], I64),
              value("past", ["batch", 1, "past_len", 8])]  # fmt: skip
    tensors = {"e": w(50, 8), "one": np.array([1]), "ends": np.array([1, 3])}
    path = saved(tmp_path / "m.onnx", nodes, inputs, tensors=tensors)
    assert refused(path).endswith("--size sequence=128 --size past_len=16.")
    model = read_onnx(path, 2, Sizes(size="sequence=1 past_len=5"))
    assert [model.network.shape(port.node) for port in model.network.inputs] == [(1,), (6,), (1, 5, 8)]
    as_the_runtime_says(path, model)


def test_one_input_is_fixed_as_a_whole_and_others_follow_its_names(tmp_path: Path) -> None:
    inputs = [value("a", ["n", 3, "h", "w"]), value("b", ["n", 1, "h", "w"])]
    path = saved(tmp_path / "m.onnx", [node("Mul", ["a", "b"], ["y"])], inputs)
    network = read_model(path, sizes=Sizes(shape="a=2x3x10x12")).network
    assert (network.batch, network.shape(1)) == (2, (1, 10, 12))
    inputs = [value("a", ["s7", 3, "s1", "s2"]), value("b", ["s7", 3, "s1", "s2"]), value("c", ["s1", "s2"])]
    nodes = [node("Mul", ["a", "b"], ["m"]), node("Mul", ["m", "c"], ["y"])]
    network = read_onnx(saved(tmp_path / "n.onnx", nodes, inputs), 2, Sizes(size="height=10 width=12")).network
    assert [network.shape(port.node) for port in network.inputs] == [(3, 10, 12), (3, 10, 12), (10, 12)]
    for shape, sentence in (("c=1x2", "is no input of"), ("a=1x2", "has 2 sizes"), ("a=1x4x2x2", "fixes size 1 of"),
                            ("a=1x3x0x2", "whole numbers from 1 on"), ("a", "is not NAME=VALUE"),
                            ("a=1x3x2x2 a=1x3x4x4", "two values")):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            read_model(path, sizes=Sizes(shape=shape))
    with pytest.raises(InputError, match="--size hight is no size of .*: open are batch, height, width"):
        read_model(path, sizes=Sizes(size="hight=3"))
    assert read_model("zoo:lenet5", sizes=Sizes(size="height=3 sequence=9")).network.key == "lenet5"
    assert read_model("zoo:lenet5", sizes=Sizes(size="batch=3")).network.batch == 3
    for given in (Sizes(size="hight=3"), Sizes(shape="x=1x2"), Sizes(trips="loop=3")):
        with pytest.raises(InputError, match="leaves no sizes open, as ONNX files may"):
            read_model("zoo:lenet5", sizes=given)
    with pytest.raises(InputError, match="several sizes"):
        read_model(path, sizes=Sizes(size="h=3,4"))


def test_an_input_without_a_shape_is_given_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", CONV, [value("x")], tensors=TENSORS)
    assert "--shape x=1x3x224x224" in refused(path)
    assert read_onnx(path, sizes=Sizes(shape="x=1x3x8x9")).network.shape(1) == (4, 6, 7)


def test_sizes_that_a_file_was_not_made_for_are_refused(tmp_path: Path) -> None:
    """Exporters write the sizes that they saw into shapes."""
    nodes = [node("Reshape", ["x", "s"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, [value("x", [1, "time", 8])], tensors={"s": np.array([10, 4, 2])})
    assert read_onnx(path, sizes=Sizes(size="time=10")).network.batch == 1
    assert "a Reshape makes 1x20x8 to 10x4x2" in refused(path, sizes=Sizes(size="time=20"))


def test_flags_accumulate_and_several_sizes_give_a_curve(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", CONV, [value("x", [None, 3, "h", "w"])], tensors=TENSORS)
    done = run("-m", "datasets", "show", str(path), "--size", "h=10", "--size=width=12", "--batch", "2")
    assert "input 2x3x10x12" in done.stdout and f"{2 * 8 * 10 * 108:,}" in done.stdout, done.stderr
    done = run("-m", "datasets", "show", str(path), "--size", "height=10,20", "--size", "w=12")
    header, *rows = done.stdout.splitlines()[2:]
    assert header.split()[:3] == ["height", "w", "macs"], done.stderr
    assert [row.split()[:3] for row in rows] == [["10", "12", "8640"], ["20", "12", "19440"]]
    done = run("-m", "datasets", "show", str(path))
    assert done.returncode == 2 and "--size height=224 --size width=224." in done.stderr


# Shapes


def test_shapes_are_followed_through_chains(tmp_path: Path) -> None:
    """Shape, Gather, Unsqueeze, Concat, Reshape; a size from a Size; a Resize to another tensor's sides."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "two", "four"], ["hw"]),
        node("Shape", ["c"], ["cs"]),
        node("Slice", ["cs", "zero", "two"], ["bc"]),
        node("Concat", ["bc", "hw"], ["sides"], axis=0),
        node("Resize", ["c", "", "", "sides"], ["u"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Size", ["c"], ["all"]),
        node("Div", ["all", "n"], ["each"]),
        node("Concat", ["n", "each"], ["flat"], axis=0),
        node("Reshape", ["c", "flat"], ["f"]),
    ]
    tensors = {"w": w(4, 3, 3, 3), **{n: np.array([i]) for n, i in (("zero", 0), ("two", 2), ("four", 4))}}
    path = saved(tmp_path / "m.onnx", nodes, [value("x", ["b", 3, "h", "w"])], "u f", tensors)
    model = read_onnx(path, 2, Sizes(size="h=10 w=8"))
    assert [model.network.shape(port.node) for port in model.network.outputs] == [(4, 10, 8), (80,)]
    assert kinds(model.network) == "conv Resize Reshape" or kinds(model.network) == "conv Resize"
    as_the_runtime_says(path, model)


def test_tensors_without_elements_are_nothing(tmp_path: Path) -> None:
    """The rest of a rotary embedding that turns all of a head."""
    nodes = [node("Split", ["x", "parts"], ["a", "rest"], axis=2), node("Relu", ["a"], ["r"]),
             node("Concat", ["r", "rest"], ["y"], axis=2)]  # fmt: skip
    path = saved(tmp_path / "m.onnx", nodes, [value("x", [2, 5, 8])], tensors={"parts": np.array([8, 0])})
    model = read_onnx(path)
    assert model.network.shape(model.network.outputs[0].node) == (5, 8)
    as_the_runtime_says(path, model)


DEPENDENT: dict[str, tuple[list[NodeProto], tuple[int, ...]]] = {
    "NonZero": ([node("NonZero", ["x"], ["y"])], (3, 40)),
    "Compress": ([node("Cast", ["x"], ["c"], to=B), node("Reshape", ["c", "flat"], ["f"]),
                  node("Compress", ["x", "f"], ["y"])], (40,)),
    "Unique": ([node("Unique", ["x"], ["y"])], (40,)),
    "Slice": ([node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["i"], to=I64),
               node("Reshape", ["i", "flat"], ["e"]), node("Slice", ["x", "zero", "e", "two"], ["y"])], (1, 4, 10)),
    "NonMaxSuppression": ([node("Slice", ["x", "zero", "four", "two"], ["boxes"]),
                           node("Slice", ["x", "zero", "two", "one"], ["scores"]),
                           node("NonMaxSuppression", ["boxes", "scores", "three"], ["y"])], (6, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_sizes_that_depend_on_values_are_the_most_that_they_can_be(kind: str, tmp_path: Path) -> None:
    nodes, shape = DEPENDENT[kind]
    numbers = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "flat": -1}
    tensors = {name: np.array([number]) for name, number in numbers.items()}
    model = read_onnx(saved(tmp_path / "m.onnx", nodes, [value("x", [1, 4, 10])], tensors=tensors))
    last = model.network.ops[model.network.outputs[0].node]
    assert np.prod(last.attrs["shape"]) == np.prod(shape)
    assert any(kind in note and "the most that they can be" in note for note in model.notes)


# Weights in other files


def hub(folder: Path, target: Path | str, link: str = "m.data") -> Path:
    """A file in a hub's folder of one version, whose weights stand behind a link."""
    tensor = TensorProto(name="w", data_type=F, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="m.data")
    version = folder / "models--a--b" / "snapshots" / "0123" / "onnx"
    version.mkdir(parents=True, exist_ok=True)
    (version / "m.data").unlink(missing_ok=True)
    (version / link).symlink_to(target)
    return saved(version / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], [value("x", [1, 4])], tensors={"w": tensor})


def test_weights_behind_links_stay_in_the_models_own_tree(tmp_path: Path) -> None:
    for place in ("models--a--b/blobs", "blobs", "models--a--b/other", "models--c/blobs"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "f00").write_bytes(w(16).tobytes())
    up = Path("../../..")
    assert totals(read_onnx(hub(tmp_path, up / "blobs/f00")).network)["params"] == 16
    assert totals(read_onnx(hub(tmp_path, tmp_path / "models--a--b/blobs/f00")).network)["params"] == 16
    for target in ("../blobs/f00", "other/f00", "../models--c/blobs/f00", "blobs/../other/f00", "blobs/none", "blobs"):
        assert "cannot be read from m.data" in refused(hub(tmp_path, up / target)), target
    assert "cannot be read from" in refused(hub(tmp_path, "/dev/zero"))
    blobs = tmp_path / "models--a--b/blobs"
    path = hub(tmp_path, up / "blobs/f00")
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert "cannot be read from m.data" in refused(path)


def test_outputs_that_are_no_tensors_are_left_out_with_a_note(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("SequenceConstruct", ["y"], ["s"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y, sequence])), tmp_path / "s.onnx")
    model = read_onnx(tmp_path / "s.onnx")
    assert [port.name for port in model.network.outputs] == ["y"] and "left out: s" in model.notes[0]


def test_an_operator_of_an_unknown_domain_keeps_its_input_s_shape_with_a_note(tmp_path: Path) -> None:
    nodes = [helper.make_node("Quant", ["x"], ["q"], domain="some.where"), helper.make_node("Relu", ["q"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=imports)
    onnx.save(model, tmp_path / "q.onnx")
    found = read_onnx(tmp_path / "q.onnx")
    assert found.network.ops[1].kind == "some.where.Quant" and "some.where.Quant is not known" in found.notes[0]


def test_two_inputs_of_one_name_are_one_sentence(tmp_path: Path) -> None:
    x = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape) for shape in (["n", 3], ["n", 3, 8])]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", x, [y])
    onnx.save(helper.make_model(graph), tmp_path / "two.onnx")
    with pytest.raises(InputError, match="has two inputs of the name x"):
        read_onnx(tmp_path / "two.onnx")


def test_the_shape_of_a_constant_is_known_where_its_numbers_are_not(tmp_path: Path) -> None:
    """Zeros in which numbers are set, whose shape makes a mask: windows of attention do so."""
    known = {"size": np.array([2, 4]), "at": np.array([[0, 1]]), "new": np.array([5], np.float32)}
    stored = [numpy_helper.from_array(value, name) for name, value in known.items()]
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ScatterND", ["zeros", "at", "new"], ["set"]),
        helper.make_node("Shape", ["set"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["mask"]),
        helper.make_node("Add", ["x", "mask"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy")
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored)), tmp_path / "mask.onnx")
    assert totals(read_onnx(tmp_path / "mask.onnx").network)["macs"] == 0


def test_shapes_are_computed_where_large_constants_are_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that standardise their weights use up what may be computed; the next Reshape is read all the same."""
    monkeypatch.setattr("datasets.networks.onnx_constants.MOST_COMPUTED", -(10**9))
    stored = [numpy_helper.from_array(np.array([1, 2, 2]), "size")]
    nodes = [helper.make_node("Identity", ["size"], ["same"]), helper.make_node("Reshape", ["x", "same"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    relu = helper.make_node("Relu", ["y"], ["z"])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph([*nodes, relu], "g", [x], [z], stored)), tmp_path / "r.onnx")
    assert read_onnx(tmp_path / "r.onnx").network.ops[-1].attrs["shape"] == (2, 2)


def test_an_operator_of_an_unknown_domain_without_inputs_is_one_sentence(tmp_path: Path) -> None:
    nodes = [helper.make_node("Draw", [], ["d"], domain="some.where"), helper.make_node("Add", ["x", "d"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=imports), tmp_path / "d.onnx")
    with pytest.raises(InputError, match="d.onnx"):
        read_onnx(tmp_path / "d.onnx")
