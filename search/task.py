"""What commands share: a problem put together from tables, predictors and runtimes; what was decided, told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError, Measurements, Space, find_device
from datasets.spaces import parse_space
from search.base import Decision, Problem, Search
from search.costs import best_of, both, lookup, probability, within_memory

ACCURACIES = ("accuracy_cifar100", "accuracy_digits", "accuracy_imagenet16_120", "accuracy_cifar10")
PREDICTORS = (".pt", ".onnx")

Pool = dict[str, dict[str, Cost]]
"""Device -> metric -> cost: the proxies."""


@dataclass(frozen=True)
class Readers:
    """What searches may not import.

    Attributes:
        predictor: of a file that a predictor was saved in.
        table: measurements of a file.
        runtime: latencies of a runtime of this host, measured when they are asked for and kept in a journal.
    """

    predictor: Callable[[Path], Any]
    table: Callable[[Path], Measurements]
    runtime: Callable[[str, Space, Path], Cost]


@dataclass(frozen=True)
class Task:
    """What was asked for: see the commands' flags."""

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


Searching = Callable[[Task, Pool], Search]
"""Makes the search for one device, which has such proxies."""


def run(searching: Searching, task: Task, read: Readers) -> None:
    """Put a problem together for each device, search, tell, draw the best."""
    from datasets.figures import check_picture, write_figure
    from search.figures import picture

    check_picture(task.out)
    problems, decisions = dict[str, Problem](), dict[str, Decision]()
    for name in task.device.split(","):
        one = replace(task, device=name.strip())
        problem, model, pool = make_problem(one, read)
        rng = np.random.default_rng(task.seed)
        decision = searching(one, pool)(problem, rng, lambda line: print(line, file=sys.stderr))
        if "," in task.device:
            print(f"{one.device}:")
        tell(decision, task, measured=model is None)
        if hasattr(model, "predict_interval"):
            at = find_device(model.devices_, one.device) if one.device else model.devices_[0]
            print(f"P(latency <= budget) = {probability(model, decision.arch, at, task.budget_ms):.3f}")
        problems[one.device], decisions[one.device] = problem, decision
    best = best_of(decisions)
    if len(decisions) > 1:
        print(f"best: {best}, {decisions[best].arch.keys[0]}, {sum(d.queries for d in decisions.values())} queries")
    write_figure(picture(problems[best], decisions[best], "latency_ms"), task.out)
    print(f"drawn: {task.out}")


def tell(decision: Decision, task: Task, measured: bool) -> None:
    """Print what was decided for."""
    ms = decision.costs["latency_ms"]
    print(decision.arch.keys[0])
    kept = "keeps" if decision.met else "does NOT keep (nothing that was asked does)"
    print(f"accuracy {decision.quality:.4g} %, {'true' if measured else 'predicted'} latency {ms:.4g} ms")
    if task.budget_mj:
        print(f"energy {decision.costs['energy_mj']:.4g} mJ, of {task.budget_mj:g} mJ")
    print(f"{kept} the budget of {task.budget_ms:g} ms; {decision.queries} queries, {decision.seconds:.2f} s")


def make_problem(task: Task, read: Readers) -> tuple[Problem, Any, Pool]:
    """The problem on one device, the predictor of its latencies, if that is one, and its proxies; what is searched are
    the architectures of which everything is known."""
    where = parse_space(task.space)
    quality, known = _quality(task, read)
    costs, models, pool = dict[str, Cost](), [], Pool()
    for metric in task.budgets:
        costs[metric], there, model = _cost(task.latency, task.device, metric, task, read)
        known = both(known, there)
        models.append(model)
        for name in _proxies(task, read):
            pool.setdefault(name, {})[metric], there, _ = _cost(task.proxy, name, metric, task, read)
            known = both(known, there)
    if task.memory_mb:
        known = within_memory(where.all() if known is None else known, task.memory_mb)
    space = where if known is None else known.space
    return Problem(space, quality, costs, task.budgets, candidates=known), models[0], pool


def _proxies(task: Task, read: Readers) -> list[str]:
    """Names of the proxies: those that were named, or all that the table or predictor answers for, but the target."""
    if not task.proxy:
        return []
    if task.proxy_device or not (file := Path(task.proxy)).suffix:
        return [name.strip() for name in task.proxy_device.split(",")]
    devices = read.predictor(file).devices_ if file.suffix in PREDICTORS else read.table(file).devices
    if names := [device.name for device in devices if device.name != task.device]:
        return names
    raise InputError(f"{file} knows no device but the target; name a table or predictor of another one.")


def _quality(task: Task, read: Readers) -> tuple[Cost, Architectures | None]:
    """What architectures are good for, and the architectures of which that is known (None: all)."""
    file = task.accuracy
    if file.suffix in PREDICTORS:
        predictor = read.predictor(file)
        return lambda archs: predictor.predict(archs, None), None
    measured = read.table(file)
    have = set(measured.table["metric"])
    name = task.metric or next((one for one in ACCURACIES if one in have), "")
    if name not in have:
        raise InputError(f"{file} has no metric '{name or 'accuracy_...'}'; it has {sorted(have)}.")
    return lookup(measured.architectures, measured.matrix(name)[:, 0])


def _cost(source: str, device: str, metric: str, task: Task, read: Readers) -> tuple[Cost, Architectures | None, Any]:
    """A metric on one device, the architectures of which it is known (None: all), and the predictor, if one."""
    file = Path(source)
    if not file.suffix:
        if metric != "latency_ms":
            raise InputError(f"Of {source} only latency is measured while searching; a budget of energy needs a table.")
        return read.runtime(source, parse_space(task.space), task.journal), None, None
    if file.suffix in PREDICTORS:
        predictor = read.predictor(file)
        return predictor.on(_device(predictor.devices_, device, file), metric), None, predictor
    measured = read.table(file)
    column = measured.devices.index(_device(measured.devices, device, file))
    return *lookup(measured.architectures, measured.matrix(metric)[:, column]), None


def _device(known: tuple[Device, ...], name: str, file: Path) -> Device:
    if not name and len(known) != 1:
        raise InputError(f"Name a device; {file} answers for: {', '.join(d.name for d in known)}.")
    return find_device(known, name) if name else known[0]
