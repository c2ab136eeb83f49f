"""Results of runtimes beyond a latency: phases, timelines of kernels, why they cannot run here, builds that crash."""

import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from datasets.networks.model import Model
from datasets.networks.reading import read_model
from datasets.records import InputError
from datasets.spaces.dense import Dense
from datasets.spaces.nasbench201 import NasBench201
from measure.backends import backend_classes, parse_backend
from measure.backends.compiled import Compiled
from measure.backends.eager import Eager, read_profile
from measure.backends.ort import OnnxRuntime
from measure.backends.ort_gpu import OrtCuda, OrtTensorRt
from measure.backends.ov import OpenVino, mean_kernels
from measure.backends.trt import TensorRt
from measure.base import (
    Backend,
    make_input,
    reference_network,
    with_weights,
)
from measure.builders.numpy_reference import evaluate
from measure.builders.onnx_precision import NotQuantised
from measure.builders.weights import make_weights
from measure.child_build import BuildFailed, build_in_child
from measure.gpu_steps import steps
from measure.host import has_bf16
from measure.kernels import timeline
from measure.network_files import name_file, read_subject
from measure.outputs import WrongOutput, compare_output
from measure.phases import clock_ns, measure_phases
from measure.references import expected_output
from measure.timing import PROTOCOLS, Repeats, Timing
from tests.conftest import needs, run
from tests.doubles.network_files import MAKERS

TINY = NasBench201(channels=4, cells=1)
CELL = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])


# Where a backend can run


def test_a_backend_that_cannot_run_here_says_so_in_one_sentence() -> None:
    """On every host: a package that nobody has, a GPU that may be absent, a name that stands for no library's file."""

    @dataclass
    class Elsewhere(OnnxRuntime):
        runtime = "elsewhere"
        packages = ("onnxruntime", "no_such_package.of_ours")

    sentence = "Backend elsewhere is not available here, because the package no_such_package.of_ours is not installed."
    assert Elsewhere().unavailable() == sentence
    for name, cls in backend_classes().items():
        assert cls.runtime == name
        if reason := cls().unavailable():
            assert reason.startswith(f"Backend {name} is not available here, because ") and reason.endswith(".")
            assert "\n" not in reason
            with pytest.raises(InputError, match="is not available here, because"):
                parse_backend(name, "host")
        else:
            assert parse_backend(name, "host").device().runtime == name


@pytest.mark.parametrize("cls", [OrtCuda, OrtTensorRt, TensorRt])
def test_the_files_of_gpu_runtimes_compute_what_they_should(cls: type[OnnxRuntime], tmp_path: Path) -> None:
    """Their ONNX files, on the CPU: fp16 by conversion, int8 with explicit symmetric QDQ."""
    import onnx

    network = reference_network()
    weights, x = make_weights(network), make_input(network, 2)
    for precision in cls.precisions:
        path = OnnxRuntime.build(cls(precision=precision, batch=2), Model(network, weights), tmp_path)
        session = OnnxRuntime().load(path)
        session.bind([x])
        session.run()
        compare_output(session.fetch()[0], expected_output(Model(network, weights), x), precision)
        if precision == "int8" and cls.symmetric:
            tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
            points = [value for name, value in tensors.items() if name.endswith("_zero_point")]
            assert points and all(value.dtype == np.int8 and not value.any() for value in points)


def test_on_a_gpu_the_wall_clock_counts() -> None:
    """The CPU only waits there: its clock is neither a time nor a reason to drop a pair."""
    assert OrtCuda().timing.by == "wall" and OnnxRuntime().timing.by == "cpu"
    clocks = np.array([[3.0, 0.1, 1.0, 0.2]] * 3 + [[4.0, 0.1, 1.0, 0.2]])
    timing = Timing(pairs=4, by="wall")
    kept = timing.undisturbed(clocks[:, [0, 2]], clocks[:, [1, 3]])
    assert kept.all()
    assert Repeats(clocks, kept, 1, "wall").ratio == 3.0


# Builds apart


@dataclass
class Fragile(Eager):
    """A backend whose build fails in the way that its precision names."""

    runtime = "fragile"
    precisions = ("fp32", "crash", "exit", "raise", "refuse", "hang")
    builds_in_child = True

    def build(self, model: Model, folder: Path) -> Path:
        if self.precision == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.precision == "exit":
            os._exit(3)
        if self.precision == "raise":
            raise ValueError("no such op")
        if self.precision == "refuse":
            raise InputError("Name another op.")
        if self.precision == "hang":
            time.sleep(60)
        return super().build(model, folder)


def test_a_build_apart_gives_the_same_network() -> None:
    assert Fragile().session(CELL, seed=3).fetch()[0] == pytest.approx(Eager().session(CELL, seed=3).fetch()[0])


@pytest.mark.parametrize(
    "how, sentence",
    [
        ("crash", r"The build for fragile was killed by SIGSEGV \(Segmentation fault\)\."),
        ("exit", "ended with exit code 3 and no artefact"),
        ("raise", "The build for fragile raised ValueError: no such op."),
        ("hang", "took more than 4 s"),
    ],
)
def test_a_build_that_crashes_is_an_exception_with_a_sentence(how: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=sentence):
        build = partial(Fragile(precision=how).build, with_weights(CELL), tmp_path)
        build_in_child(build, "fragile", timeout=4 if how == "hang" else 60)


def test_a_build_that_refuses_its_input_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name another op"):
        Fragile(precision="refuse").session(CELL)


# Phases


@pytest.mark.parametrize("name", ["ort", "eager", "openvino", "jax"])
def test_the_phases_add_up_to_the_latency(name: str) -> None:
    backend = backend_classes()[name]()
    if reason := backend.unavailable():
        pytest.skip(reason)
    reference = backend.session(reference_network())
    repeats, row = measure_phases(backend, backend.loaded(partial(backend.built, reference_network())), reference)
    assert repeats.raw_ms == pytest.approx(row["exe_ms"]) and len(repeats.clocks) == 101
    assert abs(row["sum_error"]) < 0.25, row
    assert row["phases"]["exe"]["ratio"] == pytest.approx(1, abs=0.25), row  # the reference itself
    assert row["exe_ms"] > 5 * row["post_ms"] > 0 and row["pre_ms"] > 0
    assert row["init_pre_ms"] == row["init_ms"] + row["pre_ms"]
    for phase in row["phases"].values():
        assert phase["calls"] * phase["mean_ms"] > 0.15  # short phases fill a reading of the clock
    assert row["phases"]["post"]["calls"] > 1


def test_openvino_quantises_networks_that_look_up_constant_indices(tmp_path: Path) -> None:
    """Embeddings of types of tokens, which are all zero, are such look-ups; nncf alone fails on them."""
    needs("nncf")
    rng = np.random.default_rng(0)
    weights = {"words": rng.normal(size=(8, 16)), "types": rng.normal(size=(2, 16)), "w": rng.normal(size=(16, 16))}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.zeros((1, 4), np.int64), "zeros"))
    nodes = [
        helper.make_node("Gather", ["words", "x"], ["of_words"]),
        helper.make_node("Gather", ["types", "zeros"], ["of_types"]),
        helper.make_node("Add", ["of_words", "of_types"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 16])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    path = tmp_path / "types.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    OpenVino("int8").built(read_subject(name_file(path), 1), tmp_path)


def test_threads_of_a_session_do_not_spin_while_another_one_runs() -> None:
    """Beside the reference network, a network on as many threads as cores took twice as long as alone."""
    backend = OnnxRuntime(threads=2)
    session = backend.session(reference_network())
    options = session.session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_a_quantiser_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxruntime import quantization

    def fail(*arguments: object, **settings: object) -> None:
        raise KeyError("Gather")

    monkeypatch.setattr(quantization, "quantize_static", fail)
    space = Dense()
    with pytest.raises(NotQuantised, match="onnxruntime's quantiser cannot quantise this network; fp32 may run .KeyEr"):
        OnnxRuntime("int8").session(space.expand(space.parse(["batch=1,in=8,out=4,act=none,bias=1"])[0]))


def test_networks_whose_weights_are_in_a_file_beside_them_are_quantised(tmp_path: Path) -> None:
    """Torch's exporter writes such files; onnxruntime's quantiser refused them."""
    space = Dense()
    network = space.expand(space.parse(["batch=1,in=64,out=512,act=relu,bias=1"])[0])
    plain = OnnxRuntime().build(with_weights(network), tmp_path)
    path = tmp_path / "beside.onnx"
    onnx.save(onnx.load(plain), path, save_as_external_data=True, location="beside.onnx.data")
    assert (tmp_path / "beside.onnx.data").stat().st_size > path.stat().st_size
    folder = tmp_path / "built"
    folder.mkdir()
    built = OnnxRuntime("int8").built(read_subject(name_file(path), 1), folder)
    assert {"QuantizeLinear", "DequantizeLinear"} < {node.op_type for node in onnx.load(built.artefact).graph.node}
    assert {part.name for part in OnnxRuntime("int8").parts(built.artefact)} == {"int8.onnx", "int8.onnx.data"}
    OnnxRuntime("int8").session(read_subject(name_file(path), 1))  # raises where the output is another one


@pytest.mark.parametrize("key", ["batch=42,in=128,out=1,act=relu,bias=1", "batch=3,in=887,out=13,act=none,bias=1"])
def test_inputs_are_independent_of_weights_so_that_int8_covers_the_outputs(key: str) -> None:
    space = Dense()
    OnnxRuntime("int8").session(space.expand(space.parse([key])[0]))  # raises where the output is another one


def test_a_short_layer_is_timed_in_several_sessions_and_a_long_one_in_one() -> None:
    space = Dense()
    layer = space.expand(space.parse(["batch=1,in=64,out=32,act=none,bias=1"])[0])
    backend = OnnxRuntime(timing=Timing(**{**PROTOCOLS["layer"], "budget_s": 0}))
    reference = backend.session(reference_network())
    for short_ms, sessions in ((1e6, 3), (0, 1)):
        timed = replace(backend, timing=replace(backend.timing, short_ms=short_ms))
        loaded = timed.loaded(partial(timed.built, layer), timed.timing.sessions)
        assert len(loaded.again) == sessions - 1
        assert all(np.array_equal(other.fetch(), loaded.session.fetch()) for other in loaded.again if not other.run())
        assert len(timed.timed(loaded.session, reference, loaded.again).clocks) >= 11 * sessions
        repeats, row = measure_phases(timed, loaded, reference)
        assert len(repeats.clocks) == 11 * sessions and row["exe_ms"] > 0


def test_what_is_short_is_repeated_inside_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("measure.timing.time", SimpleNamespace(perf_counter_ns=lambda: now[0],
                                                               process_time_ns=lambda: now[0]))  # fmt: skip

    def spin(us: int, preempted_us: tuple[int, ...] = (0,)) -> Callable[[], None]:
        lost = itertools.cycle(preempted_us)

        def run() -> None:
            now[0] += 1000 * (us + next(lost))

        return run

    timing = Timing(floor_ms=0.05)
    assert timing.calls_a_reading(spin(100)) == 1
    assert timing.calls_a_reading(spin(20)) == 4
    assert timing.calls_a_reading(spin(100), 0.15) == 2
    assert timing.calls_a_reading(spin(100, (0, 4000)), 0.15) == 2, "other work ran for 4 ms"
    repeats = replace(timing, pairs=5)(spin(20), spin(40))
    assert repeats.raw_ms == pytest.approx(0.02), "a reading of several runs is divided by their number"
    assert repeats.reference_ms == pytest.approx(0.04)


def test_the_clocks_of_this_machine_have_a_resolution() -> None:
    tick = clock_ns()
    assert 0 < tick["wall_step"] <= 1e6 and 0 < tick["wall_overhead"] < 50_000


def event(name: str, microseconds: float) -> SimpleNamespace:
    return SimpleNamespace(name=name, time_range=SimpleNamespace(elapsed_us=lambda: microseconds))


def test_six_steps_from_a_gpu_profile() -> None:
    events = [event("Memcpy HtoD (Pageable -> Device)", 10), event("cudnn::conv", 300), event("relu", 100),
              event("Memcpy DtoH (Device -> Pageable)", 6)] * 2  # fmt: skip
    found = steps(events, runs=2, initialization=40.0, engine=7.0, inference=0.5, fetch=0.02)
    assert found == pytest.approx(
        {"initialization": 40, "trt_engine_op": 7, "memcpy_h2d": 0.01, "kernels": 0.4, "inference": 0.5,
         "memcpy_d2h": 0.006, "return_value": 0.014}
    )  # fmt: skip


def test_keras_and_jax_run_in_one_process() -> None:
    """Keras loads JAX, which then has to know already that one thread is all."""
    needs("jax")
    code = (
        "from measure.backends import parse_backend as p; p('keras', 'h').versions(); print(p('jax', 'h').versions())"
    )
    done = run("-c", code, env={"XLA_FLAGS": ""})
    assert done.returncode == 0, done.stderr


# Timelines


def test_openvino_s_counters_of_whole_microseconds_never_give_less_than_no_time() -> None:
    def counter(microseconds: int) -> SimpleNamespace:
        took, status = timedelta(microseconds=microseconds), SimpleNamespace(EXECUTED=1)
        return SimpleNamespace(status=1, Status=status, real_time=took, cpu_time=took, node_name="a", node_type="b",
                               exec_type="c")  # fmt: skip

    def durations(before: int, after: int) -> list[float]:
        old, new = counter(before), counter(after)
        return [kernel.duration_us for kernel in mean_kernels([old], [new], warmup=20, runs=4)]

    assert durations(10, 9) == [4.0] and durations(10, 8) == [0.0]


@pytest.mark.parametrize("backend", [OnnxRuntime(), OpenVino(), Eager()], ids=lambda b: b.runtime)
def test_a_timeline_adds_up_to_the_run(backend: Backend) -> None:
    """To most of it: kernels are timed in whole microseconds, and some time lies between them. The best of up to
    five sums counts, since the machine may be doing something else."""
    backend = type(backend)(batch=2, timing=Timing(pairs=25, max_rounds=1))
    if reason := backend.unavailable():
        pytest.skip(reason)
    run = backend.session(reference_network()).run
    shares = []
    while not shares or (len(shares) < 5 and not 0.6 < shares[-1] < 1.2):
        kernels = timeline(backend, reference_network())
        took = 1000 * np.median(backend.timing(run, run).clocks[:, 1])
        shares.append(kernels["duration_us"].sum() / took)
    assert 0.6 < shares[-1] < 1.2, shares
    assert list(kernels) == ["name", "kind", "start_us", "duration_us", "cpu_us"]
    assert (kernels["start_us"].diff().dropna() >= 0).all() and (kernels["duration_us"] >= 0).all()
    convolutions = (kernels["name"] + kernels["kind"]).str.contains("conv", case=False)
    assert kernels["duration_us"][convolutions].sum() > 0.5 * kernels["duration_us"].sum()


def test_a_backend_without_a_timeline_says_so() -> None:
    backend = backend_classes()["jax"]()
    if reason := backend.unavailable():
        pytest.skip(reason)
    with pytest.raises(InputError, match="Backend jax keeps no timeline of its kernels"):
        timeline(backend, CELL)


def test_a_gpu_profile_is_read_by_device_and_run() -> None:
    cpu, gpu = SimpleNamespace(name="CPU"), SimpleNamespace(name="CUDA")

    def at(name: str, device: SimpleNamespace, start: float, length: float, parent: object = None) -> SimpleNamespace:
        span = SimpleNamespace(start=start, end=start + length, elapsed_us=lambda: length)
        return SimpleNamespace(name=name, device_type=device, time_range=span, cpu_parent=parent)

    first, second = at("gnomon run", cpu, 100, 50), at("gnomon run", cpu, 200, 50)
    op = at("aten::conv2d", cpu, 105, 30, first)
    events = [first, op, at("aten::conv", cpu, 106, 20, op), at("gnomon run", gpu, 110, 30),
              at("relu", gpu, 140, 5), at("conv", gpu, 110, 25), second, at("conv", gpu, 211, 20)]  # fmt: skip
    assert [[kernel[:4] for kernel in run] for run in read_profile(events, gpu)] == [
        [("conv", "cuda", 10, 25), ("relu", "cuda", 40, 5)],
        [("conv", "cuda", 11, 20)],
    ]
    assert [[kernel.name for kernel in run] for run in read_profile(events, cpu)] == [["aten::conv2d"], []]


@pytest.mark.parametrize("fault", ["shape", "scale", "nan", "zero"])
def test_a_wrong_output_is_caught(fault: str) -> None:
    network = TINY.expand(TINY.parse(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])[0])
    weights, x = make_weights(network), make_input(network, 2)
    y = evaluate(network, weights, x)
    assert compare_output(y, expected_output(Model(network, weights), x), "fp32") == 0
    faults = {"shape": y[:1], "scale": 1.01 * y, "nan": np.where(y > 0, np.nan, y), "zero": 0 * y}
    with pytest.raises(WrongOutput, match="off by|has shape|is NaN or infinite"):
        compare_output(faults[fault], expected_output(Model(network, weights), x), "fp32")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("ort:int4", "Backend ort has no precision 'int4'; it has fp32, int8"),
        ("orrt", "There is no backend 'orrt'; there are .*compiled, "),
        ("ort:fp32:x", "does not name a backend"),
        ("ort:fp32:1:2", "does not name a backend"),
    ],
)
def test_an_unknown_backend_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_backend(text, "host")
    assert parse_backend("ort:int8:4", "pc").device().name == "pc_ort_int8_4"


def test_torch_computes_in_bf16_where_the_processor_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = {"flags\t\t: fpu avx512_bf16 sse": True, "Features\t: fp asimd bf16": True, "flags\t\t: fpu avx512f": False}
    for text, found in flags.items():
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{text}\n")
        assert has_bf16(tmp_path / "cpuinfo") == found
    assert not has_bf16(tmp_path / "absent")
    monkeypatch.setattr("measure.backends.eager.has_bf16", lambda: False)
    assert "because this processor has no bf16 arithmetic" in Eager("bf16").unavailable()
    assert "because this processor has no bf16 arithmetic" in Compiled("bf16").unavailable()
    assert not Eager().unavailable()


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 arithmetic")
def test_a_file_of_torch_runs_in_bf16(tmp_path: Path) -> None:
    model = read_model(str(MAKERS[".pt2"](tmp_path / "m.pt2")))
    exact, rounded = (Eager(name).session(model).fetch()[0] for name in ("fp32", "bf16"))
    assert 1e-4 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.1
    assert Eager("bf16", host="h").device().name == "h_eager_bf16_1"
