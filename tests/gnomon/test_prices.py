"""`python -m gnomon price`: all devices, a limit and its probabilities."""

import json

import numpy as np
import pytest

from datasets.cli import main
from datasets.records import Device
from gnomon import public_times
from gnomon.commands.flags import milliseconds
from gnomon.commands.price import price
from gnomon.joint_times import JointTimes
from gnomon.prices import frame, prices
from predictors.networks.shipped import load


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public table of one fast and one slow board."""

    def predicted(network: object, machine: str, others: int) -> tuple[list[Device], JointTimes, list[str]]:
        device = Device(f"{machine}_ncnn_fp32_1", machine, "mobile-cpu", "ncnn")
        return [device], JointTimes(np.log([{"fast": 1e-4, "slow": 1e4}[machine]]), np.array([[0.04]])), []

    monkeypatch.setattr(public_times, "machines", lambda: {"slow": "ncnn", "fast": "ncnn"})
    monkeypatch.setattr(public_times, "predicted", predicted)


def run(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    try:
        main([price], prog="python -m gnomon", arguments=[*map(str, words)], positional=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_all_devices_are_sorted_by_time() -> None:
    found = prices("zoo:lenet5", under_ms=100)
    assert [found[0].device, found[-1].device] == ["fast_ncnn_fp32_1", "slow_ncnn_fp32_1"]
    assert {each.device for each in found[1:-1]} == {each.name for each in load().devices_}
    assert found[0].keeps == pytest.approx(1, abs=1e-3) and found[-1].keeps == pytest.approx(0, abs=1e-3)
    assert all(each.low < each.ms < each.high for each in found)
    assert frame(found)["source"].tolist() == ["ncnn", *["pricer"] * len(load().devices_), "ncnn"]


def test_a_limit_at_the_median_is_kept_with_a_probability_of_a_half() -> None:
    ms = prices("zoo:lenet5", public=False)[0].ms
    assert prices("zoo:lenet5", ms, public=False)[0].keeps == pytest.approx(0.5)


def test_the_command_prints_devices_that_keep_a_limit(capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", "--all", "--under", "1us") == 0
    shown = capsys.readouterr()
    assert "fast_ncnn" in shown.out and "slow_ncnn" not in shown.out and "1 of " in shown.err
    assert run("zoo:lenet5", "--under", "1us", "--json") == 1
    assert json.loads(capsys.readouterr().out)["devices"] == []


@pytest.mark.parametrize("text, ms", [("30ms", 30), ("2 s", 2000), ("500us", 0.5), ("30", 30)])
def test_times_have_units(text: str, ms: float) -> None:
    assert milliseconds(text) == pytest.approx(ms)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--under", "fast"], "--under must be a time above zero"),
        (["--under", "0ms"], "--under must be a time above zero"),
        (["--chance", "1"], "--chance 1.0 must lie between 0 and 1"),
        (["--predictor", "none.pt"], "none.pt"),
    ],
)
def test_faulty_input_ends_with_a_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", *words) == 2
    assert sentence in (printed := capsys.readouterr().err) and printed.count("\n") == 1
