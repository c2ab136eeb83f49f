"""Lightning's trainer: arguments reach it, a fit that was killed continues, and several processes share the batches."""

import re
import signal
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import pytest
import torch

import train
from datasets.measured import Measured
from datasets.records import InputError, Measurements
from datasets.spaces.convolution import Convolution
from datasets.splits import HeldOutArchitectures
from encoders.cell import CellOneHot
from predictors import training
from predictors.base import Predictor
from predictors.blend import Blend
from predictors.checkpoints import Checkpoints
from predictors.ensemble import Ensemble
from predictors.gcn import GCN
from predictors.layers.perfnetrt import PerfNetRT
from predictors.linear import Linear
from predictors.message_passing import MessagePassingPredictor
from predictors.mlp import MLP
from predictors.neural import NeuralPredictor
from predictors.regressor import Regressor
from predictors.sage import SAGE
from predictors.trainer import Trainer, check_trained_by_lightning, checkpoints_of, fitting
from tests.conftest import implementations, run

SMALL = MLP(epochs=4, hidden=8)


class Stopped(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "seconds", 0.0)


@pytest.mark.parametrize(
    "predictor, saves",
    [
        (GCN(epochs=5, hidden=8, layers=2, dropout=0.2), 3),
        (SAGE(epochs=4, hidden=8, layers=2, dropout=0.2), 2),
        (Ensemble(member=SMALL, size=3), 6),
        (Ensemble(member=SMALL, size=3), 8),
        (SMALL, 4),
    ],
    ids=["gcn", "sage", "a member half done", "a member done", "done"],
)
def test_a_fit_that_was_stopped_ends_as_if_it_had_not_been(
    predictor: Regressor, saves: int, measurements: Measurements, tmp_path: Path, every_epoch: None, monkeypatch: Any
) -> None:
    m = measurements.where(archs=np.arange(80))
    whole = replace(predictor).fit(m, m).predict_all(m.architectures)
    save, count = Checkpoints._save, [0]

    def stopping(self: Checkpoints, trainer: lightning.Trainer) -> None:
        save(self, trainer)
        count[0] += 1
        if count[0] == saves:
            raise Stopped

    with monkeypatch.context() as patch, suppress(Stopped), fitting(Trainer(), tmp_path / "fit", "settings"):
        patch.setattr(Checkpoints, "_save", stopping)
        replace(predictor).fit(m, m)
    steps: list[int] = []
    step = training._Regression.training_step
    monkeypatch.setattr(training._Regression, "training_step", lambda *a: steps.append(a[2]) or step(*a))
    with fitting(Trainer(), tmp_path / "fit", "settings"):
        again = replace(predictor).fit(m, m).predict_all(m.architectures)
    np.testing.assert_array_equal(again, whole)
    epochs = predictor.member.epochs * predictor.size if isinstance(predictor, Ensemble) else predictor.epochs  # type: ignore[attr-defined]
    assert len(steps) == (epochs - saves) * 3, "what was done was done again"  # three batches of at most 32


@pytest.mark.parametrize("change", ["settings", "truncated", "no checkpoint", "not wanted"])
def test_checkpoints_of_other_settings_and_damaged_ones_are_not_used(
    change: str, measurements: Measurements, tmp_path: Path, every_epoch: None
) -> None:
    whole = replace(SMALL).fit(measurements).predict_all(measurements.architectures)
    with fitting(Trainer(), tmp_path / "fit", "settings"):
        replace(SMALL, seed=5).fit(measurements)
    file = tmp_path / "fit" / "1.ckpt"
    if change in ("truncated", "no checkpoint"):
        file.write_bytes(file.read_bytes()[:500] if change == "truncated" else b"no checkpoint")
    trainer = Trainer(enable_checkpointing=change != "not wanted")
    with fitting(trainer, tmp_path / "fit", "others" if change == "settings" else "settings"):
        again = replace(SMALL).fit(measurements).predict_all(measurements.architectures)
    np.testing.assert_array_equal(again, whole)


KILLED = """
import os, signal, sys
from encoders.cell import CellOneHot
from predictors.checkpoints import Checkpoints
Checkpoints.seconds = 0.0
save = Checkpoints._save
def stopping(self, trainer):
    save(self, trainer)
    if trainer.current_epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoints._save = stopping
import train
train.command(sys.argv[1:])
"""


def test_the_same_command_continues_after_kill_9(tmp_path: Path, every_epoch: None, capsys: Any) -> None:
    out = tmp_path / "run"
    flags = ["--predictor", "configs/predictors/mlp.yaml", "--predictor.epochs", "5", "--predictor.hidden", "16"]
    flags += ["--trainer.gradient_clip_val", "0.5", "--out", str(out)]
    killed = run("-c", KILLED, *flags)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists() and (checkpoints_of(out) / "1.ckpt").is_file()
    assert train.command(flags) == "done" and "continues from epoch 3" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "checkpoints were left"
    assert "trainer:\n  gradient_clip_val: 0.5\n" in (out / "config.yaml").read_text()
    continued = Predictor.load(out / "predictor.pt")
    parts = HeldOutArchitectures()(Measured().measurements(), np.random.default_rng(0))
    with fitting(Trainer(gradient_clip_val=0.5, enable_checkpointing=False), out, ""):
        whole = MLP(encoder=CellOneHot(), epochs=5, hidden=16).fit(parts.train, parts.val)
    archs = parts.test.architectures
    np.testing.assert_array_equal(continued.predict_all(archs), whole.predict_all(archs))


def test_arguments_reach_lightning_as_they_are(monkeypatch: pytest.MonkeyPatch, measurements: Measurements) -> None:
    given: dict[str, Any] = {}

    def trainer(**arguments: Any) -> None:
        given.update(arguments)
        raise Stopped

    monkeypatch.setattr(lightning, "Trainer", trainer)
    wanted = Trainer("gpu", [0, 2], "bf16-mixed", 4, 0.5, True, 3, 7, False, True, True, True, Path("logs"))
    with suppress(Stopped), fitting(wanted, Path("unused"), ""):
        replace(SMALL).fit(measurements)
    expected = {f.name: getattr(wanted, f.name) for f in fields(Trainer)} | {"enable_checkpointing": False}
    assert expected.items() <= given.items() and given["strategy"] == training.SEVERAL and given["max_epochs"] == 4
    assert [type(callback) for callback in given["callbacks"]] == [Checkpoints]
    assert all(getattr(wanted, f.name) != getattr(Trainer(), f.name) for f in fields(Trainer) if f.name not in
               ("enable_checkpointing", "enable_progress_bar"))  # fmt: skip


def test_the_progress_bar_is_on_in_terminals_and_off_where_quiet_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown = training.lightning_trainer(Trainer(), 1, []).progress_bar_callback
    hidden = training.lightning_trainer(Trainer(enable_progress_bar=False), 1, []).progress_bar_callback
    assert shown is not None and hidden is None


def test_the_logger_writes_both_losses(tmp_path: Path, measurements: Measurements) -> None:
    options = Trainer(logger=True, default_root_dir=tmp_path, check_val_every_n_epoch=2, log_every_n_steps=1)
    with fitting(options, tmp_path / "fit", ""):
        replace(SMALL).fit(measurements, measurements)
    (file,) = tmp_path.glob("lightning_logs/version_0/*")
    if file.name == "metrics.csv":
        table = pd.read_csv(file)
        assert table["val_loss"].notna().sum() == 2 and table["train_loss"].notna().sum() == 4 * 7


TWO = """
import sys
import numpy as np
from datasets.spaces.nasbench201 import NasBench201
from pathlib import Path
from predictors.message_passing import MessagePassingPredictor
from predictors.mlp import MLP
from predictors.sage import SAGE
from predictors.trainer import Trainer, fitting
from tests.conftest import made_up
m = made_up(NasBench201().sample(200, np.random.default_rng(0)))
for devices in (1, 2):
    with fitting(Trainer(devices=devices), Path(sys.argv[1]) / str(devices), ""):
        SAGE(epochs=1, hidden=8, layers=2).fit(m, m)  # batches of torch-geometric, parameters that do nothing
        fitted = MLP(epochs=30, hidden=32).fit(m, m)
    print(np.abs(fitted.predict_all(m.architectures) / m.matrix("latency_ms") - 1).mean())
"""


def test_two_processes_learn_as_well_as_one(tmp_path: Path) -> None:
    done = run("-c", TWO, tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = map(float, re.findall(r"^0\.\d+$", done.stdout, re.MULTILINE))
    assert two < 1.5 * one + 0.02 and two != one, "they shared no batches" if two == one else done.stdout
    saved = torch.load(tmp_path / "2" / "2.ckpt", weights_only=True)
    assert saved["epoch"] == 29 and saved["global_step"] == 30 * 6  # thirteen batches of 16: six for each process


DENSE = [cls for cls in implementations("predictors", NeuralPredictor) if not issubclass(cls, MessagePassingPredictor)]


@pytest.mark.parametrize("cls", DENSE)
def test_networks_compute_where_their_inputs_are(cls: type[NeuralPredictor], measurements: Measurements) -> None:
    """A matrix made on the CPU ended a fit on a GPU. Torch's meta device, as a GPU, refuses tensors of another one."""
    archs = measurements.architectures if cls is not PerfNetRT else Convolution().sample(40, np.random.default_rng(0))
    for predictor in cls.examples()[:2]:
        predictor.space_, predictor.devices_ = archs.space, measurements.devices
        predictor.scale.fit(np.ones((len(archs), 2)))
        x = predictor.encode(archs)
        batch, _ = next(iter(predictor._batches(x, np.zeros((len(archs), 2)), 16, False)))
        network = predictor._network(x, 2).to("meta")
        assert network(**{name: value.to("meta") for name, value in batch.items()}).device.type == "meta"


@pytest.mark.parametrize(
    "trainer, sentence",
    [
        ({"devices": 0}, "trainer.devices is a number of devices, -1 or a list of indices, not 0"),
        ({"devices": [0, 0]}, "trainer.devices is a number"),
        ({"devices": []}, "trainer.devices is a number"),
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches has to be 1 or more, not 0"),
        ({"gradient_clip_val": 0.0}, "trainer.gradient_clip_val has to be above 0, or null, not 0.0"),
    ],
)
def test_faulty_arguments_are_one_sentence(trainer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Trainer(**trainer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_an_accelerator_that_is_not_here_is_one_sentence(measurements: Measurements, tmp_path: Path) -> None:
    for options in (Trainer("gpu"), Trainer("cuda", 2), Trainer(devices=-1), Trainer(devices=[0, 1]), Trainer("mps")):
        with (
            pytest.raises(InputError, match=r"cannot train with accelerator=(gpu|cuda|cpu|mps), devices="),
            fitting(options, tmp_path / "fit", ""),
        ):
            replace(SMALL).fit(measurements)


def test_arguments_for_what_lightning_does_not_train_are_refused() -> None:
    nested = Blend(members=[Linear(), Ensemble(member=SMALL)])
    for predictor in (SMALL, nested, Linear()):
        check_trained_by_lightning(Trainer(), predictor)
    for trained in (SMALL, nested):
        check_trained_by_lightning(Trainer(precision="bf16-mixed"), trained)
    with pytest.raises(InputError, match="Linear is not trained by Lightning: leave --trainer out"):
        check_trained_by_lightning(Trainer(precision="bf16-mixed"), Linear())
    assert hasattr(NeuralPredictor, "_training_loop"), "by which they are recognised"


def test_only_what_changes_the_result_is_part_of_the_configuration() -> None:
    assert Trainer(enable_progress_bar=True, logger=True, log_every_n_steps=1).settings() == {}
    assert Trainer(precision="bf16-mixed").settings() == {"precision": "bf16-mixed"}
