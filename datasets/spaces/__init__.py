"""Search spaces, one file each; the module's name is the space's name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from datasets.columns import Columns
from datasets.files.described import from_config
from datasets.files.reading import read_yaml, shortened
from datasets.networks.collection import AnyNetwork
from datasets.networks.network import Network
from datasets.records import InputError, Space

LIMITS: Mapping[str, tuple[int, int]] = {
    "channels": (1, 4096),
    "stacks": (1, 8),
    "cells": (1, 50),
    "image": (1, 1024),
    "classes": (1, 100_000),
    "head": (1, 100_000),
    "reduction": (1, 32),
    "megamacs": (1, 1_000_000),
    "megabytes": (1, 1_000_000),
    "beyond_megamacs": (0, 1_000_000),
    "beyond_megabytes": (0, 1_000_000),
    "widest": (1, 65_536),
}
"""Limits of a parameter of any space, beyond which a single network would take seconds to expand. A parameter's
default, such as a zoo's image of 0, is allowed too."""


def open_space(name: str) -> Space:
    """The space that a command line names: a .yaml that describes one, or a text for `parse_space`.

    Raises:
        InputError: there is no such file or space, or the file describes none.
    """
    if not name.endswith((".yaml", ".yml")):
        return parse_space(name)
    return from_config(read_yaml(Path(name), "name a .yaml of a space, or a space as nasbench201"), Space)  # type: ignore[type-abstract]


def parse_space(text: str) -> Space:
    """The space of a text such as `nasbench201` or `nasbench201(channels=16,cells=5)`.

    Raises:
        InputError: the module, a parameter or a value is unknown, or a value is outside of `LIMITS`.
    """
    if text == str(AnyNetwork()):
        return AnyNetwork()
    if isinstance(text, str) and text.startswith("columns("):
        return Columns.of_text(text)
    if isinstance(text, str) and text.startswith("built("):
        return importlib.import_module(f"{__name__}.built").Built.of_text(text)
    match = (
        re.fullmatch(r"([a-z]\w*)(?:\(([a-z]\w*=\w+(?:,[a-z]\w*=\w+)*)?\))?", text) if isinstance(text, str) else None
    )
    if match is None:
        raise InputError(
            f"'{shortened(text)}' does not name a space; write for example nasbench201 or nasbench201(cells=1)."
        )
    name, arguments = match.groups()
    if name not in (known_spaces := _names()):
        raise InputError(f"There is no space '{shortened(name, 60)}'; there are {', '.join(known_spaces)}.")
    cls = _class(name)
    return cls(**_numbers(arguments or "", name, {f.name: f.default for f in fields(cls)}))


def save_operation(network: Network, path: Path) -> tuple[tuple[int, ...], ...]:
    """Write the ONNX file of a network that is a single operation of a space (`blocks.operations`); returns the shapes
    of its inputs, or none for another network."""
    name = network.space.partition("(")[0]
    if name not in _names() or not hasattr(_class(name), "graph_of"):  # `Operation` itself is not where rows are served
        return ()
    space: Any = parse_space(network.space)
    graph = space.graph_of(network.key)
    graph.save(path)
    return tuple(tensor.shape for tensor in graph.inputs)


def _names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]


def _class(name: str) -> Any:
    """The space of a module."""
    module = importlib.import_module(f"{__name__}.{name}")
    own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    (cls,) = (c for c in own if issubclass(c, Space) and is_dataclass(c))
    return cls


def _numbers(arguments: str, space: str, known: Mapping[str, object]) -> dict[str, int]:
    """Values of parameters from `cells=5,image=32`, within their limits."""
    numbers: dict[str, int] = {}
    for key, value in (pair.split("=") for pair in arguments.split(",") if pair):
        if key not in known:
            raise InputError(f"Space '{space}' has no parameter '{shortened(key)}'; it has {', '.join(known)}.")
        if key in numbers:
            raise InputError(f"Space '{space}' is given {key} twice.")
        if not re.fullmatch("[0-9]{1,9}", value):
            raise InputError(f"Space '{space}': {key} has to be a whole number, not '{shortened(value)}'.")
        numbers[key], (least, most) = int(value), LIMITS[key]
        if not least <= numbers[key] <= most and numbers[key] != known[key]:
            raise InputError(f"Space '{space}': {key} has to be between {least} and {most:,}, not {value}.")
    return numbers
