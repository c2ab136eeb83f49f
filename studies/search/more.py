"""Searches with budgets of latency and energy (equation 7), and live searches on this machine."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from datasets.measured import Measured
from datasets.public.nats import Nats
from datasets.public.pi5 import HwNasBench360
from datasets.records import Architectures, Measurements
from measure.blackbox import Live
from measure.campaign import Journal
from measure.timing import PROTOCOLS
from predictors.new_devices.base import additive
from predictors.new_devices.conditioned import Conditioned
from search.base import Decision, Problem, Search
from search.bisection import BestProxy, Bisection
from search.costs import in_common, table_cost
from search.gain import ExpectedGain
from search.proxies import adapting
from studies.search.tables import CELLS, SAMPLES, SEEDS, SPENT, Column, over_seeds

METRICS = ("latency_ms", "energy_mj")
QUANTILES = [(q, q + shift) for q in (0.2, 0.5, 0.8) for shift in (-0.1, 0.1)]
"""Budgets as quantiles of latencies and of energies: the tighter one is energy, then latency."""
LIVE_PROXY, LIVE = "xeon_openvino_fp32_1", (0.4, 0.6, 0.8)
"""The live searches' proxy, and their budgets as shares of the most accurate cell's latency on this machine."""


@cache
def board() -> tuple[Measurements, Architectures, Column, dict[str, dict[str, Column]]]:
    """A Raspberry Pi 5 with three runtimes: its table, connected cells, CIFAR-100 accuracies, and costs by device."""
    m, nats = HwNasBench360(devices=("pi5_litert", "pi5_onnx", "pi5_torchmobile")).measurements(), Nats().measurements()
    whole = ~np.isnan(np.concatenate([m.matrix(metric) for metric in METRICS], axis=1)).any(axis=1)
    m = m.where(archs=np.flatnonzero(whole & m.architectures.space.connected(m.architectures)))
    archs = m.architectures
    known = Column(nats.architectures, nats.matrix("accuracy_cifar100")[:, 0])
    costs = {
        device.name: {metric: Column(archs, m.matrix(metric)[:, d]) for metric in METRICS}
        for d, device in enumerate(m.devices)
    }
    return m, archs, Column(archs, known(archs)), costs


@cache
def board_model(metric: str, device: str, seed: int) -> Conditioned:
    """A predictor fitted on the other two runtimes."""
    m, archs, *_ = board()
    rows = np.sort(np.random.default_rng(seed).permutation(len(archs))[:CELLS])
    others = [other.name for other in m.devices if other.name != device]
    source = replace(additive(), metric=metric)
    return Conditioned(metric=metric, source=source).fit(m.where(archs=rows, devices=others))


def energy() -> list[dict]:
    """Equation 7, equation 5, and equation 5 on adapted predictors, with budgets of both latency and energy."""
    m, archs, quality, costs = board()
    rows = []
    for device in m.devices:
        true = costs[device.name]
        table = np.stack([true[metric](archs) for metric in METRICS], axis=1)
        for quantiles in QUANTILES:
            budgets = {name: float(np.quantile(table[:, i], quantiles[i])) for i, name in enumerate(METRICS)}
            best = quality(archs)[(table <= np.array(list(budgets.values()))).all(axis=1)].max()
            for seed in range(SEEDS):
                for name, search in _on_the_board(device.name, seed).items():
                    start = time.perf_counter()
                    problem = Problem(archs.space, quality, true, budgets, candidates=archs)
                    decision = search(problem, np.random.default_rng(seed))
                    rows.append(
                        {
                            "search": name,
                            "device": device.name,
                            "budget": budgets["latency_ms"],
                            "budget_mj": budgets["energy_mj"],
                            "seed": seed,
                            "regret": max(0.0, float(best - decision.quality)),
                            "met": float(decision.met),
                            "within_5": float(
                                all(decision.costs[metric] <= 1.05 * budgets[metric] for metric in METRICS)
                            ),
                            "measurements": decision.queries,
                            "seconds": time.perf_counter() - start,
                        }
                    )
    return rows + [over_seeds([row for row in rows if row["search"] == n], n) for n in ON_THE_BOARD]


ON_THE_BOARD = ("weighted", "budget", "refined", "adapted")


def _on_the_board(target: str, seed: int) -> dict[str, Search]:
    """Searches for one runtime with the other two as proxies or sources."""
    m, _, _, costs = board()
    models = {metric: board_model(metric, target, seed) for metric in METRICS}
    new = replace(m.device(target), name="new")
    fits = {metric: adapting(model, new, metric) for metric, model in models.items()}
    others = {name: costs[name] for name in costs if name != target}
    return {
        "weighted": BestProxy(SPENT, SAMPLES, others, "weighted"),
        "budget": BestProxy(SPENT, SAMPLES, others),
        "refined": BestProxy(SPENT, SAMPLES, others, refine=True),
        "adapted": ExpectedGain(SPENT, fits=fits, choose=models["latency_ms"].choose),
    }


def live() -> list[dict]:
    """onnxruntime on this machine with digits accuracies of the bundled cells; proxies are of another machine. Budgets
    are shares of the most accurate cell's latency here. The decided cell is measured once more in a new journal."""
    tabled, accuracy = Measured().measurements(), Measured(Path("datasets/bundled/accuracy.parquet")).measurements()
    quality, known = table_cost(accuracy.architectures, accuracy.matrix("accuracy_digits")[:, 0])
    ms = tabled.matrix("latency_ms")[:, tabled.devices.index(tabled.device(LIVE_PROXY))]
    proxy, with_proxy = table_cost(tabled.architectures, ms)
    archs = in_common(known, with_proxy)
    assert archs is not None
    best = archs[[int(quality(archs).argmax())]]
    model = Conditioned().fit(tabled)
    fit = adapting(model, replace(tabled.device("xeon_ort_fp32_1"), name="new"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for share in LIVE:
            for name, search in {
                "refined": Bisection(SPENT, refine=True),
                "adapted": ExpectedGain(SPENT, fits={"latency_ms": fit}, choose=model.choose),
            }.items():
                first, again = (_measured_here(archs, Path(folder) / f"{share} {name} {n}") for n in range(2))
                first(archs[:4])  # the reference's time is a median over rows, of which a single one may be disturbed
                budgets = {"latency_ms": share * float(first(best)[0])}
                problem = Problem(archs.space, quality, {"latency_ms": first}, budgets, {"latency_ms": proxy}, archs)
                decision = search(problem, np.random.default_rng(0))
                again(decision.arch)
                rows.append(_live_row(name, share, problem, decision, first.journal.rows, again.journal.rows[-1]))
    return rows


def _measured_here(archs: Architectures, journal: Path) -> Live:
    """Latencies of onnxruntime on this machine, by the protocol of the bundled tables."""
    from measure.backends import parse_backend

    backend = parse_backend("ort", "host")
    timing = replace(backend.timing, **PROTOCOLS["quick"])
    return Live(archs.space, replace(backend, timing=timing), Journal(journal))


def _live_row(name: str, share: float, problem: Problem, decision: Decision, first: list[dict], again: dict) -> dict:
    """`repeated_ms` is the second ratio to the reference network, in the milliseconds of the first measurements."""
    budget, reference = problem.budgets["latency_ms"], float(np.median([row["reference_ms"] for row in first]))
    return {
        "search": name,
        "device": "host_ort_fp32_1",
        "budget": budget,
        "share": share,
        "arch": decision.arch.keys[0],
        "accuracy": decision.quality,
        "latency_ms": decision.costs["latency_ms"],
        "met": float(decision.met),
        "repeated_ms": again["ratio"] * reference,
        "repeated_within_5": float(again["ratio"] * reference <= 1.05 * budget),
        "stable": float(np.mean([row["stable"] for row in first])),
        "load": float(np.mean([row["load"] for row in first])),
        "measurements": decision.queries,
        "seconds": decision.seconds,
    }
