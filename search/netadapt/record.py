"""Progress of an adaptation on disk: killed at any moment, it continues after its last complete iteration."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.files.reading import read_json
from datasets.files.table_file import is_finite
from datasets.files.writing import cannot_write, write_bytes, write_text
from datasets.networks.model import Weights, read_weights, weights_to_npz
from datasets.records import InputError

Row = dict[str, Any]

MOST_BYTES = 2**31
"""Largest weights that are read."""


class Record:
    """A folder of one adaptation: `settings.json`, one line per iteration in `iterations.jsonl`, weights as `NAME.npz`.

    Weights are written whole, and before the line that refers to them.

    Attributes:
        rows: the lines.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open a folder, or make it.

        Raises:
            InputError: it holds an adaptation with other settings, or another process uses it.
        """
        self.folder, self.path = folder, folder / "iterations.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is adapting in {folder}; wait for it or name another folder.") from error
        self._check_settings(json.loads(json.dumps(settings)))
        self.file.seek(0)
        content = self.file.read()
        whole = content.rfind(b"\n") + 1
        self.rows = [self._row(line, number) for number, line in enumerate(content[:whole].splitlines(), 1)]
        self.file.truncate(whole)  # a line torn by a crash

    def _check_settings(self, settings: Row) -> None:
        path = self.folder / "settings.json"
        if not path.exists():
            write_text(path, json.dumps(settings, indent=1))
        elif (before := self._before(path)) != settings:
            other = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
            raise InputError(
                f"{self.folder} holds an adaptation with another {', '.join(other)}; name another folder, or delete it."
            )

    def _before(self, path: Path) -> Row:
        before = read_json(path, f"delete {self.folder} and adapt again")
        if not isinstance(before, dict):
            raise InputError(f"{path} holds no settings; delete {self.folder} and adapt again.")
        return before

    def _row(self, line: bytes, number: int) -> Row:
        """A checked line: `ms` and `widths` (channels by name) where it has them; the first is iteration 0."""
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        valid = isinstance(row, dict) and (number > 1 or row.get("iteration") == 0)
        valid = valid and is_finite(row.get("ms", 1.0)) and row.get("ms", 1.0) > 0
        widths = row.get("widths", {}) if valid else {}
        valid = (
            valid and isinstance(widths, dict) and all(type(width) is int and width > 0 for width in widths.values())
        )
        if not valid or (number == 1 and not {"ms", "widths"} <= row.keys()):
            raise InputError(f"{self.path}, line {number} is damaged; delete {self.folder} and adapt again.")
        return row

    def append(self, row: Row) -> None:
        """Append a line, synchronised to the disk."""
        self.file.write(json.dumps(row).encode() + b"\n")
        os.fsync(self.file.fileno())
        self.rows.append(row)

    def save(self, name: str, weights: Weights) -> None:
        """Write weights under a name."""
        write_bytes(self._file(name), weights_to_npz(weights))

    def load(self, name: str) -> Weights:
        """Read the weights of a name."""
        return read_weights(self._file(name), "delete the folder, and adapt again")

    def drop(self, name: str) -> None:
        """Delete the weights of a name."""
        self._file(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the folder."""
        self.file.close()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
