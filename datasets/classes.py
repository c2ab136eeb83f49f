"""Classes that files and command lines may name: those of our packages and of packages that GNOMON_PLUGINS allows."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any, TypeVar

from datasets.architectures import InputError
from datasets.files.reading import shortened

PACKAGES = ("datasets", "encoders", "predictors", "measure", "search")
"""Packages whose classes may be named; the environment variable GNOMON_PLUGINS adds others, separated by commas."""

T = TypeVar("T")


def packages() -> tuple[str, ...]:
    """Names of the packages whose classes may be named.

    Raises:
        InputError: GNOMON_PLUGINS does not list names of packages.
    """
    added = [name.strip() for name in os.environ.get("GNOMON_PLUGINS", "").split(",") if name.strip()]
    if wrong := [name for name in added if not name.isidentifier()]:
        raise InputError(
            f"GNOMON_PLUGINS lists packages by their names, as mine,ours; '{shortened(wrong[0])}' is none."
        )
    return (*PACKAGES, *added)


def check_path(path: object) -> str:
    """Check, without importing anything, that a class path may be imported, and return it.

    Raises:
        InputError: it is no dotted path, is of another package, or has a private part (`__main__` is a program).
    """
    parts = path.split(".") if isinstance(path, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise InputError(f"'{shortened(path)}' is no class path; write for example predictors.gcn.GCN.")
    if parts[0] not in packages() or any(part.startswith("_") for part in parts):
        raise InputError(
            f"'{shortened(path)}' is not a class of Gnomon; only classes of {', '.join(packages())} may be named "
            "(GNOMON_PLUGINS=mypackage allows another package)."
        )
    return ".".join(parts)


def class_named(path: object, kind: type[T]) -> type[T]:
    """The class of a class path.

    Args:
        path: `package.module.Class`.
        kind: required base class.

    Raises:
        InputError: `check_path` refuses it, there is no such class, or it is of another kind.
    """
    text = check_path(path)
    module, _, name = text.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and not text.startswith(error.name):  # a package that the module itself needs
            raise
        raise InputError(f"There is no class '{shortened(text)}'; is it misspelt, or of another version?") from None
    except AttributeError:
        raise InputError(f"There is no class '{shortened(text)}'; is it misspelt, or of another version?") from None
    if not isinstance(cls, type) or cls.__module__.split(".")[0] not in packages():
        raise InputError(f"'{shortened(text)}' is no class that is defined in {', '.join(packages())}.")
    if not issubclass(cls, kind):
        raise InputError(f"'{shortened(text)}' is no {kind.__name__}.")
    return cls


def described_in(tree: Any) -> Iterator[dict[str, Any]]:
    """All mappings with a class path in a tree of plain containers."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        yield from described_in(value)
    if isinstance(tree, dict) and "class_path" in tree:
        yield tree


def named_in(tree: Any) -> Iterator[object]:
    """All class paths in a tree of plain containers."""
    return (described["class_path"] for described in described_in(tree))
