"""Messages between two machines: JSON followed by files, with backends in plain numbers and texts.

Received data are never unpickled.
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
"""Largest size of a message in bytes; a larger one is refused."""
LARGEST_FILES = 1 << 34
"""Largest total size of the files of a message in bytes."""


def write_message(stream: IO[bytes], message: Message, files: Mapping[str, Path] | None = None) -> None:
    """Send a message and its files, by their names there."""
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
        EOFError: the stream ended, or the received bytes are no message.
    """
    (length,) = struct.unpack(">I", _read(stream, 4))
    if length > LARGEST:
        raise EOFError
    try:
        header = json.loads(_read(stream, length))
        message, sizes = dict(header["message"]), dict(header["files"])
        if not all(_is_file(*file) for file in sizes.items()) or sum(sizes.values()) > LARGEST_FILES:
            raise EOFError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EOFError from error
    for name, size in sizes.items():
        if folder is None:
            raise EOFError  # files are sent in one direction only
        with (folder / name).open("wb") as file:
            while size:
                size -= file.write(_read(stream, min(size, 1 << 20)))
    return message


def _is_file(name: str, size: Any) -> bool:
    """Whether a file may be received: its name stays within its folder, and it has a size."""
    return Path(name).name == name and name not in ("", "..") and type(size) is int and size >= 0


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def describe_backend(backend: Backend) -> Message:
    """The description of a backend in plain numbers and texts."""
    return {"runtime": backend.runtime, "fields": asdict(backend)}


def read_backend(description: Message) -> Backend:
    """The backend of a description."""
    from measure.backends import backend_classes

    fields = description["fields"]
    return backend_classes()[description["runtime"]](**{**fields, "timing": Timing(**fields["timing"])})
