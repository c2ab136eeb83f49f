"""`python -m gnomon price`: all devices, a limit and its probabilities."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from datasets.cli import main
from datasets.records import Device
from gnomon import public_times
from gnomon.commands.flags import milliseconds
from gnomon.commands.price import price
from gnomon.joint_times import JointTimes
from gnomon.prices import frame, prices
from predictors.networks.price import price as single_price
from predictors.networks.price import read_network
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


def test_a_device_decides_alone_and_has_the_interval_that_it_has_in_a_table_of_one() -> None:
    name = "milan_ort_fp32_1"
    (alone,) = prices("zoo:lenet5", public=False, names=[name])
    device = next(each for each in load().devices_ if each.name == name)
    one = single_price(load(), read_network("zoo:lenet5"), device)
    assert (alone.ms, alone.low, alone.high) == pytest.approx((one.latency_ms, one.low, one.high))
    assert run("zoo:lenet5", "--under", "1us", "--device", name) == 1
    assert run("zoo:lenet5", "--under", "1s", "--device", name) == 0


def test_a_misspelt_device_is_one_sentence_with_the_likely_one(capsys: pytest.CaptureFixture) -> None:
    assert run("zoo:lenet5", "--under", "1s", "--device", "milan_ort_fp32") == 2
    assert "There is no device 'milan_ort_fp32' here; did you mean 'milan_ort_fp32_1'?" in capsys.readouterr().err


def test_an_einsum_has_a_note_and_a_wider_interval(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ends = {}
    for kind, attributes in {"MatMul": {}, "Einsum": {"equation": "ij,jk->ik"}}.items():
        path = tmp_path / f"{kind}.onnx"
        node = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
        shapes = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 64]) for name in "xy"}
        weights = [numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")]
        graph = helper.make_graph([node], kind, [shapes["x"]], [shapes["y"]], weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        (found,) = prices(str(path), public=False, names=["milan_ort_fp32_1"])
        ends[kind] = found.high / found.low
        assert any("is of Einsum, priced as matrix products" in note for note in found.notes) == (kind == "Einsum")
    assert ends["Einsum"] > 2 * ends["MatMul"]
    run(path, "--under", "1s", "--device", "milan_ort_fp32_1")
    assert "1: " in (shown := capsys.readouterr().out) and "Einsum" in shown
