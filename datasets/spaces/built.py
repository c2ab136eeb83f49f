"""A search space of one's own: named decisions, and a function that builds a torch module from them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from datasets.blocks.decisions import NamedDecisions, Value, check_columns, choices_of, columns_of, value_of
from datasets.classes import packages
from datasets.files.reading import shortened
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

CACHED = 4096
"""Largest number of networks that are kept once they were exported."""
BATCH = 2
"""Samples with which modules are exported: 1 would not show which dimension is the batch."""


def example(depth: int, width: int, kernel: int) -> nn.Module:
    """A chain of convolutions and a classifier: the builder of the default space, and an example of one."""
    from torch import nn

    layers: list[nn.Module] = []
    for stage in range(depth):
        layers += [nn.Conv2d(width if stage else 3, width, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@dataclass(frozen=True)
class Built(NamedDecisions):
    """All networks that a function builds from decisions. The text form of the default is
    `built(builder=datasets.spaces.built.example,input=3x16x16,depth=1|2,width=8|16,kernel=1|3)`; an architecture is
    `depth=2,width=8,kernel=3`.

    The function is imported when a network is first needed, and only from a package that GNOMON_PLUGINS names. Modules
    are read by torch.export, each once in a process, and their networks have the same ops on every runtime.

    Attributes:
        builder: path of a function, `mypackage.module.function`, that takes the decisions as named arguments and
            returns a torch module.
        input: shape of one sample, without the batch.
        decisions: choices of each argument: numbers, texts, true or false.
    """

    builder: str = "datasets.spaces.built.example"
    input: tuple[int, ...] = (3, 16, 16)
    decisions: Mapping[str, tuple[Value, ...]] = field(
        default_factory=lambda: {"depth": (1, 2), "width": (8, 16), "kernel": (1, 3)}
    )
    noun: ClassVar[str] = "built network"

    def __post_init__(self) -> None:
        columns = choices_of(self.decisions)
        check_columns(columns, "A space of a builder")
        if bad := next((c.name for c in columns if not c.choices or not c.name.isidentifier()), ""):
            raise InputError(f"The decision '{shortened(bad, 60)}' needs choices, and the name of an argument.")
        if not self.input or not all(1 <= size <= 100_000 for size in self.input) or len(self.input) > 8:
            raise InputError(f"A sample has the shape {shortened(self.input)}; name one to eight sizes above zero.")
        if not re.fullmatch(r"\w+(\.\w+)+", self.builder):
            raise InputError(f"'{shortened(self.builder)}' is no path of a function; write mypackage.module.function.")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "decisions", {c.name: tuple(map(value_of, c.choices)) for c in columns})

    @staticmethod
    def of_text(text: str) -> Built:
        """The inverse of `str`; raises `InputError` where the text is malformed."""
        match = re.fullmatch(r"built\(builder=([\w.]{1,500}),input=(\d{1,6}(?:x\d{1,6})*),([^()]+)\)", text)
        try:
            if match is None:
                raise ValueError(text)
            columns = columns_of(match[3].split(","))
        except ValueError:
            raise InputError(
                f"'{shortened(text, 100)}' describes no space of a builder; write {Built()}, or the name of a .yaml."
            ) from None
        sizes = tuple(map(int, match[2].split("x")))
        return Built(match[1], sizes, {c.name: tuple(map(value_of, c.choices)) for c in columns})

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.input))
        return f"built(builder={self.builder},input={sizes},{','.join(map(str, self.columns))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Built) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def expand(self, arch: Architecture) -> Network:
        self.parse([arch.key])  # before code is run
        return _network(self, arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals of the networks, which are exported one by one."""
        import pandas as pd

        return pd.DataFrame([totals(self.expand(arch)) for arch in archs], columns=list(TOTALS))


@lru_cache(CACHED)
def _network(space: Built, key: str) -> Network:
    """The network of an architecture, by torch.export."""
    import torch

    from datasets.networks.torch_module import read_module

    (row,) = space.parse([key])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _called(space, _builder(space.builder), dict(row.ops[0].attrs))
    name = f"The module of {shortened(key, 200)}"
    network = read_module(module, torch.zeros(BATCH, *space.input), name)
    if any(op.attrs.get("whole") for op in network.ops):  # an op over all samples: its sizes are those of one batch
        return replace(read_module(module, torch.zeros(1, *space.input), name), space=str(space), key=key)
    return replace(network, space=str(space), key=key, batch=None)


def _builder(path: str) -> Callable[..., Any]:
    """The function of a path.

    Raises:
        InputError: its package is not allowed, or there is no such function.
    """
    module, _, name = path.rpartition(".")
    if path.split(".")[0] not in packages():
        raise InputError(
            f"Networks of this space are built by {shortened(path)}; set GNOMON_PLUGINS={path.split('.')[0]} to allow "
            "the code of that package."
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):  # a package that the module itself needs
            raise
        raise InputError(f"There is no module {shortened(module)} that builds networks; is it on PYTHONPATH?") from None
    except AttributeError:
        raise InputError(f"The module {shortened(module)} has no function {shortened(name)}.") from None
    if not callable(found):
        raise InputError(f"{shortened(path)} is no function that builds a torch module.")
    return found


def _called(space: Built, builder: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    """What a builder returns for decisions; errors of its code, which is a person's own, become sentences."""
    from torch import nn

    try:
        inspect.signature(builder).bind(**arguments)
    except TypeError as error:
        raise InputError(f"{space.builder} does not take the decisions {', '.join(arguments)} ({error}).") from None
    try:
        module = builder(**arguments)
    except Exception as error:
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        what = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise InputError(f"{space.builder}({what}) failed ({type(error).__name__}: {why}).") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{space.builder} returned a {type(module).__name__}, not a torch.nn.Module.")
    return module
