"""ONNX files as architectures: what we write comes back, what others write computes the same, faults are sentences."""

import contextlib
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.onnx_file import read_onnx
from datasets.networks.ops import VOCABULARY
from datasets.records import Architecture, Architectures, InputError, Space
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench201 import OPS, NasBench201
from datasets.spaces.ofa import OFA
from datasets.spaces.zoo import Zoo
from measure.base import make_input
from measure.builders.numpy_reference import evaluate
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from tests.conftest import run

# What we write comes back


def comes_back(network: Architecture, folder: Path, batch: int = 2) -> Architecture:
    """Same totals, same output, and its weights build a file that gives that output on a runtime."""
    weights, x = make_weights(network), make_input(network, batch)
    path = folder / "network.onnx"
    onnx.save(build_onnx(network, weights, batch), path)
    model = read_onnx(path)
    read, theirs = model.network, model.weights
    assert totals(read) == totals(network, batch)
    expected = evaluate(network, weights, x)
    tolerance = {"rtol": 1e-4, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(evaluate(read, theirs, x), expected, **tolerance)
    np.testing.assert_allclose(computed(build_onnx(read, theirs, batch), x), expected, **tolerance)
    return read


def computed(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The output on onnxruntime."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("space", [NasBench201(cells=1), FBNet(image=64, classes=10), OFA(classes=10)], ids=str)
def test_random_networks_come_back(space: Space, tmp_path: Path) -> None:
    decisions = space.sample(3, np.random.default_rng(0)).decisions.copy()
    if isinstance(space, NasBench201):
        decisions[decisions == OPS.index("none")] = OPS.index("nor_conv_1x1")  # files leave constants and dead ends out
    for arch in Architectures(space, decisions):
        read = comes_back(space.expand(arch), tmp_path)
        assert read.space == "onnx" and re.fullmatch("network.onnx:[0-9a-f]{12}", read.key)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet_v1", "mobilenet_v2", "nasnet_mobile", "squeezenet"])
def test_the_zoo_comes_back(name: str, tmp_path: Path) -> None:
    comes_back(Zoo(image=32 if name == "lenet5" else 64, classes=10).expand(Zoo().parse([name])[0]), tmp_path)


def test_dead_ends_and_constants_are_left_out(tmp_path: Path) -> None:
    space = NasBench201(cells=1)
    (arch,) = space.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"])
    network = space.expand(arch)
    weights, x = make_weights(network), make_input(network, 1)
    onnx.save(build_onnx(network, weights), tmp_path / "cell.onnx")
    model = read_onnx(tmp_path / "cell.onnx")
    read, theirs = model.network, model.weights
    assert totals(read)["params"] < totals(network)["params"] and "zero" not in {op.kind for op in read.ops}
    if {op.kind for op in read.ops} <= VOCABULARY:
        np.testing.assert_allclose(evaluate(read, theirs, x), evaluate(network, weights, x), rtol=1e-4, atol=1e-5)


KINDS = ("conv", "max_pool", "avg_pool", "add", "mul", "gate", "concat", "pad", "shuffle", "bn", "relu", "relu6",
         "hswish", "hsigmoid", "sigmoid", "tanh", "silu")  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> Architecture:
    """Random graphs of the vocabulary; every op reaches the output."""
    net = NetworkBuilder()
    sides = draw(st.integers(5, 12)), draw(st.integers(5, 12))
    x = net.add("input", (2 * draw(st.integers(1, 4)), *sides))
    small, pads = st.integers(1, 2), st.integers(0, 1) | st.tuples(*[st.integers(0, 1)] * 4)
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8)):
        channels, *sides = net.shape(x)
        if min(sides) < 3:
            break
        if kind == "max_pool" and net.ops[x].kind == "pad":
            continue  # onnxruntime's optimiser makes one of the two, as if zeros were the least numbers
        if kind in ("conv", "max_pool", "avg_pool"):
            shape = {"kernel": draw(st.tuples(*[st.integers(2, 3)] * 2)), "stride": draw(small), "pad": draw(pads)}
            if kind == "conv":
                x = net.conv(x, 2 * draw(small), groups=draw(small), bias=draw(st.integers(0, 1)), **shape)
            else:
                x = net.pool(kind, x, **shape)
        elif kind in ("add", "mul"):
            x = net.pointwise(kind, x, net.pointwise("tanh", x))
        elif kind == "gate":
            gate = net.conv(net.add("global_avg_pool", (channels, 1, 1), x), channels, 1)
            x = net.pointwise("mul", x, net.pointwise("sigmoid", gate))
        elif kind == "concat":
            x = net.concat(x, net.pointwise("relu", x))
        elif kind == "pad":
            top, left, bottom, right = pad = draw(st.tuples(*[st.integers(-1, 2)] * 4))
            x = net.add("pad", (channels, sides[0] + top + bottom, sides[1] + left + right), x, pad=pad)
        else:
            x = net.pointwise(kind, x, **({"groups": 2} if kind == "shuffle" else {}))
    if draw(st.booleans()):
        x = net.add("global_avg_pool", net.shape(x)[:1], x)
    x = net.add("dense", (draw(st.integers(2, 5)),), x, bias=draw(st.integers(0, 1)))
    if draw(st.booleans()):
        net.pointwise("softmax", net.add("dense", (3,), net.pointwise("relu", x)))
    return net.finish("made-up", "random")


@settings(deadline=None, max_examples=60)
@given(network=networks(), batch=st.integers(1, 3))
def test_any_network_of_the_vocabulary_comes_back(
    network: Architecture, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    comes_back(network, tmp_path_factory.mktemp("onnx"), batch)


# What others write


RNG = np.random.default_rng(0)
Nodes = list[tuple[str, str, dict]]
"""(op, inputs, attributes) of nodes that give t1, t2... from x and from each other; the last is the output."""


def save(path: Path, nodes: Nodes, shape: list, tensors: dict[str, np.ndarray] | None = None, **options: int) -> Path:
    """A file of such nodes with an input of that shape and the tensors as initialisers."""
    protos = [helper.make_node(op, ins.split(), [f"t{i}"], **attrs) for i, (op, ins, attrs) in enumerate(nodes, 1)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    output = helper.make_tensor_value_info(
        f"t{len(nodes)}", TensorProto.FLOAT, ["any"] * options.get("rank", len(shape))
    )
    initializers = [numpy_helper.from_array(value, name) for name, value in (tensors or {}).items()]
    graph = helper.make_graph(protos, "test", inputs, [output], initializers)
    opset = helper.make_opsetid("", options.get("opset", 17))
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


TENSORS = {
    "w": normal(6, 4, 3, 2), "wg": normal(6, 2, 3, 3), "b": normal(6), "b1": normal(6, 1, 1), "m": normal(252, 5),
    "mt": normal(5, 252), "c": normal(5), "c2": normal(1, 5), "s": normal(4), "var": np.abs(normal(4)) + 0.5,
    "zero": np.zeros((), np.float32), "six": np.array(6, np.float32), "flat": np.array([2, -1]),
    "sides": np.array([0, 0, 1, -2, 0, 0, 2, 3]),
}  # fmt: skip
EVERY_SECOND = {"strides": [2, 2]}
THREE = {"kernel_shape": [3, 3]}
GEMM = {"transB": 1, "alpha": 0.5, "beta": 2.0}
EQUIVALENT = {  # on x [2, 4, 9, 7]; the ops that the nodes are
    "conv, padding same, more at the end":
        ([("Conv", "x w b", {"auto_pad": "SAME_UPPER", **EVERY_SECOND})], "conv"),
    "conv, padding same, more at the start":
        ([("Conv", "x w", {"auto_pad": "SAME_LOWER", **EVERY_SECOND})], "conv"),
    "conv, no padding": ([("Conv", "x w b", {"auto_pad": "VALID"})], "conv"),
    "conv, groups and dilation":
        ([("Conv", "x wg b", {"group": 2, "dilations": [2, 3], "pads": [1, 2, 3, 0]})], "conv"),
    "a bias added later": ([("Conv", "x w", {}), ("Add", "b1 t1", {})], "conv"),
    "max pool, rounded up": ([("MaxPool", "x", {"kernel_shape": [2, 3], "ceil_mode": 1, **EVERY_SECOND})], "max_pool"),
    "max pool, padding same": ([("MaxPool", "x", {"auto_pad": "SAME_UPPER", **THREE, **EVERY_SECOND})], "max_pool"),
    "avg pool, rounded up":
        ([("AveragePool", "x", {"kernel_shape": [2, 2], "ceil_mode": 1, **EVERY_SECOND})], "avg_pool"),
    "avg pool, padding counted":
        ([("AveragePool", "x", {"pads": [1, 0, 1, 1], "count_include_pad": 1, **THREE})], "avg_pool"),
    "bn": ([("BatchNormalization", "x s s s var", {"epsilon": 0.01})], "bn"),
    "clips": ([("Clip", "x zero six", {}), ("Clip", "t1 zero", {})], "relu6 relu"),
    "silu": ([("Sigmoid", "x", {}), ("Mul", "t1 x", {})], "silu"),
    "hswish": ([("HardSigmoid", "x", {"alpha": 1 / 6}), ("Mul", "x t1", {})], "hswish"),
    "a gate that has another reader":
        ([("Sigmoid", "x", {}), ("Mul", "t1 x", {}), ("Add", "t1 t2", {})], "sigmoid mul add"),
    "a gate, from the left":
        ([("GlobalAveragePool", "x", {}), ("Sigmoid", "t1", {}), ("Mul", "t2 x", {})], "global_avg_pool sigmoid mul"),
    "a sum of three": ([("Relu", "x", {}), ("Sum", "x t1 x", {})], "relu add add"),
    "pad": ([("Pad", "x sides", {"mode": "constant"})], "pad"),
    "mean, sides kept": ([("ReduceMean", "x", {"axes": [3, 2]})], "global_avg_pool"),
    "mean, sides dropped": ([("ReduceMean", "x", {"axes": [-1, -2], "keepdims": 0})], "global_avg_pool"),
    "softmax of channels": ([("Softmax", "x", {"axis": -3})], "softmax"),
    "flattened, then dense":
        ([("Flatten", "x", {}), ("Relu", "t1", {}), ("MatMul", "t2 m", {}), ("Add", "t3 c", {})], "relu dense"),
    "reshaped, then dense":
        ([("Reshape", "x flat", {}), ("Dropout", "t1", {}), ("Gemm", "t2 mt c2", GEMM)], "dense"),
    "dense without bias": ([("Flatten", "x", {}), ("Gemm", "t1 m", {}), ("Identity", "t2", {})], "dense"),
    "nothing at all": ([("Relu", "x", {}), ("Add", "t1 zero", {}), ("Cast", "t2", {"to": 1})], "relu"),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUIVALENT)
def test_nodes_that_the_vocabulary_has(name: str, tmp_path: Path) -> None:
    nodes, kinds = EQUIVALENT[name]
    read_by = {source for _, sources, _ in nodes for source in sources.split()}
    tensors = {name: value for name, value in TENSORS.items() if name in read_by}
    rank = 2 if "m" in read_by or "mt" in read_by or "dropped" in name else 4
    path = save(tmp_path / "m.onnx", nodes, [2, 4, 9, 7], tensors, rank=rank)
    model = read_onnx(path)
    read, weights = model.network, model.weights
    assert [op.kind for op in read.ops[1:]] == kinds.split()
    x = normal(2, 4, 9, 7)
    np.testing.assert_allclose(evaluate(read, weights, x), computed(onnx.load(path), x), rtol=1e-4, atol=1e-5)


COUNTED = {"pads": [1, 1, 0, 0], "ceil_mode": 1, "count_include_pad": 1}
NORM = [("Transpose", "x", {"perm": [0, 2, 1]}), ("LayerNormalization", "t1 s s", {}), ("MatMul", "t2 w", {})]
FOREIGN = {  # nodes, shape of x, tensors; the ops that they are, parameters, MACs of one image
    "layer norm of tokens": (NORM, [2, 8, 5], {"s": normal(8), "w": normal(8, 3)},
                             "Transpose LayerNormalization MatMul", 8 + 24, 5 * 8 * 3),
    "what is rounded up is no padding": ([("AveragePool", "x", {"kernel_shape": [2, 2], **EVERY_SECOND, **COUNTED})],
                                         [2, 3, 6, 6], {}, "AveragePool", 0, 0),
    "transposed convolution": ([("ConvTranspose", "x w", EVERY_SECOND)], [2, 3, 4, 4], {"w": normal(3, 5, 2, 2)},
                               "ConvTranspose", 60, 16 * 60),
    "one dimension": ([("Conv", "x w b", {})], [2, 3, 9], {"w": normal(4, 3, 3), "b": normal(4)}, "Conv", 40, 7 * 36),
    "products of tensors": ([("Einsum", "x x", {"equation": "bij,bkj->bik"})], [2, 3, 9], {}, "Einsum", 0, 81),
    "a factor a channel": ([("Mul", "x w", {}), ("LeakyRelu", "t1", {})], [2, 3, 9, 9], {"w": normal(3, 1, 1)},
                           "Mul LeakyRelu", 3, 0),
    "rows of pooled channels": ([("GlobalAveragePool", "x", {}), ("Flatten", "t1", {}), ("Relu", "t1", {}),
                                 ("Flatten", "t3", {}), ("Concat", "t2 t4", {"axis": 1})], [2, 3, 4, 4], {},
                                "global_avg_pool relu Concat", 0, 0),
    "a row that is no image any more": ([("Relu", "x", {}), ("Flatten", "t1", {}), ("Softmax", "t2", {})],
                                        [2, 3, 4, 4], {}, "relu Reshape softmax", 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_other_nodes_are_counted(name: str, tmp_path: Path) -> None:
    nodes, shape, tensors, kinds, params, macs = FOREIGN[name]
    rank = 2 if "row" in name else len(shape)
    read = read_onnx(save(tmp_path / "m.onnx", nodes, shape, tensors, rank=rank)).network
    assert [op.kind for op in read.ops[1:]] == kinds.split()
    counted = totals(read)
    assert (counted["params"], counted["macs"], counted["kernels"]) == (params, 2 * macs, len(kinds.split()))


class Small(nn.Module):
    """What exporters turn into chains of nodes: silu, channel shuffle, squeeze-and-excitation, rounding up, views."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())
        self.pools = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 2, count_include_pad=False))
        self.conv = nn.Sequential(nn.Conv2d(8, 16, 3, padding="same", groups=4, dilation=2), nn.Hardswish())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
        self.head = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 5, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.pools(self.stem(x)))
        b, c, h, w = x.shape
        x = (x * self.gate(x)).view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
        x = x + nn.functional.relu6(x)
        return self.head(x.mean((2, 3)).view(b, -1)).softmax(1)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_an_exported_torch_module_computes_the_same(dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x, path = Small().eval(), torch.randn(3, 3, 33, 33), tmp_path / "small.onnx"
    module.stem[1].running_mean.normal_()
    free = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
        if dynamo
        else {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]}
    )
    torch.onnx.export(module, (x,), path, dynamo=dynamo, verbose=False, **free)
    model = read_onnx(path, batch=3)
    read, weights = model.network, model.weights
    assert " ".join(op.kind for op in read.ops[1:]) == (
        "conv silu max_pool avg_pool conv hswish global_avg_pool conv hsigmoid mul shuffle relu6 add global_avg_pool "
        "dense relu dense softmax"
    )
    with torch.inference_mode():
        np.testing.assert_allclose(evaluate(read, weights, x.numpy()), module(x).numpy(), rtol=1e-4, atol=1e-6)
    # the exporter folds batch norm: a bias for each of its two numbers a channel
    assert totals(read)["params"] == sum(p.numel() for p in module.parameters()) - 8


def test_weights_in_another_file(tmp_path: Path) -> None:
    network = Zoo(image=64).expand(Zoo().parse(["mobilenet_v2"])[0])
    weights, x, path = make_weights(network), make_input(network, 1), tmp_path / "m.onnx"
    onnx.save(build_onnx(network, weights), path, save_as_external_data=True, location="m.weights")
    model = read_onnx(path)
    read, theirs = model.network, model.weights
    np.testing.assert_allclose(evaluate(read, theirs, x), evaluate(network, weights, x), rtol=1e-4, atol=1e-5)
    (tmp_path / "m.weights").write_bytes((tmp_path / "m.weights").read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be read from m.weights; copy or export"):
        read_onnx(path)
    (tmp_path / "m.weights").unlink()
    with pytest.raises(InputError, match="cannot be read from m.weights; copy or export"):
        read_onnx(path)


def test_tensors_that_mix_images_are_shared_out_among_them(tmp_path: Path) -> None:
    """Windows of attention: (batch, 8, 5) becomes (batch * 2, 4, 5)."""
    nodes: Nodes = [("Reshape", "x windows", {}), ("MatMul", "t1 w", {}), ("Reshape", "t2 joined", {})]
    shapes = {"windows": np.array([-1, 4, 5]), "joined": np.array([-1, 8, 3])}
    read = read_onnx(save(tmp_path / "m.onnx", nodes, ["n", 8, 5], {"w": normal(5, 3), **shapes}), batch=3).network
    assert [op.attrs["shape"] for op in read.ops] == [(8, 5), (2, 4, 5), (2, 4, 3), (8, 3)]
    assert totals(read)["macs"] == 3 * 8 * 5 * 3


# The batch, and faults


def test_a_free_batch_is_fixed_and_a_fixed_one_stays(tmp_path: Path) -> None:
    free = save(tmp_path / "free.onnx", [("Conv", "x w", {})], ["n", 4, 9, 7], {"w": TENSORS["w"]})
    one, four = (read_onnx(free, batch).network for batch in (None, 4))
    assert (one.shape(0), one.batch) == ((4, 9, 7), 1) and totals(four)["macs"] == 4 * totals(one)["macs"]
    fixed = save(tmp_path / "fixed.onnx", [("Relu", "x", {})], [8, 3])
    assert read_onnx(fixed).network.batch == read_onnx(fixed, 8).network.batch == 8
    with pytest.raises(InputError, match="fixes its batch at 8; leave the batch 2 out"):
        read_onnx(fixed, 2)
    with pytest.raises(InputError, match="1 or more images, not 0"):
        read_onnx(free, 0)


def faults(folder: Path) -> dict[str, Path]:
    relu: Nodes = [("Relu", "x", {})]
    values: Nodes = [("Squeeze", "x", {}), ("Cast", "t1", {"to": 7}), ("Reshape", "x t2", {}), ("Tanh", "t3", {})]
    conv: Nodes = [("Conv", "x w", {})]
    w = {"w": TENSORS["w"]}
    sound = save(folder / "sound.onnx", conv, [1, 4, 9, 7], w).read_bytes()
    made = {
        "There is no file": folder / "nothing.onnx",
        "height ('height' of 'x'), width (number 3 of 'x')": save(folder / "2", relu, [1, 3, "height", None]),
        "has opset 99; export it with": save(folder / "4", relu, [1, 3], opset=99),
        "is not a sound ONNX model": save(folder / "5", [("Frobnicate", "x", {})], [1, 3]),
        "has no elements": save(folder / "50", relu, [1, 0, 3]),
        "do not fit (": save(folder / "6", [("MatMul", "x w", {})], [1, 3], {"w": normal(4, 4)}),
        "do not fit": save(folder / "60", conv, [1, 3, 9, 7], w),
        "does not depend on its input": save(folder / "7", [("Identity", "x", {})], [1, 3]),
        "is a constant": save(folder / "8", [("Relu", "c", {})], [1, 3], {"c": TENSORS["c"]}),
        "cannot be inferred": save(folder / "9", values, [1, 3]),
    }
    for sentence, content in (("is not an ONNX file, or a part", sound[:-40]), ("a part of it is missing", b"hello\n"),
                              ("holds no network", b"")):  # fmt: skip
        made[sentence] = folder / f"1{len(made)}"
        made[sentence].write_bytes(content)
    return made


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    for sentence, path in faults(tmp_path).items():
        with pytest.raises(InputError) as fault:
            pytest.fail(f"{sentence}: {read_onnx(path).network}")
        assert sentence in str(fault.value) and "\n" not in str(fault.value), fault.value


def test_a_convolution_of_no_groups_is_refused(tmp_path: Path) -> None:
    """Found by the next test."""
    net = NetworkBuilder()
    net.conv(net.add("input", (2, 5, 5)), 2, 3)
    network = net.finish("made-up", "damaged")
    model = build_onnx(network, make_weights(network))
    next(a for node in model.graph.node for a in node.attribute if a.name == "group").i = 0
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="groups of 0; export it again"):
        read_onnx(tmp_path / "m.onnx")


@settings(deadline=None, max_examples=100)
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_file_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (2, 5, 5)), 2, 3, act="silu")
    net.add("dense", (2,), net.concat(x, net.pointwise("shuffle", net.pool("avg_pool", x, 3, 1, 1), groups=2)))
    network = net.finish("made-up", "damaged")
    content = bytearray(build_onnx(network, make_weights(network)).SerializeToString())
    for place, value in changes:
        content[place % len(content)] = value
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(InputError):
        Path(file.name).write_bytes(content)
        totals(read_onnx(Path(file.name)).network)


def test_show(tmp_path: Path) -> None:
    nodes, shape, tensors, *_ = FOREIGN["layer norm of tokens"]
    done = run("-m", "datasets", "show", save(tmp_path / "m.onnx", nodes, ["n", *shape[1:]], tensors), "--batch", "3")
    assert "input 3x8x5" in done.stdout and "360" in done.stdout, done.stderr
    assert "Outside the vocabulary, so only counted: LayerNormalization, MatMul, Transpose" in done.stdout
    done = run("-m", "datasets", "show", tmp_path / "none.onnx")
    assert done.returncode == 2 and done.stderr.startswith("error: There is no file")
