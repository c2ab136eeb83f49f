"""New devices from a few measurements: nothing leaks, sets, studies, the commands, a real runtime of this machine."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import predictors.__main__ as commands
from datasets.cli import main as command_line
from datasets.files.folders import locked
from datasets.records import Device, InputError, Measurements
from datasets.spaces.nasbench201 import NasBench201
from encoders.cell import KindCounts
from encoders.flat import Totals
from encoders.paths import LongestPath
from measure.campaign import read_journal
from predictors.base import Adaptable, Predictor, Uncertain
from predictors.config import to_config
from predictors.linear import Mean
from predictors.metrics import report
from predictors.new_devices.conditioned import AVERAGED, Conditioned
from predictors.new_devices.cross_device import evaluate_transfer
from predictors.new_devices.cross_device import run as run_study
from predictors.new_devices.device_sets import DeviceSet, load_set, read_sets
from predictors.new_devices.few_shot import best_ranking, distances
from predictors.new_devices.proxies import AdaProxy, NearestDevice, OwnLine, ridge
from predictors.new_devices.transfer_report import WEIGHED, gather
from predictors.scaling import Scale
from tests.conftest import ROOT, made_up, run

SOURCES = ("toy_0", "toy_1", "toy_3")


@pytest.fixture(scope="module")
def toys() -> Measurements:
    return made_up(NasBench201().sample(300, np.random.default_rng(3)), 4)


@pytest.fixture(scope="module")
def fitted(toys: Measurements) -> Conditioned:
    return Conditioned().fit(toys.where(devices=SOURCES, archs=np.arange(150)))


@pytest.fixture(scope="module")
def adapted(fitted: Conditioned, toys: Measurements) -> Conditioned:
    return fitted.adapt(toys.where(archs=np.arange(20), devices=["toy_2"]))


def test_twenty_measurements_rank_a_new_device_and_intervals_hold_most(
    fitted: Conditioned, adapted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    assert isinstance(fitted, Adaptable) and isinstance(fitted, Uncertain)
    truth = toys.where(devices=["toy_2"]).matrix("latency_ms")[20:, 0]
    others, device = toys.architectures[20:], toys.device("toy_2")
    assert report(truth, adapted.predict(others, device))["spearman"] > 0.97
    low, high = adapted.belief(others, device).interval(0.9)
    assert 0.8 < ((low <= truth) & (truth <= high)).mean() <= 1
    np.testing.assert_allclose([adapted.belief(others, device).cdf(end)[i] for i, end in enumerate(high)], 0.95)
    adapted.save(tmp_path / "mine.pt")
    loaded = Predictor.load(tmp_path / "mine.pt")
    assert isinstance(loaded, Uncertain)
    np.testing.assert_allclose(loaded.belief(others, device).interval(0.9), (low, high), rtol=1e-6)
    narrow = adapted.belief(others, device).interval(0.5)
    assert (low <= narrow[0]).all() and (narrow[1] <= high).all() and (low >= 0).all()
    with pytest.raises(InputError, match="level = 2"):
        adapted.belief(others, device).interval(2)
    with pytest.raises(InputError, match="`adapt` to a few measurements first"):
        fitted.belief(others, toys.device("toy_0")).interval(0.9)


def test_a_file_adapted_by_an_earlier_version_is_one_sentence(
    adapted: Conditioned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = adapted.state() | {"few": np.ones((2, 3))}
    monkeypatch.setattr(Conditioned, "state", lambda self: state)
    adapted.save(tmp_path / "old.pt")
    with pytest.raises(InputError, match="by an earlier version of Gnomon; adapt its source again"):
        Predictor.load(tmp_path / "old.pt")


@pytest.mark.parametrize("noise", [0.01, 0.5])
@pytest.mark.parametrize("n", [10, 20])
def test_intervals_hold_about_their_level_on_easy_and_on_noisy_devices(
    fitted: Conditioned, toys: Measurements, noise: float, n: int
) -> None:
    """Twenty made-up devices: a random mixture of the sources, and noise that is a share of its deviation."""
    sources, inside, chances = np.log(fitted.predict_all(toys.architectures)), [], []
    for seed in range(20):
        rng = np.random.default_rng([seed, n])
        clean = 10 * np.exp(sources @ rng.dirichlet(np.ones(len(SOURCES))))
        truth = clean + noise * clean.std() * rng.normal(size=len(clean))
        samples = rng.permutation(len(truth))[:n]
        adapted = fitted.adapt(_measured(toys, samples, truth[samples]))
        others = np.delete(np.arange(len(truth)), samples)
        low, high = adapted.belief(toys.architectures[others], toys.device("toy_2")).interval(0.9)
        inside.append(((low <= truth[others]) & (truth[others] <= high)).mean())
        below = adapted.belief(toys.architectures[others], toys.device("toy_2")).cdf(float(np.median(truth)))
        chances.append((below - (truth[others] <= np.median(truth))).mean())
    assert 0.84 < np.mean(inside) < 0.94
    assert abs(np.mean(chances)) < 0.05


def test_one_wild_label_among_twenty_changes_little(fitted: Conditioned, toys: Measurements) -> None:
    """With Gaussian noise Spearman fell to 0.09."""
    truth, others = toys.where(devices=["toy_2"]).matrix("latency_ms")[:, 0], np.arange(20, 300)
    for wild in range(20):
        labels = truth[:20].copy()
        labels[wild] *= 10
        predicted = fitted.adapt(_measured(toys, np.arange(20), labels)).predict_all(toys.architectures[others])[:, 0]
        assert report(truth[others], predicted)["spearman"] > 0.95


def _measured(toys: Measurements, rows: np.ndarray, values: np.ndarray) -> Measurements:
    """A new device of which these architectures [n] were measured."""
    table = pd.DataFrame({"arch": range(len(rows)), "device": 0, "metric": "latency_ms", "value": values})
    return Measurements(toys.architectures[rows], [toys.device("toy_2")], table, "new")


@pytest.mark.parametrize("predictor", [Conditioned(), NearestDevice(), OwnLine()], ids=lambda p: type(p).__name__)
def test_labels_outside_of_the_samples_change_nothing(predictor: Predictor, toys: Measurements) -> None:
    """A whole study with the target's other labels shuffled: the same samples chosen, the same numbers predicted."""
    target = toys.table["device"] == 2
    value, results = toys.table["value"].to_numpy().copy(), []
    samples = np.array([3, 50, 77, 140, 201, 260])
    hidden = np.flatnonzero(target & ~toys.table["arch"].isin(samples))
    for _ in range(2):
        m = Measurements(toys.architectures, toys.devices, toys.table.assign(value=value), "toys")
        fresh = predictor.fit(m.where(devices=SOURCES))
        chosen = fresh.choose(m.architectures, 6, np.random.default_rng(0)).decisions
        adapted = fresh.adapt(m.where(archs=samples, devices=["toy_2"]))
        results.append((chosen, adapted.predict(m.architectures, m.device("toy_2"))))
        value[hidden] = np.random.default_rng(1).permutation(value[hidden])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


def test_samples_without_a_number_of_one_device_are_one_sentence(fitted: Conditioned, toys: Measurements) -> None:
    few = toys.where(archs=np.arange(5), devices=["toy_2"])
    with pytest.raises(InputError, match="has no"):
        fitted.adapt(Measurements(few.architectures, few.devices, few.table[:0], "nothing"))
    with pytest.raises(InputError, match="Adapt to one device at a time"):
        fitted.adapt(toys)
    other = made_up(NasBench201(cells=1).sample(5, np.random.default_rng(0)), 1)
    with pytest.raises(InputError, match="was fitted on nasbench201"):
        fitted.adapt(other)


def test_what_is_kept_of_the_last_architectures_is_never_another_ones(adapted: Conditioned, toys: Measurements) -> None:
    device = toys.device("toy_2")
    first, second = toys.architectures[:30], toys.architectures[30:60]
    both = adapted.predict(toys.architectures[:60], device)
    for _ in range(2):
        np.testing.assert_allclose(adapted.predict(first, device), both[:30], rtol=1e-6)
        np.testing.assert_allclose(adapted.predict(second, device), both[30:], rtol=1e-6)


def test_informative_samples_are_all_different_and_none_is_invented(fitted: Conditioned, toys: Measurements) -> None:
    keys = fitted.choose(toys.architectures, 25, np.random.default_rng(0)).keys
    assert len(set(keys)) == 25 and set(keys) <= set(toys.architectures.keys)
    plain = Conditioned(informative=False).fit(toys.where(devices=SOURCES))
    assert plain.choose(toys.architectures, 25, np.random.default_rng(0)).keys != keys
    with pytest.raises(InputError, match="Of 300 architectures, 301 cannot be chosen"):
        fitted.choose(toys.architectures, 301, np.random.default_rng(0))


def test_published_numbers_alone_lead_to_the_alike_device(
    fitted: Conditioned, toys: Measurements, tmp_path: Path
) -> None:
    twin = Device("twin", "new", "server-cpu", features=toys.device("toy_0").features)
    assert distances(fitted.devices_, twin)[-1].argmin() == 0
    near = fitted.predict(toys.architectures, toys.device("toy_0"))
    blended = fitted.adapt(None, twin).predict(toys.architectures, twin)
    assert report(near, blended)["spearman"] > 0.9
    fitted.adapt(None, twin).save(tmp_path / "twin.pt")  # once an error, as there are no samples to save
    loaded = Predictor.load(tmp_path / "twin.pt")
    np.testing.assert_allclose(loaded.predict(toys.architectures, twin), blended, rtol=1e-5)
    low, high = loaded.belief(toys.architectures, twin).interval(0.9)
    assert ((low < near) & (near < high)).all() and (high > 3 * low).all()  # milliseconds are hardly known


def test_without_measurements_intervals_hold_devices_of_other_speeds(toys: Measurements) -> None:
    """Milliseconds from published numbers alone were up to 230 % off, and nothing said so."""
    speed = np.array([1.0, 3.0, 0.5, 2.0])
    m = Measurements(
        toys.architectures,
        toys.devices,
        toys.table.assign(value=toys.table["value"] * speed[toys.table["device"]]),
        "x",
    )
    names, inside = [device.name for device in m.devices], []
    for target in names:
        new = Conditioned().fit(m.where(devices=[name for name in names if name != target]))
        low, high = new.adapt(None, m.device(target)).belief(m.architectures, m.device(target)).interval(0.9)
        truth = m.where(devices=[target]).matrix("latency_ms")[:, 0]
        inside.append(((low <= truth) & (truth <= high)).mean())
    assert np.mean(inside) > 0.7


@pytest.mark.parametrize("n", [10, 20])
def test_sources_that_mislead_cost_little_and_a_twin_among_them_is_found(toys: Measurements, n: int) -> None:
    """With 10 random samples, sources that resembled no target made predictions worse than none at all."""
    rng, archs = np.random.default_rng(0), toys.architectures
    totals = archs.space.totals(archs)[["flops", "moved_bytes"]].to_numpy()
    physical = 1 + (totals / totals.max(axis=0)).sum(axis=1)
    decisions = np.eye(5)[archs.decisions].reshape(len(archs), -1)
    twin, *misleading = (np.exp(0.3 * decisions @ rng.normal(size=decisions.shape[1])) for _ in range(5))
    scores = []
    for columns, truth in (([*misleading], physical), ([*misleading, twin * 2], twin)):
        table = pd.concat(
            pd.DataFrame({"arch": range(len(archs)), "device": i, "metric": "latency_ms", "value": column})
            for i, column in enumerate(columns)
        )
        devices = [Device(f"source_{i}", f"family_{i}", "server-cpu") for i in range(len(columns))]
        m = Measurements(archs, devices, table, "sources")
        alone = Conditioned(source=Mean(scale=Scale("log")))
        for predictor in (Conditioned(), alone, Conditioned(averaging=False)):
            source, found = predictor.fit(m), []
            for draw in range(6):
                rows = np.random.default_rng(draw).permutation(len(archs))
                adapted = source.adapt(_measured(toys, rows[:n], truth[rows[:n]]))
                predicted = adapted.predict_all(archs)[:, 0]
                found.append(report(truth[rows[n:]], predicted[rows[n:]])["spearman"])
            scores.append(np.mean(found))
    ours, physics, always, beside_twin, without_twin, _ = scores
    assert ours > physics - 0.02 and ours > always - 0.003
    assert beside_twin > 0.97 and beside_twin > without_twin


@pytest.mark.parametrize("kind", ["kinds", "path"])
def test_devices_that_no_source_resembles_are_ranked_from_twenty_samples(toys: Measurements, kind: str) -> None:
    """A time per op of each kind that is executed, as of an Edge TPU, and branches that run at the same time, as on a
    desktop processor: physical totals and decisions alone reached 0.79 and 0.89."""
    archs = NasBench201().sample(600, np.random.default_rng(7))
    archs = archs[np.flatnonzero(archs.space.connected(archs))]
    times = np.array([0, 0, 0, 0.1, 0.1, 0.15, 0.45])
    truth = 0.3 + (KindCounts(live=True)(archs) @ times if kind == "kinds" else LongestPath()(archs)[:, 3])
    table = made_up(archs, 4)
    source = Conditioned().fit(table.where(devices=SOURCES, archs=np.arange(150)))
    samples = _measured(table, np.arange(20), truth[:20])
    predicted = source.adapt(samples).predict_all(archs)[20:, 0]
    assert report(truth[20:], predicted)["spearman"] > 0.97


def test_a_target_is_scored_on_its_whole_table(toys: Measurements) -> None:
    """What all devices of a set have may be a narrow part of the space, on which ranks are harder."""
    common, whole = np.arange(100), toys.where(devices=["toy_2"])
    devices = DeviceSet("toys", toys.where(archs=common), SOURCES, ("toy_2",), whole={"toy_2": whole})
    rows = list(evaluate_transfer(devices, OwnLine(), cells=60, shots=[10], draws=1))
    assert {row["target_cells"] for row in rows} == {300} and rows[0]["n"] == 290 and rows[0]["source_cells"] == 60
    few = replace(devices, whole={})
    assert next(evaluate_transfer(few, OwnLine(), cells=60, shots=[10], draws=1))["target_cells"] == 100


def test_energies_stand_beside_one_number_per_mac_and_per_millisecond(toys: Measurements, tmp_path: Path) -> None:
    archs = toys.architectures
    macs = archs.space.totals(archs)["macs"].to_numpy(float)
    energy = toys.table.assign(metric="energy_mj", value=macs[toys.table["arch"]] / 1e6)
    both = Measurements(archs, toys.devices, pd.concat([toys.table, energy], ignore_index=True), "energies")
    predictor = Conditioned(metric="energy_mj", source=Mean(metric="energy_mj", scale=Scale("log")))
    rows = list(evaluate_transfer(DeviceSet("toys", both, SOURCES, ("toy_2",)), predictor, cells=60, draws=1))
    scores = {row.get("predictor"): row for row in rows if row["cells"] == "all"}
    assert scores.keys() == {None, "mj_per_mac", "mj_per_ms"}
    assert scores["mj_per_mac"]["mape"] < 1e-6 < scores["mj_per_ms"]["mape"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text(json.dumps([{"predictor": "ours", **row} for row in rows]))
    (tmp_path / "run" / "config.yaml").write_text("name: ours")
    assert set(gather(tmp_path).index.get_level_values("predictor")) == {"ours", "mj_per_mac", "mj_per_ms"}


def test_one_sample_more_than_models_are_averaged_of_changes_little(toys: Measurements) -> None:
    """Forty samples average models and forty-one do not: predictions hardly differ."""
    source = Conditioned().fit(toys.where(devices=SOURCES))
    few, more = (source.adapt(toys.where(archs=np.arange(n), devices=["toy_2"])) for n in (AVERAGED, AVERAGED + 1))
    both = [adapted.predict_all(toys.architectures)[:, 0] for adapted in (few, more)]
    assert report(*both)["spearman"] > 0.99


def test_corrections_of_a_proxy_do_not_vanish(toys: Measurements) -> None:
    """Their penalty was scaled by the column of the common factor, a thousand times as large."""
    archs = toys.architectures
    decisions = np.eye(5)[archs.decisions].reshape(len(archs), -1)
    truth = 10 + decisions @ np.random.default_rng(0).normal(size=decisions.shape[1])
    samples = _measured(toys, np.arange(120), truth[:120])
    predictors = (AdaProxy().fit(toys.where(devices=SOURCES)), NearestDevice().fit(toys.where(devices=SOURCES)))
    scores = [report(truth[120:], p.adapt(samples).predict_all(archs)[120:, 0])["spearman"] for p in predictors]
    assert scores[0] > scores[1] + 0.2


def test_a_proxy_of_dependent_features_stays_small_and_ranks(toys: Measurements) -> None:
    """Weights without a cut-off of small singular values were 1e14, and Spearman 0.2."""
    proxy = AdaProxy().fit(toys.where(devices=SOURCES))
    assert np.abs(proxy.proxies_).max() < 100
    truth = toys.where(devices=["toy_2"]).matrix("latency_ms")[:, 0]
    predicted = proxy.adapt(toys.where(archs=np.arange(20), devices=["toy_2"])).predict_all(toys.architectures)[:, 0]
    assert report(truth[20:], predicted[20:])["spearman"] > 0.85


def test_ridge_and_nearest_find_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    weights, bias = ridge(x, x @ [1.0, -2.0, 0.5] + 3)
    np.testing.assert_allclose([*weights, bias], [1, -2, 0.5, 3], atol=0.01)
    assert best_ranking(x, np.exp(x[:, 1])) == 1


def test_a_study_is_written_once_gathered_and_claims_its_margin(toys: Measurements, tmp_path: Path) -> None:
    devices = DeviceSet("toys", toys, SOURCES, ("toy_2",), ("gone",))
    rows = list(evaluate_transfer(devices, Conditioned(), cells=100, shots=[0, 10], draws=2, sampler="random"))
    assert {row["shots"] for row in rows} == {0, 10} and rows[-1]["left_out"] == "gone"
    assert not rows[0]["shared_family"] and {"flops_spearman", "nearest_spearman"} <= rows[0].keys()
    few = [row for row in rows if row["shots"] == 10 and row["cells"] == "all"]
    assert len(few) == 2 and all(row["n"] == 290 and 0 <= row["coverage"] <= 1 for row in few)
    others = list(evaluate_transfer(devices, OwnLine(), cells=100, shots=[10], draws=2, sampler="random"))
    named_rows = [("conditioned", rows), *((name, others) for name in ("ownline", *WEIGHED))]
    for name, part in named_rows:
        (tmp_path / name).mkdir()
        named = [{"predictor": name, **row} for row in part]
        (tmp_path / name / "metrics.json").write_text(json.dumps(named))
        (tmp_path / name / "config.yaml").write_text(f"name: {name}")
    assert gather(tmp_path).loc[("conditioned", "random", 10), "toys"] > 0.9
    summary = json.loads((tmp_path / "summary.json").read_text())
    margin, harm, held = ([row for row in summary if row["part"] == part] for part in ("margin", "harm", "tails"))
    by_set = {row["device_set"]: row for row in harm}
    assert by_set["toys"]["low"] < by_set["toys"]["margin_spearman"] < by_set["toys"]["high"]
    assert by_set["mean"]["margin_spearman"] == by_set["least"]["margin_spearman"] > 0
    assert [row["shots"] for row in held] == [0, 10] and held[1]["draws"] == 2
    assert held[1]["least_coverage"] == min(row["coverage"] for row in few)
    assert len(margin) == 1 and margin[0]["margin_spearman"] > 0 and margin[0]["best_other"] in ("ownline", *WEIGHED)
    assert "<img" in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="no sampler 'best'"):
        next(evaluate_transfer(devices, Conditioned(), sampler="best"))


def test_a_summary_never_averages_over_settings(toys: Measurements, tmp_path: Path) -> None:
    """A sweep over a field of a predictor was one line."""
    devices = DeviceSet("toys", toys, SOURCES, ("toy_2",))
    for cells, total in ((60, "flops"), (60, "params"), (80, "flops")):
        predictor = OwnLine(encoder=Totals((total,)))
        rows = list(evaluate_transfer(devices, predictor, cells=cells, shots=[5], draws=1))
        run_folder = tmp_path / f"{total}-{cells}"
        run_folder.mkdir()
        (run_folder / "metrics.json").write_text(json.dumps([{"predictor": "line", **row} for row in rows]))
        (run_folder / "config.yaml").write_text(yaml.safe_dump({"predictor": to_config(predictor), "cells": cells}))
    wide = gather(tmp_path)
    assert wide.index.names == ["predictor", "predictor.encoder.columns", "source_cells", "sampler", "shots"]
    assert len(wide) == 3 and not wide.isna().any(axis=None)


def test_a_bundled_set_leaves_a_family_out_and_a_complete_run_is_skipped(tmp_path: Path) -> None:
    sets = ROOT / "configs" / "device_sets" / "families.yaml"
    chosen = load_set(sets, "bundled:xeon-ort-fp32")
    assert len(chosen.targets) == 2 and not any(chosen.shares_family(name) for name in chosen.targets)
    settings = {"cells": 200, "shots": [5], "draws": 1, "sampler": "random", "seed": 0, "sources": 3}
    again = [run_study(OwnLine(), sets, "bundled:xeon-ort-fp32", tmp_path, "line", settings) for _ in range(2)]
    assert again == ["done", "complete"]
    (out,) = tmp_path.iterdir()
    out.rename(tmp_path / "renamed")
    assert run_study(OwnLine(), sets, "bundled:xeon-ort-fp32", tmp_path, "line", settings) == "complete"
    settings["seed"] = 1
    with locked(tmp_path / "line"):
        assert run_study(OwnLine(), sets, "bundled:xeon-ort-fp32", tmp_path, "line", settings) == "busy"
    for name in ("../../x", "/etc/x", "n" * 300):
        with pytest.raises(InputError, match="cannot be a folder's name"):
            run_study(OwnLine(), sets, "bundled:xeon-ort-fp32", tmp_path, name, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["renamed"]
    with pytest.raises(InputError, match="has no set 'ND'"):
        load_set(sets, "ND")
    with pytest.raises(InputError, match="no devices of the family 'abacus'"):
        load_set(sets, "bundled:abacus")
    (tmp_path / "bad.yaml").write_text("sets: {A: {data: [], sources: [], targets: [], whole: 3}}")
    with pytest.raises(InputError, match="'A': whole"):
        load_set(tmp_path / "bad.yaml", "A")
    (tmp_path / "bad.yaml").write_text("sets: {A: {data: []}}")
    with pytest.raises(InputError, match="it needs lists of data, sources, targets"):
        read_sets(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("sets: {A: {data: [], sources: [a], targets: [b]}}")
    with pytest.raises(InputError, match="needs data; name a data set"):
        load_set(tmp_path / "bad.yaml", "A")


def test_sources_of_a_set_leave_a_family_out_and_targets_are_not_looked_at(tmp_path: Path) -> None:
    sets, data = tmp_path / "sets.yaml", "data: [{class_path: datasets.measured.Measured}]"
    names = "sources: [xeon_ort_fp32_1, xeon_ort_int8_1, xeon_jax_fp32_1], targets: [xeon_litert_int8_1]"
    sets.write_text(f"sets: {{A: {{{data}, {names}}}}}")
    chosen = load_set(sets, "A:xeon-ort-int8")
    assert (chosen.sources, chosen.targets) == (("xeon_ort_fp32_1", "xeon_jax_fp32_1"), ("xeon_ort_int8_1",))
    assert "xeon_litert_int8_1" not in [device.name for device in chosen.measurements.devices]
    with pytest.raises(InputError, match="A has no devices of the family 'xeon-litert-int8'"):
        load_set(sets, "A:xeon-litert-int8")


def test_published_sets_are_as_their_authors_cut_them() -> None:
    sets = read_sets(ROOT / "configs" / "device_sets" / "nasflat.yaml")["sets"]
    sizes = {name: (len(entry["sources"]), len(entry["targets"])) for name, entry in sets.items()}
    assert sizes["ND"] == (9, 6) and sizes["FD"] == (9, 3) and sizes["F1"] == (5, 5) and len(sizes) == 17
    assert not any(set(entry["sources"]) & set(entry["targets"]) for entry in sets.values())
    for name in ("N1", "N2", "N3", "N4", "NA"):
        whole, usual = sets[f"{name}_whole"], sets[name]
        assert whole["sources"] == usual["sources"] and whole["whole"]
        assert set(whole["targets"]) <= {*usual["targets"], "i7_7820x"}


def test_from_nothing_to_a_predictor_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """choose, measure on eager PyTorch, adapt, predict with intervals, export: the commands of docs/cross_device.md."""
    space = NasBench201(channels=4, cells=1, image=8)
    source, few, cells, mine = (tmp_path / name for name in ("source.pt", "few.parquet", "cells.txt", "mine.pt"))
    Conditioned().fit(made_up(space.sample(120, np.random.default_rng(0)), 3)).save(source)
    _command("choose", source, "--n", 3)
    cells.write_text(capsys.readouterr().out)
    assert len(space.parse(cells.read_text().split())) == 3
    journal = tmp_path / "journal.jsonl"
    measure = ("--archs", cells, "--space", str(space), "--backend", "eager", "--protocol", "quick")
    done = run("-m", "measure", "run", *measure, "--journal", journal)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [{**row, "stable": True} for row in read_journal(journal)]  # tiny networks on a busy machine are not
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("-m", "measure", "table", "--journal", journal, "--out", few)
    assert done.returncode == 0, done.stderr + done.stdout
    _command("adapt", source, "--measurements", few, "--out", mine)
    assert "measurements" in capsys.readouterr().out
    _command("predict", mine, "--archs", cells, "--level", 0.9)
    assert capsys.readouterr().out.count(" to ") == 3
    _command("export", mine, tmp_path / "mine.onnx")
    (tmp_path / "few.csv").write_text("key,value\nnonsense,1\n")
    with pytest.raises(InputError, match="columns key and value|nonsense"):
        commands.adapt(source, tmp_path / "few.csv", tmp_path / "no.pt")
    with pytest.raises(InputError, match="Say with --measurements"):
        commands.adapt(source, out=tmp_path / "no.pt")
    assert not (tmp_path / "no.pt").exists()


def _command(*words: object) -> None:
    """One of the commands of docs/cross_device.md, as it is typed behind `python -m predictors`."""
    known = [commands.choose, commands.adapt, commands.predict, commands.export]
    command_line(known, prog="python -m predictors", arguments=[str(word) for word in words], positional=True)
