"""Folders that are written whole or not at all, by one process at a time: runs of `train.py` and `transfer`."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from datasets.architectures import InputError
from datasets.files.reading import listed, shortened
from datasets.files.writing import cannot_write, flush, real, umask

Outcome = Literal["done", "complete", "busy"]
"""Outcome of a run: done now, complete before, or being done by another process."""

LONGEST = 150
"""Largest length of a folder's name in bytes; temporary names beside it are longer."""


class Busy(InputError):
    """Another process is writing the folder."""


def inside(folder: Path, name: str) -> Path:
    """The path of a folder inside of another one.

    Args:
        folder: the outer folder.
        name: name of the inner folder.

    Raises:
        InputError: `name` leads elsewhere, begins with a dot, is too long, or has characters that names of files cannot
            have.
    """
    wrong = name.startswith(".") or name.endswith(".part") or "/" in name or not name.isprintable()
    if not name or wrong or len(os.fsencode(name)) > LONGEST:
        raise InputError(
            f"'{shortened(name, 60)}' cannot be a folder's name in {folder}: leave out '/', a dot at the beginning, "
            f".part at the end and what cannot be printed, and use at most {LONGEST} bytes."
        )
    return folder / name


def complete(out: Path, files: Collection[str]) -> bool:
    """Whether a folder exists.

    Raises:
        InputError: it exists without one of its files.
    """
    if missing := [name for name in files if out.exists() and not (out / name).is_file()]:
        raise InputError(f"{out} lacks {listed(missing)}, so it is no whole run: delete it, and run this again.")
    return out.exists()


def check_replaceable(out: Path, files: Collection[str], overwrite: bool) -> None:
    """Check that a folder may be written or replaced.

    Args:
        out: the folder.
        files: names of the files of a complete folder.
        overwrite: whether it may be replaced.

    Raises:
        InputError: it exists and may not be replaced, or has other content than `files`.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise InputError(f"{out} is already there; name another --out, or replace it with --overwrite true.")
    content = {path.name: path.is_file() for path in out.iterdir()} if out.is_dir() else {"": False}
    if content and (content.keys() != set(files) or not all(content.values())):
        raise InputError(
            f"{out} is not replaced, because it is no run folder, or holds more or less than one ({', '.join(files)}); "
            "name another --out, or delete it yourself."
        )


@contextmanager
def locked(out: Path) -> Iterator[Path]:
    """Lock a folder that is going to be written; yields its path with links followed.

    The lock is on a file beside it, which is removed afterwards. The system releases the lock whenever the process
    ends. Missing folders are made.

    Raises:
        Busy: another process has the lock.
        InputError: the folder cannot be written.
    """
    out = real(out)
    inside(out.parent, out.name)
    path = out.with_name(f".{out.name}.lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle = _lock(path)
    except BlockingIOError as error:
        raise Busy(f"Another process is writing {out}; wait for it, or name another place.") from error
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        for old in out.parent.iterdir() if not out.exists() else ():
            if old.name.startswith(f".{out.name}.") and old.suffix == ".old":
                old.rename(out)  # `_put` was killed between its two renames
                break
        yield out
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int:
    """A descriptor of a locked file that still has this name, since the last holder deletes it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextmanager
def whole_folder(out: Path, files: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` to write to; it replaces `out` when the block ends without error.

    Its name begins with a dot and ends with `.part`; folders of killed processes stay. An existing folder is deleted
    after the new one has its name. To be used inside of `locked`.

    Args:
        out: the folder.
        files: names of the files of a complete folder.
        overwrite: whether an existing folder may be replaced.

    Raises:
        InputError: `check_replaceable` raises it, or the folder cannot be written.
    """
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        yield part
        check_replaceable(out, files, overwrite)
        part.chmod(0o777 & ~umask())
        for path in (*part.iterdir(), part):
            flush(path)
        _put(part, out)
        flush(out.parent)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # the new folder if the block failed, else the old one


def _put(part: Path, out: Path) -> None:
    """Rename `part` to `out`; an existing `out` becomes `part`."""
    if not out.exists():
        part.rename(out)
    elif not _exchange(part, out):
        aside = part.with_suffix(".old")
        out.rename(aside)
        part.rename(out)
        aside.rename(part)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two paths atomically; False where the system cannot do that."""
    with suppress(AttributeError, OSError):  # glibc since 2.28; not every file system
        return ctypes.CDLL(None).renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2) == 0
    return False
