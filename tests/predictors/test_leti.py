"""LETI's study: its data set's format, and its baselines."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.leti import Leti, from_leti, to_leti
from datasets.measured import Measured
from datasets.pareto import pareto
from datasets.records import InputError, Measurements
from datasets.spaces.nasbench101 import NasBench101
from datasets.spaces.nasbench201 import NasBench201
from predictors.linear import BetterFlops, best_threshold
from predictors.metrics import METRICS
from predictors.networks.tabulated import Tabulated
from studies.leti import study as leti_check
from studies.leti.figures import over_total, trade_off
from tests.conftest import made_up, needs, run

SPACE = NasBench101(channels=16, cells=1)


@pytest.fixture(scope="module")
def cells() -> Measurements:
    return made_up(SPACE.sample(40, np.random.default_rng(3)))


def test_what_is_written_comes_back(cells: Measurements, tmp_path: Path) -> None:
    path = tmp_path / "leti.json"
    path.write_text(json.dumps(to_leti(cells)))
    again = Leti(path).measurements()
    assert again.architectures.space == SPACE and again.devices == cells.devices
    assert again.architectures.keys == cells.architectures.keys
    np.testing.assert_array_equal(again.matrix("latency_ms"), cells.matrix("latency_ms"))


def test_a_network_tells_its_hash_flops_and_peak_memory(cells: Measurements) -> None:
    content = to_leti(cells)
    totals, first = SPACE.totals(cells.architectures).iloc[0], content["networks"][0]
    assert content["config"]["num_modules_per_stack"] == 1
    assert (first["flops"], first["peak_memory"]) == (totals["flops"], totals["peak_bytes"])
    assert first["hash"] == SPACE.hash(cells.architectures)[0] and len(first["hash"]) == 32
    assert first["layers"][0] == "input" and len(first["matrix"]) == len(first["layers"])


def test_what_others_wrote_needs_no_hash_device_or_skeleton() -> None:
    matrix = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    item = {"layers": ["input", "maxpool3x3", "output"], "matrix": matrix, "latency_ms": {"kirin970": 55}}
    m = from_leti({"networks": [item]}, "theirs")
    assert m.architectures.keys == ["maxpool3x3:0.1"] and m.architectures.space == NasBench101()
    assert m.devices[0].name == "kirin970" and m.matrix("latency_ms").tolist() == [[55.0]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["networks"][3].update(hash="0" * 32), "Network 3 .* hash"),
        (lambda c: c["networks"][0].pop("matrix"), "layers, matrix"),
        (
            lambda c: c["networks"][0].update(latency_ms=[1.0]),
            "Network 0 of file: field 'latency_ms' must be a mapping",
        ),
        (
            lambda c: c["networks"][0]["latency_ms"].update(toy_0=-1.0),
            "'toy_0' of 'latency_ms' must be a positive number, not -1.0",
        ),
        (lambda c: c["networks"][0]["layers"].reverse(), "from 'input' to 'output'"),
        (lambda c: c.update(networks=[]), "one or more"),
        (lambda c: c.update(devices=[{"nome": "x"}]), "device 0 has an unknown field 'nome'"),
        (lambda c: c.update(devices={}), "`devices` a list"),
        (lambda c: c.update(config=[1]), "`config` is a mapping"),
        (lambda c: c.update(config={"num_stacks": True}), "'num_stacks' of the configuration must be a whole number"),
        (lambda c: c.update(networks=3), "a list `networks`"),
        (lambda c: c["networks"].append([]), "has layers, matrix and latency_ms"),
        (lambda c: c["networks"][0].update(layers=[1, 2]), "must be a list of texts"),
        (lambda c: c["networks"][0].update(matrix=[[10**400]] * len(c["networks"][0]["layers"])), "zeros and ones"),
        (lambda c: c["networks"][0].update(matrix=[[0] * 200] * 200, layers=["input"] * 200), "at most 100"),
        (lambda c: c["networks"][0]["latency_ms"].update(toy_0=float("nan")), "must be a positive number, not nan"),
    ],
)
def test_a_fault_is_one_sentence(change: Callable[[dict], object], sentence: str, cells: Measurements) -> None:
    content = json.loads(json.dumps(to_leti(cells)))
    change(content)
    with pytest.raises(InputError, match=sentence):
        from_leti(content, "file")


def test_other_spaces_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NAS-Bench-101"):
        to_leti(made_up(NasBench201().sample(3, np.random.default_rng(0))))
    for content in (None, '{"networks": ['):
        path = tmp_path / "leti.json"
        if content:
            path.write_text(content)
        with pytest.raises(InputError, match="There is no file" if content is None else "is not valid JSON"):
            Leti(path).measurements()


def test_the_command_refuses_cells_of_another_benchmark(tmp_path: Path) -> None:
    done = run("-m", "datasets", "leti", "configs/datasets/bundled.yaml", str(tmp_path / "leti.json"))
    assert done.returncode == 2 and "NAS-Bench-101" in done.stderr and not (tmp_path / "leti.json").exists()


# Better FLOPs


def two_clusters(devices: int = 2) -> Measurements:
    """Made-up latencies that double where peak memory is above its median."""
    m = made_up(SPACE.sample(300, np.random.default_rng(1)), devices)
    peak = SPACE.totals(m.architectures)["peak_bytes"].to_numpy()
    slow = peak[m.table["arch"]] > np.median(peak)
    table = m.table.assign(value=m.table["value"] * np.where(slow, 4, 1))
    return Measurements(m.architectures, m.devices, table, "two clusters")


def test_better_flops_finds_the_clusters_by_their_memory() -> None:
    m = two_clusters()
    peak = SPACE.totals(m.architectures)["peak_bytes"].to_numpy()
    fitted = BetterFlops().fit(m)
    assert ((peak[:, None] / 1e6 > fitted.thresholds_) == (peak > np.median(peak))[:, None]).all()
    error = np.abs(fitted.predict_all(m.architectures) / m.matrix("latency_ms") - 1)
    assert np.median(error) < 0.1


def test_the_threshold_minimises_the_summed_variance() -> None:
    rng = np.random.default_rng(0)
    peak, y = rng.integers(0, 20, 50).astype(float), rng.random(50)
    y += 3 * (peak > 11)
    found = best_threshold(peak, y, 3)

    def cost(t: float) -> float:
        return y[peak <= t].var() + y[peak > t].var()

    possible = [t for t in np.arange(0.5, 19.5) if min((peak <= t).sum(), (peak > t).sum()) >= 3]
    assert cost(found) == pytest.approx(min(map(cost, possible))) and 11 < found < 12
    assert best_threshold(np.ones(9), y[:9], 3) == np.inf, "without a valid threshold there is one cluster"
    assert best_threshold(peak[:5], y[:5], 3) == np.inf


def test_one_line_serves_where_there_is_one_cluster() -> None:
    m = two_clusters()
    one = BetterFlops(least=1000).fit(m)
    assert np.isinf(one.thresholds_).all() and np.isfinite(one.predict_all(m.architectures)).all()


# Figures


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    cost, quality = np.array(points, float).reshape(-1, 2).T
    found = {points[i] for i in pareto(quality, cost[:, None])}
    assert found == {(c, q) for c, q in points if not any((a <= c and b > q) or (a < c and b >= q) for a, b in points)}


def test_what_is_unknown_is_on_no_front() -> None:
    assert pareto(np.array([5.0, 9.0, np.nan]), np.array([[1.0], [np.nan], [2.0]])).tolist() == [0]


def test_figures_show_every_device_and_the_best_cells(cells: Measurements) -> None:
    figure = over_total(cells, "peak_bytes", thresholds={"toy_0": 2.0**18})
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == ["toy_0", "toy_1"]
    table = cells.table[cells.table["device"] == 0].assign(device=-1, metric="accuracy_digits")
    accuracy = Measurements(cells.architectures, [], table.assign(value=table["value"] * 5), "accuracies")
    figure = trade_off(cells, "toy_0", accuracy, "accuracy_digits", drawn=2)
    assert len(figure.axes) == 3 and "input" in {text.get_text() for text in figure.axes[1].texts}
    assert figure.axes[1].get_title().endswith(" ms")


# The study


def fits(predictor: str, shots: int, within: float) -> list[dict]:
    """Rows of two seeds as run folders have them."""
    return [
        {"predictor": predictor, "shots": shots, "seed": seed, "device": "d", "set": part, "cells": "all"}
        | {"dataset": "cells", "n": 10, "fit_cpu_s": 1.0, "predict_cpu_s": 1.0}
        | dict.fromkeys(METRICS, within + seed / 10)
        for seed in (0, 1)
        for part in ("val", "test")
    ]


def test_table_2_averages_seeds_and_tells_how_far_ours_is_ahead(tmp_path: Path) -> None:
    for name, within in (("flops", 0.3), ("xgboost_flat", 0.5), ("gp", 0.8), ("gcn", 0.6)):
        for seed in (0, 1):
            run = tmp_path / f"{name}-{seed}"
            run.mkdir()
            rows = [row for row in fits(name, 100, within) if row["seed"] == seed]
            (run / "metrics.json").write_text(json.dumps(rows))
            (run / "config.yaml").write_text("seed: 0")
    rows = leti_check.tolerance(tmp_path)
    (gp,) = [r for r in rows if r["what"] == "share" and r["device"] == "all" and r["predictor"] == "gp"]
    assert gp["within_10"] == pytest.approx(0.85) and gp["seeds"] == 2
    assert gp["sd_within_10"] == pytest.approx(0.0707, 0.01)
    (margin,) = [r for r in rows if r["what"] == "margin" and r["device"] == "all"]
    assert margin["predictor"] == "gp" and margin["margin_within_10"] == pytest.approx(0.3)


def test_sums_of_layers_fail_in_int8_and_say_by_what() -> None:
    rows = leti_check.bundled_sums(8)
    sums = {row["device"]: row for row in rows if row["what"] == "sum"}
    assert "dense" in sums["xeon_ort_int8_1"]["not_in_table"] and sums["xeon_eager_fp32_1"]["not_in_table"] == ""
    layers = {row["layer"] for row in rows if row["what"] == "factor"}
    assert layers == {"conv 3x3", "conv 1x1", "avg_pool", "add", "relu", "skeleton"}


def test_searches_on_tables_keep_the_budget() -> None:
    needs("nevergrad")
    rows = leti_check.optimise(evaluations=16, seeds=2)
    assert {(row["search"], row["evaluations"]) for row in rows} == {
        (name, n) for name in ("nevergrad", "random") for n in (2, 4, 8, 16)
    }
    assert all(row["worst"] <= row["median"] <= row["best_there_is"] for row in rows)
    assert all(row["points_ahead_of_random"] == 0 for row in rows if row["search"] == "random")


def test_a_layer_that_is_not_in_the_table_is_refused_or_priced() -> None:
    path = Path("datasets/bundled/lookup/nasbench201.parquet")
    m = Measured().measurements()
    device = m.device("xeon_ort_int8_1")
    with pytest.raises(InputError, match="has no layer 'dense"):
        Tabulated(path).on(device)(m.architectures[:1])
    free, dear = (Tabulated(path).on(device, unknown_ms=ms)(m.architectures[:1])[0] for ms in (0.0, 1.0))
    assert dear == pytest.approx(free + 1)
