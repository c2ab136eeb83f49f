"""What Approach 2 must show: `python -m studies.optimizer.study` writes runs/search/optimizer/summary.json.

The same sixty pairs of an unseen device and a budget as in `studies.search.study`, and HELP's fifteen. Networks learn
from the nine sources; of a target they are told ten latencies, and nothing is measured after that. Accuracies are the
table's, as they are there, but for the row `gp`, which has seen those of 900 cells.
"""

from __future__ import annotations

import time
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datasets.cli import main
from datasets.records import Architectures, Cost, Measurements
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot
from encoders.flat import Joined
from predictors.base import Predictor, Relaxable
from predictors.gp import GaussianProcess
from predictors.new_devices.conditioned import Conditioned
from predictors.scaling import Scale
from search.base import Decision, Problem
from search.optimizer.__main__ import accuracy_net
from search.optimizer.cost_models import CELLS, REFERENCES, CostModels
from search.optimizer.device_net import DeviceNet
from search.optimizer.exploration import explore
from search.optimizer.optimizer_network import Objective, OptimizerNetwork, answer
from studies.parts import run_parts
from studies.search.tables import (
    BUDGETS,
    PUBLISHED,
    SEEDS,
    SOURCES,
    TARGETS,
    Column,
    optimum,
    pairs,
    tables,
)

METRIC = "accuracy_cifar100"
SYNTHETIC = 300
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
SIZES = (50, 100, 150, 200, 250)
"""Cells known to Algorithm 2."""
SAMPLING_SEEDS = 3


@cache
def latencies() -> Measurements:
    return tables().help.where(archs=tables().kept)


def few(device: str, references: Architectures) -> Measurements:
    """What is measured of a target: the references."""
    return latencies().where(archs=tables().archs.positions(references), devices=[device])


def accuracies_of(rows: np.ndarray) -> Measurements:
    table = {"arch": range(len(rows)), "device": -1, "metric": METRIC, "value": tables().accuracies[rows]}
    return Measurements(tables().archs[rows], [], pd.DataFrame(table), "nats")


@cache
def accuracy() -> tuple[Relaxable, float]:
    """All accuracies as a net, and its CPU seconds."""
    start = time.process_time()
    return accuracy_net(accuracies_of(np.arange(len(tables().archs))), METRIC), time.process_time() - start


def process(rows: np.ndarray, encoder: VectorEncoder | None = None) -> GaussianProcess:
    """The paper's accuracy predictor (section 4.1) of some cells' accuracies. Those below the lower quartile count as
    that: how bad bad cells are is most of the variance and of no use (on the sources this took its optima from 3 points
    of regret to half of one)."""
    m = accuracies_of(rows)
    table = m.table.assign(value=m.table["value"].clip(lower=float(m.table["value"].quantile(0.25))))
    kind = GaussianProcess(METRIC, Scale("linear"), encoder=encoder or CellOneHot(), most=150)
    return kind.fit(Measurements(m.architectures, [], table, m.name))


@cache
def costs(seed: int) -> tuple[CostModels, float]:
    start = time.process_time()
    return CostModels(Conditioned(), DeviceNet(seed=seed)).fit(
        latencies().where(devices=SOURCES), tables().archs, seed
    ), time.process_time() - start


@cache
def relaxable_process(seed: int) -> GaussianProcess:
    """Of one-hot decisions, on `CELLS` accuracies."""
    return process(_some(seed))


@cache
def judge(seed: int) -> Column:
    """What a process of decisions and physical totals says, on the same accuracies: better, and not relaxable, so it
    judges what networks propose, as the adapted predictor does for latencies."""
    return Column(tables().archs, process(_some(seed), Joined()).predict(tables().archs, None))


def _some(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(tables().archs))[:CELLS]


@cache
def network(seed: int, method: str, asks: str, gp: bool = False) -> tuple[OptimizerNetwork, float]:
    """One network and its CPU seconds."""
    models, _ = costs(seed)
    start = time.process_time()
    model: Relaxable = relaxable_process(seed) if gp else accuracy()[0]
    objective = Objective(tables().archs, lambda p: model.predict_relaxed(p, p), (models.net.predict_relaxed,))
    devices = models.devices(SYNTHETIC, np.random.default_rng(seed))
    made = OptimizerNetwork(method, asks, seed=seed)  # type: ignore[arg-type]
    made.fit(objective, torch.from_numpy(devices).float()[:, None])
    return made, time.process_time() - start


def networks(row: str, seed: int) -> list[tuple[OptimizerNetwork, float]]:
    if row == "gp":
        return [network(seed, "imitate", "budget", gp=True)]
    kinds = {"imitate": ("imitate", "budget"), "through": ("through", "budget"), "weights": ("through", "weight")}
    return [network(seed, *kinds[name]) for name in kinds if row.startswith(name) or row in ("ensemble", "local")]


@cache
def adapted(device: str, seed: int) -> tuple[torch.Tensor, Predictor, Column]:
    """A target as networks read it, its adapted predictor, and what that says of all cells."""
    models, _ = costs(seed)
    vector, model = models.adapt(few(device, models.net.references_))
    said = Column(tables().archs, model.predict(tables().archs, model.devices_[0]))
    return torch.from_numpy(vector).float()[None], model, said


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
