"""One file of a zip that anybody may have written: read only as far as it may go, whatever the zip says of itself."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from datasets.records import InputError

UNREADABLE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError, NotImplementedError)
"""What a damaged zip raises."""
_MOST_LISTED = 2**20  # bytes of the zip's list of files


def read_entry(path: Path, choose: Callable[[list[str]], str], most: int) -> bytes:
    """The content of one file of a zip.

    Args:
        path: of the zip.
        choose: the name of the file, from all names; may raise a KeyError.
        most: bytes that are read.

    Raises:
        InputError: the file has more bytes than that.
        Exception: one of `UNREADABLE`, where the zip is damaged, has no such file, or it is compressed in a rare way.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(size - 2**16 - 22, 0))
        _, _, end = stream.read().rpartition(b"PK\x05\x06")
        if not end or int.from_bytes(end[8:12], "little") > _MOST_LISTED:
            raise zipfile.BadZipFile("no list of files, or one that is too long")
        with zipfile.ZipFile(stream) as archive:
            name = choose(archive.namelist())
            info = archive.getinfo(name)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
                raise zipfile.BadZipFile("compressed in another way, or encrypted")
            with archive.open(info) as entry:
                content = entry.read(min(most, info.file_size) + 1)
            if len(content) > most:
                raise InputError(
                    f"{name} in {path} has more than the {most:,} bytes that are read; export the model to ONNX."
                )
            return content
