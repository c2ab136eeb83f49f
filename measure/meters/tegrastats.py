"""tegrastats: power of NVIDIA's Jetson boards, as their own command prints it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from measure.power import Meter, Unmetered

INPUTS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that feed all the others: AGX Thor's board; TX2, Xavier NX, Orin NX and Nano; TX1 and Nano."""

_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")


@dataclass
class Tegrastats(Meter):
    """Power of the module's input, every tenth of a second.

    AGX Xavier and AGX Orin do not meter their input: there all reported rails are added, which is less than the power
    drawn from the supply.

    Attributes:
        command: the program.
        interval: seconds between two lines.
    """

    command: str = "tegrastats"
    interval: float = 0.1

    name = "tegrastats"
    scope = "Jetson module"
    kinds: ClassVar[tuple[str, ...]] = ("cpu", "gpu")
    paced = True
    counts = False

    @contextmanager
    def open(self) -> Iterator[Callable[[], float]]:
        command = [self.command, "--interval", str(round(1000 * self.interval))]
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError as error:
            raise Unmetered(f"the command {self.command} of NVIDIA's Jetson boards is not here") from error
        assert process.stdout is not None
        lines = process.stdout

        def read() -> float:
            if line := lines.readline():
                return watts(line)
            raise Unmetered(f"the command {self.command} has ended")

        try:
            yield read
        finally:
            process.kill()
            process.wait()


def watts(line: str) -> float:
    """Power of the whole module in W, from one line of output.

    Each rail has two numbers in mW, the present power and the mean since the command began; the first is read.
    """
    rails = {name: int(milliwatts) for name, milliwatts in _RAIL.findall(line)}
    if not rails:
        raise Unmetered("tegrastats names no power rail (some boards name them to root only)")
    return next((rails[name] for name in INPUTS if name in rails), sum(rails.values())) / 1000
