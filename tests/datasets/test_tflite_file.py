"""TFLite files as networks: what was written comes back, operators are counted, hostile files are refused."""

import os
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import needs

needs("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from datasets.networks.analysis import check_network, totals, uncounted
from datasets.networks.builder import NetworkBuilder
from datasets.networks.memory import memory
from datasets.networks.model import Model
from datasets.networks.network import Network, Port
from datasets.networks.onnx_file import read_onnx
from datasets.networks.ops import ITEM
from datasets.networks.precision import file_precision, precisions
from datasets.networks.reading import read_model
from datasets.networks.tflite_file import read_tflite
from datasets.records import InputError
from measure.backends.litert import LiteRT
from measure.backends.ort import OnnxRuntime
from measure.base import make_input, with_weights
from measure.builders.numpy_reference import evaluate
from predictors.networks.pieces import KNOWN, pieces
from tests.doubles.tflite import TFLiteMaker, looping

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
NAMES = ("zoo:lenet5", "zoo:squeezenet", "zoo:mobilenet_v2", "zoo:resnet18", f"nasbench201(channels=4,cells=1):{CELL}")


def read(content: bytes | TFLiteMaker, folder: Path, batch: int | None = None) -> Model:
    """What stands in a file, checked as what is read from a table is, and priced."""
    path = folder / "m.tflite"
    path.write_bytes(content if isinstance(content, bytes) else content.bytes())
    model = read_tflite(path, batch)
    network = model.network
    assert check_network(Network.from_json(network.to_json(), network.space, network.key)) == network
    assert all(piece.macs >= 0 for piece in pieces(network))
    return model


def kinds(model: Model) -> list[str]:
    return [op.kind for op in model.network.ops]


def folded(network: Network) -> int:
    """The parameters of a network whose batch norms become biases of the convolutions before them."""
    users = Counter(source for source, _, _ in network.edges)
    sources, saved = network.sources(), 0
    for op, (source, *_) in zip(network.ops[1:], sources[1:], strict=True):
        if op.kind == "bn" and network.ops[source].kind == "conv" and users[source] == 1:
            saved += op.attrs["shape"][0]
    return totals(network)["params"] - saved


# Round trips


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_was_written_comes_back_with_its_macs_and_parameters(
    name: str, precision: str, tmp_path: Path
) -> None:
    network = read_model(name).network
    found = read_model(LiteRT(precision=precision, calibration=1).build(with_weights(network), tmp_path))
    assert totals(found.network)["macs"] == totals(network)["macs"]
    assert totals(found.network)["params"] == folded(network)
    assert (found.network.space, found.network.batch, found.notes) == ("tflite", 1, ())
    assert {op.attrs.get("dtype", "float32") for op in found.network.ops} == {
        "float32" if precision == "fp32" else "int8"
    }
    if precision == "fp32":
        assert memory(found.network).weights == 4 * folded(network)
    else:
        weighted = [op for op in found.network.ops if op.kind in ("conv", "dense")]
        biases = 3 * sum(op.attrs["shape"][0] * op.attrs["bias"] for op in weighted)
        assert memory(found.network).weights - biases == pytest.approx(folded(network), rel=1e-3)


def test_a_file_has_the_totals_of_its_onnx_form(tmp_path: Path) -> None:
    network = read_model("zoo:squeezenet").network
    onnx = read_onnx(OnnxRuntime().build(with_weights(network), tmp_path)).network
    found = read_tflite(LiteRT().build(with_weights(network), tmp_path)).network
    assert totals(found) == totals(onnx)
    assert [op.kind for op in found.ops] == [op.kind for op in onnx.ops]


def test_every_op_of_the_vocabulary_is_read_as_it_was(tmp_path: Path) -> None:
    net = NetworkBuilder()
    x = net.pointwise("relu6", net.conv(net.add("input", (4, 16, 12)), 8, 3, 2, bias=1, pad=(0, 0, 1, 1)))
    x = net.pointwise("hswish", net.conv(x, 8, 3, groups=8, bias=1))
    x = net.add("conv", (16, 8, 6), x, kernel=(3, 1), stride=1, pad=(2, 0, 2, 0), groups=2, bias=1, dilation=(2, 1))
    x = net.concat(x, net.pointwise("sigmoid", x))
    x = net.pool("avg_pool", net.pool("max_pool", net.pointwise("silu", x), 2, 2), 3, 1, 1)
    gate = net.pointwise("tanh", net.add("global_avg_pool", (32, 1, 1), x))
    x = net.pointwise("add", x, net.pointwise("mul", x, gate))
    net.pointwise("softmax", net.add("dense", (5,), x, bias=1))
    network = net.finish("", "all")
    found = read_tflite(LiteRT().build(with_weights(network), tmp_path)).network
    expected = [(op.kind, op.attrs) for op in network.ops]
    assert [(op.kind, op.attrs) for op in found.ops] == expected
    assert sorted(found.edges) == sorted(network.edges)


@pytest.mark.parametrize("name", ["zoo:lenet5", "zoo:mobilenet_v2", "depthwise"])
def test_what_is_read_computes_what_the_runtime_does(name: str, tmp_path: Path) -> None:
    """Weights included: kernels and the rows of a dense layer behind an image come with their channels first."""
    if name == "depthwise":
        net = NetworkBuilder()
        x = net.conv(net.add("input", (4, 9, 7)), 8, 3, 2, groups=4, bias=1)
        network = net.finish("", "", net.add("dense", (5,), net.pool("avg_pool", x, 2, 1)))
    else:
        network = read_model(name).network
    path = LiteRT().build(with_weights(network), tmp_path)
    model, x = read_tflite(path), make_input(network, 1)
    session = LiteRT().load(path)
    session.bind([LiteRT().layout(x)])
    session.run()
    assert model.weights is not None
    np.testing.assert_allclose(session.fetch()[0], evaluate(model.network, model.weights, x), rtol=1e-3, atol=1e-4)
    assert read_tflite(path, weights=False).weights is None


# Kinds of files


def test_an_activation_that_an_operator_takes_along_is_an_op_of_its_own(tmp_path: Path) -> None:
    made = TFLiteMaker()
    y = x = made.tensor((1, 4))
    for number in (1, 2, 3, 4, 5):
        y = made.op("ADD", [y, y], made.tensor((1, 4)), kind="Add", fusedActivationFunction=number)
    made.end([x], [y])
    expected = ["input", *(kind for act in ("relu", "Clip", "relu6", "tanh", "Sign") for kind in ("add", act))]
    assert kinds(read(made, tmp_path)) == expected


def test_products_state_their_macs_and_parameters(tmp_path: Path) -> None:
    made = TFLiteMaker()
    a, b = made.tensor((2, 5, 16)), made.tensor((2, 7, 16))
    scores = made.op("BATCH_MATMUL", [a, b], made.tensor((2, 5, 7)), kind="BatchMatMul", adjY=True)
    matrix, bias = made.stored(np.ones((3, 7), np.float32)), made.stored(np.ones(3, np.float32))
    rows = made.op("FULLY_CONNECTED", [scores, matrix, bias], made.tensor((2, 5, 3)), kind="FullyConnected")
    plain = made.op("FULLY_CONNECTED", [rows, made.stored(np.ones((2, 3), np.float32))], made.tensor((10, 2)))
    made.end([a, b], [plain])
    model = read(made, tmp_path)
    product, gemm, last = model.network.ops[2:]
    assert model.network.batch == 2
    assert (product.kind, product.attrs["macs"], product.attrs["shape"]) == ("MatMul", 5 * 7 * 16, (5, 7))
    assert (gemm.kind, gemm.attrs["macs"], gemm.attrs["params"]) == ("Gemm", 5 * 7 * 3, 24)
    assert (last.kind, last.attrs["macs"], last.attrs["whole"]) == ("MatMul", 10 * 3 * 2, 1), "rows of both samples"
    assert totals(model.network)["macs"] == 2 * 5 * 7 * 16 + 2 * 5 * 7 * 3 + 60
    layer = pieces(model.network)[1].layer
    assert (layer["batch"], layer["in"], layer["out"], layer["bias"]) == (10, 7, 3, 1), "a dense layer of ten rows"


def test_transposed_convolutions_recurrent_layers_and_tables_are_counted(tmp_path: Path) -> None:
    made = TFLiteMaker()
    image, ids, steps = made.tensor((1, 8, 8, 16)), made.tensor((6,), "INT32"), made.tensor((1, 12, 5))
    kernel, shape = made.stored(np.ones((8, 3, 3, 16), np.float32)), made.stored(np.array([1, 16, 16, 8], np.int32))
    y = made.op("TRANSPOSE_CONV", [shape, kernel, image], made.tensor((1, 16, 16, 8)), kind="TransposeConv")
    table = made.stored(np.ones((100, 16), np.float32))
    rows = made.op("EMBEDDING_LOOKUP", [ids, table], made.tensor((6, 16)))
    gates = [made.stored(np.ones(s, np.float32)) for s in 4 * [(8, 5)] + 4 * [(8, 8)]]
    biases = [made.stored(np.ones(8, np.float32)) for _ in range(4)]
    state = [made.tensor((1, 8)) for _ in range(2)]
    none = made.tensor(())
    lstm = made.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [steps, *gates, *3 * [none], *biases, none, none, *state],
        made.tensor((1, 12, 8)), kind="UnidirectionalSequenceLSTM",
    )  # fmt: skip
    for place in (9, 10, 11, 16, 17):
        made.operators[-1].inputs[place] = -1
    made.end([image, ids, steps], [y, rows, lstm])
    ops = {op.kind: op.attrs for op in read(made, tmp_path).network.ops}
    assert ops["ConvTranspose"]["shape"] == (8, 16, 16)
    assert (ops["ConvTranspose"]["macs"], ops["ConvTranspose"]["params"]) == (8 * 8 * 16 * 8 * 9, 8 * 9 * 16)
    assert (ops["Gather"]["params"], ops["Gather"]["read_bytes"]) == (1600, 6 * 16 * 4 + 6 * 4)
    assert ops["LSTM"]["macs"] == 12 * 4 * (5 * 8 + 8 * 8) and ops["LSTM"]["params"] == 4 * (5 * 8 + 8 * 8 + 8)


def test_products_of_stablehlo_are_counted(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, kernel = made.tensor((1, 8, 8, 4)), made.stored(np.ones((3, 3, 4, 6), np.float32))
    y = made.op("STABLEHLO_CONVOLUTION", [x, kernel], made.tensor((1, 8, 8, 6)))
    made.operators[-1].builtinOptions2Type = 4
    made.operators[-1].builtinOptions2 = schema.StablehloConvolutionOptionsT(outputFeatureDimension=3)
    z = made.op("STABLEHLO_DOT_GENERAL", [y, made.stored(np.ones((6, 2), np.float32))], made.tensor((1, 8, 8, 2)))
    made.operators[-1].builtinOptions2Type = 12
    made.operators[-1].builtinOptions2 = schema.StablehloDotGeneralOptionsT(lhsContractingDimensions=[3])
    made.end([x], [z])
    ops = read(made, tmp_path).network.ops
    assert [(op.kind, op.attrs["macs"]) for op in ops[1:]] == [("Conv", 64 * 6 * 9 * 4), ("MatMul", 64 * 2 * 6)]


def test_weights_of_16_bits_that_are_dequantised_are_parameters_of_two_bytes(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, y = made.tensor((1, 4)), made.tensor((1, 3))
    weight = made.op("DEQUANTIZE", [made.stored(np.ones((3, 4), np.float16))], made.tensor((3, 4)), kind="Dequantize")
    bias = made.op("DEQUANTIZE", [made.stored(np.zeros(3, np.float16))], made.tensor((3,)), kind="Dequantize")
    made.op("FULLY_CONNECTED", [x, weight, bias], y, kind="FullyConnected")
    made.end([x], [y])
    found = read(made, tmp_path)
    assert kinds(found) == ["input", "dense"]
    assert found.network.ops[1].attrs == {"shape": (3,), "bias": 0, "param_bytes": 24}, "zeros are no bias"
    assert found.source is not None and file_precision(found.source) == "fp32", "LiteRT converts them when it loads"
    assert precisions(found.network) == ["", "fp32"]


def test_weights_of_8_bits_beside_floats_are_counted_by_their_own_bytes(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, y = made.tensor((1, 4)), made.tensor((1, 3))
    weight, _ = made.weight(np.arange(12, dtype=np.float32).reshape(3, 4), 0)
    made.op("FULLY_CONNECTED", [x, weight], y, kind="FullyConnected")
    made.end([x], [y])
    assert read(made, tmp_path).network.ops[1].attrs == {"shape": (3,), "bias": 0, "param_bytes": 12}


def test_several_inputs_and_outputs_keep_their_names_and_types(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, mask = made.tensor((1, 9), name="x"), made.tensor((1, 9), "BOOL", "x")
    parts = [made.tensor((1, 3), name=f"part{i}") for i in range(3)]
    kept = made.op("SELECT_V2", [mask, x, made.stored(np.zeros((1, 9), np.float32))], made.tensor((1, 9)))
    made.op("SPLIT", [made.stored(np.int32(1)), kept], *parts, kind="Split", numSplits=3)
    made.end([x, mask], [parts[2], parts[0]])
    model = read(made, tmp_path)
    network = model.network
    assert kinds(model) == ["input", "input", "Where", "Split", ITEM]
    assert network.inputs == (Port("x", 0), Port("x (2)", 1, "bool"))
    assert network.outputs == (Port("part2", 4), Port("part0", 3)), "the part that nothing reads is left out"
    assert "params" not in network.ops[2].attrs and network.ops[1].attrs["dtype"] == "bool"


def test_weights_that_two_operators_share_count_once(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, weight = made.tensor((1, 4)), made.stored(np.ones((4, 4), np.float32))
    y = x
    for _ in range(2):
        y = made.op("FULLY_CONNECTED", [y, weight], made.tensor((1, 4)), kind="FullyConnected")
    made.end([x], [y])
    found = totals(read(made, tmp_path).network)
    assert (found["params"], found["macs"]) == (16, 32)


def test_masks_are_no_parameters_and_biases_are(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, mask = made.tensor((1, 4, 4)), np.triu(np.full((1, 4, 4), -1e9, np.float32), 1)
    y = made.op("ADD", [x, made.stored(mask)], made.tensor((1, 4, 4)), kind="Add")
    y = made.op("ADD", [y, made.stored(np.ones(4, np.float32))], made.tensor((1, 4, 4)), kind="Add")
    made.end([x], [y])
    ops = read(made, tmp_path).network.ops
    assert [op.attrs.get("params", 0) for op in ops] == [0, 0, 4]


def test_images_with_channels_first_are_images_before_and_after_they_are_transposed(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, order = made.tensor((1, 3, 8, 6)), made.stored(np.array([0, 2, 3, 1], np.int32))
    last = made.op("TRANSPOSE", [x, order], made.tensor((1, 8, 6, 3)), kind="Transpose")
    kernel = made.stored(np.ones((4, 1, 1, 3), np.float32))
    y = made.op("CONV_2D", [last, kernel], made.tensor((1, 8, 6, 4)), kind="Conv2D", strideH=1, strideW=1)
    back = made.stored(np.array([0, 3, 1, 2], np.int32))
    made.end([x], [made.op("TRANSPOSE", [y, back], made.tensor((1, 4, 8, 6)), kind="Transpose")])
    model = read(made, tmp_path)
    assert kinds(model) == ["input", "Transpose", "conv", "Transpose"]
    assert [op.attrs["shape"] for op in model.network.ops] == [(3, 8, 6), (3, 8, 6), (4, 8, 6), (4, 8, 6)]


def test_custom_operators_are_named_and_their_work_is_said_to_be_unknown(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, 4))
    made.end([x], [made.custom("FlexInv", [x], made.tensor((1, 4)))])
    network = read(made, tmp_path).network
    assert uncounted(network) == {"custom.FlexInv": 1}


def test_a_batch_that_is_open_defaults_to_one_and_one_that_is_fixed_stays(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, 4), signature=(-1, 4))
    y = made.op("FULLY_CONNECTED", [x, made.stored(np.ones((3, 4), np.float32))], made.tensor((1, 3)))
    made.end([x], [y])
    assert read(made, tmp_path).network.batch == 1
    several = read(made, tmp_path, 5)
    assert several.network.batch == 5 and totals(several.network)["macs"] == 60 and not several.notes
    fixed = LiteRT(batch=2).build(with_weights(read_model("zoo:lenet5").network), tmp_path)
    assert totals(read_tflite(fixed).network)["macs"] == 2 * totals(read_model("zoo:lenet5").network)["macs"]
    with pytest.raises(InputError, match="fixes its batch at 2; leave the batch 5 out"):
        read_tflite(fixed, 5)


def test_other_open_sizes_are_those_of_the_file_and_a_note_says_so(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, 7, 4), name="words", signature=(-1, -1, 4))
    made.end([x], [made.op("RELU", [x], made.tensor((1, 7, 4)))])
    (note,) = read(made, tmp_path).notes
    assert note == "It leaves sizes of its inputs open; counted are those that it was written with (words 1x7x4)."


def test_tensors_without_elements_and_scalars_are_counted(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, scalar = made.tensor((1, 4)), made.tensor(())
    made.op("SUM", [x, made.stored(np.array([0, 1], np.int32))], scalar, kind="Reducer")
    made.end([x], [scalar, made.op("TOPK_V2", [x, made.stored(np.int32(0))], made.tensor((1, 0)))])
    assert [op.attrs["shape"] for op in read(made, tmp_path).network.ops] == [(4,), (1,), (0,)]


# Control flow


def test_loops_run_as_often_as_they_count_and_the_dearer_branch_is_counted(tmp_path: Path) -> None:
    model = read(looping(), tmp_path)
    assert [(op.kind, op.attrs.get("times", 1)) for op in model.network.ops] == [
        ("input", 1), ("input", 1), ("dense", 7), ("dense", 1)
    ]  # fmt: skip
    assert totals(model.network)["macs"] == 16 * 8 and totals(model.network)["params"] == 32
    assert model.notes == ("An IF depends on the input; the branch that costs more is counted.",)
    assert totals(read(looping(0), tmp_path).network)["macs"] == 16, "a loop that never runs"


def test_a_branch_that_is_known_is_taken_and_a_loop_that_is_not_runs_once(tmp_path: Path) -> None:
    for taken, kind in ((True, "relu"), (False, "tanh")):
        made = TFLiteMaker()
        x, pick = made.tensor((1, 4)), made.stored(np.array(taken))
        y = made.op("IF", [pick, x], made.tensor((1, 4)), kind="If", thenSubgraphIndex=1, elseSubgraphIndex=2)
        z = made.op("WHILE", [y], made.tensor((1, 4)), kind="While", condSubgraphIndex=3, bodySubgraphIndex=1)
        made.end([x], [z])
        for name, dtype in (("RELU", "FLOAT32"), ("TANH", "FLOAT32"), ("REDUCE_ANY", "BOOL")):
            x = made.tensor((1, 4))
            made.end([x], [made.op(name, [x], made.tensor((1, 4) if dtype != "BOOL" else (), dtype))])
        model = read(made, tmp_path)
        assert kinds(model) == ["input", kind, "relu"]
        assert model.notes == ("How often a WHILE runs is not known; it is counted once.",)


def test_a_loop_that_may_end_early_counts_all_of_its_trips(tmp_path: Path) -> None:
    """The bound of its counter comes in from outside, beside a condition that depends on the input."""
    made = TFLiteMaker()
    x, start, bound = made.tensor((1, 4)), made.stored(np.int32(2)), made.stored(np.int32(9))
    outputs = [made.tensor((), "INT32"), made.tensor((), "INT32"), made.tensor((1, 4))]
    made.op("WHILE", [start, bound, x], *outputs, kind="While", condSubgraphIndex=1, bodySubgraphIndex=2)
    made.end([x], [outputs[2]])
    i, last, x = made.tensor((), "INT32"), made.tensor((), "INT32"), made.tensor((1, 4))
    counts = made.op("GREATER", [last, i], made.tensor((), "BOOL"))
    some = made.op("REDUCE_ANY", [x], made.tensor((), "BOOL"))
    made.end([i, last, x], [made.op("LOGICAL_AND", [counts, some], made.tensor((), "BOOL"))])
    i, last, x = made.tensor((), "INT32"), made.tensor((), "INT32"), made.tensor((1, 4))
    more = made.op("ADD", [made.stored(np.int32(3)), i], made.tensor((), "INT32"))
    made.end([i, last, x], [more, last, made.op("EXP", [x], made.tensor((1, 4)))])
    model = read(made, tmp_path)
    assert model.network.ops[1].attrs == {"shape": (4,), "times": 3}, "from 2 to 9 by threes"
    assert model.notes == ("A WHILE may end early; all of its trips are counted.",)


def test_subgraphs_that_call_themselves_are_refused(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, 4))
    made.end([x], [made.op("CALL", [x], made.tensor((1, 4)), kind="Call", subgraph=1)])
    x = made.tensor((1, 4))
    y = made.op("CALL", [x], made.tensor((1, 4)), kind="Call", subgraph=1)
    made.end([x], [made.op("CALL", [y], made.tensor((1, 4)), kind="Call", subgraph=1)])
    with pytest.raises(InputError, match="call themselves, or each other more than 20 levels deep"):
        read(made, tmp_path)


def test_large_subgraphs_that_are_called_often_are_refused_in_bounded_time(tmp_path: Path) -> None:
    made, start = TFLiteMaker(), time.perf_counter()
    y = x = made.tensor((1, 4))
    for _ in range(1000):
        y = made.op("CALL", [y], made.tensor((1, 4)), kind="Call", subgraph=1)
    made.end([x], [y])
    x = made.tensor((1, 4))
    for _ in range(5000):
        made.tensor((1, 4))
    made.end([x], [made.op("RELU", [x], made.tensor((1, 4)))])
    with pytest.raises(InputError, match="or some of them without end"):
        read(made, tmp_path)
    assert time.perf_counter() - start < 60


def test_other_entry_points_are_named_in_a_note(tmp_path: Path) -> None:
    made = TFLiteMaker()
    for _ in range(2):
        x = made.tensor((1, 4))
        made.end([x], [made.op("RELU", [x], made.tensor((1, 4)))])
    assert read(made, tmp_path).notes == ("Only its first subgraph is read, and 1 others are not called by it.",)


# Hostile files


def test_buffers_behind_the_flatbuffer_are_read(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x, bias = made.tensor((1, 4)), made.stored(np.zeros(3, np.float32))
    weight = made.stored(np.ones((3, 4), np.float32))
    made.end([x], [made.op("FULLY_CONNECTED", [x, weight, bias], made.tensor((1, 3)), kind="FullyConnected")])
    made.buffers[1] = schema.BufferT(offset=987654321, size=12)
    content = made.bytes()
    outside = content.replace(struct.pack("<Q", 987654321), struct.pack("<Q", len(content))) + bytes(12)
    assert read(outside, tmp_path).network.ops[1].attrs["bias"] == 0
    with pytest.raises(InputError, match="a part of it is missing"):
        read(outside[:-1], tmp_path)


def test_files_that_are_cut_are_refused_in_one_sentence(tmp_path: Path) -> None:
    content = looping()
    for size in range(0, len(content) - 1, 13):
        try:
            read(content[:size], tmp_path)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            assert size > len(content) - 64, "only padding may be missing"


def test_damaged_numbers_are_refused_or_read_in_bounded_time(tmp_path: Path) -> None:
    """Every aligned number of a file as an extreme one: distances back, vectors without end, sizes below 0."""
    content, start = looping(), time.perf_counter()
    for number, place in enumerate(range(0, len(content) - 4, 4)):
        value = (0, 2**31 - 1, 2**32 - 1, -place)[number % 4]
        (tmp_path / "m.tflite").write_bytes(content[:place] + struct.pack("<I", value % 2**32) + content[place + 4 :])
        try:
            read_tflite(tmp_path / "m.tflite")
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
    assert time.perf_counter() - start < 120


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no TFLite file of version 3"),
        (b"\x1c\0\0\0TFL2" + bytes(64), "is no TFLite file of version 3"),
        (b"\x1c\0\0\0TFL3", "a part of it is missing"),
        (b"\0\0\0\0TFL3" + bytes(64), "is damaged"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        read(content, tmp_path)


def test_sizes_below_zero_texts_and_networks_that_compute_nothing_are_refused(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, -4), name="left")
    made.end([x], [made.op("RELU", [x], made.tensor((1, 4)))])
    with pytest.raises(InputError, match=r"the tensor 'left' has a size below 0"):
        read(made, tmp_path)
    made = TFLiteMaker()
    x = made.tensor((1, 4), "STRING")
    made.end([x], [made.op("RESHAPE", [x], made.tensor((4,), "STRING"))])
    with pytest.raises(InputError, match="computes with text"):
        read(made, tmp_path)
    made = TFLiteMaker()
    x = made.tensor((1, 4))
    made.end([x], [made.op("NEG", [made.stored(np.ones(4, np.float32))], made.tensor((4,)))])
    with pytest.raises(InputError, match="No output of .* depends on its inputs"):
        read(made, tmp_path)


def test_more_than_any_network_has_is_refused(tmp_path: Path) -> None:
    made = TFLiteMaker()
    x = made.tensor((1, *8 * [2**30]))
    made.end([x], [made.op("RELU", [x], made.tensor((1, *8 * [2**30])))])
    with pytest.raises(InputError, match="more than any network has"):
        read(made, tmp_path)


# Commands


def test_commands_take_tflite_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets.__main__ import show

    path = tmp_path / "m.tflite"
    path.write_bytes(looping())
    show(str(path))
    out = capsys.readouterr().out
    assert "m.tflite:" in out and "Note: An IF depends on the input" in out
    assert {op.kind for op in read_tflite(path).network.ops} <= KNOWN


def test_litert_runs_the_file_and_others_what_can_be_built_again(tmp_path: Path) -> None:
    from measure.network_files import name_file, read_subject

    path = LiteRT().build(with_weights(read_model("zoo:lenet5").network), tmp_path)
    subject = name_file(path)
    model = read_subject(subject, 1)
    assert subject.space == "tflite" and LiteRT().own_file(model) == path and OnnxRuntime().own_file(model) is None
    OnnxRuntime().session(model)
    path.write_bytes(looping())
    model = read_subject(name_file(path), 1)
    assert LiteRT().session(model).fetch()[0].shape == (1, 4)
    with pytest.raises(InputError, match="it has bool and 2 inputs and 1 output, and only fp32 networks of one"):
        OnnxRuntime().session(model)


# The converter


def test_what_tensorflow_converts_is_counted(tmp_path: Path) -> None:
    """A recurrent layer that became a loop, attention, and both outputs of one network, in three precisions."""
    needs("tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from measure.builders.keras_model import tensorflow
    from measure.silence import quiet

    tf = tensorflow()
    layers = tf.keras.layers
    with quiet():
        x = tf.keras.Input((12, 5), batch_size=1)
        gru = tf.keras.Model(x, layers.GRU(8, bias_initializer="ones")(x))
        x = tf.keras.Input((10, 16), batch_size=1)
        attention = tf.keras.Model(x, layers.MultiHeadAttention(2, 8)(x, x))
        x = tf.keras.Input((16, 16, 3))
        y = layers.Flatten()(layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x))
        two = tf.keras.Model(x, [layers.Dense(10, activation="softmax")(y), layers.Dense(4)(y)])

        def convert(model: Any, *types: Any) -> Model:
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if types else []
            converter.target_spec.supported_types = [kind for kind in types if kind != tf.int8]
            return read(converter.convert(), tmp_path)

        found = [convert(gru), convert(attention), convert(two), convert(two, tf.float16), convert(two, tf.int8)]
    sums = [totals(model.network) for model in found]
    assert sums[0]["macs"] == 12 * 24 * (5 + 8) and sums[0]["params"] == 24 * (5 + 8) + 2 * 24
    assert sums[1]["macs"] == 4 * 10 * 16 * 16 + 2 * 2 * 10 * 10 * 8
    for model, held in zip(found[2:], (4 * 7384, 2 * 7384, 7168 + 4 * 216), strict=True):  # small ones stay fp32
        assert totals(model.network)["macs"] == 8 * 8 * 8 * 27 + 512 * 14
        assert [model.network.shape(port.node) for port in model.network.outputs] in ([(10,), (4,)], [(4,), (10,)])
        assert memory(model.network).weights == held
