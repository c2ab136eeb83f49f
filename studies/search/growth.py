"""Cost of searches over the number of devices: true measurements and seconds of computing for 1, 10, 100 and 1,000."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.records import Cost, Device, Measurements
from encoders.cell import CellOneHot
from predictors.linear import Linear
from predictors.scaling import Scale
from search.base import Problem
from search.evolution import Exhaustive
from search.gain import ExpectedGain
from search.proxies import adapting
from studies.search.tables import CELLS, SOURCES, SPENT, Column, fitted, proxied, tables

DEVICES = (1, 10, 100, 1000)
RUN = {"own predictor": 10, "adapted": 30, "refined": 100, "budget": 1000}
"""Number of devices that are searched; for more, the cost is their mean times the number, since devices are
independent. `run` of each row is the number that was searched."""
OPTIMIZER = Path("runs/search/optimizer/summary.json")
"""Rows of the optimizer network's study, which has its own command."""
NEW = Device("new", "new", "server-cpu")


def synthetic(n: int) -> Iterator[Column]:
    """Made-up devices: random mixtures of the logarithms of HELP's latencies, with 3 % of noise."""
    rng, archs, latency = np.random.default_rng(0), tables().archs, tables().latency
    logs = np.log(np.stack([column(archs) for column in latency.values()], axis=1))
    for weights in rng.dirichlet(np.full(logs.shape[1], 0.3), n):
        noise = 0.03 * rng.standard_normal(len(archs))
        yield Column(archs, np.exp(logs @ weights + noise))


def growth() -> list[dict]:
    """One row per search and number of devices, each with one budget (the median of its latencies).

    `fixed_measurements` are made once, before all devices: `CELLS` cells on each of nine source devices. `own
    predictor` is the device-specific method, with as many measurements and a fit per device.
    """
    rows = []
    for name, number in RUN.items():
        start = time.process_time()
        search, fixed = SEARCHES[name](), 0.0
        fixed = time.process_time() - start
        measured, seconds = np.zeros(number), np.zeros(number)
        for d, true in enumerate(synthetic(number)):
            start = time.process_time()
            measured[d] = search(true, np.random.default_rng(d))
            seconds[d] = time.process_time() - start
        for n in DEVICES:
            done = min(n, number)
            row = {"search": name, "devices": n, "run": done, "measurements": float(measured[:done].mean() * n)}
            row |= {"fixed_measurements": 0 if name == "own predictor" else CELLS * len(SOURCES)}
            rows.append({**row, "seconds": float(fixed + seconds[:done].mean() * n)})
    return rows + optimizer(OPTIMIZER)


def optimizer(summary: Path) -> list[dict]:
    """The optimizer network's rows, from the row of its study with the least regret: training time in seconds, time per
    answer in ms, samples per device."""
    if not summary.is_file():
        return []
    rows = [row for row in json.loads(summary.read_text()) if {"train_seconds", "answer_ms", "regret"} <= set(row)]
    if not rows:
        return []
    best = min(rows, key=lambda row: row["regret"])
    row = {"search": "optimizer network", "run": 0, "fixed_measurements": CELLS * len(SOURCES)}
    return [
        {
            **row,
            "devices": n,
            "measurements": best["samples_per_device"] * n,
            "seconds": best["train_seconds"] + best["answer_ms"] * n / 1000,
        }
        for n in DEVICES
    ]


Spends = Callable[[Column, np.random.Generator], int]
"""Searches for a device by its true latencies; returns the number of measurements."""


def _problem(true: Cost) -> Problem:
    archs = tables().archs
    budgets = {"latency_ms": float(np.median(true(archs)))}
    return Problem(archs.space, tables().quality, {"latency_ms": true}, budgets, candidates=archs)


def _own_predictor() -> Spends:
    """`CELLS` random cells, a linear model of one-hot decisions, and the best cell by its predictions."""

    def spend(true: Column, rng: np.random.Generator) -> int:
        archs = tables().archs
        drawn = archs[rng.permutation(len(archs))[:CELLS]]
        rows = pd.DataFrame({"arch": range(CELLS), "device": 0, "metric": "latency_ms", "value": true(drawn)})
        linear = Linear(scale=Scale("log"), encoder=CellOneHot()).fit(Measurements(drawn, [NEW], rows, NEW.name))
        Exhaustive()(_problem(linear.on(NEW)), rng)
        return len(drawn)

    return spend


def _proxied(row: str) -> Spends:
    """Four samples choose the source; its optima are reused for other devices."""
    search = proxied(row)
    return lambda true, rng: search(_problem(true), rng).queries


def _adapted() -> Spends:
    model = fitted(0)
    search = ExpectedGain(SPENT, fits={"latency_ms": adapting(model, NEW)}, choose=model.choose)
    return lambda true, rng: search(_problem(true), rng).queries


SEARCHES: dict[str, Callable[[], Spends]] = {
    "own predictor": _own_predictor,
    "adapted": _adapted,
    "refined": lambda: _proxied("refined"),
    "budget": lambda: _proxied("budget"),
}
