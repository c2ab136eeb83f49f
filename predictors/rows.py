"""Rows of scores in the files of runs; truncated and edited files are refused before anything is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets.files.reading import read_json
from datasets.records import InputError
from predictors.metrics import LATER, METRICS

Columns = Mapping[str, Callable[[Any], bool]]
"""Columns of a row, each with the check of its values."""


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer that JSON holds exactly."""
    return type(value) is int and abs(value) < 2**53


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e300


def is_score(value: Any) -> bool:
    """Whether a value is a finite number, or None for an undefined score."""
    return value is None or is_number(value)


def is_fraction(value: Any) -> bool:
    """Whether a value is from -1 to 1, like correlations and shares, or None where undefined."""
    return value is None or (is_number(value) and -1 <= value <= 1)


def one_of(*values: object) -> Callable[[Any], bool]:
    """Check that a value is one of these, of the same type."""
    return lambda value: any(value is v or (type(value) is type(v) and value == v) for v in values)


SCORES: Columns = {
    **dict.fromkeys(("dataset", "predictor", "device"), is_text),
    **{"set": one_of("val", "test"), "cells": one_of("all", "connected")},
    **dict.fromkeys(("shots", "seed", "n"), is_integer),
    **dict.fromkeys(("fit_cpu_s", "predict_cpu_s"), is_number),
    **{name: is_score if name in ("mae", "rmse", "r2", "mape", LATER[1]) else is_fraction for name in METRICS},
}
"""Columns that every row of scores has, whichever command wrote it."""


def read_rows(file: Path, columns: Columns, remedy: str) -> list[dict[str, Any]]:
    """Read the rows of a JSON file; metrics that older versions did not compute (`metrics.LATER`) are None.

    Args:
        file: file with a list of rows.
        columns: required of every row; further ones are allowed.
        remedy: end of the error message, what to do where the file is damaged.

    Raises:
        InputError: the file is missing, damaged, edited or of another version.
    """
    rows = read_json(file, remedy)
    damaged = f"{file} is damaged or of another version of Gnomon"
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{damaged}, since it holds no rows of scores; {remedy}.")
    for place, row in enumerate(rows, 1):
        row |= {name: None for name in LATER if name in columns and name not in row}
        for name, fits in columns.items():
            if name not in row or not fits(row[name]):
                raise InputError(f"{damaged}: its row {place} has no valid '{name}'; {remedy}.")
    return rows


def check_runs(folder: Path) -> None:
    """Raise `InputError` where there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name one that holds run folders.")


def run_files(folder: Path, how: str) -> list[Path]:
    """Paths of `metrics.json` of every run in a folder; unfinished runs (hidden or `.part`) are skipped.

    Args:
        folder: folder of run folders.
        how: the command that makes a run, for the error message.

    Raises:
        InputError: the folder is missing, or holds no run.
    """
    check_runs(folder)
    files = [file for file in sorted(folder.glob("*/metrics.json")) if file.parent.suffix != ".part"]
    files = [file for file in files if not file.parent.name.startswith(".")]
    if not files:
        raise InputError(f"There is no run in {folder}; `{how}` makes one.")
    return files
