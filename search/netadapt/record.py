"""What an adaptation has done so far, on disk: killed at any moment, it goes on behind its last whole iteration."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.writing import write_bytes, write_text
from datasets.records import InputError
from search.netadapt.cutting import Weights

Row = dict[str, Any]


class Record:
    """A folder of one adaptation: `settings.json`, one line an iteration in `iterations.jsonl`, weights as `NAME.npz`.

    Weights are written whole, under another name first, and before the line that speaks of them.

    Attributes:
        rows: the lines.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open a folder, or make it.

        Raises:
            InputError: it holds an adaptation with other settings, or another process is at it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "iterations.jsonl"
        self.file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"Another process is adapting in {folder}; wait for it or name another folder.") from error
        self._settle(json.loads(json.dumps(settings)))
        self.file.seek(0)
        content = self.file.read()
        whole = content.rfind(b"\n") + 1
        self.file.truncate(whole)  # a line torn by a crash
        self.rows: list[Row] = [json.loads(line) for line in content[:whole].splitlines()]

    def _settle(self, settings: Row) -> None:
        path = self.folder / "settings.json"
        if not path.exists():
            write_text(path, json.dumps(settings, indent=1))
        elif (before := json.loads(path.read_text())) != settings:
            other = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
            raise InputError(
                f"{self.folder} holds an adaptation with another {', '.join(other)}; name another folder, or delete it."
            )

    def append(self, row: Row) -> None:
        """Write a line through to the disk."""
        self.file.write(json.dumps(row).encode() + b"\n")
        os.fsync(self.file.fileno())
        self.rows.append(row)

    def has(self, name: str) -> bool:
        """Whether weights of this name are there."""
        return self._of(name).exists()

    def save(self, name: str, weights: Weights) -> None:
        """Write weights under a name."""
        buffer = io.BytesIO()
        flat: dict[str, Any] = {
            f"{node}.{part}": value for node, named in weights.items() for part, value in named.items()
        }
        np.savez(buffer, **flat)
        write_bytes(self._of(name), buffer.getvalue())

    def load(self, name: str) -> Weights:
        """Weights that were saved under this name."""
        return read_weights(self._of(name))

    def drop(self, name: str) -> None:
        """Delete weights that nothing needs any more."""
        self._of(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others at the folder."""
        self.file.close()

    def _of(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def read_weights(path: Path) -> Weights:
    """Weights from a file of a `Record`."""
    weights: Weights = {}
    with np.load(path) as held:
        for name in held.files:
            node, part = name.split(".")
            weights.setdefault(int(node), {})[part] = held[name]
    return weights
