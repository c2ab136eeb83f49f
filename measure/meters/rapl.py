"""RAPL (Running Average Power Limit): energy counters of x86 processor packages.

Linux calls each counter a zone, with a folder in /sys/class/powercap.
"""

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
    """Energy of all processor packages, summed (of Intel and AMD: the kernel names the zones of both intel-rapl).

    Only packages are added. Their sub-zones (core, uncore) are parts of them, the zone psys contains them, and the
    zones intel-rapl-mmio are the same packages, read from other registers. DRAM is not a part of a package, and is
    omitted since only servers report it. The counters change every millisecond and wrap around at
    `max_energy_range_uj`, which a busy package reaches in 10 minutes to an hour, so they are read continuously.

    Attributes:
        folder: folder of all zones.
        interval: seconds between two readings.
    """

    folder: Path = Path("/sys/class/powercap")
    interval: float = 0.02

    name = "RAPL"
    scope = "processor packages"
    kinds: ClassVar[tuple[str, ...]] = ("cpu",)
    counts = True

    def zones(self) -> list[Path]:
        """Folders of the zones that are packages."""
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
        before, joules = _read_counters(zones), 0.0

        def read() -> float:
            nonlocal before, joules
            now = _read_counters(zones)
            joules += sum((b - a) % size for a, b, size in zip(before, now, ranges, strict=True)) / 1e6
            before = now
            return joules

        yield read


def _read_counters(zones: list[Path]) -> list[int]:
    """Microjoules of each package; since Linux 5.10 only root may read them, to prevent side-channel attacks."""
    try:
        return [int((zone / "energy_uj").read_text()) for zone in zones]
    except PermissionError as error:
        command = f"sudo chmod a+r {zones[0].parent}/*/energy_uj"
        raise Unmetered(f"only root may read its counters (`{command}` allows it until the next boot)") from error
