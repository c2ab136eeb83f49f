"""Hostile ONNX and Keras files: each is read within limits or refused by one sentence; nothing in one is executed."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from datasets.networks import onnx_outline
from datasets.networks.analysis import totals, uncounted
from datasets.networks.keras_file import read_keras
from datasets.networks.onnx_file import read_onnx
from datasets.records import InputError
from measure.builders.numpy_reference import evaluate
from predictors.networks.pieces import pieces
from tests.conftest import run
from tests.datasets.mutations_networks import change_anywhere, mutate, mutate_keras

node = helper.make_node
RNG = np.random.default_rng(0)


def saved(
    path: Path,
    nodes: list[NodeProto],
    shape: tuple[int, ...] = (1, 4),
    tensors: dict[str, Any] | None = None,
    functions: list[FunctionProto] | None = None,
) -> Path:
    """A file from x to y; a tensor is an array or a finished TensorProto."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["p", "q"])
    protos = [
        t if isinstance(t, TensorProto) else numpy_helper.from_array(np.asarray(t), n)
        for n, t in (tensors or {}).items()
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "g", [x], [y], protos)
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=functions or [])
    path.write_bytes(model.SerializeToString())
    return path


def refused(read: Callable[[Path], object], path: Path) -> str:
    """The sentence that a file is refused with."""
    with pytest.raises(InputError) as fault:
        pytest.fail(str(read(path)))
    text = str(fault.value)
    assert "\n" not in text and len(text) < 700
    return text


# Bombs

NUMBERS = {"zero": np.int64(0), "one": np.int64(1), "axis": np.array([0]), "w": np.ones(1, np.float32)}
RANGE = [node("Range", ["zero", "many", "one"], ["r"]), node("Cast", ["r"], ["c"], to=1)]
END = [node("ReduceSum", ["q", "axis"], ["s"], keepdims=0), node("Add", ["x", "s"], ["y"])]
SQUARE = [
    node("Unsqueeze", ["c", "axis"], ["u"]),
    node("Unsqueeze", ["c", "last"], ["v"]),
    node("Mul", ["u", "v"], ["q"]),
]
DOUBLED = [node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], axis=0) for i in range(60)]
BOMBS: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "a range": ([*RANGE, node("Identity", ["c"], ["q"])], {"many": np.int64(6 * 10**7)}),
    "a longer range": ([*RANGE, node("Identity", ["c"], ["q"])], {"many": np.int64(10**12)}),
    **{
        kind: ([*RANGE, node(kind, ["c"] * (2 if kind == "Pow" else 1), ["q"])], {"many": np.int64(6 * 10**7)})
        for kind in ("Pow", "Cos", "Exp", "Neg")
    },
    "an outer product": (RANGE + SQUARE, {"many": np.int64(30_000), "last": np.array([1])}),
    "tiles": ([node("Tile", ["w", "n"], ["q"])], {"n": np.array([10**8])}),
    "an expansion": ([node("Expand", ["w", "n"], ["q"])], {"n": np.array([10**8])}),
    "a constant of a shape": ([node("ConstantOfShape", ["n"], ["q"])], {"n": np.array([2**31, 2**31])}),
    "a negative shape": ([node("ConstantOfShape", ["n"], ["q"])], {"n": np.array([-3])}),
    "a padding": ([node("Pad", ["w", "n"], ["q"])], {"n": np.array([10**8, 10**8])}),
    "one hot": ([node("OneHot", ["i", "many", "v"], ["q"])],
                {"i": np.arange(10), "many": np.int64(10**8), "v": np.array([0, 1], np.float32)}),
    "a resize": ([node("Resize", ["w", "", "n"], ["q"])], {"n": np.array([1e8], np.float32)}),
    "doubled constants": ([node("Identity", ["w"], ["d0"]), *DOUBLED, node("Identity", ["d60"], ["q"])], {}),
    "many medium ones": (RANGE + [node("Cos", [f"c{i or ''}"], [f"c{i + 1}"]) for i in range(1000)]
                         + [node("Identity", ["c1000"], ["q"])], {"many": np.int64(4 * 10**6)}),
}  # fmt: skip

READ_ALL = """
import re, resource, sys
from pathlib import Path
from datasets.networks.onnx_file import read_onnx
from datasets.records import InputError
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_onnx(path)
    except InputError as error:
        print(error)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # ru_maxrss counts the parent's, too
print(int(peak[1]) // 1024 if peak else 0, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


def test_bombs_take_neither_memory_nor_time(tmp_path: Path) -> None:
    for name, (nodes, tensors) in BOMBS.items():
        saved(tmp_path / name, nodes + END, tensors=NUMBERS | tensors)
    done = run("-c", READ_ALL, tmp_path)
    assert done.returncode == 0, done.stderr
    *sentences, last = done.stdout.splitlines()
    megabytes, seconds = map(float, last.split())
    assert megabytes < 512 and seconds < 20, last
    assert any("computes a constant" in sentence for sentence in sentences), sentences


def test_a_shape_that_is_computed_from_a_large_constant_is_not_guessed(tmp_path: Path) -> None:
    """What is not computed is unknown, never a wrong number."""
    nodes = [*RANGE, node("ReduceMax", ["r"], ["m"], keepdims=1), node("Reshape", ["x", "m"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, tensors=NUMBERS | {"many": np.int64(6 * 10**7)})
    assert "cannot be inferred" in refused(read_onnx, path)


def test_sums_that_are_too_large_are_refused(tmp_path: Path) -> None:
    relu = [node("Relu", ["x"], ["y"])]
    assert "would have 4,611,686,018,427,387,904" in refused(read_onnx, saved(tmp_path / "1", relu, (2**31, 2**31)))
    doubled = [node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], axis=1) for i in range(60)]
    path = saved(tmp_path / "2", [node("Relu", ["x"], ["d0"]), *doubled, node("Relu", ["d60"], ["y"])])
    assert "more than any network has" in refused(read_onnx, path)
    square = [node("MatMul", ["x", "x"], ["a"]), node("MatMul", ["a", "x"], ["b"]), node("MatMul", ["b", "x"], ["c"]),
              node("MatMul", ["c", "x"], ["d"]), node("MatMul", ["d", "a"], ["y"])]  # fmt: skip
    assert "totals up to" in refused(read_onnx, saved(tmp_path / "3", square, (2**20, 2**20)))
    empty = [node("Slice", ["x", "zero", "zero"], ["t"]), node("Relu", ["t"], ["y"])]
    path = saved(tmp_path / "4", empty, tensors={"zero": np.array([0])})
    assert "has no elements" in refused(read_onnx, path)
    path = saved(tmp_path / "5", [node("Relu", [f"r{i}" if i else "x"], [f"r{i + 1}"]) for i in range(20_001)])
    assert "20,001 nodes, more than the 20,000" in refused(read_onnx, path)


# Functions


def function(name: str, calls: str, times: int = 2) -> FunctionProto:
    """A function that calls another one, or an op, several times one behind the other."""
    domain = "f" if calls.startswith("f") else ""
    nodes = [node(calls, [f"t{i}" if i else "a"], [f"t{i + 1}"], domain=domain) for i in range(times)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], [f"t{times}"], nodes, imports)


def test_functions_are_inlined_within_limits(tmp_path: Path) -> None:
    call = [node("f0", ["x"], ["y"], domain="f")]
    path = saved(tmp_path / "1", call, functions=[function("f0", "f1"), function("f1", "Relu")])
    assert [op.kind for op in read_onnx(path).network.ops] == ["input", *["relu"] * 4]
    chain = [function(f"f{i}", f"f{i + 1}") for i in range(40)]
    assert "nodes, more than" in refused(
        read_onnx, saved(tmp_path / "2", call, functions=[*chain, function("f40", "Relu")])
    )
    chain = [function(f"f{i}", f"f{i + 1}", 1) for i in range(2000)]
    assert "levels deep" in refused(
        read_onnx, saved(tmp_path / "3", call, functions=[*chain, function("f2000", "Relu")])
    )
    circle = [function("f0", "f1"), function("f1", "f0")]
    assert "call themselves" in refused(read_onnx, saved(tmp_path / "4", call, functions=circle))


# Tensors in the file and beside it


def test_a_large_file_is_read_from_its_outline(tmp_path: Path) -> None:
    """Numbers in raw bytes, as floats and in a Constant node, each behind a text for people."""
    arrays = {name: RNG.standard_normal((512, 512), dtype=np.float32) for name in "abc"}
    floats = helper.make_tensor("b", TensorProto.FLOAT, (512, 512), arrays["b"].ravel().tolist())
    constant = node("Constant", [], ["c"], value=numpy_helper.from_array(arrays["c"]), doc_string="for people " * 2000)
    nodes = [constant, *(node("MatMul", [x, w], [y]) for x, w, y in ("xas", "sbt", "tcy"))]
    path = saved(tmp_path / "m.onnx", nodes, (1, 512), {"a": arrays["a"], "b": floats})
    assert path.stat().st_size > 3 * 2**20 and len(onnx_outline.outline(path)) < 2**12
    read = read_onnx(path)
    network, weights = read.network, read.weights
    assert totals(network)["params"] == 3 * 512**2
    for layer, name in zip(weights.values(), "abc", strict=True):
        np.testing.assert_array_equal(layer["weight"], arrays[name].T)
    path.write_bytes(path.read_bytes()[:-2000])
    assert "a part of it is missing" in refused(read_onnx, path)


def test_files_that_are_no_networks_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as stream:
        stream.truncate(3 * 2**30)  # holes: nothing is written
    assert "3,221,225,472 bytes" in refused(read_onnx, path)
    with path.open("wb") as stream:
        stream.truncate(2**28)
    assert "more than 500,000 parts" in refused(read_onnx, path)
    path.write_text("A text that somebody called a network.\n" * 100_000)
    assert "is not an ONNX file" in refused(read_onnx, path)
    path.write_bytes(b"\x3a\x80\x80\x80\x08" + b"\x2a\x02\x38\x00" * 2**22)
    assert "more than 500,000 parts" in refused(read_onnx, path)
    assert "is a folder" in refused(read_onnx, tmp_path)


def beside(location: str, **where: object) -> dict[str, TensorProto]:
    """A tensor w [4, 4] whose numbers stand in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **where}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return {"w": tensor}


def test_weights_are_read_from_the_network_s_own_folder_only(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(64))
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "w").write_bytes(RNG.standard_normal(16, dtype=np.float32).tobytes())
    (folder / "link").symlink_to("../elsewhere")
    (folder / "inner").symlink_to("w")
    product, path = [node("MatMul", ["x", "w"], ["y"])], folder / "m.onnx"
    for tensors in (beside("w"), beside("w", offset=0, length=64), beside("inner")):
        assert totals(read_onnx(saved(path, product, tensors=tensors)).network)["params"] == 16
    for tensors in (beside("../elsewhere"), beside(str(tmp_path / "elsewhere")), beside("link"), beside("/dev/zero"),
                    beside(""), beside("."), beside("a\0b"), beside("w", offset=8), beside("w", offset=2**62),
                    beside("w", length=2**62), beside("w", length=32), beside("w", offset=-8, length=64),
                    beside("w", offset="none"), beside("w", offset="9" * 6000)):  # fmt: skip
        assert "cannot be read from" in refused(read_onnx, saved(path, product, tensors=tensors))


def test_tensors_that_are_not_as_long_as_they_say_are_refused(tmp_path: Path) -> None:
    product = [node("MatMul", ["x", "w"], ["y"])]
    for change in ({"dims": [2**40, 4]}, {"dims": [-4, 4]}, {"data_type": 77}, {"data_type": 11}, {"raw_data": b"123"}):
        tensor = TensorProto(**{"name": "w", "data_type": 1, "dims": [4, 4], "raw_data": bytes(64), **change})
        assert "'w'" in refused(read_onnx, saved(tmp_path / "m.onnx", product, tensors={"w": tensor}))


def test_numbers_that_crash_onnx_are_refused(tmp_path: Path) -> None:
    """onnx's inference takes these for places in memory."""
    tensors = {"s": np.ones(4, np.float32), "i": np.zeros((1, 1), np.int64)}
    norm = [node("LayerNormalization", ["x", "s"], ["y"], axis=2**31)]
    assert "'axis' of a LayerNormalization" in refused(read_onnx, saved(tmp_path / "1", norm, tensors=tensors))
    gather = [node("GatherND", ["x", "i"], ["y"], batch_dims=-1)]
    assert "'batch_dims' of a GatherND" in refused(read_onnx, saved(tmp_path / "2", gather, tensors=tensors))
    split = onnx.load(saved(tmp_path / "3", [node("Split", ["x"], ["y", "z", "u"], num_outputs=2, axis=1)]))
    split.opset_import[0].version = 18
    onnx.save(split, tmp_path / "3")
    assert "'num_outputs' of a Split" in refused(read_onnx, tmp_path / "3")


# What is not counted


def test_ops_whose_macs_are_unknown_are_reported(tmp_path: Path) -> None:
    nodes = [node("Own", ["x"], ["a"], domain="f"), node("Einsum", ["x", "a"], ["b"], equation="i...,i...->...")]
    path = saved(tmp_path / "m.onnx", [*nodes, node("Relu", ["b"], ["y"])], (5, 4))
    model = onnx.load(path)
    model.graph.node[1].attribute[0].s = b"ij,kk"  # a matrix with sides of two lengths
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("a", [5, 4]), ("b", [4]))
    )
    onnx.save(model, path)
    assert uncounted(read_onnx(path).network) == {"f.Own": 1, "Einsum": 1}
    done = run("-m", "datasets", "show", path)
    assert "Warning: the MACs of 1 x f.Own are not known and not counted above." in done.stdout, done.stderr


# Mutations


def small_onnx(folder: Path) -> list[bytes]:
    """Three small networks: convolutions, tokens, and shapes that are computed."""
    conv = [node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4),
            node("BatchNormalization", ["a", "b", "b", "b", "b"], ["n"]), node("Sigmoid", ["n"], ["g"]),
            node("Mul", ["n", "g"], ["m"]), node("MaxPool", ["m"], ["p"], kernel_shape=[2, 2]),
            node("Pad", ["p", "pads"], ["q"]), node("Concat", ["q", "q"], ["k"], axis=1), node("Flatten", ["k"], ["f"]),
            node("MatMul", ["f", "d"], ["y"])]  # fmt: skip
    tensors = {"w": np.ones((4, 3, 3, 3), np.float32), "b": np.ones(4, np.float32), "d": np.ones((640, 2), np.float32),
               "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1])}  # fmt: skip
    tokens = [node("LayerNormalization", ["x", "s", "s"], ["a"]), node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
              node("Einsum", ["a", "t"], ["e"], equation="bij,bjk->bik"), node("Softmax", ["e"], ["z"]),
              node("Clip", ["z", "low"], ["c"]), node("Gather", ["c", "i"], ["y"], axis=1)]  # fmt: skip
    more = {"s": np.ones(6, np.float32), "low": np.float32(0), "i": np.int64(0)}
    shapes = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Unsqueeze", ["n", "i1"], ["u"]),
              node("Concat", ["u", "m"], ["t"], axis=0), node("Reshape", ["x", "t"], ["r"]),
              node("ConstantOfShape", ["t2"], ["o"]), node("Gemm", ["r", "o"], ["g"], alpha=0.5),
              node("ReduceMean", ["g"], ["y"], axes=[1])]  # fmt: skip
    computed = {"i": np.int64(0), "i1": np.array([0]), "m": np.array([-1]), "t2": np.array([48, 5])}
    made = (conv, (1, 3, 10, 8), tensors), (tokens, (2, 5, 6), more), (shapes, (2, 3, 4, 4), computed)
    paths = (saved(folder / "m", *one) for one in made)
    return [path.read_bytes() for path in paths]


def test_mutated_onnx_files_give_numbers_or_one_sentence(tmp_path: Path) -> None:
    seeds, read, path = small_onnx(tmp_path), 0, tmp_path / "m.onnx"
    for content in seeds:
        path.write_bytes(content)
        assert pieces(read_onnx(path).network)
    for number in range(600):
        rng = random.Random(number)
        path.write_bytes(mutate(rng.choice(seeds), rng))
        try:
            network = read_onnx(path).network
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, number
            continue
        assert totals(network)["moved_bytes"] > 0 and pieces(network), number
        read += 1
    assert read > 60


# Keras


def layer(kind: str, name: str, *sources: str, **fields: object) -> dict[str, Any]:
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": None, "dtype": "float32", "keras_history": [source, 0, 0]},
        }
        for source in sources
    ]
    arguments = tensors if len(tensors) < 2 else [tensors]
    nodes = [{"args": arguments, "kwargs": {}}] if sources else []
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **fields}, "registered_name": None,
            "name": name, "inbound_nodes": nodes}  # fmt: skip


def functional(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """A model from its first layer to its last."""
    ends = {"input_layers": [layers[0]["name"], 0, 0], "output_layers": [layers[-1]["name"], 0, 0]}
    return {"module": "keras", "class_name": "Functional", "config": {"name": "model", "layers": layers, **ends}}


LAYERS = [
    layer("InputLayer", "i", batch_shape=[None, 6, 6, 3]),
    layer("Conv2D", "c", "i", filters=4, kernel_size=[3, 3], padding="same", activation="relu"),
    layer("BatchNormalization", "b", "c", scale=False),
    layer("Add", "a", "b", "c"),
    layer("Dense", "d", "a", units=2, activation="tanh"),
    layer("Flatten", "f", "d"),
    layer("Dense", "e", "f", units=3, activation="softmax"),
]
ARRAYS = {
    "conv2d": [(3, 3, 3, 4), (4,)],
    "batch_normalization": [(4,)] * 3,
    "dense": [(4, 2), (2,)],
    "dense_1": [(72, 3), (3,)],
}


def keras_file(path: Path, config: object, arrays: dict[str, list[tuple[int, ...]]] | None = None) -> Path:
    """A `.keras` file, written without Keras; a configuration may be text."""
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, shapes in (ARRAYS if arrays is None else arrays).items():
            for i, shape in enumerate(shapes):
                file[f"layers/{name}/vars/{i}"] = np.abs(RNG.standard_normal(shape, dtype=np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def test_a_keras_file_is_read_without_keras(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras", functional(LAYERS))
    read = read_keras(path)
    network, weights = read.network, read.weights
    total = totals(network)
    assert total["params"] == 112 + 4 + 10 + 219 and total["macs"] == 36 * 108 + 36 * 8 + 216
    assert evaluate(network, weights, RNG.standard_normal((1, 3, 6, 6), dtype=np.float32)).shape == (1, 3)
    code = "import sys; from datasets.__main__ import show; from pathlib import Path; show(Path(sys.argv[1]));"
    done = run("-c", code + "assert not {'keras', 'tensorflow', 'h5py'} & set(sys.modules)", path)
    assert done.returncode == 0, done.stderr


def test_dense_layers_of_images_count_every_pixel(tmp_path: Path) -> None:
    layers = [layer("InputLayer", "i", batch_shape=[None, 7, 7, 64]), layer("Dense", "d", "i", units=2)]
    read = read_keras(keras_file(tmp_path / "m.keras", functional(layers), {"dense": [(64, 2), (2,)]}))
    network, weights = read.network, read.weights
    assert (totals(network)["macs"], totals(network)["params"]) == (6272, 130)
    x = RNG.standard_normal((1, 64, 7, 7), dtype=np.float32)
    (of,) = weights.values()
    expected = np.einsum("oc,nchw->nohw", of["weight"][:, :, 0, 0], x) + of["bias"][:, None, None]
    np.testing.assert_allclose(evaluate(network, weights, x), expected, rtol=1e-4, atol=1e-5)


def changed(number: int, **fields: object) -> dict[str, Any]:
    """The model with another layer in a place."""
    layers = [{**one, "config": dict(one["config"])} for one in LAYERS]
    own = {
        key: fields.pop(key) for key in ("class_name", "module", "registered_name", "inbound_nodes") if key in fields
    }
    layers[number] |= own
    layers[number]["config"] |= fields
    return functional(layers)


NESTED: Any = functional(LAYERS[:1])
for _ in range(100):
    NESTED = {**NESTED, "config": {**NESTED["config"], "layers": [LAYERS[0], NESTED]}, "class_name": "Sequential"}
FAULTS: list[tuple[object, str]] = [
    (changed(1, class_name="Lambda"), "(Lambda) of m.keras"),
    (changed(1, module="gnomon_sentinel"), "is code of another package (gnomon_sentinel)"),
    (changed(1, registered_name="mine>Conv2D"), "is code of another package"),
    (changed(1, filters=2**40), "has no filters from 1"),
    (changed(1, filters=-1), "has no filters from 1"),
    (changed(1, filters="many"), "has no filters from 1"),
    (changed(1, kernel_size=[3, 3, 3]), "has no kernel_size for 2 sides"),
    (changed(1, groups=5), "cannot be split"),
    (changed(1, kernel_size=9, padding="valid"), "missing or damaged"),
    (changed(1, filters=5), "has inputs of different shapes|damaged"),
    (changed(6, units=4), "missing or damaged"),
    (changed(6, activation={"class_name": "Lambda"}), "The activation"),
    (changed(0, batch_shape=[None, None, 6, 3]), "leaves a size open"),
    (changed(0, batch_shape="large"), "has no shape"),
    (changed(2, inbound_nodes=LAYERS[3]["inbound_nodes"]), "needs|circle|damaged"),
    (changed(1, inbound_nodes=layer("Conv2D", "c", "d")["inbound_nodes"]), "circle"),
    (changed(1, inbound_nodes=layer("Conv2D", "c", "nobody")["inbound_nodes"]), "of what calls 'nobody'"),
    (NESTED, "models in models"),
    ("[" * 10**6, "is not valid JSON"),
    ("[]", "is damaged"),
    ({"class_name": "Functional", "config": {"layers": [3]}}, "is damaged"),
]


def test_faulty_keras_files_are_refused_by_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gnomon_sentinel.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for config, sentence in FAULTS:
        text = refused(read_keras, keras_file(tmp_path / "m.keras", config))
        assert any(part in text for part in sentence.split("|")), (text, sentence)


def test_weights_that_are_used_twice_are_counted_once(tmp_path: Path) -> None:
    again = layer("Conv2D", "c", "i", filters=3, kernel_size=3, padding="same")
    again["inbound_nodes"] += layer("Conv2D", "c", "c", filters=3, kernel_size=3)["inbound_nodes"]
    config = functional([LAYERS[0], again])
    config["config"]["output_layers"] = ["c", 1, 0]
    network = read_keras(keras_file(tmp_path / "m.keras", config, {"conv2d": [(3, 3, 3, 3), (3,)]})).network
    assert [op.attrs.get("tied") for op in network.ops[1:]] == [None, 1]
    assert (totals(network)["params"], totals(network)["macs"]) == (84, 2 * 36 * 81)


def test_zip_bombs_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 2**25)
    assert "more than the 8,388,608 bytes" in refused(read_keras, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("config.json", "{}")
    assert "damaged" in refused(read_keras, path)
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["0"] = np.ones((72, 3), np.float32)
    for trick in ("link", "unwritten", "external"):
        keras_file(path, functional(LAYERS), {k: v for k, v in ARRAYS.items() if k != "dense_1"})
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r+") as file:
            group = file.create_group("layers/dense_1/vars")
            group["1"] = np.ones(3, np.float32)
            if trick == "link":
                group["0"] = h5py.ExternalLink(str(secret), "/0")
            elif trick == "external":
                group.create_dataset("0", (72, 3), np.float32, external=[(str(secret), 0, 72 * 12)])
            else:
                group.create_dataset("0", (72, 3), np.float32)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(functional(LAYERS)))
            archive.writestr("model.weights.h5", content.getvalue())
        assert "missing or damaged" in refused(read_keras, path), trick
        assert totals(read_keras(path, weights=False).network)["macs"] > 0


INNER = functional([layer("InputLayer", "j", batch_shape=[None, 6, 8]), layer("LSTM", "l", "j", units=8,
                    return_sequences=True), layer("LayerNormalization", "n", "l")])  # fmt: skip
TOKENS = [
    layer("InputLayer", "i", batch_shape=[None, 6], dtype="int32"),
    layer("Embedding", "e", "i", input_dim=100, output_dim=8),
    {**INNER, "name": "m", "inbound_nodes": layer("Functional", "m", "e")["inbound_nodes"]},
    layer("MultiHeadAttention", "a", "m", "m", num_heads=2, key_dim=4),
    layer("Conv1D", "c", "a", filters=4, kernel_size=[3], padding="causal"),
    layer("Bidirectional", "b", "c", layer=layer("GRU", "g", units=3)),
    layer("TimeDistributed", "t", "c", layer=layer("Dense", "u", units=3)),
    layer("Flatten", "f", "t"),
    layer("Concatenate", "k", "b", "f"),
    layer("Dense", "d", "k", units=2),
]
TOKENS[3]["inbound_nodes"][0]["args"] = TOKENS[3]["inbound_nodes"][0]["args"][0]


def test_mutated_models_of_sequences_give_numbers_or_one_sentence(tmp_path: Path) -> None:
    path, read, seed = tmp_path / "m.keras", 0, json.dumps(functional(TOKENS))
    total = totals(read_keras(keras_file(path, seed, {}), weights=False).network)
    assert total["params"] == 800 + 544 + 16 + 288 + 100 + 162 + 15 + 50
    for number in range(300):
        rng, tree = random.Random(number), json.loads(seed)
        for _ in range(rng.choice((1, 1, 2))):
            change_anywhere(tree["config"]["layers"], rng)
        try:
            network = read_keras(keras_file(path, tree, {}), weights=False).network
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, number
            continue
        assert totals(network)["moved_bytes"] > 0 and pieces(network), number
        read += 1
    assert read > 50


def test_mutated_keras_files_give_numbers_or_one_sentence(tmp_path: Path) -> None:
    path, read = tmp_path / "m.keras", 0
    content = keras_file(path, functional(LAYERS)).read_bytes()
    for number in range(400):
        path.write_bytes(mutate_keras(content, random.Random(number)))
        try:
            network = read_keras(path).network
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, number
            continue
        assert totals(network)["moved_bytes"] > 0 and pieces(network), number
        read += 1
    assert read > 20
