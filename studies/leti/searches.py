"""Nevergrad against random search under a latency budget: on bundled tables, and live on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets.measured import Measured
from datasets.records import Architectures, InputError
from datasets.spaces import parse_space
from measure.blackbox import BlackBox, Live, minimise, parameters, random_search
from studies.leti.sums import BUNDLED

SEARCHES = {"nevergrad": minimise, "random": random_search}


def optimise(evaluations: int, seeds: int, percentile: float = 50) -> list[dict]:
    """Nevergrad against random search for the most accurate cell within a latency budget, on the bundled tables. A cell
    without a value is replaced by the measured one that differs in the fewest decisions."""
    accuracy, latency = (Measured(BUNDLED / f"{name}.parquet").measurements() for name in ("accuracy", "nasbench201"))
    cells, quality = accuracy.architectures, accuracy.matrix("accuracy_digits")[:, 0]
    ms = Measured().on(latency.devices[0])(cells)
    budget = float(np.percentile(ms, percentile))

    def nearest_measured(archs: Architectures) -> np.ndarray:
        return (cells.decisions[None] != archs.decisions[:, None]).sum(axis=2).argmin(axis=1)

    def within(archs: Architectures) -> np.ndarray:
        return ms[nearest_measured(archs)]

    rows: list[dict[str, Any]] = []
    for name, search in SEARCHES.items():
        found = np.empty((seeds, evaluations))
        for seed in range(seeds):
            values: list[float] = []
            objective = BlackBox(cells.space, within, budget, quality=lambda archs: quality[nearest_measured(archs)])
            search(objective, evaluations, seed, values.append)
            found[seed] = -np.minimum.accumulate(values)
        for spent in sorted({evaluations // 8, evaluations // 4, evaluations // 2, evaluations} - {0}):
            best = found[:, spent - 1]
            rows.append(
                {"search": name, "evaluations": spent, "seeds": seeds, "device": latency.devices[0].name,
                 "budget_ms": budget, "median": float(np.median(best)), "worst": float(best.min()),
                 "best_there_is": float(quality[ms <= budget].max())}
            )  # fmt: skip
    ahead = {row["evaluations"]: row["median"] for row in rows if row["search"] == "random"}
    for row in rows:
        row["points_ahead_of_random"] = row["median"] - ahead[row["evaluations"]]
    return rows


def live(out: Path, space: str, budget_ms: float, evaluations: int) -> list[dict]:
    """Both searches once, live on this machine, for the most parameters within a latency budget."""
    from measure.backends import parse_backend
    from measure.bench import Worker
    from measure.campaign import Journal

    searched, rows = parse_space(space), []
    for name, search in SEARCHES.items():
        with Worker(600) as bench:
            cost = Live(searched, parse_backend("ort", "host"), Journal(out / f"live_{name}.jsonl"), bench)
            objective = BlackBox(searched, cost, budget_ms)
            search(objective, evaluations, 0)
            if (best := objective.best()) is None:
                raise InputError(f"No cell of {evaluations} keeps {budget_ms} ms; give a larger --budget-ms.")
            cell = searched.parse([best])
            rows.append(
                {"search": name, "budget_ms": budget_ms, "evaluations": evaluations, "cells": len(objective.evaluated),
                 "best": best, "ms": float(cost(cell)[0]), "parameters": float(parameters(cell)[0])}
            )  # fmt: skip
    return rows
