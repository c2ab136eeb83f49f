"""`Columns`: the space of the rows of a table that are no networks of a known space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.blocks.decisions import MOST_CHARACTERS, Column, NamedDecisions, check_columns, columns_of
from datasets.files.reading import shortened
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd


NO_NETWORKS = (
    "Rows of columns are no networks, so that they have no ops and no totals; choose an encoder of columns "
    "(encoders.columns.ColumnVector), or give the table a column key of networks."
)


@dataclass(frozen=True)
class Columns(NamedDecisions):
    """Rows with one value per column. Its text form is `columns(kernel=1|3|5,macs=1000..2000000)`; a row is
    `kernel=3,macs=15000`.

    Spaces are equal if names and choices are; the range of numbers is that of the table, and other numbers are rows
    too. Rows that hold numbers cannot be listed or varied.

    Attributes:
        columns: in order.
    """

    columns: tuple[Column, ...]
    noun: ClassVar[str] = "row"

    def __post_init__(self) -> None:
        check_columns(self.columns, "A table")

    @staticmethod
    def of_text(text: str) -> Columns:
        """The inverse of `str`; raises `InputError` where the text is malformed."""
        try:
            if len(text) > 10 * MOST_CHARACTERS or not text.startswith("columns(") or not text.endswith(")"):
                raise ValueError(text)
            return Columns(tuple(columns_of(text.removeprefix("columns(").removesuffix(")").split(","))))
        except ValueError:
            raise InputError(
                f"'{shortened(text, 100)}' describes no columns; write for example columns(kernel=1|3|5,macs=1e3..2e6)."
            ) from None

    def __str__(self) -> str:
        return f"columns({','.join(map(str, self.columns))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple((column.name, column.choices) for column in self.columns)

    def check_networks(self) -> Columns:
        """Raises `InputError`: rows are no networks."""
        raise InputError(NO_NETWORKS)

    def expand(self, arch: Architecture) -> Network:
        """Raises `InputError`: rows are no networks."""
        raise InputError(NO_NETWORKS)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Raises `InputError`: rows are no networks."""
        raise InputError(NO_NETWORKS)

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Raises `InputError`: rows are no networks."""
        raise InputError(NO_NETWORKS)

    def all(self) -> Architectures:
        self.check_finite()
        return super().all()

    def mutate(self, archs: Architectures, rng: np.random.Generator) -> Architectures:
        self.check_finite()
        return super().mutate(archs, rng)

    def neighbours(self, arch: Architectures) -> Architectures:
        self.check_finite()
        return super().neighbours(arch)

    def check_finite(self) -> None:
        """Raise `InputError` where a column holds numbers, so that rows cannot be made up."""
        if not self.finite:
            names: Sequence[str] = [column.name for column in self.columns if not column.choices]
            raise InputError(
                f"Rows with numbers ({shortened(', '.join(names), 100)}) cannot be made up; search among the rows of a "
                "table, or make these columns decisions."
            )
