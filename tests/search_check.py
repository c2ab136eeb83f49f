"""What searches under a budget must show: `python -m tests.search_check` writes runs/search/summary.json.

True latencies are HELP's tables, true accuracies CIFAR-100's of NATS; both cover all 15,625 cells of NAS-Bench-201;
only those with a path from input to output are searched. Quality is the table's own accuracy, so regret is what not
knowing latencies costs. A decision that keeps no budget counts with its accuracy, and lowers `met`.
"""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.public.help import HelpNasBench201
from datasets.public.nats import Nats
from datasets.records import Architectures, Cost, Measurements
from search.base import Decision, Problem, Search
from search.bisection import Bisection
from search.evolution import Evolution, RandomSearch
from search.proxies import ProxyPool
from tests.study import run_parts

SOURCES = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
"""HELP's source devices: the pool of proxies."""
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
"""Quantiles of the target's latencies that are its budgets: 10 on each of six devices."""
SAMPLES = 4
"""Measurements on the target that choose the proxy; the rest of `SPENT` is the search's."""
SPENT = 10
SEEDS = 5


class Column:
    """A column over the cells that are searched, as a cost."""

    def __init__(self, archs: Architectures, values: np.ndarray) -> None:
        self.values = dict(zip(map(bytes, archs.decisions), values, strict=True))

    def __call__(self, archs: Architectures) -> np.ndarray:
        return np.array([self.values[bytes(row)] for row in archs.decisions])


@cache
def tables() -> tuple[Measurements, np.ndarray, np.ndarray, Column, dict[str, Column]]:
    """Latencies, positions of connected cells, their accuracies, and both as costs."""
    help_, nats = HelpNasBench201().measurements(), Nats().measurements()
    kept = np.flatnonzero(help_.architectures.space.connected(help_.architectures))
    accuracy = Column(nats.architectures, nats.matrix("accuracy_cifar100")[:, 0])(help_.architectures)[kept]
    archs, ms = help_.architectures[kept], help_.matrix("latency_ms")[kept]
    costs = {device.name: Column(archs, ms[:, d]) for d, device in enumerate(help_.devices)}
    return help_, kept, accuracy, Column(archs, accuracy), costs


@cache
def optimum(device: str, budget: float) -> float:
    """The best true accuracy under a true budget, %."""
    help_, kept, accuracy, _, costs = tables()
    ms = costs[device](help_.architectures[kept])
    return float(accuracy[ms <= budget].max())


def problem(device: str, budget: float, proxy: Cost | None = None) -> Problem:
    quality, costs = tables()[3:]
    archs = candidates()
    proxies = {"latency_ms": proxy} if proxy else {}
    return Problem(archs.space, quality, {"latency_ms": costs[device]}, {"latency_ms": budget}, proxies, archs)


@cache
def candidates() -> Architectures:
    help_, kept, *_ = tables()
    return help_.architectures[kept]


@cache
def pool() -> ProxyPool:
    return ProxyPool({name: tables()[4][name] for name in SOURCES})


@cache
def macs() -> Column:
    archs = candidates()
    return Column(archs, archs.space.totals(archs)["macs"].to_numpy(float) + 1)


@cache
def bisection(name: str, equation: str, measurements: int) -> Bisection:
    """One a proxy, so that what was solved for one target is reused for the next."""
    return Bisection(measurements, "weighted" if equation == "weighted" else "budget")


@cache
def matched(device: str, seed: int) -> str:
    """The proxy that ranks `SAMPLES` random cells most like the target."""
    archs = candidates()
    drawn = archs[np.random.default_rng(seed).permutation(len(archs))[:SAMPLES]]
    return next(iter(pool().ranked(drawn, tables()[4][device](drawn))))


def searched(row: str, device: str, budget: float, seed: int) -> tuple[Decision, int, str]:
    """What a row of the table decides, its measurements (those that chose the proxy included), and its proxy."""
    rng = np.random.default_rng(seed)
    others: dict[str, Search] = {"random": RandomSearch(SPENT), "evolution": Evolution(SPENT, 5, 3)}
    if row in others:
        decision = others[row](problem(device, budget), rng)
        return decision, decision.queries, ""
    name, spent = ("macs", 0) if row == "macs" else (matched(device, seed), SAMPLES)
    proxy = macs() if row == "macs" else tables()[4][name]
    search = bisection(name, "weighted" if row == "weighted" else "budget", SPENT - spent)
    decision = search(problem(device, budget, proxy), rng)
    return decision, decision.queries + spent, name


def told(row: str, device: str, budget: float, seed: int) -> dict:
    start = time.perf_counter()
    decision, spent, proxy = searched(row, device, budget, seed)
    best, ms = optimum(device, budget), decision.costs["latency_ms"]
    return {
        "search": row,
        "device": device,
        "budget": budget,
        "seed": seed,
        "proxy": proxy,
        "accuracy": decision.quality,
        "optimum": best,
        "regret": max(0.0, best - decision.quality),
        "latency_ms": ms,
        "met": float(decision.met),
        "within_5": float(ms <= 1.05 * budget),
        "measurements": spent,
        "seconds": time.perf_counter() - start,
    }


def fifteen() -> list[dict]:
    """HELP's fifteen published pairs: budget kept, and accuracy at least theirs or the optimum of our tables."""
    rows = [
        {**told("budget", device, budget, seed), "published": accuracy}
        for device, pairs in PUBLISHED.items()
        for budget, accuracy in pairs.items()
        for seed in range(SEEDS)
    ]
    for row in rows:
        row["good"] = float(row["met"] and row["accuracy"] >= min(row["published"], row["optimum"]) - 1e-9)
    return rows


def sixty(row: str) -> list[dict]:
    """Ten budgets on six unseen devices, five seeds: every search, and means with 95 % intervals over seeds."""
    from scipy.stats import t

    pairs = [(d, float(b)) for d in TARGETS for b in np.quantile(tables()[4][d](candidates()), BUDGETS)]
    ones = [told(row, device, budget, seed) for device, budget in pairs for seed in range(SEEDS)]
    mean: dict = {"search": row, "device": "all"}
    for name in ("regret", "met", "within_5", "measurements", "seconds"):
        means = [np.mean([one[name] for one in ones if one["seed"] == seed]) for seed in range(SEEDS)]
        half = t.ppf(0.975, SEEDS - 1) * np.std(means, ddof=1) / np.sqrt(SEEDS)
        mean |= {name: float(np.mean(means)), f"{name}_half": float(half)}
    if row in (
        "weighted",
        "budget",
    ):  # with the target itself as proxy there is no proxy error, only the equation's gap
        mean["gap"] = float(np.mean([gap(row, *pair) for pair in pairs]))
    return [*ones, mean]


def gap(equation: str, device: str, budget: float) -> float:
    """Regret with a perfect proxy and twenty measurements."""
    search = bisection(f"perfect {device}", equation, 20)
    decision = search(problem(device, budget, tables()[4][device]), np.random.default_rng(0))
    return optimum(device, budget) - decision.quality


def check(
    parts: str = "fifteen,budget,weighted,macs,random,evolution",
    out: Path = Path("runs/search"),
    claims: Path | None = None,
) -> None:
    """Run the study of searches under a budget.

    Args:
        parts: which, separated by commas; rows of the others stay as they were. fifteen: HELP's pairs; the others are
            rows of the table over sixty pairs.
        out: folder of summary.json and claims.json.
        claims: file of what must be shown.
    """
    rows = ("budget", "weighted", "macs", "random", "evolution")
    run_parts({"fifteen": fifteen, **{row: partial(sixty, row) for row in rows}}, parts, out, claims)


if __name__ == "__main__":
    main(check, prog="python -m tests.search_check")
