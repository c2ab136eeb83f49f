"""Energy per run of a network: the energy that a `Meter` reads during repeated runs (load), minus that of the idle host
(rest) over the same time.

Meters read a whole processor package, GPU or board, including other work on it. Rest and load alternate, so that slow
changes (temperature, other work) cancel. At rest the runtime is loaded and has just worked: a GPU then keeps its high
clocks and takes more power than after minutes without work. On a CPU one core works and the others rest, but the whole
package is awake: one busy core takes more energy than its share of a package whose cores are all busy.
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
"""Smallest number of new readings under load for a measured energy."""


class Unmetered(RuntimeError):
    """The energy cannot be measured. The message is the reason, as a clause without a full stop."""


class Meter(ABC):
    """A meter of cumulative energy (joules) or of power (watts). Implementations are dataclasses in `measure.meters`.

    Attributes:
        interval: seconds between two readings, not shorter than the period at which the meter has new values.
        name: name in rows and in `doctor`.
        scope: hardware whose energy is read.
        kinds: kinds of backends that it applies to: "gpu", "cpu".
        paced: whether a reading waits until the meter has a new value; otherwise it returns at once, and the meter is
            read every `interval`.
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
        """Seconds after a change of load until readings no longer depend on the previous load."""
        return 2 * self.interval

    @abstractmethod
    def open(self) -> AbstractContextManager[Callable[[], float]]:
        """A context manager that gives a function, which returns the next reading while the context is open.

        Raises:
            Unmetered, OSError: this host has no such meter or does not permit its reading. The function raises it too.
        """

    def unavailable(self) -> str:
        """Why this meter cannot be read here, in one sentence; empty if it can."""
        try:
            with Trace(self):
                return ""
        except (Unmetered, OSError) as error:
            return f"Meter {self.name} is not available here, because {error}."


class Trace:
    """Readings of a meter, taken by a thread while this context is open.

    Repeated values of an energy counter are not kept: a counter that changes ten times per second lacks, just before a
    change, the energy of the last tenth of a second.

    Attributes:
        times: time of each reading in seconds of `time.perf_counter`.
        values: each reading, in cumulative joules or in watts.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.times: list[float] = []
        self.values: list[float] = []
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._context = meter.open()

    def __enter__(self) -> Trace:
        read = self._context.__enter__()
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._read_until_stopped, args=(read,), daemon=True)
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
        self._context.__exit__(kind, error, trace)  # ends a reading that the thread may wait for
        self._thread.join(PATIENCE)

    def _read_until_stopped(self, read: Callable[[], float]) -> None:
        try:
            while not self._stop.is_set():
                value = read()
                if not self.meter.counts or [value] != self.values[-1:]:
                    self.values.append(value)
                    self.times.append(time.perf_counter())
                self._stop.wait(0 if self.meter.paced else self.meter.interval)
        except (Unmetered, OSError, ValueError) as error:
            self._error = error

    def check(self) -> float:
        """Time of the last reading.

        Raises:
            Unmetered: a reading failed, or there was no new one for `PATIENCE` seconds.
        """
        if self._error is not None:
            raise Unmetered(str(self._error)) from self._error
        last = self.times[-1] if self.times else self._started
        if time.perf_counter() > last + PATIENCE:
            raise Unmetered(f"it has reported nothing new for {PATIENCE:g} s")
        return last

    def joules(self, start: float, end: float) -> float:
        """Energy in joules between two times, which have to lie between the first and the last reading."""
        n = len(self.times)  # the thread appends to `values` first, so each of these times has its value
        return (difference if self.meter.counts else integral)(self.times[:n], self.values[:n], start, end)


def difference(times: Any, joules: Any, start: float, end: float) -> float:
    """Energy in joules between two times, from readings [n] of cumulative energy, interpolated linearly."""
    before, after = np.interp([start, end], times, joules)
    return float(after - before)


def integral(times: Any, watts: Any, start: float, end: float) -> float:
    """Energy in joules between two times, from readings [n] of power, by the trapezoidal rule between reading times."""
    times = np.asarray(times)
    points = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
    return float(np.trapezoid(np.interp(points, times, watts), points))


def measure_energy(run: Callable[[], object], meter: Meter, seconds: float = 2.0, rounds: int = 3) -> dict[str, Any]:
    """Net energy per run, the median over rounds, each of which is a stretch at rest and one under load.

    The net energy of a round is (joules under load - watts at rest x seconds under load) / number of runs. A stretch
    begins when the meter has settled, lasts for equally many seconds and until there are enough new readings, and then
    continues, uncounted, until the readings cover it.

    Args:
        run: function that runs the network once.
        meter: an available meter.
        seconds: duration of load over all rounds; longer if the meter has fewer than `UPDATES` new readings by then.
        rounds: number of rounds.

    Returns:
        A row with `energy_mj`, the median net energy per run in mJ, and `energy`, a dictionary: `meter` and `scope`;
        `rounds_mj`, the net energy per run of each round, and `spread`, their standard deviation divided by their mean;
        `gross_mj`, the energy per run including that at rest; mean power `idle_watts` at rest and `busy_watts` under
        load; `seconds`, `runs` and `updates` (new readings) under load, over all rounds.

    Raises:
        Unmetered: the meter failed, or a round took no more power than rest.
    """
    rest, length, least = partial(time.sleep, meter.interval / 2), seconds / rounds, math.ceil(UPDATES / rounds)
    with Trace(meter) as trace:
        stretches = [[stretch(trace, call, length, least) for call in (rest, run)] for _ in range(rounds)]
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
    """Call a function repeatedly, and measure the energy of the calls after the meter has settled.

    Args:
        trace: open readings of the meter.
        call: the function.
        seconds: shortest duration.
        updates: smallest number of new readings.

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
