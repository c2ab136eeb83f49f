"""The commands and files of docs/own_data.md, run as they stand there."""

import itertools
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from datasets.opening import open_measurements
from predictors.base import Predictor
from tests.conftest import ROOT, run

PAGE = (ROOT / "docs" / "own_data.md").read_text()


def blocks(kind: str) -> list[str]:
    """The code of a kind on the page."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def section(title: str) -> list[str]:
    """The commands of a section."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for code in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in code.splitlines()]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with Gnomon's configurations."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def follow(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in this process, so that libraries are imported once; what measures has a process of its own."""
    for command in commands:
        words = shlex.split(command)
        if words[0].startswith("GNOMON_PLUGINS="):
            monkeypatch.setenv("GNOMON_PLUGINS", words.pop(0).partition("=")[2])
        assert words.pop(0) == "python"
        if words[0] == "train.py":
            assert train.command(words[1:]) == "done", command
        elif words[:2] == ["-m", "measure"]:
            done = run("-c", "import os, sys; os.chdir(sys.argv.pop(1)); sys.path.insert(0, '.'); import runpy;"
                       " runpy.run_module('measure', run_name='__main__', alter_sys=True)", Path.cwd(), *words[2:],
                       env={"PYTHONPATH": str(ROOT)})  # fmt: skip
            assert done.returncode == 0, command + done.stderr
        else:
            monkeypatch.setattr(sys, "argv", [words[1], *words[2:]])
            try:
                runpy.run_module(words[1], run_name="__main__")
            except SystemExit as end:
                assert not end.code, command


def us(kernel: int, act: str, macs: float, speed: float) -> float:
    return speed * (30 + macs / 1e5 + 5 * (act == "silu"))


def test_a_table_of_features_and_decisions(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    lines = blocks("csv")[0].splitlines()
    grid = [(k, a, float(rng.integers(1, 200)) * 1e5) for k, a in itertools.product((1, 3, 5), ("relu", "silu"))
            for _ in range(8)]  # fmt: skip
    for device, speed in (("phone", 1.0), ("board", 3.0), ("laptop", 0.4)):
        lines += [f"{k},{a},{m:.0f},{device},{us(k, a, m, speed):.2f}" for k, a, m in grid]
    Path("layers.csv").write_text("\n".join(lines))
    Path("layers.yaml").write_text(blocks("yaml")[0])
    watch = [f"{k},{a},{m:.0f},{us(k, a, m, 8):.2f}" for k, a, m in grid[::4]]
    Path("watch.csv").write_text("\n".join(["kernel,act,macs,latency_us", *watch]))
    follow(section("A table of features and decisions"), monkeypatch)
    phone, watch_answer = (line for line in capsys.readouterr().out.splitlines() if re.match(r"[\d.]+ ms", line))
    assert float(phone.split()[0]) == pytest.approx(us(3, "relu", 2e6, 1) / 1000, rel=0.3)
    assert float(watch_answer.split()[0]) == pytest.approx(us(3, "relu", 2e6, 8) / 1000, rel=0.5)


def test_a_folder_of_networks(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict = {}
    exec(blocks("python")[0], namespace)
    Path("networks").mkdir()
    lines = ["network,device,latency_us"]
    for depth, width in itertools.product((1, 2, 3, 4, 5, 6), (8, 12, 16, 20, 24, 32)):
        name, module = f"net_{depth}_{width}", namespace["build"](depth, width, "ReLU").eval()
        torch.onnx.export(module, (torch.zeros(1, 3, 32, 32),), f"networks/{name}.onnx", dynamo=False)
        work = 20 + 0.2304 * (3 * width + depth * width**2)
        lines += [f"{name},phone,{work:.2f}", f"{name},board,{2.5 * work:.2f}"]
    Path("networks.csv").write_text("\n".join(lines))
    Path("networks.yaml").write_text(blocks("yaml")[1])
    follow(section("A folder of networks"), monkeypatch)
    answer = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"net_2_16.onnx:\w+ on phone, batch 1: 0\.\d+ ms", answer), answer


def test_a_search_space_of_ones_own(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mypackage").mkdir()
    Path("mypackage/__init__.py").touch()
    Path("mypackage/nets.py").write_text(blocks("python")[0])
    Path("space.yaml").write_text(blocks("yaml")[2])
    keys = [f"depth={d},width={w},act={a}" for d in (1, 2, 3) for w in (8, 16, 32) for a in ("ReLU", "SiLU")]
    Path("accuracy.csv").write_text("\n".join(["key;value", *(f"{k};{60 + i}" for i, k in enumerate(keys))]))
    Path("accuracy.yaml").write_text(
        "class_path: datasets.own_table.OwnTable\n"
        "init_args: {path: accuracy.csv, space: space.yaml, metric: accuracy}\n"
    )
    follow(section("A search space of your own"), monkeypatch)
    found, _, kept, _ = capsys.readouterr().out.splitlines()[-4:]
    assert found in keys and kept.startswith("keeps the budget of 1000 ms; 10 queries")
    monkeypatch.delenv("GNOMON_PLUGINS")
    m, predictor = open_measurements("built.parquet"), Predictor.load(Path("runs/built/predictor.pt"))
    assert len(m.architectures) == 12 and (predictor.predict_all(m.architectures) > 0).all(), "no code is needed"
