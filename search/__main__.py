"""Command line of searches: `python -m search {bisect,evolve,exhaustive,netadapt,layers}`."""

from __future__ import annotations

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
    equation: Literal["weighted", "budget"] = "budget",
    measurements: int = 10,
    delta: float = 0.0,
    seed: int = 0,
    journal: Path = Path("runs/search/live.jsonl"),
    out: Path = Path("runs/search/bisect.png"),
) -> None:
    """Reuse another device's latencies: bisection with a few true measurements on the target (Algorithm 1).

    Args:
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of the target's latencies, or a runtime of this host (ort, ...) that is measured live.
        budget_ms: latency that must not be exceeded.
        proxy: table or predictor of the proxy's latencies, which cost nothing.
        device: name of the target; may be left out where there is only one.
        proxy_device: name of the proxy; may be left out where there is only one.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        equation: what is bisected: the weight of the proxy's latency beside accuracy (weighted, equation 6), or the
            proxy's budget (budget, equation 5).
        measurements: the most that are spent on the target.
        delta: stop where the latency is at most this share of the budget below it.
        seed: of what is drawn where a space is too large to list.
        journal: of live measurements; the same command goes on with what it holds.
        out: picture of the search, accuracy against latency (.png).
    """
    from search.bisection import Bisection

    search = Bisection(measurements, equation, delta)
    _run(search, accuracy, latency, budget_ms, device, space, metric, seed, journal, out, proxy, proxy_device)


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
    seed: int = 0,
    journal: Path = Path("runs/search/live.jsonl"),
    out: Path = Path("runs/search/evolve.png"),
) -> None:
    """Regularised evolution under a latency budget.

    Args:
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of latencies, or a runtime of this host (ort, ...) whose latencies are measured live.
        budget_ms: latency that must not be exceeded.
        device: name of a device of the latencies; may be left out where there is only one.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        measurements: the most latencies that may be asked for.
        population: architectures alive at once.
        contenders: drawn for each tournament.
        seed: of what is drawn.
        journal: of live measurements; the same command goes on with what it holds.
        out: picture of the search, accuracy against latency (.png).
    """
    from search.evolution import Evolution

    search = Evolution(measurements, population, contenders)
    _run(search, accuracy, latency, budget_ms, device, space, metric, seed, journal, out)


def exhaustive(
    accuracy: Path,
    latency: str,
    budget_ms: float,
    device: str = "",
    space: str = "nasbench201",
    metric: str = "",
    out: Path = Path("runs/search/exhaustive.png"),
) -> None:
    """The best of all architectures that a table or a predictor of latencies knows.

    Args:
        accuracy: a table (.yaml, a file of configs/datasets, or .parquet) or a predictor (.pt, .onnx) of accuracies.
        latency: the same of latencies.
        budget_ms: latency that must not be exceeded.
        device: name of a device of the latencies; may be left out where there is only one.
        space: of the architectures.
        metric: which accuracy of the table; by default the first that it has of cifar100, digits, ...
        out: picture of the search, accuracy against latency (.png).
    """
    from search.evolution import Exhaustive

    if not Path(latency).suffix:
        raise InputError(f"Measuring every architecture on {latency} takes days; use bisect or evolve.")
    _run(Exhaustive(), accuracy, latency, budget_ms, device, space, metric, 0, Path(), out)


def _run(
    search: Search,
    accuracy: Path,
    latency: str,
    budget_ms: float,
    device: str,
    space: str,
    metric: str,
    seed: int,
    journal: Path,
    out: Path,
    proxy: str = "",
    proxy_device: str = "",
) -> None:
    """Put a problem together, search, tell, draw."""
    import sys

    import numpy as np

    from datasets.spaces import parse_space
    from search.base import Problem

    where = parse_space(space)
    quality, tabled = _quality(accuracy, metric)
    target, known, model = _latency(latency, device, where, journal)
    proxies = {}
    if proxy:
        proxies["latency_ms"], also, _ = _latency(proxy, proxy_device, where, journal)
        known = _both(known, also)
    candidates = _both(tabled, known)
    problem = Problem(
        where if candidates is None else candidates.space,
        quality,
        {"latency_ms": target},
        {"latency_ms": budget_ms},
        proxies,
        candidates,
    )
    decision = search(problem, np.random.default_rng(seed), lambda line: print(line, file=sys.stderr))
    _tell(decision, budget_ms, measured=model is None)
    if model is not None:
        from predictors.base import Uncertain

        if isinstance(model, Uncertain):
            at = find_device(model.devices_, device) if device else model.devices_[0]
            print(f"P(latency <= budget) = {_probability(model, decision.arch, at, budget_ms):.3f}")
    _draw(problem, decision, out)


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
    if file.suffix in (".pt", ".onnx"):
        from predictors.export import load_predictor

        predictor = load_predictor(file)
        return lambda archs: predictor.predict(archs, None), None
    measured = _table(file)
    have = set(measured.table["metric"])
    name = metric or next((one for one in ACCURACIES if one in have), "")
    if name not in have:
        raise InputError(f"{file} has no metric '{name or 'accuracy_...'}'; it has {sorted(have)}.")
    return _lookup(measured.architectures, measured.matrix(name)[:, 0])


def _latency(
    source: str, device: str, space: Any, journal: Path
) -> tuple[Cost, Architectures | None, Predictor | OnnxPredictor | None]:
    """Latencies on one device, the architectures of which they are known (None: all), and the predictor, if one."""
    file = Path(source)
    if not file.suffix:  # a runtime of this host
        from measure.blackbox import Live
        from measure.campaign import Journal
        from measure.commands.flags import parse_backends

        (backend,) = parse_backends(source, "host", None)
        return Live(space, backend, Journal(journal)), None, None
    if file.suffix in (".pt", ".onnx"):
        from predictors.export import load_predictor

        predictor = load_predictor(file)
        at = _device(predictor.devices_, device, file)
        return (lambda archs: predictor.predict(archs, at)), None, predictor
    measured = _table(file)
    at = _device(measured.devices, device, file)
    column = measured.devices.index(at)
    return *_lookup(measured.architectures, measured.matrix("latency_ms")[:, column]), None


def _device(known: tuple[Device, ...], name: str, file: Path) -> Device:
    if not name and len(known) != 1:
        raise InputError(f"Name a device; {file} answers for: {', '.join(d.name for d in known)}.")
    return find_device(known, name) if name else known[0]


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


def _lookup(archs: Architectures, values: Any) -> tuple[Cost, Architectures]:
    """A column of a table as a cost that says NaN where it knows nothing, and the architectures that it knows."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(values))
    table = {row.tobytes(): value for row, value in zip(archs.decisions, values, strict=True)}
    return lambda asked: np.array([table.get(row.tobytes(), np.nan) for row in asked.decisions]), archs[known]


def _both(one: Architectures | None, other: Architectures | None) -> Architectures | None:
    """The architectures that both know; None knows all."""
    import numpy as np

    if one is None or other is None:
        return one if other is None else other
    there = {row.tobytes() for row in other.decisions}
    shared = np.flatnonzero([row.tobytes() in there for row in one.decisions])
    if not len(shared):
        raise InputError("The accuracies and the latencies have no architecture in common; name tables of one space.")
    return Architectures(other.space, one.decisions[shared])


def _probability(model: Any, arch: Architectures, device: Device, budget: float) -> float:
    """P(cost <= budget), from the level of the central interval that ends at the budget."""
    low, high = 0.0, 1.0
    above = budget >= model.predict(arch, device)[0]
    for _ in range(14):
        level = (low + high) / 2
        ends = model.predict_interval(arch, device, level)
        inside = ends[0][0] <= budget <= ends[1][0]
        low, high = (low, level) if inside else (level, high)
    return (1 + level) / 2 if above else (1 - level) / 2


def commands() -> list[Any]:
    """Everything that this command line offers."""
    from search.netadapt.__main__ import netadapt
    from search.netadapt.grids import layers

    return [bisect, evolve, exhaustive, netadapt, layers]


if __name__ == "__main__":
    main(commands(), prog="python -m search")
