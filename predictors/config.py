"""Dataclasses to class-path trees and back: what stands in a YAML file, and what stands in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from inspect import isabstract
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from datasets.classes import class_named
from datasets.files.reading import shortened
from datasets.records import InputError

T = TypeVar("T")

_PLAIN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
"""The types of values that a plain type hint accepts: True is no number."""


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
        InputError: a class outside of our packages, an unknown class or field, or a value of the wrong kind.
    """
    if not isinstance(tree, Mapping) or set(tree) - {"class_path", "init_args"} or "class_path" not in tree:
        raise InputError(f"'{shortened(tree)}' describes no {kind.__name__}: it needs class_path and init_args.")
    cls, given = class_named(tree["class_path"], kind), tree.get("init_args") or {}
    if not is_dataclass(cls) or isabstract(cls):
        raise InputError(f"'{shortened(tree['class_path'])}' is no {kind.__name__} that a file may describe.")
    known = {f.name: f for f in fields(cls) if f.init}
    if not isinstance(given, Mapping) or (unknown := set(given) - set(known)):
        wrong = shortened(min(map(str, unknown)) if isinstance(given, Mapping) else given, 100)
        raise InputError(f"{cls.__name__} has no field '{wrong}'; was the file written by another version of Gnomon?")
    needed = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise InputError(f"{cls.__name__} needs the field '{missing[0]}'.")
    hints = get_type_hints(cls)
    args = {name: _rebuild(value, hints[name], f"{cls.__name__}'s field '{name}'") for name, value in given.items()}
    return cast(T, cls(**args))


def _rebuild(value: Any, hint: Any, where: str) -> Any:
    """A value as the type hint of its field wants it; lists are tuples."""
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in choices:
            return None
        for choice in choices:
            with suppress(InputError):
                return _rebuild(value, choice, where)
    elif isinstance(value, Mapping) and isinstance(hint, type) and origin is None and "class_path" in value:
        return from_config(value, hint)
    elif origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return tuple(_rebuild(item, choices[0], where) for item in value)
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {_rebuild(key, choices[0], where): _rebuild(item, choices[1], where) for key, item in value.items()}
    elif hint is Any or (origin is Literal and value in choices) or type(value) in _PLAIN.get(hint, ()):
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    raise InputError(f"{where} may not be {shortened(repr(value), 100)}; was the file edited?")
