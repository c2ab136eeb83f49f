"""Whole adaptations, what `make netadapt` shows beside tables and searches: parts of `studies.netadapt.study`.

`python -m studies.netadapt.runs --core 1` runs them alone. All of them go on where they were killed: finished
iterations are not done again. Latencies are measured anew each time, as shares of the whole network's in the same
minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from datasets.cli import main
from datasets.networks.model import Weights
from datasets.networks.network import Network
from measure.accuracy.digits import Digits
from measure.accuracy.tuning import Tuning
from measure.backends import parse_backend
from measure.builders.weights import make_weights
from measure.shares import Shares
from measure.timing import Timing, pin
from predictors.networks.layer_sum import LayerSum
from search.netadapt.adapt import Adaptation, Adapted
from search.netadapt.channels import Groups, find_groups
from search.netadapt.cutting import cut_weights
from search.netadapt.grids import open_network
from search.netadapt.proposals import derive
from search.netadapt.widths import Binary, Exact, Priced, Sequential
from studies.netadapt import run_figures

OUT = Path("runs/netadapt")
SPACE = "small_zoo"
TABLE = Path("datasets/bundled/lookup") / f"netadapt_{SPACE}.parquet"
TILES = Path("datasets/bundled/lookup") / "netadapt_resnet_16.parquet"
"""LiteRT's latencies of the ResNet's layers with every multiple of 16 channels: the width of the tiles that its kernels
work in, so that widths between take as long as the next multiple."""
RUNTIMES = ("ort", "litert", "openvino")
BUDGETS = (0.75, 0.5, 0.35)
SEEDS = 5
TASK = Digits(train=6000, test=2000)
TUNING = Tuning(TASK, holdout=500, batch=50)
FIRST_STEPS = 200
"""Training of every whole network, but those of `STUDIES`."""
RATES = {"alexnet": 0.001}
"""Of networks without batch norm; at the others' rate they learn nothing (seen on held-out images)."""
QUICK = Adaptation(steps=2, long_steps=0, choice="accuracy")
"""For what depends on T in time only: 2 steps of 16 images."""
QUICK_TUNING = Tuning(TASK, holdout=500, batch=16, scored=100)
DELTAS = (0.01, 0.025, 0.05)


class Study(NamedTuple):
    """How a network is compared with uniform scaling; tunings are of 50 images a step.

    Attributes:
        how: it is adapted.
        table: of its layers.
        step: of all widths, adapted and uniform ones. LiteRT is slow at others: 12 channels everywhere take longer
            than 16, which would make uniform scaling look worse than it is.
        uniform: shares of all widths: a curve of accuracy over latency around the budgets.
        first_steps: training of the whole network.
    """

    how: Adaptation
    table: Path
    step: int
    uniform: tuple[float, ...]
    first_steps: int


STUDIES = {
    "resnet": Study(
        Adaptation(0.08, steps=6, long_steps=150, choice="accuracy"), TILES, 16, (0.375, 0.5, 0.625, 0.75, 0.875), 200
    ),
    "resnet_even": Study(Adaptation(0.08, steps=6, long_steps=200), TABLE, 8, (0.25, 0.5, 0.75, 1.0), 400),
}


@cache
def groups_of(network: str) -> Groups:
    return find_groups(open_network(network, SPACE))


@cache
def priced(network: str, runtime: str, table: Path = TABLE) -> Priced:
    groups = groups_of(network)
    predictor = LayerSum.tabulated(table, [one.kind for one in groups.layers])
    (device,) = (device for device in predictor.devices_ if f"_{runtime}_" in device.name)
    return Priced(groups, predictor.table(device))


def tuning_of(network: str, tuning: Tuning) -> Tuning:
    return replace(tuning, rate=RATES.get(network, tuning.rate))


@cache
def trained(network: str, seed: int) -> Weights:
    """The whole network after its training."""
    whole, steps = groups_of(network).network, STUDIES[network].first_steps if network in STUDIES else FIRST_STEPS
    return tuning_of(network, TUNING).tune(whole, make_weights(whole, seed), steps, derive(seed, 0, 1000))


def adapt(
    how: Adaptation,
    search: Exact,
    ratios: Sequence[float],
    folder: Path,
    start: Callable[[], Weights],
    trainer: Tuning,
    measure: Callable[[Network, Weights], float] | None = None,
) -> list[Adapted]:
    """Adapt by our search."""
    model, network = search.priced, search.priced.groups.network.key
    log = partial(print, f"{network}, {model.table.device}:", flush=True)
    return how(model.groups, start, model.latency_ms, search, tuning_of(network, trainer), ratios, folder, log, measure)


def shares_of(network: str, runtime: str) -> Shares:
    """True latencies on this machine."""
    backend = parse_backend(runtime, "here")
    backend.timing = Timing(pairs=41, warmup=3, max_rounds=3, budget_s=0.6)
    return Shares(backend, groups_of(network).network)


# Accuracy and true latency


def seeds(network: str = "resnet", runtime: str = "litert") -> list[dict]:
    """Line 3: one adaptation through all budgets a seed, and uniform scaling at the same measured latency."""
    scales, rows = shares_of(network, runtime), list[dict]()
    for seed in range(SEEDS):
        rows += one_seed(network, runtime, seed, scales)
    adapted = pd.DataFrame([row for row in rows if row["what"] == "adapted"])
    for row in rows:
        row.update(network=network, runtime=runtime)
    told = [interval(float(str(budget)), part) for budget, part in adapted.groupby("budget", sort=False)]
    save(run_figures.accuracy_over_latency(rows), f"accuracy_over_latency_{network}")
    return [*rows, *({**row, "network": network, "runtime": runtime} for row in told)]


def one_seed(network: str, runtime: str, seed: int, scales: Shares) -> list[dict]:
    folder, groups, study = OUT / "seeds" / f"{network}_{runtime}_{seed}", groups_of(network), STUDIES[network]
    model = priced(network, runtime, study.table)
    first = model.latency_ms(groups.sizes)

    def measure(resized: Network, weights: Weights) -> float:
        return scales(resized, weights) * first

    search, how = Exact(model, conv=study.step), replace(study.how, seed=seed)
    found = adapt(how, search, BUDGETS, folder, partial(trained, network, seed), TUNING, measure)
    shares, accuracies = uniform(network, seed, found[-1].iterations, folder, scales)
    rows = [
        {"what": "uniform", "seed": seed, "share": share, "accuracy": accuracy}
        for share, accuracy in zip(shares, accuracies, strict=True)
    ]
    for ratio, one in zip(BUDGETS, found, strict=True):
        share = scales.anew(groups.resized(one.widths), one.weights)
        promised = one.latency_ms / first
        assert shares[0] <= share <= shares[-1], "no uniform networks around this latency"
        same = float(np.interp(share, shares, accuracies))
        told = {"what": "adapted", "seed": seed, "budget": ratio, "share": share, "promised": promised}
        told |= {"accuracy": one.accuracy, "uniform": same, "better": one.accuracy - same}
        told |= {"away": 100 * abs(promised / share - 1), "over": 100 * (share / ratio - 1)}
        rows.append(told | {"iterations": one.iterations, "widths": groups.named(one.widths)})
    return rows


def uniform(network: str, seed: int, iterations: int, folder: Path, scales: Shares) -> tuple[np.ndarray, np.ndarray]:
    """Measured shares and test accuracies of uniformly narrower networks, ascending: cut from the same weights, and
    tuned as the adapted network with the smallest budget was: as often briefly, and then long."""
    groups, file = groups_of(network), folder / "uniform.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    shares, accuracies, step = list[float](), list[float](), STUDIES[network].step
    for share in STUDIES[network].uniform:
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
        network, how = groups.resized(widths), STUDIES[groups.network.key].how
        trainer = tuning_of(groups.network.key, TUNING)
        for number in range(iterations):
            weights = trainer.tune(network, weights, how.steps, derive(seed, number, 2000))
        weights = trainer.tune(network, weights, how.long_steps, derive(seed, 0, 3000))
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
    """What an allocation can win at all: random widths of half of the latency, by the table, beside uniform scaling at
    the same latency; cut and tuned alike, on a draw of the task and with a seed that no other part scores."""
    trainer = replace(TUNING, task=replace(TASK, seed=1, test=4000))
    rows = list[dict]()
    for network, study in STUDIES.items():
        model, groups = priced(network, "litert", study.table), groups_of(network)
        first = model.latency_ms(groups.sizes)
        start = make_weights(groups.network, seed)
        base = trainer.tune(groups.network, start, study.first_steps, derive(seed, 0, 1000))
        scaled = [study.step * np.floor(groups.sizes * share / study.step + 0.5).astype(int) for share in study.uniform]
        tried = {"uniform": scaled, "random": random_widths(model, study.step, ratio * first, drawn, seed)}
        part = list[dict[str, Any]]()
        for what, networks in tried.items():
            for widths in networks:
                resized, cut = groups.resized(widths), cut_weights(groups, base, widths)
                tuned = trainer.tune(resized, cut, study.how.long_steps, derive(seed, 0, 3000))
                told = {"what": what, "share": model.latency_ms(widths) / first, "widths": groups.named(widths)}
                part.append({"network": network, **told, "accuracy": trainer.accuracy(resized, tuned, "test")})
        curve = sorted((row["share"], row["accuracy"]) for row in part if row["what"] == "uniform")
        shares, accuracies = zip(*curve, strict=True)
        for row in part:
            row["better"] = row["accuracy"] - float(np.interp(row["share"], shares, accuracies))
        better = [row["better"] for row in part if row["what"] == "random"]
        told = {
            "what": "spread",
            "least": min(better),
            "most": max(better),
            "share_better": np.mean(np.array(better) > 0),
        }
        rows += [*part, {"network": network, **told}]
    return rows


def random_widths(model: Priced, step: int, ms: float, count: int, seed: int) -> list[np.ndarray]:
    """Widths whose network takes so many ms by the table, to 2 %: each a share of its own, from a seventh to all."""
    rng, sizes, found = np.random.default_rng(seed), model.groups.sizes, list[np.ndarray]()
    while len(found) < count:
        shares = np.exp(rng.uniform(np.log(1 / 7), 0, len(sizes)))
        widths = np.clip(np.round(shares * sizes / step).astype(int), 1, sizes // step) * step
        if abs(model.latency_ms(widths) / ms - 1) < 0.02 and not any((widths == one).all() for one in found):
            found.append(widths)
    return found


# Iterations and time


def whole_runs(runtime: str = "ort") -> list[dict]:
    """Line 2: AlexNet's and MobileNetV1's runs to half of the latency by the three deltas: iterations, time an
    iteration and a stage, and what the other searches would have taken in the same iterations."""
    rows = []
    for network in ("alexnet", "mobilenet_v1"):
        for delta in DELTAS:
            how = replace(QUICK, delta=delta)
            folder = OUT / "whole" / f"{network}_{runtime}_{delta:g}"
            (one,) = adapt(
                how, Exact(priced(network, runtime)), (0.5,), folder, partial(trained, network, 0), QUICK_TUNING
            )
            lines = [json.loads(line) for line in (folder / "iterations.jsonl").read_text().splitlines()]
            iterations = [line for line in lines if line.get("iteration")]
            named = {"network": network, "runtime": runtime, "delta": delta, "T": how.steps}
            rows += [{**named, "what": "iteration", **row} for row in times(network, runtime, lines)]
            rows += [{**named, "what": "stage", **row} for row in stages(iterations, groups_of(network).names)]
            seconds = sum(line["seconds"] for line in iterations)
            told = {"iterations": len(iterations), "seconds": seconds, "met": float(one.met)}
            rows.append({**named, "what": "run", **told, "share": one.latency_ms / lines[0]["ms"]})
    save(run_figures.stage_times(rows), "stages")
    save(run_figures.iteration_times(rows), "iterations")
    return rows


def stages(iterations: Sequence[dict], names: Sequence[str]) -> list[dict]:
    """Mean seconds of every stage, a row a group of channels (Figures 1 and 2)."""
    table = pd.DataFrame([{"group": p["group"], **p["seconds"]} for line in iterations for p in line["proposals"]])
    means = table.groupby("group").mean()
    return means.loc[[name for name in names if name in means.index]].reset_index().to_dict("records")


def times(network: str, runtime: str, lines: Sequence[dict]) -> list[dict]:
    """Mean seconds of an iteration with each search: the recorded iteration without its search, and the search for all
    of its proposals again, timed alone, in CPU-seconds (Figures 7 and 8)."""
    model, rows = priced(network, runtime), []
    made = [line for line in lines if "iteration" in line]
    rest = [
        line["seconds"] - sum(p["seconds"]["search"] for p in line["proposals"]) for line in made if line["iteration"]
    ]
    for name, make in (("sequential", Sequential), ("binary", partial(Binary, threshold=16)), ("exact", Exact)):
        search, seconds = make(model), []
        for before, line in pairwise(made):
            widths, start = model.groups.widths(before["widths"]), time.process_time()
            for group in range(len(model.groups)):
                search(widths, group, line["limit_ms"])
            seconds.append(time.process_time() - start)
        searching, others = float(np.mean(seconds)), float(np.mean(rest))
        rows.append({"search": name, "searching": searching, "others": others, "seconds": searching + others})
    return rows


# Runtimes


def matrix(network: str = "alexnet", ratio: float = 0.5) -> list[dict]:
    """Line 4 (Table I): networks adapted for each runtime, measured on all: how much of the latency goes away."""
    groups, found = groups_of(network), dict[str, Adapted]()
    for runtime in RUNTIMES:
        folder = OUT / "matrix" / f"{network}_{runtime}"
        (found[runtime],) = adapt(
            QUICK, Exact(priced(network, runtime)), (ratio,), folder, partial(trained, network, 0), QUICK_TUNING
        )
    rows = list[dict[str, Any]]()
    for runtime in RUNTIMES:
        scales = shares_of(network, runtime)
        shares = {target: scales(groups.resized(one.widths), one.weights) for target, one in found.items()}
        for target, share in shares.items():
            own, best = float(target == runtime), min(shares.values())
            told = {"network": network, "measured_on": runtime, "adapted_for": target, "share": share, "own": own}
            told |= {"reduction": 100 * (1 - share), "behind_best": 100 * (share / best - 1)}
            rows.append({**told, "widths": groups.named(found[target].widths)})
    save(run_figures.runtime_matrix(rows), "runtimes")
    home = [row for row in rows if row["own"]]
    told = {"best_at_home": float(np.mean([row["behind_best"] == 0 for row in home]))}
    told |= {"behind_best": max(row["behind_best"] for row in home)}
    return [*rows, {"network": network, "what": "all", **told}]


def save(figure: object, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=130)  # type: ignore[attr-defined]


PARTS: dict[str, Callable[[], list[dict]]] = {
    "whole": whole_runs,
    "seeds": seeds,
    "even": partial(seeds, "resnet_even"),
    "spread": spread,
    "matrix": matrix,
}


def check(chosen: str = "", out: Path = OUT, core: int | None = None) -> None:
    """Run these parts of the study.

    Args:
        chosen: parts, separated by commas, by default all of these; rows of the others stay as they were.
        out: folder of summary.json.
        core: pin this process to one processor core.
    """
    from studies.parts import run_parts

    if core is not None:
        pin(core)
    run_parts(PARTS, chosen or ",".join(PARTS), out)


if __name__ == "__main__":
    main(check, prog="python -m studies.netadapt.runs")
