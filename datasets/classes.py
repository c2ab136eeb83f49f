"""Classes that files and command lines may name: those of our packages and of packages that GNOMON_PLUGINS allows."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    there: dict[str, Any] = {}
    try:
        there = vars(importlib.import_module(module))
        cls = there[name]
    except ModuleNotFoundError as error:
        if error.name and not text.startswith(error.name):  # a package that the module itself needs
            raise
        raise InputError(f"There is no class '{shortened(text)}'; is it misspelt, or of another version?") from None
    except KeyError:
        close = difflib.get_close_matches(name, [known for known, value in there.items() if isinstance(value, type)], 1)
        meant = f"did you mean '{module}.{close[0]}'?" if close else "is it misspelt, or of another version?"
        raise InputError(f"There is no class '{shortened(text)}'; {meant}") from None
    if not isinstance(cls, type) or cls.__module__.split(".")[0] not in packages():
        raise InputError(f"'{shortened(text)}' is no class that is defined in {', '.join(packages())}.")
    if not issubclass(cls, kind):
        raise InputError(f"'{shortened(text)}' is no {kind.__name__}.")
    return cls


def classes_of(kind: type) -> list[str]:
    """Class paths of the dataclasses without abstract methods that derive from a class, in its package and those of
    GNOMON_PLUGINS, sorted. They are found in the source by the names of their bases, since importing it takes long."""
    found, bases = dict[str, ast.ClassDef](), dict[str, ast.ClassDef]()
    for package in dict.fromkeys((kind.__module__.split(".")[0], *packages()[len(PACKAGES) :])):
        spec = importlib.util.find_spec(package)
        folder = Path(next(iter((spec and spec.submodule_search_locations) or ()), os.devnull))
        for file in folder.rglob("*.py"):
            module = ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    found[f"{module}.{node.name}"] = bases[node.name] = node

    def family(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        yield node
        for name in _names(node.bases) - {node.name}:
            yield from family(bases[name]) if name in bases else ()

    def usable(node: ast.ClassDef) -> bool:
        known = list(family(node))
        methods = [part for one in known for part in one.body if isinstance(part, ast.FunctionDef)]
        abstract = {part.name for part in methods if "abstractmethod" in _names(part.decorator_list)}
        missing = abstract - {part.name for part in methods if "abstractmethod" not in _names(part.decorator_list)}
        is_kind = any(base.name == kind.__name__ for base in known[1:])
        return is_kind and not missing and "dataclass" in _names(node.decorator_list)

    return sorted(path for path, node in found.items() if not node.name.startswith("_") and usable(node))


def _names(expressions: Sequence[ast.expr]) -> set[str]:
    """Last names of expressions such as `Base`, `module.Base`, `Base[T]` and `dataclass(frozen=True)`."""
    found = set()
    for node in expressions:
        while isinstance(node, ast.Subscript | ast.Call):
            node = node.value if isinstance(node, ast.Subscript) else node.func
        found |= {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
    return found


def described_in(tree: Any) -> Iterator[dict[str, Any]]:
    """All mappings with a class path in a tree of plain containers."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        yield from described_in(value)
    if isinstance(tree, dict) and "class_path" in tree:
        yield tree


def named_in(tree: Any) -> Iterator[object]:
    """All class paths in a tree of plain containers."""
    return (described["class_path"] for described in described_in(tree))
