"""What commands share: a problem put together from tables, predictors and runtimes; what was decided, told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasets.records import Architectures, Cost, Device, InputError, find_device
from datasets.spaces import parse_space
from predictors.base import Predictor, Uncertain
from predictors.export import OnnxPredictor, load_predictor
from search.base import Decision, Problem, Search
from search.costs import best_of, both, lookup, read_measurements, within_memory

ACCURACIES = ("accuracy_cifar100", "accuracy_digits", "accuracy_imagenet16_120", "accuracy_cifar10")
PREDICTORS = (".pt", ".onnx")

Saved = Predictor | OnnxPredictor

Pool = dict[str, dict[str, Cost]]
"""Device -> metric -> cost: the proxies."""


@dataclass(frozen=True)
class Requirements:
    """What an architecture must be good for, and what it may cost.

    Attributes:
        accuracy: a table (.yaml of configs/datasets, .parquet or .csv) or a predictor (.pt, .onnx) of accuracies.
        latency: table or predictor of latencies, or a runtime of this host (ort, ...) that is measured live.
        budget_ms: latency that must not be exceeded.
        device: name of a device of the latencies; may be left out where there is only one. Of several (a runtime's
            precisions, say), separated by commas, each is searched, and the best decision taken.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        budget_mj: energy that must not be exceeded either (equation 7), of the same tables; 0: any.
        memory_mb: the most that activations may take (batch 1, fp32); 0: any.
        out: picture of the search, accuracy against latency (.png); by default runs/search/<command>.png.
    """

    accuracy: Path
    latency: str
    budget_ms: float
    device: str = ""
    space: str = "nasbench201"
    metric: str = ""
    budget_mj: float = 0.0
    memory_mb: float = 0.0
    out: Path | None = None

    def __post_init__(self) -> None:
        if not (0 < self.budget_ms < np.inf):
            raise InputError(f"--budget-ms must be a latency above 0, not {self.budget_ms:g}.")
        for name in ("budget_mj", "memory_mb"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"--problem.{name} must be 0 (any) or more, not {getattr(self, name):g}.")


@dataclass(frozen=True)
class Task(Requirements):
    """One search: requirements, proxies, and costs that are measured while searching.

    Attributes:
        out: picture of the search.
        seed: of what is drawn.
        journal: of live measurements.
        proxy: table or predictor of the proxies' latencies; empty: there is none.
        proxy_device: names of the proxies, separated by commas; empty: all but the target.
        live: name of a runtime -> its costs.
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


Searching = Callable[[Task, Pool], Search]
"""Makes the search for one device, which has such proxies."""


def run(searching: Searching, task: Task) -> None:
    """Put a problem together for each device, search, tell, draw the best."""
    from datasets.figures import check_picture, write_figure
    from search.figures import picture

    check_picture(task.out)
    problems, decisions = dict[str, Problem](), dict[str, Decision]()
    for name in task.device.split(","):
        one = replace(task, device=name.strip())
        problem, model, pool = make_problem(one)
        rng = np.random.default_rng(task.seed)
        decision = searching(one, pool)(problem, rng, lambda line: print(line, file=sys.stderr))
        if "," in task.device:
            print(f"{one.device}:")
        tell(decision, task, measured=model is None)
        if (chance := _chance(model, decision, one)) is not None:
            print(f"P(latency <= budget) = {chance:.3f}")
        problems[one.device], decisions[one.device] = problem, decision
    best = best_of(decisions)
    if len(decisions) > 1:
        print(f"best: {best}, {decisions[best].arch.keys[0]}, {sum(d.queries for d in decisions.values())} queries")
    write_figure(picture(problems[best], decisions[best], "latency_ms"), task.out)
    print(f"drawn: {task.out}")


def _chance(model: Saved | None, decision: Decision, task: Task) -> float | None:
    """P(latency <= budget) by a predictor that knows how sure it is; None by any other."""
    if not isinstance(model, Uncertain):
        return None
    device = find_device(model.devices_, task.device) if task.device else model.devices_[0]
    try:
        return float(model.belief(decision.arch, device).cdf(task.budget_ms)[0])
    except InputError:  # it predicts its source devices, but knows how sure it is of adapted ones only
        return None


def tell(decision: Decision, task: Task, measured: bool) -> None:
    """Print what was decided for."""
    ms = decision.costs["latency_ms"]
    print(decision.arch.keys[0])
    kept = "keeps" if decision.met else "does NOT keep (nothing that was asked does)"
    print(f"accuracy {decision.quality:.4g} %, {'true' if measured else 'predicted'} latency {ms:.4g} ms")
    if task.budget_mj:
        print(f"energy {decision.costs['energy_mj']:.4g} mJ, of {task.budget_mj:g} mJ")
    print(f"{kept} the budget of {task.budget_ms:g} ms; {decision.queries} queries, {decision.seconds:.2f} s")


def make_problem(task: Task) -> tuple[Problem, Saved | None, Pool]:
    """The problem on one device, the predictor of its latencies, if that is one, and its proxies; what is searched are
    the architectures of which everything is known."""
    where = parse_space(task.space)
    quality, known = _quality(task)
    costs, models, pool = dict[str, Cost](), [], Pool()
    for metric in task.budgets:
        costs[metric], there, model = _cost(task.latency, task.device, metric, task)
        known = both(known, there)
        models.append(model)
        for name in _proxies(task):
            pool.setdefault(name, {})[metric], there, _ = _cost(task.proxy, name, metric, task)
            known = both(known, there)
    if task.memory_mb:
        known = within_memory(where.all() if known is None else known, task.memory_mb)
    space = where if known is None else known.space
    return Problem(space, quality, costs, task.budgets, candidates=known), models[0], pool


def _proxies(task: Task) -> list[str]:
    """Names of the proxies: those that were named, or all that the table or predictor answers for, but the target."""
    if not task.proxy:
        return []
    if task.proxy_device or not (file := Path(task.proxy)).suffix:
        return [name.strip() for name in task.proxy_device.split(",")]
    devices = load_predictor(file).devices_ if file.suffix in PREDICTORS else read_measurements(file).devices
    if names := [device.name for device in devices if device.name != task.device]:
        return names
    raise InputError(f"{file} knows no device but the target; name a table or predictor of another one.")


def _quality(task: Task) -> tuple[Cost, Architectures | None]:
    """What architectures are good for, and the architectures of which that is known (None: all)."""
    file = task.accuracy
    if file.suffix in PREDICTORS:
        predictor = load_predictor(file)
        return lambda archs: predictor.predict(archs, None), None
    measured = read_measurements(file)
    have = set(measured.table["metric"])
    name = task.metric or next((one for one in ACCURACIES if one in have), "")
    if name not in have:
        raise InputError(f"{file} has no metric '{name or 'accuracy_...'}'; it has {sorted(have)}.")
    return lookup(measured.architectures, measured.matrix(name)[:, 0])


def _cost(source: str, device: str, metric: str, task: Task) -> tuple[Cost, Architectures | None, Saved | None]:
    """A metric on one device, the architectures of which it is known (None: all), and the predictor, if one."""
    file = Path(source)
    if source in task.live:
        if metric != "latency_ms":
            raise InputError(f"Of {source} only latency is measured while searching; a budget of energy needs a table.")
        return task.live[source], None, None
    if file.suffix in PREDICTORS:
        predictor = load_predictor(file)
        return predictor.on(_device(predictor.devices_, device, file), metric), None, predictor
    measured = read_measurements(file)
    column = measured.devices.index(_device(measured.devices, device, file))
    return *lookup(measured.architectures, measured.matrix(metric)[:, column]), None


def _device(known: tuple[Device, ...], name: str, file: Path) -> Device:
    if not name and len(known) != 1:
        raise InputError(f"Name a device; {file} answers for: {', '.join(d.name for d in known)}.")
    return find_device(known, name) if name else known[0]
