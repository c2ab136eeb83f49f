"""The pricer that comes with Gnomon, and the trees that it is made of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from datasets.files.checkpoint import read_checkpoint, write_checkpoint
from datasets.networks.reading import read_model
from datasets.records import InputError, Networks
from datasets.spaces.convnet import ConvNet
from datasets.spaces.nasbench201 import NasBench201
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from predictors.base import Predictor
from predictors.compact_trees import CompactTrees
from predictors.config import from_config, to_config
from predictors.export import OnnxPredictor, export
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import LAYERS, Learnt
from predictors.networks.operations import OPERATIONS
from predictors.networks.shipped import PRICER, load, with_pricer
from predictors.networks.table_files import fastest_references, layer_tables, read_tables
from predictors.regressor import Regressor
from predictors.trees import XGBoost
from tests.conftest import ROOT, made_up, run

SPACE = NasBench201()
RUNTIMES = ("ort", "litert", "openvino")


@pytest.fixture(scope="module")
def pricer() -> LayerSum:
    return load()


def test_the_pricer_is_small_and_of_the_bundled_tables_and_configuration(pricer: LayerSum) -> None:
    """Whoever changes a table or the configuration runs `make pricer`."""
    assert PRICER.stat().st_size <= 2_000_000
    bundled, networks = ROOT / "datasets" / "bundled", ("zoo", "convnet", "networks")
    references = fastest_references(bundled)
    used = layer_tables(bundled, LAYERS, OPERATIONS, references=references)
    used |= dict(zip(networks, read_tables(bundled, networks, references=references), strict=True))
    assert pricer.metadata_["tables"] == {name: m.fingerprint() for name, m in used.items()}, "run make pricer"
    tree = yaml.safe_load((ROOT / "configs/predictors/layer_trees_compact.yaml").read_text())
    assert to_config(pricer) == to_config(LayerSum(Learnt.with_layer(from_config(tree, Regressor)))), "run make pricer"
    full = yaml.safe_load((ROOT / "configs/predictors/layer_trees.yaml").read_text())
    assert full["init_args"] | {"trees": tree["init_args"]["trees"]} == tree["init_args"]
    errors = pricer.metadata_["errors"]
    assert set(errors) == {device.name for device in pricer.devices_}
    layered = {name: row for name, row in errors.items() if row.keys() >= set(LAYERS)}
    assert set(layered) == {f"{host}_{runtime}_fp32_1" for host in ("milan", "genoa") for runtime in RUNTIMES}
    assert all(0 < row[kind] < 0.5 for row in layered.values() for kind in LAYERS)
    assert all(row["networks"] < 0.15 for row in layered.values())
    assert {f"milan_{runtime}_int8_1" for runtime in RUNTIMES} <= set(errors)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of a random network of more than forty layers."""
    networks = (ConvNet().expand(arch) for arch in ConvNet().sample(50, np.random.default_rng(0)))
    network = next(network for network in networks if len(network.ops) > 40)
    path = tmp_path_factory.mktemp("file") / "network.onnx"
    path.write_bytes(build_onnx(network, make_weights(network)).SerializeToString())
    return path


def test_a_file_is_priced_without_torch_xgboost_or_a_training(file: Path, pricer: LayerSum) -> None:
    code = "import sys, runpy; sys.argv[1:] = sys.argv[1:]; runpy.run_module('predictors', run_name='__main__');"
    code += (
        "print(sorted({'torch', 'xgboost', 'sklearn', 'lightning', 'matplotlib', 'onnxruntime'} & set(sys.modules)))"
    )
    device = pricer.devices_[0]
    done = run("-c", code, "predict", "--network", file, "--device", device.name)
    network = read_model(str(file), weights=False).network
    assert done.returncode == 0 and done.stdout.endswith("\n[]\n"), done.stderr
    named = run("-m", "predictors", "predict", PRICER, "--network", file, "--device", device.name)
    assert done.stdout == named.stdout + "[]\n"
    (ms,) = pricer.predict(Networks([network]), device)
    assert f"{ms:.4g} ms" in done.stdout


def test_the_pricer_is_named_only_where_no_file_is() -> None:
    own = [str(PRICER)]
    for words, wanted in (
        (["predict", "--network", "x.onnx"], ["predict", *own, "--network", "x.onnx"]),
        (["predict", "--device=d", "--network=x.onnx"], ["predict", *own, "--device=d", "--network=x.onnx"]),
        (["predict", "p.pt", "--network", "x.onnx"], None),
        (["predict", "--network", "x.onnx", "p.pt"], None),
        (["predict", "--device=d", "p.pt", "--network", "x.onnx"], None),
        (["predict", "--arch", "x"], None),
        (["score", "--network", "x"], None),
        ([], None),
    ):
        assert with_pricer(words) == (wanted or words)


@pytest.fixture(scope="module")
def both() -> tuple[CompactTrees, XGBoost]:
    m = made_up(SPACE.sample(100, np.random.default_rng(0)))
    settings: dict[str, Any] = {"trees": 60, "depth": 5, "columns": 0.5}
    return CompactTrees(**settings).fit(m), XGBoost(**settings).fit(m)


def test_compact_trees_predict_what_those_of_xgboost_do(both: tuple[CompactTrees, XGBoost], tmp_path: Path) -> None:
    compact, full = both
    archs = SPACE.sample(700, np.random.default_rng(1))
    np.testing.assert_allclose(compact.predict_all(archs), full.predict_all(archs), rtol=1e-3)
    compact.save(tmp_path / "compact.pt")
    again = Predictor.load(tmp_path / "compact.pt")
    assert np.array_equal(again.predict_all(archs), compact.predict_all(archs))
    assert (
        np.array_equal(again.predict_all(archs, 3), compact.predict_all(archs))
        and not again.predict_all(archs[:0]).size
    )
    export(compact, tmp_path / "compact.onnx")
    np.testing.assert_allclose(OnnxPredictor.load(tmp_path / "compact.onnx").predict_all(archs),
                               compact.predict_all(archs), rtol=1e-4)  # fmt: skip
    with pytest.raises(InputError, match="depth of at most 10, not 11; use XGBoost"):
        replace(compact, depth=11)


EDITS: dict[str, Callable[[Any], Any]] = {
    "a node beyond the cuts": lambda s: s["nodes"].__setitem__((0, 0, 0), 30_000),
    "a node before the cuts": lambda s: s["nodes"].__setitem__((0, 0, 0), -1),
    "a feature beyond the encoder's": lambda s: s["features"].__setitem__(0, 30_000),
    "a feature before the first": lambda s: s["features"].__setitem__(0, -1),
    "a tree less": lambda s: s.update(nodes=s["nodes"][:, 1:]),
    "a device less": lambda s: s.update(nodes=s["nodes"][1:]),
    "incomplete trees": lambda s: s.update(nodes=s["nodes"][:, :, :4], leaves=s["leaves"][:, :, :5]),
    "a cut less": lambda s: s.update(thresholds=s["thresholds"][1:]),
    "a threshold that is no number": lambda s: s["thresholds"].__setitem__(0, np.nan),
    "an endless step": lambda s: s["steps"].__setitem__(0, np.inf),
    "leaves that are no numbers": lambda s: s.update(leaves="x"),
    "no leaves": lambda s: s.pop("leaves"),
}


@pytest.mark.parametrize("what", EDITS)
def test_edited_trees_are_refused_in_one_sentence(
    what: str, both: tuple[CompactTrees, XGBoost], tmp_path: Path
) -> None:
    both[0].save(tmp_path / "edited.pt")
    content = read_checkpoint(tmp_path / "edited.pt")
    EDITS[what](content["state"])
    write_checkpoint(content, tmp_path / "edited.pt")
    with pytest.raises(InputError, match="weights in .* do not fit its configuration"):
        Predictor.load(tmp_path / "edited.pt")


def test_a_damaged_pricer_is_one_sentence(tmp_path: Path, file: Path) -> None:
    content = bytearray(PRICER.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.pt").write_bytes(content)
    done = run("-m", "predictors", "predict", tmp_path / "damaged.pt", "--network", file)
    assert done.returncode == 2 and "truncated, or not a predictor" in done.stderr and done.stderr.count("\n") == 1
