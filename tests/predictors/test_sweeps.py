"""Sweeps: the same grid here and under W&B's agents; killed at random moments, it ends with the same rows."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

import predictors.__main__
import train
from datasets.files.folders import Outcome
from datasets.records import InputError
from predictors.run_folder import named
from predictors.sweep import KEYS, flags_of, read_sweep, run_sweep
from tests.conftest import ROOT, run

CPU_SECONDS = ("fit_cpu_s", "predict_cpu_s")
SMALL = "datasets/bundled/nasbench101_small.parquet"
"""A table of few devices."""


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
            "data.path": {"value": SMALL},
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


def test_killed_at_random_moments_it_ends_with_the_same_rows(
    whole: tuple[Path, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three times; ten for the claim of the study help_900, which asks for rows."""
    path, most = write(tmp_path, "killed"), 10 if request.config.getoption("--rows") else 3
    command = [sys.executable, "train.py", "--sweep", str(path)]
    rng, kills, after_all = random.Random(1), 0, 0
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(timeout=rng.uniform(0.3, 6) if kills < most else 200) == 0
            if kills >= most:
                break
            after_all += 1  # already complete: what is left is to kill it while it finds that out
            kills += 1
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert after_all < 0.8 * most
    assert rows(tmp_path / "killed") == rows(whole[0])


def test_a_run_of_an_agent_is_the_run_of_the_sweep(whole: tuple[Path, str]) -> None:
    """An agent of W&B calls the program with the flags of one combination: the run folder is the same one."""
    study, _ = whole
    flags = next(iter(read_sweep(study.with_suffix(".yaml")).flags()))
    split = ["--split.train=100", "--split.val=100"]
    predictor, rest = "--predictor=configs/predictors/flops.yaml", ["--seed=0", f"--data.path={SMALL}"]
    assert flags == [f"--study={study}", predictor, *split, *rest]
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
        ({"parameters": {"seed": 5}}, "parameter 'seed' needs either `value` or `values`"),
        (
            {"parameters": {"predictor": {"values": "configs/predictors/mean.yaml"}}},
            "`values` of 'predictor' are no list",
        ),
        ({"parameters": {"seed": {"values": [0], "max": 3}}}, "parameter 'seed' has 'max', which no grid has"),
        (
            {"parameters": {"data": {"values": [date(2001, 1, 1)]}}},
            "a value of 'data' is a date; put it between quotes",
        ),
        ({"parameters": {"data": {"value": b"x"}}}, "a value of 'data' is a bytes; put it between quotes"),
        *(
            ({"run_cap": cap}, "run_cap is the largest number of runs, 1 or more, not")
            for cap in (0, -1, 2.5, "3", True, None)
        ),
    ],
)
def test_bad_sweeps_are_refused_in_one_sentence(change: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_sweep(write(tmp_path, "bad", **change))


def test_a_sweep_does_no_more_runs_than_its_cap(tmp_path: Path) -> None:
    done, lines = list[list[str]](), list[str]()
    path = write(tmp_path, "capped", run_cap=3)
    assert run_sweep(path, lambda flags: done.append(flags) or "done", lines.append) == "done"
    assert [flags[2] for flags in done] == ["--split.train=100", "--split.train=300", "--split.train=100"]
    assert lines[-1] == "sweep complete: 3 runs now, 0 before; its run_cap leaves out 1"
    assert len(read_sweep(write(tmp_path, "large", run_cap=10**9))) == 4
    many = {f"flag{i}": {"values": list(range(100))} for i in range(10)}
    assert len(read_sweep(write(tmp_path, "more", parameters=many, run_cap=7))) == 7


def test_flags_beside_a_sweep_are_given_to_every_run(tmp_path: Path) -> None:
    done = list[list[str]]()
    flags = flags_of(["--split.train", "200", "--trainer.precision=bf16-mixed"])
    run_sweep(write(tmp_path, "some"), lambda words: done.append(words) or "done", lambda line: None, flags=flags)
    predictors = [f"--predictor=configs/predictors/{name}.yaml" for name in ("flops", "mean")]
    assert [words[1] for words in done] == predictors
    for words in done:
        assert words[-3:-1] == ["--split.train=200", "--trainer.precision=bf16-mixed"]
        assert words[-1] == "--label=train=200-precision=bf16-mixed"


def test_transfer_heeds_the_flags_beside_its_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All twelve sets were run where one was named."""
    given = list[list[str]]()
    monkeypatch.setattr(predictors.__main__, "main", lambda *a, arguments, **k: given.append(arguments) or "done")
    sweep = "studies/cross_device/nasflat.yaml"
    predictors.__main__.run_transfer(["--sweep", sweep, "--device_set", "ND", "--study", str(tmp_path)])
    assert len(given) == 3 and all({"--device_set=ND", f"--study={tmp_path}"} <= set(words) for words in given)
    assert all(f"--label=seed={seed}-device_set=ND" in words for seed, words in enumerate(given))
    with pytest.raises(InputError, match="'ND' belongs to no flag"):
        predictors.__main__.run_transfer(["--sweep", sweep, "ND"])


def test_a_number_of_samples_is_a_list_of_one(capsys: pytest.CaptureFixture) -> None:
    """Values of sweeps are single ones; `shots` takes a list too."""
    for word in ("--shots=0", "--shots=[0]"):
        with pytest.raises(SystemExit):
            predictors.__main__.run_transfer(["--predictor", "configs/predictors/nearest_device.yaml", word])
        assert "Name a --predictor and a --device_set" in capsys.readouterr().err


def test_run_folders_are_named_by_what_varies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = list[str]()

    def work(out: Path, *arguments: object, **options: object) -> str:
        folders.append(out.name)
        return "done"

    monkeypatch.setattr(train, "run_once", work)
    parameters = {
        "study": {"value": str(tmp_path / "s")},
        "predictor": {"values": ["configs/predictors/mlp.yaml"]},
        "split": {"values": ["configs/splits/random_50.yaml", "configs/splits/random_100.yaml"]},
        "predictor.hidden": {"values": [32, 64]},
        "predictor.epochs": {"value": 3},
        "seed": {"value": 1},
    }
    assert train.command(["--sweep", str(write(tmp_path, "names", parameters=parameters))]) == "done"
    assert folders == [f"mlp-split=random_{n}-hidden={h}" for n in (50, 100) for h in (32, 64)]
    config = tmp_path / "old" / "config.yaml"
    config.parent.mkdir()
    config.write_text(f"name: old\nseed: 3\npredictor: {{class_path: predictors.linear.Mean}}\nout: {config.parent}\n")
    folders.clear()
    place = ["--study", str(tmp_path / "s")]
    train.command(
        [*place, "--predictor", "predictors.mlp.MLP", "--predictor.scale.kind=linear", "--log.wandb", "false"]
    )
    train.command([*place, "--config", str(config), "--seed", "4"])
    train.command([*place, "--predictor=configs/predictors/flops.yaml", "--config", str(config)])
    train.command([*place, "--predictor=configs/predictors/flops.yaml", "--name", "mine", "--label", "x"])
    assert folders == ["mlp-kind=linear", "old-seed=4", "flops", "mine-x"]


def test_a_run_is_found_by_its_settings_whatever_its_folder_is_called(tmp_path: Path) -> None:
    first = {"data": {"class_path": "d"}, "seed": 0, "name": "gcn"}
    second = first | {"seed": 1}

    def write_run(folder: Path, config: dict) -> None:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"out": f"{folder} {'x ' * 60}"}, sort_keys=False))

    assert named(tmp_path, "gcn", first, "seed=0").name == "gcn-seed=0"
    write_run(tmp_path / "gcn-0123456789", first)  # as earlier versions named it, or by hand
    assert named(tmp_path, "gcn", first, "seed=0").name == "gcn-0123456789"
    write_run(tmp_path / "gcn-x", first)
    other = named(tmp_path, "gcn", second, "x")
    assert re.fullmatch(r"gcn-x-[0-9a-f]{10}", other.name), "the name is taken by other settings"
    write_run(other, second)
    assert named(tmp_path, "gcn", second, "x") == other == named(tmp_path, "gcn", second, "y")
    long = named(tmp_path, "gcn", second | {"seed": 2}, "hidden=6" * 100)
    assert len(long.name) <= 150
    for damage in (b"\xff", b""):
        (tmp_path / "gcn-x" / "config.yaml").write_bytes(damage)
        assert named(tmp_path, "gcn", second, "y") == other


def test_values_of_files_never_replace_those_of_flags(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """A flag before the file that it refines was lost without a word."""
    config = tmp_path / "config.yaml"
    config.write_text("seed: 3\npredictor: {class_path: predictors.linear.Mean}\n")
    split = ["--split.train=77", "--split", "configs/splits/random_50.yaml"]
    flags = ["--seed", "7", "--predictor.hidden", "5", *split, "--predictor", "configs/predictors/mlp.yaml"]
    with pytest.raises(SystemExit):
        train.command([*flags, "--config", str(config), "--print_config"])
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 7 and shown["name"] == "mlp" and shown["split"]["init_args"]["train"] == 77
    assert shown["predictor"]["class_path"] == "predictors.mlp.MLP" and shown["predictor"]["init_args"]["hidden"] == 5
    config.write_text("{shots: 7, draws: 2}")
    with pytest.raises(SystemExit):
        predictors.__main__.run_transfer(["--shots", "3", "--samples", str(config), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["samples"] == {"shots": 3, "draws": 2, "sampler": "own"}


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
