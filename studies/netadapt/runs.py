"""Whole adaptations, which are parts of `studies.netadapt.study`.

`python -m studies.netadapt.study --chosen whole,seeds --core 1` runs some of them alone. A killed part continues after
its last finished iteration. Latencies are measured anew each time, as shares of the whole network's within the same
minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from search.netadapt.adapt import AdaptedNetwork
from search.netadapt.widths import Binary, Exact, Sequential
from studies.netadapt import run_figures
from studies.netadapt.accuracy import seeds, spread
from studies.netadapt.adaptations import (
    OUT,
    QUICK,
    QUICK_TUNING,
    adapt,
    groups_of,
    priced,
    save,
    shares_of,
    trained,
)

RUNTIMES = ("ort", "litert", "openvino")
DELTAS = (0.01, 0.025, 0.05)


# Iterations and time


def whole_runs(runtime: str = "ort") -> list[dict]:
    """Runs of AlexNet and MobileNetV1 to half of the latency with three deltas: iterations, time per iteration and
    stage, and the time that other searches would have taken in the same iterations."""
    rows = []
    for network in ("alexnet", "mobilenet_v1"):
        for delta in DELTAS:
            settings = replace(QUICK, delta=delta)
            folder = OUT / "whole" / f"{network}_{runtime}_{delta:g}"
            (adapted,) = adapt(
                settings, Exact(priced(network, runtime)), (0.5,), folder, partial(trained, network, 0), QUICK_TUNING
            )
            lines = [json.loads(line) for line in (folder / "iterations.jsonl").read_text().splitlines()]
            iterations = [line for line in lines if line.get("iteration")]
            named = {"network": network, "runtime": runtime, "delta": delta, "T": settings.steps}
            rows += [{**named, "what": "iteration", **row} for row in times(network, runtime, lines)]
            rows += [{**named, "what": "stage", **row} for row in stages(iterations, groups_of(network).names)]
            seconds = sum(line["seconds"] for line in iterations)
            totals = {"iterations": len(iterations), "seconds": seconds, "met": float(adapted.met)}
            rows.append({**named, "what": "run", **totals, "share": adapted.latency_ms / lines[0]["ms"]})
    save(run_figures.stage_times(rows), "stages")
    save(run_figures.iteration_times(rows), "iterations")
    return rows


def stages(iterations: Sequence[dict], names: Sequence[str]) -> list[dict]:
    """Mean seconds of each stage, one row per group of channels (Figures 1 and 2)."""
    table = pd.DataFrame([{"group": p["group"], **p["seconds"]} for line in iterations for p in line["proposals"]])
    means = table.groupby("group").mean()
    return means.loc[[name for name in names if name in means.index]].reset_index().to_dict("records")


def times(network: str, runtime: str, lines: Sequence[dict]) -> list[dict]:
    """Mean seconds per iteration with each search: the recorded iteration without its search, plus the CPU seconds of
    the search for all of its proposals, timed alone (Figures 7 and 8)."""
    model, rows = priced(network, runtime), []
    made = [line for line in lines if "iteration" in line]
    rest = [
        line["seconds"] - sum(p["seconds"]["search"] for p in line["proposals"]) for line in made if line["iteration"]
    ]
    for name, make in (("sequential", Sequential), ("binary", partial(Binary, threshold=16)), ("exact", Exact)):
        search, seconds = make(model), []
        for before, line in pairwise(made):
            widths, start = model.groups.widths(before["widths"]), time.process_time()
            for group in range(len(model.groups)):
                search(widths, group, line["limit_ms"])
            seconds.append(time.process_time() - start)
        searching, others = float(np.mean(seconds)), float(np.mean(rest))
        rows.append({"search": name, "searching": searching, "others": others, "seconds": searching + others})
    return rows


# Runtimes


def matrix(network: str = "alexnet", ratio: float = 0.5) -> list[dict]:
    """Networks adapted for each runtime and measured on all: reduction of the latency (Table I)."""
    groups, found = groups_of(network), dict[str, AdaptedNetwork]()
    for runtime in RUNTIMES:
        folder = OUT / "matrix" / f"{network}_{runtime}"
        (found[runtime],) = adapt(
            QUICK, Exact(priced(network, runtime)), (ratio,), folder, partial(trained, network, 0), QUICK_TUNING
        )
    rows = list[dict[str, Any]]()
    for runtime in RUNTIMES:
        scales = shares_of(network, runtime)
        shares = {target: scales(groups.resized(result.widths), result.weights) for target, result in found.items()}
        for target, share in shares.items():
            own, best = float(target == runtime), min(shares.values())
            row = {"network": network, "measured_on": runtime, "adapted_for": target, "share": share, "own": own}
            row |= {"reduction": 100 * (1 - share), "behind_best": 100 * (share / best - 1)}
            rows.append({**row, "widths": groups.named(found[target].widths)})
    save(run_figures.runtime_matrix(rows), "runtimes")
    home = [row for row in rows if row["own"]]
    summary = {"best_at_home": float(np.mean([row["behind_best"] == 0 for row in home]))}
    summary |= {"behind_best": max(row["behind_best"] for row in home)}
    return [*rows, {"network": network, "what": "all", **summary}]


PARTS: dict[str, Callable[[], list[dict]]] = {
    "whole": whole_runs,
    "seeds": seeds,
    "even": partial(seeds, "resnet_even"),
    "spread": spread,
    "matrix": matrix,
}
