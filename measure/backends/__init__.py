"""Runtimes that execute networks; every `Backend` in a module of this package is discovered by its `runtime`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

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
    """Parse the text form of a backend: `ort`, `ort:int8` or `ort:int8:16` (name, precision, batch).

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
    name, precision, batch, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if rest or not name.isidentifier() or not re.fullmatch(r"[1-9][0-9]{0,8}", batch or "1"):
        raise InputError(
            f"'{shortened(text, 60)}' does not name a backend; write name:precision:batch, like ort or ort:int8:16."
        )
    if int(batch or 1) > MOST_BATCH:
        raise InputError(f"A batch of {batch} is larger than {MOST_BATCH:,}; name a smaller one.")
    classes = backend_classes()
    if name not in classes:
        raise InputError(f"There is no backend '{name}'; there are {', '.join(sorted(classes))}.")
    return classes[name](precision=precision or "fp32", batch=int(batch or 1), host=host or machine_name())
