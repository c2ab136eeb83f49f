"""What searches under a budget must show: `python -m studies.search.study` writes runs/search/summary.json.

True latencies are HELP's tables, true accuracies CIFAR-100's of NATS; both cover all 15,625 cells of NAS-Bench-201;
only those with a path from input to output are searched. Quality is the table's own accuracy (but in the row
`predicted`), so regret is what not knowing latencies costs. A decision that keeps no budget counts with its accuracy,
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
"""Of the table. weighted, budget: equations 6 and 5 on the source that ranks four samples most alike; refined: half of
budget's measurements go where that proxy, corrected, promises most; adapted: equation 5 on a predictor that is adapted
after each measurement; predicted: the same with accuracies of a Gaussian process; macs: equation 5 on
multiply-accumulates."""


def searched(
    row: str, device: str, budget: float, seed: int, sources: tuple[str, ...] = SOURCES
) -> tuple[Decision, str]:
    """What a row of the table decides, and its proxy."""
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


def told(row: str, device: str, budget: float, seed: int, sources: tuple[str, ...] = SOURCES) -> dict:
    """A row of the summary: one search."""
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
        {**told(row, device, budget, seed), "published": accuracy}
        for row in ("budget", "adapted")
        for device, published in PUBLISHED.items()
        for budget, accuracy in published.items()
        for seed in range(SEEDS)
    ]
    for row in rows:
        row["good"] = float(row["met"] and row["accuracy"] >= min(row["published"], row["optimum"]) - 1e-6)
    return rows


def sixty(row: str) -> list[dict]:
    """Ten budgets on six unseen devices, five seeds: every search, and means with 95 % intervals over seeds."""
    ones = [told(row, device, budget, seed) for device, budget in pairs(TARGETS) for seed in range(SEEDS)]
    mean = over_seeds(ones, row)
    if row in ("weighted", "budget"):  # the target itself as proxy has no error, so what is left is the equation's gap
        mean["gap"] = float(np.mean([gap(row, *pair) for pair in pairs(TARGETS)]))
    return [*ones, mean]


def gap(equation: str, device: str, budget: float) -> float:
    """Regret with a perfect proxy and twenty measurements."""
    search = bisection(f"perfect {device}", equation, 20)
    decision = search(problem(device, budget, tables().latency[device]), np.random.default_rng(0))
    return optimum(device, budget) - decision.quality


def left_out() -> list[dict]:
    """What was chosen by: each source device left out once, the other eight its sources; ten budgets, one seed."""
    rows = []
    for row in ("budget", "refined", "adapted_2", "adapted_3", "adapted_5"):
        ones = [
            told(row, device, budget, 0, tuple(name for name in SOURCES if name != device))
            for device, budget in pairs(SOURCES)
        ]
        names = ("regret", "met", "within_5", "measurements", "seconds")
        rows += [*ones, {"search": row, "device": "all"} | {n: float(np.mean([one[n] for one in ones])) for n in names}]
    return rows


def example() -> Figure:
    """The path of one search among all cells."""
    whole = problem("gold_6226", 11.0)
    decision, _ = searched("adapted", "gold_6226", 11.0, 0, SOURCES)
    return picture(whole, decision, "latency_ms", Exhaustive()(whole, np.random.default_rng(0)))


PARTS: dict[str, Callable[[], list[dict]]] = {"left_out": left_out, "fifteen": fifteen}
PARTS |= {row: partial(sixty, row) for row in ROWS}
PARTS |= {"energy": energy, "growth": growth, "live": live}


def check(parts: str = ",".join(PARTS), out: Path = Path("runs/search")) -> None:
    """Run the study of searches under a budget.

    Args:
        parts: which, separated by commas; rows of the others stay as they were. left_out: what was chosen by, on source
            devices; fifteen: HELP's pairs; macs, random, evolution, weighted, budget, refined, adapted, predicted:
            rows of the table over sixty pairs; energy: budgets of both; growth: cost as devices grow; live: on this
            machine.
        out: folder of summary.json.
    """
    run_parts(PARTS, parts, out)
    print(*write_report(read_summary(out), out / "report.html", example()), sep="\n")


if __name__ == "__main__":
    main(check, prog="python -m studies.search.study")
