"""Search spaces, one file each; the module's name is the space's name."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields, is_dataclass

from datasets.networks.collection import AnyNetwork
from datasets.records import InputError, Space


def parse_space(text: str) -> Space:
    """The space whose text form this is: `nasbench201` or `nasbench201(channels=16,cells=5)`.

    Raises:
        InputError: the module, a parameter or a value is unknown.
    """
    if text == str(AnyNetwork()):
        return AnyNetwork()
    match = re.fullmatch(r"(\w+)(?:\(([\w=,]*)\))?", text)
    if match is None:
        raise InputError(f"'{text}' does not name a space; write for example nasbench201 or nasbench201(cells=1).")
    name, arguments = match.groups()
    try:
        module = importlib.import_module(f"datasets.spaces.{name}")
    except ModuleNotFoundError as error:
        raise InputError(f"There is no space '{name}': no file datasets/spaces/{name}.py.") from error
    own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    (cls,) = (c for c in own if issubclass(c, Space) and is_dataclass(c))
    known = {f.name for f in fields(cls)}
    values = dict(pair.split("=", 1) for pair in (arguments or "").split(",") if "=" in pair)
    if unknown := set(values) - known:
        raise InputError(f"Space '{name}' has no parameter {sorted(unknown)}; it has {sorted(known)}.")
    try:
        numbers = {key: int(value) for key, value in values.items()}
    except ValueError as error:
        raise InputError(f"'{text}': parameters of a space are whole numbers.") from error
    return cls(**numbers)
