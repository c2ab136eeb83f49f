"""Data of the study of searches: true latencies and accuracies, source and target devices, budgets, proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from datasets.public.help import HelpNasBench201
from datasets.public.nats import Nats
from datasets.records import Architectures, Cost, Measurements
from encoders.paths import CellPaths
from predictors.gp import GaussianProcess
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale
from search.base import Problem
from search.bisection import BestProxy, Bisection
from search.gain import ExpectedGain
from search.proxies import adapting

SOURCES = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
"""HELP's source devices, the pool of proxies."""
TARGETS = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
"""HELP's unseen devices."""
PUBLISHED = {  # budget ms -> accuracy %, HELP's README, table 4
    "titan_rtx_256": {18: 69.7, 21: 71.5, 25: 71.8},
    "gold_6226": {8: 67.3, 11: 70.2, 14: 72.1},
    "pixel2": {14: 69.7, 18: 71.8, 22: 73.2},
    "eyeriss": {5: 71.5, 7: 71.8, 9: 73.5},
    "fpga": {4: 70.2, 5: 71.8, 6: 73.5},
}
BUDGETS = np.linspace(0.05, 0.9, 10)
"""Budgets of a target as quantiles of its latencies."""
SAMPLES = 4
"""Number of measurements on the target that choose the proxy; bisection has the rest of `SPENT`."""
SPENT = 10
"""Largest number of true measurements of a search."""
CELLS = 900
"""Number of cells per source device on which predictors are fitted."""
SEEDS = 5


class Column:
    """Values of the searched cells as a cost."""

    def __init__(self, archs: Architectures, values: np.ndarray) -> None:
        self.archs, self.values = archs, values

    def __call__(self, archs: Architectures) -> np.ndarray:
        if archs is self.archs:
            return self.values
        return self.values[self.archs.positions(archs)]


class Tables(NamedTuple):
    """HELP's measurements, positions of connected cells, these cells, their accuracies in %, and both as costs."""

    help: Measurements
    kept: np.ndarray
    archs: Architectures
    accuracies: np.ndarray
    quality: Column
    latency: dict[str, Column]


@cache
def tables() -> Tables:
    """HELP's latencies and NATS' accuracies of the connected cells."""
    help_, nats = HelpNasBench201().measurements(), Nats().measurements()
    kept = np.flatnonzero(help_.architectures.space.connected(help_.architectures))
    accuracy = Column(nats.architectures, nats.matrix("accuracy_cifar100")[:, 0])(help_.architectures)[kept]
    archs, ms = help_.architectures[kept], help_.matrix("latency_ms")[kept]
    costs = {device.name: Column(archs, ms[:, d]) for d, device in enumerate(help_.devices)}
    return Tables(help_, kept, archs, accuracy, Column(archs, accuracy), costs)


@cache
def optimum(device: str, budget: float) -> float:
    """The best true accuracy under a true budget, %."""
    ms = tables().latency[device](tables().archs)
    return float(tables().accuracies[ms <= budget].max())


def pairs(devices: Sequence[str]) -> list[tuple[str, float]]:
    """Each device with each of its budgets, ms."""
    archs, latency = tables().archs, tables().latency
    return [(d, float(b)) for d in devices for b in np.quantile(latency[d](archs), BUDGETS)]


def problem(device: str, budget: float, proxy: Cost | None = None, quality: Cost | None = None) -> Problem:
    """The best accuracy, by default the table's, within a latency budget on a device."""
    archs, latency = tables().archs, {"latency_ms": tables().latency[device]}
    proxies = {"latency_ms": proxy} if proxy else {}
    return Problem(archs.space, quality or tables().quality, latency, {"latency_ms": budget}, proxies, archs)


@cache
def macs() -> Column:
    archs = tables().archs
    return Column(archs, archs.space.totals(archs)["macs"].to_numpy(float) + 1)


@cache
def proxied(row: str, sources: tuple[str, ...] = SOURCES) -> BestProxy:
    """Bisection on the source whose ranking of four random cells agrees best with the target's; its optima are
    reused."""
    pool = {name: {"latency_ms": tables().latency[name]} for name in sources}
    return BestProxy(SPENT, SAMPLES, pool, "weighted" if row == "weighted" else "budget", refine=row == "refined")


@cache
def bisection(name: str, equation: Literal["weighted", "budget"], measurements: int) -> Bisection:
    """A bisection per proxy, so that its optima are reused."""
    return Bisection(measurements, equation)


@cache
def fitted(seed: int, sources: tuple[str, ...] = SOURCES) -> Conditioned:
    """Our predictor of new devices, fitted on `CELLS` cells of each source device."""
    kept = tables().kept
    rows = np.sort(np.random.default_rng(seed).permutation(kept)[:CELLS])
    return Conditioned().fit(tables().help.where(archs=rows, devices=list(sources)))


@cache
def predicted_accuracy(seed: int) -> Column:
    """Accuracies predicted by a Gaussian process (section 4.1 of the paper) on paths, fitted to `CELLS` cells. Paths
    lost fewer points of accuracy on other cells than decisions and totals, alone or together."""
    archs = tables().archs
    rows = np.random.default_rng(seed).permutation(len(archs))[:CELLS]
    table = {"arch": range(CELLS), "device": -1, "metric": "accuracy_cifar100", "value": tables().accuracies[rows]}
    known = Measurements(archs[rows], [], pd.DataFrame(table), "nats")
    return Column(
        archs, GaussianProcess("accuracy_cifar100", Scale("linear"), encoder=CellPaths()).fit(known).predict(archs)
    )


def adapted(device: str, seed: int, sources: tuple[str, ...] = SOURCES, samples: int = 2) -> ExpectedGain:
    """Equation 5 on the `fitted` predictor, adapted after each measurement."""
    model = fitted(seed, sources)
    fit = adapting(model, replace(tables().help.device(device), name="new"))
    return ExpectedGain(SPENT, samples, {"latency_ms": fit}, model.choose)


def over_seeds(rows: list[dict], search: str) -> dict:
    """Means over seeds, with the half widths of their 95 % intervals."""
    from scipy.stats import t

    mean: dict = {"search": search, "device": "all"}
    seeds = sorted({row["seed"] for row in rows})
    for name in ("regret", "met", "within_5", "measurements", "seconds"):
        means = [np.mean([row[name] for row in rows if row["seed"] == seed]) for seed in seeds]
        half = t.ppf(0.975, len(seeds) - 1) * np.std(means, ddof=1) / np.sqrt(len(seeds))
        mean |= {name: float(np.mean(means)), f"{name}_half": float(half)}
    return mean
