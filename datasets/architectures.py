"""Architectures and the spaces they belong to; everybody imports them from `datasets.records`, the whole vocabulary."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from datasets.networks.network import Network


class InputError(Exception):
    """A fault in what the user gave us; its text is the one sentence that the user sees, and says what to do.

    No ValueError: what guards against damaged files must not swallow the sentence that a file is missing.
    """


@dataclass(frozen=True, slots=True)
class Op:
    """One operation; `attrs` holds what its kind needs (in a network: its output `shape`, kernel, stride, ...)."""

    kind: str
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A point of a search space, as a directed acyclic graph of ops without sizes, in topological order.

    `Space.expand` gives the whole network that it stands for.

    Attributes:
        space: text form of the space it belongs to.
        key: its text form within that space.
        ops: the nodes; every edge goes from a lower to a higher index.
        edges: (source, target, port): the output of `source` is input number `port` of `target`.
    """

    space: str
    key: str
    ops: tuple[Op, ...]
    edges: tuple[tuple[int, int, int], ...]

    def sources(self) -> list[list[int]]:
        """The sources of every op, in the order of their ports."""
        return ordered_sources(len(self.ops), self.edges)


def ordered_sources(size: int, edges: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """The sources of each of `size` nodes, in the order of their ports, from edges (source, target, port)."""
    sources: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for source, target, port in edges:
        sources[target].append((port, source))
    return [[source for _, source in sorted(ports)] for ports in sources]


MOST_CHARACTERS = 2000
"""Longest text of an architecture; the longest of ours have 300 characters."""


def texts(keys: Sequence[str]) -> Sequence[str]:
    """Texts of architectures; raises `InputError` where one is no text, or longer than `MOST_CHARACTERS`."""
    for key in keys:
        if not isinstance(key, str):
            raise InputError(f"An architecture is written as text, not as a {type(key).__name__}; look at its table.")
        if len(key) > MOST_CHARACTERS:
            raise InputError(f"'{key[:100]}...' is no architecture: it has {len(key):,} characters.")
    return keys


class Space(ABC):
    """A codec between texts, integer decisions and graphs; it knows the skeleton that cells are stacked in.

    `str(space)` is its text form (it stands in the `space` column of every row) and `datasets.spaces.parse_space`
    reads it back. Spaces compare by value.
    """

    num_choices: ClassVar[tuple[int, ...]]
    """How many values each decision takes."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Names of the node kinds of `graph`."""

    @classmethod
    def examples(cls) -> list[Self]:
        """What the contract tests try."""
        return [cls()]

    @abstractmethod
    def __str__(self) -> str:
        """The space's text form, which `datasets.spaces.parse_space` reads back."""

    @abstractmethod
    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read texts; a malformed one raises `InputError`."""

    @abstractmethod
    def format(self, archs: Architectures) -> list[str]:
        """Texts that `parse` reads back to the same decisions."""

    @abstractmethod
    def canonical(self, archs: Architectures) -> list[str]:
        """Texts that are equal where two architectures do the same work on paths that reach the output."""

    @abstractmethod
    def connected(self, archs: Architectures) -> np.ndarray:
        """Whether a path of ops leads from input to output [A]; without one the output is a constant."""

    def live(self, archs: Architectures) -> Architectures:
        """These architectures without what no path from input to output visits, which compilers leave out."""
        return archs

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Unsized cell graphs with ops on nodes: kinds [A, N] (indices into `kinds`), adjacency [A, N, N] (bool,
        row = source). A space whose architectures differ in sizes only has none, and raises `InputError`."""
        if self.kinds:
            raise NotImplementedError(f"{type(self).__name__} names kinds of nodes, so it needs the method graph.")
        raise InputError(f"{self} has no graphs that differ; choose an encoder or a predictor that reads no graph.")

    @abstractmethod
    def expand(self, arch: Architecture) -> Network:
        """The whole network with the shape of every op, batch dimension left out."""

    def block(self, arch: Architecture) -> Network:
        """The cell alone as a shaped network, with the input it has where it stands first in the whole network."""
        raise InputError(f"{self} is not made of one cell that is stacked, so it has no block; use the whole network.")

    @abstractmethod
    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Physical totals of the expanded networks, the columns of `networks.analysis.totals`: at batch 1, or at the
        batch that the network fixes."""

    @abstractmethod
    def architecture(self, decisions: np.ndarray) -> Architecture:
        """The `Architecture` view of one row of decisions."""

    def valid(self, decisions: np.ndarray) -> np.ndarray:
        """Which rows of decisions in range [A, n] are architectures [A]: all, unless decisions depend on each other."""
        return np.ones(len(decisions), dtype=bool)

    def repair(self, decisions: np.ndarray) -> np.ndarray:
        """Decisions [A, n] of architectures, near any others in range: for optimizers that take decisions for free."""
        return decisions

    def feasible(self, archs: Architectures) -> np.ndarray:
        """Whether a network can exist and keeps the space's own limits [A]. Where that is not always so, `sample` gives
        such ones only; `mutate` and `neighbours` do everywhere."""
        return np.ones(len(archs), dtype=bool)

    def all(self) -> Architectures:
        """Every architecture of the space, last decision fastest; a space too large to list raises `InputError`."""
        if (size := math.prod(self.num_choices)) > 10_000_000:
            raise InputError(f"{self} has {size:.0e} architectures, too many to list: sample some.")
        grids: tuple[np.ndarray, ...] = np.meshgrid(
            *[np.arange(n, dtype=_dtype(self)) for n in self.num_choices], indexing="ij"
        )
        return Architectures(self, np.stack([g.ravel() for g in grids], axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` architectures, each decision drawn uniformly (repeats are possible)."""
        dtype = _dtype(self)
        return Architectures(self, rng.integers(0, self.num_choices, (n, len(self.num_choices)), dtype=dtype))

    def mutate(self, archs: Architectures, rng: np.random.Generator) -> Architectures:
        """Each architecture with one decision, chosen at random, changed to another value."""
        decisions = archs.decisions.copy()
        rows = np.arange(len(archs))
        while len(rows):
            columns = rng.integers(0, len(self.num_choices), len(rows))
            choices = np.asarray(self.num_choices)[columns]
            shift = rng.integers(1, choices)  # never 0: something must change
            decisions[rows] = archs.decisions[rows]
            decisions[rows, columns] = (decisions[rows, columns] + shift) % choices
            rows = rows[~self.feasible(Architectures(self, decisions[rows]))]
        return Architectures(self, decisions)

    def neighbours(self, arch: Architectures) -> Architectures:
        """All architectures that differ from the only one of `arch` in exactly one decision."""
        (row,) = arch.decisions
        rows = []
        for i, choices in enumerate(self.num_choices):
            others = [value for value in range(choices) if value != row[i]]
            block = np.repeat(row[None], len(others), axis=0)
            block[:, i] = others
            rows.append(block)
        near = Architectures(self, np.concatenate(rows))
        return near[np.flatnonzero(self.feasible(near))]


def _dtype(space: Space) -> type:
    return np.int8 if max(space.num_choices) <= 127 else np.int32


class Architectures(Sequence[Architecture]):
    """Many architectures of one space as integer decisions [A, n]; items are views made only when asked for."""

    def __init__(self, space: Space, decisions: np.ndarray) -> None:
        choices = np.asarray(space.num_choices)
        decisions = np.array(decisions, dtype=_dtype(space))
        if decisions.ndim != 2 or decisions.shape[1] != len(choices):
            raise InputError(f"{space} takes {len(choices)} decisions a row, not an array of shape {decisions.shape}.")
        if ((decisions < 0) | (decisions >= choices)).any():
            raise InputError(f"A decision is out of range: {space} has {tuple(choices.tolist())} choices.")
        if not (valid := space.valid(decisions)).all():
            row = decisions[valid.argmin()].tolist()
            raise InputError(f"The decisions {row} are no architecture of {space}; let it parse, sample or mutate one.")
        decisions.setflags(write=False)
        self.space = space
        self.decisions = decisions

    def __len__(self) -> int:
        return len(self.decisions)

    @overload
    def __getitem__(self, index: int) -> Architecture: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int]) -> Architectures: ...
    def __getitem__(self, index: Any) -> Architecture | Architectures:
        if isinstance(index, int | np.integer):
            return self.space.architecture(self.decisions[index])
        return Architectures(self.space, self.decisions[index])

    def __iter__(self) -> Iterator[Architecture]:
        return (self.space.architecture(row) for row in self.decisions)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Architectures)
            and self.space == other.space
            and np.array_equal(self.decisions, other.decisions)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} architectures of {self.space}>"

    @property
    def keys(self) -> list[str]:
        """Their text forms."""
        return self.space.format(self)

    def positions(self, archs: Architectures) -> np.ndarray:
        """Where each of `archs` stands among these [len(archs)]; -1 where it does not. Decisions are compared and no
        skeletons: a cell of `nasbench201` is the same one in `nasbench201(cells=1)`."""
        return np.array([self._places.get(row.tobytes(), -1) for row in archs.decisions], dtype=int)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(self.decisions)}
