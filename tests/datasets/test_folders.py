"""Run folders: whole or not there, one process at a time, and nothing of a user's is ever deleted."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import train
from datasets.files import folders
from datasets.files.folders import Busy, check_replaceable, complete, inside, locked, whole_folder
from datasets.files.writing import write_text
from datasets.records import InputError
from predictors import run_folder
from predictors.rows import run_files
from tests.conftest import ROOT, run

FILES = ("a.txt", "b.txt")


def put(out: Path, content: str, overwrite: bool = False) -> None:
    with locked(out) as place, whole_folder(place, FILES, overwrite) as part:
        for name in FILES:
            (part / name).write_text(content)


def content(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in out.iterdir()}


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    out = tmp_path / "new" / "run"
    put(out, "one")
    assert out.stat().st_mode & 0o777 == 0o777 & ~folders.umask()
    put(out, "two", overwrite=True)
    assert content(out) == dict.fromkeys(FILES, "two") and [path.name for path in out.parent.iterdir()] == ["run"]
    with pytest.raises(RuntimeError), locked(out) as place, whole_folder(place, FILES, True) as part:
        (part / "a.txt").write_text("half")
        raise RuntimeError
    assert content(out) == dict.fromkeys(FILES, "two") and [path.name for path in out.parent.iterdir()] == ["run"]
    with pytest.raises(InputError, match="No space left"), locked(out) as place, whole_folder(place, FILES, True):
        raise OSError(28, os.strerror(28))
    assert content(out) == dict.fromkeys(FILES, "two")


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("moment", ["written", "first rename", "second rename", "third rename", "renamed"])
def test_killed_at_any_moment_one_of_both_is_there(tmp_path: Path, moment: str, exchanges: bool) -> None:
    """Between the renames of a system that cannot exchange names, the next process puts the old folder back."""
    put(tmp_path / "run", "one")
    code = f"""
import os, shutil, sys
from pathlib import Path
from datasets.files import folders
left = {{"written": -1, "first rename": 0, "second rename": 1, "third rename": 2, "renamed": 9}}[sys.argv[2]]
rename, remove, flush = Path.rename, shutil.rmtree, folders.flush
def die(*_, **__): os.kill(os.getpid(), 9)
def count(*arguments):
    global left
    if not left: die()
    left -= 1
    return rename(*arguments)
Path.rename = count
if not {exchanges}: folders._exchange = lambda one, other: False
if left < 0: folders._put = die
shutil.rmtree = die
with folders.locked(Path(sys.argv[1])) as out, folders.whole_folder(out, ("a.txt", "b.txt"), True) as part:
    for name in ("a.txt", "b.txt"): (part / name).write_text("two")
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), moment], cwd=ROOT)
    assert killed.returncode == -9
    with locked(tmp_path / "run") as out:
        assert complete(out, FILES)
        assert content(out) in (dict.fromkeys(FILES, "one"), dict.fromkeys(FILES, "two"))
    kept = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert len(kept) == 2 and all(name == "run" or name.startswith(".run.") for name in kept)  # nothing was deleted


def test_of_many_processes_one_writes(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from datasets.files.folders import Busy, locked, whole_folder
print("ready", flush=True)
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])) as out, whole_folder(out, ("a.txt", "b.txt")) as part:
        for name in ("a.txt", "b.txt"): (part / name).write_text(sys.argv[2])
        print("mine", flush=True)
        sys.stdin.readline()
except Busy: print("busy", flush=True)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen([*command, str(i)], **pipes) for i in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.stdout.readline() for process in processes]
    assert sorted(answers) == ["busy\n"] * 3 + ["mine\n"]
    for process in processes:
        process.communicate("\n")
    assert content(tmp_path / "run") == dict.fromkeys(FILES, str(answers.index("mine\n")))


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from datasets.files.folders import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT)
    with locked(tmp_path / "run"), pytest.raises(Busy, match="Another process is writing"), locked(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_only_a_run_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    put(tmp_path / "run", "one")
    check_replaceable(tmp_path / "run", FILES, True)
    with pytest.raises(InputError, match="already there"):
        check_replaceable(tmp_path / "run", FILES, False)
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", FILES, True)
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "less").mkdir()
    (tmp_path / "less" / "a.txt").write_text("mine")
    (tmp_path / "folders" / "a.txt").mkdir(parents=True)
    (tmp_path / "folders" / "b.txt").write_text("b")
    for name in (".", "run", "link", "less", "folders", "run/a.txt"):
        with pytest.raises(InputError, match="is not replaced"):
            check_replaceable(tmp_path / name, FILES, True)
    with pytest.raises(InputError, match=r"less lacks b\.txt.*delete it"):
        complete(tmp_path / "less", FILES)


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../x", "/etc/x", "a/b", "zero\0byte", "two\nlines", ".hidden", "x.part", "n" * 300, "ü" * 100],
)
def test_names_stay_inside_of_their_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a folder's name") as caught:
        inside(tmp_path, name)
    assert len(str(caught.value)) < 500
    assert inside(tmp_path, r"a $\frac{ü-1.2").parent == tmp_path


def test_what_was_never_finished_is_no_run(tmp_path: Path) -> None:
    for name in ("run", ".run.abc.part", ".run.abc.old", "old.part"):
        write_text(tmp_path / name / "metrics.json", "[]")
    assert run_files(tmp_path, "make it") == [tmp_path / "run" / "metrics.json"]
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="There is no run"):
        run_files(tmp_path, "make it")
    with pytest.raises(InputError, match="There is no folder"):
        run_files(tmp_path / "absent", "make it")


def test_a_second_process_is_refused_and_a_sweep_goes_on_with_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictors.report.run_report", lambda *_: "drawn elsewhere")
    sizes, study = (100, 300), tmp_path / "study"
    grid = {"study": {"value": str(study)}, "predictor": {"value": "configs/predictors/mean.yaml"},
            "split.train": {"values": sizes}}  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"program": "train.py", "method": "grid", "parameters": grid}))
    assert train.command(["--sweep", str(path)]) == "done"
    first, second = sorted(study.iterdir())
    shutil.rmtree(first)
    shutil.rmtree(second)
    capsys.readouterr()
    with locked(first):
        assert train.command(["--sweep", str(path)]) == "busy"
        told = capsys.readouterr().out
        assert told.count(f"left out: Another process is writing {first}") == 2
        assert "sweep NOT complete: another process is at 1 runs; 1 runs now, 0 before" in told
        assert second.is_dir() and not first.exists()
        with pytest.raises(SystemExit, match="2"):
            train.command(["--config", str(second / "config.yaml"), "--out", str(first)])
        assert capsys.readouterr().err.startswith(f"error: Another process is writing {first}")
        assert run("train.py", "--sweep", path).returncode == 1
    assert train.command(["--sweep", str(path)]) == "done" and complete(first, run_folder.FILES)
    (second / "thesis.tex").write_text("mine")
    monkeypatch.setattr("predictors.evaluation.evaluate", lambda *_: ([], pd.DataFrame({"predicted": [np.nan]})))
    for flags, sentence in (
        (["--out", str(second), "--overwrite", "true"], "is not replaced, because it is no run folder"),
        (["--study", str(study), "--name", "../../x"], "'../../x'"),
        (["--out", str(tmp_path / "new")], "its fit diverged"),
    ):
        with pytest.raises(SystemExit, match="2"):
            train.command(["--predictor", "configs/predictors/mean.yaml", *flags])
        assert sentence in capsys.readouterr().err
    assert (second / "thesis.tex").read_text() == "mine" and not (tmp_path / "new").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"study", "sweep.yaml"}


def test_ctrl_c_during_fits_and_measurements_is_one_sentence(tmp_path: Path) -> None:
    """All of them at once, each interrupted when it says that it is at work; children of theirs hear it too."""
    grid = {"out": {"values": [str(tmp_path / "mlp"), str(tmp_path / "next")]},
            "predictor": {"value": "configs/predictors/mlp.yaml"},
            "predictor.epochs": {"value": 10**6}, "predictor.hidden": {"value": 8}}  # fmt: skip
    sweep = {"program": "train.py", "method": "grid", "parameters": grid}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    journal = ["--journal", str(tmp_path / "journal.jsonl")]
    commands = {
        "epoch 10": ["train.py", "--sweep", str(tmp_path / "sweep.yaml")],
        "device 1 of": ["train.py", "--predictor", "configs/predictors/xgboost.yaml", "--predictor.trees", "20000",
                        "--out", str(tmp_path / "trees")],
        " ms (raw ": ["-m", "measure", "run", "--limit", "1000", "--backend", "ort", *journal],
    }  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = {
        sign: subprocess.Popen([sys.executable, "-u", *command], start_new_session=True, **pipes)
        for sign, command in commands.items()
    }
    for sign, process in processes.items():
        assert any(sign in line for line in process.stdout), process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 130, told
        assert told.strip().splitlines()[-1].startswith("error: Interrupted") and "Traceback" not in told
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"sweep.yaml", "journal.jsonl"}
    assert (tmp_path / "journal.jsonl").read_bytes().endswith(b"}\n")
