"""A search space of one's own: named decisions, and a function that builds a torch module from them."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from datasets.blocks.decisions import NamedDecisions, Value, check_columns, choices_of, columns_of, value_of
from datasets.classes import PACKAGES, check_path, packages
from datasets.files.reading import shortened
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

EXAMPLE = "datasets.spaces.built.example"
"""Path of the builder of the default space; all others are of other packages."""
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

    builder: str = EXAMPLE
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

    def check_networks(self) -> Built:
        """Import the builder, and return the space.

        Raises:
            InputError: the builder may not be imported, or takes other arguments.
        """
        builder = _builder(self.builder)
        try:
            inspect.signature(builder).bind(**dict.fromkeys(self.decisions))
        except TypeError as error:
            taken = ", ".join(self.decisions)
            raise InputError(f"{self.builder} does not take the decisions {taken} ({error}).") from None
        return self

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
        space.check_networks()
        module = _called(space, dict(row.ops[0].attrs))
    name = f"The module of {shortened(key, 200)}"
    network = read_module(module, torch.zeros(BATCH, *space.input), name)
    if any(op.attrs.get("whole") for op in network.ops):  # an op over all samples: its sizes are those of one batch
        return replace(read_module(module, torch.zeros(1, *space.input), name), space=str(space), key=key)
    return replace(network, space=str(space), key=key, batch=None)


def _builder(path: str) -> Callable[..., Any]:
    """The function of a path, of a package that GNOMON_PLUGINS names: a file must not choose among functions of ours.

    Raises:
        InputError: its package is not allowed, or there is no such function in it.
    """
    if path == EXAMPLE:
        return example
    package = path.partition(".")[0]
    if package not in packages()[len(PACKAGES) :]:
        raise InputError(
            f"Networks of this space are built by {shortened(path)}; set GNOMON_PLUGINS={package} to allow the code of "
            "that package."
        )
    module, _, name = check_path(path).rpartition(".")
    with _own_code(path):
        found = getattr(importlib.import_module(module), name)
    if not callable(found) or getattr(found, "__module__", "").partition(".")[0] != package:
        raise InputError(f"{shortened(path)} is no function that its package defines; name one that builds a module.")
    return found


def _called(space: Built, arguments: Mapping[str, Any]) -> nn.Module:
    """What the builder returns for decisions."""
    from torch import nn

    builder = _builder(space.builder)
    with _own_code(f"{space.builder}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"):
        module = builder(**arguments)
    if not isinstance(module, nn.Module):
        raise InputError(f"{space.builder} returned a {type(module).__name__}, not a torch.nn.Module.")
    return module


@contextmanager
def _own_code(what: str) -> Iterator[None]:
    """Turn errors of a person's own code, which `what` names, into an `InputError`."""
    try:
        yield
    except Exception as error:
        why = shortened(" ".join(str(error).split()) or type(error).__name__)
        raise InputError(f"{shortened(what)} fails ({type(error).__name__}: {why}); mend its code.") from error
