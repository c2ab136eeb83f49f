"""What backends give: a `Session` of a network, and what it is made of and checked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from datasets.networks.model import Model
from measure.outputs import Expected


class Session(Protocol):
    """A loaded network; its latency is the time that `run` takes.

    Each method returns when its work is done, also on an accelerator, and may be called repeatedly: one `bind`
    serves many runs, one `run` many fetches.
    """

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        """Copy all inputs in, in the order, the layout and the types of the artefact."""

    def run(self) -> None:
        """Execute once, to the end."""

    def fetch(self) -> list[np.ndarray]:
        """Copy all outputs of the last run out, in the order of the artefact."""


@dataclass(frozen=True)
class Built:
    """A network that a session can load, on this machine or another.

    Attributes:
        artefact: the file that a backend's `build` wrote, or the network's own file.
        inputs: values of all inputs, as `Session.bind` takes them.
        expected: the network's outputs for them.
        own: whether the artefact is the network's own file.
        notes: sentences about what runs, which belong into the row.
    """

    artefact: Path
    inputs: list[np.ndarray]
    expected: Expected
    own: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is to be run of a network.

    Attributes:
        model: what `build` gets.
        inputs, expected, notes: those of `Built`.
        own: the network's own file if that is run as it is, and nothing is built.
    """

    model: Model
    inputs: list[np.ndarray]
    expected: Expected
    own: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A session whose outputs were checked.

    Attributes:
        session: with bound inputs.
        inputs: these inputs.
        init_ms, init_cpu_ms: wall and CPU time of `load`.
        first_ms: wall time of the first run.
        notes: sentences about what runs and what could not be compared, which belong into the row.
        again: further sessions of the network, with the same inputs.
    """

    session: Session
    inputs: list[np.ndarray]
    init_ms: float
    init_cpu_ms: float
    first_ms: float
    notes: tuple[str, ...] = ()
    again: tuple[Session, ...] = ()


Shapes = Sequence[tuple[int, ...]]
"""Shapes of all inputs of an artefact."""


class Kernel(NamedTuple):
    """One kernel of one run: name, kind, start (us since the run began), wall and CPU time (us)."""

    name: str
    kind: str
    start_us: float
    duration_us: float
    cpu_us: float = float("nan")
