"""Measurements that hybrid searches save: searches that measure every candidate, the doubtful ones only, or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search.base import Decision, Problem, Search
from search.evolution import Evolution, Exhaustive
from search.hybrid import Hybrid
from search.proxies import adapting
from studies.search.tables import SOURCES, TARGETS, Column, fitted, optimum, over_seeds, pairs, problem, tables

SAMPLES = 10
"""Number of measurements by which the predictor is adapted, also where nothing else is measured."""
DOUBTS = (0.02, 0.05, 0.1, 0.2)
"""Values of `Hybrid.doubt` among which the source devices, each left out once, choose."""
DOUBT = 0.1
"""The chosen one: on sources, 0.05 loses 0.02 points less and measures a sixth more, 0.2 loses 0.04 points more."""
MOST = 100
"""Largest number of true measurements of a hybrid search."""
EVALUATED = 200
"""Number of candidates of an evolution."""
MEASURED = (50, 100, 200, 400, 800)
"""Numbers of candidates of evolutions that measure every one."""
REPEATS = 3
"""Number of seeds."""
CONFIDENCES = (0.5, 0.9)
"""Values of `Problem.confidence` with which the searches that measure nothing but the samples decide."""


def _hybrid(device: str, budget: float, seed: int, doubt: float, inner: Search, sources: tuple[str, ...]) -> Decision:
    model = fitted(seed, sources)
    fit = adapting(model, replace(tables().help.device(device), name="new"))
    search = Hybrid(MOST, SAMPLES, doubt, {"latency_ms": fit}, model.choose, inner)
    return search(problem(device, budget), np.random.default_rng(seed))


def _predicted(device: str, budget: float, seed: int, confidence: float, search: Search) -> Decision:
    """The decision of a search on a predictor that was adapted to `SAMPLES` measurements; no other is made."""
    whole, model, rng = problem(device, budget), fitted(seed), np.random.default_rng(seed)
    samples = model.choose(whole.all(), SAMPLES, rng)
    fit = adapting(model, replace(tables().help.device(device), name="new"))
    cost = fit(samples, whole.costs["latency_ms"](samples))
    predicted = replace(whole, costs={"latency_ms": cost}, confidence=confidence)
    cost = Column(whole.all(), predicted.limited(cost, whole.all()))  # all at once, which is faster
    return search(replace(whole, costs={"latency_ms": cost}), rng)


def _scored(name: str, decision: Decision, whole: Problem, device: str, seed: int, measurements: int) -> dict:
    """The row of a decision: its true accuracy and latency, and the measurements of its search."""
    budget = whole.budgets["latency_ms"]
    (ms,), (accuracy,) = whole.costs["latency_ms"](decision.arch), whole.quality(decision.arch)
    return {
        "search": name,
        "device": device,
        "budget": budget,
        "seed": seed,
        "regret": max(0.0, optimum(device, budget) - float(accuracy)),
        "met": float(ms <= budget),
        "within_5": float(ms <= 1.05 * budget),
        "measurements": measurements,
        "seconds": decision.seconds,
    }


def hybrids() -> list[dict]:
    """Thirty pairs on unseen devices with `REPEATS` seeds, and means with what the hybrid searches save (`savings`)."""
    return averaged([row for pair in pairs(TARGETS)[::2] for seed in range(REPEATS) for row in _searched(*pair, seed)])


def _searched(device: str, budget: float, seed: int) -> list[dict]:
    """A row per search."""
    whole = problem(device, budget)
    evolution = Evolution(MEASURED[-1])(whole, np.random.default_rng(seed))
    found = {f"measured_{n}": _after(evolution, n, whole) for n in MEASURED}
    found["hybrid_evolution"] = _hybrid(device, budget, seed, DOUBT, Evolution(EVALUATED), SOURCES)
    found["hybrid"] = _hybrid(device, budget, seed, DOUBT, Exhaustive(), SOURCES)
    rows = [_scored(name, d, whole, device, seed, d.queries) for name, d in found.items()]
    found = {"predicted_evolution": _predicted(device, budget, seed, 0.5, Evolution(EVALUATED))}
    for p in CONFIDENCES:
        found[f"predicted_{p:g}"] = _predicted(device, budget, seed, p, Exhaustive())
    return rows + [_scored(name, d, whole, device, seed, SAMPLES) for name, d in found.items()]


def averaged(rows: list[dict]) -> list[dict]:
    """The rows of searches, and their means by search."""
    names = dict.fromkeys(row["search"] for row in rows)
    means = {name: over_seeds([row for row in rows if row["search"] == name], name) for name in names}
    for name in ("hybrid_evolution", "hybrid"):
        means[name] |= savings(means[name], [means[f"measured_{n}"] for n in MEASURED], means[f"measured_{EVALUATED}"])
    return rows + list(means.values())


def _after(decision: Decision, n: int, whole: Problem) -> Decision:
    """What an evolution decides after its first `n` measurements; a longer one begins as a shorter one does."""
    archs, costs = decision.measured[np.arange(min(n, decision.queries))], decision.measured_costs[:n]
    best = int(np.lexsort((-np.asarray(whole.quality(archs)), whole.excess(costs)))[0])
    seconds = decision.seconds * len(archs) / decision.queries
    return replace(decision, arch=archs[[best]], measured=archs, measured_costs=costs, seconds=seconds)


def savings(mean: dict, measured: list[dict], same: dict) -> dict:
    """Measurements saved by a hybrid search. At equal regret the evolution's number is interpolated, linearly in its
    logarithm; where even the longest evolution has more regret, it counts as that one, so the saving is a lower bound.

    Args:
        mean: its mean row.
        measured: mean rows of the evolutions that measure every candidate, by their number.
        same: the one of them with the hybrid evolution's number of candidates.
    """
    regrets = np.minimum.accumulate([row["regret"] for row in measured])
    numbers = np.log([row["measurements"] for row in measured])
    return {
        "saved": same["measurements"] / mean["measurements"],
        "regret_more": mean["regret"] - same["regret"],
        "saved_at_equal_regret": float(np.exp(np.interp(-mean["regret"], -regrets, numbers)) / mean["measurements"]),
    }


def doubts() -> list[dict]:
    """Each source device held out once with the other eight as its sources, three or four budgets, one seed."""
    rows = []
    for doubt in DOUBTS:
        name, searches = f"hybrid_{doubt:g}", []
        for device, budget in pairs(SOURCES)[::3]:
            others = tuple(source for source in SOURCES if source != device)
            decision = _hybrid(device, budget, 0, doubt, Exhaustive(), others)
            searches.append(_scored(name, decision, problem(device, budget), device, 0, decision.queries))
        means = {m: float(np.mean([row[m] for row in searches])) for m in ("regret", "met", "within_5", "measurements")}
        rows += [*searches, {"search": name, "device": "all"} | means]
    return rows
