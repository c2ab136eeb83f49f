"""Campaigns: many architectures on many backends, an append-only journal that survives `kill -9`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from datasets.records import Architecture, Architectures, InputError, Space
from measure.base import Backend, Session, reference_network

Row = dict[str, Any]


class Journal:
    """One JSON object a line, flushed to disk as soon as it is known. A line torn by a crash is cut off on opening.

    Only one process may hold a journal open at a time; a second one raises `InputError`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is writing {path}; wait for it or name another journal.") from error
        self.file.seek(0)
        content = self.file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self.file.truncate(whole)
        self.rows = list(_parse(content[:whole], path))

    def append(self, row: Row) -> None:
        """Write one row through to the disk."""
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
    """The rows of a journal, also while a campaign is still writing it."""
    if not path.is_file():
        raise InputError(f"There is no journal {path}; `python -m measure run --journal {path}` makes one.")
    content = path.read_bytes()
    return list(_parse(content[: content.rfind(b"\n") + 1], path))


def _parse(content: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
            yield {**row, "device": dict(row["device"]), "key": str(row["key"])}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number} is not a row of a journal; is it the right file?") from error


def distinct_sample(space: Space, n: int, seed: int) -> Architectures:
    """`n` random architectures, no two of which do the same work (by `canonical`); a larger `n` only adds to them.

    Those that compute a constant are left out: a runtime folds them away, and there is nothing to measure.
    """
    draws = space.sample(50 * n, np.random.default_rng(seed))
    draws = draws[space.connected(draws)]
    first: dict[str, int] = {}
    for position, name in enumerate(space.canonical(draws)):
        first.setdefault(name, position)
    if len(first) < n:
        raise InputError(f"Only {len(first)} distinct architectures were found in {space}; ask for fewer than {n}.")
    return draws[np.array(list(first.values())[:n], dtype=int)]


Task = tuple[int, int, Backend]
"""Number of the repeat, position of the architecture, backend."""


def pending(
    archs: Architectures, backends: Sequence[Backend], journal: Journal, repeats: int = 1, retry: bool = False
) -> list[Task]:
    """What the journal does not hold yet (failed rows count as held unless `retry`).

    The order is repeat, architecture, backend, so that repeats lie apart in time and all devices advance together.
    """
    done = {_identity(row) for row in journal.rows if not (retry and "error" in row)}
    space, keys = str(archs.space), archs.keys
    names = [backend.device().name for backend in backends]
    return [
        (repeat, position, backend)
        for repeat in range(repeats)
        for position, key in enumerate(keys)
        for backend, name in zip(backends, names, strict=True)
        if (space, key, name, repeat) not in done
    ]


def _identity(row: Row) -> tuple[str, str, str, int]:
    return row["space"], row["key"], row["device"]["name"], row["repeat"]


def run_campaign(archs: Architectures, tasks: Sequence[Task], journal: Journal) -> Iterator[Row]:
    """Measure every task; yields each row after it is on disk."""
    references: dict[str, Session] = {}
    for repeat, position, backend in tasks:
        arch, device = archs[position], backend.device()
        if device.name not in references:
            references[device.name] = backend.session(reference_network())
        about = {"space": arch.space, "key": arch.key, "device": device.to_dict(), "repeat": repeat}
        measured = measure_row(backend, archs.space.expand(arch), references[device.name])
        row = {**about, "metric": "latency_ms", **measured}
        journal.append(row)
        yield row


def measure_row(backend: Backend, network: Architecture, reference: Session) -> Row:
    """What one measurement adds to its row; a failure is a row that says why."""
    row: Row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"machine": platform.machine(), "system": platform.system(), "cpu": cpu_model()},
        "versions": {"python": platform.python_version(), **backend.versions()},
        "protocol": backend.timing.to_dict(),
    }
    try:
        repeats = backend.measure(network, reference)
    except Exception as error:
        return {**row, "error": f"{type(error).__name__}: {error}"}
    return {
        **row,
        "ratio": repeats.ratio,
        "deviation": repeats.deviation,
        "quantiles": np.quantile(repeats.ratios, [0.1, 0.25, 0.75, 0.9]).tolist(),
        "raw_ms": repeats.raw_ms,
        "reference_ms": repeats.reference_ms,
        "stable": repeats.deviation <= backend.timing.max_deviation,
        "rounds": repeats.rounds,
        "dropped": int((~repeats.kept).sum()),
        "load": os.getloadavg()[0],
        "clocks": np.round(repeats.clocks, 5).tolist(),
    }


def cpu_model() -> str:
    """The processor's name, as Linux tells it; elsewhere what `platform` knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
