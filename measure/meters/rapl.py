"""RAPL: energy counters of x86 processor packages, as Linux shows them under /sys/class/powercap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from measure.power import Meter, Unmetered


@dataclass
class Rapl(Meter):
    """The sum over all packages (Intel's and AMD's: the kernel names both intel-rapl).

    Sub-zones (core, uncore) are parts of a package and are not added; nor are psys, which holds the packages, and the
    same packages by memory-mapped registers (intel-rapl-mmio). DRAM is no part of the package, and is left out since
    only servers report it. The counters change every millisecond and wrap around at `max_energy_range_uj`, which a busy
    package reaches in 10 minutes to an hour, so they are read continuously.

    Attributes:
        folder: folder of the zones.
        interval: seconds between two readings.
    """

    folder: Path = Path("/sys/class/powercap")
    interval: float = 0.02

    name = "RAPL"
    scope = "processor packages"
    kinds: ClassVar[tuple[str, ...]] = ("cpu",)
    counts = True

    def zones(self) -> list[Path]:
        """The folders of the packages."""
        return [
            zone
            for zone in sorted(self.folder.glob("intel-rapl:*"))
            if re.fullmatch(r"intel-rapl:\d+", zone.name) and (zone / "name").read_text().startswith("package")
        ]

    @contextmanager
    def open(self) -> Iterator[Callable[[], float]]:
        zones = self.zones()
        if not zones:
            raise Unmetered(f"{self.folder} has no energy counter of a package (virtual machines have none)")
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        before, joules = _read(zones), 0.0

        def read() -> float:
            nonlocal before, joules
            now = _read(zones)
            joules += sum((b - a) % top for a, b, top in zip(before, now, ranges, strict=True)) / 1e6
            before = now
            return joules

        yield read


def _read(zones: list[Path]) -> list[int]:
    """Microjoules of each package; since Linux 5.10 only root may read them, to prevent side-channel attacks."""
    try:
        return [int((zone / "energy_uj").read_text()) for zone in zones]
    except PermissionError as error:
        command = f"sudo chmod a+r {zones[0].parent}/*/energy_uj"
        raise Unmetered(f"only root may read its counters (`{command}` allows it until the next boot)") from error
