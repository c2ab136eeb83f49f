"""The timing protocol: a network's runs interleaved with a fixed reference network's.

The speed of a shared machine drifts by ten percent over minutes, and more repeats do not average a drift away. The
ratio of two runs within a few milliseconds is not affected. So every run of the network is paired with one run of the
reference, and the median of the ratios is reported. The reference runs once untimed before it is timed: after a network
that fills the caches it would take twice its time, and ratios of large and small networks would not compare.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from datasets.records import InputError


@dataclass(frozen=True)
class Timing:
    """The protocol by which runs are timed; call it to time a function against a reference.

    Attributes:
        warmup: number of untimed runs of each network at the start.
        pairs: number of undisturbed (network, reference) pairs per round; see `PROTOCOLS`.
        max_deviation: a round is stable if the standard deviation of its ratios is at most this share of their mean
            (LETI: 1/10); an unstable round is discarded and repeated.
        max_rounds: largest number of rounds; the last one is kept, and marked unstable if it is.
        preempted: a pair is dropped if the wall time of either run exceeds its CPU time by more than this share and
            20 microseconds, since something else ran meanwhile. Dropped pairs are measured again, up to twice `pairs`;
            if fewer than half are undisturbed even then, all pairs count.
        by: the clock of the ratios: cpu, or wall where the CPU only waits for an accelerator; then no pair is
            dropped.
        flush_mb: MiB of memory that are overwritten before each run of the network, so that its caches are cold.
        floor_ms: shorter runs are repeated within one reading of the clock: disturbances on a shared machine take tens
            of microseconds each.
        budget_s: seconds that `pairs` may take; if they would take longer there are fewer, at least a third. 0: no
            limit. Long runs need fewer readings.
        in_a_row: whether the three phases are also timed in a row, which shows that they add up and takes as long
            again.
        single_runs: number of runs that are timed one by one afterwards, for percentiles; there are none of cold runs.
        single_s: seconds that these may take; if they would take longer there are fewer.
        sessions: number of sessions of a short network that are timed one after another, `pairs` each, since its speed
            depends on where a session's memory came to lie.
        short_ms: longest first run of a short network, in ms; others have one session.
    """

    warmup: int = 5
    pairs: int = 101
    max_deviation: float = 0.1
    max_rounds: int = 5
    preempted: float = 0.05
    by: Literal["cpu", "wall"] = "cpu"
    flush_mb: int = 0
    floor_ms: float = 0.5
    budget_s: float = 0
    in_a_row: bool = True
    single_runs: int = 1000
    single_s: float = 10
    sessions: int = 1
    short_ms: float = 5

    def __call__(
        self, run: Callable[[], None], reference: Callable[[], None], again: Sequence[Callable[[], None]] = ()
    ) -> Repeats:
        """Time `run`, and the same network's runs in further sessions, against `reference`."""
        with garbage_kept():
            counts = self.calls_a_reading(run), self.calls_a_reading(reference)
            first, after = repeated(run, counts[0]), repeated(reference, counts[1])
            pairs = self.affordable(first, after, reference)
            readings = [first, *(repeated(other, counts[0]) for other in again)]
            for other in readings[1:] * bool(self.warmup):
                other()
            for rounds in range(1, self.max_rounds + 1):
                clocks = np.concatenate([self._round(each, after, reference, pairs) for each in readings])
                kept = self.undisturbed(clocks[:, [0, 2]], clocks[:, [1, 3]])
                interrupted = self.interrupted(clocks[:, [0, 2]], clocks[:, [1, 3]])
                repeats = Repeats(clocks / np.repeat(counts, 2), kept, rounds, self.by, interrupted)
                if repeats.deviation <= self.max_deviation:
                    break
        return repeats

    def affordable(self, *calls: Callable[[], object]) -> int:
        """Number of pairs within the budget of time, if these calls make one pair."""
        if not self.budget_s:
            return self.pairs
        ms = sum(clock(call)[0] for call in calls)
        return min(self.pairs, max(-(-self.pairs // 3), int(1e3 * self.budget_s / ms)))

    def calls_a_reading(self, call: Callable[[], object], floor_ms: float = 0) -> int:
        """Number of calls, a power of two, for which one reading of the clock exceeds both floors in ms.

        The function is warmed up first. With `flush_mb` it is called once per reading.
        """
        for _ in range(self.warmup):
            call()
        floor_ms, count = max(self.floor_ms, floor_ms), 1
        while not self.flush_mb and _shorter(repeated(call, count), floor_ms):
            count *= 2
        return count

    def _round(
        self, run: Callable[[], object], reference: Callable[[], object], before: Callable[[], object], pairs: int
    ) -> np.ndarray:
        """Readings [pairs or more, 4] with the columns of `Repeats.clocks`; `before` runs before each `reference`."""
        scratch, clocks = np.zeros(self.flush_mb << 17), np.empty((0, 4))  # 8 bytes per number
        missing = pairs
        while missing and len(clocks) < 2 * pairs:
            more = []
            for _ in range(min(missing, 2 * pairs - len(clocks))):
                scratch += 1
                network = clock(run)
                before()  # so that the reference finds its own data in the caches
                more.append((*network, *clock(reference)))
            clocks = np.concatenate([clocks, more])
            missing = pairs - int(self._alone(clocks[:, [0, 2]], clocks[:, [1, 3]]).sum())
        return clocks

    def undisturbed(self, wall: np.ndarray, cpu: np.ndarray) -> np.ndarray:
        """Which rounds [n] were undisturbed, by wall and CPU ms [n, readings]; all, if these are fewer than half."""
        alone = self._alone(wall, cpu)
        return alone if alone.sum() >= max(1, len(alone) // 2) else np.ones(len(alone), dtype=bool)

    def interrupted(self, wall: np.ndarray, cpu: np.ndarray) -> float:
        """Share of rounds that other work interrupted, by wall and CPU ms [n, readings]; 0 by the wall clock."""
        return 1 - float(self._alone(wall, cpu).mean())

    def one_by_one(self, run: Callable[[], object], ms: float) -> np.ndarray:
        """Wall ms [runs] of single runs, each with its own reading of the clock.

        Their number is known before the first one, since a series that slow runs may end would favour fast ones.

        Args:
            run: a function that was called before.
            ms: about how long it takes, in ms.
        """
        count = 0 if self.flush_mb else min(self.single_runs, max(1, int(1e3 * self.single_s / ms)))
        with garbage_kept():
            return np.array([clock(run)[0] for _ in range(count)])

    def _alone(self, wall: np.ndarray, cpu: np.ndarray) -> np.ndarray:
        return np.all((wall <= (1 + self.preempted) * cpu + 0.02) | (self.by == "wall"), axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The protocol as it stands in every journal row."""
        return asdict(self)


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Disable Python's garbage collector, which would run in the middle of a reading."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "server": {"pairs": 101},
    "mobile": {"pairs": 300},
    "quick": {"pairs": 31, "warmup": 2, "budget_s": 0.5, "single_s": 0.5},
    "network": {"pairs": 31, "warmup": 2, "budget_s": 1, "single_s": 3},
    "layer": {"pairs": 11, "warmup": 2, "max_rounds": 3, "budget_s": 0.15, "in_a_row": False, "single_s": 0.05,
              "sessions": 3},
}  # fmt: skip
"""Fields of `Timing` by protocol. LETI requires more than 100 runs on servers and at least 300 on mobile devices; for
thousands of networks or tens of thousands of layers there are fewer, with medians two to three times as uncertain.
Layers of microseconds differ between sessions about as much as medians of eleven pairs do, so that three sessions of
eleven pairs each repeat better than one of 31. Choosing the pairs with the fastest references does not help.
`network` has single runs enough for a bound of their 90th percentile up to 65 ms, of the 99th up to 6 ms."""


def pin(core: int) -> None:
    """Pin this process, and those that it starts, to one processor core.

    Raises:
        InputError: there is no such core, or this system cannot pin processes.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("This system cannot pin a process to a core; leave --core out.")
    if core not in (allowed := os.sched_getaffinity(0)):
        raise InputError(f"Core {core} is not one that this process may use; name one of {sorted(allowed)}.")
    os.sched_setaffinity(0, {core})


def clock(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one run."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    run()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return wall / 1e6, cpu / 1e6


def _shorter(call: Callable[[], object], ms: float) -> bool:
    """Whether one of three runs takes less than so many wall ms; a run of 100 times as much, which no interruption by
    other work explains, decides alone."""
    for _ in range(3):
        if (wall := clock(call)[0]) < ms or wall > 100 * ms:
            return wall < ms
    return False


def repeated(call: Callable[[], object], count: int) -> Callable[[], object]:
    """A function that makes `count` calls."""

    def many() -> None:
        for _ in range(count):
            call()

    return call if count == 1 else many


@dataclass(frozen=True)
class Repeats:
    """The raw times of one measurement.

    Attributes:
        clocks: milliseconds [pairs, 4]: wall and CPU of the network, wall and CPU of the reference.
        kept: which pairs count [pairs].
        rounds: number of rounds that were needed.
        by: the clock of the ratios.
        interrupted: share of the pairs that other work interrupted, as far as the clocks show it.
        more: further results, as fields of the journal row.
    """

    clocks: np.ndarray
    kept: np.ndarray
    rounds: int
    by: Literal["cpu", "wall"] = "cpu"
    interrupted: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> np.ndarray:
        """Network / reference of the kept pairs."""
        column = 1 if self.by == "cpu" else 0
        return self.clocks[self.kept, column] / self.clocks[self.kept, column + 2]

    @property
    def ratio(self) -> float:
        """Median of the ratios, which is reported."""
        return float(np.median(self.ratios))

    @property
    def deviation(self) -> float:
        """Standard deviation of the ratios over their mean."""
        return float(self.ratios.std() / self.ratios.mean())

    @property
    def raw_ms(self) -> float:
        """Median wall time of the network in ms, uncorrected."""
        return float(np.median(self.clocks[self.kept, 0]))

    @property
    def reference_ms(self) -> float:
        """Median wall time of the reference in ms; CPU time if other work interrupted most pairs, since the wall time
        is then that of the other work."""
        column = 3 if self.by == "cpu" and self.interrupted > 0.5 else 2
        return float(np.median(self.clocks[self.kept, column]))
