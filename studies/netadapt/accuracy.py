"""Accuracy and measured latency of adapted networks, beside uniformly narrower and randomly narrowed ones."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.networks.model import Weights
from datasets.networks.network import Network
from measure.builders.weights import make_weights
from measure.shares import Shares
from search.netadapt.channels import Groups
from search.netadapt.cutting import cut_weights
from search.netadapt.proposals import derive
from search.netadapt.widths import Exact, PricedNetwork
from studies.netadapt import run_figures
from studies.netadapt.adaptations import (
    BUDGETS,
    COMPARISONS,
    OUT,
    TASK,
    TUNING,
    adapt,
    groups_of,
    priced,
    save,
    shares_of,
    trained,
    tuning_of,
)

SEEDS = 5


def seeds(network: str = "resnet", runtime: str = "litert") -> list[dict]:
    """Adaptation through all budgets per seed, and uniform scaling at the same measured latency."""
    scales, rows = shares_of(network, runtime), list[dict]()
    for seed in range(SEEDS):
        rows += seed_rows(network, runtime, seed, scales)
    adapted = pd.DataFrame([row for row in rows if row["what"] == "adapted"])
    for row in rows:
        row.update(network=network, runtime=runtime)
    means = [interval(float(str(budget)), part) for budget, part in adapted.groupby("budget", sort=False)]
    save(run_figures.accuracy_over_latency(rows), f"accuracy_over_latency_{network}")
    return [*rows, *({**row, "network": network, "runtime": runtime} for row in means)]


def seed_rows(network: str, runtime: str, seed: int, scales: Shares) -> list[dict]:
    folder, groups, comparison = OUT / "seeds" / f"{network}_{runtime}_{seed}", groups_of(network), COMPARISONS[network]
    model = priced(network, runtime, comparison.table)
    first = model.latency_ms(groups.sizes)

    def measure(resized: Network, weights: Weights) -> float:
        return scales(resized, weights) * first

    search, settings = Exact(model, conv=comparison.step), replace(comparison.adaptation, seed=seed)
    adapted = adapt(settings, search, BUDGETS, folder, partial(trained, network, seed), TUNING, measure)
    shares, accuracies = uniform(network, seed, adapted[-1].iterations, folder, scales)
    rows = [
        {"what": "uniform", "seed": seed, "share": share, "accuracy": accuracy}
        for share, accuracy in zip(shares, accuracies, strict=True)
    ]
    for ratio, result in zip(BUDGETS, adapted, strict=True):
        share = scales.anew(groups.resized(result.widths), result.weights)
        promised = result.latency_ms / first
        assert shares[0] <= share <= shares[-1], "no uniform networks around this latency"
        reference = float(np.interp(share, shares, accuracies))
        row = {"what": "adapted", "seed": seed, "budget": ratio, "share": share, "promised": promised}
        row |= {"accuracy": result.accuracy, "uniform": reference, "better": result.accuracy - reference}
        row |= {"away": 100 * abs(promised / share - 1), "over": 100 * (share / ratio - 1)}
        rows.append(row | {"iterations": result.iterations, "widths": groups.named(result.widths)})
    return rows


def uniform(network: str, seed: int, iterations: int, folder: Path, scales: Shares) -> tuple[np.ndarray, np.ndarray]:
    """Measured shares and test accuracies of uniformly narrower networks, ascending. They are cut from the same weights
    and tuned as often as the adapted network with the smallest budget: `iterations` short tunings, then the long
    one."""
    groups, file = groups_of(network), folder / "uniform.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    shares, accuracies, step = list[float](), list[float](), COMPARISONS[network].step
    for share in COMPARISONS[network].uniform:
        widths = np.maximum(np.floor(groups.sizes * share / step + 0.5).astype(int), 1) * step
        accuracies.append(tuned_accuracy(groups, widths, share, seed, iterations, folder, known))
        shares.append(scales(groups.resized(widths)))
    order = np.argsort(shares)
    return np.array(shares)[order], np.array(accuracies)[order]


def tuned_accuracy(
    groups: Groups, widths: np.ndarray, share: float, seed: int, iterations: int, folder: Path, known: dict
) -> float:
    if str(share) not in known:
        weights = cut_weights(groups, trained(groups.network.key, seed), widths)
        network, settings = groups.resized(widths), COMPARISONS[groups.network.key].adaptation
        trainer = tuning_of(groups.network.key, TUNING)
        for number in range(iterations):
            weights = trainer.tune(network, weights, settings.steps, derive(seed, number, 2000))
        weights = trainer.tune(network, weights, settings.long_steps, derive(seed, 0, 3000))
        known[str(share)] = trainer.accuracy(network, weights, "test")
        (folder / "uniform.json").write_text(json.dumps(known))
    return known[str(share)]


def interval(budget: float, part: pd.DataFrame) -> dict:
    """Means over seeds with half the width of their 95 % intervals."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(part) - 1) / np.sqrt(len(part)))
    row: dict = {"what": "mean", "budget": budget, "seeds": len(part)}
    for name in ("accuracy", "uniform", "better", "share", "promised"):
        row |= {name: float(part[name].mean()), f"{name}_half": half * float(part[name].std())}
    row |= {"away": float(part["away"].max()), "over": float(part["over"].max())}
    low = row["better"] - row["better_half"]
    return row | {"not_worse": float(row["better"] + row["better_half"] >= 0), "clearly_better": float(low > 0)}


def spread(seed: int = 10, drawn: int = 7, ratio: float = 0.5) -> list[dict]:
    """Possible gains of an allocation: random widths with half of the latency by the table, and uniform scaling at the
    same latency, cut and tuned in the same way, on images and with a seed that no other part uses."""
    trainer = replace(TUNING, task=replace(TASK, seed=1, test=4000))
    rows = list[dict]()
    for network, comparison in COMPARISONS.items():
        model, groups = priced(network, "litert", comparison.table), groups_of(network)
        first = model.latency_ms(groups.sizes)
        start = make_weights(groups.network, seed)
        base = trainer.tune(groups.network, start, comparison.first_steps, derive(seed, 0, 1000))
        scaled = [
            comparison.step * np.floor(groups.sizes * share / comparison.step + 0.5).astype(int)
            for share in comparison.uniform
        ]
        allocations = {"uniform": scaled, "random": random_widths(model, comparison.step, ratio * first, drawn, seed)}
        part = list[dict[str, Any]]()
        for what, networks in allocations.items():
            for widths in networks:
                resized, cut = groups.resized(widths), cut_weights(groups, base, widths)
                tuned = trainer.tune(resized, cut, comparison.adaptation.long_steps, derive(seed, 0, 3000))
                values = {"what": what, "share": model.latency_ms(widths) / first, "widths": groups.named(widths)}
                part.append({"network": network, **values, "accuracy": trainer.accuracy(resized, tuned, "test")})
        curve = sorted((row["share"], row["accuracy"]) for row in part if row["what"] == "uniform")
        shares, accuracies = zip(*curve, strict=True)
        for row in part:
            row["better"] = row["accuracy"] - float(np.interp(row["share"], shares, accuracies))
        better = [row["better"] for row in part if row["what"] == "random"]
        summary = {
            "what": "spread",
            "least": min(better),
            "most": max(better),
            "share_better": np.mean(np.array(better) > 0),
        }
        rows += [*part, {"network": network, **summary}]
    return rows


def random_widths(model: PricedNetwork, step: int, ms: float, count: int, seed: int) -> list[np.ndarray]:
    """Random widths whose network takes `ms` by the table, within 2 %: each an independent share from a seventh to
    one."""
    rng, sizes, found = np.random.default_rng(seed), model.groups.sizes, list[np.ndarray]()
    while len(found) < count:
        shares = np.exp(rng.uniform(np.log(1 / 7), 0, len(sizes)))
        widths = np.clip(np.round(shares * sizes / step).astype(int), 1, sizes // step) * step
        if abs(model.latency_ms(widths) / ms - 1) < 0.02 and not any((widths == other).all() for other in found):
            found.append(widths)
    return found
