"""Saved predictors that were damaged or edited: refused in one sentence, or they answer exactly as before."""

import copy
import json
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.files.digest import digest
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from encoders.flat import Totals
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.boosters import check_booster
from predictors.ensemble import Ensemble
from predictors.export import export, load_predictor
from predictors.gcn import GCN
from predictors.gp import GaussianProcess
from predictors.linear import BetterFlops, Linear
from predictors.mlp import MLP
from predictors.new_devices.conditioned import Conditioned
from predictors.new_devices.proxies import AdaProxy
from predictors.onnx_check import with_digest
from predictors.polynomial import Polynomial
from predictors.sklearn_regressor import SklearnRegressor
from predictors.trees import XGBoost
from search.optimizer.device_net import DeviceNet
from search.optimizer.optimizer_network import OptimizerNetwork, RelaxedObjective
from tests.conftest import made_up
from tests.contracts.test_predictors import REGRESSORS, small

SPACE = NasBench201()
ARCHS = SPACE.sample(10, np.random.default_rng(7))
SMALL = {"hidden": 8, "layers": 2, "epochs": 1}
KINDS: dict[str, Callable[[], Predictor]] = {
    "gcn": lambda: GCN(**SMALL),
    "ensemble": lambda: Ensemble(member=MLP(**SMALL), size=2),
    "blend": lambda: Blend(members=[Linear(), BetterFlops()]),
    "trees": lambda: XGBoost(trees=3, depth=2),
    "polynomial": lambda: Polynomial(encoder=Totals(("macs", "kernels")), degree=2),
    "process": lambda: GaussianProcess(encoder=Totals(("macs", "kernels"))),
    "conditioned": Conditioned,
    "adaproxy": AdaProxy,
    "forest": lambda: SklearnRegressor(params={"n_estimators": 3, "max_depth": 2}),
}
OTHERS = {
    cls.__name__: partial(small, cls) for cls in REGRESSORS if cls not in {type(make()) for make in KINDS.values()}
}
"""All the others: each kind reads its part of a file with lines of its own."""
ADAPTED = ("conditioned", "adaproxy")


@pytest.fixture(scope="module")
def train() -> Measurements:
    return made_up(SPACE.sample(30, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def saved(train: Measurements, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("saved"), {}
    for name, make in (KINDS | OTHERS).items():
        predictor: Any = make().fit(train, train)
        if name in ADAPTED:
            predictor = predictor.adapt(made_up(SPACE.sample(8, np.random.default_rng(1)), 1))
        found[name] = folder / f"{name}.pt"
        predictor.save(found[name])
    for name in ("trees", "adaproxy"):
        found[f"{name}.onnx"] = folder / f"{name}.onnx"
        export(Predictor.load(found[name]), found[f"{name}.onnx"], checked=20)
    return found


def answers(path: Path) -> np.ndarray | None:
    """Predictions of a file; None where it is refused in a sentence."""
    try:
        return load_predictor(path).predict_all(ARCHS)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return None


# Damage


@pytest.mark.parametrize("name, flips", [("gcn", 80), ("trees", 60), ("process", 60), ("adaproxy.onnx", 150),
                                         ("trees.onnx", 50)])  # fmt: skip
def test_a_flipped_bit_is_refused_or_changes_nothing(
    name: str, flips: int, saved: dict[str, Path], tmp_path: Path
) -> None:
    content, wanted = saved[name].read_bytes(), answers(saved[name])
    assert wanted is not None
    rng, path, refused = np.random.default_rng(0), tmp_path / f"flipped{saved[name].suffix}", 0
    for _ in range(flips):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        got = answers(path)
        refused += got is None
        assert got is None or np.array_equal(got, wanted)
    assert refused > flips / 4


@pytest.mark.parametrize("name", ["gcn", "trees.onnx"])
def test_a_number_that_was_changed_is_called_damage(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"changed{saved[name].suffix}"
    if path.suffix == ".pt":
        content = torch.load(saved[name], weights_only=True)
        content["state"]["network"]["head.0.weight"][0, 0] += 1
        torch.save(content, path)
    else:
        raw = bytearray(saved[name].read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    with pytest.raises(InputError, match="is damaged, its content does not match its digest"):
        load_predictor(path)


def test_files_of_before_the_digest_are_to_be_written_again(saved: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(saved["gcn"], weights_only=True)
    content.pop("digest")
    torch.save(content, tmp_path / "old.pt")
    model = onnx.load(saved["trees.onnx"])
    model.metadata_props.pop()
    onnx.save(model, tmp_path / "old.onnx")
    for name in ("old.pt", "old.onnx"):
        with pytest.raises(InputError, match=r"digest of its .*(write|export) it again"):
            load_predictor(tmp_path / name)


def test_a_digest_tells_types_shapes_order_and_values_apart() -> None:
    different = [
        {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": None}, {"a": {"a": 1}}, {},
        {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}, {"a": torch.zeros(6)},
        {"a": torch.zeros(6, dtype=torch.float64)}, {"a": torch.zeros(6, dtype=torch.int32)}, {"a": torch.ones(6)},
        {"a": torch.zeros(0)}, {"a": [[], []]}, {"a": [[[]]]},
    ]  # fmt: skip
    assert len({digest(content) for content in different}) == len(different)
    assert digest({"a": torch.zeros(2, 3).T}) == digest({"a": torch.zeros(3, 2)})


# Edits by somebody who writes the digest again


def places(tree: Any, at: tuple = ()) -> Iterator[tuple]:
    """The path of every value in nested dictionaries and lists; of long lists the first and the last."""
    if isinstance(tree, dict | list):
        keys = list(tree) if isinstance(tree, dict) else sorted({0, len(tree) - 1} & set(range(len(tree))))
        for key in keys:
            yield (*at, key)
            yield from places(tree[key], (*at, key))


def edits(value: Any) -> list[Any]:
    """Other values to put in a place."""
    other: list[Any] = [None, 10**9, "x", [], {}, float("nan")]
    if isinstance(value, np.ndarray):
        other = [other[i] for i in (0, 2, 3)]
        other += [value[:0], value.reshape(-1)[:1], value.astype(np.float32 if value.dtype == np.float64 else float)]
        other += [np.full_like(value, np.nan)] if value.dtype.kind == "f" else [value * 0 + 100]
    return other


@pytest.mark.parametrize("name", KINDS | OTHERS)
def test_an_edited_tree_is_refused_or_answers(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    tree, path = read_checkpoint(saved[name]), tmp_path / "edited.pt"
    rng = np.random.default_rng(0)
    found = [place for place in places(tree) if place[0] != "versions"]
    rows = [(place, number) for place in found for number in range(-1, 7)]
    for row in rng.permutation(len(rows))[:50].tolist():
        place, number = rows[row]
        edited = copy.deepcopy(tree)
        inner = edited
        for key in place[:-1]:
            inner = inner[key]
        values = edits(inner[place[-1]])
        if number < 0:
            del inner[place[-1]]
        else:
            inner[place[-1]] = values[number % len(values)]
        write_checkpoint(edited, path)
        got = answers(path)
        assert got is None or (got.shape[0] == len(ARCHS) and not np.isnan(got).any()), (place, number)


BOMBS: dict[str, tuple[str, dict[str, Any]]] = {
    "ten million layers": ("gcn", {"layers": 10_000_000}),
    "wide layers": ("gcn", {"hidden": 10_000_000}),
    "layers beyond all numbers": ("gcn", {"layers": 10**18}),
    "ten million members": ("ensemble", {"size": 10_000_000}),
    "paths without an end": ("trees", {"encoder": {"class_path": "encoders.paths.CellPaths",
                                                   "init_args": {"length": 10**9}}}),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_what_a_configuration_asks_for_is_not_allocated(what: str, saved: dict[str, Path], tmp_path: Path) -> None:
    name, settings = BOMBS[what]
    tree = read_checkpoint(saved[name])
    tree["predictor"]["init_args"].update(settings)
    write_checkpoint(tree, tmp_path / "bomb.pt")
    refused_within_limits(tmp_path / "bomb.pt")


def refused_within_limits(path: Path) -> None:
    """Refused in 1 GiB beside what is in use, a limit the system keeps, so that what is larger fails at once."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, before[1]))
    start = time.process_time()
    try:
        assert answers(path) is None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - start < 10


def test_records_and_structures_that_promise_more_than_a_file_holds_are_refused(tmp_path: Path) -> None:
    shared = torch.zeros(1)
    endless: list = []
    for _ in range(40):
        endless = [endless, endless]
    deep: list = []
    for _ in range(200):
        deep = [deep]
    cases = {"views": shared.expand(10**9), "aliases": endless, "depth": deep, "sparse": torch.zeros(3).to_sparse(),
             "quantised": torch.zeros(3, dtype=torch.float16), "bytes": bytearray(9), "set": {1, 2}}  # fmt: skip
    for name, value in cases.items():
        torch.save({"format": 2, "state": value, "digest": "0" * 64}, tmp_path / f"{name}.pt")
        refused_within_limits(tmp_path / f"{name}.pt")
    inner = {
        "a byte array of a size": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
        "a far memory": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a call of another": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        "a record beyond its end": b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00"
        b"storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x00\x00\x10tQK\x00J\x00\x00\x00\x10"
        b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.",
        "no record": b"\x80\x02}X\x01\x00\x00\x00a(K\x01K\x02tQs.",
        "many texts": b"\x80\x02" + b"]" * 3_000_000 + b".",
    }
    for name, structure in inner.items():
        with zipfile.ZipFile(tmp_path / "inner.pt", "w") as packed:
            packed.writestr("a/data.pkl", structure)
            packed.writestr("a/byteorder", "little")
            packed.writestr("a/data/0", b"\0" * 16)
        refused_within_limits(tmp_path / "inner.pt")
        assert name
    with zipfile.ZipFile(tmp_path / "squeezed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/data.pkl", b"\x80\x02}.")
        packed.writestr("a/byteorder", "little" + "x" * 10**7)
    refused_within_limits(tmp_path / "squeezed.pt")


def test_many_devices_and_odd_descriptions_are_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    tree = read_checkpoint(saved["blend"])
    one = tree["devices"][0]
    changes: list[dict[str, Any]] = [
        {"devices": [{**one, "name": str(i)} for i in range(10_001)]},
        {"devices": [one, one]},
        {"devices": [{**one, "batch": 0}, tree["devices"][1]]},
        {"devices": [{**one, "features": {"cores": float("inf")}}, tree["devices"][1]]},
        {"devices": [{**one, "name": ["x"]}, tree["devices"][1]]},
        {"space": "__init__"}, {"space": 3}, {"scores": [{}]}, {"scores": 3}, {"format": 1}, {"format": "2"},
        {"scale": {"mean": [0.0, 0.0], "std": [1.0, 0.0]}}, {"scale": {"mean": [0.0], "std": [1.0]}},
    ]  # fmt: skip
    for change in changes:
        write_checkpoint({**tree, **change}, tmp_path / "odd.pt")
        assert answers(tmp_path / "odd.pt") is None, change


def test_an_edited_booster_never_reaches_xgboost(saved: dict[str, Path], tmp_path: Path) -> None:
    """Its reader and its trees believe what they read: a child out of range ends the process."""
    tree = read_checkpoint(saved["trees"])
    raw = tree["state"]["boosters"][0].tobytes()
    check_booster(raw)
    rng = np.random.default_rng(0)
    at = raw.index(b"left_children") + len(b"left_children[$l#L") + 8
    cases = [raw[:-1], raw + b"}", raw[:at] + b"\x00\x00\x00\x00" + raw[at + 4 :], b"", b"{",
             raw[:at] + b"\x7f\xff\xff\xff" + raw[at + 4 :], raw.replace(b"#L\x00", b"#L\x7f", 1),
             raw.replace(b"num_feature", b"num_featurx"), b"[#L" + b"\x00" * 7 + b"\x05" * 40,
             b"[#L\x00\x00\x00\x00\x00\x00\x00\x01" * 50]  # fmt: skip
    for case in cases:
        tree["state"]["boosters"][0] = np.frombuffer(case, np.uint8)
        write_checkpoint(tree, tmp_path / "edited.pt")
        assert answers(tmp_path / "edited.pt") is None
    for _ in range(100):
        flipped = bytearray(raw)
        flipped[rng.integers(len(flipped))] = rng.integers(256)
        tree["state"]["boosters"][0] = np.frombuffer(bytes(flipped), np.uint8)
        write_checkpoint(tree, tmp_path / "edited.pt")
        answers(tmp_path / "edited.pt")


# Exported files


def edited_model(path: Path, edit: Callable[[onnx.ModelProto], object], to: Path) -> Path:
    """A file whose model was edited and whose digest was written again."""
    model = onnx.load(path)
    model.metadata_props.pop()
    edit(model)
    to.write_bytes(with_digest(model.SerializeToString()))
    return to


def _described(change: Callable[[dict], object]) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        meta = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps(change(meta) or meta)

    return edit


def _raw(text: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: setattr(model.metadata_props[0], "value", text)


def _in_front(*nodes: onnx.NodeProto, **constants: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    """Nodes before all others, whose last output is added to the result."""

    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        (last,) = (node for node in graph.node if graph.output[0].name in node.output)
        last.output[0] = "result"
        more = [*nodes, helper.make_node("ReduceSum", [nodes[-1].output[0]], ["sum"], keepdims=0)]
        more.append(helper.make_node("Add", ["result", "sum"], [graph.output[0].name]))
        graph.node.extend(more)

    return edit


def _node(op: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [f"of_{op}_{len(inputs)}"], **attributes)


ONE = np.ones(1, np.float32)
HOSTILE_GRAPHS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "no JSON": _raw("{"),
    "deep JSON": _raw("[" * 100_000),
    "nested JSON": _raw('{"a":' * 900 + "1" + "}" * 900),
    "a list": _raw("[]"),
    "no device": _described(lambda meta: meta.pop("devices")),
    "another device": _described(lambda meta: meta["devices"].pop()),
    "a device more": _described(lambda meta: meta["devices"].append({**meta["devices"][0], "name": "more"})),
    "another encoder": _described(lambda meta: meta["predictor"]["init_args"].update(
        encoder={"class_path": "encoders.flat.Totals", "init_args": {}})),
    "another metric": _described(lambda meta: meta["predictor"]["init_args"].update(metric="energy_mj")),
    "no description": lambda model: model.metadata_props.pop(),
    "a range": _in_front(_node("Range", ["a", "b", "c"]), a=np.float32(0), b=np.float32(1e9), c=np.float32(1)),
    "an expansion": _in_front(_node("Expand", ["a", "b"]), a=ONE, b=np.array([10**9])),
    "doubling": _in_front(*(helper.make_node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(33)),
                          d0=ONE),
    "a product": _in_front(_node("MatMul", ["a", "b"]), a=np.ones((20_000, 1), np.float32),
                           b=np.ones((1, 20_000), np.float32)),
    "padding": _in_front(_node("Pad", ["a", "b"]), a=ONE, b=np.array([0, 10**9])),
    "external numbers": lambda model: model.graph.initializer[0].MergeFrom(onnx.TensorProto(
        data_location=TensorProto.EXTERNAL, external_data=[{"key": "location", "value": "/etc/passwd"}])),
    "a huge constant": lambda model: model.graph.initializer.append(TensorProto(
        name="huge", dims=[10**10], data_type=TensorProto.FLOAT)),
    "no number": lambda model: model.graph.initializer[0].CopyFrom(numpy_helper.from_array(
        numpy_helper.to_array(model.graph.initializer[0]) * np.float32("nan"), model.graph.initializer[0].name)),
    "an opset of the future": lambda model: setattr(model.opset_import[0], "version", 999),
    "no nodes": lambda model: model.graph.ClearField("node"),
    "another input": lambda model: setattr(model.graph.input[0], "name", "y"),
    "an output more": lambda model: model.graph.output.append(model.graph.output[0]),
    "an op of somebody's": lambda model: setattr(model.graph.node[0], "domain", "com.example"),
    "values of another size": lambda model: model.graph.value_info.append(
        helper.make_tensor_value_info(model.graph.node[0].output[0], TensorProto.FLOAT, [7, 7, 7])),
}  # fmt: skip


GRAPH_EDITS = list(HOSTILE_GRAPHS)[list(HOSTILE_GRAPHS).index("a range") :]


@pytest.mark.parametrize("what", HOSTILE_GRAPHS)
def test_an_edited_graph_or_description_is_refused(what: str, saved: dict[str, Path], tmp_path: Path) -> None:
    path = edited_model(saved["trees.onnx"], HOSTILE_GRAPHS[what], tmp_path / "edited.onnx")
    assert saved["trees.onnx"].stat().st_size < path.stat().st_size + 10**6
    refused_within_limits(path)


@pytest.mark.parametrize("what", GRAPH_EDITS)
def test_an_edited_graph_of_a_saved_estimator_is_refused(what: str, saved: dict[str, Path], tmp_path: Path) -> None:
    tree = read_checkpoint(saved["forest"])
    model = onnx.load_model_from_string(tree["state"]["graph"].tobytes())
    HOSTILE_GRAPHS[what](model)
    tree["state"]["graph"] = np.frombuffer(model.SerializeToString(), np.uint8)
    write_checkpoint(tree, tmp_path / "edited.pt")
    refused_within_limits(tmp_path / "edited.pt")


TREES = ("nodes_truenodeids", "nodes_falsenodeids", "nodes_nodeids", "nodes_treeids", "nodes_featureids",
         "target_nodeids", "target_treeids", "target_ids")  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees_of_an_exported_file_that_loop_or_lead_nowhere_are_refused(
    name: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    def edit(value: int) -> Callable[[onnx.ModelProto], None]:
        def change(model: onnx.ModelProto) -> None:
            (node, *_) = (node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
            (attribute,) = (a for a in node.attribute if a.name == name)
            attribute.ints[0] = value

        return change

    for value in (-1, 10**6, 2**62):
        assert answers(edited_model(saved["trees.onnx"], edit(value), tmp_path / "edited.onnx")) is None
    loops = [v for v in (0,) if name in TREES[:2]]
    for value in loops:
        assert answers(edited_model(saved["trees.onnx"], edit(value), tmp_path / "edited.onnx")) is None


# Files that are no `Predictor`


def test_networks_of_devices_and_optimizers_have_the_same_envelope(tmp_path: Path) -> None:
    m = made_up(SPACE.sample(40, np.random.default_rng(0)), 3)
    net = DeviceNet(rank=2, hidden=4, steps=2, devices=4, cells=8).fit(m, m.architectures[np.arange(4)])
    objective = RelaxedObjective(m.architectures, lambda p: p[..., 0], (net.predict_relaxed,))
    vectors = torch.from_numpy(net.synthetic_.logs[net.places_].T).float()[:, None]
    optimizer = OptimizerNetwork(hidden=4, steps=2, batch=8).fit(objective, vectors)
    write_checkpoint(net.state(), tmp_path / "net.pt")
    optimizer.save(tmp_path / "optimizer.pt")
    loaders: dict[str, Callable[[Path], Any]] = {
        "net": lambda path: DeviceNet.restored(read_checkpoint(path)),
        "optimizer": OptimizerNetwork.load,
    }
    query = torch.full((1, 1), 2.0)
    relaxed = OptimizerNetwork.load(tmp_path / "optimizer.pt").relaxed(vectors[0], query)
    assert torch.equal(relaxed, optimizer.relaxed(vectors[0], query))
    for name, load in loaders.items():
        tree, path = read_checkpoint(tmp_path / f"{name}.pt"), tmp_path / "edited.pt"
        for i, place in enumerate(places(tree)):
            for number in {i % 4, (i + 1) % 4}:
                edited = copy.deepcopy(tree)
                inner = edited
                for key in place[:-1]:
                    inner = inner[key]
                values = edits(inner[place[-1]])
                if number == 3:
                    del inner[place[-1]]
                else:
                    inner[place[-1]] = values[(number + len(place)) % len(values)]
                write_checkpoint(edited, path)
                try:
                    load(path)
                except InputError as error:
                    assert "\n" not in str(error)
        damaged = bytearray((tmp_path / f"{name}.pt").read_bytes())
        damaged[damaged.index(tree["network"][next(iter(tree["network"]))].tobytes())] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is truncated, or not"):
            load(path)
