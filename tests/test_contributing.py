"""The predictors that CONTRIBUTING.md shows are run as they stand there."""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from datasets.cli import main
from datasets.records import InputError, Measurements
from tests.conftest import ROOT, run
from train import train

PAGE = (ROOT / "CONTRIBUTING.md").read_text()

ANSWER = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from predictors.export import load_predictor
wanted = pd.read_parquet(Path(sys.argv[1]) / "predictions.parquet")
for path in Path(sys.argv[1]).glob("predictor.*"):
    predictor = load_predictor(path)
    for device in predictor.devices_:
        rows = wanted[wanted["device"] == device.name]
        got = predictor.predict(predictor.space_.parse(list(rows["key"])), device)
        np.testing.assert_allclose(got, rows["predicted"], rtol=1e-4)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a package with the predictors on the page."""
    (folder := tmp_path / "mypackage").mkdir()
    (folder / "__init__.py").touch()
    for name, code in zip(("two_hops", "alike"), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True):
        assert len(code.splitlines()) <= 38
        (folder / f"{name}.py").write_text(code)
    return tmp_path


WITHOUT = """
import sys
sys.modules["torch"] = None
from predictors.export import load_predictor
predictor = load_predictor(sys.argv[1])
cells = predictor.space_.parse([sys.argv[2]])
print(*(float(predictor.predict(cells, device)[0]) for device in predictor.devices_))
"""


def trained(package: Path, *changed: str) -> Path:
    """The run folder of the page's command, with other flags; its predictor answers again in a new process."""
    (command,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    setting, python, *arguments = command.replace("\\\n", " ").split()
    assert (setting, python, arguments[-2:]) == ("GNOMON_PLUGINS=mypackage", "python", ["--out", "runs/two_hops"])
    env = {"GNOMON_PLUGINS": "mypackage", "PYTHONPATH": f"{ROOT}:{package}"}
    fewer = ("--split.train=40", "--split.val=20", "--split.test=20")
    done = run(*arguments[:-1], package / "run", *fewer, *changed, env=env)
    assert done.returncode == 0, done.stderr
    again = run("-c", ANSWER, package / "run", env=env)
    assert again.returncode == 0, again.stderr
    assert pd.read_parquet(package / "run" / "predictions.parquet")["predicted"].between(0, 100).all()
    return package / "run"


def test_the_network_on_the_page_is_trained_saved_exported_and_answers_again(package: Path) -> None:
    folder = trained(package, "--predictor.epochs=2")
    wanted = pd.read_parquet(folder / "predictions.parquet")
    first = wanted[wanted["key"] == wanted["key"].iloc[0]].drop_duplicates("device")
    done = run("-c", WITHOUT, folder / "predictor.onnx", first["key"].iloc[0])  # without the package and without torch
    assert done.returncode == 0, done.stderr
    assert [*map(float, done.stdout.split())] == pytest.approx(first["predicted"].tolist(), rel=1e-4)


def test_the_predictor_of_arrays_on_the_page_is_trained_saved_and_answers_again(package: Path) -> None:
    folder = trained(package, "--predictor=mypackage.alike.Alike", "--predictor.most=3")
    assert not (folder / "predictor.onnx").exists()


FAULTY = """
from dataclasses import dataclass, field
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from predictors.base import Predictor
from predictors.neural import NeuralPredictor
import torch

class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (x * self.weight).sum(1)

@dataclass
class WrongShape(NeuralPredictor):
    encoder: VectorEncoder = field(default_factory=CellOneHot)
    epochs: int = 1
    def _network(self, x, outputs):
        return Flat()

class NoFields(NeuralPredictor):
    def _network(self, x, outputs):
        return Flat()

@dataclass
class NoState(Predictor):
    def fit(self, train, val=None, log=None):
        return self
    def predict_all(self, archs, chunk=0):
        return None
"""


def test_a_faulty_class_is_one_sentence_that_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measurements: Measurements, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faulty_plugin.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GNOMON_PLUGINS", "faulty_plugin")
    faulty = importlib.import_module("faulty_plugin")
    with pytest.raises(
        InputError, match=r"Flat.forward returns .* \[32\] for labels \[architectures, devices\] of .* \[32, 2\]"
    ):
        faulty.WrongShape().fit(measurements)
    with pytest.raises(InputError, match="NoFields needs a field `encoder` with a default, and @dataclass above"):
        faulty.NoFields().fit(measurements)
    for name, sentence in (
        ("NoState", "faulty_plugin.NoState lacks restore, state, so it cannot be used"),
        ("NoStat", "There is no class 'faulty_plugin.NoStat'; did you mean 'faulty_plugin.NoState'?"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(train, prog="train.py", arguments=["--predictor", f"faulty_plugin.{name}"])
        assert sentence in capsys.readouterr().err
