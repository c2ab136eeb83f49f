"""Plans of campaigns in files: the contents of a table, and the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets.files.described import from_fields
from datasets.files.reading import read_yaml
from datasets.records import InputError

Protocol = Literal["server", "mobile", "quick", "layer", "network"]


@dataclass(frozen=True)
class Part:
    """Architectures of one space on some runtimes; the fields are those of `python -m measure run`.

    Attributes:
        space: space of the architectures, with its skeleton.
        backend: runtimes, separated by commas.
        limit: number of distinct random architectures.
        layers: whether each of their layers is measured once and alone (`measure.lookup`) instead of the whole.
        protocol: name of the timing protocol.
        phases: whether phases are measured.
        seed: seed of the random architectures.
        threads: number of threads that compute; rows of more than one count only where nothing else runs.
    """

    space: str
    backend: str
    limit: int
    layers: bool = False
    protocol: Protocol = "server"
    phases: bool = False
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Plan:
    """The plan of one table.

    Attributes:
        parts: the parts of the table.
        again: number of architectures per part that are measured three times, twice before all others and once after
            them, so that the table contains its own repeatability.
    """

    parts: list[Part]
    again: int = 20

    def stages(self, limit: int | None = None) -> Iterator[tuple[Part, int, int]]:
        """Part, number of architectures and number of passes, in the order in which they are measured.

        With a `limit`, at most that many architectures of each part, once.
        """
        if limit is not None:
            yield from ((part, min(limit, part.limit), 1) for part in self.parts)
            return
        for passes in (2, 1, 3):
            for part in self.parts:
                if number := part.limit if passes == 1 else min(self.again, part.limit):
                    yield part, number, passes


def read_plan(path: Path) -> Plan:
    """Read a file of configs/campaigns.

    Raises:
        InputError: there is no such file, or it is no plan.
    """
    plan = from_fields(read_yaml(path, "configs/campaigns has examples"), Plan, str(path))
    if not plan.parts or plan.again < 0 or any(min(p.limit, p.threads) < 1 or p.seed < 0 for p in plan.parts):
        raise InputError(
            f"{path} is no plan: it needs parts, limits and threads of 1 or more, and no negative `again` or seed."
        )
    return plan
