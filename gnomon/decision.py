"""The result of `gnomon decide`: alternatives and the best of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Goal = Literal["latency", "throughput"]


@dataclass(frozen=True)
class Alternative:
    """A way to run a network.

    Attributes:
        device: name of the device: machine, runtime, precision, threads.
        runtime, precision, threads, batch: the settings.
        ms, low, high: predicted time of a run with its interval.
        per_second: samples per second.
        probability: that it is the best.
        loss: median share by which it takes longer than the chosen one (per sample where throughput counts).
        regret: expected share by which it takes longer than the truly best one.
        measured_ms: measured time on this machine; None if it was not measured.
    """

    device: str
    runtime: str
    precision: str
    threads: int
    batch: int
    ms: float
    low: float
    high: float
    per_second: float
    probability: float
    loss: float
    regret: float
    measured_ms: float | None = None


@dataclass(frozen=True)
class Decided:
    """A decision, with what speaks for it.

    Attributes:
        network: its name.
        machine: on which it shall run.
        goal: latency: the shortest run; throughput: the most samples per second.
        level: probability of intervals.
        alternatives: the chosen one first, then by regret.
        notes: what the predictions do not rest on.
    """

    network: str
    machine: str
    goal: Goal
    level: float
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Alternative:
        """The chosen alternative."""
        return self.alternatives[0]

    def record(self) -> dict[str, Any]:
        """The result as plain values, as `--json` prints them."""
        return {"format": 1, **asdict(self), "alternatives": [asdict(each) for each in self.alternatives],
                "notes": list(self.notes)}  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """One row per alternative."""
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.alternatives])
