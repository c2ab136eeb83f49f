"""One predictor for layers, cells and whole networks: `python -m predictors networks`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.records import InputError, Networks
from datasets.spaces import parse_space
from encoders.cell import CellOneHot
from predictors.base import Predictor, Uncertain
from predictors.commands.learning import adapt, choose
from predictors.graph_net import GraphNet
from predictors.networks.price_request import Shown, Wanted
from predictors.networks.pricing import predict_networks
from predictors.networks.together import learnt_together, one_for_all, together
from predictors.relaxed import Relaxed
from search.__main__ import bisect, exhaustive
from search.optimizer.__main__ import OptimizerTraining, optimize
from search.task import Requirements
from tests.conftest import ROOT, made_up, run

BUNDLED = ROOT / "datasets" / "bundled"
DEVICE = "milan_ort_fp32_1"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("together") / "predictor.pt"
    learner = one_for_all()
    learner.source = GraphNet(epochs=4, hidden=16, layers=1)
    tables = together(BUNDLED, ["zoo", "convnet", "convolution"], [DEVICE, "milan_openvino_fp32_1"], 30, 0)
    learnt_together(tables, learner, lambda message, **numbers: None).save(path)
    return path


def test_tables_of_layers_cells_and_networks_are_one_table_of_run_times() -> None:
    tables = together(BUNDLED, ["zoo", "convolution", "nasbench201"], [], 20, 0)
    assert set(tables.train.table["metric"]) == {"latency_ms"}
    assert {name: len(m.architectures) for name, m in tables.held.items()} == {
        "zoo": 1, "convolution": 2, "nasbench201": 2,
    }  # fmt: skip
    train = set(tables.train.architectures.keys)
    assert len(train) == 8 + 18 + 18
    assert all(train.isdisjoint(m.architectures.keys) for m in tables.held.values())


def test_a_table_without_the_devices_is_refused() -> None:
    with pytest.raises(InputError, match=r"nasbench201\.parquet has no times of runs on these devices; leave it out"):
        together(BUNDLED, ["zoo", "nasbench201"], [DEVICE], 20, 0)


def test_it_predicts_architectures_of_any_space(saved: Path) -> None:
    predictor = Predictor.load(saved)
    for name in ("nasbench201", "convnet", "zoo", "convolution"):
        archs = parse_space(name).sample(3, np.random.default_rng(0))
        ms = predictor.predict_all(archs)
        assert ms.shape == (3, 2) and (ms > 0).all()
        np.testing.assert_allclose(predictor.predict_all(Networks.of(archs)), ms, rtol=1e-5)


def test_it_chooses_adapts_and_prices_with_an_interval(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    space, pool = parse_space("convnet"), tmp_path / "pool.txt"
    pool.write_text("\n".join(space.format(space.sample(20, np.random.default_rng(0)))))
    choose(saved, n=3, archs=pool)
    keys = capsys.readouterr().out.split()
    assert len(keys) == 3
    table, adapted = tmp_path / "mine.csv", tmp_path / "mine.pt"
    rows = [f'"{key}",{ms}' for key, ms in zip(keys, (3.0, 5.0, 4.0), strict=True)]
    table.write_text("\n".join(["key,value_ms", *rows]))
    adapt(saved, str(table), adapted, "mine")
    assert isinstance(Predictor.load(adapted), Uncertain)
    priced = run("-m", "predictors", "predict", adapted, "--network", "zoo:squeezenet", "--level", "0.9")
    assert priced.returncode == 0 and "squeezenet on mine" in priced.stdout and "38 layers" in priced.stdout
    assert "conv+relu 7/2 3x224x224 -> 96x109x109" in priced.stdout, priced.stderr
    check_layers(adapted, capsys)


def check_layers(file: Path, capsys: pytest.CaptureFixture, device: str = "") -> None:
    capsys.readouterr()
    predict_networks(Predictor.load(file), str(file), Wanted(("zoo:mobilenet_v2",), device), Shown(json=True))
    (row,) = json.loads(capsys.readouterr().out)["prices"]
    assert row["low"] < row["latency_ms"] < row["high"] and len(row["layers"]) > 50
    assert sum(layer["ms"] for layer in row["layers"]) + row["session_ms"] == pytest.approx(row["latency_ms"])
    assert row["layers"][0]["kind"] == "stem" and sum(layer["flops"] for layer in row["layers"]) == 2 * row["macs"]


def test_times_of_layers_on_a_device_of_the_fit_sum_to_the_prediction(
    saved: Path, capsys: pytest.CaptureFixture
) -> None:
    """They and the interval are those of the source model, also of a file that was read."""
    check_layers(saved, capsys, DEVICE)


def test_it_adapts_to_architectures_of_any_space(saved: Path) -> None:
    space = parse_space("nasbench201")
    m = made_up(space.sample(12, np.random.default_rng(0)), 1)
    adapted = Predictor.load(saved).adapt(m.where(archs=np.arange(10)))
    low, high = adapted.belief(m.architectures, m.devices[0]).interval(0.9)
    assert (low > 0).all() and (low < adapted.predict(m.architectures, m.devices[0])).all() and (low < high).all()


def test_searches_and_the_optimizer_take_it(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    accuracy = BUNDLED / "accuracy.parquet"
    few = {"memory_mb": 0.2, "out": tmp_path / "a.png"}
    problem = Requirements(accuracy, str(saved), 5.0, DEVICE, **few)
    exhaustive(problem)
    printed = capsys.readouterr().out
    assert "predicted latency" in printed and "keeps the budget of 5 ms" in printed and "P(latency" in printed
    cells = Requirements(accuracy, str(BUNDLED / "nasbench201.parquet"), 0.6, "xeon_ort_fp32_1", **few)
    bisect(cells, str(saved), equation="adapted", measurements=4)
    assert "keeps the budget of 0.6 ms; 4 queries" in capsys.readouterr().out
    training = OptimizerTraining(networks=1, synthetic=5, steps=10)
    optimize(accuracy, saved, 5.0, DEVICE, metric="accuracy_digits", training=training, folder=tmp_path / "networks")
    assert f"10 measurements of {DEVICE} used" in capsys.readouterr().out


def test_gradients_of_relaxed_cells_are_those_of_its_predictions(saved: Path) -> None:
    predictor, space = Predictor.load(saved), parse_space("nasbench201")
    cells = space.sample(3, np.random.default_rng(0))
    device = predictor.devices_[0]
    p = torch.from_numpy(CellOneHot()(cells)).double().requires_grad_()
    ms = Relaxed(predictor.on(device), space).predict_relaxed(p, p)
    np.testing.assert_allclose(ms.detach().numpy(), predictor.predict(cells, device), rtol=1e-6)
    ms.log().sum().backward()
    changed = cells.decisions.copy()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    by = np.log(predictor.predict(type(cells)(space, changed), device) / predictor.predict(cells, device))
    np.testing.assert_allclose(p.grad.numpy()[np.arange(3), 10 + changed[:, 2]], by, rtol=1e-5)
