"""Settings of runs by dotted names (`predictor.hidden`): which ones differ between runs, and texts that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PLACES = ("out", "study", "label", "name")
"""Entries of a configuration that say where results are and what they are called."""


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run's configuration by dotted name, without its seed and without names of places.

    Fields of an object are `predictor.hidden`, its class is `predictor.class_path`, members of a list are
    `predictor.members.0.hidden`. Values are numbers, texts, booleans and None; others become texts.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name not in (*PLACES, "seed"):
            _flatten(str(name), value, found)
    return found


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        inner = {k: v for k, v in value.items() if k != "init_args"}
        arguments = value.get("init_args")
        for key, entry in {**inner, **(arguments if isinstance(arguments, dict) else {})}.items():
            _flatten(f"{name}.{key}", entry, found)
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for i, entry in enumerate(value):
            _flatten(f"{name}.{i}", entry, found)
    elif value is None or isinstance(value, str | int | float):
        found[name] = value
    else:
        found[name] = json.dumps(value, default=str)


def is_seed(name: str) -> bool:
    """Whether a setting is a seed, such as `predictor.seed`."""
    return name.rpartition(".")[2] == "seed"


def differing(runs: Iterable[tuple[Any, Mapping[str, Any]]]) -> list[str]:
    """Names of settings that have several values among runs of one group.

    Args:
        runs: the group and the settings of each run; a setting that a run lacks counts as None.
    """
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for group, one in runs:
        groups.setdefault(group, []).append(one)
    names: dict[str, None] = {}
    for members in groups.values():
        for name in dict.fromkeys(name for one in members for name in one):
            if len({_comparable(one.get(name)) for one in members}) > 1:
                names[name] = None
    return list(names)


def _comparable(value: Any) -> tuple[str, Any]:
    """True and 1 are different settings, 1 and 1.0 are not."""
    return ("bool" if isinstance(value, bool) else "", value)


def short_names(names: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """The last component of each dotted name, and more of them where two of them or of `taken` would be equal."""
    short = {}
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1))
        alone = (end for end in ends if sum(f".{other}".endswith(f".{end}") for other in (*names, *taken)) == 1)
        short[name] = next(alone, name)
    return short


def label(values: Mapping[str, Any]) -> str:
    """Text for settings that folders can be named by: `hidden=64-seed=1`; of a path, its name without the suffix."""
    short = short_names(list(values))
    return "-".join(f"{short[name]}={_word(value)}" for name, value in values.items())


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.endswith((".yaml", ".yml", ".parquet", ".csv")):
        text = Path(text).stem
    return re.sub(r"[^\w.,+-]+", "_", text, flags=re.ASCII).strip("_")
