"""Runtimes that execute networks; every `Backend` in a module of this package is discovered by its `runtime`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any, get_args, get_type_hints

from datasets.files.reading import shortened
from datasets.records import InputError
from measure.base import Backend
from measure.host import machine_name


def backend_classes() -> dict[str, type[Backend]]:
    """All backends by name, available here or not."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [cls for module in modules for cls in vars(module).values() if inspect.isclass(cls)]
    return {cls.runtime: cls for cls in found if issubclass(cls, Backend) and not inspect.isabstract(cls)}


MOST_BATCH = 4096
"""Largest batch of a backend."""


def parse_backend(text: str, host: str = "") -> Backend:
    """Parse the text form of a backend: `ort`, `ort:int8` or `ort:int8:16` (name, precision, batch), with settings in
    parentheses, `ort(optimization=basic):fp32`.

    Args:
        text: text form of the backend.
        host: name of the machine in device names; by default derived from this machine's processor.

    Raises:
        InputError: the name, the precision or the batch is unknown, or the backend cannot run here.
    """
    backend = named_backend(text, host)
    if reason := backend.unavailable():
        raise InputError(reason)
    return backend


def named_backend(text: str, host: str = "") -> Backend:
    """Parse the text form of a backend that need not be available here."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InputError(
            f"'{shortened(text, 60)}' does not name a backend; write name:precision:batch, like ort or ort:int8:16."
        )
    name, settings, precision, batch = match.groups()
    if int(batch or 1) > MOST_BATCH:
        raise InputError(f"A batch of {batch} is larger than {MOST_BATCH:,}; name a smaller one.")
    classes = backend_classes()
    if name not in classes:
        raise InputError(f"There is no backend '{name}'; there are {', '.join(sorted(classes))}.")
    cls, precision = classes[name], precision or "fp32"
    if precision not in cls.precisions:
        raise InputError(f"Backend {name} has no precision '{precision}'; it has {', '.join(cls.precisions)}.")
    options = _settings(cls, settings or "")
    return cls(precision=precision, batch=int(batch or 1), host=host or machine_name(), **options)


_TEXT = re.compile(r"([A-Za-z_]\w*)(?:\(([^()]*)\))?(?::(\w*)(?::([1-9][0-9]{0,8}|))?)?")


def split_backends(texts: str) -> list[str]:
    """The text forms of backends in a text that has commas between them."""
    return [text.strip() for text in re.split(r",(?![^()]*\))", texts)]


def _settings(cls: type[Backend], text: str) -> dict[str, Any]:
    """The settings in parentheses, `optimization=basic,execution=parallel`, of those in `options`."""
    hints, found = get_type_hints(cls), dict[str, Any]()
    values = {name: get_args(hints[name]) or ("false", "true") for name in cls.options}
    for entry in filter(None, text.split(",")):
        name, _, value = (part.strip() for part in entry.partition("="))
        if value not in values.get(name, ()):
            known = " and ".join(f"{option}={'|'.join(choices)}" for option, choices in values.items())
            has = f"it has {known}" if known else "it has none"
            raise InputError(f"Backend {cls.runtime} has no setting '{shortened(entry.strip(), 60)}'; {has}.")
        found[name] = value if get_args(hints[name]) else value == "true"
    return found
