"""Command line of searches: `python -m search {bisect,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.cli import main
from datasets.records import Architectures, Cost, Device, InputError, find_device

if TYPE_CHECKING:
    from predictors.base import Predictor
    from predictors.export import OnnxPredictor
    from search.base import Decision, Problem, Search

ACCURACIES = ("accuracy_cifar100", "accuracy_digits", "accuracy_imagenet16_120", "accuracy_cifar10")


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
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of the target's latencies, or a runtime of this host (ort, ...) that is measured live.
        budget_ms: latency that must not be exceeded.
        proxy: table or predictor of the proxy's latencies, which cost nothing; for `adapted` a predictor (.pt) that
            learns new devices.
        device: name of the target; may be left out where there is only one. Of several (a runtime's precisions, say),
            separated by commas, each is searched, and the best decision taken.
        proxy_device: name of the proxy; may be left out where there is only one.
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
    from search.bisection import Bisection

    task = Task(accuracy, latency, budget_ms, device, space, metric, seed, journal, out, budget_mj, memory_mb)
    if equation == "adapted":
        _run(_adapting(proxy, measurements), task)
    else:
        _run(Bisection(measurements, equation, delta, refine), replace(task, proxy=proxy, proxy_device=proxy_device))


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
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of latencies, or a runtime of this host (ort, ...) whose latencies are measured live.
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

    search = Evolution(measurements, population, contenders)
    _run(search, Task(accuracy, latency, budget_ms, device, space, metric, seed, journal, out, budget_mj, memory_mb))


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
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of latencies.
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

    if not Path(latency).suffix:
        raise InputError(f"Measuring every architecture on {latency} takes days; use bisect or evolve.")
    task = Task(accuracy, latency, budget_ms, device, space, metric, 0, Path(), out, budget_mj, memory_mb)
    _run(Exhaustive(), task)


@dataclass(frozen=True)
class Task:
    """What the commands have in common: see their flags."""

    accuracy: Path
    latency: str
    budget_ms: float
    device: str
    space: str
    metric: str
    seed: int
    journal: Path
    out: Path
    budget_mj: float = 0.0
    memory_mb: float = 0.0
    proxy: str = ""
    proxy_device: str = ""

    @property
    def budgets(self) -> dict[str, float]:
        """Metric -> budget."""
        return {"latency_ms": self.budget_ms} | ({"energy_mj": self.budget_mj} if self.budget_mj else {})


def _run(search: Search | Callable[[Task, Problem], Search], task: Task) -> None:
    """Put a problem together for each device, search, tell, draw the best."""
    import sys

    import numpy as np

    from search.base import Search
    from search.costs import best_of, probability

    problems, decisions = {}, {}
    for name in task.device.split(","):
        one = replace(task, device=name.strip())
        problem, model = _problem(one)
        chosen = search if isinstance(search, Search) else search(one, problem)
        rng = np.random.default_rng(task.seed)
        decision = chosen(problem, rng, lambda line: print(line, file=sys.stderr))
        if "," in task.device:
            print(f"{one.device}:")
        _tell(decision, task.budget_ms, measured=model is None)
        if one.budget_mj:
            print(f"energy {decision.costs['energy_mj']:.4g} mJ, budget {one.budget_mj:g} mJ")
        if model is not None:
            from predictors.base import Uncertain

            if isinstance(model, Uncertain):
                at = find_device(model.devices_, one.device) if one.device else model.devices_[0]
                print(f"P(latency <= budget) = {probability(model, decision.arch, at, task.budget_ms):.3f}")
        problems[one.device], decisions[one.device] = problem, decision
    best = best_of(decisions)
    if len(decisions) > 1:
        print(f"best: {best}, {decisions[best].arch.keys[0]}, {sum(d.queries for d in decisions.values())} queries")
    _draw(problems[best], decisions[best], task.out)


def _problem(task: Task) -> tuple[Problem, Predictor | OnnxPredictor | None]:
    """The problem on one device, and the predictor of its latencies, if that is one."""
    from datasets.spaces import parse_space
    from search.base import Problem
    from search.costs import both, within_memory

    where = parse_space(task.space)
    quality, known = _quality(task.accuracy, task.metric)
    costs, proxies, models = {}, {}, []
    for metric in task.budgets:
        costs[metric], there, model = _latency(task.latency, task.device, where, task.journal, metric)
        known = both(known, there)
        models.append(model)
        if task.proxy:
            proxies[metric], there, _ = _latency(task.proxy, task.proxy_device, where, task.journal, metric)
            known = both(known, there)
    if task.memory_mb:
        known = within_memory(where.all() if known is None else known, task.memory_mb)
    return Problem(where if known is None else known.space, quality, costs, task.budgets, proxies, known), models[0]


def _adapting(proxy: str, measurements: int) -> Callable[[Task, Problem], Search]:
    """Equation 5 on a predictor that is adapted to the target after each measurement."""
    from predictors.base import Adaptable, Predictor

    if Path(proxy).suffix != ".pt" or not isinstance(model := Predictor.load(Path(proxy)), Adaptable):
        raise InputError(
            f"{proxy} learns no new devices; train one: train.py --predictor configs/predictors/conditioned.yaml."
        )

    def searching(task: Task, problem: Problem) -> Search:
        from search.gain import ExpectedGain
        from search.proxies import adapting

        if set(problem.costs) != {model.metric}:
            raise InputError(f"{proxy} predicts {model.metric}; a budget of energy needs equation budget and a table.")
        device = replace(model.devices_[0], name=task.device or "target", family="", features={})
        return ExpectedGain(measurements, fits={model.metric: adapting(model, device)}, choose=model.choose)

    return searching


def _tell(decision: Decision, budget_ms: float, measured: bool) -> None:
    ms = decision.costs["latency_ms"]
    print(decision.arch.keys[0])
    kept = "keeps" if decision.met else "does NOT keep (nothing that was asked does)"
    print(f"accuracy {decision.quality:.4g} %, {'true' if measured else 'predicted'} latency {ms:.4g} ms")
    print(f"{kept} the budget of {budget_ms:g} ms; {decision.queries} queries, {decision.seconds:.2f} s")


def _draw(problem: Problem, decision: Decision, out: Path) -> None:
    from search.figures import picture

    out.parent.mkdir(parents=True, exist_ok=True)
    picture(problem, decision, "latency_ms").savefig(out, dpi=130)
    print(f"drawn: {out}")


def _quality(file: Path, metric: str) -> tuple[Cost, Architectures | None]:
    """What architectures are good for, and the architectures of which that is known (None: all)."""
    from search.costs import lookup

    if file.suffix in (".pt", ".onnx"):
        from predictors.export import load_predictor

        predictor = load_predictor(file)
        return lambda archs: predictor.predict(archs, None), None
    measured = _table(file)
    have = set(measured.table["metric"])
    name = metric or next((one for one in ACCURACIES if one in have), "")
    if name not in have:
        raise InputError(f"{file} has no metric '{name or 'accuracy_...'}'; it has {sorted(have)}.")
    return lookup(measured.architectures, measured.matrix(name)[:, 0])


def _latency(
    source: str, device: str, space: Any, journal: Path, metric: str = "latency_ms"
) -> tuple[Cost, Architectures | None, Predictor | OnnxPredictor | None]:
    """Latencies (or energies) on one device, the architectures of which they are known (None: all), and the predictor,
    if one."""
    from search.costs import lookup

    file = Path(source)
    if not file.suffix:  # a runtime of this host
        if metric != "latency_ms":
            raise InputError(f"Of {source} only latency is measured while searching; a budget of energy needs a table.")
        from measure.blackbox import Live
        from measure.campaign import Journal
        from measure.commands.flags import parse_backends

        (backend,) = parse_backends(source, "host", None)
        return Live(space, backend, Journal(journal)), None, None
    if file.suffix in (".pt", ".onnx"):
        from predictors.export import load_predictor

        predictor = load_predictor(file)
        at = _device(predictor.devices_, device, file)
        return predictor.on(at, metric), None, predictor
    measured = _table(file)
    at = _device(measured.devices, device, file)
    column = measured.devices.index(at)
    return *lookup(measured.architectures, measured.matrix(metric)[:, column]), None


def _device(known: tuple[Device, ...], name: str, file: Path) -> Device:
    if not name and len(known) != 1:
        raise InputError(f"Name a device; {file} answers for: {', '.join(d.name for d in known)}.")
    return find_device(known, name) if name else known[0]


@lru_cache(maxsize=4)
def _table(file: Path) -> Any:
    """The measurements of a file of configs/datasets or of a table that `measure table` wrote."""
    if not file.is_file():
        raise InputError(f"There is no file {file}; name a .yaml of configs/datasets, a .parquet, .pt or .onnx.")
    if file.suffix == ".parquet":
        from datasets.measured import Measured

        return Measured(file).measurements()
    import yaml

    from datasets.base import Dataset
    from predictors.config import from_config

    try:
        tree = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML; look at the files of configs/datasets.") from error
    return from_config(tree if isinstance(tree, dict) else {}, Dataset).measurements()  # type: ignore[type-abstract]


def commands() -> list[Any]:
    """Everything that this command line offers."""
    from predictors import performance
    from search.netadapt.__main__ import netadapt
    from search.netadapt.grids import layers
    from search.optimizing import command

    return [bisect, command(performance, _table), evolve, exhaustive, netadapt, layers]


if __name__ == "__main__":
    main(commands(), prog="python -m search")
