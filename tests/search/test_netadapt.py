"""NetAdapt: cut networks are the masked originals, tuning trains and scores, adaptation goes on where it was killed."""

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.files.cifar10 import read_cifar10
from datasets.networks.analysis import totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.model import Model, Weights
from datasets.networks.network import SMALLEST, Network
from datasets.networks.onnx_file import read_onnx
from datasets.packages import absent
from datasets.records import Architecture, InputError
from datasets.spaces.convnet import BLOCKS, ConvNet
from datasets.spaces.zoo import Zoo
from measure.accuracy.digits import Digits
from measure.accuracy.tuning import Cifar10, Tuning, from_module, to_module
from measure.base import make_input, reference_network
from measure.builders.numpy_reference import evaluate
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from measure.shares import Shares
from search.netadapt.adapt import Adaptation, AdaptedNetwork
from search.netadapt.channels import Groups, find_groups
from search.netadapt.cutting import cut_weights, strongest
from search.netadapt.grids import Grid, layers_to_measure
from search.netadapt.proposals import Workers, derive, loss_rate
from search.netadapt.record import Record
from search.netadapt.widths import Narrowed
from tests.doubles.netadapt_toy import Toy

EASY = Digits(train=1000, test=100, distractors=0, clutter=0, turn=0.0, noise=0.0)
TUNING = Tuning(EASY, holdout=100, batch=25)


def residual() -> Architecture:
    """Two residual blocks whose adds share a width, a depthwise convolution, and a dense layer that reads it flat."""
    net = NetworkBuilder()
    x = net.conv_bn(net.add("input", (48, 8, 8)), 12, 3, act="relu")
    for _ in range(2):
        x = net.pointwise("add", net.conv_bn(net.conv_bn(x, 8, 3, act="relu"), 12, 3), x)
    x = net.pool("max_pool", net.conv_bn(x, 12, 3, groups=12, act="relu6"), 2, 2)
    x = net.pointwise("relu", net.add("dense", (16,), x))
    return finished(net, net.add("dense", (10,), x))


def finished(net: NetworkBuilder, output: int) -> Architecture:
    return net.finish("test", "residual", output)


def macs(groups: Groups, widths: np.ndarray) -> float:
    """A latency of a device that takes a millisecond for a million multiply-accumulates."""
    return totals(groups.resized(widths))["macs"] / 1e6


def narrow(groups: Groups, widths: np.ndarray, group: int, limit: float) -> Narrowed | None:
    """One channel fewer, and again."""
    for count, width in enumerate(range(int(widths[group]) - 1, 0, -1), 1):
        narrower = np.array(widths)
        narrower[group] = width
        if (ms := macs(groups, narrower)) <= limit:
            return Narrowed(width, ms, count, count)
    return None


# Cutting


def masked(groups: Groups, weights: Weights, kept: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the whole network computes if every removed channel of every op is overwritten with zeros."""

    def mask(node: int, value: np.ndarray) -> None:
        if (group := groups.of_node[node]) < len(groups):
            value[:, np.setdiff1d(np.arange(groups.sizes[group]), kept[group])] = 0

    return evaluate(groups.network, weights, x, mask)


def check_cut(network: Architecture, seed: int) -> None:
    rng, groups, weights = np.random.default_rng(seed), find_groups(network), make_weights(network, seed)
    widths = np.array([rng.integers(1, size + 1) for size in groups.sizes], dtype=int)
    cut, kept = cut_weights(groups, weights, widths), strongest(groups, weights, widths)
    x = make_input(network, 2, seed)
    whole, small = masked(groups, weights, kept, x), evaluate(groups.resized(widths), cut, x)
    assert [len(channels) for channels in kept] == widths.tolist()
    np.testing.assert_allclose(small, whole, atol=1e-4 * np.abs(whole).max())


BLOCK = st.tuples(
    st.sampled_from(["s1", "s2", "max2", "avg2"]), st.sampled_from(sorted(BLOCKS)), st.sampled_from(["k3", "k5"]),
    st.sampled_from(["w8", "w12", "w16", "w24"]), st.sampled_from(["x1", "x2"]))  # fmt: skip
ACT = st.sampled_from(["relu", "relu6", "hswish", "silu", "tanh"])


@settings(max_examples=40, deadline=None)
@given(st.lists(BLOCK, min_size=1, max_size=3), ACT, st.sampled_from(["gap_d0_d0", "flat_d128_d0"]), st.integers(0, 99))
def test_a_cut_network_is_the_masked_original(stages: list[tuple], act: str, head: str, seed: int) -> None:
    """Random networks of nine kinds of blocks (residual, depthwise, gated, joined), random cuts."""
    words = ["_".join(stage) for stage in stages] + ["s1_plain_k3_w8_x0"] * (5 - len(stages))
    space = ConvNet(image=16, classes=10)
    check_cut(space.expand(space.parse(["|".join([f"k3s1_w8_{act}", *words, head])])[0]), seed)


@pytest.mark.parametrize("network", [residual(), Zoo(image=32, classes=10).expand(Zoo().parse(["lenet5"])[0])],
                         ids=["residual", "lenet5"])  # fmt: skip
def test_a_cut_of_shared_widths_and_of_a_flat_dense_layer(network: Architecture) -> None:
    for seed in range(5):
        check_cut(network, seed)


def test_filters_stay_by_their_magnitude_over_all_that_give_a_group() -> None:
    groups = find_groups(residual())
    weights = make_weights(groups.network)
    shared = groups.names.index("conv1")
    givers = [n for n, op in enumerate(groups.network.ops) if groups.of_node[n] == shared and op.kind == "conv"]
    assert len(givers) == 4  # the stem, two blocks, and a depthwise one, which follows
    for node in givers[:3]:
        weights[node]["weight"][[2, 5]] *= 10
    weights[givers[3]]["weight"][0] *= 100
    widths = groups.sizes.copy()
    widths[shared] = 2
    assert strongest(groups, weights, widths)[shared].tolist() == [2, 5]


# Tuning


def test_tuning_learns_the_same_every_time_and_leaves_what_it_was_given_alone() -> None:
    network = residual()
    start = make_weights(network)
    before = pickle.dumps(start)
    first, again = (TUNING.tune(network, start, 2, seed=1) for _ in range(2))
    assert pickle.dumps(start) == before and equal(first, again)
    assert not equal(first, TUNING.tune(network, start, 2, seed=2))
    assert TUNING.accuracy(network, TUNING.tune(network, start, 80, seed=1), "test") > 18


def test_scores_of_a_network_that_knows_nothing() -> None:
    network = residual()
    weights = make_weights(network)
    for value in weights[max(weights)].values():
        value[:] = 0
    accuracy, loss = TUNING.scores(network, weights, "test")
    assert accuracy == TUNING.accuracy(network, weights, "test") == pytest.approx(10) and loss == pytest.approx(
        np.log(10)
    )


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[node][name], other[node][name]) for node in one for name in one[node]
    )


def test_weights_go_into_a_module_and_come_out_unchanged() -> None:
    network = residual()
    weights = make_weights(network)
    assert equal(from_module(to_module(network, weights)), weights)


def test_a_network_that_cannot_read_the_images_is_refused() -> None:
    zoo = Zoo(image=48, classes=10)
    (lenet,) = zoo.parse(["lenet5"])
    with pytest.raises(InputError, match="cannot read images of 3x32x32: give it RGB"):
        TUNING.accuracy(zoo.expand(lenet), {})
    with pytest.raises(InputError, match="hold out fewer"):
        replace(TUNING, holdout=1000).tune(residual(), make_weights(residual()), 1, 0)


def batch(path: Path, images: int, seed: int) -> str:
    """A file as those of CIFAR-10's python version, and its MD5."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (images, 3072), dtype=np.uint8)
    content = {b"batch_label": b"made up", b"labels": rng.integers(0, 10, images).tolist(), b"data": data}
    path.write_bytes(pickle.dumps({name.decode(): value for name, value in content.items()}, protocol=2))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_cifar10_is_read_from_a_folder_after_its_checksums(tmp_path: Path) -> None:
    sums = {name: batch(tmp_path / name, 6, seed) for seed, name in enumerate(["one", "two", "test"])}
    images, labels, test_images, test_labels = read_cifar10(tmp_path, sums)
    assert images.shape == (12, 3, 32, 32) and images.dtype == np.uint8 and labels.shape == (12,)
    expected = np.random.default_rng(2).integers(0, 256, (6, 3072), dtype=np.uint8).reshape(6, 3, 32, 32)
    assert np.array_equal(test_images, expected) and test_labels.dtype == np.int64
    with pytest.raises(InputError, match="two is not the published file"):
        read_cifar10(tmp_path, sums | {"two": sums["one"]})
    with pytest.raises(InputError, match="There is no file .*data_batch_1 of CIFAR-10. Unpack"):
        Cifar10(tmp_path).labelled_images()


class Trap:
    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def test_a_cifar10_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(pickle.dumps({"data": Trap(), "labels": []}, protocol=2))
    checksum = hashlib.md5((tmp_path / "bad").read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(InputError, match=r"asks to call posix.system, which images do not need"):
        read_cifar10(tmp_path, {"bad": checksum})


# Adapting


@dataclass
class Deadly:
    """A trainer that kills its process when it is asked for the n-th time."""

    trainer: Toy | Tuning
    calls: int

    def count(self) -> None:
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def tune(self, *what: object) -> Weights:
        self.count()
        return self.trainer.tune(*what)  # type: ignore[arg-type]

    def scores(self, *what: object) -> tuple[float, float]:
        self.count()
        return self.trainer.scores(*what)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return repr(self.trainer)


def adapted(
    folder: Path, trainer: object, ratios: tuple[float, ...] = (0.8, 0.6), **how: object
) -> list[AdaptedNetwork]:
    groups, measure = find_groups(residual()), how.pop("measure", None)
    adaptation = Adaptation(**{"delta": 0.1, "steps": 2, "long_steps": 3, **how})  # type: ignore[arg-type]
    search = partial(narrow, groups)
    start = partial(make_weights, groups.network)
    return adaptation(groups, start, partial(macs, groups), search, trainer, ratios, folder, measure=measure)  # type: ignore[arg-type]


def killed(run: object) -> bool:
    """Whether a process that does this was killed."""
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def same(one: list[AdaptedNetwork], other: list[AdaptedNetwork]) -> bool:
    return all(
        equal(a.weights, b.weights) and a.widths.tolist() == b.widths.tolist() and a.accuracy == b.accuracy
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("choice", ["loss", "accuracy"])
def test_every_budget_is_kept_and_every_iteration_takes_its_step(choice: str, tmp_path: Path) -> None:
    results = adapted(tmp_path, Toy(), choice=choice)
    lines = [json.loads(line) for line in (tmp_path / "iterations.jsonl").read_text().splitlines()]
    seed, *rows = [row for row in lines if "iteration" in row]
    for row, before in zip(rows, [seed, *rows], strict=False):
        step = 0.1 * 0.96 ** (row["iteration"] - 1) * seed["ms"]
        budget = max(b.budget_ms for b in results if b.budget_ms < before["ms"])
        assert row["limit_ms"] == pytest.approx(max(budget, before["ms"] - step)) and row["ms"] <= row["limit_ms"]
        changed = {name for name, width in row["widths"].items() if width != before["widths"][name]}
        assert changed == {row["group"]} and all(p["ms"] <= row["limit_ms"] for p in row["proposals"])
        lost = [
            before["accuracy"] - p["accuracy"] if choice == "accuracy" else p["loss"] - row["control"]
            for p in row["proposals"]
        ]
        wins = [(before["ms"] - max(p["ms"], budget)) / step for p in row["proposals"]]
        worths = list(map(loss_rate, lost, wins))
        assert row["proposals"][int(np.argmin(worths))]["group"] == row["group"]
        assert {"search", "cut", "tune", "evaluate"} == set(row["proposals"][0]["seconds"])
    assert [one.met for one in results] == [True, True]
    for one in results:
        assert macs(one.groups, one.widths) == one.latency_ms <= one.budget_ms
        evaluate(one.groups.resized(one.widths), one.weights, make_input(one.groups.network, 1))


class Noted(Toy):
    """A trainer that writes down what it is asked to tune."""

    def tune(self, network: Architecture, weights: Weights, steps: int, seed: int) -> Weights:
        NOTED.append((network.key, seed))
        return super().tune(network, weights, steps, seed)


NOTED: list[tuple[str, int]] = []


def test_a_choice_by_loss_tunes_a_control_and_all_proposals_on_the_same_images(tmp_path: Path) -> None:
    NOTED.clear()
    adapted(tmp_path, Noted(), (0.9,), long_steps=0)
    first = [json.loads(line) for line in (tmp_path / "iterations.jsonl").read_text().splitlines()][1]
    keys, seeds = zip(*NOTED[: len(first["proposals"]) + 1], strict=True)
    assert keys[-1] == find_groups(residual()).network.key not in keys[:-1] and len(set(seeds)) == 1
    tuned = Toy().tune(residual(), make_weights(residual()), 2, seeds[0])
    assert first["control"] == pytest.approx(Toy().scores(residual(), tuned)[1])


def test_killed_anywhere_and_resumed_it_finds_the_same(tmp_path: Path) -> None:
    whole = adapted(tmp_path / "whole", Toy())
    calls, deaths = 1, 0
    while killed(partial(adapted, tmp_path / "killed", Deadly(Toy(), calls))):
        calls, deaths = calls % 17 + 4, deaths + 1  # further than an iteration's calls now and then
        assert deaths < 30
    assert deaths > 3 and same(adapted(tmp_path / "killed", Toy()), whole)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_writes_it_finds_the_same(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = adapted(tmp_path / "whole", Toy())
    append = Record.append

    def deadly(self: Record, row: dict) -> None:
        if when == "before" and len(self.rows) == 2:
            self.file.write(b'{"iteration": 2, "torn')
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, row)
        if len(self.rows) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "append", deadly)
        assert killed(partial(adapted, tmp_path / "killed", Toy()))
    assert same(adapted(tmp_path / "killed", Toy()), whole)


def test_a_real_training_killed_and_resumed_finds_the_same(tmp_path: Path) -> None:
    whole = adapted(tmp_path / "whole", TUNING, (0.8,))
    assert killed(partial(adapted, tmp_path / "killed", Deadly(TUNING, 8), (0.8,)))
    assert same(adapted(tmp_path / "killed", TUNING, (0.8,)), whole)


def test_workers_in_other_processes_find_the_same(tmp_path: Path) -> None:
    devices = ("cpu", "cpu")
    assert same(adapted(tmp_path / "two", Toy(), devices=devices), adapted(tmp_path / "one", Toy()))


def test_an_adaptation_with_other_settings_or_of_another_process_is_refused(tmp_path: Path) -> None:
    adapted(tmp_path, Toy())
    with pytest.raises(InputError, match="holds an adaptation with another delta, steps; name another folder"):
        adapted(tmp_path, Toy(), delta=0.2, steps=1)
    held = Record(tmp_path / "held", {})
    with pytest.raises(InputError, match="Another process is adapting"):
        Record(tmp_path / "held", {})
    held.close()


def test_a_budget_below_what_any_width_reaches_is_not_met(tmp_path: Path) -> None:
    (one,) = adapted(tmp_path, Toy(), (0.001,), delta=0.5, decay=1.0, long_steps=0)
    assert not one.met and one.latency_ms > one.budget_ms


def test_where_the_table_promises_too_much_iterations_go_on(tmp_path: Path) -> None:
    """The device takes a quarter more than the table says; killed and resumed, it is not asked again."""
    groups, asked = find_groups(residual()), list[float]()

    def measure(network: Architecture, weights: Weights) -> float:
        asked.append(1.25 * totals(network)["macs"] / 1e6)
        return asked[-1]

    budget = 0.8 * macs(groups, groups.sizes)
    for _ in range(2):
        (one,) = adapted(tmp_path, Toy(), (0.8,), measure=measure)
        assert one.met and 1.25 * one.latency_ms <= budget
    assert len(asked) > 1 and asked[0] > budget and all(ms > budget for ms in asked[:-1])


@pytest.mark.parametrize("wrong", [{"delta": 0.0}, {"decay": 1.5}, {"steps": -1}])
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="An adaptation takes a delta between 0 and 1"):
        Adaptation(**wrong)


@pytest.mark.parametrize("ratios", [(), (1.0,), (0.5, 0.6)])
def test_budgets_that_mean_nothing_are_refused(ratios: tuple[float, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Budgets are shares"):
        adapted(tmp_path, Toy(), ratios)


def test_least_lost_for_most_won() -> None:
    assert loss_rate(2, 1) < loss_rate(2.5, 1) and loss_rate(2, 2) < loss_rate(2, 1)
    assert (
        loss_rate(-1, 1) < loss_rate(0.1, 9)
        and loss_rate(-1, 2) < loss_rate(-1, 1)
        and loss_rate(-2, 1) < loss_rate(-1, 1)
    )
    assert len({derive(s, i, g) for s in range(3) for i in range(20) for g in range(10)}) == 600
    with Workers(Toy()) as workers:
        assert list(workers([])) == []


# The command


def table_of(groups: Groups, path: Path) -> None:
    """A table by multiply-accumulates, of a device that takes a millisecond for a million and 0.01 ms for a layer."""
    listed = [one.network() for one in layers_to_measure([groups], Grid(points=0, conv=2, dense=2))]
    rows = [("layers", SMALLEST.key, 0.01), *(("layers", one.key, 0.01 + totals(one)["macs"] / 1e6) for one in listed)]
    table = pd.DataFrame(rows, columns=["space", "key", "value"])
    table.assign(device="toy", metric="latency_ms").to_parquet(path)


def test_the_command_leaves_files_that_others_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """An ONNX file in; out come widths, a torch module, an ONNX and a TFLite file, which compute the same."""
    import onnx
    import torch
    from onnx.reference import ReferenceEvaluator

    from search.netadapt import __main__ as command

    before = tmp_path / "before.onnx"
    onnx.save(build_onnx(residual(), make_weights(residual())), before)
    groups = find_groups(read_onnx(before, 1).network)
    table_of(groups, tmp_path / "lut.parquet")
    monkeypatch.setattr(command, "_trainer", lambda *_: TUNING)
    out = tmp_path / "run"
    monkeypatch.setattr("measure.shares.Shares.anew", lambda self, network, weights: 0.7)
    how = {"latency": command.LatencyFlags(runtime="ort"), "adaptation": Adaptation(0.1, steps=1, long_steps=1)}
    command.netadapt(tmp_path / "lut.parquet", str(before), budget_ratio=0.8, out=out, **how)
    printed = capsys.readouterr().out
    widths = json.loads((out / "widths.json").read_text())
    written = find_groups(read_onnx(out / "network.onnx", 1).network)
    assert "keeps the budget of" in printed and widths == written.named(written.sizes) != groups.named(groups.sizes)
    x = make_input(groups.network, 3)
    found = torch.export.load(out / "network.pt2").module()(torch.from_numpy(x)).detach().numpy()
    model = onnx.load(out / "network.onnx")
    (expected,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x[:1]})
    np.testing.assert_allclose(found[:1], expected, rtol=1e-3, atol=1e-3)
    assert found.shape == (3, 10) and (absent(["ai_edge_litert"]) or (out / "network.tflite").stat().st_size > 1000)
    with pytest.raises(InputError, match="There is no file"):
        command.netadapt(tmp_path / "lut.parquet", str(tmp_path / "none.onnx"))


class Scripted:
    """A backend whose sessions are the keys of networks, and whose readings were written down."""

    def __init__(self, readings: dict[str, list[float]]) -> None:
        self.readings = {key: iter(ratios) for key, ratios in readings.items()}

    def session(self, model: Network | Model) -> str:
        return model.network.key if isinstance(model, Model) else model.key

    def timed(self, session: str, reference: str) -> SimpleNamespace:
        assert reference == reference_network().key
        return SimpleNamespace(ratio=next(self.readings[session]))


def test_shares_are_medians_of_what_was_measured_in_turns() -> None:
    """The machine became twice as slow in the second pass; one reading of the third was disturbed."""
    groups = find_groups(residual())
    narrow = groups.resized(np.minimum(groups.sizes, 4))
    readings = {groups.network.key: [4.0, 8.0, 4.0, 4.0], narrow.key: [1.0, 2.0, 3.0, 3.0]}
    shares = Shares(Scripted(readings), groups.network, passes=3)  # type: ignore[arg-type]
    assert shares(narrow) == shares(narrow) == 0.25
    shares.passes = 1
    assert shares.anew(narrow) == 0.75


# A record that was damaged


def test_a_damaged_record_is_one_sentence_and_left_as_it_is(tmp_path: Path) -> None:
    first = {"iteration": 0, "ms": 1.0, "widths": {"a": 8}, "accuracy": 0.5}
    for line in (
        "hello",
        "[1]",
        "[" * 100_000,
        "{}",
        json.dumps({**first, "ms": -1}),
        json.dumps({**first, "widths": 3}),
    ):
        (tmp_path / "iterations.jsonl").write_text(f"{line}\nmore")
        with pytest.raises(InputError, match="iterations.jsonl, line 1 is damaged; delete .* and adapt again"):
            Record(tmp_path, {"seed": 0})
        assert (tmp_path / "iterations.jsonl").read_text() == f"{line}\nmore"
    (tmp_path / "iterations.jsonl").write_text(json.dumps(first) + '\n{"torn')
    for content in ("{", "[]"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(InputError, match="settings.json .*adapt again"):
            Record(tmp_path, {"seed": 0})
    (tmp_path / "settings.json").unlink()
    record = Record(tmp_path, {"seed": 0})
    assert record.rows == [first]
    with pytest.raises(InputError, match="There is no file"):
        record.load("none")
    record.save("0", {3: {"weight": np.ones((2, 2), np.float32)}})
    whole = (tmp_path / "0.npz").read_bytes()
    for content in (b"", b"hello", whole[:-30], whole[:50] + b"\xff" * 40 + whole[90:]):
        (tmp_path / "0.npz").write_bytes(content)
        with pytest.raises(InputError, match="0.npz is damaged .* adapt again"):
            record.load("0")
    record.close()
