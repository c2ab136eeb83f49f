"""`python -m gnomon check`: verdicts, exit statuses, JSON, and what is refused."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

import gnomon.check
from datasets.arguments import Parser
from datasets.cli import main
from gnomon.check import EXIT, against, budget
from gnomon.commands.check import check
from gnomon.commands.compare import compare, files_as_one
from gnomon.paired import Block
from studies.decide.live import write_chain
from tests.conftest import ROOT, run
from tests.doubles.network_files import onnx_file
from tests.test_startup import imported


def command(*words: object) -> int:
    """Exit status of a command line, run in this process."""
    arguments = [str(word) for word in words]
    try:
        main([check, compare], prog="python -m gnomon", arguments=arguments, positional=True, rewrite=files_as_one)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def dense(path: Path, width: int = 8, layers: int = 1, kind: Any = TensorProto.FLOAT) -> Path:
    """An ONNX file of dense layers without biases."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = {f"w{i}": np.eye(width, dtype=dtype) * (1 + path.stem.count("other")) for i in range(layers)}
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(layers)]
    ends = [{f"x{i}": (kind, (1, width))} for i in (0, layers)]
    return onnx_file(path, nodes, *ends, **weights)


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A chain of convolutions, and one that is three times as long."""
    folder = tmp_path_factory.mktemp("chains")
    return str(write_chain(folder, 8, 16, 6)), str(write_chain(folder, 8, 16, 18))


def made_up(ratio: float, count: int = 60, ms: float = 2.0) -> Callable[..., Iterator[Block]]:
    """Blocks of a network that takes `ratio` times as long as the other, with noise of 1 %."""

    def blocks(*arguments: object) -> Iterator[Block]:
        generator = np.random.default_rng(0)
        for _ in range(count):
            times = ms * np.exp(0.01 * generator.standard_normal((5, 2))) * [ratio, 1]
            yield Block(np.repeat(times, 2, axis=1), 0.5, True)

    return blocks


def test_three_times_as_long_is_slower_and_the_other_way_round_faster(chains: tuple[str, str]) -> None:
    short, long = chains
    slower = against(long, short, tolerance=0.1, seconds=100)
    assert slower.verdict == "SLOWER" and 1.2 < slower.ratio < 9 and slower.low > 1.1
    assert slower.ms > slower.against_ms > 0 and slower.sessions <= slower.blocks <= slower.pairs
    faster = against(short, long, tolerance=0.1, seconds=100)
    assert faster.verdict == "FASTER" and faster.high < 0.9
    assert faster.to_frame().loc[0, ["verdict", "network"]].tolist() == ["FASTER", short]


def test_a_command_line_ends_with_the_status_of_its_verdict_and_prints_json(chains: tuple[str, str]) -> None:
    done = run("-m", "gnomon", "check", chains[1], "--against", chains[0], "--seconds", "100", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"], found["exit"]) == (1, "SLOWER", 1)
    assert found["low"] > 1.02 and found["network"] == chains[1] and found["clock"] == "cpu" and found["host"]
    assert done.stderr.startswith("SLOWER: chain_8_16_18.onnx takes ")


@pytest.mark.parametrize("budget_ms, verdict", [(10_000, "WITHIN"), (1e-4, "OVER")])
def test_budgets_far_from_a_network_are_kept_or_exceeded(
    budget_ms: float, verdict: str, chains: tuple[str, str]
) -> None:
    found = budget(chains[0], budget_ms, seconds=100)
    assert found.verdict == verdict and found.reference_ms == found.against_ms and found.tolerance is None


@pytest.mark.parametrize(
    "ratio, seconds, verdict, status",
    [(1.0, 60, "SAME", 0), (1.06, 60, "SLOWER", 1), (0.9, 60, "FASTER", 0), (1.02, 20, "NO VERDICT", 3),
     (1.5, 2, "NO VERDICT", 3)],
)  # fmt: skip
def test_the_status_of_each_verdict(
    ratio: float, seconds: float, verdict: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(gnomon.check, "blocks", made_up(ratio))
    file = dense(tmp_path / "a.onnx")
    assert command("check", file, "--against", file, "--seconds", seconds) == status == EXIT[verdict]  # type: ignore[index]
    printed = capsys.readouterr().out
    shown = re.match(rf"{verdict}: a.onnx takes ([\d.]+) times as long as a.onnx", printed)
    assert shown and float(shown[1]) == pytest.approx(ratio, rel=0.02)
    assert ("Give more --seconds" in printed) == (status == 3) and ("no 99 % interval yet" in printed) == (seconds == 2)


def test_a_budget_holds_where_the_reference_takes_its_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The network takes ten times as long as the reference, 20 ms now and 5 ms on the machine that counts."""
    monkeypatch.setattr(gnomon.check, "blocks", made_up(10, ms=2))
    file = dense(tmp_path / "a.onnx")
    assert command("check", file, "--budget-ms", 15) == 1
    assert re.match(r"OVER: a.onnx takes (19.9|20|20.0).*, the budget is 15 ms\n", capsys.readouterr().out)
    assert command("check", file, "--budget-ms", 15, "--reference-ms", 0.5, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["budget_ms"], found["reference_ms"]) == ("WITHIN", 15, 0.5)
    assert found["ratio"] == pytest.approx(10, rel=0.01) and found["tolerance"] is None


def test_an_interval_that_is_not_known_is_null_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(gnomon.check, "blocks", made_up(1, count=3))
    file = dense(tmp_path / "a.onnx")
    assert command("check", file, "--against", file, "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["low"] is None and found["high"] is None and math.isfinite(found["ratio"])


def test_other_outputs_are_noted_and_other_inputs_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(gnomon.check, "blocks", made_up(1))
    first, other = dense(tmp_path / "a.onnx"), dense(tmp_path / "other.onnx")
    assert command("check", first, "--against", other) == 0
    assert "note: Output 1 differs by 0.5 of its norm" in capsys.readouterr().err
    assert command("check", first, "--against", dense(tmp_path / "wide.onnx", width=9)) == 2
    assert "takes float32 1x8, and" in (text := capsys.readouterr().err) and "takes float32 1x9: only" in text


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "Name a network with --against, or a budget"),
        (["--against", "{file}", "--budget-ms", "3"], "Name a network with --against, or a budget"),
        (["--against", "{file}", "--reference-ms", "3"], "--reference-ms belongs to a budget"),
        (["--against", "missing.onnx"], "missing.onnx"),
        (["--budget-ms", "0"], "--budget-ms must be at least"),
        (["--budget-ms", "nan"], "finite"),
        (["--budget-ms", "1", "--seconds", "0"], "--seconds must be at least 1"),
        (["--budget-ms", "1", "--level", "1"], "--level must be at least 0.5 and below 1"),
        (["--against", "{file}", "--tolerance", "5 percent"], "--tolerance must be a share such as 2% or 0.02"),
        (["--against", "{file}", "--tolerance", "100%"], "--tolerance must be a share"),
        (["--budget-ms", "1", "--backend", "ort,ort:int8"], "measures on one device"),
        (["--budget-ms", "1", "--backend", "tflite-cpu"], "backend"),
        (["--budget-ms", "1", "--threads", "999"], "fewer than 999 threads"),
    ],
)
def test_faulty_requests_are_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = dense(tmp_path / "a.onnx")
    assert command("check", file, *(word.format(file=file) for word in words)) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1 and sentence in text


def test_a_network_that_the_runtime_does_not_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = onnx_file(
        tmp_path / "a.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"x": (TensorProto.DOUBLE, (1, 2, 4, 4))},
        {"y": (TensorProto.DOUBLE, (1, 2, 2, 2))},
        w=np.ones((2, 2, 3, 3)),
    )
    assert command("check", path, "--budget-ms", 3) == 2
    text = capsys.readouterr().err
    assert "a.onnx does not run on onnxruntime" in text and text.count("\n") == 1


def test_a_network_that_computes_something_else_on_the_runtime_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = dense(tmp_path / "a.onnx")
    monkeypatch.setattr("measure.backends.ort._OrtSession.fetch", lambda session: [np.zeros((1, 8), np.float32)])
    assert command("check", file, "--budget-ms", 3) == 2
    text = capsys.readouterr().err
    assert "a.onnx does not run on ort: WrongOutput: The output is off by 1 of its norm" in text
    assert text.count("\n") == 1


def test_an_interrupted_check_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(*arguments: object) -> Iterator[Block]:
        yield next(made_up(1)())
        raise KeyboardInterrupt

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(gnomon.check, "blocks", blocks)
    file = dense(tmp_path / "a.onnx")
    assert command("check", file, "--against", file) == 130
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_page_shows_flags_and_a_workflow_that_are_valid() -> None:
    page = (ROOT / "docs" / "check.md").read_text()
    parsers = {}
    for function in (check, compare):
        parsers[function.__name__] = parser = Parser()
        parser.add_function_arguments(function, as_group=False, sub_configs=True)
    lines = re.findall(r"python -m gnomon (check|compare) ([^#\n]*)", page)
    assert len(lines) >= 8
    for name, words in lines:
        for flag in re.findall(r"--[\w-]+", words):
            assert f"--{flag[2:].replace('-', '_')}" in parsers[name]._option_string_actions, (name, flag)
    (workflow,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    steps = yaml.safe_load(workflow)["jobs"]["latency"]["steps"]
    assert any("gnomon check" in step.get("run", "") for step in steps)


def test_a_check_imports_nothing_heavy_but_the_runtime(chains: tuple[str, str]) -> None:
    """So that a runner of continuous integration installs little."""
    status, _, heavy = imported("-m", "gnomon", "check", chains[0], "--against", chains[0], "--seconds", "1")
    assert status in (0, 3) and heavy == {"onnxruntime"}
