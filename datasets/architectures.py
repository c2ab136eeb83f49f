"""Architectures and their search spaces; other packages import them from `datasets.records`."""

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
    """A fault in the user's input; its text is the single sentence that the user sees, and states a remedy.

    It is no ValueError, so that handlers of damaged files do not catch the sentence about a missing file.
    """


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Attributes:
        kind: what it computes.
        attrs: attributes of its kind (in a network: output `shape`, kernel, stride, ...).
        name: its name in the file that it was read from, for reports; '' if there is none. Ops that differ only by it
            are equal, and no key or JSON form contains it.
    """

    kind: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A point of a search space, as a directed acyclic graph of ops without sizes, in topological order.

    `Space.expand` gives its whole network.

    Attributes:
        space: text form of its space.
        key: its text form within the space.
        ops: the nodes; every edge goes from a lower to a higher index.
        edges: (source, target, port): the output of `source` is input number `port` of `target`.
    """

    space: str
    key: str
    ops: tuple[Op, ...]
    edges: tuple[tuple[int, int, int], ...]

    def sources(self) -> list[list[int]]:
        """Sources of each op, in the order of their ports."""
        return ordered_sources(len(self.ops), self.edges)


def ordered_sources(size: int, edges: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """Sources of `size` nodes, in the order of their ports, from edges (source, target, port)."""
    sources: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for source, target, port in edges:
        sources[target].append((port, source))
    return [[source for _, source in sorted(ports)] for ports in sources]


MOST_CHARACTERS = 2000
"""Longest text of an architecture; the longest of ours have 300 characters."""


def texts(keys: Sequence[str]) -> Sequence[str]:
    """Check texts of architectures and return them.

    Raises:
        InputError: an item is no text, or is longer than `MOST_CHARACTERS`.
    """
    for key in keys:
        if not isinstance(key, str):
            raise InputError(f"An architecture is written as text, not as a {type(key).__name__}; look at its table.")
        if len(key) > MOST_CHARACTERS:
            raise InputError(f"'{key[:100]}...' is no architecture: it has {len(key):,} characters.")
    return keys


class Space(ABC):
    """A codec between texts, integer decisions and graphs, with the skeleton in which cells are stacked.

    `str(space)` is its text form (the column `space` of tables), which `datasets.spaces.parse_space` reads. Spaces
    compare by value.
    """

    num_choices: ClassVar[tuple[int, ...]]
    """Number of values of each decision."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Names of the node kinds of `graph`."""
    own_choices: ClassVar[bool] = False
    """Whether equal decisions mean other things in another space of the class."""

    @classmethod
    def examples(cls) -> list[Self]:
        """What the contract tests try."""
        return [cls()]

    @abstractmethod
    def __str__(self) -> str:
        """The space's text form, which `datasets.spaces.parse_space` reads back."""

    @abstractmethod
    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read texts of architectures.

        Raises:
            InputError: a text is malformed.
        """

    @abstractmethod
    def format(self, archs: Architectures) -> list[str]:
        """Texts of architectures, the inverse of `parse`."""

    @abstractmethod
    def canonical(self, archs: Architectures) -> list[str]:
        """Texts that are equal if architectures do the same work on paths that reach the output."""

    @abstractmethod
    def connected(self, archs: Architectures) -> np.ndarray:
        """Whether ops lead from input to output [A]; otherwise the output is a constant."""

    def live(self, archs: Architectures) -> Architectures:
        """The architectures without nodes on no path from input to output, which compilers remove."""
        return archs

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Cell graphs without sizes, with ops on nodes: kinds [A, N] (indices into `kinds`) and adjacency [A, N, N]
        (bool, row = source).

        Raises:
            InputError: the space's architectures differ in sizes alone, so they have no graphs.
        """
        if self.kinds:
            raise NotImplementedError(f"{type(self).__name__} names kinds of nodes, so it needs the method graph.")
        raise InputError(f"{self} has no graphs that differ; choose an encoder or a predictor that reads no graph.")

    @abstractmethod
    def expand(self, arch: Architecture) -> Network:
        """The whole network with the output shape of each op, without the batch dimension."""

    def check_networks(self) -> Self:
        """Return the space; raise `InputError` where its architectures are no networks or cannot be built."""
        return self

    def block(self, arch: Architecture) -> Network:
        """The cell alone as a network, with the input of the first cell of the whole network.

        Raises:
            InputError: the space has no cell.
        """
        raise InputError(f"{self} is not made of one cell that is stacked, so it has no block; use the whole network.")

    @abstractmethod
    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Physical totals of expanded networks (`networks.analysis.totals`), for batch 1 or a network's fixed batch."""

    @abstractmethod
    def architecture(self, decisions: np.ndarray) -> Architecture:
        """The `Architecture` view of one row of decisions."""

    def valid(self, decisions: np.ndarray) -> np.ndarray:
        """Whether rows of decisions in range [A, n] are architectures [A]: all, unless they depend on each other."""
        return np.ones(len(decisions), dtype=bool)

    def repair(self, decisions: np.ndarray) -> np.ndarray:
        """Valid decisions [A, n] near any decisions in range, for optimizers that treat decisions as independent."""
        return decisions

    def feasible(self, archs: Architectures) -> np.ndarray:
        """Whether a network exists and is within the space's limits [A]; `sample`, `mutate` and `neighbours` give
        feasible architectures only."""
        return np.ones(len(archs), dtype=bool)

    def all(self) -> Architectures:
        """All architectures of the space, with the last decision fastest.

        Raises:
            InputError: there are more than 10,000,000.
        """
        if (size := math.prod(self.num_choices)) > 10_000_000:
            raise InputError(f"{self} has {size:.0e} architectures, too many to list: sample some.")
        grids: tuple[np.ndarray, ...] = np.meshgrid(
            *[np.arange(n, dtype=_dtype(self)) for n in self.num_choices], indexing="ij"
        )
        return Architectures(self, np.stack([g.ravel() for g in grids], axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` architectures, each decision drawn uniformly (repeats are possible)."""
        shape = n, len(self.num_choices)
        return Architectures(self, rng.integers(0, self.num_choices, shape, dtype=_dtype(self)))

    def mutate(self, archs: Architectures, rng: np.random.Generator) -> Architectures:
        """Each architecture with one decision, chosen at random, changed to another value."""
        decisions, rows = archs.decisions.copy(), np.arange(len(archs))
        while len(rows):
            columns = rng.integers(0, len(self.num_choices), len(rows))
            shift = rng.integers(1, choices := np.asarray(self.num_choices)[columns])  # never 0: the decision changes
            decisions[rows] = archs.decisions[rows]
            decisions[rows, columns] = (decisions[rows, columns] + shift) % choices
            rows = rows[~self.feasible(Architectures(self, decisions[rows]))]
        return Architectures(self, decisions)

    def neighbours(self, arch: Architectures) -> Architectures:
        """All feasible architectures that differ from a single one in exactly one decision."""
        (row,) = arch.decisions
        rows = []
        for i, choices in enumerate(self.num_choices):
            others = [value for value in range(choices) if value != row[i]]
            block = np.repeat(row[None], len(others), axis=0)
            block[:, i] = others
            rows.append(block)
        near = Architectures(self, np.concatenate(rows))
        return near[np.flatnonzero(self.feasible(near))]


def check_choices(one: Space, other: Space) -> None:
    """Raise `InputError` where decisions cannot be compared: rows of columns that have other names or choices."""
    if (one.own_choices or other.own_choices) and one != other:
        a, b = (text if len(text := str(space)) < 150 else f"{text[:150]}..." for space in (one, other))
        raise InputError(f"{a} and {b} are different spaces; state choices that a table lacks in its field `choices`.")


def _dtype(space: Space) -> type:
    return np.int8 if (most := max(space.num_choices)) <= 127 else np.int32 if most < 2**31 else np.int64


class Architectures(Sequence[Architecture]):
    """Architectures of one space as integer decisions [A, n]; items are views that are made on access."""

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
        self.space, self.decisions = space, decisions

    def __len__(self) -> int:
        return len(self.decisions)

    @overload
    def __getitem__(self, index: int) -> Architecture: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int]) -> Architectures: ...
    def __getitem__(self, index: Any) -> Architecture | Architectures:
        if isinstance(index, int | np.integer):
            return self.space.architecture(self.decisions[index])
        decisions = self.decisions[index]
        decisions.setflags(write=False)
        rows = Architectures(self.space, decisions[:0])  # checks the shape; all values were checked
        rows.decisions = decisions
        return rows

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
        """Text forms of the architectures."""
        return self.space.format(self)

    def positions(self, archs: Architectures) -> np.ndarray:
        """Positions of `archs` among these [len(archs)], -1 for missing ones. Decisions are compared without skeletons:
        a cell of `nasbench201` equals that of `nasbench201(cells=1)`. `check_choices` refuses some."""
        check_choices(self.space, archs.space)
        return np.array([self._places.get(row.tobytes(), -1) for row in archs.decisions], dtype=int)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(self.decisions)}
