"""Sweeps: the same grid here and under W&B's agents; killed at random moments, it ends with the same rows."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from datasets.files.folders import Outcome
from datasets.records import InputError
from predictors.sweep import KEYS, read_sweep, run_sweep
from tests.conftest import ROOT, run

CPU_SECONDS = ("fit_cpu_s", "predict_cpu_s")


def write(folder: Path, study: str, **changes: object) -> Path:
    tree = {
        "program": "train.py",
        "method": "grid",
        "parameters": {
            "study": {"value": str(folder / study)},
            "predictor": {"values": ["configs/predictors/flops.yaml", "configs/predictors/mean.yaml"]},
            "split.train": {"values": [100, 300]},
            "split.val": {"value": 100},
            "seed": {"values": [0]},
        },
        **changes,
    }
    path = folder / f"{study}.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def rows(study: Path) -> list[dict]:
    """The summary without what no two runs share: how long they took."""
    done = run("-m", "predictors", "compare", study)
    assert done.returncode == 0, done.stderr
    summary = json.loads((study / "summary.json").read_text())
    return [{key: value for key, value in row.items() if key not in CPU_SECONDS} for row in summary]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("sweep")
    done = run("train.py", "--sweep", write(folder, "whole"))
    assert done.returncode == 0, done.stderr
    return folder / "whole", done.stdout


def test_a_sweep_runs_its_grid_once(whole: tuple[Path, str]) -> None:
    study, output = whole
    assert re.search(r"\[4/4, about \d+ min left\]", output) and "sweep complete: 4 runs now, 0 before" in output
    table = rows(study)
    assert {(row["predictor"], row["shots"], row["seed"]) for row in table} == {
        (p, n, 0) for p in ("flops", "mean") for n in (200, 400)
    }
    again = run("train.py", "--sweep", study.with_suffix(".yaml"))
    assert "sweep complete: 0 runs now, 4 before" in again.stdout
    assert "Learning curves" in (study / "report.html").read_text()


def test_killed_at_ten_random_moments_it_ends_with_the_same_rows(whole: tuple[Path, str], tmp_path: Path) -> None:
    path = write(tmp_path, "killed")
    command = [sys.executable, "train.py", "--sweep", str(path)]
    rng, kills, after_all = random.Random(1), 0, 0
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(timeout=rng.uniform(0.3, 6) if kills < 10 else 200) == 0
            if kills >= 10:
                break
            after_all += 1  # already complete: what is left is to kill it while it finds that out
            kills += 1
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert after_all < 8
    assert rows(tmp_path / "killed") == rows(whole[0])


def test_a_run_of_an_agent_is_the_run_of_the_sweep(whole: tuple[Path, str]) -> None:
    """An agent of W&B calls the program with the flags of one combination: the run folder is the same one."""
    study, _ = whole
    flags = next(iter(read_sweep(study.with_suffix(".yaml")).flags()))
    split = ["--split.train=100", "--split.val=100"]
    assert flags == [f"--study={study}", "--predictor=configs/predictors/flops.yaml", *split, "--seed=0"]
    done = run("train.py", *flags)
    assert done.returncode == 0 and done.stdout.startswith("complete: "), done.stderr


def test_every_sweep_that_is_here_is_one_that_agents_accept_too() -> None:
    """W&B's client reads every sweep file, and it has no keys but those of W&B."""
    wandb_sweeps = pytest.importorskip("wandb.sdk.launch.sweeps.utils", reason="wandb is not installed")
    paths = sorted(path for path in (ROOT / "studies").glob("*/*.yaml") if path.name != "claims.yaml")
    assert paths
    for path in paths:
        sweep = read_sweep(path)
        assert len(list(sweep.flags())) == len(sweep) > 1
        loaded = wandb_sweeps.load_sweep_config(str(path))
        assert loaded is not None and set(loaded) <= KEYS


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"method": "bayes"}, "has method bayes of train.py; only the method grid of train.py is run here"),
        ({"parameters": {"seed": {"min": 0, "max": 3}}}, "parameter 'seed' needs either `value` or `values`"),
        ({"paramters": {}}, "has the unknown key 'paramters'; a sweep has"),
        ({"parameters": None}, "is no sweep: it needs program, method and parameters"),
        ({"parameters": {"seed": {"values": 5}}}, "the `values` of 'seed' are no list"),
        ({"parameters": {"seed": {"values": []}}}, "the `values` of 'seed' are no list"),
        ({"parameters": {5: {"value": 5}}}, "parameter '5' needs either"),
        ({"parameters": {"x" * 9999: 5}}, r"parameter 'x{200}... \(9,999 characters\)' needs either"),
        ({"parameters": {f"flag{i}": {"values": list(range(100))} for i in range(10)}}, "has 1e.20 runs"),
        ({"method": ["grid"]}, "has method"),
        ({"program": {"train.py": 1}}, "has method"),
    ],
)
def test_bad_sweeps_are_refused_in_one_sentence(change: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_sweep(write(tmp_path, "bad", **change))


def test_the_command_says_so_too(tmp_path: Path) -> None:
    done = run("train.py", "--sweep", tmp_path / "absent.yaml")
    assert done.returncode == 2 and f"There is no file {tmp_path / 'absent.yaml'}; name a sweep" in done.stderr
    path = write(tmp_path, "typo", parameters={"predictr": {"value": "x"}, "study": {"value": str(tmp_path / "s")}})
    done = run("train.py", "--sweep", path)
    assert done.returncode == 2 and "unrecognized arguments: --predictr=x" in done.stderr


def test_progress_counts_what_was_there_before(tmp_path: Path) -> None:
    lines: list[str] = []
    answers: list[Outcome] = ["complete", "done", "busy", "done", "complete"]
    outcomes = iter(answers)
    assert run_sweep(write(tmp_path, "some"), lambda flags: next(outcomes), lines.append) == "done"
    assert lines[-1] == "sweep complete: 2 runs now, 2 before" and len(lines) == 5
    answers[-1], outcomes = "busy", iter(answers)
    assert run_sweep(write(tmp_path, "some"), lambda flags: next(outcomes), lines.append) == "busy"
    assert lines[-1] == "sweep NOT complete: another process is at 1 runs; 2 runs now, 1 before"


def test_weights_and_biases_offline(tmp_path: Path) -> None:
    """An offline run directory with the configuration, the curve of the validation loss and the scores in it."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    flags = ["--predictor", "configs/predictors/mlp.yaml", "--predictor.epochs", "20", "--predictor.hidden", "16"]
    done = run("train.py", *flags, "--out", tmp_path / "run", "--log.wandb", "true", "--log.project", "toy",
               env={"WANDB_MODE": "offline", "WANDB_SILENT": "true"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (record,) = folder.glob("run-*.wandb")
    content = record.read_bytes()
    for text in (b"val_loss", b"test/xeon_ort_fp32_1/all/spearman", b"predictors.mlp.MLP", b"toy"):
        assert text in content, text
