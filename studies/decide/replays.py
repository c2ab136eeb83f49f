"""Checks of recorded runs, drawn anew with their autocorrelation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from gnomon.paired import Block
from gnomon.sequential import compared, decide
from measure.timing import Timing
from studies.decide.journals import read

CHUNK = 10
"""Blocks that stay together when replays are drawn (moving-block bootstrap: Künsch, The jackknife and the bootstrap for
general stationary observations, 1989)."""
TOLERANCE, SECONDS = 0.02, 30.0


def replays(number: int, slower: float, half: int, seed: int = 0) -> list[dict]:
    """One row per network: shares of verdicts of checks on one half of its turns.

    Args:
        number: of checks of each network.
        slower: factor on the times of the first side, 1 for equal networks.
        half: 0 for the turns by which settings were chosen, 1 for the others.
        seed: of the draws.
    """
    rows, generator = [], np.random.default_rng(seed)
    for name, turns in read().items():
        middle = len(turns) // 2
        part = [_values(turn) for turn in (turns[middle:] if half else turns[:middle])]
        verdicts, seconds = Counter[str](), []
        for _ in range(number):
            sign = generator.choice([-1, 1])
            stream = ((sign * value + math.log(slower), took) for value, took in _drawn(part, generator))
            decision = decide(stream, compared(TOLERANCE), SECONDS)
            verdicts[decision.verdict] += 1
            seconds.append(decision.seconds)
        counts = {verdict: verdicts[verdict] / number for verdict in ("SLOWER", "FASTER", "SAME", "NO VERDICT")}
        wrong = counts["FASTER"] + counts["SLOWER" if slower == 1 else "SAME"]
        rows.append(
            {"network": name, "slower": slower, "half": half, "replays": number, **counts,
             "wrong": wrong, "seconds": float(np.median(seconds)), "seconds_95": float(np.quantile(seconds, 0.95))}
        )  # fmt: skip
    return rows


def _values(blocks: Sequence[Block]) -> list[tuple[float, float]]:
    return [(block.log_ratio(Timing()), block.seconds) for block in blocks]


def _drawn(
    turns: Sequence[Sequence[tuple[float, float]]], generator: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """Chunks of neighbouring blocks of turns without end, each block as probable as any other."""
    lengths = np.array([len(turn) for turn in turns])
    while True:
        turn = turns[generator.choice(len(turns), p=lengths / lengths.sum())]
        start = int(generator.integers(len(turn)))
        yield from (turn[(start + step) % len(turn)] for step in range(CHUNK))
