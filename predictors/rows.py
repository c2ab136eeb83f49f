"""Rows of scores in the files of runs, checked before anything is computed from them: files are cut off or edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets.files.reading import read_json
from datasets.records import InputError
from predictors.metrics import METRICS

Columns = Mapping[str, Callable[[Any], bool]]
"""What each column of a row has to hold."""


def text(value: Any) -> bool:
    """Whether it is text."""
    return isinstance(value, str)


def whole(value: Any) -> bool:
    """Whether it is a whole number."""
    return type(value) is int and abs(value) < 2**53


def number(value: Any) -> bool:
    """Whether it is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e300


def score(value: Any) -> bool:
    """Whether it is a finite number, or None where a score is undefined."""
    return value is None or number(value)


def share(value: Any) -> bool:
    """Whether it is a number from -1 to 1, as correlations and shares are, or None where it is undefined."""
    return value is None or (number(value) and -1 <= value <= 1)


def one_of(*values: object) -> Callable[[Any], bool]:
    """What tells whether a value is one of these."""
    return lambda value: any(value is one or (type(value) is type(one) and value == one) for one in values)


SCORES: Columns = {
    **dict.fromkeys(("dataset", "predictor", "device"), text),
    **{"set": one_of("val", "test"), "cells": one_of("all", "connected"), "shots": whole, "seed": whole, "n": whole},
    **dict.fromkeys(("fit_cpu_s", "predict_cpu_s"), number),
    **{name: score if name in ("mae", "rmse", "r2", "mape") else share for name in METRICS},
}
"""What every row of scores must have, whatever command made it."""


def read_rows(file: Path, columns: Columns, remedy: str) -> list[dict[str, Any]]:
    """The rows of a JSON file.

    Args:
        file: a list of rows.
        columns: that every row must have; others may be there too.
        remedy: what to do where the file is damaged; it ends the sentence.

    Raises:
        InputError: it is missing, damaged, edited or of another version.
    """
    rows = read_json(file, remedy)
    damaged = f"{file} is damaged or of another version of Gnomon"
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{damaged}, since it holds no rows of scores; {remedy}.")
    for place, row in enumerate(rows, 1):
        for name, fits in columns.items():
            if name not in row or not fits(row[name]):
                raise InputError(f"{damaged}: its row {place} has no valid '{name}'; {remedy}.")
    return rows


def run_files(folder: Path, how: str) -> list[Path]:
    """`metrics.json` of every run in a folder; what begins with a dot or ends with `.part` was never finished.

    Args:
        folder: of runs.
        how: the command that makes one.

    Raises:
        InputError: it is no folder, or holds no run.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name one that holds run folders.")
    files = [file for file in sorted(folder.glob("*/metrics.json")) if file.parent.suffix != ".part"]
    files = [file for file in files if not file.parent.name.startswith(".")]
    if not files:
        raise InputError(f"There is no run in {folder}; `{how}` makes one.")
    return files
