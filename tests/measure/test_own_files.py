"""Files that runtimes run as they are: what goes in, what has to come out, and which device they belong to."""

import json
import os
import pickle
import re
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.networks.precision import file_precision
from datasets.networks.reading import read_model
from datasets.networks.sizes import Sizes
from datasets.records import InputError, Op
from measure.backends import parse_backend
from measure.backends.eager import Eager
from measure.backends.litert import LiteRT
from measure.backends.ort import OnnxRuntime
from measure.backends.ov import OpenVino
from measure.backends.xla import Jax
from measure.base import Backend, Loaded, reference_network, with_weights
from measure.bench import Bench, Worker
from measure.campaign import networks, pending
from measure.inputs import draw
from measure.kernels import timeline
from measure.lookup import Lookup
from measure.outputs import Expected, WrongOutput, compare_outputs
from measure.subjects import NetworkFile
from measure.timing import PROTOCOLS, Timing
from tests.conftest import run
from tests.doubles.network_files import MAKERS, ROWS, onnx_file, texts

QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
LONG = Sizes(size="sequence=12")


def loaded(backend: Backend, model: Model) -> Loaded:
    return backend.loaded(partial(backend.built, model))


# Inputs


def test_inputs_are_drawn_by_their_meaning(tmp_path: Path) -> None:
    """Indices stay below the rows of the table that reads them, through what only moves them."""
    ids, mask = draw(read_model(texts(tmp_path / "texts.onnx"), 3, sizes=LONG))
    assert ids.shape == mask.shape == (3, 12) and ids.dtype == mask.dtype == np.int64
    assert ids.min() >= 0 and ids.max() < ROWS and len(np.unique(ids)) > 5 and (mask == 1).all()
    again, _ = draw(read_model(texts(tmp_path / "texts.onnx"), 3, sizes=LONG))
    np.testing.assert_array_equal(ids, again)


@pytest.mark.parametrize(
    "name, dtype, shape, low, high",
    [
        ("position_ids", "int64", (6,), 0, 5),
        ("token_type_ids", "int64", (6,), 0, 0),
        ("lengths", "int32", (), 6, 6),
        ("attention_mask", "float32", (6,), 1, 1),
        ("sr", "int64", (), 16000, 16000),
        ("image", "uint8", (8, 8, 3), 0, 255),
        ("state", "float16", (4,), -9, 9),
        ("flag", "bool", (40,), 0, 1),
        ("scale", "int64", (2,), 1, 1),
    ],
)
def test_other_inputs_hold_what_their_names_and_types_say(
    name: str, dtype: str, shape: tuple[int, ...], low: float, high: float
) -> None:
    ops = (
        Op("input", {"shape": shape, "dtype": dtype, **({} if shape else {"whole": 1})}),
        Op("input", {"shape": (6, 8)}),
        Op("Whatever", {"shape": (1,)}),
    )
    network = Network("onnx", "n", ops, ((0, 2, 0), (1, 2, 1)))
    network = replace(network, inputs=tuple(replace(p, name=n, dtype=d) for p, n, d in zip(
        network.inputs, (name, "x"), (dtype, "float32"), strict=True)))  # fmt: skip
    value, _ = draw(Model(network), batch=1)
    assert value.dtype == np.dtype(dtype) and value.shape == ((1, *shape) if shape else ())
    assert low <= value.min() and value.max() <= high


def test_own_inputs_are_checked_and_fix_the_sizes_that_a_file_leaves_open(tmp_path: Path) -> None:
    path, sample = texts(tmp_path / "texts.onnx"), tmp_path / "sample.npz"
    np.savez(sample, ids=np.full((1, 7), 3), mask=np.zeros((1, 7), np.int64))
    ((file,), prepare) = networks([str(path)], inputs=sample)
    assert isinstance(file, NetworkFile)
    session = loaded(OnnxRuntime(), prepare(file, 1)).session
    numbers, best = session.fetch()
    assert not numbers.any() and best.tolist() == [0], "the mask of zeros was read"
    assert "(inputs=" in file.key and file.key != networks([str(path)])[0][0].key
    for arrays, sentence in (
        ({"idz": np.zeros((1, 7), np.int64)}, "no input of"),
        ({"ids": np.zeros((1, 7), np.float32), "mask": np.zeros((1, 7), np.int64)}, "has float32 of shape"),
        ({"ids": np.array([object()])}, "is no .npz file of arrays of numbers"),
        ({}, "holds no arrays"),
    ):
        np.savez(sample, **arrays)
        with pytest.raises(InputError, match=sentence) as refusal:
            model = prepare(replace(file, sizes=LONG), 1)
            draw(model)
        assert "--shape" not in str(refusal.value), "nobody gave that flag"
    with pytest.raises(InputError, match="holds no arrays"):
        networks([str(path)], inputs=sample)
    np.savez(sample, ids=np.full((1, 7), 10**6), mask=np.ones((1, 7), np.int64))
    with pytest.raises(InputError, match=r"does not run on onnxruntime .*; give it other sizes or --inputs"):
        OnnxRuntime().session(prepare(file, 1))
    with pytest.raises(InputError, match="leave --inputs out"):
        networks(["zoo:lenet5"], inputs=sample)


# Outputs


def test_each_output_is_compared_by_its_type() -> None:
    numbers, classes = np.array([1.0, np.nan, -np.inf], np.float32), np.array([3, 1])
    right = Expected([numbers, classes, np.array([True, False])])
    (note,) = compare_outputs(right.arrays, right, "fp32")
    assert "Output 1 of 3 is NaN in 33% of its places" in note
    for place, other in (
        (0, np.array([1.1, np.nan, -np.inf], np.float32)),
        (0, np.array([1.0, 2.0, -np.inf], np.float32)),
        (0, np.array([1.0, np.nan, np.inf], np.float32)),
        (1, np.array([3, 2])),
        (2, np.array([True, True])),
    ):
        found = list(right.arrays)
        found[place] = other
        with pytest.raises(WrongOutput, match=f"Output {place + 1} of 3"):
            compare_outputs(found, right, "fp32")
    with pytest.raises(WrongOutput, match="There are 1 outputs, not 3"):
        compare_outputs([numbers], right, "fp32")


def test_quantised_outputs_may_differ_by_some_of_their_steps_however_small_they_are() -> None:
    right = Expected([np.full(4, 0.01, np.float32)], steps=(0.01,))
    compare_outputs([np.full(4, 0.04, np.float32)], right, "int8")
    with pytest.raises(WrongOutput, match="off by"):
        compare_outputs([np.full(4, 0.06, np.float32)], right, "int8")


def test_an_int8_that_is_not_accurate_is_noted_and_one_that_is_another_network_is_refused() -> None:
    right = Expected([np.ones(100, np.float32)], noise=(1e-7,))
    (note,) = compare_outputs([np.full(100, 0.5, np.float32)], right, "int8")
    assert note == "The output is off by 0.5 of its norm; int8 is not accurate here."
    assert not compare_outputs([np.full(100, 0.7, np.float32)], right, "int8")
    for other in (0.0, 2.0):  # empty, and as far off
        with pytest.raises(WrongOutput, match="off by 1 of its norm .0.8 is accepted"):
            compare_outputs([np.full(100, other, np.float32)], right, "int8")


def test_random_numbers_are_reported_and_not_compared(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
        helper.make_node("Relu", ["x"], ["z"]),
    ]
    ends = {name: (TensorProto.FLOAT, [1, 9]) for name in "xyz"}
    path = onnx_file(tmp_path / "noise.onnx", nodes, {"x": ends["x"]}, {"y": ends["y"], "z": ends["z"]})
    (note,) = loaded(OnnxRuntime(), read_model(path)).notes
    assert note == "Output 1 of 2 differs from run to run, as random numbers do, and is not compared."


# The file itself


@pytest.mark.parametrize("backend", [OnnxRuntime(batch=2), OpenVino(batch=2)], ids=lambda b: b.runtime)
def test_a_file_that_leaves_its_batch_open_runs_with_the_backend_s(backend: Backend, tmp_path: Path) -> None:
    if reason := backend.unavailable():
        pytest.skip(reason)
    found = loaded(backend, read_model(texts(tmp_path / "texts.onnx"), 2, sizes=LONG))
    numbers, best = found.session.fetch()
    assert numbers.shape == (2, 4) and (best == numbers.argmax(1)).all() and found.notes == ()
    assert found.first_ms > 0 and found.init_ms > 0
    found.session.bind([np.zeros((2, 12), np.int64), np.ones((2, 12), np.int64)])
    found.session.run()
    assert np.ptp(found.session.fetch()[0], axis=0).max() < 1e-6 < np.abs(numbers[0] - numbers[1]).max()


def quantised(path: Path) -> Path:
    """An ONNX file with QDQ that was quantised elsewhere."""
    network = reference_network()
    made = OnnxRuntime(precision="int8", calibration=1).build(with_weights(network), path.parent)
    return made.rename(path)


def test_the_precision_of_a_file_decides_on_its_device(tmp_path: Path) -> None:
    int8, open_ = quantised(tmp_path / "int8.onnx"), texts(tmp_path / "texts.onnx")
    fp16 = onnx_file(
        tmp_path / "half.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT16, [1, 4])},
        {"y": (TensorProto.FLOAT16, [1, 4])},
        w=np.eye(4, dtype=np.float16),
    )
    cast = onnx_file(
        tmp_path / "cast.onnx",
        [helper.make_node("Cast", ["w"], ["v"], to=TensorProto.FLOAT), helper.make_node("MatMul", ["x", "v"], ["y"])],
        {"x": (TensorProto.FLOAT, [1, 4])},
        {"y": (TensorProto.FLOAT, [1, 4])},
        w=np.eye(4, dtype=np.float16),
    )
    assert [file_precision(path) for path in (int8, open_, fp16, cast)] == ["int8", "fp32", "fp16", "fp32"]
    backends: list[Backend] = [OnnxRuntime(host="pc"), Eager(host="pc")]
    files, prepare = networks([str(path) for path in (int8, open_, fp16)])
    tasks = [(position, backend.device().name) for _, position, backend in pending(files, backends, _Empty())]  # type: ignore[arg-type]
    assert tasks == [(0, "pc_ort_int8_1"), (0, "pc_eager_fp32_1"), (1, "pc_ort_fp32_1"), (1, "pc_eager_fp32_1"),
                     (2, "pc_ort_fp16_1"), (2, "pc_eager_fp32_1")]  # fmt: skip
    for file, precision in ((files[0], "int8"), (files[2], "fp16")):
        assert isinstance(file, NetworkFile)
        own = OnnxRuntime(precision=precision)
        assert own.own_file(prepare(file, 1)) == file.path
        assert loaded(own, prepare(file, 1)).session.fetch()[0].shape[0] == 1
        row = Bench(memory=precision == "fp16")(replace(own, timing=Timing(**PROTOCOLS["layer"])), file, prepare)
        assert "error" not in row, row
        assert row.get("peak_mb", 0) >= 0 and "error" not in row.get("memory", {}), row
    with pytest.raises(InputError, match="runs files of fp16, and makes none"):
        OnnxRuntime(precision="fp16").session(reference_network())


class _Empty:
    """A journal without rows."""

    rows: tuple[dict, ...] = ()


def test_a_quantised_tflite_file_gets_bytes_and_gives_bytes(tmp_path: Path) -> None:
    path = LiteRT(precision="int8", calibration=1).build(with_weights(reference_network()), tmp_path)
    found = loaded(LiteRT(precision="int8"), read_model(path))
    assert found.inputs[0].dtype == found.session.fetch()[0].dtype == np.int8
    assert np.ptp(found.inputs[0].astype(int)) > 200, "the whole range of bytes is drawn"


def test_what_a_runtime_does_not_take_is_built_again_and_says_so(tmp_path: Path) -> None:
    path = OnnxRuntime().build(with_weights(reference_network()), tmp_path)
    (note,) = loaded(Eager(), read_model(path)).notes
    assert note == "What runs is the network that was read from model.onnx, and not the file itself."
    with pytest.raises(InputError, match="Backend eager does not run .onnx files, and .* and 2 inputs and 2 outputs"):
        Eager().session(read_model(texts(tmp_path / "texts.onnx"), sizes=LONG))


def test_a_torch_module_is_exported_once_for_all_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime runs its ONNX file and eager mode the module, with the same random weights."""
    (tmp_path / "own_module.py").write_text(
        "import torch\n\ndef net():\n    made = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU())\n"
        "    made.example_input_array = torch.zeros(1, 4)\n    return made\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (file,), prepare = networks(["torch:own_module:net"], modules=True)
    model = prepare(file, 1)
    assert isinstance(file, NetworkFile)
    sessions = [backend.session(model) for backend in (OnnxRuntime(), Eager())]
    np.testing.assert_allclose(sessions[0].fetch()[0], sessions[1].fetch()[0], rtol=1e-5, atol=1e-6)
    assert [path.suffix for path in (file.path, *file.others)] == [".onnx", ".pt2"]


@pytest.mark.parametrize("fault", ["call", "pickle", "expression", "input"])
def test_a_pt2_file_never_runs_code(fault: str, tmp_path: Path) -> None:
    """torch.export.load evaluates expressions, resolves any name in torch and unpickles; nothing of that happens."""
    path, bad, witness = MAKERS[".pt2"](tmp_path / "good.pt2"), tmp_path / "bad.pt2", tmp_path / "witness"

    class Harmful:
        def __reduce__(self) -> tuple:
            return Path.touch, (witness,)

    with zipfile.ZipFile(path) as good, zipfile.ZipFile(bad, "w") as archive:
        for name in good.namelist():
            content = good.read(name)
            if fault == "call" and "/models/" in name:
                content = content.replace(b"torch.ops.aten.softmax.int", b"torch.serialization.load", 1)
            if fault == "expression" and "/models/" in name:
                document = json.loads(content)
                harmful = {"as_expr": {"expr_str": f"open('{witness}', 'w')", "hint": {"as_int": 1}}}
                document["graph_module"]["graph"]["tensor_values"]["ids"]["sizes"][0] = harmful
                content = json.dumps(document).encode()
            if fault == "pickle" and name.endswith("weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            if fault == "pickle" and name.endswith("weight_0"):
                content = pickle.dumps(Harmful())
            if fault == "input" and "sample_inputs" in name:
                content = pickle.dumps(Harmful())
            archive.writestr(name, content)
    if fault in ("call", "pickle"):
        with pytest.raises(InputError, match="only torch's own operators are run|is a pickle that may run code"):
            Eager().load(bad)
    else:
        Eager().load(bad)
    assert not witness.exists()


# Threads and settings


def test_threads_and_settings_are_part_of_the_name_of_a_device() -> None:
    two = parse_backend("ort(optimization=basic,execution=parallel):int8:4", "pc")
    assert two.device().name == "pc_ort-basic-parallel_int8_4" and two.device().runtime == "ort-basic-parallel"
    assert OnnxRuntime(host="pc", threads=2).device().name == "pc_ort_fp32_1_t2"
    assert OnnxRuntime(host="pc", threads=2).device().threads == 2 and OnnxRuntime(threads=2).timing.by == "wall"
    assert OnnxRuntime().timing.by == "cpu" and OnnxRuntime().versions()["optimization"] == "all"
    assert "fewer than 1000 threads" in OnnxRuntime(threads=1000).unavailable()
    wrong = {
        "ort(level=2)": "has no setting 'level=2'; it has optimization=all",
        "jax(a=b)": "has no setting 'a=b'; it has none",
        "ort(": "does not name a backend",
    }
    for text, sentence in wrong.items():
        with pytest.raises(InputError, match=re.escape(sentence)):
            parse_backend(text, "pc")


@pytest.mark.parametrize("name", ["ort", "ort(optimization=none,execution=parallel)", "openvino", "litert", "eager"])
def test_every_runtime_computes_the_same_on_two_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measure.base.available_cores", lambda: 2)
    backend = replace(parse_backend(name), threads=2)
    network = reference_network()
    expected = OnnxRuntime().session(network).fetch()[0]
    np.testing.assert_allclose(backend.session(network).fetch()[0], expected, rtol=1e-2, atol=1e-4)
    Eager().session(network)  # which sets torch's threads back to one


# Commands


def test_a_timeline_names_the_nodes_of_the_file(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path / "named.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["h"], name="first/product"),
         helper.make_node("Erf", ["h"], ["y"], name="second/erf")],
        {"x": (TensorProto.FLOAT, [1, 32])}, {"y": (TensorProto.FLOAT, [1, 32])}, w=np.eye(32, dtype=np.float32),
    )  # fmt: skip
    assert list(timeline(OnnxRuntime(), read_model(path), runs=2, warmup=1)["name"]) == ["first/product", "second/erf"]


def test_a_look_up_table_of_a_file_names_the_layers_that_nobody_can_build_alone(tmp_path: Path) -> None:
    path = onnx_file(
        tmp_path / "mixed.onnx",
        [helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]), helper.make_node("Erf", ["h"], ["y"])],
        {"x": (TensorProto.FLOAT, [1, 4, 8, 8])}, {"y": (TensorProto.FLOAT, [1, 4, 8, 8])},
        w=np.ones((4, 4, 3, 3), np.float32),
    )  # fmt: skip
    from measure.campaign import Journal

    (file,), prepare = networks([str(path)])
    network = prepare(file, 1).network
    result = Lookup(OnnxRuntime(timing=QUICK), Journal(tmp_path / "j.jsonl"), 1).measure(network, whole=file)
    assert [row["layer"] for row in result["layers"]] == ["conv 3/1 4x8x8 -> 4x8x8"]
    (missing,) = result["unmeasured"]
    assert missing["layer"] == "Erf 4x8x8 -> 4x8x8" and missing["macs"] == 0 and 0 < missing["bytes"] < 100


def test_the_command_measures_files_of_every_format_and_says_where_they_belong(tmp_path: Path) -> None:
    files = [quantised(tmp_path / "int8.onnx"), MAKERS[".tflite"](tmp_path / "net.tflite")]
    journal = tmp_path / "j.jsonl"
    command = ("-m", "measure", "run", "--backend", "ort,litert", "--protocol", "layer", "--host", "pc", "--journal")
    done = run(*command, str(journal), "--onnx", ",".join(map(str, files)))
    assert done.returncode == 0 and "4 rows measured (2 failed" in done.stdout, done.stdout + done.stderr
    assert "int8.onnx computes in int8: its rows are of pc_ort_int8_1." in done.stderr
    rows = {(row["space"], row["device"]["name"]): row for row in map(json.loads, journal.read_text().splitlines())}
    assert "error" not in rows["onnx", "pc_ort_int8_1"] and "error" not in rows["tflite", "pc_litert_fp32_1"]
    assert "does not run .tflite files" in rows["tflite", "pc_ort_fp32_1"]["error"]
    done = run(*command, str(journal), "--onnx", ",".join(map(str, files)))
    assert "0 rows measured" in done.stdout, "rows of a moved device count as done"
    done = run(*command, str(journal), "--onnx", str(files[0]), "--threads", "0")
    assert done.returncode == 2 and "--threads must be numbers from 1 to 1024" in done.stderr
    done = run(*command, str(journal), "--onnx", "")
    assert done.returncode == 2 and "The name of a network is empty" in done.stderr, (
        "the cells of a space are not measured instead"
    )


def child(backend: Backend, *arguments: object) -> dict:
    """A bench that tells which process it is in."""
    return {"pid": os.getpid()}


def test_a_runtime_that_cannot_change_its_threads_gets_a_process_for_each_number() -> None:
    with Worker(120, child) as worker:
        found = [
            worker(backend)["pid"]
            for backend in (Jax(), OnnxRuntime(threads=2), Jax(threads=2), OnnxRuntime(), Jax(threads=2), Jax())
        ]
    assert found[0] == found[1] != found[2] == found[3] == found[4] != found[5]
