"""Accuracies: the digits task is the same every time, training learns it, journals and tables of no device hold."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets.measured import Measured
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.accuracy.digits import CLASSES, Digits
from measure.accuracy.training import DigitsTraining
from measure.accuracy.trials import METRIC, accuracy, run_accuracies
from measure.campaign import Journal, distinct_sample, pending, read_journal
from measure.table import repeatability, seed_spearman, to_accuracies, to_table, write_table
from tests.conftest import ROOT, run
from tests.doubles.journal_rows import latency_row

SMALL = Digits(train=1000, test=500, distractors=1, clutter=0, turn=0.0, noise=0.0)
QUICK = DigitsTraining(SMALL, "nasbench201(channels=8,cells=1,image=16)", epochs=6, batch=25)
CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
FLAGS = ("--training.skeleton", "nasbench201(channels=4,cells=1,image=8)", "--training.epochs", "1",
         "--training.task.train", "250", "--training.task.test", "100")  # fmt: skip


# The task


def test_the_same_numbers_give_the_same_bytes() -> None:
    """Also tomorrow: what the bundled accuracies were measured on is pinned."""
    first, again = Digits(train=60, test=30).labelled_images(), Digits(train=60, test=30).labelled_images()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.train_images.shape == (60, 3, 32, 32) and first.test_images.dtype == np.uint8
    assert hashlib.sha256(b"".join(part.tobytes() for part in first)).hexdigest()[:16] == "92e004eb54f6035f"


@pytest.mark.parametrize("name", [field.name for field in fields(Digits)])
def test_every_number_of_the_task_matters(name: str) -> None:
    task = Digits(train=20, test=20)
    first, other = task.labelled_images(), replace(task, **{name: getattr(task, name) + 1}).labelled_images()
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_training_and_test_images_come_from_different_digits_and_classes_are_balanced() -> None:
    (train, train_classes), (test, test_classes) = Digits().sources()
    assert len(train) + len(test) == 1797 and {image.tobytes() for image in train}.isdisjoint(
        image.tobytes() for image in test
    )
    assert set(train_classes) == set(test_classes) == set(range(CLASSES))
    task = Digits(train=105, test=50).labelled_images()
    assert np.ptp(np.bincount(task.train_labels, minlength=CLASSES)) == 1
    assert set(np.bincount(task.test_labels, minlength=CLASSES)) == {5}


def test_the_largest_digit_is_the_label() -> None:
    """Without anything else in the image, turned or noisy, it is recognised by the nearest mean of a class."""
    task = Digits(train=500, test=200, distractors=0, clutter=0, turn=0.0, noise=0.0).labelled_images()

    def shape(images: np.ndarray) -> np.ndarray:
        grey = images.mean(1, dtype=float).reshape(len(images), -1)
        ink = np.abs(grey - np.median(grey, axis=1, keepdims=True))
        return ink / np.linalg.norm(ink, axis=1, keepdims=True)

    train, test = shape(task.train_images), shape(task.test_images)
    means = np.stack([train[task.train_labels == label].mean(0) for label in range(CLASSES)])
    assert ((test @ means.T).argmax(1) == task.test_labels).mean() > 0.4


# Training


def test_training_learns_and_is_its_seeds() -> None:
    assert accuracy(QUICK, CELL, SMALL.labelled_images()) > 30  # chance is 10
    brief, task = replace(QUICK, epochs=1), replace(SMALL, train=200).labelled_images()
    assert accuracy(brief, CELL, task, seed=1) == accuracy(brief, CELL, task, seed=1)
    assert accuracy(brief, CELL, task, seed=1) != accuracy(brief, CELL, task, seed=2)


def test_a_network_sees_every_pixel_and_a_constant_guesses() -> None:
    network, fold = QUICK.network(CELL)
    assert fold == 2 and network.ops[0].attrs["shape"] == (12, 16, 16)
    assert DigitsTraining(skeleton="nasbench201(image=32)").network(CELL)[1] == 1
    other = replace(QUICK, skeleton="nasbench101(channels=8,cells=1,image=8)")
    assert other.network("conv3x3:0.1")[0].ops[0].attrs["shape"] == (48, 8, 8)
    nothing = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert accuracy(replace(QUICK, epochs=1), nothing, replace(SMALL, train=50).labelled_images()) == pytest.approx(10)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"skeleton": "nasbench201(image=24)"}, "choose a skeleton of 10 classes"),
        ({"skeleton": "nasbench201(classes=100)"}, "choose a skeleton of 10 classes"),
        ({"batch": 1001}, "a batch of 1 to 1000 images, not 6, 0.02 and 1001"),
        ({"epochs": 0}, "needs an epoch or more"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(wrong: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(QUICK, **wrong).network(CELL)


def test_a_task_that_cannot_be_drawn_is_a_sentence() -> None:
    for wrong in ({"train": 0}, {"clutter": -1}, {"noise": -0.1}):
        with pytest.raises(InputError, match="cannot be drawn: give one training and one test image or more"):
            Digits(**wrong)


# Journals and tables


def test_kill_nine_then_the_same_command_goes_on_and_the_table_is_a_data_set(tmp_path: Path) -> None:
    journal, out = tmp_path / "journal.jsonl", tmp_path / "accuracy.parquet"
    command = ("-m", "measure", "accuracy", "--limit", "4", "--seeds", "2", "--journal", str(journal), *FLAGS)
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "seed 0: " in process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    with journal.open("ab") as file:
        file.write(b'{"space": "nasb')  # as if torn
    before = read_journal(journal)
    done = run(*command)
    assert f"{8 - len(before)} rows trained (0 failed); 8 in" in done.stdout, done.stdout + done.stderr
    rows = read_journal(journal)
    cells = distinct_sample(NasBench201(), 4, 0).keys
    assert rows[: len(before)] == before and len(before) in range(1, 8)
    assert [(row["repeat"], row["key"]) for row in rows] == [(seed, key) for seed in (0, 1) for key in cells]

    done = run("-m", "measure", "table", "--journal", journal, "--out", out)
    assert "seed to seed: Spearman" in done.stdout and "4 values of 4 architectures" in done.stdout, done.stderr
    m = Measured(out).measurements()
    assert m.devices == () and m.architectures.space == NasBench201() and m.architectures.keys == cells
    expected = [np.mean([row["value"] for row in rows if row["key"] == key]) for key in cells]
    np.testing.assert_allclose(m.matrix(METRIC)[:, 0], expected)
    done = run(*command, "--training.rate", "0.1")
    assert done.returncode == 2 and "holds rows of another protocol; name another journal" in done.stderr


def row(key: str, seed: int, value: float, **more: object) -> dict:
    return {"space": str(NasBench201()), "key": key, "device": None, "repeat": seed, "metric": METRIC, "value": value,
            "date": "2026-01-01", "host": {}, "protocol": {}, "versions": {}, **more}  # fmt: skip


def test_seeds_become_their_mean_and_their_agreement_is_told() -> None:
    first, second = {"a": 50.0, "b": 60.0, "c": 70.0, "d": 80.0}, {"a": 54.0, "b": 75.0, "c": 70.0}
    rows = [row(key, 0, value) for key, value in first.items()] + [row(key, 1, value) for key, value in second.items()]
    rows.append({"space": "s", "device": None, "key": "e", "repeat": 0, "error": "FloatingPointError: ..."})
    table, meta = to_accuracies(rows)
    assert dict(zip(table["key"], table["value"], strict=True)) == {"a": 52, "b": 67.5, "c": 70, "d": 80}
    assert list(table["repeats"]) == [2, 2, 2, 1] and meta["left_out"]["failed"] == 1
    assert table["sd"][0] == pytest.approx(8**0.5) and np.isnan(table["sd"][3]) and np.isnan(table["seed_1"][3])
    assert meta["seed_spearman"] == {"spearman": pytest.approx(0.5), "cells": 3}
    assert seed_spearman(table[:2]) == {} == seed_spearman(table.drop(columns="seed_1"))
    with pytest.raises(InputError, match="are no accuracies, or not only"):
        to_accuracies([*rows, latency_row("a", 1.0, 1.0)])
    with pytest.raises(InputError, match="This is no table of milliseconds"):
        repeatability(table)
    assert to_table([latency_row("a", 1.0, 1.0)])[0]["value"][0] == 1.0


def test_a_failure_is_a_row_and_a_journal_of_both_kinds_is_read(tmp_path: Path) -> None:
    archs = distinct_sample(NasBench201(), 1, 0)
    diverging = replace(QUICK, task=replace(SMALL, train=100, test=10), rate=1e30, epochs=2)
    journal = Journal(tmp_path / "journal.jsonl")
    (failed,) = run_accuracies(archs, diverging, journal)
    assert (
        failed["error"] == "FloatingPointError: the loss is no longer a finite number; take a lower rate"
        and "value" not in failed
    )
    assert not list(run_accuracies(archs, diverging, journal))
    assert len(list(run_accuracies(archs, diverging, journal, retry=True))) == 1
    assert pending(archs, [], journal) == []


def test_a_predictor_learns_accuracies(tmp_path: Path) -> None:
    """A table made up from the convolutions of each cell, learnt by `train.py`."""
    archs = distinct_sample(NasBench201(), 60, 0)
    convolutions = (archs.decisions == 3).sum(1)
    rows = [row(key, 0, 60.0 + 5 * n) for key, n in zip(archs.keys, convolutions.tolist(), strict=True)]
    write_table(*to_accuracies(rows), tmp_path / "accuracy.parquet")
    assert json.loads(pq.read_schema(tmp_path / "accuracy.parquet").metadata[b"gnomon"])["devices"] == []
    done = run("train.py", "--data", "datasets.measured.Measured", "--data.path", tmp_path / "accuracy.parquet",
               "--predictor", "configs/predictors/onehot.yaml", "--predictor.metric", METRIC,
               "--split", "configs/splits/held_out_architectures.yaml", "--out", tmp_path / "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert min(score["spearman"] for score in scores if score["set"] == "test") > 0.9
