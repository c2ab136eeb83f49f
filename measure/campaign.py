"""Campaigns: many networks on many backends, with an append-only journal that survives `kill -9`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from datasets.files.reading import existing, read_words
from datasets.files.writing import cannot_write
from datasets.networks.sizes import Sizes
from datasets.records import Architectures, InputError, Space
from datasets.spaces import open_space
from measure.base import Backend
from measure.bench import Bench, Measure
from measure.drift import References
from measure.network_files import name_network, on_device, read_subject
from measure.rows import Machines, Row, check_row, identity, is_timed, sound
from measure.subjects import NetworkFile, Prepare, Subject, block, whole

MOST_LINE = 16 * 2**20
"""Longest line of a journal that is read, in bytes; a row has about 10,000."""
MOST_JOURNAL = 2**30
"""Largest journal that is read, in bytes."""


class Journal:
    """A file with one JSON object per line, each written through to the disk.

    A last line that a crash left incomplete is cut off on opening. Only one process may hold a journal open at a time.

    Raises:
        InputError: another process holds the journal; the file is no journal, and is left unchanged; or a row belongs
            to another machine under a device name that the journal already contains.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file; name another --journal.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a+b", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is writing {path}; wait for it or name another journal.") from error
        self.machines = Machines(path)
        try:
            self.rows, complete, torn = _read(path)
            for row in self.rows:
                self.machines.add(row)
        except InputError:
            self.file.close()
            raise
        if torn:
            self.file.truncate(complete)
        elif complete and os.pread(self.file.fileno(), 1, complete - 1) != b"\n":
            self.file.write(b"\n")

    def append(self, row: Row) -> None:
        """Append one row and write it through to the disk."""
        self.machines.add(row)
        line = json.dumps(row).encode() + b"\n"
        start = self.file.seek(0, os.SEEK_END)
        try:
            if self.file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self.file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self.file.truncate(start)  # half a row is no row
            raise InputError(
                f"Cannot write {self.path}: {error.strerror}. Make room and run the same command again: "
                f"the {len(self.rows)} rows measured so far are safe."
            ) from error
        self.rows.append(row)


def read_journal(path: Path) -> list[Row]:
    """Read the rows of a journal, also while a campaign is writing it.

    Raises:
        InputError: there is no such file, a line is no row (`measure.rows.check_row`), or rows of two machines have
            the same device name.
    """
    rows, _, _ = _read(existing(path, f"`python -m measure run --journal {path}` makes one"))
    machines = Machines(path)
    for row in rows:
        machines.add(row)
    return rows


def _read(path: Path) -> tuple[list[Row], int, bool]:
    """The rows of a journal, the bytes of its complete lines, and whether an incomplete one follows.

    Rows are read without `clocks`, the readings of a measurement: nine tenths of a row, and not needed here.
    A last line without a newline is complete if it is a row; any other line that is no row is refused.
    """
    if path.stat().st_size > MOST_JOURNAL:
        raise InputError(f"{path} has more than the {MOST_JOURNAL:,} bytes that are read; split the journal.")
    rows: list[Row] = []
    complete = number = 0
    with path.open("rb") as file:
        while line := file.readline(MOST_LINE):
            number += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                ours = rows or line.startswith(_START) or _START.startswith(line)
                if ours and not line.endswith(b"\n") and len(line) < MOST_LINE:
                    return rows, complete, True
                raise InputError(f"{path}, line {number} is not a row of a journal; is it the right file?") from None
            rows.append(check_row(row, f"{path}, line {number}"))
            rows[-1].pop("clocks", None)
            complete += len(line)
    return rows, complete, False


_START = b'{"space": '
"""The beginning of every row that is written here."""


SMALL = 100
"""Largest number of architectures of a space that is taken in its own order."""


def distinct_sample(space: Space, n: int, seed: int) -> Architectures:
    """Draw `n` random architectures that differ in their `canonical` form; a larger `n` only adds to a smaller one.

    Architectures that compute a constant are left out: runtimes fold them, and there is nothing to measure. Of a
    `SMALL` space the first `n` are taken in its own order, and all if `n` is the size of the space or more.
    """
    listed = math.prod(space.num_choices) <= max(n, SMALL)
    for tries in (2 * n, 50 * n):  # the second begins with the first
        draws = space.all() if listed else space.sample(tries, np.random.default_rng(seed))
        draws = draws[space.connected(draws)]
        first: dict[str, int] = {}
        for position, name in enumerate(space.canonical(draws)):
            first.setdefault(name, position)
        if len(first) >= n or listed:
            break
    if len(first) < n and not listed:
        raise InputError(f"Only {len(first)} distinct architectures were found in {space}; choose fewer than {n}.")
    return draws[np.array(list(first.values())[:n], dtype=int)]


Chosen = tuple[Sequence[Subject], Prepare]
"""The subjects of a campaign, and the function that prepares them."""


def of_space(space: str, limit: int, archs: Path | None, seed: int, block_only: bool) -> Chosen:
    """Architectures of a space, read from a file of texts or drawn by `distinct_sample`; whole or the block alone."""
    searched = open_space(space).check_networks()
    if block_only and type(searched).block is Space.block:
        raise InputError(f"The networks of {searched} are not stacks of a basic block; leave --subjects.block out.")
    chosen = (
        searched.parse(read_words(archs, "it should hold one architecture per line"))
        if archs
        else distinct_sample(searched, limit, seed)
    )
    return chosen, partial(block if block_only else whole, searched)


def networks(names: Sequence[str], modules: bool = False, sizes: Sizes = Sizes(), inputs: Path | None = None) -> Chosen:
    """Networks by the names that `read_model` accepts; each file is read only when it is measured.

    Args:
        names: files, or `space:architecture`.
        modules: whether `torch:module:callable` is accepted too; its module is exported into a temporary folder of
            this process.
        sizes: sizes that the files leave open besides the batch.
        inputs: an .npz file of the networks' inputs.

    Raises:
        InputError: there is no such file or space, or an architecture is malformed.
    """
    return [name_network(name, modules, sizes, inputs) for name in names], read_subject


PendingRow = tuple[int, int, Backend]
"""Number of the repeat, position of the subject, backend."""


def pending(
    archs: Sequence[Subject],
    backends: Sequence[Backend],
    journal: Journal,
    repeats: int = 1,
    retry: bool = False,
    metric: str = "latency_ms",
    energy: bool = False,
    memory: bool = False,
) -> list[PendingRow]:
    """The rows that a journal does not contain yet.

    Failed, unstable and unreliable rows are pending again with `retry`, and rows without energy or memory with `energy`
    or `memory`. The order is repeat, subject, backend, so that repeats are separated in time and all devices advance
    together.
    """
    references = References(journal.rows)
    done = {identity(row) for row in journal.rows if _counts(row, retry, energy, memory, references)}
    keys = (
        [(str(archs.space), key) for key in archs.keys]
        if isinstance(archs, Architectures)
        else [(arch.space, arch.key) for arch in archs]
    )
    named = [(backend, backend.device().name) for backend in backends]
    files = (
        {} if isinstance(archs, Architectures) else {i: a for i, a in enumerate(archs) if isinstance(a, NetworkFile)}
    )
    own = {i: [(b, b.device().name) for b in (on_device(b, file) for b in backends)] for i, file in files.items()}
    return [
        (repeat, position, backend)
        for repeat in range(repeats)
        for position, (space, key) in enumerate(keys)
        for backend, name in own.get(position, named)
        if (space, key, name, repeat, metric) not in done
    ]


def _counts(row: Row, retry: bool, energy: bool, memory: bool, references: References) -> bool:
    if not row.get("stable", "error" not in row):
        return not retry
    if retry and is_timed(row) and references.why_unreliable(row):
        return False
    wanted = [name for name, needed in (("energy", energy), ("memory", memory)) if needed]
    return all(name in row and not (retry and "error" in row[name]) for name in wanted)


def run_campaign(
    archs: Sequence[Subject],
    tasks: Sequence[PendingRow],
    journal: Journal,
    prepare: Prepare | None = None,
    bench: Measure | None = None,
    metric: str = "latency_ms",
    features: Mapping[str, Mapping[str, float]] | None = None,
) -> Iterator[Row]:
    """Measure pending rows; yields each row after it is on disk.

    Args:
        archs: the subjects, by position.
        tasks: pending rows, from `pending`.
        journal: the journal of the rows.
        prepare: gives the model of a subject; by default the whole network of an architecture.
        bench: measures; by default in this process.
        metric: name of the latency in rows.
        features: features of the hardware by the host's name, for device encoders.
    """
    if prepare is None:
        assert isinstance(archs, Architectures)
        prepare = partial(whole, archs.space)
    bench = bench or Bench()
    for repeat, position, backend in tasks:
        arch, more = archs[position], (features or {}).get(backend.host, {})
        row = sound(identifying_fields(arch, backend, repeat, metric, more) | bench(backend, arch, prepare))
        journal.append(row)
        yield row


def identifying_fields(arch: Subject, backend: Backend, repeat: int, metric: str, features: Mapping[str, float]) -> Row:
    """The fields of a row that identify it; the others are measured."""
    device = backend.device().to_dict()
    device["features"] |= features
    return {"space": arch.space, "key": arch.key, "device": device, "repeat": repeat, "metric": metric}
