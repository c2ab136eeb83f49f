"""What ops of ONNX files compute, hold and move: right values by hand, each kind beside others that are alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from datasets.networks.analysis import totals, uncounted
from datasets.networks.einsum import contraction
from datasets.networks.memory import memory
from datasets.networks.network import Network
from datasets.networks.onnx_file import read_onnx
from predictors.networks.pieces import KNOWN, pieces
from tests.conftest import run

RNG = np.random.default_rng(0)
MS = "com.microsoft"
Shape = tuple[int, ...]


def node(kind: str, inputs: str, outputs: str = "y", **attrs: Any) -> NodeProto:
    """A node; kinds of onnxruntime begin with `ms.`, and inputs that are not there are `_`."""
    domain = {"domain": MS} if kind.startswith("ms.") else {}
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(kind.removeprefix("ms."), names, outputs.split(), **domain, **attrs)


def normal(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def eight(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 127, shape).astype(np.int8)


def value(name: str, shape: Shape, kind: Any = np.float32) -> onnx.ValueInfoProto:
    number = kind if isinstance(kind, int) else helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return helper.make_tensor_value_info(name, number, shape)


def read(
    folder: Path,
    nodes: list[NodeProto],
    x: Shape,
    y: Shape,
    tensors: dict[str, Any] | None = None,
    inner: dict[str, Any] | None = None,
    opset: int = 17,
    kinds: tuple[Any, Any] = (np.float32, np.float32),
) -> Network:
    """The network of nodes from x to y, read from a file in `folder`; `inner` are shapes, or shapes and types, of other
    tensors."""
    known = [value(name, *(t if isinstance(t[0], tuple) else (t,))) for name, t in (inner or {}).items()]
    arrays = (tensors or {}).items()
    protos = [t if isinstance(t, TensorProto) else numpy_helper.from_array(np.asarray(t), n) for n, t in arrays]
    graph = helper.make_graph(
        nodes, "g", [value("x", x, kinds[0])], [value("y", y, kinds[1])], protos, value_info=known
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "m.onnx")
    return read_onnx(folder / "m.onnx").network


def counted(network: Network) -> tuple[int, int]:
    """MACs and parameters, of a network that no warning is to be given of."""
    assert not uncounted(network)
    found = totals(network)
    return found["macs"], found["params"]


# Multiply-accumulates

L = (100, 1, 64)


def gates(count: int, directions: int = 1, **more: Any) -> dict[str, Any]:
    """Weights of a recurrent layer of 64 to 64, its bias, and whatever else."""
    w = normal(directions, count * 64, 64)
    return {"w": w, "r": w + 1, "b": normal(directions, 2 * count * 64), **more}


CELL = {"hidden_size": 64}
STATE = normal(1, 1, 64)
QUERY = {"num_heads": 8, "kv_num_heads": 2}
SCALES = {"xs": np.float32(0.1), "xz": np.uint8(128), "ws": np.float32(0.1), "wz": np.int8(0)}
SCALES |= {"ys": np.float32(0.1), "yz": np.uint8(128)}
UINT = (np.uint8, np.uint8)
CASES: dict[str, tuple[NodeProto, Shape, Shape, dict[str, Any], int, int, dict[str, Any]]] = {
    # name: node, shapes of x and y, tensors, MACs, parameters, what else the file needs
    "LSTM": (node("LSTM", "x w r b", **CELL), L, (100, 1, 1, 64), gates(4), 3_276_800, 33_280, {}),
    "LSTM with first states and peepholes": (
        node("LSTM", "x w r b _ h c p", **CELL), L, (100, 1, 1, 64), gates(4, h=STATE, c=STATE, p=normal(1, 192)),
        3_276_800, 33_280 + 192, {}),
    "LSTM, the batch first": (
        node("LSTM", "x w r", layout=1, **CELL), (2, 50, 64), (2, 50, 1, 64), gates(4), 3_276_800, 32_768, {}),
    "GRU": (node("GRU", "x w r b", **CELL), L, (100, 1, 1, 64), gates(3), 2_457_600, 24_960, {}),
    "RNN, both ways": (
        node("RNN", "x w r", direction="bidirectional", **CELL), L, (100, 2, 1, 64), gates(1, 2),
        1_638_400, 16_384, {}),
    "quantised LSTM": (
        node("ms.DynamicQuantizeLSTM", "x w r _ _ _ _ _ s _ s _", **CELL), L, (100, 1, 1, 64),
        {"w": eight(1, 64, 256), "r": eight(1, 64, 256), "s": normal(1)}, 3_276_800, 32_768, {}),
    "Einsum": (
        node("Einsum", "x w", equation="bij,jk->bik"), (1, 10, 20), (1, 10, 30), {"w": normal(20, 30)}, 6_000, 600, {}),
    "Einsum with an ellipsis": (
        node("Einsum", "x w", equation="...j,jk->...k"), (1, 10, 20), (1, 10, 30), {"w": normal(20, 30)},
        6_000, 600, {}),
    "Einsum of three": (
        node("Einsum", "x v w", equation="...i,ij,jk"), (1, 2, 20), (1, 2, 5),
        {"v": normal(20, 30), "w": normal(30, 5)}, 2 * 30 * (20 + 5), 750, {}),
    "product with a vector": (node("MatMul", "x w"), (1, 20, 10), (1, 20), {"w": normal(10)}, 200, 10, {}),
    "products that repeat both sides": (
        node("MatMul", "x w"), (2, 1, 3, 4), (2, 5, 3, 6), {"w": normal(5, 4, 6)}, 2 * 5 * 3 * 6 * 4, 120, {}),
    "transposed product": (
        node("Gemm", "x w b", transA=1), (8, 3), (3, 8), {"w": normal(8, 8), "b": normal(8)}, 3 * 8 * 8, 72, {}),
    "fused product": (
        node("ms.FusedMatMul", "x w", transA=1, transB=1, alpha=0.5), (2, 8, 3), (2, 3, 5), {"w": normal(5, 8)},
        2 * 3 * 5 * 8, 40, {}),
    "ConvTranspose": (
        node("ConvTranspose", "x w", strides=[2, 2]), (1, 3, 2, 2), (1, 1, 4, 4), {"w": normal(3, 1, 2, 2)},
        48, 12, {}),
    "ConvTranspose in groups": (
        node("ConvTranspose", "x w", strides=[2, 2], pads=[1] * 4, output_padding=[1, 1], group=4), (1, 4, 8, 8),
        (1, 4, 16, 16), {"w": normal(4, 1, 3, 3)}, 2_304, 36, {}),
    "ConvTranspose of a line": (
        node("ConvTranspose", "x w b"), (1, 2, 9), (1, 4, 11), {"w": normal(2, 4, 3), "b": normal(4)}, 216, 28, {}),
    "Conv of a volume, in groups": (
        node("Conv", "x w b", group=2), (1, 4, 5, 6, 7), (1, 6, 3, 4, 5), {"w": normal(6, 2, 3, 3, 3), "b": normal(6)},
        6 * 60 * 54, 330, {}),
    "deformable convolution": (
        node("DeformConv", "x w o b", kernel_shape=[3, 3]), (1, 4, 6, 6), (1, 8, 4, 4),
        {"w": normal(8, 4, 3, 3), "o": normal(1, 18, 4, 4), "b": normal(8)}, 8 * 16 * 36, 296, {"opset": 19}),
    "attention": (node("Attention", "x x x"), (1, 4, 10, 16), (1, 4, 10, 16), {}, 4 * 100 * 32, 0, {"opset": 23}),
    "attention with fewer keys, and a mask": (
        node("Attention", "x k k m", q_num_heads=4, kv_num_heads=2), (1, 10, 64), (1, 10, 64),
        {"k": normal(1, 6, 32), "m": normal(10, 6)}, 10 * 6 * 128, 0, {"opset": 23}),
    "attention with a past": (
        node("Attention", "x x x _ p p", "y k v"), (1, 2, 1, 8), (1, 2, 1, 8), {"p": normal(1, 2, 31, 8)},
        2 * 32 * 16, 0, {"opset": 23}),
    "attention with its own weights": (
        node("ms.Attention", "x w b", num_heads=4), (1, 58, 64), (1, 58, 64), {"w": normal(64, 192), "b": normal(192)},
        1_380_864 - 58 * 64 * 64, 4 * 64 * 64 - 64 * 64 + 192, {}),
    "quantised attention with a past": (
        node("ms.QAttention", "x w b s s _ z z p", num_heads=4), (1, 1, 64), (1, 1, 64),
        {"w": eight(64, 192), "b": normal(192), "s": np.float32(1), "z": np.uint8(0), "p": normal(2, 1, 4, 20, 16)},
        64 * 192 + 21 * 128, 64 * 192 + 192, {"kinds": (np.uint8, np.float32)}),
    "heads of many": (
        node("ms.MultiHeadAttention", "x k k b", num_heads=4), (1, 10, 64), (1, 10, 64),
        {"k": normal(1, 6, 64), "b": normal(192)}, 10 * 6 * 128, 192, {}),
    "heads of many, packed": (
        node("ms.MultiHeadAttention", "x", num_heads=4), (1, 10, 4, 3, 16), (1, 10, 64), {}, 10 * 10 * 128, 0, {}),
    "heads of many, split before": (
        node("ms.MultiHeadAttention", "x k k", num_heads=4), (1, 10, 64), (1, 10, 64), {"k": normal(1, 4, 6, 16)},
        10 * 6 * 128, 0, {}),
    "grouped queries": (
        node("ms.GroupQueryAttention", "x k k p p s t", **QUERY), (1, 1, 64), (1, 1, 64),
        {"k": normal(1, 1, 16), "p": normal(1, 2, 31, 8), "s": np.array([31], np.int32), "t": np.int32(32)},
        32 * 128, 0, {}),
    "grouped queries, packed": (
        node("ms.GroupQueryAttention", "x _ _ p p s t", **QUERY), (1, 1, 96), (1, 1, 64),
        {"p": normal(1, 2, 31, 8), "s": np.array([31], np.int32), "t": np.int32(32)}, 32 * 128, 0, {}),
    "grouped queries in a window": (
        node("ms.GroupQueryAttention", "x k k p p s t", local_window_size=10, **QUERY), (1, 1, 64), (1, 1, 64),
        {"k": normal(1, 1, 16), "p": normal(1, 2, 31, 8), "s": np.array([31], np.int32), "t": np.int32(32)},
        10 * 128, 0, {}),
    "QLinearConv": (
        node("QLinearConv", "x xs xz w ws wz ys yz b", pads=[1] * 4), (1, 8, 16, 16), (1, 16, 16, 16),
        {**SCALES, "w": eight(16, 8, 3, 3), "b": np.zeros(16, np.int32)}, 294_912, 1_168, {"kinds": UINT}),
    "ConvInteger": (
        node("ConvInteger", "x w xz wz", pads=[1] * 4), (1, 8, 16, 16), (1, 16, 16, 16),
        {**SCALES, "w": eight(16, 8, 3, 3)}, 294_912, 1_152, {"kinds": (np.uint8, np.int32)}),
    "QLinearMatMul": (
        node("QLinearMatMul", "x xs xz w ws wz ys yz"), (1, 10, 20), (1, 10, 30), {**SCALES, "w": eight(20, 30)},
        6_000, 600, {"kinds": UINT}),
    "MatMulInteger": (
        node("MatMulInteger", "x w"), (1, 10, 20), (1, 10, 30), {"w": eight(20, 30)}, 6_000, 600,
        {"kinds": (np.uint8, np.int32)}),
    "QGemm": (
        node("ms.QGemm", "x xs xz w ws wz b ys yz", transB=1), (1, 16), (1, 10),
        {**SCALES, "w": eight(10, 16), "b": np.zeros(10, np.int32)}, 160, 170, {"kinds": UINT}),
    "DynamicQuantizeMatMul": (
        node("ms.DynamicQuantizeMatMul", "x w ws wz b"), (1, 10, 20), (1, 10, 30),
        {**SCALES, "w": eight(20, 30), "b": normal(30)}, 6_000, 630, {}),
    "MatMulIntegerToFloat": (
        node("ms.MatMulIntegerToFloat", "x w xs ws xz wz b"), (1, 10, 20), (1, 10, 30),
        {**SCALES, "w": eight(20, 30), "b": normal(30)}, 6_000, 630, {"kinds": (np.uint8, np.float32)}),
    **{f"MatMulNBits of {bits}": (
        node("ms.MatMulNBits", "x w s", bits=bits, K=64, N=48, block_size=32), (1, 7, 64), (1, 7, 48),
        {"w": RNG.integers(0, 255, (48, 2, 4 * bits)).astype(np.uint8), "s": normal(96)}, 7 * 64 * 48, 64 * 48, {})
       for bits in (2, 4, 8)},
    "experts, two of eight": (
        node("ms.MoE", "x r u _ v", k=2), (7, 16), (7, 16),
        {"r": normal(7, 8), "u": normal(8, 16, 32), "v": normal(8, 32, 16)}, 7 * 2 * 1_024, 8 * 1_024, {}),
    "quantised experts": (
        node("ms.QMoE", "x r u s _ v s", k=1, expert_weight_bits=4), (7, 16), (7, 16),
        {"r": normal(7, 8), "u": eight(8, 32, 8).view(np.uint8), "v": eight(8, 16, 16).view(np.uint8), "s": normal(8)},
        7 * 1_024, 8 * 1_024, {}),
    "a state instead of keys": (
        node("LinearAttention", "x x x", "y s", q_num_heads=2, kv_num_heads=2, update_rule="linear"), (1, 10, 16),
        (1, 10, 16), {}, 10 * 64 * 4, 0, {"opset": 27}),
    "a causal convolution": (
        node("CausalConvWithState", "x w b", "y s"), (1, 8, 20), (1, 8, 20), {"w": normal(8, 1, 4), "b": normal(8)},
        640, 40, {"opset": 27}),
    "samples of a grid": (
        node("GridSample", "x g"), (1, 3, 8, 8), (1, 3, 2, 2), {"g": normal(1, 2, 2, 2)}, 0, 0, {"opset": 20}),
    "a spectrum": (node("DFT", "x"), (1, 8, 1), (1, 8, 2), {}, 0, 0, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_products_are_counted_by_hand(name: str, tmp_path: Path) -> None:
    op, x, y, tensors, macs, params, more = CASES[name]
    tensors = {key: tensor for key, tensor in tensors.items() if key in op.input}
    network = read(tmp_path, [op], x, y, tensors, **more)
    assert counted(network) == (macs, params)
    assert network.ops[-1].kind in KNOWN or not macs
    assert sum(piece.macs for piece in pieces(network)) == macs, "what prices are made of"


def test_a_recurrent_layer_is_the_products_that_it_repeats(tmp_path: Path) -> None:
    weights, steps = {"w": normal(1, 32, 4), "r": normal(1, 32, 8)}, 5
    layer = read(tmp_path, [node("LSTM", "x w r", hidden_size=8)], (steps, 1, 4), (steps, 1, 1, 8), weights)
    nodes, last = [], "h0"
    for i in range(steps):
        nodes += [node("MatMul", "x w", f"a{i}"), node("MatMul", f"{last} r", f"b{i}")]
        nodes += [node("Add", f"a{i} b{i}", f"s{i}"), node("Slice", f"s{i} at to axis", f"h{i + 1}")]
        last = f"h{i + 1}"
    nodes += [node("Identity", last)]
    tensors = {"w": normal(4, 32), "r": normal(8, 32), "at": [0], "to": [8], "axis": [1]}
    nodes.insert(0, node("Slice", "x at to2 axis", "h00"))
    nodes.insert(1, node("Concat", "h00 h00", "h0", axis=1))
    unrolled = read(tmp_path, nodes, (1, 4), (1, 8), {**tensors, "to2": [4]})
    assert counted(unrolled) == counted(layer), "weights count once, however often they are used"


def test_attention_written_out_is_attention_in_one_op(tmp_path: Path) -> None:
    nodes, tensors = [], {"split": [0, 0, 4, 16], "join": [0, 0, 64], "scale": np.float32(0.25)}
    for part, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [node("MatMul", f"x w{part}", part), node("Add", f"{part} b{part}", f"{part}b")]
        nodes += [node("Reshape", f"{part}b split", f"{part}s"), node("Transpose", f"{part}s", f"{part}t", perm=perm)]
        tensors |= {f"w{part}": normal(64, 64), f"b{part}": np.zeros(64, np.float32)}
    nodes += [node("MatMul", "qt kt", "a"), node("Mul", "a scale", "as"), node("Softmax", "as", "p", axis=-1),
              node("MatMul", "p vt", "o"), node("Transpose", "o", "ot", perm=[0, 2, 1, 3]),
              node("Reshape", "ot join", "z")]  # fmt: skip
    end = [node("MatMul", "z wo", "om"), node("Add", "om bo")]
    out = {"wo": normal(64, 64), "bo": normal(64)}
    ends = (1, 58, 64), (1, 58, 64)
    assert counted(read(tmp_path, [*nodes, *end], *ends, tensors | out)) == (1_380_864, 16_640)
    packed = {"w": normal(64, 192), "b": np.zeros(192, np.float32)}
    fused = [node("ms.Attention", "x w b", "z", num_heads=4), *end]
    assert counted(read(tmp_path, fused, *ends, packed | out, {"z": (1, 58, 64)})) == (1_380_864, 16_640)


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 30),
        ("ij,jk", [(2, 3), (3, 5)], 30),
        ("b...ij,...jk->b...ik", [(7, 4, 2, 3), (1, 3, 5)], 7 * 4 * 30),
        ("...i,...i->...", [(4, 1, 3), (5, 3)], 60),
        ("ij->ji", [(2, 3)], 0),
        ("ii->i", [(3, 3)], 0),
        ("i,i->", [(9,), (9,)], 9),
        ("bi,ij,jk->bk", [(2, 100), (100, 100), (100, 3)], 2 * 100 * 103),
        ("ij,jk,kl->il", [(100, 2), (2, 100), (100, 3)], 2 * 100 * 3 * 2),
        ("ai,bi,ci,di,ei,fi,gi,hi,ji->", [(2, 3)] * 9, 8 * 3),
    ],
)
def test_einsum_takes_the_cheapest_order(equation: str, shapes: list[Shape], macs: int) -> None:
    assert contraction(equation, tuple(shapes)) == macs
    operands = [normal(*shape) for shape in shapes]
    assert np.isfinite(np.einsum(equation, *operands, optimize=True)).all(), "the equations are such"


@pytest.mark.parametrize(("equation", "shapes"), [("ij,kk", [(2, 3), (2, 3)]), ("ij", [(2,)]), ("i,i", [(2,)])])
def test_an_einsum_that_does_not_fit_is_none(equation: str, shapes: list[Shape]) -> None:
    with pytest.raises(ValueError, match="."):
        contraction(equation, tuple(shapes))


def test_an_einsum_is_the_product_that_it_spells(tmp_path: Path) -> None:
    x, y, w = (1, 12, 16), (1, 12, 24), {"w": normal(16, 24)}
    product = read(tmp_path, [node("MatMul", "x w")], x, y, w)
    spelt = read(tmp_path, [node("Einsum", "x w", equation="...j,jk->...k")], x, y, w)
    assert totals(product) == totals(spelt)
    (one,), (other,) = pieces(product), pieces(spelt)
    assert (one.kind, one.macs, one.moved, one.layer) == (other.kind, other.macs, other.moved, other.layer)


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Tanh"])
def test_a_fused_convolution_is_the_convolution_and_its_activation(activation: str, tmp_path: Path) -> None:
    tensors, window = {"w": normal(16, 8, 3, 3), "b": normal(16)}, {"kernel_shape": [3, 3], "pads": [1] * 4}
    ends = (1, 8, 16, 16), (1, 16, 16, 16), tensors
    fused = read(tmp_path, [node("ms.FusedConv", "x w b", activation=activation, **window)], *ends)
    apart = read(tmp_path, [node("Conv", "x w b", "c", **window), node(activation, "c")], *ends)
    assert fused.ops == apart.ops and counted(fused) == (294_912, 1_168)
    unnamed = [[replace(piece, name="") for piece in pieces(network)] for network in (fused, apart)]
    assert unnamed[0] == unnamed[1]


def test_a_fused_convolution_of_another_activation_is_counted(tmp_path: Path) -> None:
    odd = {"activation": "LeakyRelu", "activation_params": [0.1]}
    ends = (1, 8, 16, 16), (1, 16, 14, 14), {"w": normal(16, 8, 3, 3)}
    assert counted(read(tmp_path, [node("ms.FusedConv", "x w", **odd)], *ends)) == (225_792, 1_152)
    summed = [node("Conv", "x w", "z"), node("ms.FusedConv", "x w _ z", activation="Relu")]
    network = read(tmp_path, summed, *ends)
    assert [op.kind for op in network.ops] == ["input", "conv", "conv", "add", "relu"]
    assert counted(network) == (2 * 225_792, 1_152)


def test_a_fault_in_a_product_is_a_count_that_is_not_known(tmp_path: Path) -> None:
    for odd in (
        node("ms.MatMulNBits", "x w", K="many", N=4),
        node("ms.MatMulNBits", "x w"),
        node("ms.Attention", "x w"),
    ):
        network = read(tmp_path, [odd], (1, 4), (1, 4), {"w": normal(4)})
        assert list(uncounted(network).values()) == [1] and totals(network)["macs"] == 0


# Parameters


def test_scales_indices_masks_and_states_are_no_parameters(tmp_path: Path) -> None:
    scale = {"s": np.array([1, 1, 2, 2], np.float32), "w": normal(4, 3, 1, 1)}
    resized = [node("Resize", "x _ s", "r", mode="nearest"), node("Conv", "r w")]
    assert counted(read(tmp_path, resized, (1, 3, 128, 128), (1, 4, 256, 256), scale)) == (786_432, 12)
    scattered = {"i": np.array([[0, 1], [0, 2]]), "u": normal(2)}
    assert counted(read(tmp_path, [node("ScatterND", "x i u")], (1, 77), (1, 77), scattered)) == (0, 2)
    mask = {"m": np.triu(np.full((6, 6), -np.inf, np.float32), 1), "w": normal(6, 6)}
    masked = [node("Add", "x m", "a"), node("Softmax", "a", "s"), node("Add", "s w")]
    assert counted(read(tmp_path, masked, (1, 2, 6, 6), (1, 2, 6, 6), mask)) == (0, 36), "w is no mask"
    kept = {"m": np.tril(np.ones((6, 6), np.float32)), "w": np.ones(6, np.float32)}
    multiplied = [node("Mul", "x m", "a"), node("Mul", "a w")]
    assert counted(read(tmp_path, multiplied, (1, 2, 6, 6), (1, 2, 6, 6), kept)) == (0, 6), "factors of one are learnt"
    constants = [node("ConstantOfShape", "n", "z"), node("Add", "x z")]
    assert counted(read(tmp_path, constants, (1, 6), (1, 6), {"n": np.array([6])})) == (0, 0), "nobody learnt zeros"


def test_a_bias_of_zeros_is_a_bias(tmp_path: Path) -> None:
    tensors = {"w": normal(4, 8), "b": np.zeros(8, np.float32)}
    nodes = [node("MatMul", "x w", "t"), node("Add", "t b")]
    assert counted(read(tmp_path, nodes, (1, 5, 4), (1, 5, 8), tensors)) == (160, 40)
    dense = read(tmp_path, nodes, (1, 4), (1, 8), tensors)
    assert counted(dense) == (32, 40) and [op.kind for op in dense.ops] == ["input", "dense"]
    one = {"w": normal(4, 1), "b": np.zeros(1, np.float32)}
    assert counted(read(tmp_path, [nodes[0], node("Add", "t b")], (1, 5, 4), (1, 5, 1), {**one})) == (20, 4)


def test_weights_that_ops_share_count_once(tmp_path: Path) -> None:
    w = {"w": normal(10, 10), "b": normal(10)}
    twice = [node("Gemm", "x w b", "t", transB=1), node("Gemm", "t w b", transB=1)]
    network = read(tmp_path, twice, (1, 10), (1, 10), w)
    assert counted(network) == (200, 110) and memory(network).weights == 440
    assert [op.attrs.get("tied") for op in network.ops] == [None, None, 1]
    partly = [node("Gemm", "x w b", "t", transB=1), node("Gemm", "t w c", transB=1)]
    network = read(tmp_path, partly, (1, 10), (1, 10), {**w, "c": normal(10)})
    assert counted(network) == (200, 120) and memory(network).weights == 480
    assert totals(network)["moved_bytes"] == 2 * (440 + 40 + 40), "each reads all that it needs"
    words = {"e": normal(50, 8)}
    model = [node("Gather", "e x", "g"), node("Transpose", "e", "t", perm=[1, 0]), node("MatMul", "g t")]
    network = read(tmp_path, model, (1, 6), (1, 6, 50), words, kinds=(np.int64, np.float32))
    assert counted(network) == (6 * 8 * 50, 400), "also where one reads them transposed"


@pytest.mark.parametrize("opset", [10, 13, 17, 19, 21, 25])
def test_quantised_weights_are_those_of_the_product_at_every_opset(opset: int, tmp_path: Path) -> None:
    nodes = [node("QuantizeLinear", "x xs xz", "q"), node("DequantizeLinear", "q xs xz", "d"),
             node("DequantizeLinear", "w ws wz", "v"), node("DequantizeLinear", "b ws", "c"),
             node("Conv", "d v c", pads=[1] * 4)]  # fmt: skip
    tensors = {**SCALES, "w": eight(16, 8, 3, 3), "b": np.zeros(16, np.int32)}
    del tensors["ys"], tensors["yz"]
    network = read(tmp_path, nodes, (1, 8, 16, 16), (1, 16, 16, 16), tensors, opset=opset)
    assert counted(network) == (294_912, 1_168) and memory(network).weights == 1_152 + 4 * 16
    assert totals(network)["kernels"] == 3, "weights are dequantised by nobody"
    assert [op.attrs.get("dtype", "float32") for op in network.ops] == ["float32", "uint8", "float32", "float32"]


def test_weights_of_four_bits_take_half_a_byte(tmp_path: Path) -> None:
    four = helper.make_tensor("w", TensorProto.INT4, (64, 48), bytes(64 * 24), raw=True)
    nodes = [node("DequantizeLinear", "w s", "v"), node("MatMul", "x v")]
    network = read(tmp_path, nodes, (1, 7, 64), (1, 7, 48), {"w": four, "s": np.float32(1)}, opset=21)
    assert counted(network) == (7 * 64 * 48, 64 * 48) and memory(network).weights == 32 * 48
    op, x, y, tensors, *_ = CASES["MatMulNBits of 4"]
    assert memory(read(tmp_path, [op], x, y, tensors)).weights == 32 * 48 + 4 * 96, "a scale a block stands beside them"
    half = {"w": normal(4, 3, 3, 3, dtype=np.float16)}
    network = read(tmp_path, [node("Conv", "x w")], (1, 3, 8, 8), (1, 4, 6, 6), half, kinds=(np.float16, np.float16))
    assert counted(network) == (3_888, 108) and memory(network).weights == 216
    assert totals(network)["moved_bytes"] == 2 * (192 + 108 + 144)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network, and what onnxruntime's quantisers and its optimiser make of it, by name."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"x": normal(1, 3, 32, 32)} for _ in range(2)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    folder, files = tmp_path_factory.mktemp("written"), {}
    nodes = [node("Conv", "x a ab", "c", pads=[1] * 4), node("Relu", "c", "r"),
             node("Conv", "r d db", "e", pads=[1] * 4, group=16), node("Relu", "e", "s"),
             node("GlobalAveragePool", "s", "g"), node("Flatten", "g", "f"),
             node("Gemm", "f q qb", transB=1)]  # fmt: skip
    tensors = {"a": normal(16, 3, 3, 3), "ab": normal(16), "d": normal(16, 1, 3, 3), "db": normal(16),
               "q": normal(10, 16), "qb": normal(10)}  # fmt: skip
    for opset in (13, 21):
        read(folder, nodes, (1, 3, 32, 32), (1, 10), tensors, opset=opset)
        plain = files[f"opset {opset}"] = (folder / "m.onnx").rename(folder / f"{opset}.onnx")
        files[f"qdq {opset}"] = folder / f"qdq{opset}.onnx"
        quantize_static(plain, files[f"qdq {opset}"], Images(), quant_format=QuantFormat.QDQ, per_channel=True)
    files["qoperator"], files["dynamic"] = folder / "qoperator.onnx", folder / "dynamic.onnx"
    quantize_static(files["opset 13"], files["qoperator"], Images(), quant_format=QuantFormat.QOperator)
    quantize_dynamic(files["opset 13"], files["dynamic"])
    for name in ("EXTENDED", "ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{name}")
        files[name], options.log_severity_level = folder / f"{name}.onnx", 4
        options.optimized_model_filepath = str(files[name])
        onnxruntime.InferenceSession(files["opset 13"], options, providers=["CPUExecutionProvider"])
    return files


WRITTEN = ("opset 13", "opset 21", "qdq 13", "qdq 21", "qoperator", "dynamic", "EXTENDED", "ALL")


@pytest.mark.parametrize("name", WRITTEN)
def test_what_onnxruntime_makes_of_a_file_counts_the_same(name: str, written: dict[str, Path]) -> None:
    network = read_onnx(written[name]).network
    assert counted(network) == (589_984, 778)
    kept = memory(network).weights
    assert kept == 4 * 778 if name in ("opset 13", "opset 21", "EXTENDED", "ALL") else kept < 4 * 778 / 3


# What is moved


def test_ops_that_pick_and_join_move_what_they_pick_and_join(tmp_path: Path) -> None:
    words = {"e": np.zeros((30_522, 8), np.float32)}
    network = read(tmp_path, [node("Gather", "e x")], (1, 16), (1, 16, 8), words, kinds=(np.int64, np.float32))
    assert totals(network)["moved_bytes"] == 16 * 8 + 2 * 16 * 8 * 4 and counted(network) == (0, 30_522 * 8)
    (piece,) = pieces(network)
    assert piece.moved == 16 * 8 + 2 * 16 * 8 * 4

    tensors = {f"n{i}": [i] for i in range(9)} | {"step": [2]}
    slices = [node("Slice", f"x n{i} n8 n3 step", f"s{i}") for i in range(2)]
    focus = [*slices, node("Concat", "s0 s1", axis=1)]
    found = pieces(read(tmp_path, focus, (1, 3, 8, 8), (1, 6, 8, 4), tensors))
    whole = 4 * 3 * 8 * 8
    assert [piece.moved for piece in found] == [whole, whole, 2 * whole], "halves, read and written, and all of it"

    split = [node("Split", "x n", "a b", axis=1), node("Concat", "b a", axis=1)]
    network = read(tmp_path, split, (1, 6, 8), (1, 6, 8), {"n": [2, 4]})
    assert [op.kind for op in network.ops] == ["input", "Split", "item", "concat"] or network.ops[-1].kind == "Concat"
    assert [piece.moved for piece in pieces(network)] == [2 * 192, 2 * 192]
    assert totals(network)["kernels"] == 2 and max(piece.moved for piece in pieces(network)) == 384


def test_an_op_with_several_outputs_is_one_op(tmp_path: Path) -> None:
    nodes = [node("LSTM", "x w r", "all last cell", layout=1, **CELL), node("Squeeze", "all two", "s"),
             node("Add", "s last", "t"), node("Add", "t cell")]  # fmt: skip
    network = read(tmp_path, nodes, (1, 100, 64), (1, 100, 64), {**gates(4), "two": [2]})
    assert [op.kind for op in network.ops] == ["input", "LSTM", "item", "item", "Squeeze", "Add", "Add"]
    assert counted(network) == (3_276_800, 32_768) and totals(network)["kernels"] == 4
    ranked = [node("TopK", "x k", "v i"), node("Cast", "i", "f", to=1), node("Add", "v f")]
    network = read(tmp_path, ranked, (1, 9), (1, 3), {"k": [3]})
    assert [op.attrs.get("dtype") for op in network.ops] == [None, None, "int64", None, None]
    assert memory(network).activations == 36 + 12 + 24


def test_the_command_shows_types_ports_and_memory(tmp_path: Path) -> None:
    ends = {"kinds": (np.int64, np.float32)}
    read(tmp_path, [node("Gather", "e x", "g"), node("Exp", "g")], (1, 6), (1, 6, 8), {"e": normal(50, 8)}, **ends)
    done = run("-m", "datasets", "show", tmp_path / "m.onnx")
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines() if len(line.split()) > 1)
    assert rows["input"] == "x 1x6 int64" and rows["output"] == "y 1x6x8 float32", done.stderr
    assert (rows["macs"], rows["params"], rows["weight_bytes"]) == ("0", "400", "1,600")
    assert (rows["peak_bytes"], rows["inplace_peak"], rows["types"]) == ("384", "240", "float32, int64")
