"""Command line of searches: `python -m search {bisect,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from datasets.cli import main
from datasets.records import Cost, InputError
from search.base import Search
from search.evolution import Evolution, Exhaustive
from search.task import Pool, Requirements, Searching, Task, run

JOURNAL = Path("runs/search/live.jsonl")
SAMPLES = 4
"""Of several proxies, so many measurements choose one."""


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
    """Reuse other devices' latencies, with a few true measurements on the target (Algorithm 1).

    Args:
        problem: what is searched for.
        proxy: table or predictor of the proxy's latencies, which cost nothing; for `adapted` a predictor (.pt) that
            learns new devices.
        proxy_device: name of the proxy. Of several, separated by commas, or where it is left out of all but the target,
            four of the measurements choose the one that ranks most alike.
        equation: what is bisected: the weight of the proxy's latency beside accuracy (weighted, equation 6), or the
            proxy's budget (budget, equation 5). adapted: equation 5 on a predictor that is adapted to the target after
            each measurement, so nothing is left to bisect.
        refine: half of the measurements go where the proxy, corrected by what was measured, promises most.
        measurements: the most that are spent on a target.
        delta: stop where the latency is at most this share of the budget below it.
        seed: of what is drawn where a space is too large to list.
        journal: of live measurements; the same command goes on with what it holds.
    """
    from search.bisection import BestProxy

    bisected: Literal["weighted", "budget"] = "budget" if equation == "adapted" else equation
    bisection = BestProxy(measurements, SAMPLES, equation=bisected, delta=delta, refine=refine)
    if equation == "adapted":
        _run("bisect", _adapting(Path(proxy), measurements), problem, seed=seed, journal=journal)
        return

    def searching(task: Task, pool: Pool) -> Search:
        return replace(bisection, samples=SAMPLES if len(pool) > 1 else 0, pool=pool)

    proxies = {"proxy": proxy, "proxy_device": proxy_device}
    _run("bisect", searching, problem, seed=seed, journal=journal, **proxies)


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
        problem: what is searched for.
        measurements: the most latencies that may be asked for.
        population: architectures alive at once.
        contenders: drawn for each tournament.
        seed: of what is drawn.
        journal: of live measurements; the same command goes on with what it holds.
    """
    evolution = Evolution(measurements, population, contenders)
    _run("evolve", lambda task, pool: evolution, problem, seed=seed, journal=journal)


def exhaustive(problem: Requirements) -> None:
    """The best of all architectures that a table or a predictor of latencies knows.

    Args:
        problem: what is searched for; latencies are those of a table or a predictor.
    """
    if not Path(problem.latency).suffix:
        raise InputError(f"Measuring every architecture on {problem.latency} takes days; use bisect or evolve.")
    _run("exhaustive", lambda task, pool: Exhaustive(), problem)


def _run(command: str, searching: Searching, problem: Requirements, **more: Any) -> None:
    """Search, with costs that are measured live where the task names runtimes and no files."""
    task = Task(**vars(problem) | {"out": problem.out or Path(f"runs/search/{command}.png")}, **more)
    runtimes = {name for name in (task.latency, task.proxy) if name and not Path(name).suffix}
    run(searching, replace(task, live={name: _live(name, task) for name in runtimes}))


def _adapting(proxy: Path, measurements: int) -> Searching:
    """Equation 5 on a predictor that is adapted to the target after each measurement."""
    from predictors.base import Adaptable, Predictor

    if proxy.suffix != ".pt" or not isinstance(model := Predictor.load(proxy), Adaptable):
        raise InputError(f"{proxy} learns no new devices; train one (--predictor configs/predictors/conditioned.yaml).")

    def searching(task: Task, pool: Pool) -> Search:
        from search.gain import ExpectedGain
        from search.proxies import adapting

        if set(task.budgets) != {model.metric}:
            raise InputError(f"{proxy} predicts {model.metric}; a budget of energy needs equation budget and a table.")
        device = replace(model.devices_[0], name=task.device or "target", family="", features={})
        return ExpectedGain(measurements, fits={model.metric: adapting(model, device)}, choose=model.choose)

    return searching


def _live(runtime: str, task: Task) -> Cost:
    """Latencies of a runtime of this host."""
    from datasets.spaces import parse_space
    from measure.blackbox import Live
    from measure.campaign import Journal
    from measure.commands.flags import parse_backends

    (backend,) = parse_backends(runtime, None)
    return Live(parse_space(task.space), backend, Journal(task.journal))


def commands() -> list[Any]:
    """Everything that this command line offers."""
    from search.netadapt.__main__ import netadapt
    from search.netadapt.grids import layers
    from search.optimizer.__main__ import optimize

    return [bisect, optimize, evolve, exhaustive, netadapt, layers]


if __name__ == "__main__":
    main(commands(), prog="python -m search")
