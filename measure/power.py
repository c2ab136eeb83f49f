"""The energy per run: the reading of a `Meter` while a network runs repeatedly, net of the reading at rest.

Meters read a whole processor package, GPU or board, including other work on it; rest and load alternate, so that slow
changes (temperature, other work) cancel. Rest is the state of this host with its runtime loaded: a GPU that has just
worked keeps its clocks and takes more power than one that was idle for minutes. On a CPU one core works and the others
rest, but waking the package costs energy too: one busy core takes more than its share of a package whose cores are all
busy.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

PATIENCE = 5.0
"""Seconds without a new reading after which a meter counts as failed."""
UPDATES = 20
"""Smallest number of new readings under load per energy."""


class Unmetered(RuntimeError):
    """The energy cannot be measured; the text, a part of a sentence, is the reason."""


class Meter(ABC):
    """A meter of cumulative energy (joules) or of power (watts). Implementations are dataclasses in `measure.meters`.

    Attributes:
        interval: seconds between two readings, at least the meter's own period.
        name: name in rows and in `doctor`.
        scope: the hardware whose energy is read.
        kinds: kinds of backends that it applies to: "gpu", "cpu".
        paced: whether a reading waits for the meter; otherwise it returns at once, and is read every `interval`.
    """

    interval: float
    name: ClassVar[str]
    scope: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    paced: ClassVar[bool] = False

    @property
    @abstractmethod
    def counts(self) -> bool:
        """Whether readings are cumulative joules; otherwise they are watts."""

    @property
    def settle(self) -> float:
        """Seconds after a change of load until readings no longer depend on the load before."""
        return 2 * self.interval

    @abstractmethod
    def open(self) -> AbstractContextManager[Callable[[], float]]:
        """A function that returns the next reading, valid within the context.

        Raises:
            Unmetered, OSError: this host has no such meter or permits no reading; raised by the function too.
        """

    def unavailable(self) -> str:
        """Why this meter cannot be read here, in one sentence; empty if it can."""
        try:
            with Trace(self):
                return ""
        except (Unmetered, OSError) as error:
            return f"Meter {self.name} is not available here, because {error}."


class Trace:
    """The readings of a meter, taken by a thread within this context.

    Of a counter only new values are kept: one that changes ten times per second is late by a tenth of a second just
    before a change.

    Attributes:
        times: seconds of `time.perf_counter`, one per reading.
        values: cumulative joules, or watts.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.times: list[float] = []
        self.values: list[float] = []
        self._why: Exception | None = None
        self._stop = threading.Event()
        self._source = meter.open()

    def __enter__(self) -> Trace:
        read = self._source.__enter__()
        self._begun = time.perf_counter()
        self._thread = threading.Thread(target=self._take, args=(read,), daemon=True)
        self._thread.start()
        try:
            while not self.times:
                self.check()
                time.sleep(0.001)
        except Unmetered:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._source.__exit__(kind, error, trace)  # ends what the thread may wait for
        self._thread.join(PATIENCE)

    def _take(self, read: Callable[[], float]) -> None:
        try:
            while not self._stop.is_set():
                value = read()
                if not self.meter.counts or [value] != self.values[-1:]:
                    self.values.append(value)
                    self.times.append(time.perf_counter())
                self._stop.wait(0 if self.meter.paced else self.meter.interval)
        except (Unmetered, OSError, ValueError) as error:
            self._why = error

    def check(self) -> float:
        """Time of the last reading; raises `Unmetered` if no further one can be expected."""
        if self._why is not None:
            raise Unmetered(str(self._why)) from self._why
        last = self.times[-1] if self.times else self._begun
        if time.perf_counter() > last + PATIENCE:
            raise Unmetered(f"it has reported nothing new for {PATIENCE:g} s")
        return last

    def joules(self, start: float, end: float) -> float:
        """Energy between two times within the readings."""
        n = len(self.times)  # the thread appends to `values` first
        return (difference if self.meter.counts else integral)(self.times[:n], self.values[:n], start, end)


def difference(times: Any, joules: Any, start: float, end: float) -> float:
    """Joules between two times, from readings [n] of a counter, interpolated linearly."""
    before, after = np.interp([start, end], times, joules)
    return float(after - before)


def integral(times: Any, watts: Any, start: float, end: float) -> float:
    """Joules between two times, from readings [n] of a power, by the trapezoidal rule at the readings' own times."""
    times = np.asarray(times)
    moments = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
    return float(np.trapezoid(np.interp(moments, times, watts), moments))


def measure_energy(run: Callable[[], object], meter: Meter, seconds: float = 2.0, rounds: int = 3) -> dict[str, Any]:
    """Energy per run net of rest, in rounds of rest and load of equal length.

    In each round, the joules under load minus the watts at rest times the seconds under load are divided by the number
    of runs. A stretch begins when the meter has settled and lasts until there are enough new readings; its load
    continues until readings cover all of it.

    Args:
        run: one run.
        meter: an available meter.
        seconds: duration of load over all rounds; longer if the meter has fewer than `UPDATES` new readings by then.
        rounds: number of rounds; the median is reported.

    Returns:
        energy_mj: median net energy per run. energy: meter, scope; rounds_mj (net, per run), spread (standard deviation
        of these over their mean); gross_mj per run; idle_watts, busy_watts; seconds, runs, updates (under load).

    Raises:
        Unmetered: the meter failed, or a round took no more power than rest.
    """
    rest, length, enough = partial(time.sleep, meter.interval / 2), seconds / rounds, math.ceil(UPDATES / rounds)
    with Trace(meter) as trace:
        stretches = [[stretch(trace, call, length, enough) for call in (rest, run)] for _ in range(rounds)]
    (rest_j, rest_s, _, _), (load_j, load_s, runs, updates) = np.array(stretches).transpose(1, 2, 0)
    net = 1000 * (load_j - rest_j / rest_s * load_s) / runs
    if not net.min() > 0:
        raise Unmetered(
            f"{meter.name} read no more under load than at rest in at least one round "
            f"(net mJ per run: {', '.join(f'{mj:.3g}' for mj in net)}); stop what else runs there"
        )
    return {
        "energy_mj": float(np.median(net)),
        "energy": {
            "meter": meter.name,
            "scope": meter.scope,
            "rounds_mj": net.tolist(),
            "spread": float(net.std(ddof=1) / net.mean()),
            "gross_mj": float(1000 * load_j.sum() / runs.sum()),
            "idle_watts": float(rest_j.sum() / rest_s.sum()),
            "busy_watts": float(load_j.sum() / load_s.sum()),
            "seconds": float(load_s.sum()),
            "runs": int(runs.sum()),
            "updates": int(updates.sum()),
        },
    }


def stretch(
    trace: Trace, call: Callable[[], object], seconds: float, updates: int = 1
) -> tuple[float, float, int, int]:
    """Call a function repeatedly, once the meter has settled, for at least the given seconds and new readings.

    Returns:
        Joules, seconds, calls and new readings of the stretch.
    """
    settled = time.perf_counter() + trace.meter.settle
    while (start := time.perf_counter()) < settled:
        call()
    calls, end, before = 0, start, len(trace.times)
    while end < start + seconds or len(trace.times) < before + updates:
        call()
        trace.check()
        calls, end = calls + 1, time.perf_counter()
    readings = len(trace.times) - before
    while trace.check() < end:
        call()
    return trace.joules(start, end), end - start, calls, readings
