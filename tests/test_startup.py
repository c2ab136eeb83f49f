"""How little commands import, and how few CPU-seconds faulty input and a price take."""

import resource
import shlex
from pathlib import Path

import numpy as np
import pytest

from datasets.spaces.nasbench201 import NasBench201
from predictors.gcn import GCN
from tests.conftest import made_up, run

HEAVY = {"torch", "tensorflow", "keras", "jax", "lightning", "torch_geometric", "xgboost", "sklearn", "scipy", "pandas",
         "pyarrow", "matplotlib", "onnxruntime", "openvino", "nncf", "ai_edge_litert", "wandb"}  # fmt: skip
CODE = """
import runpy, sys
module = sys.argv[1] == "-m"
sys.argv = sys.argv[2 if module else 1 :]
sys.path.insert(0, "")
try:
    (runpy.run_module if module else runpy.run_path)(sys.argv[0], run_name="__main__")
finally:
    print("LOADED", *sorted(sys.modules), file=sys.stderr)
"""

ERRORS = """
-m predictors predict {none}.pt --arch x
-m predictors predict {broken}.pt --arch x
-m predictors predict --network {none}.onnx --device milan_ort_fp32_1
-m predictors predict --network {broken}.onnx --device milan_ort_fp32_1
-m predictors predict --network zoo:nosuch --device milan_ort_fp32_1
-m predictors predict --network zoo:lenet5 --device nosuch
-m predictors predict --nosuch 3
-m predictors predict {net}.pt --arch x --device toy_0
-m predictors predict {net}.pt --arch x --device nosuch
-m predictors predict {net}.pt --network zoo:lenet5
-m predictors nosuch
-m predictors layerwise --tables {none}
-m predictors score {none}.pt {none}.parquet
-m predictors export {none}.pt {none}.onnx
-m predictors show {none}.pt
-m predictors choose {none}.pt
-m predictors adapt {none}.pt {none}.parquet
-m predictors compare {none}
-m predictors summarise {none}
-m predictors transfer --nosuch 3
-m datasets show {none}.onnx
-m datasets show {broken}.onnx
-m datasets describe {none}.csv
-m datasets describe {none}.parquet
-m datasets fetch nosuch
-m datasets enumerate nosuch
-m datasets leti --nosuch
-m measure run --nosuch 3
-m measure run --space nosuch
-m measure run --backend nosuch --limit 1
-m measure run --onnx {none}.onnx --backend ort
-m measure table --journal {none}.jsonl --out {none}.parquet
-m measure lookup --space zoo --arch nosuch
-m measure build --arch nosuch
-m measure timeline --arch zoo:lenet5 --backend nosuch
-m measure campaign --plan {none}.yaml --out {none}.parquet
-m measure accuracy --limit 0
-m measure doctor --nosuch 3
-m measure host --name ../x
-m search bisect --accuracy {none}.parquet --latency ort --proxy {none}.pt --budget-ms 5
-m search evolve --accuracy {none}.parquet --latency {none}.parquet --budget-ms 5
-m search exhaustive --nosuch 3
-m search netadapt --network nosuch --lut {none}.parquet
-m search optimize --nosuch 3
-m search layers --network nosuch
-m gnomon check {none}.onnx --against {none}.onnx
-m gnomon check zoo:lenet5 --against {none}.onnx
-m gnomon check {none}.onnx --budget-ms 20
-m gnomon check {broken}.onnx --nosuch 3
-m gnomon check zoo:lenet5
-m gnomon compare {none}.onnx
-m gnomon compare zoo:lenet5 --predictor {none}.pt
-m gnomon decide {none}.onnx --device milan
-m gnomon decide zoo:lenet5 --predictor {none}.pt
-m gnomon price {none}.onnx --all
-m gnomon curves {none}.onnx
-m gnomon tokens {none}.onnx
-m gnomon tokens nosuch
-m gnomon advise {none}.onnx
-m gnomon advise zoo:lenet5 --number 0
-m gnomon nosuch
train.py --predictor {none}.yaml --out {none}
train.py --predictor configs/predictors/gcn.yaml --predictor.hiden 3 --out {none}
train.py --predictor configs/predictors/sage.yaml --predictor.hidden wide --out {none}
train.py --predictor configs/predictors/gcn.yaml --data {none}.parquet --out {none}
train.py --predictor configs/predictors/gcn.yaml --data {none}.csv --out {none}
train.py --sweep {none}.yaml
"""
"""Command lines with faults, one or more a command."""


def imported(*words: object) -> tuple[int, str, set[str]]:
    """Exit status of a command line of Python, its output on stderr, and the heavy modules that it imported."""
    done = run("-c", CODE, *words)
    text, _, names = done.stderr.rpartition("LOADED")
    return done.returncode, text, HEAVY & set(names.split())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for suffix in ("pt", "onnx"):
        (folder / f"broken.{suffix}").write_text("nonsense")
    GCN(hidden=4, layers=1, epochs=1).fit(made_up(NasBench201().sample(20, np.random.default_rng(0)))).save(
        folder / "net.pt"
    )
    return {name: folder / name for name in ("none", "broken", "net")}


@pytest.mark.parametrize("line", ERRORS.strip().splitlines())
def test_faulty_input_is_one_sentence_before_anything_heavy_is_imported(line: str, files: dict[str, Path]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status, text, heavy = imported(*shlex.split(line.format(**files)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (status, heavy, text.count("\n")) == (2, set(), 1) and text.startswith("error: "), (text, heavy)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 3  # a half on an idle machine


def test_help_and_show_and_doctor_import_no_runtime(files: dict[str, Path]) -> None:
    for line in (
        "-m predictors --help",
        "-m datasets --help",
        "-m measure --help",
        "-m search --help",
        "-m gnomon --help",
        "train.py --help",
    ):
        status, _, heavy = imported(*line.split())
        assert (status, heavy) == (0, set()), line
    status, _, heavy = imported("-m", "predictors", "show", "predictors/networks/pricer.pt")
    assert (status, heavy) == (0, set())
    status, _, heavy = imported("-m", "measure", "doctor")
    assert status == 0 and heavy <= {"onnxruntime", "openvino"}
