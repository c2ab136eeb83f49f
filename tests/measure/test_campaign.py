"""Campaigns: workers that may crash, ONNX files, look-up tables, black boxes, and descriptions of hosts."""

import json
import math
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import measure
import measure.base
import measure.lookup
from datasets.devices import read_device
from datasets.networks.analysis import totals
from datasets.networks.model import Model
from datasets.networks.network import Network, of_key
from datasets.networks.parts import cut, entries, label
from datasets.records import Architecture, Architectures, InputError
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.ofa import OFA
from encoders.device import DeviceSpecs
from measure.backends import backend_classes, parse_backend
from measure.backends.eager import Eager
from measure.backends.ort import OnnxRuntime
from measure.base import make_input, reference_network
from measure.bench import Bench, Worker
from measure.blackbox import FAILED, BlackBox, Live, minimise, random_search
from measure.builders.numpy_reference import evaluate
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from measure.campaign import Journal, distinct_sample, pending, run_campaign
from measure.doctor import _runtimes
from measure.drift import References
from measure.lookup import Lookup, decompose, summarise
from measure.outputs import WrongOutput
from measure.subjects import shaped, whole
from measure.table import PHASES, to_table
from measure.timing import Timing
from predictors.networks.tabulated import Tabulated
from tests.conftest import ROOT, needs, run

QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
TINY = NasBench201(channels=4, cells=1)
ORT = OnnxRuntime(timing=QUICK)
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def tiny_network() -> Network:
    return TINY.expand(TINY.parse([CELL])[0])


# Workers


def crash(arch: Architecture, batch: int) -> Model:
    if arch.key == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if arch.key == "hang":
        time.sleep(120)
    return Model(tiny_network())


def test_a_crash_or_a_hang_costs_one_row(tmp_path: Path) -> None:
    names = ("fine", "crash", "fine again", "hang", "still fine")
    archs = [Architecture("made-up", name, (), ()) for name in names]
    journal = Journal(tmp_path / "journal.jsonl")
    with Worker(timeout=20) as bench:
        rows = {}
        for arch in archs:
            bench.timeout = 4 if arch.key == "hang" else 60
            (rows[arch.key],) = run_campaign([arch], pending([arch], [ORT], journal), journal, crash, bench)
        process = bench.process
    assert rows["crash"]["error"] == "Crash: the process that measured ended with SIGSEGV"
    assert rows["hang"]["error"] == "Timeout: not measured within 4 s"
    assert all(rows[name]["ratio"] > 0 for name in names if "fine" in name)
    assert not process.is_alive() and len(journal.rows) == 5
    for measured in journal.rows:
        if "stable" in measured:
            measured["stable"] = measured["key"] != "fine again"
            measured |= {"interrupted": 0.0, "load": 0.0, "reference_ms": 1.0}  # a quiet machine
    again = [archs[position].key for _, position, _ in pending(archs, [ORT], journal, retry=True)]
    assert again == ["crash", "fine again", "hang"] and not pending(archs, [ORT], journal)


def test_a_runtime_that_is_absent_is_a_sentence_not_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxRuntime, "lacks", lambda self: "there is no such chip")
    with pytest.raises(InputError, match="Backend ort is not available here, because there is no such chip.$"):
        parse_backend("ort", "host")
    found = {finding["what"]: finding for finding in _runtimes()}["ort"]
    assert found["found"] == "not available here, because there is no such chip." and found["todo"]


# What is measured


class Few(NasBench201):
    num_choices = (2, 3, 1, 1, 1, 2)


def test_a_small_space_is_taken_in_its_own_order() -> None:
    space = Few()
    whole_space = space.all()
    chosen = distinct_sample(space, 50, seed=7)
    assert chosen == distinct_sample(space, 1000, seed=8) and 0 < len(chosen) < len(whole_space) == 12
    positions = [whole_space.keys.index(key) for key in chosen.keys]
    assert positions == sorted(positions) and chosen.keys[:2] == distinct_sample(space, 2, seed=0).keys


def test_blocks_and_phases_are_rows_of_their_own(tmp_path: Path) -> None:
    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "journal.jsonl")
    list(run_campaign(archs, pending(archs, [ORT], journal), journal, features={ORT.host: {"cores": 2.0}}))
    assert journal.rows[0]["device"]["features"] == {"cores": 2.0}
    assert pending(archs, [ORT], journal) == []
    assert len(pending(archs, [ORT], journal, metric="block_ms")) == 1
    assert len(pending(archs, [ORT], journal, metric="exe_ms")) == 1
    (row,) = run_campaign(
        archs, pending(archs, [ORT], journal, metric="exe_ms"), journal, None, Bench(phases=True), "exe_ms"
    )
    assert (
        row["metric"] == "exe_ms" and row["raw_ms"] == pytest.approx(row["exe_ms"]) and row["total_ms"] > row["pre_ms"]
    )
    assert set(to_table(journal.rows)[0]["metric"]) == {"latency_ms", "exe_ms", *PHASES}
    done = run(
        "-m", "measure", "run", "--subjects.block", "true", "--phases", "true", "--journal", tmp_path / "other.jsonl"
    )
    assert done.returncode == 2 and "leave one of --subjects.block and --phases out" in done.stderr
    done = run(
        "-m", "measure", "run", "--subjects.block", "true", "--space", "ofa", "--journal", tmp_path / "other.jsonl"
    )
    assert done.returncode == 2 and "are not stacks of a basic block; leave --subjects.block out" in done.stderr


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, Network, dict]:
    """An ONNX file with weights of its own, and its network."""
    network, path = tiny_network(), tmp_path / "net.onnx"
    weights = make_weights(network, seed=5)
    onnx.save(build_onnx(network, weights), path)
    return path, network, weights


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnxruntime_runs_the_file_itself(file: tuple, precision: str) -> None:
    path, network, weights = file
    before = path.read_bytes()
    y = OnnxRuntime(precision=precision, timing=QUICK).session(Model(network, weights, path)).fetch()[0]
    expected = evaluate(network, weights, make_input(network, 1))
    assert np.linalg.norm(y - expected) <= (1e-4 if precision == "fp32" else 0.2) * np.linalg.norm(expected)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["net.onnx"]


def test_other_runtimes_must_compute_what_the_file_says(file: tuple) -> None:
    path, network, weights = file
    Eager(timing=QUICK).session(Model(network, weights, path))
    with pytest.raises(WrongOutput, match="is off by"):
        Eager(timing=QUICK).session(Model(network, None, path))


def test_a_file_with_an_op_that_nobody_else_knows_runs(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"])], "g", info[:1], info[1:])
    path = tmp_path / "erf.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    from datasets.records import Op

    ops = Op("input", {"shape": (4,)}), Op("Erf", {"shape": (4,)})
    network = Network("onnx", path.name, ops, ((0, 1, 0),))
    y = ORT.session(Model(network, None, path)).fetch()[0]
    np.testing.assert_allclose(y, np.vectorize(math.erf)(make_input(network, 1)), rtol=1e-5)


def test_an_onnx_file_on_the_command_line(file: tuple, tmp_path: Path) -> None:
    pytest.importorskip("datasets.networks.onnx_file", reason="nothing reads ONNX files yet")
    command = ("-m", "measure", "run", "--backend", "ort,eager", "--journal", tmp_path / "journal.jsonl")
    done = run(*command, "--onnx", file[0])
    assert "2 rows measured (0 failed" in done.stdout, done.stdout + done.stderr
    done = run(*command, "--onnx", "absent.onnx")
    assert (
        done.returncode == 2
        and "There is no file absent.onnx; name an .onnx, .keras, .tflite, .pt2 or .param file." in done.stderr
    )


def test_a_file_with_open_sizes_is_measured_by_onnxruntime_as_it_is(tmp_path: Path) -> None:
    """At any batch, with the sizes that the command line gives."""
    from onnx import TensorProto, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w2"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "open.onnx")
    command = ["-m", "measure", "run", "--onnx", tmp_path / "open.onnx", "--backend", "ort,ort:fp32:4", "--protocol"]
    done = run(*command, "quick", "--journal", tmp_path / "j.jsonl", "--size", "h=32", "--size", "w2=40")
    assert done.returncode == 0 and "2 rows measured (0 failed" in done.stdout, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [row["device"]["batch"] for row in rows] == [1, 4]


# Look-up tables


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=6, max_size=6))
def test_layers_are_all_of_a_network_without_dead_branches(decisions: list[int]) -> None:
    network = TINY.expand(TINY.architecture(np.array(decisions, np.int8)))
    nodes = [node for entry in entries(network) for node in entry]
    assert sorted(nodes) == list(range(1, len(network.ops)))
    whole_net = totals(network)
    layers = [totals(entry.alone) for entry in decompose(network)]
    for name in ("macs", "params"):
        assert sum(layer[name] for layer in layers) == whole_net[name]
    again = [json.loads(entry.alone.key) for entry in decompose(network)]
    assert all(len(ops) - 1 >= 1 and edges for ops, edges in again)
    assert all(label(of_key(entry.alone.key)) == label(entry.alone) for entry in decompose(network))


def test_dead_and_constant_branches_are_no_layers() -> None:
    """Node 1 leads nowhere, node 2 is a constant that a convolution reads: one path is left."""
    key = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    network = TINY.expand(TINY.parse([key])[0])
    kinds = [network.ops[node].kind for entry in entries(network) for node in entry]
    assert "zero" not in kinds
    assert sum(network.ops[e[0]].attrs.get("kernel") == 1 for e in entries(network)) == 2  # the skeleton's own


def test_every_layer_of_a_chain_runs_alone_and_behind_the_one_before() -> None:
    """Squeeze-and-excitation's products among them."""
    space = OFA(classes=10)
    decisions = space.sample(1, np.random.default_rng(3)).decisions.copy()
    decisions[:, -1] = 0  # the smallest image
    network = space.expand(Architectures(space, decisions)[0])
    table = {entry.alone.key: entry for entry in decompose(network)}
    assert any(label(entry.alone).startswith("mul") for entry in table.values())
    for entry in list(table.values())[::2]:
        assert ORT.session(entry.alone).fetch()[0].size == math.prod(entry.alone.ops[-1].attrs["shape"])
        if entry.pair is not None:
            assert entry.before is not None and len(entry.pair.ops) > len(entry.alone.ops)
    for entry in list(table.values())[::9]:
        if entry.pair is not None:
            ORT.session(entry.pair)


def test_a_look_up_sums_what_it_measured_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.lookup, "COLD", {"flush_mb": 1, "pairs": 3, "max_rounds": 1})
    network, journal = tiny_network(), Journal(tmp_path / "journal.jsonl")
    table = Lookup(ORT, journal, passes=2, reasons=True)
    result = table.measure(network)
    rows = len(journal.rows)
    assert rows == sum(2 * len(archs) for _, archs, _, _ in table.tasks(network)) and table.measure(network) == result
    assert len(journal.rows) == rows and sum(layer["count"] for layer in result["layers"]) == result["entries"]
    sums = {row["what"]: row for row in result["sums"]}
    by_hand = sum(layer["count"] * layer["ms"] for layer in result["layers"])
    assert sums["summed"]["ms"] == pytest.approx(by_hand)
    assert sums["summed - calls"]["ms"] == pytest.approx(by_hand - (result["entries"] - 1) * result["call_ms"])
    assert sums["direct"]["error"] == 0 and sum(layer["share"] for layer in result["layers"]) == pytest.approx(100)
    assert {"direct, cold", "summed, cold, - calls", "summed in pairs"} <= set(sums)
    with pytest.raises(InputError, match="could not be measured on ort"):
        summarise(cut(network, entries(network)[0]), replace(ORT, batch=2), journal.rows, passes=2)


def test_a_table_of_layers_prices_whole_networks(tmp_path: Path) -> None:
    journal, out = tmp_path / "journal.jsonl", tmp_path / "layers.parquet"
    result = run("-m", "measure", "run", "--space", str(TINY), "--limit", "3", "--layers", "true",
               "--journal", journal, "--protocol", "quick")  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {row["space"] for row in rows} == {"layers"} and len({row["key"] for row in rows}) == len(rows)
    journal.write_text("".join(json.dumps({**row, "stable": True}) + "\n" for row in rows))
    assert run("-m", "measure", "table", "--journal", journal, "--out", out).returncode == 0
    ms = {row["key"]: row["ratio"] for row in rows}
    anchor, archs = References(rows).ms(rows[0]["device"]["name"]), distinct_sample(TINY, 3, 0)
    wanted, calls = [], []
    for arch in archs:
        network = TINY.expand(arch)
        layers = [cut(network, nodes).key for nodes in entries(network)]
        wanted.append(anchor * sum(ms[key] for key in layers))
        calls.append(anchor * (len(layers) - 1) * ms["one number"])
    device = ORT.device()
    np.testing.assert_allclose(Tabulated(out).on(device)(archs), wanted, rtol=1e-4)
    fewer = Tabulated(out).on(device, less_calls=True)(archs)
    np.testing.assert_allclose(fewer, np.subtract(wanted, calls), rtol=1e-4)
    with pytest.raises(InputError, match="has no layer"):
        Tabulated(out).on(device)(NasBench201(channels=8, cells=1).parse([CELL]))
    with pytest.raises(InputError, match=f"no latency_ms of layers on 'elsewhere'; it has {device.name}"):
        Tabulated(out).on(replace(device, name="elsewhere"))


def test_the_look_up_command(tmp_path: Path) -> None:
    done = run("-m", "measure", "lookup", "--space", str(TINY), "--arch", CELL, "--timing.repeats", "1",
               "--journal", tmp_path / "journal.jsonl", "--out", tmp_path / "lookup.json")  # fmt: skip
    assert done.returncode == 0 and "summed - calls" in done.stdout and "a call costs" in done.stdout, done.stderr
    assert json.loads((tmp_path / "lookup.json").read_text())["passes"] == 1


def test_files_that_runtimes_load_and_what_delegates_refuse_of_them(tmp_path: Path) -> None:
    needs("ai_edge_litert")
    done = run("-m", "measure", "build", "--space", str(TINY), "--arch", CELL, "--block", "true",
               "--backend", "litert:int8", "--out", tmp_path)  # fmt: skip
    assert done.returncode == 0 and "model.tflite" in done.stdout, done.stderr
    done = run("-m", "measure", "delegates", "--file", tmp_path / "model.tflite")
    assert "nnapi30: takes all of it" in done.stdout and "nnapi27: refuses" in done.stdout, done.stderr
    done = run("-m", "measure", "timeline", "--space", str(TINY), "--arch", CELL)
    assert done.returncode == 0 and "Conv" in done.stdout and " us in " in done.stdout, done.stderr
    done = run("-m", "measure", "delegates", "--file", tmp_path / "absent.tflite")
    assert done.returncode == 2 and "give a .tflite file" in done.stderr


# Black boxes


def test_an_objective_ranks_by_budget_then_quality_and_measures_each_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = "import measure, sys; f = measure.objective; sys.exit('numpy' in sys.modules)"
    assert run("-c", code).returncode == 0
    generous = measure.objective(TINY, ORT, budget_ms=1e6, journal=path)
    small, large, nothing = [1, 0, 0, 2, 0, 0], [3, 3, 3, 3, 3, 3], [0] * 6
    assert generous(large) < generous(small) < 0 and generous(nothing) == FAILED
    assert generous(large) == -TINY.totals(Architectures(TINY, np.array([large])))["params"][0]
    assert generous(dict(enumerate(large))) == generous(large) and generous.latency_ms.measured == 2
    assert TINY.parse([generous.best()]).decisions.tolist() == [large]

    strict = replace(generous, budget_ms=1e-6)
    assert strict(large) > strict(small) > 0 and generous.latency_ms.measured == 2 and strict.best() is None
    fastest = replace(generous, quality=lambda archs: np.ones(len(archs)))
    assert fastest(large) == fastest(small) == -1
    with pytest.raises(InputError, match="A budget of 0 ms cannot be kept"):
        replace(strict, budget_ms=0)


def test_a_search_that_is_repeated_asks_the_same_and_measures_nothing(tmp_path: Path) -> None:
    needs("nevergrad")
    journal = Journal(tmp_path / "journal.jsonl")
    scores: list[list[float]] = [[], []]
    for values in scores:
        live = Live(TINY, ORT, journal)
        objective = BlackBox(TINY, live, 1e6)
        minimise(objective, evaluations=8, seed=3, progress=values.append)
    assert scores[0] == scores[1] and len(scores[0]) == 8 and live.measured == 0
    assert len(journal.rows) == sum(value < FAILED for value in objective.evaluated.values())


def test_any_cost_can_be_searched_and_random_search_is_what_to_beat() -> None:
    needs("nevergrad")

    def cost(archs: Architectures) -> np.ndarray:
        return 1.0 + (archs.decisions == 3).sum(axis=1)

    best = []
    for search in (minimise, random_search):
        objective = BlackBox(TINY, cost, 4.0, quality=lambda archs: archs.decisions.sum(axis=1).astype(float) + 1)
        scores: list[float] = []
        search(objective, 60, 1, scores.append)
        assert len(scores) == 60 and cost(TINY.parse([objective.best()]))[0] <= 4
        best.append(min(scores))
    assert best[0] <= best[1] < 0


def test_the_blackbox_command(tmp_path: Path) -> None:
    needs("nevergrad")
    command = (
        "-m",
        "measure",
        "blackbox",
        "--space",
        str(TINY),
        "--evaluations",
        "3",
        "--journal",
        tmp_path / "j.jsonl",
    )
    done = run(*command, "--budget-ms", "1000")
    assert done.returncode == 0 and "ms of 1000" in done.stdout and "3 evaluations" in done.stdout, done.stderr
    done = run(*command, "--budget-ms", "1e-6")
    assert done.returncode == 2 and "architectures keeps 1e-06 ms; allow more." in done.stderr, done.stderr


# The host


def test_doctor_tells_every_runtime_and_what_to_do() -> None:
    done = run("-m", "measure", "doctor", "--json", "true")
    assert done.returncode == 0, done.stderr
    sections = json.loads(done.stdout)
    assert {"machine", "clocks", "noise", "energy", "devices", "runtimes"} == set(sections)
    found = {finding["what"]: finding["found"] for finding in sections["runtimes"]}
    assert set(found) == set(backend_classes()) and {"ort", "eager"} <= set(found)
    for text in found.values():
        assert text.startswith(("available: ", "not available here, because "))
    assert "corrected" in sections["noise"][0]["found"] and "ns per reading" in sections["clocks"][0]["found"]


def test_a_host_is_written_once_and_read_by_encoders(tmp_path: Path) -> None:
    command = ("-m", "measure", "host", "--name", "here", "--folder", tmp_path / "devices")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "devices" / "here.yaml"
    device = read_device(path)
    assert device.name == "here" and {"cores", "memory_gbs", "peak_gflops"} <= set(device.features)
    assert DeviceSpecs()([device])[0, 0] == pytest.approx(np.log10(os.cpu_count()))
    result = yaml.safe_load(path.read_text())
    assert set(result["how"]) == set(result["features"]) and result["how"]["peak_gflops"].startswith("measured: ")
    done = run(*command)
    assert done.returncode == 2 and "here.yaml is already there; choose another --name" in done.stderr
    (tmp_path / "file").touch()
    done = run(*command[:-1], tmp_path / "file" / "devices")
    assert done.returncode == 2 and "Cannot write" in done.stderr and "(Not a directory)" in done.stderr
    done = run("-m", "measure", "host", "--name", "../x")
    assert done.returncode == 2 and "'../x' cannot be a name" in done.stderr


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("[1, 2]", "does not describe a device"),
        ("name: [", "is not valid YAML"),
        ("{name: 5, family: y, kind: gpu, features: {}}", "does not describe a device"),
        ("{name: ../x, family: y, kind: gpu, features: {}}", "is no name of a device"),
        ("{name: x, family: y, kind: gpu, features: {cores: .nan}}", "feature 'cores' has to be a number"),
        ("{name: x, family: y, kind: gpu, features: [1]}", "does not describe a device"),
        ("{name: x, family: y, kind: toaster, features: {}}", "there is no kind 'toaster'"),
        ("{name: x, family: y, kind: gpu, features: {cores: many}}", "feature 'cores' has to be a number"),
    ],
)
def test_a_device_file_that_is_none_is_a_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_device(tmp_path / "x.yaml")
    with pytest.raises(InputError, match="There is no file .*absent.yaml; `python -m measure host` writes one"):
        read_device(tmp_path / "absent.yaml")


def test_help_of_measuring_is_fast() -> None:
    before = os.times()
    assert "doctor" in run("-m", "measure", "--help").stdout
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < 1.5 and ROOT.is_dir()


def test_a_bench_keeps_one_reference_a_device() -> None:
    bench = Bench()
    for arch in distinct_sample(TINY, 2, 0):
        assert "error" not in bench(ORT, arch, partial(whole, TINY))
    assert list(bench.references) == [ORT.device().name]
    assert "error" not in bench(ORT, reference_network(), shaped)


def test_what_a_network_has_to_compute_is_found_once_for_all_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, batches, compute = Bench(), list[int](), measure.base.expected_of
    monkeypatch.setattr(measure.base, "expected_of", lambda model, x: batches.append(len(x)) or compute(model, x))
    (arch,) = distinct_sample(TINY, 1, 0)
    for backend in (ORT, Eager(timing=ORT.timing), replace(ORT, batch=2)):
        assert "error" not in bench(backend, arch, partial(whole, TINY))
    assert batches == [1, 1, 1, 2, 2]  # the reference before the first network of each device
    assert "error" not in bench(
        ORT, arch, lambda arch, batch: Model(TINY.block(arch))
    )  # of one key, and not one network


def test_an_empty_model_is_a_failed_row_not_a_fast_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import measure.builders.onnx_graph as onnx_graph

    build = onnx_graph.build_onnx

    def empty(network, weights, batch=1):
        model = build(network, weights, batch)
        if len(network.ops) > len(reference_network().ops):  # the reference stays sound
            for tensor in model.graph.initializer:
                tensor.raw_data = bytes(len(tensor.raw_data))
        return model

    monkeypatch.setattr(onnx_graph, "build_onnx", empty)
    journal = Journal(tmp_path / "journal.jsonl")
    space = NasBench201(cells=2)
    archs, backends = distinct_sample(space, 1, 0), [OnnxRuntime(timing=QUICK)]
    (row,) = run_campaign(archs, pending(archs, backends, journal), journal)
    assert row["error"].startswith("WrongOutput: The output is off by")
    assert "raw_ms" not in row
    assert pending(archs, backends, journal) == [] and len(pending(archs, backends, journal, retry=True)) == 1


def test_sampling_is_distinct_connected_and_grows() -> None:
    few, many = distinct_sample(TINY, 20, seed=3), distinct_sample(TINY, 50, seed=3)
    assert many.keys[:20] == few.keys
    assert len(set(TINY.canonical(many))) == 50 and TINY.connected(many).all()
    with pytest.raises(InputError, match="choose fewer than 6000"):
        distinct_sample(TINY, 6000, seed=0)
