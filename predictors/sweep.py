"""Sweeps in the format of W&B: the same file runs here (`train.py --sweep FILE`) and under `wandb sweep`'s agents."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.files.folders import Outcome
from datasets.files.reading import read_yaml, shortened
from datasets.records import InputError

KEYS = {"program", "method", "parameters", "name", "description", "project", "entity", "metric", "command", "run_cap"}

MOST_RUNS = 100_000
"""Largest number of runs of a sweep."""

PROGRAMS = ("train.py", "predictors")
"""`predictors` stands for `python -m predictors transfer`, which the sweep's `command` names for W&B's agents."""


@dataclass(frozen=True)
class Sweep:
    """A grid of runs.

    Attributes:
        parameters: values by flag.
        program: one of `PROGRAMS`.
    """

    parameters: dict[str, list[Any]]
    program: str = "train.py"

    def flags(self) -> Iterator[list[str]]:
        """Flags of every run; the last parameter varies fastest."""
        for values in itertools.product(*self.parameters.values()):
            yield [f"--{key}={_text(value)}" for key, value in zip(self.parameters, values, strict=True)]

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.parameters.values())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        InputError: the file is missing, has no grid, another program, an unknown key, or a parameter without `value`
            or `values`.
    """
    tree = read_yaml(path, "name a sweep as studies/help_gold/sweep.yaml")
    if (
        not isinstance(tree, dict)
        or not isinstance(tree.get("parameters"), dict)
        or not {"method", "program"} < set(tree)
    ):
        raise InputError(f"{path} is no sweep: it needs program, method and parameters.")
    if unknown := [key for key in tree if key not in KEYS]:
        raise InputError(
            f"{path} has the unknown key '{shortened(unknown[0])}'; a sweep has {', '.join(sorted(KEYS))}."
        )
    method, program = tree["method"], tree["program"]
    if method != "grid" or program not in PROGRAMS:
        raise InputError(
            f"{path} has method {shortened(method)} of {shortened(program)}; "
            f"only the method grid of {PROGRAMS[0]} is run here."
        )
    grid = {}
    for name, entry in tree["parameters"].items():
        if not isinstance(name, str) or not isinstance(entry, dict) or len(entry.keys() & {"value", "values"}) != 1:
            raise InputError(f"{path}: parameter '{shortened(name)}' needs either `value` or `values`.")
        values = entry["values"] if "values" in entry else [entry["value"]]
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: the `values` of '{shortened(name)}' are no list of one value or more.")
        grid[name] = values
    if (runs := math.prod(map(len, grid.values()))) > MOST_RUNS:
        raise InputError(f"{path} has {runs:.3g} runs, more than the {MOST_RUNS:,} of a sweep; split it.")
    return Sweep(grid, program)


def run_sweep(
    path: Path, run: Callable[[list[str]], Outcome], report: Callable[[str], None] = print, program: str = "train.py"
) -> Outcome:
    """Do all runs of a grid that are not complete; a sweep that was stopped continues.

    Runs that another process is doing are tried again at the end.

    Args:
        path: of the sweep file.
        run: does the run with given flags.
        report: receives lines of progress.
        program: the program that `run` runs; sweeps of another one are refused.

    Returns:
        "busy" if another process is still doing a run at the end, else "done".
    """
    sweep, spent, done = read_sweep(path), 0.0, 0
    busy: list[list[str]] = []
    if sweep.program != program:
        how = {"train.py": "python train.py --sweep", "predictors": "python -m predictors transfer --sweep"}
        raise InputError(f"{path} is run by another command: {how[sweep.program]} {path}")
    for number, flags in enumerate(sweep.flags(), 1):
        left = f", about {(len(sweep) - number + 1) * spent / done / 60:.0f} min left" if done else ""
        report(f"[{number}/{len(sweep)}{left}] {' '.join(flags)}")
        started = time.monotonic()
        outcome = run(flags)
        if outcome == "done":
            spent, done = spent + time.monotonic() - started, done + 1
        elif outcome == "busy":
            busy.append(flags)
    again = [run(flags) for flags in busy]
    done, others = done + again.count("done"), again.count("busy")
    if others:
        before = len(sweep) - done - others
        report(f"sweep NOT complete: another process is at {others} runs; {done} runs now, {before} before")
        return "busy"
    report(f"sweep complete: {done} runs now, {len(sweep) - done} before")
    return "done"
