"""`python -m search optimize`: networks that have learnt to optimize, trained once and asked for any device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datasets.cli import main
from datasets.files.reading import read_json
from datasets.files.writing import write_text
from datasets.records import Architectures, InputError, Measurements, find_device
from search.base import Problem
from search.costs import lookup, read_measurements
from search.optimizer.optimizer_network import Objective, OptimizerNetwork, answer

if TYPE_CHECKING:
    from predictors.ensemble import Ensemble
    from predictors.mlp import MLP
    from search.optimizer.cost_models import CostModels

METHODS: tuple[Literal["imitate", "through"], ...] = ("imitate", "through")
"""One after the other, Methods 1 and 2."""
MOST = {"predictors": 1000, "networks": 1000, "synthetic": 100_000, "steps": 10_000_000}
"""Largest settings of a training; all are 1 or more."""


@dataclass(frozen=True)
class OptimizerTraining:
    """What is trained, once for all devices.

    Attributes:
        predictors: of accuracies, different in their seeds; their mean counts.
        networks: of each training method.
        synthetic: devices that are made up beside the sources.
        steps: of training, for each network.
        seed: of everything that is drawn.
    """

    predictors: int = 1
    networks: int = 2
    synthetic: int = 300
    steps: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"--training.{name} must be 1 to {most:,}, not {getattr(self, name)}.")


def optimize(
    accuracy: Path,
    latency: Path,
    budget_ms: float,
    device: str,
    sources: str = "",
    few: Path | None = None,
    metric: str = "accuracy_cifar100",
    training: OptimizerTraining = OptimizerTraining(),
    rounds: int = 2,
    folder: Path = Path("runs/search/networks"),
) -> None:
    """Ask networks that have learnt to optimize for the best cell of a new device (Approach 2).

    Args:
        accuracy: a table of accuracies (.yaml of configs/datasets, .parquet or .csv); others are predicted.
        latency: a table of latencies on source devices, read the same way.
        budget_ms: latency that must not be exceeded.
        device: the new one; of it the reference cells' latencies are read and nothing else.
        sources: names of the devices that are learnt from, separated by commas; by default all others.
        few: table with the new device's latencies on the reference cells; by default that of the sources.
        metric: which accuracy of the table.
        training: what is trained.
        rounds: of the local search round what networks propose.
        folder: of what was trained and of the reference cells' names (references.txt). Another device with the same
            sources needs no training; one that was among them is refused.
    """
    from predictors.base import Predictor
    from search.optimizer.cost_models import CostModels

    if not 0 < budget_ms < np.inf:
        raise InputError(f"--budget-ms must be a latency above 0, not {budget_ms:g}.")
    if not 0 <= rounds <= 1000:
        raise InputError(f"--rounds must be 0 to 1,000, not {rounds}.")
    m, values = read_measurements(latency), read_measurements(accuracy)
    table, tabled = lookup(values.architectures, values.matrix(metric)[:, 0])
    find_device(m.devices, device if few is None else m.devices[0].name)
    names = sources.split(",") if sources else [known.name for known in m.devices if known.name != device]
    learnt = m.where(devices=names)
    where = folder / f"seed{training.seed}"
    tables = {
        "accuracy": str(accuracy),
        "latency": str(latency),
        "sources": ",".join(sorted(names)),
        "metric": metric,
    }
    about: dict[str, str | int] = {**tables, **vars(training)}
    about.pop("seed")  # the folder's name says it
    saved = where / "settings.json"
    if not saved.is_file():
        accuracies = accuracy_net(values, metric, training.seed, training.predictors)
        _begin(where, about)
        _train(learnt, accuracies, tabled, where, training)
        write_text(saved, json.dumps(about))
    _check(where, about)
    costs, net = CostModels.load(where), Predictor.load(where / "accuracy.pt")
    made = [OptimizerNetwork.load(_file(where, method, i)) for i in range(training.networks) for method in METHODS]

    def quality(archs: Architectures) -> np.ndarray:
        said, known = net.predict(Architectures(tabled.space, archs.decisions), None), table(archs)
        return np.where(np.isnan(known), said, known)

    _answer(costs, made, read_measurements(few) if few else m, device, quality, budget_ms, rounds)


def accuracy_net(m: Measurements, metric: str, seed: int = 0, size: int = 1) -> MLP | Ensemble:
    """A relaxable predictor of accuracies in percent, or of whatever depends on no device; of several the mean."""
    from encoders.cell import CellOneHot
    from predictors.ensemble import Ensemble
    from predictors.mlp import MLP
    from predictors.scaling import Scale

    settings: dict[str, Any] = {"hidden": 128, "layers": 2, "epochs": 30, "batch_size": 256, "learning_rate": 3e-3}
    net = MLP(metric=metric, scale=Scale("linear"), encoder=CellOneHot(), seed=seed, **settings)
    return (net if size == 1 else Ensemble(member=net, size=size)).fit(m)


def _begin(where: Path, about: dict[str, str | int]) -> None:
    """Keep networks of these settings that a stopped training left, and no others."""
    started, settings = where / "started.json", json.dumps(about)
    if started.is_file() and started.read_bytes() == settings.encode():
        return
    for file in where.glob("network_*.pt"):
        file.unlink()
    write_text(started, settings)


def _check(where: Path, about: dict[str, str | int]) -> None:
    """Refuse networks of other settings."""
    remedy = "name another --folder, or remove this one and train again"
    saved = read_json(where / "settings.json", remedy)
    if not isinstance(saved, dict):
        raise InputError(f"{where} was not left by this command; {remedy}.")
    if other := [name for name, value in about.items() if saved.get(name) != value]:
        raise InputError(f"{where} holds networks of other settings ({', '.join(other)}); {remedy}.")


def _train(
    m: Measurements,
    accuracy: MLP | Ensemble,
    tabled: Architectures,
    where: Path,
    training: OptimizerTraining,
) -> None:
    """Both stages; networks that are there are trained already."""
    import torch

    from predictors.new_devices.conditioned import Conditioned
    from search.optimizer.cost_models import CostModels
    from search.optimizer.device_net import DeviceNet

    start = time.process_time()
    known = m.architectures[np.flatnonzero(~np.isnan(m.matrix("latency_ms")).any(axis=1))]
    known = known[np.flatnonzero(known.space.connected(known))]
    costs = CostModels(Conditioned(), DeviceNet(steps=training.steps)).fit(m, known, training.seed)
    objective = Objective(tabled, lambda p: accuracy.predict_relaxed(p, p), (costs.net.predict_relaxed,))
    rng = np.random.default_rng(training.seed)
    devices = torch.from_numpy(costs.devices(training.synthetic, rng)).float()[:, None]
    for i in range(training.networks):
        for method in METHODS:
            if not (file := _file(where, method, i)).is_file():
                OptimizerNetwork(method, steps=training.steps, seed=i).fit(objective, devices, print).save(file)
    costs.save(where)
    accuracy.save(where / "accuracy.pt")
    write_text(where / "references.txt", "\n".join(costs.net.references_.keys) + "\n")
    print(f"trained in {time.process_time() - start:.0f} CPU seconds: {where}")


def _file(folder: Path, method: str, number: int) -> Path:
    return folder / f"network_{method}_{number}.pt"


def _answer(
    costs: CostModels,
    networks: list[OptimizerNetwork],
    m: Measurements,
    device: str,
    quality: Callable[[Architectures], np.ndarray],
    budget_ms: float,
    rounds: int,
) -> None:
    """Adapt to the references of the device, ask, tell."""
    import torch

    from predictors.base import Uncertain

    table = m.where(devices=[find_device(m.devices, device).name])
    references = costs.net.references_
    places = table.architectures.positions(references)
    if missing := [key for key, place in zip(references.keys, places, strict=True) if place < 0]:
        raise InputError(f"{device} lacks {len(missing)} reference cells, {missing[0]} first: measure all of them.")
    vector, model = costs.adapt(table.where(archs=places))
    at, space = model.devices_[0], references.space
    known = {"latency_ms": lambda archs: model.predict(archs, at)}
    problem = Problem(space, quality, known, {"latency_ms": budget_ms})
    found = answer(networks, torch.from_numpy(vector).float()[None], problem, rounds=rounds)
    print(found.arch.keys[0])
    print(f"accuracy {found.quality:.4g} %, predicted latency {found.costs['latency_ms']:.4g} ms")
    kept = "keeps" if found.met else "does NOT keep (nothing that was looked at does)"
    print(f"{kept} the budget of {budget_ms:g} ms by prediction; {len(references)} measurements of {device} used")
    assert isinstance(model, Uncertain)
    print(f"P(latency <= budget) = {model.belief(found.arch, at).cdf(budget_ms)[0]:.3f}; {found.seconds:.3f} s")
    if (place := table.architectures.positions(found.arch)[0]) >= 0:
        print(f"the table says {table.matrix('latency_ms')[place, 0]:.4g} ms")


if __name__ == "__main__":
    main([optimize], prog="python -m search.optimizer")
