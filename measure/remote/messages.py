"""What two machines tell each other: JSON with files behind it, and our nouns in plain numbers and texts.

Nothing that is received is ever unpickled.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from measure.base import Backend
from measure.timing import Timing

Message = dict[str, Any]

LARGEST = 1 << 26
"""Most bytes of a message; what claims to be longer is not from here."""
LARGEST_FILES = 1 << 34
"""Most bytes of the files behind a message."""


def write_message(stream: IO[bytes], message: Message, files: Mapping[str, Path] | None = None) -> None:
    """Send a message and the files that belong to it, by the names that they are to have."""
    files = files or {}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    header = json.dumps({"message": message, "files": sizes}).encode()
    stream.write(struct.pack(">I", len(header)) + header)
    for path in files.values():
        with path.open("rb") as file:
            shutil.copyfileobj(file, stream, 1 << 20)
    stream.flush()


def read_message(stream: IO[bytes], folder: Path | None = None) -> Message:
    """Receive a message; its files go into `folder`.

    Raises:
        EOFError: the stream ended, or what came is no message.
    """
    (length,) = struct.unpack(">I", _read(stream, 4))
    if length > LARGEST:
        raise EOFError
    try:
        told = json.loads(_read(stream, length))
        message, sizes = dict(told["message"]), dict(told["files"])
        if not all(_is_file(*file) for file in sizes.items()) or sum(sizes.values()) > LARGEST_FILES:
            raise EOFError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EOFError from error
    for name, size in sizes.items():
        if folder is None:
            raise EOFError  # only this side sends files
        with (folder / name).open("wb") as file:
            while size:
                size -= file.write(_read(stream, min(size, 1 << 20)))
    return message


def _is_file(name: str, size: Any) -> bool:
    """Whether a file may be received: under a name that stays in its folder, and with a size."""
    return Path(name).name == name and name not in ("", "..") and type(size) is int and size >= 0


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def describe_backend(backend: Backend) -> Message:
    """A backend in plain numbers and texts."""
    return {"runtime": backend.runtime, "fields": asdict(backend)}


def read_backend(told: Message) -> Backend:
    """The backend that was described."""
    from measure.backends import backend_classes

    fields = told["fields"]
    return backend_classes()[told["runtime"]](**{**fields, "timing": Timing(**fields["timing"])})
