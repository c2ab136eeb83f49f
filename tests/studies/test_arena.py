"""The arena of whole networks, on made-up ones."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.networks.collection import AnyNetwork
from datasets.public import timm
from datasets.records import Architectures, Device, InputError, Measurements
from encoders.kinds import GROUPS, QUANTITIES, WHOLE, KindTotals, totals_by_kind
from predictors.linear import RelativeLine, least_relative
from predictors.new_devices.proxies import NearestDevice
from studies.arena import protocols, report, study, tables
from tests.conftest import ROOT

CONFIGS = ROOT / "configs" / "predictors"


@pytest.fixture(scope="module")
def networks() -> Measurements:
    """Times of 200 networks of twenty families that are a line of their totals, with 2 % noise."""
    rng = np.random.default_rng(0)
    archs = AnyNetwork().sample(200, rng)
    x = KindTotals(groups=False, log=False)(archs).astype(float)
    ms = (1e-2 + x[:, :3] @ [0.2, 3.0, 0.1]) * rng.lognormal(0, 0.02, len(archs))
    rows = {"arch": np.arange(200), "device": 0, "metric": "latency_ms", "value": ms}
    table = pd.DataFrame(rows).assign(family=[f"f{i % 20}" for i in range(200)])
    return Measurements(archs, [Device("toy", "toys", "server-cpu")], table, "toys")


@pytest.mark.parametrize("by", ["families", "random"])
def test_the_line_finds_a_line_and_its_intervals_hold(networks: Measurements, by: str) -> None:
    rows = {name: study.scored(networks, CONFIGS / f"{name}.yaml", by)[0] for name in ("network_macs", "network_line")}
    line, macs = rows["network_line"], rows["network_macs"]
    assert line["n"] > (190 if by == "families" else 50) and line["mape"] < 2.5 < macs["mape"]
    assert 80 < line["coverage"] <= 100 and line["width"] < macs["width"]


def test_every_network_is_tested_once_by_families(networks: Measurements) -> None:
    tested = [key for parts in protocols.folds(networks, "families") for key in parts.test.architectures.keys]
    assert sorted(tested) == sorted(networks.architectures.keys)


def test_totals_by_kind_add_up_to_the_whole(networks: Measurements) -> None:
    for network in [*networks.architectures[:5], *tables.bundled().architectures[:8]]:
        whole, by_group = np.split(totals_by_kind(network), [len(WHOLE)])
        table = by_group.reshape(len(GROUPS), len(QUANTITIES)).sum(axis=0)
        assert table[QUANTITIES.index("macs")] == whole[WHOLE.index("macs")] > 0
        assert table[QUANTITIES.index("weights")] == 4 * whole[WHOLE.index("params")]
        assert table[QUANTITIES.index("count")] == whole[WHOLE.index("ops")] >= whole[WHOLE.index("longest")]


def test_unknown_tables_and_totals_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table nnlq; tables are 'timm'|no table nnlq; tables are timm"):
        study.arena(tmp_path, tables="nnlq")
    with pytest.raises(InputError, match="no predictor mine in configs/predictors; name one, or a YAML file"):
        study.arena(tmp_path, predictors="mine")
    with pytest.raises(InputError, match=r"no file .*mine.yaml"):
        study.arena(tmp_path, tables="convnet+zoo", predictors=str(tmp_path / "mine.yaml"))
    with pytest.raises(InputError, match="no total 'flops'"):
        KindTotals(("flops",))(AnyNetwork().sample(1, np.random.default_rng(0)))


@pytest.mark.skipif(not (timm.GRAPHS.exists() and timm.SOURCE.present()), reason="timm's tables are not downloaded")
def test_timm_has_families_and_agreeing_counts() -> None:
    m = timm.Timm().measurements()
    assert len(m.devices) == 5 and m.table["family"].notna().all()
    assert m.table.groupby("device")["arch"].nunique().min() > 250
    measured = dict(zip(m.architectures.keys, ~np.isnan(m.matrix("latency_ms")), strict=True))
    assert measured["mobileone_s0__224"].tolist() == [True, True, True, False, False]  # merged branches on the last two


@pytest.fixture(scope="module")
def three_devices(networks: Measurements) -> Measurements:
    """The networks on three devices of which the second is twice, the third four times as slow."""
    devices = [Device(name, name, "server-cpu") for name in "abc"]
    table = pd.concat([networks.table.assign(device=i, value=2**i * networks.table["value"]) for i in range(3)])
    return Measurements(networks.architectures, devices, table.reset_index(drop=True), "toys")


def test_a_device_left_out_is_learnt_from_its_samples(three_devices: Measurements) -> None:
    rows = pd.DataFrame(study.scored(three_devices, CONFIGS / "network_line.yaml", "devices"))
    assert set(rows["device"]) == set("abc") and set(rows["sampler"]) == {"random"}
    assert sorted(set(rows["samples"])) == [1, 3, 5, 10, 20]
    assert (rows["n"] + rows["samples"] == 200).all()  # all but the samples are scored
    error = rows.groupby("samples")["mape"].mean()
    assert error[20] < 5 < error[1]


def test_a_predictor_that_adapts_learns_the_other_families_first(three_devices: Measurements) -> None:
    line = RelativeLine(encoder=KindTotals(("macs", "activations", "params"), groups=False, log=False))
    rows = pd.DataFrame(protocols.left_out(three_devices, lambda: NearestDevice(source=line), ["b"]))
    assert [device.name for device in line.devices_] == ["a", "c"]
    assert set(rows["device"]) == {"b"} and set(rows["sampler"]) == {"none", "random", "own"}
    error = rows[rows["sampler"] == "random"].set_index("samples")["mape"]
    assert error[20] < 4  # a line on the predictions for another device


def test_an_encoder_of_decisions_refuses_networks_in_a_sentence(networks: Measurements) -> None:
    with pytest.raises(InputError, match="Networks of any kind have no decisions"):
        study.scored(networks, CONFIGS / "source_ridge.yaml", "random")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the floors on the bundled networks, two folds, two devices left out."""
    out = tmp_path_factory.mktemp("arena")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "held_out", partial(protocols.held_out, count=2))
        two = ("milan_ort_fp32_1", "milan_jax_fp32_1")
        patch.setattr(study, "left_out", lambda m, make, *_, **__: protocols.left_out(m, make, two))
        study.arena(out, tables="convnet+zoo", predictors="network_line,network_kinds")
    return out


def test_a_part_of_the_arena_has_rows_of_every_protocol(part: Path) -> None:
    rows = pd.DataFrame(json.loads((part / "summary.json").read_text()))
    mean = rows[rows["protocol"] == "families"].groupby("predictor")["mape"].mean()
    assert 0 < mean["network_line"] < 40 and 0 < mean["network_kinds"] < 40
    assert set(rows["protocol"].dropna()) == set(study.PROTOCOLS)
    assert rows["cpu_min"].dropna().item() == pytest.approx(
        rows.groupby(["predictor", "protocol"])["cpu_s"].first().sum() / 60
    )


def test_rows_of_an_interrupted_study_are_kept_unless_the_file_changed(
    part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = []

    def score(m: Measurements, file: Path, *_: object) -> list[dict]:
        scored.append(file.stem)
        return []

    monkeypatch.setattr(study, "scored", score)
    study.arena(shutil.copytree(part, tmp_path / "again"), tables="convnet+zoo", predictors="network_line")
    assert not scored
    (mine := tmp_path / "network_line.yaml").write_text((CONFIGS / "network_macs.yaml").read_text())
    study.arena(tmp_path / "again", tables="convnet+zoo", protocols="families", predictors=str(mine))
    assert scored == ["network_line"]


def test_features_that_are_zero_in_training_have_no_coefficient(networks: Measurements) -> None:
    line = RelativeLine(encoder=KindTotals(log=False), penalty=1.0, spared=5)
    x = line.encoder(networks.architectures)
    samples = np.flatnonzero(x[:, 5:].any(axis=1))[:4]
    line.fit(networks.where(archs=samples))
    absent = ~x[samples].any(axis=0)
    assert absent.any() and not line.weights_[:-1][absent].any()


def test_parts_that_are_rare_in_training_do_not_explode() -> None:
    """All takes 3 s per unit; one network in sixty has a hundredth of a rare kind, and takes 10 % longer."""
    rng = np.random.default_rng(0)
    first = rng.uniform(1, 10, 60)
    rare = np.where(np.arange(60) == 7, first / 100, 0)
    a, y = np.column_stack([first + rare, first, rare]), 3 * (first + rare) * np.where(rare > 0, 1.1, 1)
    penalties, new = np.array([0, 0.3, 0.3]), np.array([5.0, 0, 5.0])  # of the rare kind alone, which takes 15 s
    assert new @ least_relative(a, y, 30, penalties) > 60
    assert 14 < new @ least_relative(a, y, 30, penalties, quantities=1) < 18


def test_a_predictor_that_cannot_answer_a_table_is_left_out_in_a_sentence(
    part: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(part, tmp_path / "arena")
    with pytest.raises(InputError, match="Networks of any kind have no decisions"):
        study.arena(out, "families", "convnet+zoo", "source_ridge")
    study.arena(out, "families", "convnet+zoo", "source_ridge,network_macs")
    assert "convnet+zoo, families: source_ridge is left out: Networks of any kind" in capsys.readouterr().err
    assert "network_macs" in (out / "summary.json").read_text()


def test_the_page_has_a_table_of_each_protocol_and_a_picture(part: Path, tmp_path: Path) -> None:
    (tmp_path / "arena.md").write_text(f"# Old\n\n## {report.TITLES['ncnn-gpus']}\n\nmeasured before\n")
    report.report(part / "summary.json", tmp_path)
    page = (tmp_path / "arena.md").read_text()
    assert page.endswith(f"\n\n## {report.TITLES['ncnn-gpus']}\n\nmeasured before\n") and "# Old" not in page
    assert all(f"### {heading}" in page for heading in report.HEADINGS.values())
    assert (tmp_path / "arena_convnet+zoo.png").stat().st_size > 10_000 and "(arena_convnet+zoo.png)" in page
    assert "| predictor | 1 network | 3 networks |" in page
    (row,) = [line for line in page.split("### ")[1].splitlines() if line.startswith("| network_kinds")]
    cells = [float(cell) for cell in row.split("|")[2:-1]]
    rows = pd.DataFrame(json.loads((part / "summary.json").read_text()))
    kinds = rows[(rows["predictor"] == "network_kinds") & (rows["protocol"] == "families")]
    assert cells[-1] == pytest.approx(kinds["cpu_s"].iloc[0], abs=0.06) and cells[0] == pytest.approx(
        kinds["mape"].mean(), abs=0.06
    )
    with pytest.raises(InputError, match="has no rows of the arena"):
        (tmp_path / "none.json").write_text("[]")
        report.report(tmp_path / "none.json", tmp_path)


def test_predictions_that_are_no_numbers_are_refused(networks: Measurements) -> None:
    class Broken(RelativeLine):
        def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
            return super().predict_all(archs, chunk) * np.nan

    line = KindTotals(("macs",), groups=False, log=False)
    with pytest.raises(InputError, match="predictions of Broken are no finite numbers"):
        protocols.held_out(networks, lambda: Broken(encoder=line), "random")
