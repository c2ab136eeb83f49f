"""Command line of searches: `python -m search {bisect,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.cli import main
from datasets.records import Cost, InputError

if TYPE_CHECKING:
    from search.base import Search
    from search.task import Pool, Searching, Task

SAMPLES = 4
"""Of several proxies, so many measurements choose one."""


def bisect(
    accuracy: Path,
    latency: str,
    budget_ms: float,
    proxy: str,
    device: str = "",
    proxy_device: str = "",
    space: str = "nasbench201",
    metric: str = "",
    equation: Literal["weighted", "budget", "adapted"] = "budget",
    refine: bool = True,
    measurements: int = 10,
    delta: float = 0.0,
    budget_mj: float = 0.0,
    memory_mb: float = 0.0,
    seed: int = 0,
    journal: Path = Path("runs/search/live.jsonl"),
    out: Path = Path("runs/search/bisect.png"),
) -> None:
    """Reuse other devices' latencies, with a few true measurements on the target (Algorithm 1).

    Args:
        accuracy: a table (.yaml of configs/datasets, .parquet or .csv) or a predictor (.pt, .onnx) of accuracies.
        latency: table or predictor of the target's latencies, or a runtime of this host (ort, ...), measured live.
        budget_ms: latency that must not be exceeded.
        proxy: table or predictor of the proxy's latencies, which cost nothing; for `adapted` a predictor (.pt) that
            learns new devices.
        device: name of the target; may be left out where there is only one. Of several (a runtime's precisions, say),
            separated by commas, each is searched, and the best decision taken.
        proxy_device: name of the proxy. Of several, separated by commas, or where it is left out of all but the target,
            four of the measurements choose the one that ranks most alike.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        equation: what is bisected: the weight of the proxy's latency beside accuracy (weighted, equation 6), or the
            proxy's budget (budget, equation 5). adapted: equation 5 on a predictor that is adapted to the target after
            each measurement, so nothing is left to bisect.
        refine: half of the measurements go where the proxy, corrected by what was measured, promises most.
        measurements: the most that are spent on a target.
        delta: stop where the latency is at most this share of the budget below it.
        budget_mj: energy that must not be exceeded either (equation 7), of the same tables; 0: any.
        memory_mb: the most that activations may take (batch 1, fp32); 0: any.
        seed: of what is drawn where a space is too large to list.
        journal: of live measurements; the same command goes on with what it holds.
        out: picture of the search, accuracy against latency (.png).
    """
    from search.bisection import BestProxy
    from search.task import Task

    task = Task(accuracy, latency, budget_ms, device, space, metric, seed, journal, out, budget_mj, memory_mb)
    if equation == "adapted":
        _run(_adapting(Path(proxy), measurements), task)
        return
    bisected: Literal["weighted", "budget"] = equation

    def searching(task: Task, pool: Pool) -> Search:
        return BestProxy(measurements, SAMPLES if len(pool) > 1 else 0, pool, bisected, delta, refine)

    _run(searching, replace(task, proxy=proxy, proxy_device=proxy_device))


def evolve(
    accuracy: Path,
    latency: str,
    budget_ms: float,
    device: str = "",
    space: str = "nasbench201",
    metric: str = "",
    measurements: int = 100,
    population: int = 20,
    contenders: int = 5,
    budget_mj: float = 0.0,
    memory_mb: float = 0.0,
    seed: int = 0,
    journal: Path = Path("runs/search/live.jsonl"),
    out: Path = Path("runs/search/evolve.png"),
) -> None:
    """Regularised evolution under a latency budget.

    Args:
        accuracy: a table (.yaml of configs/datasets, .parquet or .csv) or a predictor (.pt, .onnx) of accuracies.
        latency: table or predictor of latencies, or a runtime of this host (ort, ...) that is measured live.
        budget_ms: latency that must not be exceeded.
        device: name of a device of the latencies; may be left out where there is only one. Of several (a runtime's
            precisions, say), separated by commas, each is searched, and the best decision taken.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        measurements: the most latencies that may be asked for.
        population: architectures alive at once.
        contenders: drawn for each tournament.
        budget_mj: energy that must not be exceeded either, of the same table; 0: any.
        memory_mb: the most that activations may take (batch 1, fp32); 0: any.
        seed: of what is drawn.
        journal: of live measurements; the same command goes on with what it holds.
        out: picture of the search, accuracy against latency (.png).
    """
    from search.evolution import Evolution
    from search.task import Task

    task = Task(accuracy, latency, budget_ms, device, space, metric, seed, journal, out, budget_mj, memory_mb)
    _run(lambda task, pool: Evolution(measurements, population, contenders), task)


def exhaustive(
    accuracy: Path,
    latency: str,
    budget_ms: float,
    device: str = "",
    space: str = "nasbench201",
    metric: str = "",
    budget_mj: float = 0.0,
    memory_mb: float = 0.0,
    out: Path = Path("runs/search/exhaustive.png"),
) -> None:
    """The best of all architectures that a table or a predictor of latencies knows.

    Args:
        accuracy: a table (.yaml of configs/datasets, .parquet or .csv) or a predictor (.pt, .onnx) of accuracies.
        latency: table or predictor of latencies.
        budget_ms: latency that must not be exceeded.
        device: name of a device of the latencies; may be left out where there is only one. Of several (a runtime's
            precisions, say), separated by commas, each is searched, and the best decision taken.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        budget_mj: energy that must not be exceeded either, of the same table; 0: any.
        memory_mb: the most that activations may take (batch 1, fp32); 0: any.
        out: picture of the search, accuracy against latency (.png).
    """
    from search.evolution import Exhaustive
    from search.task import Task

    if not Path(latency).suffix:
        raise InputError(f"Measuring every architecture on {latency} takes days; use bisect or evolve.")
    task = Task(accuracy, latency, budget_ms, device, space, metric, 0, Path(), out, budget_mj, memory_mb)
    _run(lambda task, pool: Exhaustive(), task)


def _run(searching: Searching, task: Task) -> None:
    """Search, with costs that are measured live where the task names runtimes and no files."""
    from search.task import run

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
