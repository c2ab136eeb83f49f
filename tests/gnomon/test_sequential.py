"""Verdicts from streams of log ratios, on simulated noise of many kinds."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from gnomon.sequential import ConfidenceSequence, compared, decide, within
from gnomon.sequential import Decision as State

Noise = Callable[[np.random.Generator, int], np.ndarray]


def autocorrelated(generator: np.random.Generator, count: int) -> np.ndarray:
    """Blocks that resemble the one before: an autoregression with a coefficient of 0.3."""
    steps, values = 0.02 * generator.standard_normal(count), np.zeros(count)
    for i in range(count):
        values[i] = steps[i] + 0.3 * (values[i - 1] if i else 0)
    return values


NOISE: dict[str, Noise] = {
    "normal": lambda generator, count: 0.02 * generator.standard_normal(count),
    "heavy tails": lambda generator, count: 0.01 * generator.standard_t(1.5, count),
    "one block in ten disturbed": lambda generator, count: (
        0.01 * generator.standard_normal(count)
        + 0.4 * generator.standard_normal(count) * (generator.random(count) < 0.1)
    ),
    "a spread that grows": lambda generator, count: np.linspace(0.003, 0.04, count) * generator.standard_normal(count),
    "autocorrelated": autocorrelated,
}


def verdicts(noise: Noise, shift: float, times: int, blocks: int = 60) -> Counter[str]:
    generator = np.random.default_rng(0)
    streams = (((value + shift, 1.0) for value in noise(generator, blocks)) for _ in range(times))
    return Counter(decide(stream, compared(0.02), blocks).verdict for stream in streams)


@pytest.mark.parametrize("name", NOISE)
def test_equal_networks_are_hardly_ever_faster_or_slower(name: str) -> None:
    found = verdicts(NOISE[name], 0.0, 150)
    assert found["SLOWER"] + found["FASTER"] <= 1
    assert found["SAME"] >= 100 or name == "a spread that grows"


@pytest.mark.parametrize("name", NOISE)
def test_five_percent_are_found(name: str) -> None:
    assert verdicts(NOISE[name], math.log(1.05), 60)["SLOWER"] >= 57
    assert verdicts(NOISE[name], -math.log(1.05), 60)["FASTER"] >= 57


def test_at_the_edge_of_the_tolerance_neither_verdict_is_frequent() -> None:
    found = verdicts(NOISE["normal"], math.log(1.02), 150, 40)
    assert found["SLOWER"] + found["SAME"] + found["FASTER"] <= 5  # at most 1 % on average


def test_intervals_contain_the_centre_at_all_times_as_often_as_stated() -> None:
    generator, missed = np.random.default_rng(1), 0
    for _ in range(150):
        known = ConfidenceSequence(0.8)
        for value in 0.5 + 0.02 * generator.standard_normal(25):
            known.add(value)
        low, high = known.interval()
        missed += not low <= 0.5 <= high
    assert missed <= 0.2 * 150


def test_an_interval_agrees_with_what_is_excluded_and_shrinks() -> None:
    generator, known, widths = np.random.default_rng(2), ConfidenceSequence(), []
    assert math.isnan(known.centre) and known.interval() == (-math.inf, math.inf)
    for _ in range(60):
        known.add(0.1 + 0.01 * generator.standard_normal())
        low, high = known.interval()
        widths.append(high - low)
        if math.isfinite(low):
            assert known.above(low - 1e-4) and not known.above(low + 1e-4)
            assert known.below(high + 1e-4) and not known.below(high - 1e-4)
    assert widths[3] == math.inf and all(b <= a + 1e-4 for a, b in pairwise(widths))
    assert widths[-1] < 0.02


def test_a_stream_ends_before_its_blocks_exceed_the_time() -> None:
    noise = np.random.default_rng(3).standard_normal(1000)
    states = list[State]()
    decision = decide(((value, 0.7) for value in noise), compared(0.02), 10, after=states.append)
    assert decision.verdict == "NO VERDICT" and 9.3 - 1e-9 <= decision.seconds <= 10 + 1e-9
    assert states[-1] == decision and len(states) == len(decision.known.values)
    assert len(decide(iter([(0.0, 99.0), (0.0, 99.0)]), compared(0.02), 10).known.values) == 1
    assert decide(iter(()), compared(0.02), 10).verdict == "NO VERDICT"


@pytest.mark.parametrize("ratio, verdict", [(0.9, "WITHIN"), (1.1, "OVER"), (1.0, "NO VERDICT")])
def test_a_budget_is_kept_or_exceeded(ratio: float, verdict: str) -> None:
    noise = 0.01 * np.random.default_rng(4).standard_normal(50)
    budget = math.log(20 / 0.5)  # of 20 ms, by a reference of 0.5 ms
    stream = ((budget + math.log(ratio) + value, 1.0) for value in noise)
    assert decide(stream, within(lambda: budget), 50).verdict == verdict
