"""Writing files whole or not at all: a reader of a path finds the old content or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datasets.architectures import InputError
from datasets.files.reading import shortened


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` for the block to write to; it replaces `path` when the block ends without error.

    The temporary file has a unique name with the suffix of `path`, since some writers choose their format by it. It is
    flushed to the disk before it is renamed, and removed when the block fails. Missing folders are made. Pipes and
    devices (/dev/stdout) are written to directly.

    Raises:
        InputError: `path` cannot be written: a folder, a full disk, no permission.
    """
    path = real(path)  # a link stays, its target is replaced
    if _is_pipe(path):
        yield path
        return
    part = _beside(path)
    try:
        yield part
        part.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask())
        flush(part)
        part.replace(path)
        flush(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_writable(path: Path, *read: str | Path) -> None:
    """Check, before long work, that a file can be written and is none of the files that are `read`.

    Raises:
        InputError: it is read too, or cannot be written.
    """
    if any(_same(path, other) for other in read):
        raise InputError(f"{shortened(path)} is itself read for this, and would be lost; name another file to write.")
    path = real(path)
    if not _is_pipe(path):
        _beside(path).unlink()


def _same(path: Path, other: str | Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # a file is missing, or a name is impossible
        return False


def real(path: Path) -> Path:
    """A path with its links followed.

    Raises:
        InputError: no file can have that name.
    """
    try:
        place = Path(os.path.realpath(path))
        place.exists()
    except (OSError, ValueError) as error:  # a name that is too long, no permission; a zero byte
        raise cannot_write(path, error) from error
    return place


def _is_pipe(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _beside(path: Path) -> Path:
    """A new, empty file in the folder of a path, which is made if it is missing."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}.", suffix=f".part{path.suffix}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    return Path(name)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        InputError: `path` cannot be written.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        InputError: `path` cannot be written.
    """
    with whole_file(path) as part:
        part.write_bytes(content)


def cannot_write(path: Path, error: OSError | ValueError) -> InputError:
    """The sentence for a path that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"Cannot write {shortened(path)} ({reason}); make room there or name another place, and run again."
    )


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """The permission mask of new files of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
