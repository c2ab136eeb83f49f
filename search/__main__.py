"""Command line of searches: `python -m search {bisect,hybrid,optimize,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from datasets.cli import main
from datasets.records import Cost, InputError
from search.base import Search
from search.evolution import Evolution, Exhaustive
from search.task import PREDICTORS, MakeSearch, Pool, Requirements, SearchTask, run, space_of

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
        seed: seed of the random candidates of a space that is too large to list.
        journal: file of live measurements; the command continues with those that it holds.
    """
    from search.bisection import BestProxy

    bisected: Literal["weighted", "budget"] = "budget" if equation == "adapted" else equation
    bisection = BestProxy(measurements, SAMPLES, equation=bisected, delta=delta, refine=refine)
    if equation == "adapted":
        model = _adaptable(Path(proxy), problem)

        def expected_gain(task: SearchTask, pool: Pool) -> Search:
            from search.gain import ExpectedGain

            return ExpectedGain(measurements, fits=_adapting(model, Path(proxy), task), choose=model.choose)

        _run("bisect", expected_gain, problem, seed=seed, journal=journal)
        return

    if not refine:
        _check_confidence(problem)

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
        seed: seed of the random numbers.
        journal: file of live measurements; the command continues with those that it holds.
    """
    _check_confidence(problem)
    evolution = Evolution(measurements, population, contenders)
    _run("evolve", lambda task, pool: evolution, problem, seed=seed, journal=journal)


def hybrid(
    problem: Requirements,
    proxy: str,
    proxy_device: str = "",
    measurements: int = 50,
    samples: int = 10,
    evaluations: int = 0,
    doubt: float = 0.1,
    seed: int = 0,
    journal: Path = JOURNAL,
) -> None:
    """Predict latencies, and measure on the target where the predictor is unsure whether they keep the budget.

    Args:
        problem: the requirements.
        proxy: a predictor with distributions that can be adapted to new devices (.pt), or a table of another device's
            latencies, which measurements correct. It learns from every measurement.
        proxy_device: name of the other device, where the proxy is a table of several.
        measurements: largest number of true measurements.
        samples: number of first measurements, which adapt or correct the proxy.
        evaluations: number of architectures that regularised evolution proposes to predict or measure; 0: all are
            predicted, or 20,000 random ones of a space that is too large to list.
        doubt: latencies are measured where P(latency <= budget) is above this and below 1 - this (0 to 0.5).
        seed: seed of the random numbers.
        journal: file of live measurements; the command continues with those that it holds.
    """
    from search.hybrid import Hybrid

    proposing = Evolution(evaluations) if evaluations else Exhaustive()
    search = Hybrid(measurements, samples, doubt, search=proposing)
    if Path(proxy).suffix == ".pt":
        model = _adaptable(Path(proxy), problem, uncertain=True)

        def make_search(task: SearchTask, pool: Pool) -> Search:
            return replace(search, fits=_adapting(model, Path(proxy), task), choose=model.choose)

        _run("hybrid", make_search, problem, seed=seed, journal=journal)
        return

    def corrected(task: SearchTask, pool: Pool) -> Search:
        from search.gain import correct

        if len(pool) != 1:
            raise InputError(f"{proxy} has several devices; choose one with --proxy-device: {', '.join(pool)}.")
        (costs,) = pool.values()
        return replace(search, fits={name: correct(cost) for name, cost in costs.items()})

    _run("hybrid", corrected, problem, seed=seed, journal=journal, proxy=proxy, proxy_device=proxy_device)


def exhaustive(problem: Requirements) -> None:
    """Find the best of all architectures of a table or a predictor of latencies.

    Args:
        problem: the requirements; latencies are those of a table or a predictor.
    """
    if not Path(problem.latency).suffix:
        raise InputError(f"Measuring every architecture on {problem.latency} takes days; use bisect or evolve.")
    _check_confidence(problem)
    _run("exhaustive", lambda task, pool: Exhaustive(), problem)


def _check_confidence(problem: Requirements) -> None:
    """Refuse a confidence where no cost is predicted, so that it would change nothing."""
    if problem.confidence > 0.5 and Path(problem.latency).suffix not in PREDICTORS:
        raise InputError(f"Latencies of {problem.latency} are measured, not predicted; leave --confidence out.")


def _run(command: str, make_search: MakeSearch, problem: Requirements, **more: Any) -> None:
    """Search, with costs that are measured live where the requirements name runtimes and not files."""
    task = SearchTask(**vars(problem) | {"out": problem.out or Path(f"runs/search/{command}.png")}, **more)
    runtimes = {name for name in (task.latency, task.proxy) if name and not Path(name).suffix}
    run(make_search, replace(task, live={name: _live(name, task) for name in runtimes}))


def _adaptable(proxy: Path, problem: Requirements, uncertain: bool = False) -> Any:
    """The predictor of a file that can be adapted to new devices, and gives distributions where they are needed."""
    from predictors.base import Adaptable, Predictor, Uncertain

    if proxy.suffix != ".pt" or not isinstance(model := Predictor.load(proxy), Adaptable):
        raise InputError(
            f"{proxy} cannot learn a new device; train one that can (--predictor configs/predictors/conditioned.yaml)."
        )
    if (uncertain or problem.confidence > 0.5) and not isinstance(model, Uncertain):
        raise InputError(
            f"{proxy} predicts numbers without distributions, which this search needs; train one that gives them "
            "(--predictor configs/predictors/conditioned.yaml)."
        )
    return model


def _adapting(model: Any, proxy: Path, task: SearchTask) -> dict[str, Any]:
    """Metric -> function that adapts the predictor to measurements of the target."""
    from search.proxies import adapting

    if set(task.budgets) != {model.metric}:
        raise InputError(f"{proxy} predicts {model.metric}; a budget of energy needs a table as --proxy.")
    device = replace(model.devices_[0], name=task.device or "target", family="", features={})
    return {model.metric: adapting(model, device)}


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

    return [bisect, hybrid, optimize, evolve, exhaustive, netadapt, layers]


if __name__ == "__main__":
    main(commands(), prog="python -m search")
