"""Verbs of `python -m gnomon` that commands of other packages carry out."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from itertools import takewhile
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verb:
    """A verb, and the command that carries it out.

    Args:
        name: first word after `python -m gnomon`.
        help: one line on what it does.
        usage: words that follow it.
        module: module that is run as a program.
        words: words of its command line, from those after the verb.
    """

    name: str
    help: str
    usage: str
    module: str
    words: Callable[[list[str]], list[str]]

    def run(self, words: list[str]) -> None:
        """Run the command in this process, as `python -m MODULE WORDS` would."""
        if {"-h", "--help"} & {*words}:
            print(f"{self.help} `python -m gnomon {self.name} {self.usage}` runs this command:\n")
        sys.argv = [self.module, *self.words(words)]
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def _priced(words: list[str]) -> list[str]:
    """Words of `predict`: those before the first flag are networks, and a file .pt among them is a predictor."""
    files = list(takewhile(lambda word: not word.startswith("-"), words))
    networks = [word for word in files if not word.endswith(".pt")]
    predictors = [word for word in files if word.endswith(".pt")]
    return ["predict", *predictors, *(["--network", *networks] if networks else []), *words[len(files) :]]


def _measured(words: list[str]) -> list[str]:
    """Words of `python -m measure`: its commands keep their names; `run` is the default, also of files and networks."""
    files = list(takewhile(lambda word: not word.startswith("-"), words))
    if files and not any(sign in files[0] for sign in ".:/"):
        return words
    return ["run", *(["--onnx", ",".join(files)] if files else []), *words[len(files) :]]


def _by_the_pricer(command: str) -> Callable[[list[str]], list[str]]:
    """Words of a command whose predictor is the one of the repository, unless a file is named first."""

    def words(given: list[str]) -> list[str]:
        from predictors.networks.shipped import PRICER

        if (given[:1] and not given[0].startswith("-")) or {"-h", "--help"} & {*given}:
            return [command, *given]
        return [command, str(PRICER), *given]

    return words


VERBS = (
    Verb(
        "price",
        "Predict what networks cost on a device, layer by layer; with --all or --under on all (`price --help --all`).",
        "[PREDICTOR.pt] FILE|SPACE:ARCHITECTURE... [flags]",
        "predictors",
        _priced,
    ),
    Verb(
        "measure",
        "Measure networks on this machine or another one.",
        "[FILE|SPACE:ARCHITECTURE...] [flags]",
        "measure",
        _measured,
    ),
    Verb(
        "choose",
        "Choose networks to measure on a new device.",
        "[PREDICTOR.pt] [flags]",
        "predictors",
        _by_the_pricer("choose"),
    ),
    Verb(
        "adapt",
        "Adapt a predictor to a device by a few measurements.",
        "[PREDICTOR.pt] --measurements FILE [flags]",
        "predictors",
        _by_the_pricer("adapt"),
    ),
    Verb("train", "Train a predictor on measurements and score it.", "[flags]", "train", list),
)


def version() -> str:
    """The version that pyproject.toml states."""
    import tomllib

    return str(tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"])


def of_all_devices(words: list[str]) -> bool:
    """Whether words of a command line price a network on all devices (`commands.price`), not on a single one."""
    return words[:1] == ["price"] and any(word.partition("=")[0] in ("--all", "--under") for word in words)


def overview(own: list[Callable[..., Any]]) -> str:
    """The help of `python -m gnomon`: every verb with a line on what it does.

    Args:
        own: functions of the commands of this package.
    """
    lines = {verb.name: verb.help for verb in VERBS}
    lines = {command.__name__: (getdoc(command) or "").partition("\n")[0] for command in own} | lines
    width = max(map(len, lines))
    listed = "\n".join(f"  {name:{width}}  {line}" for name, line in lines.items())
    return (
        f"usage: python -m gnomon VERB ...\n\nPredict how long a neural network takes on a device.\n\n{listed}\n\n"
        + (
            "`python -m gnomon VERB --help` explains its flags, and `--version` prints the version. More commands are\n"
            "those of `python -m` datasets, predictors, measure and search."
        )
    )
