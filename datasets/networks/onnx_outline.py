"""The content of an ONNX file except for the numbers of its large tensors, which stay on disk until they are needed.

The file is walked in protobuf's wire format. Numbers of more than 1 kB are left out, and their tensor gets a
reference to external data in this same file. So a file of a gigabyte needs no more memory than its graph, and files
that cannot contain a graph are refused before anything is built.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from datasets.files.reading import existing
from datasets.records import InputError

MOST_BYTES = 2**31 - 1
"""Largest ONNX file that is read, protobuf's own limit; weights beside the file do not count."""
MOST_OUTLINE = 8 * 2**20
"""Largest graph in bytes: the file without numbers of tensors, documentation and metadata."""
MOST_FIELDS = 500_000
"""Largest number of fields that are visited to find the tensors."""

_DEEPEST = 100  # levels of messages, protobuf's own limit
_LONG = 1024  # bytes; shorter fields are copied unread
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
_NUMBERS = {4: "float_data", 9: "raw_data", 10: "double_data"}  # of a tensor: as many bytes in memory as in the file
_TEXTS = {"model": (6, 14), "graph": (10, 16), "node": (6, 9), "attribute": (13,), "tensor": (12, 16)}  # for people


def outline(path: Path) -> bytes:
    """A serialised `ModelProto` of the file in which large tensors are references to their numbers in the file.

    Raises:
        InputError: there is no such file, it is too large, or it is not a protobuf message.
    """
    size = existing(path, "name an ONNX file").stat().st_size
    if size > MOST_BYTES:
        raise InputError(
            f"{path} has {size:,} bytes, and ONNX files have at most {MOST_BYTES:,}; save its weights beside it, by "
            "onnx.save(..., save_as_external_data=True)."
        )
    with path.open("rb") as stream:
        if size <= 2**20:
            return stream.read()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                short = _Walk(content, path.name).stripped(0, size, "model")
            except (IndexError, _Malformed) as error:
                raise InputError(
                    f"{path} is not an ONNX file, or a part of it is missing; export or copy it again."
                ) from error
    if len(short) > MOST_OUTLINE:
        raise InputError(
            f"{path} has {len(short):,} bytes besides the numbers of its tensors, and at most {MOST_OUTLINE:,} are "
            "read; is it an ONNX network?"
        )
    return short


class _Malformed(Exception):
    """The bytes are not a protobuf message."""


class _Walk:
    """Copies messages of a buffer without numbers of tensors, which refer to the file `name` instead."""

    def __init__(self, buffer: mmap.mmap, name: str) -> None:
        self.buffer, self.name, self.fields = buffer, name, 0

    def stripped(self, at: int, end: int, kind: str, depth: int = 0) -> bytes:
        """The message between the positions `at` and `end`, `depth` levels below the file's own."""
        if depth > _DEEPEST:
            raise _Malformed
        parts: list[bytes] = []
        numbers: list[tuple[int, int]] = []
        while at < end:
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise InputError(f"The ONNX file {self.name} has more than {MOST_FIELDS:,} parts; is it a network?")
            start, (tag, at) = at, self._varint(at)
            field, wire = tag >> 3, tag & 7
            size = 0
            if wire == 0:
                _, at = self._varint(at)
            elif wire == 2:
                size, at = self._varint(at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise _Malformed
            first, at = at, at + size
            if at > end:
                raise _Malformed
            inside = _INSIDE.get(kind, {}).get(field)
            if wire == 2 and field in _TEXTS.get(kind, ()):
                continue
            if wire == 2 and inside and size > _LONG:
                parts.append(_message(field, self.stripped(first, at, inside, depth + 1)))
            elif wire == 2 and kind == "tensor" and field in _NUMBERS and size > _LONG and not numbers:
                numbers.append((first, size))
            else:
                parts.append(self.buffer[start:at])
        if numbers:
            ((place, length),) = numbers
            entries = {"location": self.name, "offset": str(place), "length": str(length)}
            parts += [_message(13, _message(1, k.encode()) + _message(2, v.encode())) for k, v in entries.items()]
            parts.append(b"\x70\x01")  # data_location: external
        return b"".join(parts)

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self.buffer[at]
            value |= (byte & 127) << shift
            at += 1
            if byte < 128:
                return value, at
            shift += 7
            if shift > 63:
                raise _Malformed


def _message(field: int, content: bytes) -> bytes:
    """A serialised field of variable length."""
    return _number(field << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
