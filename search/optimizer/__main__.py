"""`python -m search optimize`: the best architecture for a new device, found by optimizer networks.

They are trained once, on source devices; for a new device they need its latencies on a few reference cells.
"""

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
from predictors.export import load_predictor
from search.base import Problem
from search.costs import read_measurements, table_cost
from search.optimizer.answers import answer
from search.optimizer.optimizer_network import OptimizerNetwork, RelaxedObjective
from search.proxies import AdaptedCost
from search.task import PREDICTORS

if TYPE_CHECKING:
    from predictors.ensemble import Ensemble
    from predictors.mlp import MLP
    from search.optimizer.cost_models import CostModels

METHODS: tuple[Literal["imitate", "through"], ...] = ("imitate", "through")
"""Training methods of an `OptimizerNetwork`, Methods 1 and 2 of the paper: it imitates the optima of an exhaustive
search, or is trained through the frozen predictors."""
MOST = {"predictors": 1000, "networks": 1000, "synthetic": 100_000, "steps": 10_000_000}
"""Largest values of the training settings; the smallest value of each is 1."""
PREDICTED = 2000
"""Largest number of cells whose latencies a predictor gives in place of a table."""


@dataclass(frozen=True)
class OptimizerTraining:
    """Settings of the training of the predictors and the optimizer networks.

    Attributes:
        predictors: number of accuracy predictors with different seeds; their mean prediction is used.
        networks: number of optimizer networks per training method.
        synthetic: number of synthetic devices, in addition to the sources, on which the networks are trained.
        steps: number of training steps per network.
        seed: seed of all random numbers.
    """

    predictors: int = 1
    networks: int = 2
    synthetic: int = 300
    steps: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, largest in MOST.items():
            if not 1 <= getattr(self, name) <= largest:
                raise InputError(f"--training.{name} must be 1 to {largest:,}, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Answering:
    """Settings of the choice among the optimizer networks' proposals.

    Attributes:
        rounds: rounds of local search around the proposals.
        confidence: probability with which the latency keeps the budget, from 0.5 (point predictions do) to below 1.
    """

    rounds: int = 2
    confidence: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 1000:
            raise InputError(f"--rounds must be 0 to 1,000, not {self.rounds}.")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"--confidence is a probability from 0.5 to below 1, not {self.confidence:g}.")


def optimize(
    accuracy: Path,
    latency: Path,
    budget_ms: float,
    device: str,
    sources: str = "",
    few: Path | None = None,
    metric: str = "accuracy_cifar100",
    training: OptimizerTraining = OptimizerTraining(),
    answering: Answering = Answering(),
    folder: Path = Path("runs/search/networks"),
) -> None:
    """Find the most accurate cell within a latency budget on a new device, with networks trained to optimize.

    Approach 2 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020, section 5).

    Args:
        accuracy: a table of accuracies (.yaml of configs/datasets, .parquet or .csv); those of other cells are
            predicted.
        latency: a table of latencies on the source devices, in the same formats; or a predictor (.pt, .onnx) of them,
            whose values for at most 2,000 of the cells stand for the table.
        budget_ms: largest latency in ms.
        device: the new device; only its latencies on the reference cells are read.
        sources: names of the source devices, separated by commas; by default all other devices.
        few: table with the new device's latencies on the reference cells; by default the table of the sources.
        metric: metric of the table of accuracies.
        training: settings of the training.
        answering: how the answer is chosen among the networks' proposals.
        folder: folder of the trained networks and of the reference cells' names (references.txt). Another device with
            the same sources needs no new training; a device that is one of these sources is refused.
    """
    from predictors.base import Predictor
    from search.optimizer.cost_models import CostModels

    if not 0 < budget_ms < np.inf:
        raise InputError(f"--budget-ms must be a latency above 0, not {budget_ms:g}.")
    qualities = read_measurements(accuracy)
    latencies = _predicted(latency, qualities) if latency.suffix in PREDICTORS else read_measurements(latency)
    tabled_quality, tabled = table_cost(qualities.architectures, qualities.matrix(metric)[:, 0])
    find_device(latencies.devices, device if few is None else latencies.devices[0].name)
    names = sources.split(",") if sources else [other.name for other in latencies.devices if other.name != device]
    source_latencies = latencies.where(devices=names)
    path = folder / f"seed{training.seed}"
    tables = {
        "accuracy": str(accuracy),
        "latency": str(latency),
        "sources": ",".join(sorted(names)),
        "metric": metric,
    }
    settings: dict[str, str | int] = {**tables, **vars(training)}
    settings.pop("seed")  # the name of the folder contains it
    saved = path / "settings.json"
    if not saved.is_file():
        fitted = accuracy_net(qualities, metric, training.seed, training.predictors)
        _delete_other_networks(path, settings)
        _train(source_latencies, fitted, tabled, path, training)
        write_text(saved, json.dumps(settings))
    _check_settings(path, settings)
    costs, accuracy_model = CostModels.load(path), Predictor.load(path / "accuracy.pt")
    networks = [
        OptimizerNetwork.load(_network_file(path, method, i)) for i in range(training.networks) for method in METHODS
    ]

    def quality(archs: Architectures) -> np.ndarray:
        predicted = accuracy_model.predict(Architectures(tabled.space, archs.decisions), None)
        known = tabled_quality(archs)
        return np.where(np.isnan(known), predicted, known)

    samples = read_measurements(few) if few else latencies
    _print_answer(costs, networks, samples, device, quality, budget_ms, answering)


def _predicted(file: Path, m: Measurements) -> Measurements:
    """Latencies that a predictor gives on its devices, of architectures of `m`."""
    import pandas as pd

    archs = m.architectures[np.random.default_rng(0).permutation(len(m.architectures))[:PREDICTED]]
    predictor = load_predictor(file)
    if predictor.metric != "latency_ms":
        raise InputError(f"{file} predicts {predictor.metric}, not latency_ms.")
    ms = predictor.predict_all(archs)
    arch, device = np.indices(ms.shape).reshape(2, -1)
    table = pd.DataFrame({"arch": arch, "device": device, "metric": "latency_ms", "value": ms.ravel()})
    return Measurements(archs, list(predictor.devices_), table, str(file))


def accuracy_net(m: Measurements, metric: str, seed: int = 0, size: int = 1) -> MLP | Ensemble:
    """A fitted predictor of a metric that does not depend on the device, such as accuracy in percent.

    It is the mean of `size` MLPs, and is differentiable with respect to relaxed architectures (`predict_relaxed`).
    """
    from encoders.cell import CellOneHot
    from predictors.ensemble import Ensemble
    from predictors.mlp import MLP
    from predictors.scaling import Scale

    settings: dict[str, Any] = {"hidden": 128, "layers": 2, "epochs": 30, "batch_size": 256, "learning_rate": 3e-3}
    net = MLP(metric=metric, scale=Scale("linear"), encoder=CellOneHot(), seed=seed, **settings)
    return (net if size == 1 else Ensemble(member=net, size=size)).fit(m)


def _delete_other_networks(path: Path, settings: dict[str, str | int]) -> None:
    """Delete the networks of an interrupted training with other settings; one with these settings is continued."""
    started, text = path / "started.json", json.dumps(settings)
    if started.is_file() and started.read_bytes() == text.encode():
        return
    for file in path.glob("network_*.pt"):
        file.unlink()
    write_text(started, text)


def _check_settings(path: Path, settings: dict[str, str | int]) -> None:
    """Raise an `InputError` if the networks in the folder were trained with other settings."""
    remedy = "name another --folder, or remove this one and train again"
    saved = read_json(path / "settings.json", remedy)
    if not isinstance(saved, dict):
        raise InputError(f"{path} was not written by this command; {remedy}.")
    if other := [name for name, value in settings.items() if saved.get(name) != value]:
        raise InputError(f"{path} holds networks of other settings ({', '.join(other)}); {remedy}.")


def _train(
    m: Measurements,
    accuracy_model: MLP | Ensemble,
    tabled: Architectures,
    path: Path,
    training: OptimizerTraining,
) -> None:
    """Train the cost models, then the optimizer networks that are not in the folder yet, and save them.

    Args:
        m: latencies on the source devices.
        accuracy_model: fitted predictor of accuracies.
        tabled: cells with a value in the table of accuracies, among which optima are searched.
        path: folder of the networks.
        training: settings of the training.
    """
    import torch

    from predictors.new_devices.conditioned import Conditioned
    from search.optimizer.cost_models import CostModels
    from search.optimizer.device_net import DeviceNet

    start = time.process_time()
    known = m.architectures[np.flatnonzero(~np.isnan(m.matrix("latency_ms")).any(axis=1))]
    known = known[np.flatnonzero(known.space.connected(known))]
    costs = CostModels(Conditioned(), DeviceNet(steps=training.steps)).fit(m, known, training.seed)
    objective = RelaxedObjective(tabled, lambda p: accuracy_model.predict_relaxed(p, p), (costs.net.predict_relaxed,))
    rng = np.random.default_rng(training.seed)
    devices = torch.from_numpy(costs.devices(training.synthetic, rng)).float()[:, None]
    for i in range(training.networks):
        for method in METHODS:
            if not (file := _network_file(path, method, i)).is_file():
                OptimizerNetwork(method, steps=training.steps, seed=i).fit(objective, devices, print).save(file)
    costs.save(path)
    accuracy_model.save(path / "accuracy.pt")
    write_text(path / "references.txt", "\n".join(costs.net.references_.keys) + "\n")
    print(f"trained in {time.process_time() - start:.0f} CPU seconds: {path}")


def _network_file(folder: Path, method: str, number: int) -> Path:
    return folder / f"network_{method}_{number}.pt"


def _print_answer(
    costs: CostModels,
    networks: list[OptimizerNetwork],
    m: Measurements,
    device: str,
    quality: Callable[[Architectures], np.ndarray],
    budget_ms: float,
    answering: Answering,
) -> None:
    """Adapt the cost models to the device's latencies on the references, find its best architecture, and print it."""
    import torch

    from predictors.base import Uncertain

    table = m.where(devices=[find_device(m.devices, device).name])
    references = costs.net.references_
    positions = table.architectures.positions(references)
    if missing := [key for key, position in zip(references.keys, positions, strict=True) if position < 0]:
        raise InputError(f"{device} lacks {len(missing)} reference cells, {missing[0]} first: measure all of them.")
    vector, model = costs.adapt(table.where(archs=positions))
    target, space = model.devices_[0], references.space
    predicted = AdaptedCost(model, target)
    problem = Problem(
        space, quality, {"latency_ms": predicted}, {"latency_ms": budget_ms}, confidence=answering.confidence
    )
    found = answer(networks, torch.from_numpy(vector).float()[None], problem, rounds=answering.rounds)
    print(found.arch.keys[0])
    print(f"accuracy {found.quality:.4g} %, predicted latency {predicted(found.arch)[0]:.4g} ms")
    if answering.confidence > 0.5:
        print(f"with probability {answering.confidence:g} at most {found.costs['latency_ms']:.4g} ms")
    verb = "keeps" if found.met else "does NOT keep (no proposed architecture does)"
    print(f"{verb} the budget of {budget_ms:g} ms by prediction; {len(references)} measurements of {device} used")
    assert isinstance(model, Uncertain)
    print(f"P(latency <= budget) = {model.belief(found.arch, target).cdf(budget_ms)[0]:.3f}; {found.seconds:.3f} s")
    if (position := table.architectures.positions(found.arch)[0]) >= 0:
        print(f"measured in the table: {table.matrix('latency_ms')[position, 0]:.4g} ms")


if __name__ == "__main__":
    main([optimize], prog="python -m search.optimizer")
