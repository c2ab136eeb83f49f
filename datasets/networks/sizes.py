"""Flags of command lines for the sizes that a network's file leaves open."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from datasets.architectures import InputError
from datasets.files.reading import listed, shortened

ROLES = ("batch", "height", "width", "channels", "sequence", "time")
"""Roles of dimensions, which do not depend on the names in the file."""
MOST_CURVE = 1000
"""Largest number of combinations of sizes in one curve."""
_LARGEST = 2**40
_ENTRY = re.compile(r"\s*([^=]*?)\s*=\s*([\d,x]*)(?=\s|;|$)[\s;]*")


@dataclass(frozen=True)
class Sizes:
    """Sizes that a file leaves open; each field is a text of entries NAME=VALUE, separated by spaces.

    Attributes:
        shape: shapes of whole inputs, batch included: x=1x3x320x320 (may be repeated).
        size: sizes by the file's name of a dimension, or by its role (batch, height, width, channels, sequence, time):
            height=320 (may be repeated); several values, sequence=16,32,64, give a curve in commands that draw one.
        trips: numbers of trips of loops that a file leaves open, by the name of the loop: decoder=8 (may be repeated).
    """

    shape: str = ""
    size: str = ""
    trips: str = ""

    def __post_init__(self) -> None:
        self.sizes(several=True)
        self.shapes()
        self.loops()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by the name of their input, batch included; raises `InputError` for malformed entries."""
        shapes = {}
        for name, value in _entries(self.shape, "shape", "x=1x3x320x320"):
            shapes[name] = tuple(_number(side, "shape", "x=1x3x320x320") for side in value.split("x"))
        return shapes

    def sizes(self, several: bool = False) -> dict[str, int]:
        """Sizes by the name of their dimension.

        Args:
            several: whether to accept several values per name, and return the first.

        Raises:
            InputError: an entry is malformed, or has several values.
        """
        sizes = {}
        for name, value in _entries(self.size, "size", "height=320"):
            first, *further = (_number(number, "size", "height=320") for number in value.split(","))
            if further and not several:
                raise InputError(
                    f"--size {name}={value} names several sizes; `datasets show` and `predict --network` give a curve, "
                    "elsewhere name one."
                )
            sizes[name] = first
        return sizes

    def loops(self) -> dict[str, int]:
        """Trips by the name of their loop; raises `InputError` for malformed entries."""
        return {n: _number(v, "trips", "loop=8") for n, v in _entries(self.trips, "trips", "loop=8")}

    def each(self) -> Iterator[Sizes]:
        """The `Sizes` of every combination of the values in `size`; raises `InputError` above `MOST_CURVE`."""
        entries = _entries(self.size, "size", "height=320")
        choices = [value.split(",") for _, value in entries]
        if (count := math.prod(map(len, choices))) > MOST_CURVE:
            raise InputError(f"--size names {count:,} combinations of sizes; name at most {MOST_CURVE:,}.")
        for values in product(*choices):
            yield replace(self, size=" ".join(f"{n}={v}" for (n, _), v in zip(entries, values, strict=True)))

    def foreign(self) -> str:
        """A flag that only files with open sizes accept, that is anything but sizes by role; '' if there is none."""
        names = [name for name in self.sizes(several=True) if name not in ROLES]
        return "--shape" if self.shapes() else "--trips" if self.loops() else f"--size {names[0]}" if names else ""

    @property
    def label(self) -> str:
        """Suffix of the key of a network with these sizes; '' if all fields are empty."""
        parts = " ".join(filter(None, (self.shape, self.size, self.trips)))
        return f"({','.join(parts.replace(';', ' ').split())})" if parts.strip() else ""


def _entries(text: str, flag: str, example: str) -> list[tuple[str, str]]:
    """Names and values of a field."""
    entries, start = dict[str, str](), 0
    while start < len(text):
        match = _ENTRY.match(text, start)
        if not match or not match[1] or not match[2]:
            raise InputError(f"--{flag} {shortened(text, 60)} is not NAME=VALUE, as {example} is.")
        if entries.setdefault(match[1], match[2]) != match[2]:
            raise InputError(f"--{flag} gives {listed([match[1]])} two values; give it one.")
        start = match.end()
    return list(entries.items())


def _number(text: str, flag: str, example: str) -> int:
    if not text.isdecimal() or len(text) > 13 or not 0 < int(text) <= _LARGEST:
        raise InputError(f"--{flag} needs whole numbers from 1 on, as in {example}, not '{shortened(text, 30)}'.")
    return int(text)
