"""Tables of a flatbuffer, with a check of every position; a reference is followed only when the caller names it.

A table begins with the distance back to its list of fields, which has the offset of each field in the table, 0 for
missing ones. Texts, vectors and tables are stored as distances from the field forwards
(https://flatbuffers.dev/internals).
"""

from __future__ import annotations

import struct
from mmap import mmap

Buffer = bytes | mmap
"""Content of a file."""


class Damaged(ValueError):
    """The file violates the format."""


def number(buffer: Buffer, code: str, at: int) -> int:
    """The number of a `struct` code at a position; raises `Damaged` if it is not inside of the file."""
    if not 0 <= at <= len(buffer) - struct.calcsize(f"<{code}"):
        raise Damaged("a part of it is missing")
    return struct.unpack_from(f"<{code}", buffer, at)[0]


class Table:
    """A table of a flatbuffer; fields are given by their numbers.

    Args:
        buffer: the whole file.
        at: position of the table.
    """

    __slots__ = ("at", "buffer", "fields", "size")

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer, self.at = buffer, at
        self.fields = at - number(buffer, "i", at)
        self.size = number(buffer, "H", self.fields)

    @staticmethod
    def root(buffer: Buffer) -> Table:
        """The outermost table."""
        return Table(buffer, number(buffer, "I", 0))

    def number(self, field: int, code: str = "i", default: int = 0) -> int:
        """The number in a field, of a `struct` code."""
        place = self._place(field)
        return number(self.buffer, code, place) if place else default

    def table(self, field: int) -> Table | None:
        """The table in a field, or None."""
        place = self._target(field)
        return Table(self.buffer, place) if place else None

    def length(self, field: int, size: int = 1) -> int:
        """Number of entries of a vector, `size` bytes each."""
        return self.span(field, size)[1]

    def span(self, field: int, size: int = 1) -> tuple[int, int]:
        """Position of a vector's first entry and number of entries, `size` bytes each."""
        place = self._target(field)
        if not place:
            return 0, 0
        count = number(self.buffer, "I", place)
        if place + 4 + count * size > len(self.buffer):
            raise Damaged("a part of it is missing")
        return place + 4, count

    def numbers(self, field: int, code: str = "i", most: int = 2**16) -> tuple[int, ...]:
        """The vector of numbers in a field; raises `Damaged` for more than `most`."""
        start, count = self.span(field, struct.calcsize(f"<{code}"))
        if count > most:
            raise Damaged(f"a list in it has {count:,} entries")
        return struct.unpack_from(f"<{count}{code}", self.buffer, start)

    def tables(self, field: int) -> list[Table]:
        """The vector of tables in a field; check its `length` first."""
        start, count = self.span(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.buffer, place + number(self.buffer, "I", place)) for place in places]

    def text(self, field: int, most: int = 1000) -> str:
        """The text in a field, cut after `most` bytes."""
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
