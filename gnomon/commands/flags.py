"""Flags that several commands share."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from datasets.files.reading import shortened
from datasets.records import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from measure.base import Backend
    from predictors.base import Predictor


@dataclass(frozen=True)
class Runtime:
    """The runtime of this host that measures.

    Attributes:
        backend: runtime, name[:precision[:batch]].
        threads: number of threads that compute.
        core: pin this process to one processor core.
    """

    backend: str = "ort"
    threads: int = 1
    core: int | None = None

    def opened(self, protocol: str = "server") -> Backend:
        """The backend; raises `InputError` if it cannot run here or the flags name several."""
        from measure.commands.flags import Runs, one_device

        return one_device(self.backend, Runs(self.core, threads=str(self.threads), protocol=protocol))  # type: ignore[arg-type]


def share(text: str | float, flag: str) -> float:
    """A share between 0 and 1 that a flag gives as 2% or 0.02; raises `InputError` for anything else."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*", str(text))
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 < value < 1:
        raise InputError(f"{flag} must be a share such as 2% or 0.02, not '{shortened(text, 60)}'.")
    return value


def own_predictor(file: Path | None) -> Predictor | None:
    """The predictor of networks in a file that a flag names, None without one; raises `InputError` if it predicts no
    networks."""
    from predictors.base import Predictor
    from predictors.networks.price_request import Wanted, check_request

    if file is None:
        return None
    return Predictor.load(file, lambda found: check_request(found, str(file), Wanted(())))


def milliseconds(text: str) -> float:
    """A time that a flag gives as 30ms, 2s or 500us, in ms; raises `InputError` for anything else."""
    match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*(us|ms|s|)\s*", str(text))
    if not match or not (value := float(match[1])):
        raise InputError(f"--under must be a time above zero such as 30ms or 2s, not '{shortened(str(text), 60)}'.")
    return value * {"us": 1e-3, "ms": 1, "s": 1e3, "": 1}[match[2]]


class Found(Protocol):
    """The result of a command."""

    @property
    def notes(self) -> Sequence[str]: ...

    def record(self) -> dict[str, Any]: ...


F = TypeVar("F", bound=Found)


def print_found(found: F, report: Callable[[F], str], as_json: bool) -> None:
    """Print a result as JSON or as a report, and its notes on the error stream."""
    print(json.dumps(found.record(), indent=1, allow_nan=False) if as_json else report(found))
    from predictors.networks.price_report import printable

    for note in found.notes:
        print(f"note: {printable(note, 1500)}", file=sys.stderr)
