"""The timing protocol: a network's runs interleaved with a fixed reference network's.

The speed of a shared machine drifts by ten percent over minutes, and more repeats do not average a drift away. A ratio
of two runs a few milliseconds apart does not see it. So every run of the network is paired with one run of the
reference, and what is reported is the median of the ratios.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Timing:
    """How something that runs is timed; calling it does it.

    Attributes:
        warmup: untimed runs of each network first.
        pairs: (network, reference) pairs a round. LETI asks for more than 100 on servers.
        max_deviation: a round is stable if the standard deviation of its ratios is at most this share of their mean
            (LETI: 1/10); an unstable round is thrown away and repeated.
        max_rounds: how often at most; the last round is then kept and marked unstable.
        preempted: a pair is dropped if the wall time of either run exceeds its CPU time by more than this share and
            20 microseconds: something else ran meanwhile.
        by: the clock that ratios take: cpu, or wall where the CPU only waits for what computes; then no pair is
            dropped.
    """

    warmup: int = 5
    pairs: int = 101
    max_deviation: float = 0.1
    max_rounds: int = 5
    preempted: float = 0.05
    by: Literal["cpu", "wall"] = "cpu"

    def __call__(self, run: Callable[[], None], reference: Callable[[], None]) -> Repeats:
        """Time what `run` executes against what `reference` does."""
        for _ in range(self.warmup):
            run()
            reference()
        with garbage_kept():
            for rounds in range(1, self.max_rounds + 1):
                clocks = np.array([(*clock(run), *clock(reference)) for _ in range(self.pairs)])
                repeats = Repeats(clocks, self._kept(clocks), rounds, self.by)
                if repeats.deviation <= self.max_deviation:
                    break
        return repeats

    def _kept(self, clocks: np.ndarray) -> np.ndarray:
        return self.undisturbed(clocks[:, [0, 2]], clocks[:, [1, 3]])

    def undisturbed(self, wall: np.ndarray, cpu: np.ndarray) -> np.ndarray:
        """The rounds [n] in which nothing else ran, from what each reading [n, readings] took in ms; all of them if
        they are fewer than half."""
        kept = np.all(wall <= (1 + self.preempted) * cpu + 0.02, axis=1)
        return kept if self.by == "cpu" and kept.sum() >= len(kept) // 2 else np.ones(len(kept), dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """The protocol as it stands in every journal row."""
        return asdict(self)


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Without Python's garbage collector, which would run in the middle of something."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def clock(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one run."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    run()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return wall / 1e6, cpu / 1e6


@dataclass(frozen=True)
class Repeats:
    """The raw times of one measurement.

    Attributes:
        clocks: milliseconds [pairs, 4]: wall and CPU of the network, wall and CPU of the reference.
        kept: which pairs count [pairs].
        rounds: rounds that were needed.
        by: the clock that ratios take.
    """

    clocks: np.ndarray
    kept: np.ndarray
    rounds: int
    by: Literal["cpu", "wall"] = "cpu"

    @property
    def ratios(self) -> np.ndarray:
        """Network / reference, of the kept pairs."""
        column = 1 if self.by == "cpu" else 0
        return self.clocks[self.kept, column] / self.clocks[self.kept, column + 2]

    @property
    def ratio(self) -> float:
        """Median of the ratios: what is reported."""
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
        """Median wall time of the reference in ms."""
        return float(np.median(self.clocks[self.kept, 2]))
