"""The zip of a .pt2 file: its graph and its stored tensors, without unpickling anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets.files.zip_entry import read_entry

MOST_GRAPH = 2**26
"""Largest graph in bytes of JSON."""
MOST_WEIGHTS = 2**34
"""Largest stored tensor in bytes."""
_OLD = "serialized_exported_program.json"
DAMAGED = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    RecursionError,
)
"""What reading a damaged graph raises."""


def read_graph(path: Path) -> Any:
    """The JSON document of the graph; raises what `datasets.files.zip_entry.read_entry` does, and what `json` does."""
    return json.loads(read_entry(path, _graph_of, MOST_GRAPH))


def read_config(path: Path, kind: str) -> dict[str, Any]:
    """Where the tensors of a kind, `weights` or `constants`, are stored, and their types and sizes, by their names."""
    config: dict[str, Any] = json.loads(read_stored(path, kind, f"_{kind}_config.json"))["config"]
    return config


def read_stored(path: Path, kind: str, end: str) -> bytes:
    """The content of the file whose name ends so, of those with the tensors of a kind."""

    def choose(names: list[str]) -> str:
        found = [name for name in names if f"/data/{kind}/" in f"/{name}" and name.endswith(end)]
        if len(found) != 1:
            raise KeyError(f"it holds {len(found)} files of {kind} *{end}")
        return found[0]

    return read_entry(path, choose, MOST_WEIGHTS)


def _graph_of(names: list[str]) -> str:
    found = [name for name in names if name == _OLD or (name.endswith(".json") and "/models/" in f"/{name}")]
    if len(found) != 1:
        raise KeyError(f"it holds {len(found)} graphs")
    return found[0]
