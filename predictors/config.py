"""Dataclasses to class-path trees and back, as YAML files and checkpoints hold them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from datasets.files.described import from_config as from_config


def to_config(thing: Any) -> dict[str, Any]:
    """Convert a dataclass, with nested ones, to `{class_path, init_args}` of plain values."""
    cls = type(thing)
    args = {f.name: _plain(getattr(thing, f.name)) for f in fields(thing) if f.init}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": args}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_config(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
