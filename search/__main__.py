"""Command line of searches: `python -m search {bisect,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from datasets.cli import main
from datasets.records import Cost, InputError
from search.base import Search
from search.evolution import Evolution, Exhaustive
from search.task import MakeSearch, Pool, Requirements, SearchTask, run, space_of

JOURNAL = Path("runs/search/live.jsonl")
SAMPLES = 4
"""Number of measurements by which one of several proxies is chosen."""


def bisect(
    problem: Requirements,
    proxy: str,
    proxy_device: str = "",
    equation: Literal["weighted", "budget", "adapted"] = "budget",
    refine: bool = True,
    measurements: int = 10,
    delta: float = 0.0,
    seed: int = 0,
    journal: Path = JOURNAL,
) -> None:
    """Search with other devices' latencies and a few true measurements on the target.

    Algorithm 1 of "Scaling up Deep Neural Network Optimization for Edge Inference" (Lu et al., 2020).

    Args:
        problem: the requirements.
        proxy: table or predictor of the proxy's latencies, which cost nothing; for `adapted` a predictor (.pt) that
            can be adapted to new devices.
        proxy_device: name of the proxy. Of several, separated by commas (by default all devices but the target), four
            of the measurements choose the one whose ranking agrees best with the target's.
        equation: the parameter that is bisected: the weight of the proxy's latency beside accuracy (weighted, equation
            6), or the proxy's budget (budget, equation 5). adapted: equation 5 on a predictor that is adapted to the
            target after each measurement, so nothing is left to bisect.
        refine: spend half of the measurements on the largest expected gain by the proxy, corrected by measurements.
        measurements: largest number of true measurements on a target.
        delta: stop when the latency is below the budget by at most this share of it.
        seed: of the random candidates of a space that is too large to list.
        journal: file of live measurements; the command continues with those that it holds.
    """
    from search.bisection import BestProxy

    bisected: Literal["weighted", "budget"] = "budget" if equation == "adapted" else equation
    bisection = BestProxy(measurements, SAMPLES, equation=bisected, delta=delta, refine=refine)
    if equation == "adapted":
        _run("bisect", _adaptive(Path(proxy), measurements), problem, seed=seed, journal=journal)
        return

    def make_search(task: SearchTask, pool: Pool) -> Search:
        return replace(bisection, samples=SAMPLES if len(pool) > 1 else 0, pool=pool)

    proxies = {"proxy": proxy, "proxy_device": proxy_device}
    _run("bisect", make_search, problem, seed=seed, journal=journal, **proxies)


def evolve(
    problem: Requirements,
    measurements: int = 100,
    population: int = 20,
    contenders: int = 5,
    seed: int = 0,
    journal: Path = JOURNAL,
) -> None:
    """Regularised evolution under a latency budget.

    Args:
        problem: the requirements.
        measurements: largest number of true measurements.
        population: number of architectures that are kept.
        contenders: number of architectures drawn for each tournament.
        seed: of the random numbers.
        journal: file of live measurements; the command continues with those that it holds.
    """
    evolution = Evolution(measurements, population, contenders)
    _run("evolve", lambda task, pool: evolution, problem, seed=seed, journal=journal)


def exhaustive(problem: Requirements) -> None:
    """Find the best of all architectures of a table or a predictor of latencies.

    Args:
        problem: the requirements; latencies are those of a table or a predictor.
    """
    if not Path(problem.latency).suffix:
        raise InputError(f"Measuring every architecture on {problem.latency} takes days; use bisect or evolve.")
    _run("exhaustive", lambda task, pool: Exhaustive(), problem)


def _run(command: str, make_search: MakeSearch, problem: Requirements, **more: Any) -> None:
    """Search, with costs that are measured live where the requirements name runtimes and not files."""
    task = SearchTask(**vars(problem) | {"out": problem.out or Path(f"runs/search/{command}.png")}, **more)
    runtimes = {name for name in (task.latency, task.proxy) if name and not Path(name).suffix}
    run(make_search, replace(task, live={name: _live(name, task) for name in runtimes}))


def _adaptive(proxy: Path, measurements: int) -> MakeSearch:
    """Equation 5 on a predictor that is adapted to the target after each measurement."""
    from predictors.base import Adaptable, Predictor

    if proxy.suffix != ".pt" or not isinstance(model := Predictor.load(proxy), Adaptable):
        raise InputError(
            f"{proxy} cannot learn a new device; train one that can (--predictor configs/predictors/conditioned.yaml)."
        )

    def make_search(task: SearchTask, pool: Pool) -> Search:
        from search.gain import ExpectedGain
        from search.proxies import adapting

        if set(task.budgets) != {model.metric}:
            raise InputError(f"{proxy} predicts {model.metric}; a budget of energy needs equation budget and a table.")
        device = replace(model.devices_[0], name=task.device or "target", family="", features={})
        return ExpectedGain(measurements, fits={model.metric: adapting(model, device)}, choose=model.choose)

    return make_search


def _live(runtime: str, task: SearchTask) -> Cost:
    """Latencies of a runtime of this host."""
    from measure.blackbox import Live
    from measure.campaign import Journal
    from measure.commands.flags import parse_backends

    (backend,) = parse_backends(runtime, None)
    return Live(space_of(task).check_networks(), backend, Journal(task.journal))


def commands() -> list[Any]:
    """All commands of this command line."""
    from search.netadapt.__main__ import netadapt
    from search.netadapt.grids import layers
    from search.optimizer.__main__ import optimize

    return [bisect, optimize, evolve, exhaustive, netadapt, layers]


if __name__ == "__main__":
    main(commands(), prog="python -m search")
