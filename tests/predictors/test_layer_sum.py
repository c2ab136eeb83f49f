"""Networks priced by their layers: what they are made of, the fit, the artefact, files, the command, training."""

import copy
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

import train
from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.measured import Measured
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from datasets.spaces.convnet import ConvNet
from datasets.spaces.nasbench201 import NasBench201
from datasets.spaces.zoo import Zoo
from datasets.splits import Random
from encoders.flat import Totals
from predictors.base import Predictor
from predictors.commands.answers import predict, score, show
from predictors.commands.comparing import compare
from predictors.linear import Linear
from predictors.metrics import plain
from predictors.networks import calibration
from predictors.networks.calibration import calibrate, leave_one_out_errors, most_informative
from predictors.networks.coefficients import COEFFICIENTS, PRIOR
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import Learnt
from predictors.networks.pieces import KINDS, nearest, pieces
from predictors.networks.price import price, read_network
from predictors.networks.price_report import details
from predictors.run_folder import FILES
from tests import conftest
from tests.datasets.test_onnx_file import FOREIGN, networks, save
from tests.doubles.toy_layers import DEVICES, SPACES, law, layer_table, layer_tables, table, write

NETS = ConvNet(image=32, classes=10, megamacs=60)


def network_table(
    n: int, seed: int, factors: tuple[float, ...] = (1, 3), devices: tuple[Device, ...] = DEVICES
) -> Measurements:
    archs = NETS.sample(n, np.random.default_rng(seed))
    found = [pieces(NETS.expand(arch)) for arch in archs]
    work = np.array([[sum(p.macs for p in parts), sum(p.moved for p in parts)] for parts in found], float)
    calls = np.array([len(parts) for parts in found])[:, None]
    return table(archs, {"latency_ms": 0.005 + 0.004 * calls + 1.3 * law(work, factors)}, "networks", devices)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return conftest.run(*map(str, arguments))


def untrained() -> Learnt:
    return Learnt(*(Linear(metric="exe_ms", encoder=Totals(("macs", "moved_bytes"))) for _ in SPACES))


def knows_layers() -> LayerSum:
    return LayerSum.summing(untrained().fit({kind: layer_table(kind) for kind in SPACES}))


@pytest.fixture(scope="module")
def fitted() -> LayerSum:
    """Knows layers only."""
    return knows_layers()


@pytest.fixture(scope="module")
def saved(fitted: LayerSum, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layerwise") / "predictor.pt"
    fitted.calibrated(network_table(20, 5)).save(path)
    return path


def _load(path: Path) -> LayerSum:
    predictor = Predictor.load(path)
    assert isinstance(predictor, LayerSum)
    return predictor


def errors(predictor: LayerSum, m: Measurements) -> np.ndarray:
    """Mean relative errors [D]."""
    truth = m.matrix("latency_ms")
    found = [predictor.predict(m.architectures, device) / truth[:, d] - 1 for d, device in enumerate(m.devices)]
    return np.abs(found).mean(axis=1)


# What networks are made of


def test_a_network_comes_apart_into_what_runtimes_run() -> None:
    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (3, 64, 48)), 32, 11, 4, act="relu", pad=2)
    x = net.conv_bn(x, 32, 3, groups=32, act="hswish")
    x = net.conv(x, 64, 1, groups=4, bias=1)
    x = net.pointwise("tanh", net.pointwise("add", x, x))
    x = net.add("dense", (10,), net.pool("avg_pool", x, 2, 2))
    found = pieces(net.finish("", ""), batch=8)
    assert [p.kind for p in found] == ["convolution", "depthwise", "convolution", "moved", "pooling", "dense"]
    assert found[0].label == "conv+bn+relu 11/4 3x64x48 -> 32x15x11"
    assert found[0].layer == {"batch": 8, "size": 55, "kernel": 11, "in": 3, "stride": 4, "pad": 1, "act": 1, "out": 32,
                              "bias": 1}  # fmt: skip
    assert found[1].layer["in"] == 32 and found[1].stepped == 8 * 32 * 15 * 11 and not found[0].stepped
    assert found[2].layer["in"] == 8 and found[3].tanh == 8 * 64 * 15 * 11 and not found[3].smooth
    assert found[5].layer["in"] == 64 * 7 * 5 and found[5].macs == 8 * 64 * 7 * 5 * 10


def test_layers_that_a_space_has_are_themselves_and_others_the_nearest() -> None:
    space = SPACES["convolution"]
    archs = space.sample(50, np.random.default_rng(3))
    rows = [pieces(space.expand(arch))[0].layer for arch in archs]
    again, wanted, measured = nearest(space, rows)
    same = space.canonical(archs) == np.array(space.canonical(again))
    assert same.all() and (wanted == measured).all()
    vgg = [p.layer for p in pieces(Zoo().expand(Zoo().parse(["vgg16"])[0]), 64) if p.kind == "convolution"]
    archs, wanted, measured = nearest(space, [*vgg, {**vgg[0], "kernel": 11, "in": 20_000}])
    assert space.feasible(archs).mean() > 0.9 and (wanted >= measured).all()
    assert wanted[1, 0] / measured[1, 0] == pytest.approx(64 * 224**2 * 64**2 * 9 / measured[1, 0])


def test_rows_of_tokens_are_a_dense_layer(tmp_path: Path) -> None:
    nodes, shape, tensors, *_ = FOREIGN["layer norm of tokens"]
    (piece,) = (p for p in pieces(read_network(save(tmp_path / "m.onnx", nodes, shape, tensors, rank=3))) if p.macs)
    assert piece.layer == {"batch": 10, "in": 8, "out": 3, "act": 0, "bias": 0} and piece.macs == 10 * 8 * 3


def test_windows_that_are_wide_and_images_are_kinds_of_their_own(fitted: LayerSum) -> None:
    net = NetworkBuilder()
    x = net.pointwise("tanh", net.conv(net.add("input", (3, 32, 32)), 32, 3, 1, pad=1))
    for kernel in (5, 7):
        x = net.conv(x, 32, kernel, groups=32, pad=kernel // 2)
    found = [p for p in pieces(net.finish("", "")) if p.kind != "moved"]
    assert isinstance(fitted.layers, Learnt)
    costs = fitted.layers.piece_terms(found)[:, 0]
    kinds = ("convolution", "stem", "depthwise", "wide", "tanh", "smooth")
    used = [[kind for kind in kinds if row[COEFFICIENTS.index(kind)]] for row in costs]
    assert used == [["stem", "tanh"], ["depthwise"], ["wide"]]
    assert np.linalg.eigvalsh(PRIOR).min() > 0


# The fit


def test_leave_one_out_errors_of_many_totals_are_those_of_single_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    costs = rng.lognormal(0, 1, (40, 3))
    measured = costs @ [1.0, 2.0, 0.5] * rng.lognormal(0, 0.05, 40)
    each = leave_one_out_errors(costs, measured, np.ones(3), np.eye(3), 0.05)
    monkeypatch.setattr(calibration, "MOST_FITS", 10)
    at_once = leave_one_out_errors(costs, measured, np.ones(3), np.eye(3), 0.05)
    np.testing.assert_allclose(at_once, each, atol=0.01)


def test_coefficients_are_found_and_stay_where_nothing_is_told() -> None:
    rng = np.random.default_rng(0)
    costs, truth = rng.exponential(1, (40, 4)) * [1, 10, 0.1, 0], np.array([2.0, 0.1, 5.0, 7.0])
    guess, prior = truth * [1.5, 0.5, 2, 1], np.eye(4)
    found = calibrate(costs, costs @ truth, guess, prior, 0.01)
    np.testing.assert_allclose(found, truth, rtol=0.02)
    assert np.abs(leave_one_out_errors(costs, costs @ truth, guess, prior, 0.01)).max() < 0.05
    spoilt = costs @ truth * np.where(np.arange(40) == 7, 10, 1)
    np.testing.assert_allclose(calibrate(costs, spoilt, guess, prior, 0.05)[:3], truth[:3], rtol=0.2)
    together = prior + np.array([[0, 0, 0, 1], *[[0] * 4] * 2, [1, 0, 0, 1.0]])  # the last one is the first, and more
    found = calibrate(costs, costs @ truth, guess, together, 0.01)
    np.testing.assert_allclose(found[3] / guess[3], found[0] / guess[0], rtol=0.02)
    repeated = np.concatenate([np.tile(costs[:1], (20, 1)), costs[1:3]])
    assert set(most_informative(repeated, guess, prior, 0.1, 3)[:2]) & {20, 21}, (
        "repeats of a network are less informative"
    )


def test_no_step_leads_to_totals_below_zero_where_a_cost_is_taken_off() -> None:
    """Calls are, from sums of layers that were measured alone; a whole step of Gauss-Newton would do so here."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        costs = rng.exponential(1, (20, 5))
        costs[:, 4] = -costs[:, :4].sum(axis=1) * rng.uniform(0.5, 0.9, 20)
        truth = np.append(rng.lognormal(0, 0.3, 4), 1.0)
        measured = np.maximum(costs @ truth, 0.05) * np.exp(0.1 * rng.standard_normal(20))
        with np.errstate(invalid="ignore"):
            found = calibrate(costs, measured, np.ones(5), np.eye(5), 0.02)
        before, after = (np.abs(np.log(measured / (costs @ x))).mean() for x in (np.ones(5), found))
        assert after <= before, seed


def test_measured_networks_correct_the_sum_of_layers(fitted: LayerSum) -> None:
    train, test = network_table(20, 5), network_table(30, 6)
    corrected = fitted.calibrated(train)
    assert (errors(fitted, test) > 0.1).all() and (errors(corrected, test) < 0.1).all()
    assert [len(c.errors) for c in (*corrected.calibrations_, *fitted.calibrations_)] == [20, 20, 0, 0]
    for predictor, least in ((fitted, 0.8), (corrected, 0.85)):
        low, high = predictor.belief(test.architectures, DEVICES[0]).interval(0.9)
        truth = test.matrix("latency_ms")[:, 0]
        assert ((low < truth) & (truth < high)).mean() >= least
    together = knows_layers().fit(train)
    for ours, theirs in zip(together.calibrations_, corrected.calibrations_, strict=True):
        np.testing.assert_allclose(ours.coefficients, theirs.coefficients)


def test_every_field_of_learnt_costs_matters_within_limits() -> None:
    tables, archs = {kind: layer_table(kind, 80) for kind in SPACES}, NETS.sample(5, np.random.default_rng(0))

    def answers(**changes: Any) -> np.ndarray:
        predictor = LayerSum.summing(replace(untrained(), **changes).fit(tables)).calibrated(network_table(6, 5))
        return np.stack(predictor.belief(archs, DEVICES[0]).interval(0.9))

    reference, other = answers(), Linear(metric="exe_ms", encoder=Totals(("macs",)))
    for changes in ({"convolution": other}, {"pooling": other}, {"dense": other}, {"held": 0.5}, {"noise": 1.0},
                    {"seed": 1}):  # fmt: skip
        assert not np.array_equal(answers(**changes), reference), changes
    for wrong in ({"held": 1.5}, {"seed": -1}):
        with pytest.raises(InputError, match="has to be between"):
            replace(untrained(), **wrong)
    with pytest.raises(InputError, match="noise = 0.0 must be above 0"):
        answers(noise=0.0)


def test_any_space_and_batch_is_priced(fitted: LayerSum) -> None:
    for space in (Zoo(image=64), NasBench201(cells=1), SPACES["pooling"]):
        archs = space.sample(4, np.random.default_rng(0))
        ms = fitted.on(DEVICES[1])(archs)
        assert ms.shape == (4,) and (ms > 0).all()
        if space != SPACES["pooling"]:
            many = Networks(replace(space.expand(arch), batch=16) for arch in archs)
            assert (fitted.predict(many, DEVICES[1]) > 8 * (ms - 0.01)).all()
    with pytest.raises(InputError, match="not fitted on no device; it answers for: fast_1, slow_1"):
        fitted.predict(archs)
    with pytest.raises(InputError, match="not fitted on device 'phone'"):
        fitted.on(Device("phone", "", ""))
    with pytest.raises(InputError, match="predicts latency_ms, not energy_mj"):
        fitted.on(DEVICES[0], "energy_mj")
    with pytest.raises(InputError, match="no table of pooling layers"):
        untrained().fit({"convolution": layer_table("convolution")})
    with pytest.raises(InputError, match="table of pooling layers is of convolution"):
        untrained().fit(dict.fromkeys(("convolution", "pooling", "dense"), layer_table("convolution")))


def test_it_adapts_to_a_new_device_by_what_it_chooses(fitted: LayerSum) -> None:
    phone, pool = (Device("phone", "toy", "mobile-cpu"),), NETS.sample(100, np.random.default_rng(8))
    done = list[float]()
    chosen = fitted.choose(
        pool, 10, np.random.default_rng(0), lambda message, **numbers: done.append(numbers["networks"])
    )
    assert sum(done) == len(pool)
    assert len(set(chosen.keys)) == 10 and set(chosen.keys) <= set(pool.keys)
    samples = network_table(12, 9, (11,), phone)
    before = fitted.calibrations_
    new = fitted.adapt(samples)
    assert new.devices_ == phone and fitted.calibrations_ == before
    assert errors(new, network_table(30, 6, (11,), phone)).max() < 0.15
    one = fitted.adapt(samples.where(archs=np.arange(1)))
    assert errors(one, network_table(30, 6, (11,), phone)).max() < 0.4
    archs = SPACES["convolution"].sample(12, np.random.default_rng(2))
    exe = 0.005 + law(archs.space.totals(archs)[["macs", "moved_bytes"]].to_numpy(), (11,))
    from_layers = fitted.adapt(table(archs, {"exe_ms": exe}, "layers", phone))
    assert errors(from_layers, network_table(30, 6, (11,), phone)).max() < 0.5


# Files


@settings(max_examples=25, deadline=None)
@given(network=networks(), batch=st.integers(1, 3), rate=st.integers(0, 1))
def test_any_network_has_a_price(network: Network, batch: int, rate: int, fitted: LayerSum) -> None:
    network = replace(network, batch=batch)
    priced = price(fitted, network, DEVICES[rate])
    assert np.isfinite(priced.total_ms) and 0 < priced.low <= priced.latency_ms <= priced.high
    assert all(piece.ms >= 0 and piece.kind in KINDS for piece in priced.pieces)
    assert sum(piece.flops for piece in priced.pieces) == pytest.approx(2 * sum(p.macs for p in pieces(network)))
    assert priced.latency_ms == pytest.approx(fitted.predict(Networks([network]), DEVICES[rate])[0])
    assert priced.total_ms == pytest.approx(priced.pre + priced.latency_ms + priced.post)
    assert details(priced)


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_ops_have_a_price(name: str, fitted: LayerSum, tmp_path: Path) -> None:
    nodes, shape, tensors, *_ = FOREIGN[name]
    rank = 2 if "row" in name else len(shape)
    priced = price(fitted, read_network(save(tmp_path / "m.onnx", nodes, shape, tensors, rank=rank)), DEVICES[0])
    assert priced.latency_ms > 0 and not priced.unknown and details(priced).endswith("All ops are known.")


def test_unknown_ops_are_named_and_counted(fitted: LayerSum, tmp_path: Path) -> None:
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8]) for n in "xabyz"]
    nodes = [helper.make_node("Relu", ["x"], ["a"])]
    nodes += [helper.make_node("Rotary", [s], [t], domain="mine") for s, t in ("ab", "by")]
    nodes += [helper.make_node("Hardmax", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "g", value[:1], value[-1:], value_info=value[1:-1])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "m.onnx")
    priced = price(fitted, read_network(tmp_path / "m.onnx"), DEVICES[0])
    assert priced.unknown == {"mine.Rotary": 2, "Hardmax": 1} and len(priced.pieces) == 4
    assert "Unknown ops, priced by the bytes that they move: 2 x mine.Rotary, 1 x Hardmax" in details(priced)
    first, copies, _, second, *_ = details(priced).splitlines()
    assert re.fullmatch(r"m.* on fast_1, batch 1: [\d.]+ ms \(90 % interval [\d.]+ to [\d.]+\)", first)
    assert copies == f"4 layers, session {priced.session:.2g} ms; with copies total_ms = {plain(priced.total_ms)} " + (
        f"(in {priced.pre:.4g}, out {priced.post:.4g})"
    )
    assert re.fullmatch(
        r"warning: \d+ % is of ops of which nothing was measured \(2 x .*, 1 x Hardmax; \d+ % of all bytes\)\.", second
    )


def test_layers_far_from_all_that_were_measured_are_warned_of(fitted: LayerSum) -> None:
    net = NetworkBuilder()
    x = net.add("input", (64, 700, 700))
    net.conv(x, 64, 11)
    priced = price(fitted, net.finish("toy", "big"), DEVICES[0])
    assert any("of layers that take more than 6.5 times the work" in sentence for sentence in priced.warnings)
    near = price(fitted, NETS.expand(NETS.sample(1, np.random.default_rng(0))[0]), DEVICES[0])
    assert not near.warnings


def test_networks_that_are_written_twice_count_once(fitted: LayerSum) -> None:
    archs, device = NETS.sample(6, np.random.default_rng(2)), (Device("phone", "new", "mobile-cpu"),)
    ms = 5 * fitted.predict(archs, DEVICES[0]) * np.exp(0.1 * np.random.default_rng(0).standard_normal(6))
    twice = Architectures(NETS, np.concatenate([archs.decisions, archs.decisions]))
    one = fitted.adapt(table(archs, {"latency_ms": ms[:, None]}, "once", device))
    two = fitted.adapt(table(twice, {"latency_ms": np.tile(ms, 2)[:, None]}, "twice", device))
    for ends in zip(*(p.belief(archs, device[0]).interval(0.9) for p in (one, two)), strict=True):
        np.testing.assert_allclose(*ends, rtol=1e-9)
    wrong = np.tile(ms, 2)
    wrong[6] *= 50
    with pytest.raises(InputError, match="contradict each other"):
        fitted.adapt(table(twice, {"latency_ms": wrong[:, None]}, "wrong", device))
    with pytest.raises(InputError, match="level = 1 must lie"):
        one.belief(archs, device[0]).interval(1)


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torch module as a network with a free batch size."""
    path = tmp_path_factory.mktemp("torch") / "torch.onnx"
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    dynamic = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(module.eval(), (torch.zeros(1, 3, 32, 32),), path, dynamo=False, **dynamic)
    return path


def test_the_command_prices_and_draws_a_file_of_torch(saved: Path, torch_file: Path, tmp_path: Path) -> None:
    """In a fresh process, with the numbers that this one has."""
    drawn = tmp_path / "drawn" / "it.png"
    done = run("-m", "predictors", "predict", saved, "--network", torch_file, "--device", "slow_1", "--batch", 4,
               "--out", drawn)  # fmt: skip
    assert done.returncode == 0, done.stderr
    priced = price(_load(saved), read_network(torch_file, 4), DEVICES[1])
    assert done.stdout.startswith(details(priced)) and f"batch 4: {plain(priced.latency_ms)} ms (90 %" in done.stdout
    assert drawn.read_bytes()[:4] == b"\x89PNG"
    narrow = run("-m", "predictors", "predict", saved, "--network", torch_file, "--device", "slow_1", "--batch", 4,
                 "--level", 0.5)  # fmt: skip
    assert "(50 % interval" in narrow.stdout and "drawn" not in narrow.stdout, narrow.stderr
    with pytest.raises(InputError, match="are of a network's; name its file with --network"):
        predict(saved, device="slow_1", arch="x", batch=4)
    with pytest.raises(InputError, match="no suffix of a picture"):
        predict(tmp_path / "absent.pt", network=torch_file, out=tmp_path / "p.v2")


def test_a_file_of_keras_costs_what_the_same_network_of_torch_does(
    saved: Path, torch_file: Path, tmp_path: Path
) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    layers, path = keras.layers, tmp_path / "m.keras"
    keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D(),
                      layers.Dense(4)]).save(path)  # fmt: skip
    predictor = _load(saved)
    ours, theirs = (price(predictor, read_network(file, 4), DEVICES[1]) for file in (path, torch_file))
    assert ours.total_ms == pytest.approx(theirs.total_ms) and ours.network.startswith("m.keras:")


def test_faults_of_the_command_are_one_sentence(saved: Path, torch_file: Path, tmp_path: Path) -> None:
    whole = torch_file
    (tmp_path / "half.onnx").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "half.pt").write_bytes(saved.read_bytes()[:1000])
    cases = [
        ((saved, "--network", tmp_path / "half.onnx", "--device", "fast_1"), "is not an ONNX file, or a part"),
        ((saved, "--network", tmp_path / "none.onnx", "--device", "fast_1"), "There is no file"),
        ((saved, "--network", whole, "--device", "phone"), "no device 'phone' here; known are: fast_1"),
        ((saved, "--network", whole), "--out draws the layers of one network on one device"),
        ((saved, "--network", whole, "--device", "fast_1", "--batch", "-3"), "A batch has 1 to 999,999 images"),
        ((saved, "--network", whole, "--arch", "x"), "not both"),
        ((tmp_path / "half.pt", "--network", whole), "is truncated, or not a predictor"),
    ]
    from predictors.__main__ import predict

    for arguments, sentence in cases:
        file, *flags = arguments
        arguments = {str(flags[i]).strip("-"): flags[i + 1] for i in range(0, len(flags), 2)}
        with pytest.raises(InputError, match=sentence):
            predict(file, out=tmp_path / "no.png", **arguments)
    assert not (tmp_path / "no.png").exists()


# The artefact


def _first(content: dict) -> dict:
    """The calibration of a file's first device."""
    return content["state"]["calibrations"][0]


def test_the_artefact_comes_back_whole_or_not_at_all(saved: Path, fitted: LayerSum, tmp_path: Path) -> None:
    archs = NETS.sample(5, np.random.default_rng(4))
    wanted = fitted.calibrated(network_table(20, 5))
    loaded = _load(saved)
    np.testing.assert_array_equal(loaded.predict(archs, DEVICES[1]), wanted.predict(archs, DEVICES[1]))
    beliefs = [one.belief(archs, DEVICES[0]) for one in (loaded, wanted)]
    for ours, theirs in zip(*(belief.interval(0.9) for belief in beliefs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    code = "import sys; from pathlib import Path; from datasets.spaces import *;"
    code += "from predictors.base import *;"
    code += "p = Predictor.load(Path(sys.argv[1])); a = parse_space(sys.argv[2]).parse(sys.argv[3:]);"
    code += "print(*(float(x).hex() for x in p.predict(a, p.devices_[1])))"
    done = run("-c", code, saved, NETS, *archs.keys)
    assert done.stdout.split() == [float(x).hex() for x in wanted.predict(archs, DEVICES[1])], done.stderr
    content = read_checkpoint(saved)
    edits = {
        "another class": lambda c: c["predictor"].update(class_path="os.system"),
        "a coefficient less": lambda c: _first(c).update(coefficients=_first(c)["coefficients"][1:]),
        "a device more": lambda c: c["devices"].append(c["devices"][0]),
        "another source": lambda c: _first(c).update(source=7),
        "no layers": lambda c: c["state"]["layers"].pop("pooling"),
        "swapped layers": lambda c: c["state"]["layers"].update(pooling=c["state"]["layers"]["dense"]),
        "no state": lambda c: c.pop("state"),
        "another format": lambda c: c.update(format=99),
        "no devices": lambda c: c["state"]["layers"].update(machine=c["state"]["layers"]["machine"][:1]),
    }
    for what, edit in edits.items():
        broken = read_checkpoint(saved)
        edit(broken)
        write_checkpoint(broken, tmp_path / "broken.pt")
        with pytest.raises(InputError):
            _load(tmp_path / "broken.pt")
        assert what
    assert set(content["state"]) == {"layers", "calibrations"}


def test_a_hostile_file_does_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "owned", "x"))

    torch.save({"format": 1, "layers": {}, "state": Hostile()}, tmp_path / "p.pt")
    with pytest.raises(InputError, match="only plain data is ever loaded"):
        _load(tmp_path / "p.pt")
    assert not (tmp_path / "owned").exists()


def test_one_command_makes_it_from_tables(tmp_path: Path) -> None:
    for m in (*(layer_table(kind, 60) for kind in SPACES), network_table(8, 5)):
        write(m, tmp_path)
    done = run("-m", "predictors", "layerwise", "--tables", tmp_path, "--networks", "networks", "--devices", "slow_1",
               "--layer", "configs/predictors/flops.yaml", "--out", tmp_path / "out" / "predictor.pt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "slow_1: 8 networks" in done.stdout and "prices networks on slow_1" in done.stdout
    loaded = _load(tmp_path / "out" / "predictor.pt")
    assert [c.coefficients.shape for c in loaded.calibrations_] == [(len(COEFFICIENTS),)]
    done = run(
        "-m", "predictors", "layerwise", "--tables", tmp_path, "--networks", "nothing", "--out", tmp_path / "p.pt"
    )
    assert done.returncode == 2 and "nothing.parquet" in done.stderr


def test_a_run_of_train_py_is_whole_without_an_onnx_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(network_table(40, 5), tmp_path)
    data, predictor = Measured(tmp_path / "networks.parquet"), LayerSum(replace(untrained(), tables=layer_tables()))
    for outcome in ("done", "complete"):
        assert train.train(data, Random(20, 10), predictor, place=train.Place(tmp_path / "runs"), name="sum") == outcome
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in run_folder.iterdir()} == set(FILES) - {"predictor.onnx"}
    loaded, archs = _load(run_folder / "predictor.pt"), NETS.sample(3, np.random.default_rng(0))
    np.testing.assert_array_equal(loaded.predict_all(archs), predictor.predict_all(archs))
    compare(tmp_path / "runs")
    assert "exported: nothing, it has no ONNX form" in capsys.readouterr().out
    show(run_folder / "predictor.pt")
    assert "space: networks" in (shown := capsys.readouterr().out) and "set val" not in shown
    with pytest.raises(InputError, match="cannot be listed"):
        score(run_folder / "predictor.pt", tmp_path / "scores.parquet")


def test_a_device_without_tables_of_layers_takes_over_those_of_the_nearest(fitted: LayerSum) -> None:
    phone = (Device("phone", "toy", "mobile-cpu"),)
    m = Measurements.concat([network_table(20, 5), network_table(20, 9, (11,), phone)])
    predictor = knows_layers().fit(m)
    assert [device.name for device in predictor.devices_] == ["fast_1", "slow_1", "phone"]
    assert errors(predictor, network_table(30, 6, (11,), phone)).max() < 0.15
    with pytest.raises(InputError, match="no latency_ms to learn from on fast_1"):
        predictor.fit(Measurements(m.architectures, m.devices, m.table[m.table["device"] == 2], "phones"))


# While training


def test_a_training_logs_what_the_module_would_cost(saved: Path) -> None:
    import lightning

    from predictors.networks.latency_logger import LatencyLogger

    class Growing(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
            self.example_input_array = torch.zeros(1, 3, 8, 8)
            self.seen: list[dict] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return self(batch[0]).square().mean()

        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                self.net[0] = nn.Conv2d(3, 64, 3)
                self.net[3] = nn.Linear(64 * 36, 2)

        def on_train_epoch_end(self) -> None:
            assert self.training and self.net.training

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.01)

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})

    logged: list[dict] = []
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 3, 8, 8)), 4)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    module, logger = Growing(), LatencyLogger(saved, ["slow_1"])
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", callbacks=[logger, Watch()], **quiet)
    trainer.fit(module, data)
    assert [set(row) for row in logged] == [{"latency_ms/slow_1"}] * 3
    first, second, third = (row["latency_ms/slow_1"] for row in logged)
    assert first < second == third and module.training
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(module.eval(), (module.example_input_array,), Path(folder) / "m.onnx", dynamo=False)
        network = read_network(Path(folder) / "m.onnx")
    assert third == pytest.approx(logger.predictors[0].predict(Networks([network]), DEVICES[1])[0], rel=1e-6)
    other = Linear(encoder=Totals()).fit(network_table(20, 5))
    with pytest.raises(InputError, match="A predictor of convnet.* cannot price a module"):
        LatencyLogger(other)
    module.example_input_array = None
    with pytest.raises(InputError, match="example_input_array"):
        logger.on_train_epoch_end(trainer, module)
    with pytest.raises(InputError, match="no device 'phone'"):
        LatencyLogger(saved, ["phone"])


def test_a_training_logs_memory_and_energy_for_modules_of_several_inputs(
    saved: Path, fitted: LayerSum, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning

    from predictors.networks.latency_logger import LatencyLogger

    class Two(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return self.left(x) + self.right(other)

    energy = copy.copy(fitted)
    monkeypatch.setattr(type(energy), "metric", property(lambda self: "energy_mj" if self is energy else "latency_ms"))
    x = torch.zeros(1, 3, 8, 8)
    logged: dict[str, float] = {}
    for inputs in ((x, x), {"x": x, "other": x}):
        module, logger = Two(), LatencyLogger([saved, energy], ["slow_1"], inputs, memory=True)
        module.log = lambda name, value, **more: logged.update({name: value})  # type: ignore[method-assign, assignment]
        logger.on_train_epoch_end(lightning.Trainer(logger=False, accelerator="cpu"), module)
        assert set(logged) == {"latency_ms/slow_1", "energy_mj/slow_1", "peak_mb/slow_1"}
        assert all(value > 0 for value in logged.values())
        logged.clear()


# My device


def test_the_commands_choose_networks_and_adapt_to_a_device(
    fitted: LayerSum, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from predictors.__main__ import adapt, choose

    pool = NETS.sample(30, np.random.default_rng(1))
    (tmp_path / "pool.txt").write_text("\n".join(pool.keys))
    choose(saved, 12, tmp_path / "pool.txt", space=str(NETS))
    chosen = capsys.readouterr().out.split()
    assert len(chosen) == 12 and set(chosen) <= set(pool.keys)
    found = [pieces(NETS.expand(arch)) for arch in NETS.parse(chosen)]
    work = np.array([[sum(p.macs for p in parts), sum(p.moved for p in parts)] for parts in found], float)
    rows = pd.DataFrame({"key": chosen, "value": 0.01 + law(work, (7,))[:, 0]})
    rows.to_csv(tmp_path / "phone.csv", index=False)
    adapt(saved, tmp_path / "phone.csv", tmp_path / "mine.pt", space=str(NETS))
    assert "answers for phone; 12 measurements" in (shown := capsys.readouterr().out)
    errors = np.abs(np.expm1(-_load(tmp_path / "mine.pt").calibrations_[0].errors))
    assert f"is off by {100 * np.median(errors):.0f} % (median), {100 * errors.max():.0f} % at most" in shown
    mine = _load(tmp_path / "mine.pt")
    assert np.abs(mine.predict(NETS.parse(chosen), mine.devices_[0]) / rows["value"] - 1).mean() < 0.15
