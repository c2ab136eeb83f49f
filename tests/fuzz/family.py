"""What a kind of input has to say to be fuzzed, and all that do."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

Files = dict[str, bytes]
"""An input: contents by file names, one for most kinds, several for a folder."""

Command = list[str]
"""A command line without `python` and `-m`: a package or train.py first."""


@dataclass(frozen=True)
class Family:
    """A kind of input.

    Attributes:
        name: of the family; a case is reproduced by it, a seed and a number.
        make: valid inputs; the folder is for what commands need beside them, and stays from call to call.
        mutate: damages an input.
        attack: a command line that reads the input; the paths are the folder of the input, which is the working folder
            too, and that of `make`. `@NAME` in an argument stands for the text of a file of the input.
        share: of the cases, relative to other families; less than 1 where commands are slow.
        rewrites: names of the input's files that the command may replace.
    """

    name: str
    make: Callable[[Path], Sequence[Files]]
    mutate: Callable[[Files, Random], Files]
    attack: Callable[[Path, Path, Random], Command]
    share: float = 1.0
    rewrites: tuple[str, ...] = ()


def families() -> dict[str, Family]:
    """Every family, by its name: those in `FAMILIES` of a module in `tests/fuzz/families`."""
    package = importlib.import_module("tests.fuzz.families")
    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return {family.name: family for module in modules for family in module.FAMILIES}


def one_file(change: Callable[[bytes, Random], bytes]) -> Callable[[Files, Random], Files]:
    """A mutation of one file of the input, drawn at random."""

    def mutate(files: Files, rng: Random) -> Files:
        name = rng.choice(sorted(files))
        return {**files, name: change(files[name], rng)}

    return mutate


def any_of(*changes: Callable) -> Callable:
    """One of several mutations, drawn at random."""
    return lambda content, rng: rng.choice(changes)(content, rng)
