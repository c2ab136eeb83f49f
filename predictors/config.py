"""Dataclasses to class-path trees and back: what stands in a YAML file, and what stands in a checkpoint."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from datasets.records import InputError

PACKAGES = ("datasets", "encoders", "predictors")
"""Only dataclasses of these may be named by a file."""

T = TypeVar("T")


def to_config(thing: Any) -> dict[str, Any]:
    """`{class_path, init_args}` of a dataclass, nested ones alike; values are plain."""
    cls = type(thing)
    args = {f.name: _plain(getattr(thing, f.name)) for f in fields(thing) if f.init}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": args}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_config(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_config(tree: Mapping[str, Any], kind: type[T]) -> T:
    """Rebuild what `to_config` wrote.

    Args:
        tree: the configuration.
        kind: what its class must be a subclass of.

    Raises:
        InputError: a class outside of our packages, an unknown class or field, or the wrong kind.
    """
    path = str(tree.get("class_path", ""))
    package, _, name = path.rpartition(".")
    if package.split(".")[0] not in PACKAGES:
        raise InputError(f"'{path}' is not a class of Gnomon; a file may only name classes of {', '.join(PACKAGES)}.")
    try:
        cls = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"There is no class '{path}'; was the file written by another version of Gnomon?") from error
    if not (isinstance(cls, type) and issubclass(cls, kind) and is_dataclass(cls)):
        raise InputError(f"'{path}' is no {kind.__name__}.")
    args = {key: _rebuild(value) for key, value in dict(tree.get("init_args", {})).items()}
    if unknown := set(args) - {f.name for f in fields(cls)}:
        raise InputError(f"{name} has no field '{min(unknown)}'; was the file written by another version of Gnomon?")
    return cast(T, cls(**args))


def _rebuild(value: Any) -> Any:
    if isinstance(value, Mapping) and "class_path" in value:
        return from_config(value, object)
    return tuple(_rebuild(item) for item in value) if isinstance(value, list) else value
