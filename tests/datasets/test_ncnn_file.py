"""ncnn's .param files: what is read, what is counted, and what is refused in a sentence."""

from pathlib import Path

import pytest

from datasets.files.reading import read_text
from datasets.networks.analysis import check_network, totals
from datasets.networks.network import Network
from datasets.networks.ops import VOCABULARY
from datasets.networks.precision import file_precision, precisions
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError
from tests.conftest import run
from tests.doubles.ncnn_files import IMAGES, TOKENS, text

INPUT = "Input data 0 1 data 0=16 1=8 2=4"


def read(folder: Path, *layers: str, sizes: Sizes = Sizes()) -> Network:
    path = folder / "m.param"
    path.write_text(layers[0] if layers[0].startswith("7") else text(*layers))
    return check_network(read_model(path, sizes=sizes).network)


def kinds(network: Network) -> list[tuple[str, tuple[int, ...]]]:
    return [(op.kind, op.attrs["shape"]) for op in network.ops if op.kind != "input"]


def test_an_image_network_is_read_by_our_vocabulary(tmp_path: Path) -> None:
    network = read(tmp_path, IMAGES)
    assert network.space == "param" and network.key.startswith("m.param:") and network.batch == 1
    found = kinds(network)
    assert found[:6] == [("conv", (16, 16, 16)), ("relu", (16, 16, 16)), ("conv", (16, 16, 16)),
                         ("relu6", (16, 16, 16)), ("global_avg_pool", (16, 1, 1)), ("dense", (16,))]  # fmt: skip
    assert ("mul", (16, 16, 16)) in found and ("shuffle", (8, 16, 16)) in found and ("concat", (16, 16, 16)) in found
    assert ("max_pool", (16, 8, 8)) in found, "full padding rounds output sides up"
    assert ("Resize", (8, 32, 32)) in found and ("pad", (8, 34, 34)) in found and ("Transpose", (34, 34, 8)) in found
    assert ("Slice", (100, 8)) in found and found[-1] == ("softmax", (8,))
    counted = totals(network)
    macs = 432 * 256 + 144 * 256 + 256 + 512 * 64
    assert counted["macs"] == macs and counted["params"] == 448 + 144 + 272 + 32 + 520


def test_a_network_of_tokens_has_the_products_of_its_attention(tmp_path: Path) -> None:
    network = read(tmp_path, TOKENS)
    products = [op for op in network.ops if op.attrs.get("macs")]
    assert [op.kind for op in products] == ["Gemm"] * 3 + ["MatMul"] * 2 + ["Gemm", "Gemm", "LSTM", "Gemm"]
    lstm = 4 * 16 * (64 + 16)
    assert (
        sum(op.attrs["macs"] for op in products) == 4 * 6 * 32 * 32 + 2 * 6 * 6 * 32 + 6 * 32 * 64 + 6 * lstm + 6 * 160
    )
    params = {op.kind: op.attrs["params"] for op in network.ops if op.attrs.get("params")}
    assert params["Gather"] == 3200 and params["Add"] == 192 and params["LayerNormalization"] == 64
    assert params["LSTM"] == lstm + 64


def test_the_sizes_of_inputs_are_those_of_flags_else_those_of_the_file(tmp_path: Path) -> None:
    conv = "Convolution c 1 1 data y 0=8 1=3 4=1 6=288"
    assert kinds(read(tmp_path, INPUT, conv)) == [("conv", (8, 8, 16))]
    for sizes in (Sizes(size="height=20 width=30"), Sizes(shape="data=1x4x20x30")):
        network = read(tmp_path, INPUT, conv, sizes=sizes)
        assert kinds(network) == [("conv", (8, 20, 30))] and sizes.label in network.key
    unsized = ("Input data 0 1 data", conv)
    with pytest.raises(InputError, match="does not state the size of its input data; give it, as in --shape data=1x3x"):
        read(tmp_path, *unsized)
    for sizes in (Sizes(size="height=20 width=30 channels=4"), Sizes(shape="data=1x4x20x30")):
        assert kinds(read(tmp_path, *unsized, sizes=sizes)) == [("conv", (8, 20, 30))]
    with pytest.raises(InputError, match="'image' is no input of .*; those are data"):
        read(tmp_path, INPUT, conv, sizes=Sizes(shape="image=1x4x20x30"))
    with pytest.raises(InputError, match="does not fit the input 'data' of .*, which is 1x"):
        read(tmp_path, INPUT, conv, sizes=Sizes(shape="data=2x4x20x30"))
    with pytest.raises(InputError, match="runs one sample at a time; leave the batch 4 out"):
        read_model(tmp_path / "m.param", batch=4)


def test_quantised_layers_have_weights_of_a_byte(tmp_path: Path) -> None:
    network = read(tmp_path, INPUT, "Convolution c 1 1 data y 0=8 1=3 4=1 5=1 6=288 8=2")
    assert network.ops[1].attrs["param_bytes"] == 288 + 4 * 8 and precisions(network) == ["", "int8"]
    assert file_precision(tmp_path / "m.param") == "int8"
    read(tmp_path, INPUT, "Convolution c 1 1 data y 0=8 1=3 4=1 5=1 6=288")
    assert file_precision(tmp_path / "m.param") == "fp32"


@pytest.mark.parametrize(
    ("layer", "kind", "shape"),
    [
        ("Convolution x 1 1 data y 0=8 1=3 3=2 4=-233 6=288", "conv", (8, 4, 8)),
        ("Convolution x 1 1 data y 0=8 1=3 11=1 14=0 6=96", "conv", (8, 8, 14)),
        ("Pooling x 1 1 data y 0=1 1=3 2=2 5=1", "avg_pool", (4, 3, 7)),
        ("Pooling x 1 1 data y 0=0 1=3 2=2", "max_pool", (4, 4, 8)),
        ("Pooling x 1 1 data y 0=1 7=1 8=1", "global_avg_pool", (4, 1, 1)),
        ("ReLU x 1 1 data y 0=0.1", "LeakyRelu", (4, 8, 16)),
        ("HardSwish x 1 1 data y 0=1.666667e-01 1=0.5", "hswish", (4, 8, 16)),
        ("Clip x 1 1 data y 0=0 1=6", "relu6", (4, 8, 16)),
        ("UnaryOp x 1 1 data y 0=7", "Exp", (4, 8, 16)),
        ("BinaryOp x 1 1 data y 0=1 1=1 2=0.5", "Sub", (4, 8, 16)),
        ("Permute x 1 1 data y 0=5", "Transpose", (16, 8, 4)),
        ("PixelShuffle x 1 1 data y 0=2", "DepthToSpace", (1, 16, 32)),
        ("Reorg x 1 1 data y 0=2", "SpaceToDepth", (16, 4, 8)),
        ("Reduction x 1 1 data y 0=0 1=1", "ReduceSum", (1,)),
        ("Reduction x 1 1 data y 0=3 1=0 -23303=2,1,2 4=1 5=1", "global_avg_pool", (4, 1, 1)),
        ("Tile x 1 1 data y -23302=3,2,1,1", "Tile", (8, 8, 16)),
        ("Crop x 1 1 data y 0=2 1=1 2=0 3=10 4=5 5=3", "Slice", (3, 5, 10)),
        ("Interp x 1 1 data y 0=2 3=40 4=20", "Resize", (4, 40, 20)),
        ("GroupNorm x 1 1 data y 0=2 1=4", "GroupNormalization", (4, 8, 16)),
        ("MyLayer x 1 1 data y -23330=4,2,7,5,1", "MyLayer", (5, 7)),
        ("Yolov3DetectionOutput x 1 1 data y 0=80", "Yolov3DetectionOutput", (1, 6)),
    ],
)
def test_layers_have_the_shapes_that_ncnn_gives_them(
    tmp_path: Path, layer: str, kind: str, shape: tuple[int, ...]
) -> None:
    assert kinds(read(tmp_path, INPUT, layer)) == [(kind, shape)]


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (("Convolution x 1 1 data y 0=8 1=3 6=99",), "has 99 weights, and its input needs 288"),
        (("Convolution x 1 1 data y 0=8 1=30 6=28800",), "would have an output of 8x-21x-13"),
        (("Convolution x 1 1 data y 0=1e30 1=3 6=288",), r"0=1e\+30, which is not a whole number from 1 on"),
        (("Convolution x 1 1 data y 0=8 1=3 6=288 9=17",), "an activation of number 17, which is not known"),
        (("ReLU x 1 1 absent y",), "reads absent, which no layer before it computes"),
        (("ReLU x 1 1 y z", "ReLU x 1 1 z y"), "reads y, which no layer before it computes"),
        (("ReLU x 1 1 data data",), "computes data, which is computed before"),
        (("ReLU x 1 1 data y 0=99999999999",), "the number 99999999999, which is larger than any"),
        (("ReLU x 1 1 data y nonsense",), "'nonsense', which is no parameter such as 0=64"),
        (("Slice x 1 2 data y z -23300=3,1,1",), "does not have as many numbers as it states"),
        (("Slice x 1 2 data y z -23300=2,9,9",), "takes 18 of a dimension of 4"),
        (("ReLU x 1 5 data y",), "line 4 is no layer"),
        (("ReLU",), "line 4 is no layer"),
        (("MyLayer x 1 1 data y",), "does not state the shape of its output; run ncnnoptimize"),
        (("Reshape x 1 1 data y 0=7 1=-1",), "makes 73x7 of 4x8x16, which has 512 numbers"),
        (("Gemm x 1 1 data y 3=1 5=1 8=3 9=10",), "and needs a matrix"),
        (("Pooling x 1 1 data p 0=1 4=1", "Gemm x 1 1 p y 3=1 5=1 8=3 9=10"), "rows of 4 and columns of 10 numbers"),
        (("MemoryData m 0 1 m 0=4", "ReLU x 1 1 m y"), "reads a constant where"),
        (("MemoryData m 0 1 m 0=4",), "depends on its inputs"),
        (("Interp x 1 1 data y 0=1 1=1e30 2=1e30",), r"an output of 4x8e\+30x1.6e\+31"),
    ],
)
def test_faulty_layers_are_one_sentence(tmp_path: Path, layers: tuple[str, ...], sentence: str) -> None:
    path = tmp_path / "m.param"
    path.write_text("\n".join(["7767517", f"{len(layers) + 1} 99", INPUT, *layers]))
    with pytest.raises(InputError, match=sentence):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "does not begin with 7767517"),
        ("7767517", "lacks the numbers of its layers"),
        ("7767517\n1 1 1", "lacks the numbers of its layers"),
        ("7767517\n9999999999 1\n" + INPUT, "states 9,999,999,999 layers, and at most 20,000 are read"),
        ("7767517\n3 1\n" + INPUT, "states 3 layers and has 1"),
        ("7767517\n1 0\n" + INPUT, "states 0 tensors and has 1"),
        ("7767517\n1 1\nReLU x 0 1 y", "has no input"),
    ],
)
def test_texts_that_are_no_networks_are_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "m.param").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_model(tmp_path / "m.param")


def test_layers_beyond_the_stated_number_are_left_out_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "m.param"
    path.write_text(text(INPUT, "ReLU x 1 1 data y") + "Noop z 1 1 y z")
    model = read_model(path)
    assert [port.name for port in model.network.outputs] == ["y"]
    assert model.notes == ("Only the 2 layers that the file states are read, as ncnn does, and 1 are left out.",)


def test_show_prints_a_param_file_and_other_runtimes_build_it_again(tmp_path: Path) -> None:
    path = tmp_path / "m.param"
    path.write_text(text(INPUT, "Convolution c 1 1 data y 0=8 1=3 4=1 6=288 9=1"))
    shown = run("-m", "datasets", "show", str(path), "--size", "height=10")
    assert "input 1x4x10x16" in shown.stdout and "All ops are known" in shown.stdout, shown.stderr
    journal = tmp_path / "journal.jsonl"
    done = run("-m", "measure", "run", "--onnx", str(path), "--backend", "ort", "--journal", str(journal),
               "--timing.repeats", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "and not the file itself" in read_text(journal, "")


def test_a_decoder_of_a_language_model_has_the_published_parameters(public_data: Path) -> None:
    """Qwen2.5-0.5B has 494,032,768 parameters, of which 151,936 x 896 are its table of words."""
    from datasets.networks.ncnn_file import read_ncnn

    path = public_data / "ncnn" / "benchmark" / "models" / "llm" / "qwen2.5_0.5b_decoder.ncnn.param"
    if not path.is_file():
        pytest.skip("ncnn's files of language models are not here")
    shapes = "in0=1x16x896 in1=1x16x64 in2=1x16x32 in3=1x16x32 kv_cache=1x2x48x64"
    model = read_ncnn(path, sizes=Sizes(shape=shapes))
    counted = totals(model.network)
    assert counted["params"] == 494_032_768 - 151_936 * 896
    dense = [op.attrs for op in model.network.ops if op.kind in ("Gemm", "MatMul") and "params" in op.attrs]
    products = 16 * sum(attrs["params"] - attrs.get("bias", 0) * attrs["shape"][-1] for attrs in dense)
    assert counted["macs"] == products + 24 * 2 * 14 * 16 * 64 * 64, "24 layers of 14 heads of 64, 16 tokens after 48"


def test_the_benchmark_s_networks_have_the_shapes_that_their_files_state(public_data: Path) -> None:
    """ncnnoptimize wrote the shapes of tensors into these files."""
    from datasets.networks.ncnn_file import read_ncnn
    from datasets.networks.ncnn_text import read_layers

    folder = public_data / "ncnn" / "benchmark" / "models"
    if not folder.is_dir():
        pytest.skip("ncnn's files are not here; `python -m datasets fetch ncnn` downloads them")
    compared = 0
    for path in sorted(folder.glob("*.param")):
        stated = {layer.name: layer.stated_shapes() for layer in read_layers(path)[0]}
        if any(stated.values()):
            network = read_ncnn(path).network
            for op in network.ops:
                if stated.get(op.name) and op.kind in VOCABULARY - {"input"}:
                    shape = op.attrs["shape"]
                    assert {shape, shape[:1] if shape[1:] == (1, 1) else shape} & {*stated[op.name]}, (path, op)
                    compared += 1
    assert compared > 3000
