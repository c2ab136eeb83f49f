"""What Approach 2 must show: `python -m studies.optimizer.study` writes runs/search/optimizer/summary.json.

The same sixty pairs of an unseen device and a budget as in `studies.search.study`, and HELP's fifteen. Networks learn
from the nine sources; of a target they are told ten latencies, and nothing is measured after that. Accuracies are the
table's, as they are there, but for the row `gp`, which has seen those of 900 cells.
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

SETTINGS = {  # conditions a network is asked, cells decoded for each, rounds of local search
    "imitate_alone": (1, 1, 0),
    "through_alone": (1, 1, 0),
    "imitate": (4, 16, 0),
    "through": (4, 16, 0),
    "weights": (16, 16, 0),
    "ensemble": (4, 16, 0),
    "local": (4, 16, 2),
    "gp": (4, 16, 2),
}
"""Rows of the table: one network's first cell, what one network's cells are best by prediction (`weights`: conditioned
on lambda), those of all three, a local search round those, and that with accuracies predicted from 900 cells."""


def asked(row: str, device: str, budget: float, seed: int, said: Cost) -> Decision:
    """A row's answer, by costs that are predicted."""
    quality: Cost = judge(seed) if row == "gp" else tables().quality
    problem = Problem(tables().archs.space, quality, {"latency_ms": said}, {"latency_ms": budget})
    grid, each, rounds = SETTINGS[row]
    return answer([one for one, _ in networks(row, seed)], adapted(device, seed)[0], problem, grid, each, rounds)


def told(row: str, device: str, budget: float, seed: int) -> dict:
    """One answer, and how good it truly is. What the adapted predictor says is looked up, for speed of this study."""
    found, best = asked(row, device, budget, seed, adapted(device, seed)[2]), optimum(device, budget)
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


def took(row: str, device: str, budget: float, seed: int) -> tuple[float, float]:
    """CPU seconds (one thread) of a whole answer, every prediction really made, and of its networks' proposals alone;
    medians of 7."""
    grid, each, _ = SETTINGS[row]
    vector, model, _ = adapted(device, seed)
    wanted = torch.full((grid, 1), budget)
    whole, alone = list[float](), list[float]()
    for _ in range(7):
        start = time.process_time()
        asked(row, device, budget, seed, lambda archs: model.predict(archs, model.devices_[0]))
        middle = time.process_time()
        for one, _ in networks(row, seed):
            one.propose(vector, wanted, each)
        whole, alone = [*whole, middle - start], [*alone, time.process_time() - middle]
    return float(np.median(whole)), float(np.median(alone))


def train_seconds(row: str, seed: int) -> float:
    """CPU seconds of everything that a row's answers rest on, once for all devices."""
    return costs(seed)[1] + (0 if row == "gp" else accuracy()[1]) + sum(spent for _, spent in networks(row, seed))


def table(row: str) -> list[dict]:
    """The sixty pairs, then means with 95 % intervals over seeds."""
    from scipy.stats import t

    ones = [told(row, device, budget, seed) for seed in range(SEEDS) for device, budget in pairs(TARGETS)]
    mean: dict = {"search": row, "device": "all", "samples_per_device": REFERENCES}
    for name in ("regret", "met", "within_5", "measurements"):
        means = [np.mean([one[name] for one in ones if one["seed"] == seed]) for seed in range(SEEDS)]
        half = t.ppf(0.975, SEEDS - 1) * np.std(means, ddof=1) / np.sqrt(SEEDS)
        mean |= {name: float(np.mean(means)), f"{name}_half": float(half)}
    mean["train_seconds"] = float(np.mean([train_seconds(row, seed) for seed in range(SEEDS)]))
    mean["seconds"], alone = np.median([took(row, *pair, 0) for pair in pairs(TARGETS)[5::10]], axis=0)
    mean["answer_ms"] = 1000 * alone
    return [*ones, mean]


def fifteen() -> list[dict]:
    """HELP's fifteen published pairs: budget kept, and accuracy at least theirs or the optimum of our tables."""
    rows = [
        {**told("local", device, float(budget), seed), "published": accuracy}
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
        parts: which, separated by commas; rows of the others stay as they were. fifteen: HELP's pairs; margins: on
            left-out sources; samples: Algorithm 2; the others are rows of the table over sixty pairs.
        out: folder of summary.json.
    """
    torch.set_num_threads(1)
    others = {"fifteen": fifteen, "margins": margins, "samples": samples}
    run_parts({**{row: partial(table, row) for row in SETTINGS}, **others}, parts, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.optimizer.study")
