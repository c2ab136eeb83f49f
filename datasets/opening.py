"""Data sets by name: a YAML of configs/datasets, a table of `measure table`, a .csv, or several of these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.base import Dataset
from datasets.files.described import from_config
from datasets.files.reading import existing, read_yaml, shortened
from datasets.records import InputError, Measurements

KINDS = {".parquet": "datasets.measured.Measured", ".csv": "datasets.own_table.OwnTable"}
"""Classes that read a file of measurements, by its suffix; each has a field `path`."""
HINT = (
    "measurements are a .yaml of configs/datasets, a .parquet of `python -m measure table` or a .csv with the columns "
    "key, device and value"
)
"""End of error messages: the accepted files."""


@dataclass
class Joined(Dataset):
    """Concatenation of several data sets; if their spaces differ, all architectures become networks.

    Attributes:
        parts: the data sets, at least one.
    """

    parts: list[Dataset]

    def measurements(self) -> Measurements:
        if not self.parts:
            raise InputError("Joined needs parts: name at least one data set.")
        return Measurements.concat([part.measurements() for part in self.parts])


def open_dataset(names: str | Path) -> Dataset:
    """The data set of a file, or of several files separated by commas.

    Raises:
        InputError: a file does not exist, has an unsupported suffix, or describes no data set.
    """
    return from_config(described(str(names)), Dataset)  # type: ignore[type-abstract]


def open_measurements(names: str | Path) -> Measurements:
    """The measurements of the data set that `open_dataset` gives.

    Raises:
        InputError: `open_dataset` fails, or the data are missing or malformed.
    """
    return open_dataset(names).measurements()


def described(names: str) -> dict[str, Any]:
    """Configuration `{class_path, init_args}` of the data set that `open_dataset` gives."""
    files = [name.strip() for name in names.split(",")]
    if "" in files:
        raise InputError(f"'{shortened(names)}' names no file before or after one of its commas; {HINT}.")
    parts = [_describe_file(name) for name in files]
    return parts[0] if len(parts) == 1 else {"class_path": "datasets.opening.Joined", "init_args": {"parts": parts}}


def _describe_file(name: str) -> dict[str, Any]:
    """Configuration of the data set of one file."""
    suffix = Path(name).suffix.lower()
    if suffix in KINDS:
        return {"class_path": KINDS[suffix], "init_args": {"path": name}}
    if suffix not in (".yaml", ".yml"):
        existing(Path(name), HINT)
        raise InputError(f"{shortened(name)} holds no measurements; {HINT}.")
    return read_yaml(existing(Path(name), HINT), HINT)


def with_datasets(arguments: Sequence[str], flags: Sequence[str] = ("--data",)) -> list[str]:
    """A command line in which names of data sets are replaced by configurations that jsonargparse reads.

    Args:
        arguments: words of the command line.
        flags: flags whose values are data sets (`--flag value` or `--flag=value`); '' stands for words that do not
            follow a flag.
    """
    replaced, last_flag = list[str](), ""
    for word in arguments:
        flag, equals, value = word.partition("=") if word.startswith("--") else (last_flag, "", word)
        if flag in flags and (equals or not word.startswith("--")):
            word = f"{flag}={_to_json(value)}" if equals else _to_json(word)
        last_flag = word if word.startswith("--") and not equals else ""
        replaced.append(word)
    return replaced


def _to_json(value: str) -> str:
    """The JSON configuration for the name of a table or of several files; other values are unchanged."""
    suffixes = {Path(name.strip()).suffix.lower() for name in value.split(",") if name.strip()}
    are_files = suffixes <= {*KINDS, ".yaml", ".yml"} and (len(value.split(",")) > 1 or suffixes <= set(KINDS))
    return json.dumps(described(value)) if are_files and not value.lstrip().startswith(("{", "[")) else value
