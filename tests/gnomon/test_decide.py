"""`python -m gnomon decide`: which alternative is chosen, what is measured, JSON, and what is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gnomon.decide
from datasets.cli import main
from datasets.records import Device, InputError
from gnomon.commands.decide import decide as command
from gnomon.decide import decide, known_devices, machine_of
from gnomon.joint_times import JointTimes
from predictors.networks.shipped import load
from predictors.new_devices.setting_times import Contributions, Runs, SettingTimes, coded


def run(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        main([command], prog="python -m gnomon", arguments=[*map(str, words)], positional=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_errors_that_alternatives_share_do_not_blur_the_choice() -> None:
    mean, own = np.log([10.0, 11.0]), 0.01 * np.eye(2)
    alone = JointTimes(mean, own + np.diag([0.25, 0.25]))
    shared = JointTimes(mean, own + 0.25)
    assert shared.best()[0] > 0.7 > alone.best()[0] > 0.5
    assert np.allclose(alone.interval(0.9), shared.interval(0.9))
    assert shared.losses() == pytest.approx([0, 0.1], abs=0.01)
    assert shared.regrets()[0] < alone.regrets()[0]


def test_a_measurement_moves_what_is_correlated_with_it() -> None:
    times = JointTimes(np.log([10.0, 11.0, 12.0]), 0.04 * np.array([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1.0]]))
    after = times.measured(0, 20, noise=0.01)
    assert np.exp(after.mean) == pytest.approx([20, 11 * 2**0.8, 12], rel=0.01)
    assert after.covariance[0, 0] < 2e-4 and after.covariance[2, 2] == 0.04 and after.chosen() == 2


def test_the_alternative_that_may_win_is_measured_and_not_the_hopeless_one() -> None:
    times = JointTimes(np.log([10.0, 11.0, 100.0]), np.diag([1e-4, 0.04, 0.09]))
    assert times.most_telling([0, 1, 2], noise=0.02) == 1


def test_samples_per_second_count_where_throughput_is_the_goal() -> None:
    mean, covariance = np.log([10.0, 30.0]), np.full((2, 2), 0.04) + np.eye(2) * 1e-4
    assert JointTimes(mean, covariance).chosen() == 0
    assert JointTimes(mean, covariance, per=np.array([1.0, 4.0])).chosen() == 1


def test_a_decision_compares_all_devices_of_a_machine() -> None:
    found = decide("zoo:lenet5", "milan", batches=(1, 8), goal="throughput")
    devices = {each.name for each in load().devices_ if machine_of(each) == "milan"}
    assert {each.device for each in found.alternatives} == devices and len(found.alternatives) == 2 * len(devices)
    assert sum(each.probability for each in found.alternatives) == pytest.approx(1)
    assert found.best.batch == 8 and found.best.regret == min(each.regret for each in found.alternatives)
    assert found.best.loss == 0 and found.best.low < found.best.ms < found.best.high
    assert found.best.per_second == pytest.approx(8000 / found.best.ms)
    assert found.to_frame().loc[0, "device"] == found.best.device


def test_measurements_decide_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = decide("zoo:mobilenet_v2", "milan")
    ms = {each.device: each.ms for each in before.alternatives}
    slow, broken, *_ = sorted(ms, key=lambda name: ms[name])

    def measured(name: str, device: Device, *more: object) -> tuple[float, str]:
        if device.name == broken:
            return np.nan, f"{broken} is broken."
        return ms[device.name] * (3 if device.name == slow else 1), ""

    monkeypatch.setattr(gnomon.decide, "_measured", measured)
    found = decide("zoo:mobilenet_v2", "milan", measure=3, journal=tmp_path / "j.jsonl")
    assert found.best.device != slow and found.best.measured_ms
    assert all(each.device != broken for each in found.alternatives)
    assert any("is broken" in note for note in found.notes)


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", "--device", "milan_ort_fp32_1") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("zoo:lenet5 on milan: milan_") and "P(best)" in shown[1]
    assert run("zoo:lenet5", "--device", "milan", "--batch", "1,2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    settings = [device.name for device in load().devices_ if device.name.startswith("milan_")]
    assert (found["machine"], found["format"], len(found["alternatives"])) == ("milan", 1, 2 * len(settings))


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["zoo:lenet5", "--device", "nosuch"], "There is no machine 'nosuch', did you mean"),
        (["zoo:nosuch", "--device", "milan"], "nosuch"),
        (["zoo:lenet5", "--device", "milan", "--batch", "0"], "A batch has 1 to 999,999 images"),
        (["zoo:lenet5", "--device", "milan", "--level", "1.5"], "--level 1.5 must lie between 0 and 1"),
        (["zoo:lenet5", "--device", "milan", "--measure", "-1"], "--measure must be at least 0"),
    ],
)
def test_faulty_input_ends_with_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*words) == 2
    assert sentence in (printed := capsys.readouterr().err) and printed.count("\n") == 1


@pytest.fixture
def runs() -> Iterator[tuple[Runs, np.ndarray]]:
    """Six networks on five machines in four settings; int8 takes 0.6 times as long on the first three machines, and
    1.5 times as long on the others."""
    rng = np.random.default_rng(0)
    machine, network, int8, threads = (part.ravel() for part in np.meshgrid(range(5), range(6), [0, 1], [1, 4]))
    factor = np.where(int8 == 1, np.where(machine < 3, 0.6, 1.5), 1.0) * np.where(threads == 4, 0.4, 1.0)
    ms = np.exp(network + 0.3 * machine + 0.02 * rng.standard_normal(len(machine))) * factor
    yield Runs(coded([machine]), network, coded([int8]), threads), ms


def test_settings_are_chosen_by_other_networks_of_the_machine(runs: tuple[Runs, np.ndarray]) -> None:
    known, ms = runs
    times = SettingTimes(known, ms)
    for machine, best in ((0, 1), (4, 0)):
        rows = np.flatnonzero((known.machine[:, 0] == machine) & (known.network == 2))
        mean, covariance = times.left_out(rows)
        assert known.label[rows[mean.argmin()], 0] == best and known.threads[rows[mean.argmin()]] == 4
        assert np.abs(mean - np.log(ms[rows])).max() < 0.5 and np.linalg.eigvalsh(covariance).min() > 0


def test_what_is_left_out_in_closed_form_is_what_a_fit_without_it_predicts(runs: tuple[Runs, np.ndarray]) -> None:
    known, ms = runs
    rows = np.arange(0, len(ms), 7)
    kept = np.setdiff1d(np.arange(len(ms)), rows)
    whole, part = SettingTimes(known, ms), SettingTimes(known[kept], ms[kept])
    mean, covariance = part.predict(known[rows])
    closed, with_noise = whole.left_out(rows)
    assert closed == pytest.approx(mean, abs=0.02)  # the constants that they subtract differ
    assert with_noise == pytest.approx(covariance + Contributions().noise * np.eye(len(rows)), abs=1e-6)


def test_times_of_zero_are_refused(runs: tuple[Runs, np.ndarray]) -> None:
    with pytest.raises(InputError, match="must be above zero"):
        SettingTimes(runs[0], np.zeros(len(runs[1])))


def test_a_machine_is_found_by_one_of_its_devices() -> None:
    device = load().devices_[0]
    machine, devices = known_devices([device, replace(device, name="other_ort_fp32_1")], device.name)
    assert machine == "milan" and devices == [device]


def test_a_machine_of_a_public_table_is_known_by_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the board int8 takes half the time with four threads, and twice the price is the usual time."""
    from datasets.records import Device, Networks
    from datasets.spaces.zoo import Zoo
    from encoders.kinds import Identity
    from gnomon import public_times

    zoo = Zoo()
    networks = Networks([zoo.expand(zoo.parse([name])[0]) for name in ("lenet5", "squeezenet", "mobilenet_v2")])
    devices = [
        Device(f"{name}_ncnn_{precision}_1_t4", name, "mobile-cpu", "ncnn", precision, 1, {}, 4)
        for name in ("board", "other")
        for precision in ("fp32", "int8")
    ]
    device, network = np.divmod(np.arange(12), 3)
    runs = Runs(coded([device // 2]), network, coded([device % 2]), np.full(12, 4))
    ratio = np.where(device % 2, 1.0, 2.0) * np.exp(0.01 * np.arange(12) % 3)
    made = public_times.Table(
        tuple(devices), ("board", "board", "other", "other"), runs, device, ratio, Identity()(networks)
    )
    monkeypatch.setattr(public_times, "machines", lambda: {"board": "ncnn", "other": "ncnn"})
    monkeypatch.setattr(public_times, "table", lambda source: made)
    found = decide("zoo:mobilenet_v2", "board")
    assert found.best.precision == "int8" and found.alternatives[1].loss == pytest.approx(1, abs=0.3)
    assert any("in the public table ncnn" in note for note in found.notes)
    assert any("post-training quantisation" in note for note in found.notes)
    with pytest.raises(InputError, match="another machine, on which nothing can be measured"):
        decide("zoo:mobilenet_v2", "board", measure=1)
    with pytest.raises(InputError, match="leave --batch out"):
        decide("zoo:mobilenet_v2", "board", batches=(2,))
