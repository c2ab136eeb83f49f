"""Runtimes that execute networks on this host, one file each; the module's name is the backend's name."""

from __future__ import annotations

import importlib

from datasets.records import InputError
from measure.base import Backend


def parse_backend(text: str, host: str) -> Backend:
    """The backend whose text form this is: `ort`, `ort:int8` or `ort:int8:16` (name, precision, batch).

    Raises:
        InputError: the module, the precision or the batch is unknown, or its package is not installed.
    """
    name, precision, batch, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if rest or not name.isidentifier() or not (batch or "1").isdigit():
        raise InputError(f"'{text}' does not name a backend; write name:precision:batch, like ort or ort:int8:16.")
    try:
        module = importlib.import_module(f"measure.backends.{name}")
    except ModuleNotFoundError as error:
        raise InputError(f"There is no backend '{name}': no file measure/backends/{name}.py.") from error
    (cls,) = (c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Backend) and c is not Backend)
    return cls(precision=precision or "fp32", batch=int(batch or 1), host=host)
