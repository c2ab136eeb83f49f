"""Tables of a flatbuffer, with every place checked; nothing is followed but what the caller names, one step at a time.

A table begins with the distance back to its list of fields, and that says where in the table each field stands, 0
where the field is left out. Texts, vectors and tables in it are distances ahead of where they are named
(https://flatbuffers.dev/internals).
"""

from __future__ import annotations

import struct
from mmap import mmap

Buffer = bytes | mmap
"""A whole file."""


class Damaged(ValueError):
    """What no writer of such files writes."""


def number(buffer: Buffer, code: str, at: int) -> int:
    """The number of a `struct` code at a place; raises `Damaged` where that is not inside of the file."""
    if not 0 <= at <= len(buffer) - struct.calcsize(f"<{code}"):
        raise Damaged("a part of it is missing")
    return struct.unpack_from(f"<{code}", buffer, at)[0]


class Table:
    """A table of a flatbuffer; fields are named by their numbers.

    Args:
        buffer: the whole file.
        at: where the table begins.
    """

    __slots__ = ("at", "buffer", "fields", "size")

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer, self.at = buffer, at
        self.fields = at - number(buffer, "i", at)
        self.size = number(buffer, "H", self.fields)

    @staticmethod
    def root(buffer: Buffer) -> Table:
        """The table that holds all others."""
        return Table(buffer, number(buffer, "I", 0))

    def number(self, field: int, code: str = "i", default: int = 0) -> int:
        """A number in the table, of the `struct` code."""
        place = self._place(field)
        return number(self.buffer, code, place) if place else default

    def table(self, field: int) -> Table | None:
        """A table that the field names."""
        place = self._target(field)
        return Table(self.buffer, place) if place else None

    def length(self, field: int, size: int = 1) -> int:
        """How many entries, of so many bytes each, a vector has."""
        return self.span(field, size)[1]

    def span(self, field: int, size: int = 1) -> tuple[int, int]:
        """Where a vector's entries of so many bytes begin, and how many there are."""
        place = self._target(field)
        if not place:
            return 0, 0
        count = number(self.buffer, "I", place)
        if place + 4 + count * size > len(self.buffer):
            raise Damaged("a part of it is missing")
        return place + 4, count

    def numbers(self, field: int, code: str = "i", most: int = 2**16) -> tuple[int, ...]:
        """A vector of numbers; raises `Damaged` where it has more than `most`."""
        start, count = self.span(field, struct.calcsize(f"<{code}"))
        if count > most:
            raise Damaged(f"a list in it has {count:,} entries")
        return struct.unpack_from(f"<{count}{code}", self.buffer, start)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables; count them by `length` first."""
        start, count = self.span(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.buffer, place + number(self.buffer, "I", place)) for place in places]

    def text(self, field: int, most: int = 1000) -> str:
        """A text, cut after `most` bytes."""
        start, count = self.span(field)
        return self.buffer[start : start + min(count, most)].decode(errors="replace")

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry + 2 > self.size:
            return 0
        offset = number(self.buffer, "H", self.fields + entry)
        return self.at + offset if offset else 0

    def _target(self, field: int) -> int:
        place = self._place(field)
        return place + number(self.buffer, "I", place) if place else 0
