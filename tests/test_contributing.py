"""The predictor that CONTRIBUTING.md shows is run as it stands there."""

import re
from pathlib import Path

import pandas as pd

from tests.conftest import ROOT, run

ANSWER = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from predictors.export import load_predictor
wanted = pd.read_parquet(Path(sys.argv[1]) / "predictions.parquet")
for name in ("predictor.pt", "predictor.onnx"):
    predictor = load_predictor(Path(sys.argv[1]) / name)
    for device in predictor.devices_:
        rows = wanted[wanted["device"] == device.name]
        got = predictor.predict(predictor.space_.parse(list(rows["key"])), device)
        np.testing.assert_allclose(got, rows["predicted"], rtol=1e-4)
"""


def test_the_predictor_on_the_page_is_trained_saved_exported_and_answers_again(tmp_path: Path) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (code,), (command,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "sh"))
    assert len(code.splitlines()) <= 31
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").touch()
    (tmp_path / "mypackage" / "two_hops.py").write_text(code)
    setting, python, *arguments = command.replace("\\\n", " ").split()
    assert (setting, python, arguments[-2:]) == ("GNOMON_PLUGINS=mypackage", "python", ["--out", "runs/two_hops"])
    env = {"GNOMON_PLUGINS": "mypackage", "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    fewer = ("--predictor.epochs=2", "--split.train=40", "--split.val=20", "--split.test=20")
    done = run(*arguments[:-1], tmp_path / "run", *fewer, env=env)
    assert done.returncode == 0, done.stderr
    again = run("-c", ANSWER, tmp_path / "run", env=env)
    assert again.returncode == 0, again.stderr
    assert pd.read_parquet(tmp_path / "run" / "predictions.parquet")["predicted"].between(0, 100).all()
