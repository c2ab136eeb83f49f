"""Keras models and TFLite files: direct and converted ones agree, blocks stand alone, delegates refuse operators."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import needs

needs("ai_edge_litert")

from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Model
from datasets.records import Architecture, InputError
from datasets.spaces.fbnet import FBNet
from datasets.spaces.nasbench201 import NasBench201
from measure.backends import backend_classes, parse_backend
from measure.backends.litert import LiteRT
from measure.backends.tensorflow_keras import KerasGPU
from measure.base import make_input, reference_network, with_weights
from measure.builders.affine import Affine
from measure.builders.delegates import DELEGATES, refused
from measure.builders.nhwc import padding, to_nchw, to_nhwc
from measure.builders.numpy_reference import evaluate
from measure.builders.tflite_file import TFLiteFile, read_operators
from measure.builders.tflite_graph import build_tflite
from measure.builders.weights import make_weights
from measure.outputs import compare_output
from measure.references import expected_output
from measure.silence import quiet
from tests.contracts.test_backends import every_op

SPACE = NasBench201(channels=4, cells=1)
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
ZERO = "|none~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_1x1~2|"
"""Its first node is a constant, which goes through a convolution and a sum."""


def expand(key: str) -> Architecture:
    return SPACE.expand(SPACE.parse([key])[0])


def written(network: Architecture, precision: str, folder: Path, batch: int = 1, **options: bool) -> Path:
    return LiteRT(precision=precision, batch=batch, **options).build(with_weights(network), folder)


def kinds(path: Path) -> Counter:
    return Counter((op.name, op.version) for op in read_operators(path))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Precision -> the same network written directly and by the converter, which is slow."""
    network, pairs = expand(CELL), {}
    for precision in LiteRT.precisions:
        folders = [tmp_path_factory.mktemp(precision) for _ in range(2)]
        pairs[precision] = tuple(
            written(network, precision, folder, converter=converter)
            for folder, converter in zip(folders, (False, True), strict=True)
        )
    return pairs


@pytest.mark.parametrize("precision", LiteRT.precisions)
def test_a_file_written_directly_is_what_the_converter_writes(
    precision: str, converted: dict[str, tuple[Path, Path]]
) -> None:
    """Operator for operator and version for version, fused and merged alike; and both compute the network."""
    network = expand(CELL)
    assert kinds(converted[precision][0]) == kinds(converted[precision][1])
    x, weights = make_input(network, 1, seed=5), make_weights(network)
    for path in converted[precision]:
        session = LiteRT(precision=precision).load(path)
        session.bind([LiteRT().layout(x)])
        session.run()
        error = compare_output(session.fetch()[0], expected_output(Model(network, weights), x), precision)
        assert error < (1e-5 if precision == "fp32" else 0.1)


def test_no_sum_has_more_than_two_terms(converted: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    """LETI section 1.2: ADD_N runs on no mobile GPU."""
    files = [path for pair in converted.values() for path in pair]
    operators = [op for path in files for op in read_operators(path)]
    assert "ADD_N" not in {op.name for op in operators}
    assert {len(op.inputs) for op in operators if op.name == "ADD"} == {2}


def test_what_the_converter_cannot_quantise_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot quantise a padded max_pool"):
        written(every_op(), "int8", tmp_path, converter=True)


def test_constants_and_batch_norms_and_relus_are_folded(tmp_path: Path) -> None:
    network = expand(ZERO)
    names = kinds(written(network, "fp32", tmp_path))
    live = [op.kind for op in network.ops]
    assert names["CONV_2D", 1] < live.count("conv") and names["MUL", 1] == 1 and ("RELU6", 1) not in names
    for name in ("litert:int8", "litert_builtin", "keras"):
        parse_backend(name, "host").session(network)
    with pytest.raises(InputError, match="computes a constant"):
        written(expand("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"), "fp32", tmp_path)


def test_what_has_no_counterpart_is_one_sentence(tmp_path: Path) -> None:
    net = NetworkBuilder()
    net.add("max_pool", (4, 4, 4), net.add("input", (4, 8, 8)), kernel=3, dilation=2)
    with pytest.raises(InputError, match="no pooling with dilation"):
        written(net.finish("made-up", "dilated"), "fp32", tmp_path)
    with pytest.raises(InputError, match="no pooling with dilation"):
        parse_backend("keras", "host").session(net.finish("made-up", "dilated"))
    net = NetworkBuilder()
    net.add("Resize", (4, 8, 8), net.add("input", (4, 4, 4)))
    for backend in ("litert", "keras"):
        with pytest.raises(InputError, match="not (written|built) for the op 'Resize'"):
            parse_backend(backend, "host").session(net.finish("made-up", "from a file"))
    net = NetworkBuilder()
    net.add("conv", (4, 2, 2), net.add("input", (4, 8, 8)), kernel=3, stride=2, dilation=2)
    assert parse_backend("litert", "host").session(net.finish("made-up", "both")).fetch()[0].shape == (1, 2, 2, 4)
    with pytest.raises(InputError, match="both stride and dilation"):
        parse_backend("keras", "host").session(net.finish("made-up", "both"))


def test_a_maximum_over_what_is_not_negative_is_padded_with_zeros(tmp_path: Path) -> None:
    names = {}
    for kind in ("relu", "tanh"):
        net = NetworkBuilder()
        x = net.pointwise(kind, net.add("input", (4, 8, 8)))
        net.pool("max_pool", x, 3, 2, 1)
        names[kind] = {name for name, _ in kinds(written(net.finish("made-up", kind), "fp32", tmp_path))}
        for backend in ("litert", "litert:int8"):
            parse_backend(backend, "host").session(net.finish("made-up", kind))
    assert names == {"relu": {"RELU", "PAD", "MAX_POOL_2D"}, "tanh": {"TANH", "PADV2", "MAX_POOL_2D"}}


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", [0, 1, (0, 0, 1, 1)])
def test_same_padding_is_recognised(side: int, stride: int, pad: int | tuple) -> None:
    """Against TensorFlow's definition, by hand: a 3x3 window over 7 or 8 pixels."""
    net = NetworkBuilder()
    node = net.pool("max_pool", net.add("input", (1, side, side)), 3, stride, pad)
    lopsided = stride == 2 and side == 8
    same, sides = padding(net.ops[node], (1, side, side))
    assert same == (pad == ((0, 0, 1, 1) if lopsided else 1))
    assert sides[:2] == ((1, 1) if pad == 1 else (0, 0))


@pytest.mark.parametrize("backend", ["litert", "litert:int8", "litert_builtin:int8", "keras"])
def test_a_block_stands_alone(backend: str) -> None:
    """LETI: "the basic block that is represented by the parametrization", as well as the stacked network."""
    block = SPACE.block(SPACE.parse([CELL])[0])
    assert block.ops[0].attrs["shape"] == block.ops[-1].attrs["shape"] == (4, 32, 32)
    session = replace(parse_backend(backend, "host"), batch=2).session(block)
    assert session.fetch()[0].shape == (2, 32, 32, 4), "channels last, as the runtime has them"


def test_a_block_ends_with_its_output_or_is_refused() -> None:
    dead = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|none~2|"
    block = SPACE.block(SPACE.parse([dead])[0])
    assert [op.kind for op in block.ops] == ["input", "relu", "conv", "bn"]
    with pytest.raises(InputError, match="passes its input on"):
        SPACE.block(SPACE.parse(["|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
    with pytest.raises(InputError, match="has no block"):
        FBNet().block(FBNet().sample(1, np.random.default_rng(0))[0])


def test_eight_bits_cover_a_range_and_hold_zero_exactly() -> None:
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0)):
        affine = Affine.of_range(low, high)
        assert affine.dequantise(affine.quantise(np.zeros(1)))[0] == 0
        x = np.linspace(low, high, 100)
        assert np.abs(affine.dequantise(affine.quantise(x)) - x).max() <= 0.51 * affine.scale
        assert affine.quantise(np.array([1e9]))[0] == 127 and affine.quantise(np.array([-1e9]))[0] == -128


def test_buffers_are_aligned_as_the_schema_asks(tmp_path: Path) -> None:
    network = reference_network()
    weights = make_weights(network)
    content = build_tflite(network, weights)
    classifier = content.find(weights[len(network.ops) - 1]["weight"].tobytes())
    assert content[4:8] == b"TFL3" and classifier > 0 and classifier % 16 == 0


def test_layouts_and_every_node_are_seen() -> None:
    x = np.arange(48).reshape(2, 3, 4, 2)
    assert to_nhwc(x).shape == (2, 4, 2, 3) and (to_nchw(to_nhwc(x)) == x).all()
    network, seen = reference_network(), []
    evaluate(network, make_weights(network), make_input(network, 1), lambda node, value: seen.append(value.shape[1:]))
    assert seen == [op.attrs["shape"] for op in network.ops]


# Delegates


def test_delegates_take_cells_and_say_what_they_refuse(tmp_path: Path) -> None:
    paths = {p: tmp_path / f"{p}.tflite" for p in LiteRT.precisions}
    for precision, path in paths.items():
        path.write_bytes(written(expand(CELL), precision, tmp_path).read_bytes())
    assert refused(paths["fp32"], "gpu") == refused(paths["int8"], "gpu") == refused(paths["fp32"], "nnapi28") == []
    assert [text.split(": ")[1] for text in refused(paths["fp32"], "nnapi27")] == ["it came with API level 28."] * 3
    (mean,) = refused(paths["int8"], "nnapi30")
    assert mean.endswith("MEAN: input and output have to have the same scale and zero point.")
    assert any("int8 came with API level 29" in text for text in refused(paths["int8"], "nnapi28"))
    grouped = refused(written(every_op(), "fp32", tmp_path), "nnapi30")
    assert grouped == ["nnapi30 refuses operator 2, CONV_2D: it is passed on up to version 3, not 6, which groups "
                       "of channels need."]  # fmt: skip


SIDES = (1, 4, 4, 8)
REFUSED_BY_GPU = [
    ("ROUND", [SIDES], SIDES, {}, "no such operator"),
    ("ADD_N", [SIDES] * 3, SIDES, {"kind": "AddN"}, "two tensors, not 3"),
    ("SOFTMAX", [SIDES], SIDES, {"kind": "Softmax", "beta": 2.0}, "beta has to be 1"),
    ("MUL", [(1, 4, 1, 8), (1, 1, 4, 8)], SIDES, {"kind": "Mul"}, "at least as large"),
    ("ADD", [SIDES, (1, 4, 4, 3)], SIDES, {"kind": "Add"}, "does not broadcast"),
    ("SLICE", [(4, 8), (2,), (2,)], (2, 8), {"kind": "Slice"}, "three or four axes, not 2"),
]


@pytest.mark.parametrize("name, inputs, output, options, reason", REFUSED_BY_GPU, ids=lambda value: str(value)[:9])
def test_the_gpu_s_conditions(name, inputs, output, options, reason, tmp_path: Path) -> None:
    file = TFLiteFile()
    tensors = [file.activation(shape) for shape in inputs]
    y = file.operator(name, tensors, file.activation(output), **options)
    (tmp_path / "one.tflite").write_bytes(file.content(tensors[0], y))
    (sentence,) = refused(tmp_path / "one.tflite", "gpu")
    assert sentence.startswith(f"gpu refuses operator 0, {name}: ") and reason in sentence


def test_a_depthwise_convolution_with_more_filters_a_channel_is_refused_by_gpus(tmp_path: Path) -> None:
    net = NetworkBuilder()
    net.conv(net.add("input", (2, 8, 8)), 6, 3, groups=2)
    network = net.finish("made-up", "multiplied")
    (sentence,) = refused(written(network, "fp32", tmp_path), "gpu")
    assert sentence == "gpu refuses operator 0, DEPTHWISE_CONV_2D: it has one filter a channel, not 3."
    for backend in ("litert", "litert:int8", "keras"):
        parse_backend(backend, "host").session(network)


def test_an_unknown_delegate_or_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no delegate 'dsp'; there are gpu, nnapi27"):
        refused(tmp_path / "model.tflite", "dsp")
    with pytest.raises(InputError, match="There is no file"):
        refused(tmp_path / "model.tflite", DELEGATES[0])


# Names and noise


def test_chatter_is_silenced_unless_something_fails(capfd: pytest.CaptureFixture) -> None:
    with quiet():
        os.write(2, b"chatter")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError), quiet():
        os.write(1, b"the reason")
        raise ValueError
    assert capfd.readouterr() == ("", "the reason")


def test_every_backend_has_a_device_of_its_own() -> None:
    classes = backend_classes()
    assert {"ort", "eager", "litert", "litert_builtin", "keras", "keras_gpu"} <= set(classes)
    names = [cls(precision=p).device().name for cls in classes.values() for p in cls.precisions]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not KerasGPU().unavailable(), reason="there is an NVIDIA driver")
def test_a_gpu_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(InputError, match="Backend keras_gpu is not available here, because it has no NVIDIA driver."):
        parse_backend("keras_gpu", "host")


# Files that are none


def test_what_delegates_refuse_of_a_damaged_file_is_one_sentence_or_an_answer(tmp_path: Path) -> None:
    """Cut short, with bytes changed, with vectors that claim millions of entries or point at one another."""
    space = NasBench201(channels=4, cells=1)
    network = space.expand(space.sample(1, np.random.default_rng(0))[0])
    whole = LiteRT().build(with_weights(network), tmp_path).read_bytes()
    path, rng, refusals = tmp_path / "damaged.tflite", np.random.default_rng(0), 0
    for number in range(150):
        content = bytearray(whole)
        for _ in range(int(rng.choice([1, 8, 100]))):
            at = int(rng.integers(8, len(content)))
            content[at : at + 4] = [b"\xff\xff\xff\x7f", b"\x00\x00\x10\x00", rng.bytes(1)][number % 3][:4]
        path.write_bytes(content[: len(content) if number % 5 else int(rng.integers(len(content)))])
        try:
            refused(path, DELEGATES[number % len(DELEGATES)])
        except InputError as error:
            refusals += 1
            assert str(path) in str(error)
    assert refusals > 10
    for foreign in (b"", b"hello", b"\x00" * 1000, b"PAR1" * 100):
        path.write_bytes(foreign)
        with pytest.raises(InputError, match="is no TFLite file; give a .tflite file"):
            refused(path, "gpu")
