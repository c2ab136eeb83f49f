"""Sweeps in the format of W&B: the same file runs here (`train.py --sweep FILE`) and under `wandb sweep`'s agents."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.files.folders import Outcome
from datasets.files.reading import read_yaml, shortened
from datasets.records import InputError
from predictors.settings import label

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
        run_cap: most runs of the sweep, the first ones of the grid; 0: all.
    """

    parameters: dict[str, list[str]]
    program: str = "train.py"
    run_cap: int = 0

    def flags(self) -> Iterator[list[str]]:
        """Flags of every run; the last parameter varies fastest."""
        for values in itertools.islice(itertools.product(*self.parameters.values()), len(self)):
            yield [f"--{key}={value}" for key, value in zip(self.parameters, values, strict=True)]

    def grid(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.parameters.values())

    def __len__(self) -> int:
        return min(self.grid(), self.run_cap or self.grid())

    def varying(self) -> list[str]:
        """Flags with several values."""
        return [key for key, values in self.parameters.items() if len(values) > 1]

    def fixing(self, flags: Mapping[str, str]) -> Sweep:
        """This sweep with flags of a command line added; they replace parameters of the same name."""
        kept = {key: values for key, values in self.parameters.items() if key.replace("-", "_") not in flags}
        return replace(self, parameters={**kept, **{key: [value] for key, value in flags.items()}})


def flags_of(arguments: Sequence[str]) -> dict[str, str]:
    """Values of the flags of a command line, `--flag value` or `--flag=value`, by name; '' for a flag without one.

    Raises:
        InputError: a word belongs to no flag.
    """
    found, name = dict[str, str](), ""
    for word in arguments:
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            flag = flag.replace("-", "_")
            found[flag] = value
            name = "" if equals else flag
        elif name:
            found[name], name = word, ""
        elif not word.startswith("-"):
            raise InputError(f"'{shortened(word)}' belongs to no flag; write --FLAG VALUE.")
    return found


def _text(value: Any, where: str) -> str:
    """A value of a sweep file as a word of the command line."""
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except TypeError:  # YAML's dates, sets and bytes
        raise InputError(f"{where} is a {type(value).__name__}; put it between quotes to have a text.") from None


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        InputError: the file is missing, has no grid, another program, an unknown key, a parameter without `value` or
            `values`, or a `run_cap` that is no number of runs.
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
        if unknown := sorted(set(map(str, entry)) - {"value", "values"}):
            raise InputError(f"{path}: parameter '{shortened(name)}' has '{shortened(unknown[0])}', which no grid has.")
        values = entry["values"] if "values" in entry else [entry["value"]]
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: the `values` of '{shortened(name)}' are no list of one value or more.")
        grid[name] = [_text(value, f"{path}: a value of '{shortened(name)}'") for value in values]
    cap = tree.get("run_cap", 0)
    if type(cap) is not int or cap < ("run_cap" in tree):
        raise InputError(f"{path}: run_cap is the largest number of runs, 1 or more, not {shortened(cap)}.")
    sweep = Sweep(grid, program, cap)
    if (runs := min(sweep.grid(), cap or sweep.grid())) > MOST_RUNS:
        raise InputError(f"{path} has {runs:.3g} runs, more than the {MOST_RUNS:,} of a sweep; split it.")
    return sweep


def run_sweep(
    path: Path,
    run: Callable[[list[str]], Outcome],
    report: Callable[[str], None] = print,
    program: str = "train.py",
    flags: Mapping[str, str] | None = None,
) -> Outcome:
    """Do all runs of a grid that are not complete; a sweep that was stopped continues.

    Runs that another process is doing are tried again at the end. Run folders are named by the settings that vary.

    Args:
        path: of the sweep file.
        run: does the run with given flags.
        report: receives lines of progress.
        program: the program that `run` runs; sweeps of another one are refused.
        flags: of the command line, given to every run; they replace the sweep's parameters of the same name.

    Returns:
        "busy" if another process is still doing a run at the end, else "done".

    Raises:
        InputError: the sweep is faulty.
    """
    written, flags = read_sweep(path), flags or {}
    sweep, spent, done = written.fixing(flags), 0.0, 0
    shown = [*written.varying(), *flags]
    busy: list[list[str]] = []
    if sweep.program != program:
        how = {"train.py": "python train.py --sweep", "predictors": "python -m predictors transfer --sweep"}
        raise InputError(f"{path} is run by another command: {how[sweep.program]} {path}")
    for number, words in enumerate(sweep.flags(), 1):
        left = f", about {(len(sweep) - number + 1) * spent / done / 60:.0f} min left" if done else ""
        report(f"[{number}/{len(sweep)}{left}] {' '.join(words)}")
        started = time.monotonic()
        outcome = run([*words, *folder_label(words, shown)])
        if outcome == "done":
            spent, done = spent + time.monotonic() - started, done + 1
        elif outcome == "busy":
            busy.append([*words, *folder_label(words, shown)])
    again = [run(words) for words in busy]
    done, others = done + again.count("done"), again.count("busy")
    if others:
        before = len(sweep) - done - others
        report(f"sweep NOT complete: another process is at {others} runs; {done} runs now, {before} before")
        return "busy"
    rest = f"; its run_cap leaves out {sweep.grid() - len(sweep)}" if sweep.grid() > len(sweep) else ""
    report(f"sweep complete: {done} runs now, {len(sweep) - done} before{rest}")
    return "done"


NOT_SHOWN = ("study", "out", "config", "name", "predictor", "overwrite", "log.wandb", "log.project")
"""Flags that are no part of a folder's label: the name of the predictor begins the folder's name anyway."""


def folder_label(arguments: Sequence[str], varying: Sequence[str] | None = None) -> list[str]:
    """The flag `--label` for a command line without one: the settings that tell the run from others of its study.

    Args:
        arguments: flags of the run.
        varying: names of flags that vary; None: all that are named.
    """
    flags = flags_of(arguments)
    if "label" in flags:
        return []
    shown = [name for name in flags if flags[name] and name not in NOT_SHOWN and (varying is None or name in varying)]
    return [f"--label={label({name: flags[name] for name in shown})}"]


def run_name(arguments: Sequence[str]) -> list[str]:
    """The flag `--name` for a command line that names a predictor and no name: that of the predictor's file or class.

    A configuration (--config) has the name of its own predictor, which another predictor must not bear.
    """
    flags = flags_of(arguments)
    if "predictor" not in flags or "name" in flags:
        return []
    found = re.fullmatch(r"(?:.*/)?([^/]+)\.ya?ml|(?:\w+\.)*(\w+)", flags["predictor"])
    return [f"--name={(found[1] or found[2].lower()) if found else ''}"]
