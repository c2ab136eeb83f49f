"""The predictors that CONTRIBUTING.md shows are run as they stand there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, run

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
    assert (trained(package, "--predictor.epochs=2") / "predictor.onnx").is_file()


def test_the_predictor_of_arrays_on_the_page_is_trained_saved_and_answers_again(package: Path) -> None:
    folder = trained(package, "--predictor=mypackage.alike.Alike", "--predictor.most=3")
    assert not (folder / "predictor.onnx").exists()
