"""Problems of the command line, made from tables, predictors and runtimes; decisions are printed and drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasets.columns import Columns
from datasets.records import Architectures, Cost, Device, InputError, Space, find_device
from datasets.spaces import open_space, parse_space
from predictors.base import Predictor, Uncertain
from predictors.export import OnnxPredictor, load_predictor
from search.base import Decision, Problem, Search
from search.costs import best_of, in_common, read_measurements, table_cost, within_memory
from search.proxies import AdaptedCost

ACCURACIES = ("accuracy_cifar100", "accuracy_digits", "accuracy_imagenet16_120", "accuracy_cifar10")
PREDICTORS = (".pt", ".onnx")

Saved = Predictor | OnnxPredictor

Pool = dict[str, dict[str, Cost]]
"""Costs of proxies: device -> metric -> cost."""


@dataclass(frozen=True)
class Requirements:
    """Required quality and budgets of an architecture.

    Attributes:
        accuracy: a table (.yaml of configs/datasets, .parquet or .csv) or a predictor (.pt, .onnx) of accuracies.
        latency: a table or predictor of latencies, or a runtime of this host (ort, ...) that is measured live.
        budget_ms: largest latency in ms.
        device: name of a device of the latencies; may be left out where there is only one. Several names, such as a
            runtime's precisions, are separated by commas; each is searched, and the best decision is taken.
        space: space of the architectures, or a .yaml that describes one; by default that of the predictors, or
            nasbench201.
        metric: accuracy metric of the table; by default the first that it has of cifar100, digits, ...
        budget_mj: largest energy in mJ (equation 7), of the table of latencies; 0: no limit.
        memory_mb: largest peak memory of activations in MB (batch 1, fp32); 0: no limit.
        confidence: probability with which predicted costs keep the budgets, from 0.5 (point predictions do) to below 1;
            above 0.5 for predictors with distributions only.
        out: picture of the search, accuracy over latency (.png); by default runs/search/<command>.png.
    """

    accuracy: Path
    latency: str
    budget_ms: float
    device: str = ""
    space: str = ""
    metric: str = ""
    budget_mj: float = 0.0
    memory_mb: float = 0.0
    confidence: float = 0.5
    out: Path | None = None

    def __post_init__(self) -> None:
        if not (0 < self.budget_ms < np.inf):
            raise InputError(f"--budget-ms must be a latency above 0, not {self.budget_ms:g}.")
        for name in ("budget_mj", "memory_mb"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"--problem.{name} must be 0 (any) or more, not {getattr(self, name):g}.")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"--confidence is a probability from 0.5 to below 1, not {self.confidence:g}.")


@dataclass(frozen=True)
class SearchTask(Requirements):
    """Settings of one search: requirements, proxies, and costs that are measured live.

    Attributes:
        out: picture of the search.
        seed: seed of the random numbers.
        journal: file of live measurements.
        proxy: table or predictor of the proxies' latencies; empty: no proxy.
        proxy_device: names of the proxies, separated by commas; empty: all devices but the target.
        live: costs by the name of a runtime.
    """

    out: Path = Path("runs/search/search.png")
    seed: int = 0
    journal: Path = Path()
    proxy: str = ""
    proxy_device: str = ""
    live: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def budgets(self) -> dict[str, float]:
        """Metric -> budget."""
        return {"latency_ms": self.budget_ms} | ({"energy_mj": self.budget_mj} if self.budget_mj else {})


MakeSearch = Callable[[SearchTask, Pool], Search]
"""Makes the search for one device and its proxies."""


def run(make_search: MakeSearch, task: SearchTask) -> None:
    """Search on each device, print the decisions, and draw the best one."""
    from datasets.figures import check_picture, write_figure
    from search.figures import picture

    check_picture(task.out)
    problems, decisions = dict[str, Problem](), dict[str, Decision]()
    for name in task.device.split(","):
        single = replace(task, device=name.strip())
        problem, model, pool = make_problem(single)
        rng = np.random.default_rng(task.seed)
        decision = make_search(single, pool)(problem, rng, lambda line: print(line, file=sys.stderr))
        if "," in task.device:
            print(f"{single.device}:")
        print_decision(decision, problem, task, measured=model is None)
        if (chance := _chance(model, decision, single)) is not None:
            print(f"P(latency <= budget) = {chance:.3f}")
        problems[single.device], decisions[single.device] = problem, decision
    best = best_of(decisions)
    if len(decisions) > 1:
        print(f"best: {best}, {decisions[best].arch.keys[0]}, {sum(d.queries for d in decisions.values())} queries")
    write_figure(picture(problems[best], decisions[best], "latency_ms"), task.out)
    print(f"drawn: {task.out}")


def _chance(model: Saved | None, decision: Decision, task: SearchTask) -> float | None:
    """P(latency <= budget) by a predictor with predictive distributions; None by any other."""
    if not isinstance(model, Uncertain):
        return None
    device = find_device(model.devices_, task.device) if task.device else model.devices_[0]
    try:
        return float(model.belief(decision.arch, device).cdf(task.budget_ms)[0])
    except InputError:  # it has distributions of adapted devices only, not of its sources
        return None


def print_decision(decision: Decision, problem: Problem, task: SearchTask, measured: bool) -> None:
    """Print the decided architecture, its quality and its costs."""
    ms = decision.costs["latency_ms"]
    print(decision.arch.keys[0])
    kept = "keeps" if decision.met else "does NOT keep (no measured architecture does)"
    if isinstance(cost := problem.costs["latency_ms"], AdaptedCost):
        most, ms = ms, float(cost(decision.arch)[0])
    print(f"accuracy {decision.quality:.4g} %, {'true' if measured else 'predicted'} latency {ms:.4g} ms")
    if isinstance(cost, AdaptedCost):
        print(f"with probability {task.confidence:g} at most {most:.4g} ms")
    if task.budget_mj:
        print(f"energy {decision.costs['energy_mj']:.4g} mJ, of {task.budget_mj:g} mJ")
    print(f"{kept} the budget of {task.budget_ms:g} ms; {decision.queries} queries, {decision.seconds:.2f} s")


def make_problem(task: SearchTask) -> tuple[Problem, Saved | None, Pool]:
    """The problem on one device, the predictor of its latencies (None for a table or runtime), and its proxies.

    Candidates are the architectures with all accuracies and costs.
    """
    space = space_of(task)
    quality, known = _quality(task)
    costs, models, pool = dict[str, Cost](), [], Pool()
    for metric in task.budgets:
        costs[metric], available, model = _cost(task.latency, task.device, metric, task)
        known = in_common(known, available)
        models.append(model)
        for name in _proxies(task):
            pool.setdefault(name, {})[metric], available, _ = _cost(task.proxy, name, metric, task)
            known = in_common(known, available)
    if task.memory_mb:
        known = within_memory(space.all() if known is None else known, task.memory_mb)
    if known is None and isinstance(space, Columns):
        space.check_finite()
    searched = space if known is None else known.space
    problem = Problem(searched, quality, costs, task.budgets, candidates=known, confidence=task.confidence)
    return problem, models[0], pool


def space_of(task: Requirements) -> Space:
    """The space of the requirements; by default that of a predictor that they name, or NAS-Bench-201."""
    if task.space:
        return open_space(task.space)
    files = [file for file in (task.accuracy, Path(task.latency)) if file.suffix in PREDICTORS]
    return load_predictor(files[0]).space_ if files else parse_space("nasbench201")


def _proxies(task: SearchTask) -> list[str]:
    """Names of the proxies: those of `proxy_device`, or all devices of the table or predictor but the target."""
    if not task.proxy:
        return []
    if task.proxy_device or not (file := Path(task.proxy)).suffix:
        return [name.strip() for name in task.proxy_device.split(",")]
    devices = load_predictor(file).devices_ if file.suffix in PREDICTORS else read_measurements(file).devices
    if names := [device.name for device in devices if device.name != task.device]:
        return names
    raise InputError(f"{file} has no device but the target; name a table or predictor of another one.")


def _quality(task: SearchTask) -> tuple[Cost, Architectures | None]:
    """The quality, and the architectures that have one (None: all)."""
    file = task.accuracy
    if file.suffix in PREDICTORS:
        predictor = load_predictor(file)
        return lambda archs: predictor.predict(archs, None), None
    measured = read_measurements(file)
    metrics = set(measured.table["metric"])
    name = task.metric or next((metric for metric in ACCURACIES if metric in metrics), "")
    if name not in metrics:
        raise InputError(f"{file} has no metric '{name or 'accuracy_...'}'; it has {sorted(metrics)}.")
    return table_cost(measured.architectures, measured.matrix(name)[:, 0])


def _cost(source: str, device: str, metric: str, task: SearchTask) -> tuple[Cost, Architectures | None, Saved | None]:
    """A metric on one device, the architectures that have it (None: all), and its predictor (None: a table or
    runtime)."""
    file = Path(source)
    if source in task.live:
        if metric != "latency_ms":
            raise InputError(f"Of {source} only latency is measured while searching; a budget of energy needs a table.")
        return task.live[source], None, None
    if file.suffix in PREDICTORS:
        predictor = load_predictor(file)
        on = _device(predictor.devices_, device, file)
        cost = predictor.on(on, metric)
        if task.confidence > 0.5 and source == task.latency:
            cost = _uncertain(predictor, on, file)
            cost.belief(space_of(task).sample(1, np.random.default_rng(0)))  # fails where it has none of this device
        return cost, None, predictor
    measured = read_measurements(file)
    column = measured.devices.index(_device(measured.devices, device, file))
    return *table_cost(measured.architectures, measured.matrix(metric)[:, column]), None


def _uncertain(predictor: Saved, device: Device, file: Path) -> AdaptedCost:
    """A predictor's cost with distributions; one that has none raises `InputError`."""
    if not isinstance(predictor, Uncertain):
        raise InputError(
            f"{file} predicts numbers without distributions, which --confidence needs; name a predictor.pt of "
            "configs/predictors/gp.yaml, layer_sum.yaml or, adapted to the device, conditioned.yaml."
        )
    return AdaptedCost(predictor, device)


def _device(known: tuple[Device, ...], name: str, file: Path) -> Device:
    if not name and len(known) != 1:
        raise InputError(f"Name a device; {file} has: {', '.join(d.name for d in known)}.")
    return find_device(known, name) if name else known[0]
