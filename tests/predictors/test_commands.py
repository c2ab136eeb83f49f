"""Commands as a user types them: what they write, and the sentence they say when something is wrong."""

import json
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml

import train
from datasets.measured import Measured
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from datasets.splits import Random
from predictors.base import Predictor
from predictors.export import OnnxPredictor, export
from predictors.linear import Linear
from predictors.metrics import METRICS
from tests.conftest import ROOT, run

RUN_FILES = {"config.yaml", "predictor.pt", "predictor.onnx", "metrics.json", "predictions.parquet", "report.html"}
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two run folders on the bundled table: a constant and a line on FLOPs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("mean", "flops"):
        done = run("train.py", "--predictor", f"configs/predictors/{name}.yaml", "--out", folder / name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def compared(runs: Path) -> str:
    done = run("-m", "predictors", "compare", runs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_folder_is_whole_and_its_rows_have_their_columns(runs: Path) -> None:
    assert {path.name for path in (runs / "flops").iterdir()} == RUN_FILES
    rows = json.loads((runs / "flops" / "metrics.json").read_text())
    about = "dataset set predictor device shots draw seed cells n fit_cpu_s predict_cpu_s"
    columns = {*about.split(), *METRICS}
    assert all(set(row) == columns for row in rows)
    devices = len(Measured().measurements().devices)
    assert len({(row["set"], row["cells"], row["device"]) for row in rows}) == len(rows) == 2 * 2 * devices
    predictions = pd.read_parquet(runs / "flops" / "predictions.parquet")
    for row in rows:
        if row["cells"] == "all":
            part = predictions[(predictions["set"] == row["set"]) & (predictions["device"] == row["device"])]
            assert len(part) == row["n"]
            assert np.abs(part["predicted"] - part["measured"]).mean() == pytest.approx(row["mae"])
    page = (runs / "flops" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page


def test_a_run_is_repeated_by_its_configuration(runs: Path, tmp_path: Path) -> None:
    done = run("train.py", "--config", runs / "flops" / "config.yaml", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    first, second = (pd.read_parquet(folder / "predictions.parquet") for folder in (runs / "flops", tmp_path / "again"))
    pd.testing.assert_frame_equal(first, second)


def test_compare_ranks_by_validation_and_puts_the_undefined_last(runs: Path, compared: str) -> None:
    lines = [line.split()[0] for line in compared.splitlines() if line.strip().startswith(("flops", "mean"))]
    assert lines == ["flops", "mean"]
    assert "undefined" in compared and "best:     flops" in compared and str(runs / "best.onnx") in compared
    assert (runs / "best.onnx").read_bytes() == (runs / "flops" / "predictor.onnx").read_bytes()
    rows = json.loads((runs / "summary.json").read_text())
    assert {row["predictor"] for row in rows} == {"flops", "mean"}
    assert all(row["spearman"] is None for row in rows if row["predictor"] == "mean")
    assert "Ranking" in (runs / "report.html").read_text()


def test_the_exported_best_answers_without_torch(runs: Path, compared: str) -> None:
    device = json.loads((runs / "summary.json").read_text())[0]["device"]
    code = (
        "import runpy, sys; sys.argv = ['predictors', *sys.argv[1:]]\n"
        "try: runpy.run_module('predictors', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    done = run("-c", code, "predict", runs / "best.onnx", "--device", device, "--arch", CELL)
    assert re.fullmatch(r"\d+\.?\d* ms\nFalse\n", done.stdout), done.stdout + done.stderr
    # and onnxruntime alone says the same: the inverse scale is inside
    session = onnxruntime.InferenceSession(runs / "best.onnx")
    (name,) = (i.name for i in session.get_inputs())
    flops = NasBench201().totals(NasBench201().parse([CELL]))[["flops"]].to_numpy(np.float32) / np.float32(1e6)
    devices = [d["name"] for d in json.loads(session.get_modelmeta().custom_metadata_map["gnomon"])["devices"]]
    milliseconds = session.run(["latency_ms"], {name: flops})[0][0, devices.index(device)]
    assert float(done.stdout.split()[0]) == pytest.approx(milliseconds, rel=1e-5)


def test_show_and_export(runs: Path, tmp_path: Path) -> None:
    for file in ("predictor.pt", "predictor.onnx"):
        shown = yaml.safe_load(run("-m", "predictors", "show", runs / "flops" / file).stdout)
        assert shown["predictor"]["class_path"] == "predictors.linear.Linear" and shown["unit"] == "ms"
        assert len(shown["scores"]) == 2 * len(shown["devices"]) and shown["dataset"] == "nasbench201"
        assert not re.search(r"\d\.\d{6}", str(shown["scores"]) + str(shown["scale"]))
        assert shown["split"]["init_args"]["test"] == "all others"
    done = run("-m", "predictors", "export", runs / "flops" / "predictor.pt", tmp_path / "out.onnx")
    assert done.returncode == 0 and (tmp_path / "out.onnx").exists(), done.stderr


def test_a_run_that_has_another_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "mean-data=toaster").mkdir()
    (tmp_path / "mean-data=toaster" / "predictor.pt").touch()
    with pytest.raises(InputError, match=r"mean/predictor.pt; there is .*mean-data=toaster/predictor.pt; name"):
        Predictor.load(tmp_path / "mean" / "predictor.pt")


def test_a_whole_space_is_scored(runs: Path, compared: str, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    done = run("-m", "predictors", "score", runs / "best.onnx", out, "--limit", "300")
    assert done.returncode == 0 and "300 architectures of nasbench201" in done.stdout, done.stderr
    table, predictor = pd.read_parquet(out), OnnxPredictor.load(runs / "best.onnx")
    archs = NasBench201().all()[:300]
    assert list(table) == ["key", *(device.name for device in predictor.devices_)]
    assert list(table["key"]) == archs.keys
    np.testing.assert_allclose(table.drop(columns="key"), predictor.predict_all(archs), rtol=1e-6)


def test_predictions_of_a_file_of_cells(runs: Path, tmp_path: Path) -> None:
    keys = NasBench201().sample(5, np.random.default_rng(0)).keys
    (tmp_path / "cells.txt").write_text("\n".join(keys) + "\n")
    device = pd.read_parquet(runs / "flops" / "predictions.parquet")["device"][0]
    outputs = [
        run("-m", "predictors", "predict", runs / "flops" / file, "--device", device, "--archs", tmp_path / "cells.txt")
        for file in ("predictor.pt", "predictor.onnx")
    ]
    left, right = ([float(line.split()[0]) for line in done.stdout.splitlines()] for done in outputs)
    assert len(left) == 5
    np.testing.assert_allclose(left, right, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--predictor", "configs/predictors/gcn.yaml", "--predictor.hiden", "3"],
         "GCN has no field 'hiden'; did you mean 'hidden'? Its fields are metric, scale,"),
        (["--predictor", "configs/predictors/gcn.yaml", "--predictor.hidden", "wide"],
         "field 'hidden': Expected a value of type int. Got value: wide."),
        (["--predictor", "predictors.gcn.GNN"],
         "There is no class 'predictors.gcn.GNN'; did you mean 'predictors.gcn.GCN'?"),
        (["--predictor", "configs/predictors/gcn.yaml", "--predictor.encoder", "encoders.cell.CellOneHot"],
         "encoders.cell.CellOneHot does not correspond to a subclass of GraphEncoder."),
        (["--predictor", "configs/predictors/flops.yaml", "--split.train", "many"],
         "field 'train': Expected a value of type float. Got value: many."),
        (["--predictor", "configs/predictors/flops.yaml", "--split.train", "null"],
         "HeldOutArchitectures: field 'train' may not be null; give it a value"),
        (["--predictor", "configs/predictors/none.yaml"], "There is no file configs/predictors/none.yaml."),
        (["--predictr", "x"], "unrecognized arguments: --predictr x."),
        (["--predictor", "configs/predictors/flops.yaml", "--data.path", "absent.parquet"],
         "There is no file absent.parquet; `python -m measure table --out absent.parquet` writes one."),
        (["--predictor", "configs/predictors/flops.yaml", "--split.train", "999999"],
         "does not fit 1020 architectures: it asks for 999999 + 102 +"),
    ],
)  # fmt: skip
def test_bad_flags_are_refused_in_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = run("train.py", *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sentence in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("class_path: predictors.gcn.GCN\ninit_args: {hiden: 3}", "GCN has no field 'hiden'; did you mean 'hidden'?"),
        ("class_path: predictors.gcn.GCN\ninit_args: {hidden: wide}", "Expected a value of type int. Got value: wide."),
        ("class_path: predictors.gcn.GNN", "There is no class 'predictors.gcn.GNN'"),
        ("class_path: datasets.splits.Random", "it is not what is asked for here"),
        ("class_path: [", "is not valid YAML"),
        ("hidden: 3", "it names no class; begin it with class_path"),
    ],
)
def test_bad_configuration_files_are_refused_in_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    done = run("train.py", "--predictor", tmp_path / "bad.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert sentence in done.stderr and "bad.yaml" in done.stderr


def test_a_run_folder_is_not_overwritten_unasked(runs: Path) -> None:
    done = run("train.py", "--predictor", "configs/predictors/mean.yaml", "--out", runs / "flops")
    assert done.returncode == 2 and "is already there; name another --out" in done.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--device", "phone", "--arch", CELL], "There is no device 'phone' here; known are"),
        (["--arch", CELL], "Name a device with --device"),
        (
            ["--device", "@", "--arch", CELL.replace("avg_pool_3x3", "max_pool_3x3")],
            "'max_pool_3x3' in .* is not an op",
        ),
        (["--device", "@", "--arch", CELL[:-1]], "is not a NAS-Bench-201 cell; write one like"),
        (["--device", "@"], "Name one architecture with --arch"),
        (["--device", "@", "--archs", "absent.txt"], "There is no file absent.txt"),
    ],
)
def test_bad_questions_are_refused_in_words(runs: Path, compared: str, arguments: list[str], sentence: str) -> None:
    device = pd.read_parquet(runs / "flops" / "predictions.parquet")["device"][0]
    arguments = [device if a == "@" else a for a in arguments]
    done = run("-m", "predictors", "predict", runs / "best.onnx", *arguments)
    assert done.returncode == 2 and re.search(sentence, done.stderr) and "Traceback" not in done.stderr, done.stderr


def test_runs_of_different_data_sets_are_not_compared(runs: Path, tmp_path: Path) -> None:
    rows = json.loads((runs / "flops" / "metrics.json").read_text())
    for name, dataset in (("a", "one"), ("b", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps([{**row, "dataset": dataset} for row in rows]))
    done = run("-m", "predictors", "compare", tmp_path)
    assert done.returncode == 2 and "are of different data sets (one, two)" in done.stderr
    done = run("-m", "predictors", "compare", ROOT / "docs")
    assert done.returncode == 2 and "There is no run in" in done.stderr


@pytest.mark.parametrize("fault", ["no rows", "old rows", "no predictions", "cut predictions", "old predictions"])
def test_a_damaged_or_older_run_folder_is_one_sentence(runs: Path, tmp_path: Path, fault: str) -> None:
    shutil.copytree(runs / "flops", tmp_path / "flops")
    metrics, predictions = tmp_path / "flops" / "metrics.json", tmp_path / "flops" / "predictions.parquet"
    if fault == "no rows":
        metrics.write_text("[]")
    elif fault == "old rows":
        metrics.write_text(json.dumps([{"dataset": "bundled", "predictor": "flops"}]))
    elif fault == "no predictions":
        predictions.unlink()
    elif fault == "cut predictions":
        predictions.write_bytes(predictions.read_bytes()[:500])
    else:
        pd.read_parquet(predictions).drop(columns="metric").to_parquet(predictions)
    done = run("-m", "predictors", "compare", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert re.search(r"error: .*flops.* train this run again", done.stderr), done.stderr


@pytest.mark.parametrize("error", [NotImplementedError(), ValueError("a bug of a to_onnx")])
def test_a_fit_is_not_lost_where_its_export_fails(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def to_onnx(self: Linear, x: dict) -> None:
        raise error

    def fit(overwrite: bool = False) -> str:
        place = train.Place(tmp_path / "runs")
        return train.train(Measured(), Random(40, 20, 20), Linear(), place=place, name="line", overwrite=overwrite)

    assert fit() == "done"
    whole = tmp_path / "runs" / "line"
    assert {path.name for path in whole.iterdir()} == RUN_FILES
    monkeypatch.setattr(Linear, "to_onnx", to_onnx)
    capsys.readouterr()
    if isinstance(error, NotImplementedError):
        assert fit(overwrite=True) == "done"
        assert "without predictor.onnx: A Linear has no ONNX form; keep its predictor.pt." in capsys.readouterr().out
        with pytest.raises(InputError, match="A Linear has no ONNX form"):
            export(Predictor.load(whole / "predictor.pt"), tmp_path / "p.onnx")
    else:
        with pytest.raises(ValueError, match="a bug of a to_onnx"):
            fit(overwrite=True)
        assert f"finished: {whole}" in capsys.readouterr().out
    assert {path.name for path in whole.iterdir()} == RUN_FILES - {"predictor.onnx"}
    assert fit() == "complete"


@pytest.mark.parametrize("limit", [200, 6_000, 40_000])
def test_a_disk_that_fills_up_loses_nothing(runs: Path, limit: int) -> None:
    """Files may not grow beyond a limit: the system's own error, at whichever file comes to it."""
    before = {path.name: path.read_bytes() for path in (runs / "flops").iterdir()}
    done = run("train.py", "--config", runs / "flops" / "config.yaml", "--overwrite", "true",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
               env={"PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    assert done.returncode == 2 and "error:" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert {path.name: path.read_bytes() for path in (runs / "flops").iterdir()} == before
    assert not [path for path in runs.iterdir() if path.name.startswith(".")]
