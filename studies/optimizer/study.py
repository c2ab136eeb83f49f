"""The study of Approach 2: `python -m studies.optimizer.study` writes runs/search/optimizer/summary.json.

Approach 2 is of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020, section 5). It is
scored on the sixty pairs of an unseen device and a budget of `studies.search.study`, and on HELP's fifteen. Networks
are trained on the nine sources; on a target ten latencies are measured. Accuracies are true ones, except in the row
`gp`, which is fitted to those of 900 cells.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from datasets.cli import main
from datasets.records import Cost
from search.base import Decision, Problem
from search.optimizer.answers import answer
from search.optimizer.cost_models import REFERENCES
from studies.optimizer.fits import accuracy, adapted, costs, judge, networks
from studies.optimizer.sampling import margins, samples
from studies.parts import run_parts
from studies.search.tables import PUBLISHED, SEEDS, TARGETS, optimum, pairs, tables

SETTINGS = {  # conditions per network, cells decoded per condition, rounds of local search
    "imitate_alone": (1, 1, 0),
    "through_alone": (1, 1, 0),
    "imitate": (4, 16, 0),
    "through": (4, 16, 0),
    "weights": (16, 16, 0),
    "ensemble": (4, 16, 0),
    "local": (4, 16, 2),
    "gp": (4, 16, 2),
}
"""Rows of the table: one network's first cell; the best by prediction of one network's cells (`weights`: conditioned on
lambda) or of all three networks' cells; the latter with local search; and with accuracies predicted from 900 cells."""


def decide(row: str, device: str, budget: float, seed: int, predicted: Cost) -> Decision:
    """The decision of a row by predicted costs."""
    quality: Cost = judge(seed) if row == "gp" else tables().quality
    problem = Problem(tables().archs.space, quality, {"latency_ms": predicted}, {"latency_ms": budget})
    grid, each, rounds = SETTINGS[row]
    return answer(
        [network for network, _ in networks(row, seed)], adapted(device, seed)[0], problem, grid, each, rounds
    )


def scored(row: str, device: str, budget: float, seed: int) -> dict:
    """A row's decision and its true quality. The adapted predictor's predictions are cached for speed of this study."""
    found, best = decide(row, device, budget, seed, adapted(device, seed)[2]), optimum(device, budget)
    true, ms = (float(cost(found.arch)[0]) for cost in (tables().quality, tables().latency[device]))
    return {
        "search": row,
        "device": device,
        "budget": budget,
        "seed": seed,
        "accuracy": true,
        "optimum": best,
        "regret": max(0.0, best - true),
        "latency_ms": ms,
        "predicted_ms": found.costs["latency_ms"],
        "met": float(ms <= budget),
        "within_5": float(ms <= 1.05 * budget),
        "measurements": REFERENCES,
    }


def seconds(row: str, device: str, budget: float, seed: int) -> tuple[float, float]:
    """CPU seconds (one thread) of a decision without cached predictions, and of its networks' proposals alone; medians
    of seven."""
    grid, each, _ = SETTINGS[row]
    vector, model, _ = adapted(device, seed)
    conditions = torch.full((grid, 1), budget)
    whole, alone = list[float](), list[float]()
    for _ in range(7):
        start = time.process_time()
        decide(row, device, budget, seed, lambda archs: model.predict(archs, model.devices_[0]))
        middle = time.process_time()
        for network, _ in networks(row, seed):
            network.propose(vector, conditions, each)
        whole, alone = [*whole, middle - start], [*alone, time.process_time() - middle]
    return float(np.median(whole)), float(np.median(alone))


def train_seconds(row: str, seed: int) -> float:
    """CPU seconds of all training for a row's decisions, once for all devices."""
    return costs(seed)[1] + (0 if row == "gp" else accuracy()[1]) + sum(spent for _, spent in networks(row, seed))


def table(row: str) -> list[dict]:
    """Rows of the sixty pairs, then means with 95 % intervals over seeds."""
    from scipy.stats import t

    searches = [scored(row, device, budget, seed) for seed in range(SEEDS) for device, budget in pairs(TARGETS)]
    mean: dict = {"search": row, "device": "all", "samples_per_device": REFERENCES}
    for name in ("regret", "met", "within_5", "measurements"):
        means = [np.mean([search[name] for search in searches if search["seed"] == seed]) for seed in range(SEEDS)]
        half = t.ppf(0.975, SEEDS - 1) * np.std(means, ddof=1) / np.sqrt(SEEDS)
        mean |= {name: float(np.mean(means)), f"{name}_half": float(half)}
    mean["train_seconds"] = float(np.mean([train_seconds(row, seed) for seed in range(SEEDS)]))
    mean["seconds"], alone = np.median([seconds(row, *pair, 0) for pair in pairs(TARGETS)[5::10]], axis=0)
    mean["answer_ms"] = 1000 * alone
    return [*searches, mean]


def fifteen() -> list[dict]:
    """HELP's fifteen published pairs: budget kept, and accuracy at least theirs or the optimum of our tables."""
    rows = [
        {**scored("local", device, float(budget), seed), "published": accuracy}
        for device, budgets in PUBLISHED.items()
        for budget, accuracy in budgets.items()
        for seed in range(SEEDS)
    ]
    for row in rows:
        row["good"] = float(row["met"] and row["accuracy"] >= min(row["published"], row["optimum"]) - 1e-9)
    return rows


def check(
    parts: str = "imitate_alone,through_alone,imitate,through,weights,ensemble,local,gp,fifteen,margins,samples",
    out: Path = Path("runs/search/optimizer"),
) -> None:
    """Run the study of the optimizer network.

    Args:
        parts: names of parts, separated by commas; rows of the others are kept. fifteen: HELP's pairs; margins: on
            held-out sources; samples: Algorithm 2; the others are rows of the table over sixty pairs.
        out: folder of summary.json.
    """
    torch.set_num_threads(1)
    others = {"fifteen": fifteen, "margins": margins, "samples": samples}
    run_parts({**{row: partial(table, row) for row in SETTINGS}, **others}, parts, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.optimizer.study")
