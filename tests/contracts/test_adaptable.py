"""New devices: each class of predictors learns one or refuses in one sentence; `train.py` scores them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import train
from datasets.base import Dataset
from datasets.cli import main
from datasets.records import Device, InputError, Measurements
from datasets.spaces.nasbench201 import OPS, NasBench201
from datasets.splits import HeldOutDevices, Split
from encoders.cell import CellOneHot
from encoders.flat import Totals
from predictors.base import Adaptable, Predictor
from predictors.commands.comparing import Sampling, compare, transfer
from predictors.evaluation import evaluate
from predictors.export import OnnxPredictor, export
from predictors.layers.perfnetrt import PerfNetRT
from predictors.layers.roofline_trees import RooflineTrees
from predictors.linear import Linear
from predictors.metrics import report
from predictors.mlp import MLP
from predictors.networks.layer_sum import LayerSum
from predictors.neural import NeuralPredictor
from predictors.new_devices.base import FewShot
from predictors.new_devices.conditioned import Conditioned
from predictors.new_devices.help_meta import HelpMeta
from predictors.new_devices.proxies import OwnLine
from predictors.run_folder import SHORT
from predictors.sage import SAGE
from tests.conftest import ROOT, implementations, made_up, run
from tests.contracts.test_predictors import small
from tests.fuzz.inputs import write_measurements

ADAPTABLE = [cls for cls in implementations("predictors", Predictor) if isinstance(small(cls), Adaptable)]
every_adaptable = pytest.mark.parametrize("cls", ADAPTABLE, ids=lambda cls: cls.__name__)
SOURCES, NEW = ("toy_0", "toy_1", "toy_3"), "toy_2"


@pytest.fixture(scope="module")
def toys() -> Measurements:
    """Cells whose every op reaches the output, so that labels follow from what predictors of any network see."""
    cells = NasBench201().all()
    live = (cells.decisions != OPS.index("none")).all(axis=1)
    drawn = np.random.default_rng(3).choice(np.flatnonzero(live), 120, replace=False)
    return made_up(cells[drawn], 4)


@pytest.fixture(scope="module")
def fitted(toys: Measurements) -> dict[type, Any]:
    return {cls: small(cls).fit(toys.where(devices=SOURCES)) for cls in ADAPTABLE}


# Each kind that learns new devices


def test_the_kinds_that_learn_new_devices_are_found() -> None:
    names = {cls.__name__ for cls in ADAPTABLE}
    assert {"Conditioned", "OwnLine", "HelpMeta", "Nasflat", "FineTunedGCN", "RooflineTrees"} <= names
    assert isinstance(LayerSum(), Adaptable)


@every_adaptable
def test_published_numbers_alone_are_enough_or_refused_in_one_sentence(
    cls: type, fitted: dict[type, Any], toys: Measurements
) -> None:
    predictor, device = fitted[cls], toys.device(NEW)
    if not issubclass(cls, FewShot | RooflineTrees):
        for refuse in (lambda: predictor.adapt(None, device), lambda: small(cls).check_new_device(device, 0)):
            with pytest.raises(InputError, match=rf"^{cls.__name__} learns a new device from at least \d+ measured"):
                refuse()
        return
    small(cls).check_new_device(device, 0)
    before = predictor.predict_all(toys.architectures)
    new = predictor.adapt(None, device)
    assert new.devices_ == (device,) and new.metadata_["adapted"]["samples"] == 0
    truth = toys.where(devices=[NEW]).matrix("latency_ms")[:, 0]
    if cls is not OwnLine:  # a constant on each source device
        assert report(truth, new.predict(toys.architectures, device))["spearman"] > 0.5
    np.testing.assert_array_equal(predictor.predict_all(toys.architectures), before)
    with pytest.raises(InputError, match="Say which device is new"):
        predictor.adapt(None)


@every_adaptable
def test_the_new_device_may_be_named_beside_its_measurements(
    cls: type, fitted: dict[type, Any], toys: Measurements
) -> None:
    predictor, device, archs = fitted[cls], toys.device(NEW), toys.architectures
    chosen = archs.positions(predictor.choose(archs, 8, np.random.default_rng(0)))
    table = toys.where(archs=chosen)
    small(cls).check_new_device(device, 8)
    one, other = predictor.adapt(table.where(devices=[NEW])), predictor.adapt(table, device)
    assert one.devices_ == other.devices_ == (device,)
    np.testing.assert_array_equal(one.predict(archs, device), other.predict(archs, device))
    with pytest.raises(InputError, match="no device 'abacus'"):
        predictor.adapt(table, Device("abacus", "wood", "server-cpu", features=device.features))


def test_samples_bring_the_roofline_of_a_device_to_its_speed(fitted: dict[type, Any], toys: Measurements) -> None:
    """A factor alone, so the order of its predictions stays."""
    predictor, device = fitted[RooflineTrees], toys.device(NEW)
    slow = Measurements(
        toys.architectures, toys.devices, toys.table.assign(value=3 * toys.table["value"]), "three times as slow"
    )
    truth = slow.where(devices=[NEW]).matrix("latency_ms")[:, 0]
    none, some = predictor.adapt(None, device), predictor.adapt(slow.where(archs=np.arange(10)), device)
    assert report(truth, none.predict(slow.architectures, device))["mape"] > 0.5
    assert report(truth, some.predict(slow.architectures, device))["mape"] < 0.25
    np.testing.assert_allclose(predictor.predict(toys.architectures, device), none.predict(toys.architectures, device))
    bare = Device("bare", "new", "server-cpu")
    with pytest.raises(InputError, match="'bare' has no published peak_gflops and memory_gbs"):
        predictor.adapt(None, bare)
    with pytest.raises(InputError, match="not fitted on device 'bare'; .* any other with published peak_gflops"):
        predictor.on(bare)


def test_what_was_adapted_does_not_learn_from_published_numbers(fitted: dict[type, Any], toys: Measurements) -> None:
    mine = fitted[Conditioned].adapt(toys.where(archs=np.arange(10), devices=[NEW]))
    with pytest.raises(InputError, match="was adapted to toy_2; published numbers need the one of its source devices"):
        mine.adapt(None, toys.device("toy_0"))


# Fine-tuning of networks

TUNED = [cls for cls in ADAPTABLE if issubclass(cls, NeuralPredictor)]


def test_all_neural_predictors_learn_new_devices() -> None:
    assert {cls for cls in implementations("predictors", NeuralPredictor)} == set(TUNED)


@pytest.mark.parametrize("cls", TUNED, ids=lambda cls: cls.__name__)
def test_twenty_samples_teach_a_network_of_source_devices_more_than_a_new_one(
    cls: type, toys: Measurements, tmp_path: Path
) -> None:
    def thorough() -> Any:
        one: Any = cls.examples()[-1]  # type: ignore[attr-defined]
        return replace(one, epochs=30)

    toys = toys.where(archs=np.arange(80))
    few, truth = toys.where(archs=np.arange(20), devices=[NEW]), toys.where(devices=[NEW]).matrix("latency_ms")[20:]
    archs, sources = toys.architectures[20:], thorough().fit(toys.where(devices=SOURCES))
    before = sources.predict_all(archs)
    adapted, scratch = sources.adapt(few), thorough().fit(few)
    tuned, alone = (np.abs(np.log(one.predict_all(archs) / truth)).mean() for one in (adapted, scratch))
    assert tuned < max(0.8 * alone, 0.02), (tuned, alone)  # some need no more than the samples
    np.testing.assert_array_equal(sources.predict_all(archs), before)
    assert adapted.metadata_["adapted"] == {"samples": 20, "sources": list(SOURCES)}
    adapted.save(tmp_path / "adapted.pt")
    again = Predictor.load(tmp_path / "adapted.pt")
    np.testing.assert_allclose(again.predict_all(archs), adapted.predict_all(archs), rtol=1e-5)


@pytest.mark.parametrize("cls", [MLP, SAGE, PerfNetRT], ids=lambda cls: cls.__name__)
def test_a_network_that_was_fine_tuned_is_exported(
    cls: type, fitted: dict[type, Any], toys: Measurements, tmp_path: Path
) -> None:
    adapted = fitted[cls].adapt(toys.where(archs=np.arange(9), devices=[NEW]))
    export(adapted, tmp_path / "adapted.onnx")
    exported = OnnxPredictor.load(tmp_path / "adapted.onnx")
    np.testing.assert_allclose(
        exported.predict(toys.architectures, exported.devices_[0]), adapted.predict_all(toys.architectures)[:, 0], 1e-3
    )


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_samples_give_finite_predictions_that_keep_the_order(
    fitted: dict[type, Any], toys: Measurements, count: int
) -> None:
    few = toys.where(archs=np.arange(count), devices=[NEW])
    for cls in TUNED:
        assert np.isfinite(fitted[cls].adapt(few).predict_all(toys.architectures)).all(), cls


def test_dimensions_that_happen_to_be_as_many_as_the_devices_are_kept() -> None:
    """A head that is stored as inputs x outputs, or as outputs x inputs, with as many inputs as devices."""
    from torch import nn

    from predictors.fine_tuning import with_output

    class Head(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.linear, self.weight = nn.Linear(3, outputs), nn.Parameter(torch.randn(3, outputs))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) + x @ self.weight

    whole, single, x = Head(3), Head(1), torch.randn(5, 3)
    with_output(single, whole.state_dict(), 2, 3)
    torch.testing.assert_close(single(x), whole(x)[:, 2:])


# The front door


@pytest.fixture(scope="module")
def data(toys: Measurements, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table as a file, as a configuration names it."""
    folder = tmp_path_factory.mktemp("toys")
    write_measurements(toys, folder / "toys.parquet")
    tree = {"class_path": "datasets.measured.Measured", "init_args": {"path": str(folder / "toys.parquet")}}
    (folder / "toys.yaml").write_text(yaml.safe_dump(tree))
    return folder / "toys.yaml"


def _flags(data: Path, predictor: str, *more: object) -> list[str]:
    split = ("--split=datasets.splits.HeldOutDevices", '--split.devices=["toy_2"]')
    return [f"--data={data}", *split, f"--predictor=configs/predictors/{predictor}.yaml", *map(str, more)]


def _tested(out: Path) -> dict[str, Any]:
    rows = json.loads((out / "metrics.json").read_text())
    assert {row["device"] for row in rows if row["set"] == "val"} == set(SOURCES)
    (row,) = (row for row in rows if row["set"] == "test" and row["cells"] == "all")
    return row


@pytest.mark.parametrize("samples", [0, 20])
def test_train_scores_a_device_that_was_held_out(data: Path, tmp_path: Path, samples: int) -> None:
    out = tmp_path / "run"
    assert train.command(_flags(data, "conditioned", f"--split.samples={samples}", f"--out={out}")) == "done"
    row = _tested(out)
    assert row["device"] == NEW and row["shots"] == samples and row["n"] == 120 - samples
    assert (row["sources"], row["source_cells"], row["sampler"]) == (3, 120, "own")
    assert row["spearman"] > (0.95 if samples else 0.7)
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert len(predictions[predictions["set"] == "test"]) == 120 - samples
    assert [d.name for d in Predictor.load(out / "predictor.pt").devices_] == list(SOURCES)
    compare(tmp_path)
    assert (tmp_path / "best.pt").is_file()


def test_trees_on_rooflines_are_scored_on_a_device_that_was_held_out(toys: Measurements) -> None:
    parts = HeldOutDevices((NEW,))(toys, np.random.default_rng(0))
    predictor = RooflineTrees(encoder=CellOneHot(), work=Totals(("macs", "moved_bytes")))
    rows, _ = evaluate(predictor.fit(parts.train, parts.val), parts, {"seed": 0})
    (row,) = (row for row in rows if row["set"] == "test" and row["cells"] == "all")
    assert row["device"] == NEW and row["n"] == 120 and row["spearman"] > 0.8


def test_samples_that_are_scored_are_never_learnt_from(toys: Measurements) -> None:
    """Other labels of the scored cells, the same predictions; and each sampler takes as many."""
    for sampler in ("own", "random"):
        split, tables = HeldOutDevices((NEW,), samples=15, sampler=sampler), []  # type: ignore[arg-type]
        value = toys.table["value"].to_numpy().copy()
        for _ in range(2):
            m = Measurements(toys.architectures, toys.devices, toys.table.assign(value=value), "toys")
            parts = split(m, np.random.default_rng(0))
            _, predictions = evaluate(Conditioned().fit(parts.train), parts, {"seed": 0})
            tables.append(predictions[predictions["set"] == "test"])
            scored = np.isin(toys.architectures.keys, tables[0]["key"])
            hidden = (toys.table["device"] == 2) & scored[toys.table["arch"]]
            value[hidden] = np.random.default_rng(1).permutation(value[hidden])
        assert len(tables[0]) == len(tables[1]) == 105
        np.testing.assert_array_equal(tables[0]["predicted"], tables[1]["predicted"])
        assert (tables[0]["measured"].to_numpy() != tables[1]["measured"].to_numpy()).any()


class Never(Linear):
    """A line that must not be fitted."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it was fitted")


class NeverHelp(HelpMeta):
    """A predictor that learns new devices and must not be fitted."""

    fit = Never.fit


class _Toys(Dataset):
    def __init__(self, m: Measurements) -> None:
        self.m = m

    def measurements(self) -> Measurements:
        return self.m


@pytest.mark.parametrize(
    "predictor, split, sentence",
    [
        (Never(), HeldOutDevices((NEW,)), "Never answers only for devices that it is fitted on, not for toy_2"),
        (Never(), HeldOutDevices((NEW,), samples=20), "choose one that learns new devices"),
        (NeverHelp(), HeldOutDevices((NEW,), samples=9), "from at least 10 measured architectures, not from 9"),
        (NeverHelp(), HeldOutDevices((NEW,), samples=120), "toy_2 has 120 architectures .* leave none to score"),
        (NeverHelp(), HeldOutDevices((NEW,), samples=-1), "samples = -1"),
    ],
)
def test_what_cannot_answer_is_refused_before_the_fit(
    toys: Measurements, tmp_path: Path, predictor: Predictor, split: Split, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        about = {"name": "x", "seed": 0}
        train._train(_Toys(toys), split, predictor, about, tmp_path / "run", train.Logging(), train.Trainer())


def test_a_refused_command_writes_nothing(data: Path, tmp_path: Path) -> None:
    done = run("train.py", *_flags(data, "flops", "--out", tmp_path / "run"))
    assert done.returncode == 2 and "Linear answers only for devices that it is fitted on" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_references_that_were_not_measured_on_a_device_are_one_sentence(toys: Measurements) -> None:
    gone = (toys.table["device"] == 2) & (toys.table["arch"] % 2 == 0)
    parts = HeldOutDevices((NEW,), samples=10)(
        Measurements(toys.architectures, toys.devices, toys.table[~gone], "gappy"), np.random.default_rng(0)
    )
    predictor = small(HelpMeta).fit(parts.train)
    with pytest.raises(InputError, match="architectures of which gappy has no latency_ms there"):
        evaluate(predictor, parts, {"seed": 0})


# One runner


def test_a_run_of_transfer_is_a_run_folder_and_compare_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sets, study = ROOT / "configs/device_sets/families.yaml", tmp_path / "study"
    arguments = OwnLine(), sets, "bundled:xeon-ort-fp32", study, "line", 200, Sampling([5], 2)
    assert transfer(*arguments) == "done" and transfer(*arguments) == "complete"
    (out,) = study.iterdir()
    again = ["--config", str(out / "config.yaml"), "--study", str(study)]
    assert main(transfer, "transfer", again) == "complete", "what a run wrote is what its command reads"
    out = out.rename(study / "line-bundled-xeon-ort-fp32-0-0123456789")
    assert transfer(*arguments) == "complete", "runs of earlier versions, whose folders had other names, are found"
    assert sorted(path.name for path in out.iterdir()) == sorted(SHORT)
    rows = json.loads((out / "metrics.json").read_text())
    assert {(row["set"], row["shots"], row["draw"]) for row in rows} == {("test", 5, 0), ("test", 5, 1)}
    assert yaml.safe_load((out / "config.yaml").read_text())["device_set"] == "bundled:xeon-ort-fp32"
    assert len(Predictor.load(out / "predictor.pt").devices_) == rows[0]["sources"]
    compare(study)
    assert "Mean Spearman over targets" in capsys.readouterr().out
    assert {row["part"] for row in json.loads((study / "summary.json").read_text())} == {"score"}
