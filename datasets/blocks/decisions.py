"""Spaces of named decisions: rows such as `depth=2,act=relu`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple
from urllib.parse import unquote

import numpy as np

from datasets.files.reading import listed, shortened
from datasets.records import Architecture, Architectures, InputError, Op, Space

Value = str | int | float | bool
"""A choice in files: a text or a number."""
MOST_COLUMNS, MOST_CHOICES = 1000, 100_000
"""Largest number of columns of a space, and of choices of all of them."""
MOST_CHARACTERS = 100_000
"""Longest text of one row."""
LARGEST = 0x7F7FFFFF
"""Number of positive float32 numbers."""


class Column(NamedTuple):
    """One decision: its name and its choices as texts; without choices any float32 number, in samples from `low` to
    `high`."""

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __str__(self) -> str:
        if self.choices:
            return f"{quoted(self.name)}={'|'.join(map(quoted, self.choices))}"
        return f"{quoted(self.name)}={self.low:.6g}..{self.high:.6g}"

    @property
    def numeric(self) -> bool:
        """Whether all choices are numbers, or it is a column of numbers."""
        return all(isinstance(value_of(text), int | float) for text in self.choices)


class NamedDecisions(Space):
    """A space of rows with one value per column."""

    own_choices = True
    columns: tuple[Column, ...]
    noun: ClassVar[str]
    """What a row is, for messages: a network, or a row."""

    @property
    def num_choices(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(len(column.choices) or 2 * LARGEST + 1 for column in self.columns)

    @property
    def finite(self) -> bool:
        """Whether all columns have choices."""
        return all(column.choices for column in self.columns)

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read rows: the values of all columns with their names, in the order of the columns."""
        rows = []
        for key in keys:
            if not isinstance(key, str) or len(key) > MOST_CHARACTERS:
                raise InputError(
                    f"'{shortened(key, 60)}' is no architecture, which is a text such as {self._example()}."
                )
            pairs = [part.partition("=") for part in key.split(",")]
            if [name for name, _, _ in pairs] != [quoted(column.name) for column in self.columns]:
                raise InputError(f"'{shortened(key, 100)}' is not a {self.noun}; write {self._example()}.")
            rows.append([unquote(value) for _, _, value in pairs])
        return self.of_texts(rows, [f"'{shortened(key, 100)}'" for key in keys])

    def of_texts(self, rows: Sequence[Sequence[str]], where: Sequence[str]) -> Architectures:
        """Rows [A] of texts, one per column; `where` [A] names each in the sentence of an `InputError`.

        Raises:
            InputError: a text is no choice of its column, or no number.
        """
        decisions = np.zeros((len(rows), len(self.columns)), np.int64)
        for i, column in enumerate(self.columns):
            if not column.choices:
                numbers = [number_of(row[i], column.name, place) for row, place in zip(rows, where, strict=True)]
                decisions[:, i] = _rank(np.array(numbers))
                continue
            places = {text: place for place, text in enumerate(column.choices)}
            for j, row in enumerate(rows):
                if row[i] not in places:
                    raise InputError(
                        f"{where[j]} is not a {self.noun}; write {self._example()}, where {shortened(column.name, 60)} "
                        f"is one of {listed(column.choices)}, not '{shortened(row[i], 60)}'."
                    )
                decisions[j, i] = places[row[i]]
        return Architectures(self, decisions)

    def _example(self) -> str:
        """A row for messages, with the choices of its first columns."""
        parts = [f"{quoted(c.name)}={'|'.join(map(quoted, c.choices[:6])) or 'NUMBER'}" for c in self.columns[:8]]
        return shortened(",".join(parts), 200) + (",..." if len(self.columns) > 8 else "")

    def format(self, archs: Architectures) -> list[str]:
        names = [quoted(column.name) for column in self.columns]
        texts = [self._texts(column, archs.decisions[:, i]) for i, column in enumerate(self.columns)]
        return [
            ",".join(f"{name}={quoted(text)}" for name, text in zip(names, row, strict=True))
            for row in zip(*texts, strict=True)
        ]

    @staticmethod
    def _texts(column: Column, decisions: np.ndarray) -> list[str]:
        if column.choices:
            return [column.choices[place] for place in decisions.tolist()]
        return [plain(number) for number in _numbers(decisions)]

    def values(self, archs: Architectures) -> dict[str, np.ndarray]:
        """Numbers [A] of the numeric columns by name, float64."""
        found = {}
        for i, column in enumerate(self.columns):
            chosen = archs.decisions[:, i]
            if column.choices and column.numeric:
                found[column.name] = np.array([value_of(text) for text in column.choices], float)[chosen]
            elif not column.choices:
                found[column.name] = _numbers(chosen).astype(float)
        return found

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys of the rows, of which no two are known to do the same work."""
        return archs.keys

    def connected(self, archs: Architectures) -> np.ndarray:
        """True for all rows [A]."""
        return np.ones(len(archs), dtype=bool)

    def architecture(self, decisions: np.ndarray) -> Architecture:
        """One node without edges, whose attributes are the values of the columns."""
        archs = Architectures(self, decisions[None])
        texts = (self._texts(column, archs.decisions[:, i])[0] for i, column in enumerate(self.columns))
        attrs = {column.name: value_of(text) for column, text in zip(self.columns, texts, strict=True)}
        return Architecture(str(self), archs.keys[0], (Op(self.noun, attrs),), ())

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` rows: each choice drawn uniformly, each number uniformly between the ends of its column."""
        drawn = [
            rng.integers(0, len(c.choices), n) if c.choices else _rank(rng.uniform(c.low, c.high, n))
            for c in self.columns
        ]
        return Architectures(self, np.stack(drawn, axis=1))


def check_columns(columns: Sequence[Column], where: str) -> None:
    """Check names and choices of columns.

    Raises:
        InputError: there are none, too many, two of one name, two equal choices, or a name or choice that is empty.
    """
    names = [column.name for column in columns]
    if not names or len(names) > MOST_COLUMNS or sum(len(c.choices) for c in columns) > MOST_CHOICES:
        raise InputError(
            f"{where} has {len(names):,} columns; it needs 1 to {MOST_COLUMNS:,}, of {MOST_CHOICES:,} choices at most."
        )
    for texts in (names, *(column.choices for column in columns)):
        for text in texts:
            if not text or len(text) > 200 or not text.isprintable():
                raise InputError(
                    f"{where}: '{shortened(text, 60)}' can be no name or choice; write 1 to 200 printable characters."
                )
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if list(texts).count(text) > 1)
            raise InputError(f"{where} has '{shortened(twice, 60)}' twice; keep one.")


def columns_of(parts: Iterable[str]) -> list[Column]:
    """Columns from texts `name=choice|choice` or `name=low..high`, the inverse of `str`.

    Raises:
        ValueError: a text is malformed.
    """
    found = []
    for part in parts:
        name, _, value = part.partition("=")
        ends = re.fullmatch(r"([-+.\de]+?)\.\.([-+.\de]+)", value)
        if not name or not value or (".." in value and not ends):
            raise ValueError(part)
        low, high = (float(ends[1]), float(ends[2])) if ends else (0.0, 1.0)
        if not -math.inf < low <= high < math.inf:
            raise ValueError(part)
        choices = () if ends else tuple(unquote(text) for text in value.split("|"))
        found.append(Column(unquote(name), choices, low, high))
    return found


def choice(value: Value) -> str:
    """The text of a choice: a number in its shortest form, so that 3, 3.0 and '3' are one."""
    value = value_of(value) if isinstance(value, str) else value
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else plain(value)


def plain(number: float) -> str:
    """A number in its shortest form, without an exponent where it is whole."""
    whole = abs(number) < 1e15 and float(number).is_integer()
    return str(int(number)) if whole else str(number)


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")


def value_of(text: str) -> Value:
    """The number, truth value or text that a choice stands for."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if len(text) < 60 and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return int(number) if number.is_integer() and abs(number) < 1e15 else number
    return text


def number_of(text: str, column: str, where: str) -> float:
    """The number of a text in a column of numbers; `where` begins the sentence of an `InputError`.

    Raises:
        InputError: it is empty, no number, or outside of the range of float32.
    """
    value = value_of(text)
    with np.errstate(over="ignore"):
        outside = isinstance(value, str | bool) or np.isinf(np.float32(value))
    if outside:
        what = f"has '{shortened(text, 40)}'" if text else "has nothing"
        raise InputError(
            f"{where} {what} in the column {shortened(column, 60)}, which holds numbers; write one there, take the row "
            "out, or make the column one of decisions."
        )
    return float(value)


def quoted(text: str) -> str:
    """A text without characters that separate names, choices, columns and words; `urllib.parse.unquote` undoes it."""
    return re.sub(r"[%|,=();:'\"\s]|\.\.", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def _rank(numbers: np.ndarray) -> np.ndarray:
    """Positions of numbers [A], rounded to float32, among all float32 numbers in their order, from 0 for the least."""
    bits = numbers.astype(np.float32).view(np.int32).astype(np.int64)
    magnitude = bits & 0x7FFFFFFF
    return np.where(bits < 0, LARGEST - magnitude, LARGEST + magnitude)


def _numbers(ranks: np.ndarray) -> np.ndarray:
    """The float32 numbers at positions of `_rank`."""
    away = ranks.astype(np.int64) - LARGEST
    return np.abs(away).astype(np.int32).view(np.float32) * np.where(away < 0, -1, 1).astype(np.float32)


def choices_of(values: Mapping[str, Sequence[Value]]) -> tuple[Column, ...]:
    """Columns with choices, from names and values."""
    return tuple(Column(name, tuple(choice(value) for value in given)) for name, given in values.items())
