"""The study of searches under a budget: `python -m studies.search.study` writes runs/search/summary.json.

The searches and equations are of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020).

True latencies are HELP's tables, true accuracies CIFAR-100's of NATS; both cover all 15,625 cells of NAS-Bench-201;
only those with a path from input to output are searched. Quality is the true accuracy (except in the row
`predicted`), so regret is due to unknown latencies alone. A decision that exceeds the budget counts with its accuracy
and lowers `met`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.cli import main
from search.base import Decision
from search.evolution import Evolution, Exhaustive, RandomSearch
from search.figures import picture
from studies.parts import run_parts
from studies.search.growth import growth
from studies.search.hybrid import doubts, hybrids
from studies.search.more import energy, live
from studies.search.report import read_summary, write_report
from studies.search.tables import (
    PUBLISHED,
    SEEDS,
    SOURCES,
    SPENT,
    TARGETS,
    adapted,
    bisection,
    macs,
    optimum,
    over_seeds,
    pairs,
    predicted_accuracy,
    problem,
    proxied,
    tables,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = ("macs", "random", "evolution", "weighted", "budget", "refined", "adapted", "predicted")
"""Rows of the table. weighted, budget: equations 6 and 5 on the source whose ranking of four samples agrees best with
the target's; refined: budget, with half of the measurements where that proxy, corrected, has the largest expected gain;
adapted: equation 5 on a predictor that is adapted after each measurement; predicted: adapted, with accuracies of a
Gaussian process; macs: equation 5 on multiply-accumulates."""


def searched(
    row: str, device: str, budget: float, seed: int, sources: tuple[str, ...] = SOURCES
) -> tuple[Decision, str]:
    """The decision of a row of the table, and its proxy."""
    rng = np.random.default_rng(seed)
    name, _, samples = row.partition("_")
    if name in ("adapted", "predicted"):
        quality = predicted_accuracy(seed) if name == "predicted" else None
        search = adapted(device, seed, sources, int(samples or 2))
        return search(problem(device, budget, quality=quality), rng), ""
    if row == "macs":
        return bisection("macs", "budget", SPENT)(problem(device, budget, macs()), rng), "macs"
    if row in ("random", "evolution"):
        return (RandomSearch(SPENT) if row == "random" else Evolution(SPENT, 5, 3))(problem(device, budget), rng), ""
    best = proxied(row, sources)
    return best(problem(device, budget), rng), best.matched_


def scored(row: str, device: str, budget: float, seed: int, sources: tuple[str, ...] = SOURCES) -> dict:
    """The row of one search in the summary."""
    start = time.perf_counter()
    decision, proxy = searched(row, device, budget, seed, sources)
    seconds = time.perf_counter() - start
    best, ms = optimum(device, budget), decision.costs["latency_ms"]
    (accuracy,) = tables().quality(decision.arch)
    return {
        "search": row,
        "device": device,
        "budget": budget,
        "seed": seed,
        "proxy": proxy,
        "accuracy": float(accuracy),
        "optimum": best,
        "regret": max(0.0, best - float(accuracy)),
        "latency_ms": ms,
        "met": float(decision.met),
        "within_5": float(ms <= 1.05 * budget),
        "measurements": decision.queries,
        "seconds": seconds,
    }


def fifteen() -> list[dict]:
    """HELP's fifteen published pairs: budget kept, and accuracy at least theirs or the optimum of our tables."""
    rows = [
        {**scored(row, device, budget, seed), "published": accuracy}
        for row in ("budget", "adapted")
        for device, published in PUBLISHED.items()
        for budget, accuracy in published.items()
        for seed in range(SEEDS)
    ]
    for row in rows:
        row["good"] = float(row["met"] and row["accuracy"] >= min(row["published"], row["optimum"]) - 1e-6)
    return rows


def sixty(row: str) -> list[dict]:
    """Ten budgets on six unseen devices with five seeds: all searches, and means with 95 % intervals over seeds."""
    searches = [scored(row, device, budget, seed) for device, budget in pairs(TARGETS) for seed in range(SEEDS)]
    mean = over_seeds(searches, row)
    if row in ("weighted", "budget"):  # a perfect proxy leaves the gap of the equation alone
        mean["gap"] = float(np.mean([gap(row, *pair) for pair in pairs(TARGETS)]))
    return [*searches, mean]


def gap(equation: str, device: str, budget: float) -> float:
    """Regret with a perfect proxy and twenty measurements."""
    search = bisection(f"perfect {device}", equation, 20)
    decision = search(problem(device, budget, tables().latency[device]), np.random.default_rng(0))
    return optimum(device, budget) - decision.quality


def left_out() -> list[dict]:
    """Searches by which settings were chosen: each source device held out once, with the other eight as its sources,
    ten budgets, one seed."""
    rows = []
    for row in ("budget", "refined", "adapted_2", "adapted_3", "adapted_5"):
        searches = [
            scored(row, device, budget, 0, tuple(name for name in SOURCES if name != device))
            for device, budget in pairs(SOURCES)
        ]
        names = ("regret", "met", "within_5", "measurements", "seconds")
        means = {name: float(np.mean([search[name] for search in searches])) for name in names}
        rows += [*searches, {"search": row, "device": "all"} | means]
    return rows


def example() -> Figure:
    """The path of one search among all cells."""
    whole = problem("gold_6226", 11.0)
    decision, _ = searched("adapted", "gold_6226", 11.0, 0, SOURCES)
    return picture(whole, decision, "latency_ms", Exhaustive()(whole, np.random.default_rng(0)))


PARTS: dict[str, Callable[[], list[dict]]] = {"left_out": left_out, "fifteen": fifteen}
PARTS |= {row: partial(sixty, row) for row in ROWS}
PARTS |= {"energy": energy, "doubts": doubts, "hybrids": hybrids, "growth": growth, "live": live}


def check(parts: str = ",".join(PARTS), out: Path = Path("runs/search")) -> None:
    """Run the study of searches under a budget.

    Args:
        parts: names of parts, separated by commas; rows of the others are kept. left_out: source devices held out, by
            which settings were chosen; fifteen: HELP's pairs; macs, random, evolution, weighted, budget, refined,
            adapted, predicted: rows of the table over sixty pairs; energy: budgets of latency and energy; doubts: by
            which hybrid searches were set; hybrids: measurements that these save; growth: cost over the number of
            devices; live: on this machine.
        out: folder of summary.json.
    """
    run_parts(PARTS, parts, out)
    print(*write_report(read_summary(out), out / "report.html", example()), sep="\n")


if __name__ == "__main__":
    main(check, prog="python -m studies.search.study")
