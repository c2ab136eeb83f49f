"""What a choice of runtime and precision loses on machines of the bundled table of public networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from datasets.files.table_file import read_table
from datasets.measured import Measured
from gnomon.joint_times import JointTimes
from predictors.config import from_config
from predictors.regressor import Regressor
from studies.study import ROOT

TABLES = ("networks", "networks_milan")
PREDICTOR = ROOT / "configs" / "predictors" / "network_blend.yaml"
FOLDS = 10
MOST_MEASURED = 3
NOISE = 0.02
"""Relative error of a measurement, that `measured` allows for."""


def hosts() -> list[dict]:
    """Rows of the part `hosts`: regrets of choices for networks of families that were left out, by machine and of all.

    Families are divided into ten folds. The predictor of a fold, `network_blend.yaml`, is fitted to the other families;
    the errors of left-out networks of these give the covariance of its logarithms. A choice is the setting of the least
    expected regret, after none to three settings were measured that tell most.

    Returns:
        One row per machine with three or more settings (`source` all: of all of them), and rule (always one setting,
        `best fixed` of these, predicted) and number `measured`: mean regret, number of choices, share within 2 %.
    """
    found = [own for name in TABLES for own in _losses(ROOT / "datasets" / "bundled" / f"{name}.parquet")]
    whole = dict[tuple[str, int], list[np.ndarray]]()
    for _, rule, measured, loss in found:
        if not rule.startswith("always"):
            whole.setdefault((rule, measured), []).append(loss)
    found += [("all", *key, np.concatenate(losses)) for key, losses in whole.items()]
    return [{"source": source, "rule": rule, "known": "other families", "measured": measured, "choices": len(loss),
             "regret": float(loss.mean()), "within_2": float((loss <= 0.02).mean())}
            for source, rule, measured, loss in found]  # fmt: skip


def _losses(table: Path) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Machines of a table, rules, numbers of measured settings, and regrets of the choices."""
    m, (values, _) = Measured(table).measurements(), read_table(table)
    named = dict(zip(values["key"], values["family"], strict=True))
    families = np.array([named[key] for key in m.architectures.keys])
    names = np.random.default_rng(0).permutation(np.unique(families))
    fold = np.array([names.tolist().index(family) % FOLDS for family in families])
    for host in dict.fromkeys(device.name.partition("_")[0] for device in m.devices):
        settings = [d.name for d in m.devices if d.name.startswith(f"{host}_") and d.batch == d.threads == 1]
        if len(settings) < 3:
            continue
        own = m.where(devices=settings, metrics=["latency_ms"])
        whole = np.flatnonzero(~np.isnan(own.matrix("latency_ms")).any(axis=1))
        own, own_fold = own.where(archs=whole), fold[whole]
        logs = np.log(own.matrix("latency_ms"))
        predicted = np.full(logs.shape, np.nan)
        for number in np.unique(own_fold):
            test = np.flatnonzero(own_fold == number)
            fitted = from_config(yaml.safe_load(PREDICTOR.read_text()), Regressor)  # type: ignore[type-abstract]
            rest = np.random.default_rng(0).permutation(np.flatnonzero(own_fold != number))
            val, train = np.split(rest, [len(rest) // 5])
            fitted.fit(own.where(archs=train), own.where(archs=val))
            predicted[test] = np.log(fitted.predict_all(own.where(archs=test).architectures))
        losses = np.exp(logs - logs.min(axis=1, keepdims=True)) - 1
        rules = {f"always {name}": losses[:, column] for column, name in enumerate(settings)}
        rules["best fixed"] = min(rules.values(), key=lambda loss: float(loss.mean()))
        for rule, loss in rules.items():
            yield host, rule, 0, loss
        for measured in range(min(MOST_MEASURED, len(settings) - 1) + 1):
            choices = [_choice(predicted, logs, own_fold, row, measured) for row in range(len(whole))]
            yield host, "predicted", measured, losses[np.arange(len(whole)), choices]


def _choice(predicted: np.ndarray, logs: np.ndarray, fold: np.ndarray, row: int, measured: int) -> int:
    """The setting that is chosen for a network after some were measured."""
    errors = (logs - predicted)[fold != fold[row]]
    times = JointTimes(predicted[row], np.cov(errors.T), 1e6)
    left = list(range(len(times.mean)))
    for _ in range(measured):
        left.remove(number := times.most_telling(left, NOISE))
        times = times.measured(number, float(np.exp(logs[row, number])), NOISE)
    return times.chosen()
