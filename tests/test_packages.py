"""What `make setup` installs and what it leaves out: extras, stamps, and one sentence where a package is missing."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import datasets.packages
from datasets.cli import one_sentence
from datasets.packages import CORE, EXTRAS, not_installed
from measure.backends import parse_backend
from measure.blackbox import minimise
from measure.commands.networks import delegates
from measure.remote.slot import reach
from tests.conftest import ROOT, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_of_an_extra_is_named_where_it_is_missing() -> None:
    extras = {name: set(packages) for name, packages in PROJECT["project"]["optional-dependencies"].items()}
    assert extras.pop("all") == {f"gnomon[{','.join(extras)}]"}
    assert set.union(*extras.values()) == set(" ".join(EXTRAS.values()).split())
    assert {package.replace("_", "-") for package in EXTRAS} == set.union(*extras.values())


def test_every_package_has_an_exact_version() -> None:
    project = PROJECT["project"]
    asked = [
        *project["dependencies"],
        *itertools.chain(*PROJECT["dependency-groups"].values()),
        *" ".join(EXTRAS.values()).split(),
    ]
    pins = re.findall(r"^([\w.-]+)==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert {re.sub(r"\[.*", "", name).lower() for name in asked} <= set(pins)
    assert len(pins) == len(set(pins))


@pytest.mark.parametrize(
    "package, command",
    [
        ("jax", lambda: parse_backend("jax")),
        ("nncf", lambda: parse_backend("openvino:int8")),
        ("ai_edge_litert", lambda: parse_backend("litert")),
        ("ai_edge_litert", lambda: delegates(Path("model.tflite"))),
        ("nevergrad", lambda: minimise(None, 1, 0)),
        ("dask", lambda: reach("tcp://127.0.0.1:1")),
    ],
)
def test_a_missing_package_is_one_sentence_that_says_what_installs_it(
    package: str, command: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "openvino", sys)  # it may be missing too, and would be the first to be named
    for name in ("delegates", "tflite_file"):
        monkeypatch.delitem(sys.modules, f"measure.builders.{name}", raising=False)
    with pytest.raises(SystemExit) as ended, one_sentence("gnomon"):
        command()
    assert ended.value.code == 2
    installs = "`make setup-all` or `pip install -c constraints.txt .*`"
    why = f"because the package {package} is not installed; install it with {installs}"
    assert re.fullmatch(rf"error: .*not .* here, {why}\.\n", capsys.readouterr().err)


def test_a_missing_package_of_nobody_s_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), one_sentence("gnomon"):
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")


def test_another_machine_that_has_no_checkout_is_told_no_file_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.packages, "CONSTRAINTS", tmp_path / "constraints.txt")
    assert not_installed("jax") == "the package jax is not installed; install it with `pip install jax`"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_each_set_up_runs_once_and_training_takes_the_core_only(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def installed_by(target: str) -> list[str]:
        command = ["make", "--dry-run", "--no-print-directory", target]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return re.findall(r"pip install --quiet -c constraints.txt (.*);", done.stdout)

    venv = tmp_path / ".venv"
    venv.mkdir()
    assert installed_by("setup") == installed_by("train") == ["."]
    everything = installed_by("setup-all")
    assert everything == installed_by("test") == ["'.[all]' --group dev"]
    (venv / ".core").touch()
    assert installed_by("train") == [] and installed_by("setup-all") == installed_by("bench") == everything
    (venv / ".all").touch()
    assert installed_by("train") == installed_by("test") == []


@pytest.mark.parametrize(
    "command", ["-m gnomon price zoo:lenet5", "-m measure doctor", "-m predictors --help", "train.py"]
)
def test_a_python_without_the_packages_says_how_they_are_installed(command: str) -> None:
    """-S leaves the packages out, which nobody has who did not run `make setup`, or did not activate what it made."""
    done = run("-S", *command.split())
    assert done.returncode == 2 and re.fullmatch(
        r"error: This cannot be done here, because the package \w+ is not installed; run `make setup` "
        r"once, and `source \.venv/bin/activate` in every terminal\.\n", done.stderr), done.stderr  # fmt: skip


def test_packages_of_the_core_are_those_that_setup_installs() -> None:
    names = {"scikit-learn": "sklearn", "pyyaml": "yaml", "xgboost-cpu": "xgboost", "tensorflow-cpu": "tensorflow"}
    installed = [re.split(r"[^\w-]", name)[0] for name in PROJECT["project"]["dependencies"]]
    assert sorted(CORE) == sorted(names.get(name, name.replace("-", "_")) for name in installed)
