"""Interleaved runs of two networks on one machine, in blocks with sessions of their own.

The speed of a shared machine drifts, and so does that of a session, which depends on where its memory came to lie. A
block creates both sessions anew, in an order drawn by chance, and runs them in turns: A B, B A, A B, ... Drift within a
block cancels in the ratio of each pair, and what a session adds to the ratios of its block differs from block to block.
So ratios of equal networks exceed one in as many blocks as they fall below it, whatever else the machine does: nothing
but chance distinguishes the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from measure.base import Backend
from measure.session import Built, Session
from measure.timing import Timing, clock, garbage_kept, repeated

WARMUP, WARMUP_S = 2, 0.02
"""Most untimed runs of a new session, and seconds after which there are no more."""
PAIRS, BLOCK_S = 12, 1.0
"""Most pairs of a block, and seconds that more than one may take."""


@dataclass(frozen=True)
class Side:
    """One of the two networks.

    Attributes:
        backend: backend that runs it.
        built: what it loads; its file stays where it is until the last block.
        warm: whether it runs once untimed before each reading, so that it finds its own data in the caches.
    """

    backend: Backend
    built: Built
    warm: bool = False

    def session(self) -> Session:
        """A new session with bound inputs, warmed up."""
        session = self.backend.opened(self.built)
        session.bind(self.built.inputs)
        start = time.perf_counter()
        for _ in range(WARMUP):
            session.run()
            if time.perf_counter() - start > WARMUP_S:
                break
        return session


@dataclass(frozen=True)
class Block:
    """Runs of both networks by one session each.

    Attributes:
        clocks: ms per run [pairs, 4]: wall and CPU time of the first network, and of the second.
        seconds: of the runs, and of the creation of sessions.
        renewed: whether its sessions are not those of the block before.
    """

    clocks: np.ndarray
    seconds: float
    renewed: bool

    def log_ratio(self, timing: Timing) -> float:
        """Logarithm of the first network's time over the second's: the median over the undisturbed pairs."""
        kept = self.clocks[timing.undisturbed(self.clocks[:, [0, 2]], self.clocks[:, [1, 3]])]
        column = 1 if timing.by == "cpu" else 0
        return float(np.median(np.log(kept[:, column] / kept[:, column + 2])))


def blocks(sides: Sequence[Side], timing: Timing, seed: int | None = None) -> Iterator[Block]:
    """Measure blocks without end.

    Every block has sessions of its own, unless their creation takes more than `BLOCK_S`, as that of large networks does
    which differ little between sessions: then they stay until their runs took twice as long.

    Args:
        sides: the two networks.
        timing: with the clock that counts, and how short a reading may be.
        seed: seed of the order of the networks; by default a new one, so that checks do not share their luck.
    """
    generator, counts = np.random.default_rng(seed), np.zeros(2, int)
    while True:
        start = time.perf_counter()
        # the old ones are still there, or the new ones would come to lie in the same memory
        sessions = {side: sides[side].session() for side in generator.permutation(2).tolist()}
        runs = [sessions[side].run for side in range(2)]
        if not counts.all():
            counts = _calls_a_reading(runs, timing)
            if not any(side.warm for side in sides):  # the first call of a reading takes longer
                counts[:] = counts.max()
        calls = [repeated(run, int(count)) for run, count in zip(runs, counts, strict=True)]
        ahead = [run if side.warm else None for run, side in zip(runs, sides, strict=True)]
        create_s, run_s = time.perf_counter() - start, 0.0
        while not run_s or (create_s > BLOCK_S and run_s < 2 * create_s):
            clocks, seconds = _pairs(calls, ahead, generator.permutation(2).tolist())
            yield Block(clocks / np.repeat(counts, 2), seconds + (0 if run_s else create_s), not run_s)
            run_s += seconds
        if create_s > BLOCK_S:  # large networks, of which there may be no room for four sessions
            del sessions, runs, calls, ahead


def _calls_a_reading(runs: Sequence[Callable[[], None]], timing: Timing) -> np.ndarray:
    """Number of calls of each network [2], powers of two, for which a reading of the clock exceeds its floor."""
    ms = np.array([_shortest_ms(run, timing) for run in runs])
    return 2 ** np.ceil(np.log2(np.maximum(timing.floor_ms / ms, 1))).astype(int)


def _shortest_ms(run: Callable[[], None], timing: Timing) -> float:
    """Time of the shortest of five runs, or of two where both are long."""
    found = list[float]()
    while len(found) < 2 or (len(found) < 5 and min(found) < 1e3 * WARMUP_S):
        found.append(clock(run)[timing.by == "cpu"])
    return min(found)


def _pairs(
    calls: Sequence[Callable[[], object]], ahead: Sequence[Callable[[], None] | None], order: Sequence[int]
) -> tuple[np.ndarray, float]:
    """Readings [pairs, 4] in ms, with the columns of `Block.clocks`, and the seconds that they took."""
    start, seconds, clocks = time.perf_counter(), 0.0, list[np.ndarray]()
    with garbage_kept():
        while len(clocks) < PAIRS and (not clocks or seconds * (1 + 1 / len(clocks)) < BLOCK_S):
            row = np.empty((2, 2))
            for side in order:
                if (untimed := ahead[side]) is not None:
                    untimed()
                row[side] = clock(calls[side])
            clocks.append(row.ravel())
            order, seconds = order[::-1], time.perf_counter() - start
    return np.array(clocks), seconds
