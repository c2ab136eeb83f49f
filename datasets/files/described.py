"""Objects described in files: mappings as dataclasses, with values checked against the type hints of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from inspect import isabstract
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from datasets.architectures import InputError
from datasets.classes import class_named
from datasets.files.reading import listed, shortened

T = TypeVar("T")

_PLAIN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
"""Types of values that plain type hints accept; a bool is no number."""


def from_config(tree: Mapping[str, Any], kind: type[T]) -> T:
    """The object that `{class_path, init_args}` describes, with nested objects.

    Args:
        tree: the configuration.
        kind: required base class.

    Raises:
        InputError: a class outside of our packages, an unknown class or field, or a value of the wrong kind.
    """
    if not isinstance(tree, Mapping) or set(tree) - {"class_path", "init_args"} or "class_path" not in tree:
        raise InputError(f"'{shortened(tree)}' describes no {kind.__name__}: it needs class_path and init_args.")
    cls = class_named(tree["class_path"], kind)
    if not is_dataclass(cls) or isabstract(cls):
        raise InputError(f"'{shortened(tree['class_path'])}' is no {kind.__name__} that a file may describe.")
    given = tree.get("init_args")
    return cast(T, from_fields({} if given is None else given, cls, cls.__name__))


def from_fields(given: Any, cls: type[T], where: str) -> T:
    """A dataclass from a mapping of its fields to values.

    Args:
        given: the mapping.
        cls: the dataclass.
        where: name of the mapping in the sentence of an `InputError`.

    Raises:
        InputError: it is no mapping, lacks a field, has an unknown one, or a value does not fit its type hint.
    """
    known = {f.name: f for f in fields(cast(Any, cls)) if f.init}
    if not isinstance(given, Mapping):
        raise InputError(f"{where} needs fields of {listed(list(known), 20)}, not '{shortened(given, 100)}'.")
    if unknown := [name for name in given if name not in known]:
        raise InputError(
            f"{where} has no field '{shortened(unknown[0], 100)}'; its fields are {listed(list(known), 20)}."
        )
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in given:
            raise InputError(f"{where} needs the field '{name}'.")
    hints = get_type_hints(cls)
    return cls(**{name: fitting(value, hints[name], f"{where}: field '{name}'") for name, value in given.items()})


def fitting(value: Any, hint: Any, where: str) -> Any:
    """A value of plain containers, checked against a type hint; lists become tuples.

    Raises:
        InputError: it does not fit.
    """
    origin, choices = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in choices:
            return None
        for choice in choices:
            with suppress(InputError):
                return fitting(value, choice, where)
    elif hint is Any or (origin is Literal and value in choices) or type(value) in _PLAIN.get(hint, ()):
        return value
    elif isinstance(value, Mapping) and isinstance(hint, type) and origin is None:
        if "class_path" in value:
            return from_config(value, hint)
        if is_dataclass(hint):
            return from_fields(value, hint, where)
    elif origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return tuple(fitting(item, choices[0], where) for item in value)
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {fitting(key, choices[0], where): fitting(item, choices[1], where) for key, item in value.items()}
    elif hint is Path and isinstance(value, str):
        return Path(value)
    raise InputError(f"{where} may not be {shortened(repr(value), 100)}.")
