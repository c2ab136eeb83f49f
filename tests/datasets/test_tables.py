"""The bundled tables, and how a person adds a device of their own."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.figures import write_figure
from datasets.layer_figures import layers_against_work, of_layers
from datasets.measured import Measured
from datasets.records import Measurements
from datasets.spaces import parse_space
from tests.conftest import ROOT, run
from tests.doubles.toy_layers import DEVICES, table

TABLES = sorted((ROOT / "datasets" / "bundled").glob("*.parquet"))
CELLS = "nasbench201(cells=1)"
PUBLIC = ("networks", "networks_milan", "runtimes_milan", "sizes_milan")


def test_a_new_device_is_a_data_set_without_a_line_of_code(tmp_path: Path) -> None:
    """`measure host`, `measure run`, `measure table`, then train.py, as the README says it."""
    journal, table, out = tmp_path / "journal.jsonl", tmp_path / "mine.parquet", tmp_path / "run"
    for command in (
        ["-m", "measure", "host", "--name", "mine", "--folder", tmp_path],
        ["-m", "measure", "run", "--space", CELLS, "--backend", "ort", "--limit", 12, "--host", "mine",
         "--devices", tmp_path, "--journal", journal],
        ["-m", "measure", "table", "--journal", journal, "--unstable", "true", "--out", table],  # a busy machine's, too
        ["train.py", "--data", "datasets.measured.Measured", "--data.path", table,
         "--split", "configs/splits/held_out_architectures.yaml", "--predictor", "configs/predictors/flops.yaml",
         "--out", out],
    ):  # fmt: skip
        done = run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    (device,) = Measured(table).measurements().devices
    assert device.name == "mine_ort_fp32_1" and device.features["peak_gflops"] > 0
    assert json.loads((out / "metrics.json").read_text())
    priced = run("-m", "predictors", "predict", out / "predictor.onnx", "--device", device.name,
                 "--arch", Measured(table).measurements().architectures.keys[0])  # fmt: skip
    assert priced.returncode == 0 and float(priced.stdout.split()[-2 if "ms" in priced.stdout else -1]) > 0


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_bundled_table_has_a_plan_and_sound_values(path: Path) -> None:
    m = Measured(path).measurements()
    assert len(set(m.architectures.keys)) == len(m.architectures) and (m.table["value"] > 0).all()
    if m.devices:
        plan = (ROOT / "configs" / "campaigns" / path.name).with_suffix(".yaml")
        assert plan.is_file() or path.stem in PUBLIC  # which studies.tables.networks measures
        assert all(device.features and np.isfinite(list(device.features.values())).all() for device in m.devices)


def test_the_readme_names_every_table_and_device() -> None:
    text = (ROOT / "datasets" / "bundled" / "README.md").read_text()
    for path in TABLES:
        assert f"`{path.name}`" in text
        for device in Measured(path).measurements().devices:
            assert device.name.partition("_")[2].rpartition("_")[0] in text, "runtime and precision, of any batch"


def test_tables_of_layers_are_drawn_against_their_work_others_are_not(tmp_path: Path) -> None:
    small = {name: Measured(ROOT / f"datasets/bundled/{name}.parquet").measurements() for name in ("dense", "zoo")}
    softmax = parse_space("softmax").sample(12, np.random.default_rng(0))
    small["softmax"] = table(softmax, {"latency_ms": np.linspace(1, 2, 24).reshape(12, 2)}, "softmax", DEVICES)
    small["both"] = Measurements.concat([small["dense"].where(archs=np.arange(9)), small["softmax"]], "both")
    assert {name for name, m in small.items() if of_layers(m)} == {"dense", "softmax", "both"}
    for name in ("softmax", "both"):
        figure = layers_against_work(small[name], "latency_ms")
        drawn = sum(len(line.get_xdata()) for axes in figure.axes for line in axes.lines)
        assert drawn == 24, name  # dense layers have another metric
        write_figure(figure, tmp_path / f"{name}.png")
