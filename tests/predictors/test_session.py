"""Peak memory and creation of sessions from the graph: onnxruntime's steps, buffers and arena, and the coefficients."""

import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import SMALLEST, Network
from datasets.records import Device, Op
from datasets.spaces.convnet import ConvNet
from datasets.spaces.zoo import Zoo
from encoders.pieces import converts
from measure.backends.ort import OnnxRuntime
from measure.base import with_weights
from measure.builders.onnx_graph import build_onnx
from measure.peak import measure_peak, peak_row
from predictors.networks.arena import Arena, Buffer, activation_bytes, buffers, pattern
from predictors.networks.ort_steps import BLOCK, Lowered
from predictors.networks.session import SessionCost, coefficients, features, predicted_session, session_cost

linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc/self/status")
ORT, MIB = OnnxRuntime(), 2**20


def chain(*shapes: tuple[int, ...], kind: str = "Softmax") -> Network:
    """Ops of one kind that each read the one before."""
    net = NetworkBuilder()
    x = net.add("input", shapes[0])
    for shape in shapes[1:]:
        x = net.add(kind, shape, x)
    return Network.of(net.ops, net.edges)


# The arena


def test_a_region_is_twice_the_one_before_and_large_requests_double_it_further() -> None:
    arena = Arena()
    places = [arena.take(size) for size in (MIB // 2, MIB, 5 * MIB)]
    assert places == [(0, 0), (1, 0), (2, 0)]
    assert arena.free == {(0, MIB // 2): MIB // 2, (1, MIB): MIB}, "5 of 8 MiB are no reason to split them"
    assert arena.written() == MIB // 2 + MIB + 5 * MIB, "what lies behind a request is never touched"


def test_freed_neighbours_are_one_chunk_again_and_the_smallest_that_is_enough_is_taken() -> None:
    arena = Arena()
    first, second, third = (arena.take(256 * 1024) for _ in range(3))
    arena.release(first)
    arena.release(third)  # with the rest of the region behind it
    assert arena.take(200 * 1024) == first
    arena.release(second)
    assert arena.take(512 * 1024) == second
    assert arena.written() == 768 * 1024


def test_a_pattern_fills_the_smallest_gap() -> None:
    taken = [Buffer(6400, 0, 1), Buffer(640, 0, 9), Buffer(1280, 1, 2), Buffer(640, 1, 9), Buffer(640, 3, 9),
             Buffer(6400, 3, 9)]  # fmt: skip
    assert pattern(taken) == 6400 + 640 + 1280 + 640, "the fifth goes where the third was, the last where the first was"
    assert pattern(taken[:2]) == 7040
    assert pattern([Buffer(1, 0, 1), Buffer(1, 2, 3)]) == 64  # one after another


def test_a_buffer_serves_dead_tensors_of_its_shape_and_elementwise_ops_take_their_input_s() -> None:
    same = buffers(chain((64, 32), (64, 32), (64, 32), (64, 32), (8, 8), kind="Transpose"))
    assert [b.bytes for b in same] == [8192, 8192, 256], "the third takes the place of the first"
    assert [b.bytes for b in buffers(chain((64, 32), (64, 32), (64, 32), (8, 8), kind="Relu"))] == [8192, 256]
    assert [b.output for b in same] == [False, False, True]


def test_activations_of_two_runs_are_the_first_run_and_a_block_for_later_ones() -> None:
    big = (1024, 1024)  # 4 MiB
    net = chain(big, big, big, big, (16, 16), kind="Transpose")
    # run 1: two buffers of 4 MiB in regions of 4 and 8 MiB; run 2: one block of 8 MiB, which the second region holds
    assert 8 * MIB <= activation_bytes(net) <= 17 * MIB
    assert activation_bytes(net, batch=4) > 2 * activation_bytes(net)


# The steps


def kinds_by_onnxruntime(network: Network, folder: Path) -> Counter[str]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 3, str(folder / "optimised.onnx")
    content = build_onnx(network, with_weights(network).weights or {}, 1).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet", "mobilenet_v2"])
def test_steps_are_the_nodes_that_onnxruntime_runs(name: str, tmp_path: Path) -> None:
    (arch,) = Zoo().parse([name])
    network = Zoo().expand(arch)
    steps = Counter(step.kind for step in Lowered(network, 1).steps)
    nodes = kinds_by_onnxruntime(network, tmp_path)
    if "ReorderOutput" not in nodes:
        pytest.skip("this processor has no blocked layout")
    of_numbers = nodes["GlobalAveragePool"]  # a copy of one number per channel, which has no buffer worth a step
    assert steps["reorder"] + of_numbers == nodes["ReorderInput"] + nodes["ReorderOutput"]
    assert steps["conv"] + steps["add"] == nodes["Conv"], "sums are parts of convolutions"
    assert steps["concat"] == nodes["Concat"] and steps["max_pool"] == nodes["MaxPool"]


@pytest.mark.parametrize(
    ("groups", "before", "after", "blocked"),
    [(1, 3, 8, True), (1, 18, 32, False), (1, 20, 32, True), (24, 24, 24, True), (30, 30, 30, False), (2, 64, 64, True),
     (8, 64, 128, False)],
)  # fmt: skip
def test_convolutions_run_in_blocks_where_channels_allow_it(
    groups: int, before: int, after: int, blocked: bool
) -> None:
    op = Op("conv", {"shape": (after, 8, 8), "kernel": 3, "pad": 1, "groups": groups})
    assert converts(op, (before, 8, 8), BLOCK) is blocked


def test_a_tensor_is_copied_once_for_all_that_read_it_in_its_own_layout() -> None:
    net = NetworkBuilder()
    x = net.add("conv", (16, 8, 8), net.add("input", (3, 8, 8)), kernel=3, pad=1)
    y, z = (net.add("Resize", (16, 16, 16), x) for _ in range(2))
    net.add("conv", (1, 16, 16), net.add("add", (16, 16, 16), y, z), kernel=1)
    lowered = Lowered(Network.of(net.ops, net.edges), 1)
    assert [step.kind for step in lowered.steps] == ["conv", "reorder", "Resize", "Resize", "add", "reorder", "conv",
                                                     "reorder"]  # fmt: skip
    assert lowered.size[lowered.steps[-2].writes[0]] == 16 * lowered.size[len(net.ops) - 1], "of one channel, a block"


def test_ops_between_integers_run_on_integers() -> None:
    net = NetworkBuilder()
    x = net.add("input", (16, 32, 32))
    for _ in range(2):
        x = net.add("QuantizeLinear", (16, 32, 32), x, dtype="uint8")
        x = net.add("conv", (16, 32, 32), net.add("DequantizeLinear", (16, 32, 32), x), kernel=1)
    net.add("DequantizeLinear", (16, 32, 32), net.add("QuantizeLinear", (16, 32, 32), x, dtype="uint8"))
    lowered = Lowered(Network.of(net.ops, net.edges), 1)
    assert [step.kind for step in lowered.steps] == ["QuantizeLinear", "conv", "conv", "DequantizeLinear"]
    assert [lowered.size[step.writes[0]] for step in lowered.steps] == [16384, 16384, 16384, 65536]


# Predictions


def test_weights_count_as_they_run() -> None:
    def one(kind: str, **attrs: int) -> Network:
        return Network.of([Op("input", {"shape": (16, 4, 4)}), Op(kind, {"shape": (32, 4, 4), **attrs})], [(0, 1, 0)])

    fp32 = features(one("conv", kernel=3, pad=1))
    assert fp32["kernels"] == pytest.approx(4 * 9 * 16 * 32 / 1e6) and fp32["dense"] == 0
    half = features(one("conv", kernel=3, pad=1, params=4608, param_bytes=9216))
    assert half["kernels"] == 0 and half["dense"] == pytest.approx(1.5 * fp32["kernels"])
    int8 = features(one("conv", kernel=3, pad=1, params=4608, param_bytes=4608))
    assert int8["dense"] == pytest.approx(2 * fp32["kernels"] / 4)
    assert (
        features(one("conv", kernel=1))["pointwise"] > 0 and features(one("conv", kernel=1, tied=1))["pointwise"] == 0
    )
    assert features(one("MatMul", params=10**7))["huge"] == 40 and features(one("Gather", params=10))["tables"] > 0
    beside, within = (
        features(one("MatMul", params=10**7), file_bytes=size)["parsed"] for size in (1000, 4 * 10**7 + 99)
    )
    assert beside == pytest.approx(0.001) and within == 40
    as_int8 = features(one("conv", kernel=3, pad=1), precision="int8")
    assert as_int8["dense"] == int8["dense"] and as_int8["weights"] == pytest.approx(fp32["weights"] / 2)
    assert fp32["windows"] == pytest.approx(8 * 9 * 4 * 4 / 1e6)


def test_notes_say_how_the_network_that_runs_differs(tmp_path: Path) -> None:
    ops = [Op("input", {"shape": (16,)}), Op("MatMul", {"shape": (16,), "params": 10**6, "param_bytes": 2 * 10**6}),
           Op("MatMul", {"shape": (16,), "params": 10**6, "tied": 1})]  # fmt: skip
    network, file = Network.of(ops, [(0, 1, 0), (1, 2, 0)]), tmp_path / "outside.onnx"
    file.write_bytes(bytes(1000))
    predicted = predicted_session(network, "ort", file=file)
    assert predicted is not None
    assert [note.partition(" of weights")[0] for note in predicted.notes[:2]] == ["2 MB", "2 MB"]
    assert (
        "fp16" in predicted.notes[0] and "other files" in predicted.notes[1] and "share weights" in predicted.notes[2]
    )


def test_every_runtime_s_coefficients_are_complete_and_no_other_runtime_has_a_prediction() -> None:
    for runtime, fitted in coefficients().items():
        predicted = predicted_session(SMALLEST, runtime)
        assert predicted is not None and 0 <= predicted.peak_mb < 20 and 0 <= predicted.init_ms < 50, runtime
        assert predicted.host == fitted["host"] and fitted["versions"] and fitted["networks"] > 10
        assert min(*fitted["loading"].values(), *fitted["loaded"].values(), *fitted["running"].values()) >= 0
    assert predicted_session(SMALLEST, "abacus") is None
    json.dumps(coefficients())


def test_other_runtimes_have_weights_and_activations_by_liveness_and_no_creation() -> None:
    device = Device("pc_abacus_fp32_1", "pc", "server-cpu", "abacus")
    network = chain((64, 32), (64, 32), (64, 32), kind="Transpose")
    assert session_cost(network, device) == SessionCost(2 * 64 * 32 * 4 / 1e6, None) == session_cost(network, None)
    known = session_cost(network, Device("pc_ort_fp32_1", "pc", "server-cpu", "ort"))
    assert known.host == coefficients()["ort"]["host"] and known.init_ms is not None
    bf16 = session_cost(network, Device("pc_openvino_bf16_1", "pc", "server-cpu", "openvino", "bf16"))
    assert bf16.init_ms is None, "nothing was measured in bf16"


def test_a_larger_batch_takes_more() -> None:
    (arch,) = Zoo().parse(["squeezenet"])
    network = Zoo().expand(arch)
    larger = Network(network.space, network.key, network.ops, network.edges, batch=32)
    first, second = (predicted_session(one, "ort") for one in (network, larger))
    assert first and second and second.peak_mb > 5 * first.peak_mb


@linux
def test_the_prediction_is_near_what_a_fresh_process_takes() -> None:
    """Half of what the coefficients leave on other processors and versions is allowed: 40 %, by the median of three."""
    space = ConvNet(image=224)
    networks = [*(Zoo().expand(arch) for arch in Zoo().parse(["squeezenet", "mobilenet_v2"])),
                space.expand(space.sample(1, np.random.default_rng(3))[0])]  # fmt: skip
    smallest = measure_peak(ORT, partial(ORT.built, SMALLEST))
    errors = []
    for network in networks:
        predicted = predicted_session(network, "ort")
        measured = peak_row(measure_peak(ORT, partial(ORT.built, network)), smallest)["peak_mb"]
        assert predicted is not None
        errors.append(abs(predicted.peak_mb / measured - 1))
    assert np.median(errors) < 0.4, errors


@pytest.mark.parametrize("width", [1, 3000])
def test_networks_of_very_many_ops_take_little_time(width: int) -> None:
    """A chain of additions, and as many branches that are all alive at once."""
    net = NetworkBuilder()
    x = y = net.add("conv", (16, 8, 8), net.add("input", (3, 8, 8)), kernel=3, pad=1)
    for _ in range(3000 // width):
        ends = [net.add("conv", (16, 8, 8), y, kernel=1) for _ in range(width)]
        for end in ends:
            y = net.add("add", (16, 8, 8), y, end)
    network, start = Network.of(net.ops, net.edges), time.process_time()
    assert activation_bytes(network) > 16 * 64 * 4 and x < y
    assert time.process_time() - start < 10
