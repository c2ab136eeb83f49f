"""Operators of onnxruntime's own: shapes and element types as onnxruntime gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from datasets.networks.analysis import totals
from datasets.networks.onnx_file import read_onnx
from datasets.records import InputError

RNG = np.random.default_rng(0)
MS = "com.microsoft"


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def u8(*shape: int) -> np.ndarray:
    return RNG.integers(0, 255, shape).astype(np.uint8)


SCALE, ZERO = np.float32(0.1), np.uint8(128)
NORM = {"g": f32(8), "b": f32(8)}
X = f32(2, 5, 8)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], int]] = {
    # op; what is fed; what is constant, in the op's order after that; attributes; outputs
    "FusedConv": ("FusedConv", {"x": f32(2, 3, 9, 9)}, {"w": f32(4, 3, 3, 3), "b": f32(4)},
                  {"activation": "Relu", "strides": [2, 2], "pads": [1] * 4}, 1),
    "FusedMatMul": ("FusedMatMul", {"x": X, "y": f32(2, 6, 8)}, {}, {"transB": 1, "alpha": 0.5}, 1),
    "FusedMatMul, left": ("FusedMatMul", {"x": f32(2, 5, 8), "y": f32(2, 5, 3)}, {}, {"transA": 1}, 1),
    "FusedMatMul, batch": ("FusedMatMul", {"x": f32(5, 2, 8), "y": f32(2, 8, 3)}, {}, {"transBatchA": 1}, 1),
    "FusedGemm": ("FusedGemm", {"x": f32(2, 8)}, {"w": f32(3, 8), "b": f32(3)}, {"transB": 1, "activation": "Relu"}, 1),
    "Attention": ("Attention", {"x": X}, {"w": f32(8, 24), "b": f32(24)}, {"num_heads": 2}, 1),
    "Attention, narrow values": ("Attention", {"x": X}, {"w": f32(8, 20), "b": f32(20)},
                                 {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4]}, 1),
    "MultiHeadAttention": ("MultiHeadAttention", {"q": X, "k": f32(2, 7, 8), "v": f32(2, 7, 8)}, {},
                           {"num_heads": 2}, 1),
    "GroupQueryAttention": ("GroupQueryAttention",
                            {"q": f32(1, 5, 16), "k": f32(1, 5, 8), "v": f32(1, 5, 8), "pk": f32(1, 1, 4, 8),
                             "pv": f32(1, 1, 4, 8), "s": np.array([8], np.int32), "n": np.array(9, np.int32)},
                            {}, {"num_heads": 2, "kv_num_heads": 1}, 3),
    "SkipLayerNormalization": ("SkipLayerNormalization", {"x": X, "y": f32(2, 5, 8)}, NORM, {}, 1),
    "SkipSimplifiedLayerNormalization": ("SkipSimplifiedLayerNormalization", {"x": X, "y": f32(2, 5, 8)},
                                         {"g": f32(8)}, {}, 1),
    "EmbedLayerNormalization": ("EmbedLayerNormalization", {"i": np.ones((2, 5), np.int32)},
                                {"": None, "e": f32(20, 8), "p": f32(9, 8), " ": None} | NORM, {}, 2),
    "RotaryEmbedding": ("RotaryEmbedding", {"x": f32(2, 4, 5, 8), "p": np.ones((2, 5), np.int64)},
                        {"c": f32(9, 4), "s": f32(9, 4)}, {}, 1),
    "BiasGelu": ("BiasGelu", {"x": X}, {"b": f32(8)}, {}, 1),
    "FastGelu": ("FastGelu", {"x": X}, {"b": f32(8)}, {}, 1),
    "QuickGelu": ("QuickGelu", {"x": X}, {}, {"alpha": 1.7}, 1),
    "Gelu": ("Gelu", {"x": X}, {}, {}, 1),
    "MatMulNBits": ("MatMulNBits", {"x": f32(2, 5, 64)}, {"w": u8(16, 2, 16), "s": f32(32)},
                    {"K": 64, "N": 16, "bits": 4, "block_size": 32}, 1),
    "QLinearAdd": ("QLinearAdd", {"x": u8(2, 5, 8)},
                   {"a": SCALE, "b": ZERO, "c": u8(8), "d": SCALE, "e": ZERO, "f": SCALE, "g": ZERO}, {}, 1),
    "QLinearMul": ("QLinearMul", {"x": u8(2, 5, 1)},
                   {"a": SCALE, "b": ZERO, "c": u8(8), "d": SCALE, "e": ZERO, "f": SCALE, "g": ZERO}, {}, 1),
    "QLinearSigmoid": ("QLinearSigmoid", {"x": u8(2, 5)}, {"a": SCALE, "b": ZERO, "c": SCALE, "d": ZERO}, {}, 1),
    "QLinearLeakyRelu": ("QLinearLeakyRelu", {"x": u8(2, 5)}, {"a": SCALE, "b": ZERO, "c": SCALE, "d": ZERO},
                         {"alpha": 0.1}, 1),
    "QLinearAveragePool": ("QLinearAveragePool", {"x": u8(2, 3, 8, 8)},
                           {"a": SCALE, "b": ZERO, "c": SCALE, "d": ZERO}, {"kernel_shape": [3, 3]}, 1),
    "QLinearGlobalAveragePool": ("QLinearGlobalAveragePool", {"x": u8(2, 3, 8, 8)},
                                 {"a": SCALE, "b": ZERO, "c": SCALE, "d": ZERO}, {"channels_last": 0}, 1),
    "QGemm": ("QGemm", {"x": u8(2, 8)}, {"a": SCALE, "b": ZERO, "w": u8(3, 8), "c": SCALE, "d": ZERO,
                                        "e": np.zeros(3, np.int32), "f": SCALE, "g": ZERO}, {"transB": 1}, 1),
    "QGemm to floats": ("QGemm", {"x": u8(2, 8)}, {"a": SCALE, "b": ZERO, "w": u8(3, 8), "c": SCALE, "d": ZERO},
                        {"transB": 1}, 1),
    "DynamicQuantizeMatMul": ("DynamicQuantizeMatMul", {"x": X}, {"w": u8(8, 3), "a": SCALE, "b": ZERO}, {}, 1),
    "MatMulIntegerToFloat": ("MatMulIntegerToFloat", {"x": u8(2, 5, 8)},
                             {"w": u8(8, 3), "a": SCALE, "b": SCALE, "c": ZERO, "d": ZERO}, {}, 1),
    "Trilu": ("Trilu", {"x": f32(2, 4, 4)}, {}, {"upper": 1}, 1),
}  # fmt: skip


def saved(path: Path, case: str) -> onnx.ModelProto:
    op, fed, constants, attrs, outputs = CASES[case]
    names = ["" if value is None else name for name, value in constants.items()]
    node = helper.make_node(op, [*fed, *names], [f"y{i}" for i in range(outputs)], domain=MS, **attrs)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in fed.items()
    ]
    ends = [helper.make_empty_tensor_value_info(name) for name in node.output]
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if v is not None]
    graph = helper.make_graph([node], "g", inputs, ends, held)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)], ir_version=8
    )
    onnx.save(model, path)
    return model


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_as_the_runtime_gives_them(case: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "m.onnx", case)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.run(None, CASES[case][1])
    network = read_onnx(tmp_path / "m.onnx").network
    for value, port in zip(given, network.outputs, strict=True):
        attrs = network.ops[port.node].attrs
        assert port.dtype == attrs.get("dtype", "float32") == value.dtype.name
        assert np.prod(attrs["shape"]) * (1 if attrs.get("whole") else network.batch or 1) == value.size
        if value.shape[0] == network.batch and value.ndim > 1:
            assert attrs["shape"] == value.shape[1:]


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_operators_written_as_onnx_s_own_are_known(opset: int, tmp_path: Path) -> None:
    """onnxruntime's optimiser writes layer normalisations as ONNX's before that has them."""
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"]),
             helper.make_node("SimplifiedLayerNormalization", ["n", "g"], ["s"], axis=-1),
             helper.make_node("Relu", ["s"], ["y"])]  # fmt: skip
    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5, 8]), helper.make_empty_tensor_value_info("y")
    held = [numpy_helper.from_array(value, name) for name, value in NORM.items()]
    graph, imports = helper.make_graph(nodes, "g", [x], [y], held), [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=7), tmp_path / "m.onnx")
    assert len(onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes()).get_inputs()) == 1
    network = read_onnx(tmp_path / "m.onnx").network
    assert [op.kind for op in network.ops[1:]] == ["LayerNormalization", "SimplifiedLayerNormalization", "relu"]
    assert totals(network)["params"] == 16


def test_operators_of_other_domains_are_read_with_a_note_where_the_file_has_no_shape(tmp_path: Path) -> None:
    node = helper.make_node("Strange", ["x"], ["s"], domain="else.where")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xys"]
    relu = helper.make_node("Relu", ["s"], ["y"])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("else.where", 3)]
    for known in ([ends[2]], []):
        graph = helper.make_graph([node, relu], "g", ends[:1], ends[1:2], value_info=known)
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
        model = read_onnx(tmp_path / "m.onnx")
        assert [op.kind for op in model.network.ops] == ["input", "else.where.Strange", "relu"]
        assert bool(model.notes) == (not known)


def test_a_faulty_operator_is_one_sentence(tmp_path: Path) -> None:
    for op, attrs in (
        ("Attention", {}),
        ("MatMulNBits", {}),
        ("Attention", {"num_heads": 0}),
        ("QLinearConcat", {"axis": 1}),
    ):
        node = helper.make_node(op, ["x"], ["y"], domain=MS, **attrs)
        x, y = (
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4]),
            helper.make_empty_tensor_value_info("y"),
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
        onnx.save(
            helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=imports, ir_version=8),
            tmp_path / "m",
        )
        with pytest.raises(InputError, match=f"A {op} in .* does not fit its inputs"):
            read_onnx(tmp_path / "m")
