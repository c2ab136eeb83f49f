"""What latencies and accuracies of a few cells are worth: safety margins, and Algorithm 2's choice of cells."""

from __future__ import annotations

from itertools import product

import numpy as np

from predictors.gp import GaussianProcess
from predictors.new_devices.conditioned import Conditioned
from search.optimizer.cost_models import CELLS, REFERENCES
from search.optimizer.exploration import explore
from studies.optimizer.fits import few, latencies, process
from studies.search.tables import BUDGETS, SOURCES, tables

SIZES = (50, 100, 150, 200, 250)
"""Cells known to Algorithm 2."""
SAMPLING_SEEDS = 3


def margins() -> list[dict]:
    """On each source left out, three draws: what a safety margin of so many standard deviations costs, where nothing
    but the adapted predictor errs. It chose that there is none: budgets are predicted means."""
    rows = []
    all_, truth = tables().archs, tables().accuracies
    for left in SOURCES:
        m, ms = latencies().where(devices=[d for d in SOURCES if d != left]), tables().latency[left](all_)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            prior = Conditioned().fit(m.where(archs=rng.permutation(len(all_))[:CELLS]))
            model = prior.adapt(few(left, prior.choose(all_, REFERENCES, rng)))
            said = model.predict(all_, model.devices_[0])
            std = model.belief(all_, model.devices_[0]).interval(0.6827)[1] - said
            for margin, budget in product((0, 0.25, 0.5, 1), np.quantile(ms, BUDGETS)):
                kept = said + margin * std <= budget
                at = int(np.where(kept, truth, -1).argmax() if kept.any() else said.argmin())
                regret = max(0.0, float(truth[ms <= budget].max() - truth[at]))
                row = {"search": "margin", "device": left, "seed": seed, "margin": margin, "budget": float(budget)}
                rows.append({**row, "regret": regret, "within_5": float(ms[at] <= 1.05 * budget)})
    return rows


def samples() -> list[dict]:
    """Algorithm 2: cells measured on the sources, chosen or at random; regret, on the sources' own pairs, of optima on
    the predictors that the cells taught, and how many chosen cells reach what random ones reach in
    the end: infinite where none do."""
    rows = []
    for seed, rule in product(range(SAMPLING_SEEDS), ("chosen", "random")):
        rng = np.random.default_rng(seed)
        known = rng.permutation(len(tables().archs))[: SIZES[0]]
        for size, following in zip(SIZES, (*SIZES[1:], 0), strict=True):
            model, optima, regret = taught(known)
            rows.append({"search": rule, "device": "sources", "seed": seed, "samples": size, "regret": regret})
            if not following:
                continue
            pool = np.setdiff1d(rng.permutation(len(tables().archs))[:2000], known)
            if rule == "random":
                known = np.append(known, pool[: following - size])
                continue
            pool = np.union1d(pool, optima)
            low, high = model.belief(tables().archs[pool]).interval(0.6827)
            asked = tables().archs[pool], tables().archs[known], following - size
            known = np.append(known, pool[explore(*asked, high - low, tables().archs[optima], rng)])
    means = {
        rule: {n: np.mean([r["regret"] for r in rows if (r["search"], r["samples"]) == (rule, n)]) for n in SIZES}
        for rule in ("chosen", "random")
    }
    end = means["random"][SIZES[-1]]
    needed = next((n for n in SIZES if means["chosen"][n] <= end), np.inf)
    return [
        *rows,
        {"search": "samples", "device": "all", "random": SIZES[-1], "chosen": needed, "share": needed / SIZES[-1]},
    ]


def taught(known: np.ndarray) -> tuple[GaussianProcess, np.ndarray, float]:
    """A process of accuracies from the known cells, the optima by it and by the sources' latencies that the same cells
    teach, and their mean regret; over the budget an optimum is worth the best cheaper one's."""
    model = process(known)
    said = model.predict(tables().archs, None)
    prior = Conditioned().fit(latencies().where(archs=known, devices=SOURCES))
    truth, optima, regrets = tables().accuracies, [], []
    for name, ms in zip((d.name for d in prior.devices_), prior.predict_all(tables().archs).T, strict=True):
        true = tables().latency[name](tables().archs)
        for budget in np.quantile(true, BUDGETS):
            optima.append(int(np.where(ms <= budget, said, -1).argmax()))
            regrets.append(max(0.0, float(truth[true <= budget].max() - truth[optima[-1]])))
    return model, np.unique(optima), float(np.mean(regrets))
