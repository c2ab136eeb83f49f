"""Safety margins of predicted latencies, and the choice of cells to measure by Algorithm 2."""

from __future__ import annotations

from itertools import product

import numpy as np

from predictors.gp import GaussianProcess
from predictors.new_devices.conditioned import Conditioned
from search.optimizer.cost_models import CELLS, REFERENCES
from search.optimizer.exploration import explore
from studies.optimizer.fits import gaussian_process, latencies, samples_of
from studies.search.tables import BUDGETS, SOURCES, tables

SIZES = (50, 100, 150, 200, 250)
"""Numbers of measured cells in Algorithm 2."""
SAMPLING_SEEDS = 3


def margins() -> list[dict]:
    """Regret with safety margins of several standard deviations, on each held-out source with three draws, where the
    adapted predictor is the only source of error. By these rows no margin is used: budgets apply to predicted means."""
    rows = []
    all_, truth = tables().archs, tables().accuracies
    for held_out in SOURCES:
        m, ms = latencies().where(devices=[d for d in SOURCES if d != held_out]), tables().latency[held_out](all_)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            prior = Conditioned().fit(m.where(archs=rng.permutation(len(all_))[:CELLS]))
            model = prior.adapt(samples_of(held_out, prior.choose(all_, REFERENCES, rng)))
            predicted = model.predict(all_, model.devices_[0])
            std = model.belief(all_, model.devices_[0]).interval(0.6827)[1] - predicted
            for margin, budget in product((0, 0.25, 0.5, 1), np.quantile(ms, BUDGETS)):
                kept = predicted + margin * std <= budget
                at = int(np.where(kept, truth, -1).argmax() if kept.any() else predicted.argmin())
                regret = max(0.0, float(truth[ms <= budget].max() - truth[at]))
                row = {"search": "margin", "device": held_out, "seed": seed, "margin": margin, "budget": float(budget)}
                rows.append({**row, "regret": regret, "within_5": float(ms[at] <= 1.05 * budget)})
    return rows


def samples() -> list[dict]:
    """Algorithm 2: cells measured on the sources, chosen or at random. Regret, on the sources' own pairs, of optima by
    the predictors fitted to them, and the number of chosen cells with the regret of the most random ones (infinite
    where there is none)."""
    rows = []
    for seed, rule in product(range(SAMPLING_SEEDS), ("chosen", "random")):
        rng = np.random.default_rng(seed)
        known = rng.permutation(len(tables().archs))[: SIZES[0]]
        for size, following in zip(SIZES, (*SIZES[1:], 0), strict=True):
            model, optima, regret = fitted(known)
            rows.append({"search": rule, "device": "sources", "seed": seed, "samples": size, "regret": regret})
            if not following:
                continue
            pool = np.setdiff1d(rng.permutation(len(tables().archs))[:2000], known)
            if rule == "random":
                known = np.append(known, pool[: following - size])
                continue
            pool = np.union1d(pool, optima)
            low, high = model.belief(tables().archs[pool]).interval(0.6827)
            arguments = tables().archs[pool], tables().archs[known], following - size
            known = np.append(known, pool[explore(*arguments, high - low, tables().archs[optima], rng)])
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


def fitted(known: np.ndarray) -> tuple[GaussianProcess, np.ndarray, float]:
    """A Gaussian process of accuracies fitted to the known cells, the optima by it and by latency predictors fitted to
    the same cells, and the optima's mean regret."""
    model = gaussian_process(known)
    predicted = model.predict(tables().archs, None)
    prior = Conditioned().fit(latencies().where(archs=known, devices=SOURCES))
    truth, optima, regrets = tables().accuracies, [], []
    for name, ms in zip((d.name for d in prior.devices_), prior.predict_all(tables().archs).T, strict=True):
        true = tables().latency[name](tables().archs)
        for budget in np.quantile(true, BUDGETS):
            optima.append(int(np.where(ms <= budget, predicted, -1).argmax()))
            regrets.append(max(0.0, float(truth[true <= budget].max() - truth[optima[-1]])))
    return model, np.unique(optima), float(np.mean(regrets))
