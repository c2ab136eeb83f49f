"""Predictors and optimizer networks of the study, each fitted once, with the CPU seconds that it took."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pandas as pd
import torch

from datasets.records import Architectures, Measurements
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.flat import Joined
from predictors.base import Predictor, Relaxable
from predictors.gp import GaussianProcess
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale
from search.optimizer.__main__ import accuracy_net
from search.optimizer.cost_models import CELLS, CostModels
from search.optimizer.device_net import DeviceNet
from search.optimizer.optimizer_network import OptimizerNetwork, RelaxedObjective
from studies.search.tables import SOURCES, Column, tables

METRIC = "accuracy_cifar100"
SYNTHETIC = 300


@cache
def latencies() -> Measurements:
    return tables().help.where(archs=tables().kept)


def samples_of(device: str, references: Architectures) -> Measurements:
    """Measurements of the references on a target."""
    return latencies().where(archs=tables().archs.positions(references), devices=[device])


def accuracies_of(rows: np.ndarray) -> Measurements:
    table = {"arch": range(len(rows)), "device": -1, "metric": METRIC, "value": tables().accuracies[rows]}
    return Measurements(tables().archs[rows], [], pd.DataFrame(table), "nats")


@cache
def accuracy() -> tuple[Relaxable, float]:
    """A network fitted to all accuracies, and its CPU seconds."""
    start = time.process_time()
    return accuracy_net(accuracies_of(np.arange(len(tables().archs))), METRIC), time.process_time() - start


def gaussian_process(rows: np.ndarray, encoder: VectorEncoder | None = None) -> GaussianProcess:
    """The paper's accuracy predictor (section 4.1), fitted to the accuracies of some cells. Accuracies below the lower
    quartile are raised to it: differences among bad cells are most of the variance and of no use (on the sources this
    lowered regret from 3 points to 0.5)."""
    m = accuracies_of(rows)
    table = m.table.assign(value=m.table["value"].clip(lower=float(m.table["value"].quantile(0.25))))
    kind = GaussianProcess(METRIC, Scale("linear"), encoder=encoder or CellOneHot(), most=150)
    return kind.fit(Measurements(m.architectures, [], table, m.name))


@cache
def costs(seed: int) -> tuple[CostModels, float]:
    start = time.process_time()
    return CostModels(Conditioned(), DeviceNet(seed=seed)).fit(
        latencies().where(devices=SOURCES), tables().archs, seed
    ), time.process_time() - start


@cache
def relaxable_process(seed: int) -> GaussianProcess:
    """A Gaussian process of one-hot decisions, fitted to `CELLS` accuracies."""
    return gaussian_process(_some(seed))


@cache
def judge(seed: int) -> Column:
    """Predictions of a Gaussian process of decisions and physical totals, fitted to the accuracies of
    `relaxable_process`: better and not relaxable, so it scores the networks' proposals, as the adapted predictor does
    for latencies."""
    return Column(tables().archs, gaussian_process(_some(seed), Joined()).predict(tables().archs, None))


def _some(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(tables().archs))[:CELLS]


@cache
def network(seed: int, method: str, asks: str, gp: bool = False) -> tuple[OptimizerNetwork, float]:
    """One network and its CPU seconds."""
    models, _ = costs(seed)
    start = time.process_time()
    model: Relaxable = relaxable_process(seed) if gp else accuracy()[0]
    objective = RelaxedObjective(tables().archs, lambda p: model.predict_relaxed(p, p), (models.net.predict_relaxed,))
    devices = models.devices(SYNTHETIC, np.random.default_rng(seed))
    optimizer = OptimizerNetwork(method, asks, seed=seed)  # type: ignore[arg-type]
    optimizer.fit(objective, torch.from_numpy(devices).float()[:, None])
    return optimizer, time.process_time() - start


def networks(row: str, seed: int) -> list[tuple[OptimizerNetwork, float]]:
    if row == "gp":
        return [network(seed, "imitate", "budget", gp=True)]
    kinds = {"imitate": ("imitate", "budget"), "through": ("through", "budget"), "weights": ("through", "weight")}
    return [network(seed, *kinds[name]) for name in kinds if row.startswith(name) or row in ("ensemble", "local")]


@cache
def adapted(device: str, seed: int) -> tuple[torch.Tensor, Predictor, Column]:
    """The vector of a target, its adapted predictor, and that predictor's latencies of all cells."""
    models, _ = costs(seed)
    vector, model = models.adapt(samples_of(device, models.net.references_))
    predicted = Column(tables().archs, model.predict(tables().archs, model.devices_[0]))
    return torch.from_numpy(vector).float()[None], model, predicted
