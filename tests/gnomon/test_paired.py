"""Blocks of interleaved runs, on a machine whose clocks move only while something runs on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pytest

from gnomon.paired import PAIRS, Block, blocks
from gnomon.sequential import Decision, compared, decide
from measure.timing import Timing


@dataclass
class Machine:
    """Clocks of a machine; `speed` of the time in s is the factor on the duration of all work."""

    speed: Callable[[float], float] = lambda now: 1.0
    wall_ms: float = 0.0
    order: list[str] = field(default_factory=list)

    def work(self, ms: float) -> None:
        self.wall_ms += ms * self.speed(self.wall_ms / 1e3)

    def perf_counter(self) -> float:
        return self.wall_ms / 1e3

    def perf_counter_ns(self) -> float:
        return 1e6 * self.wall_ms

    process_time_ns = perf_counter_ns


class Network:
    """A side whose sessions take other times; creating one takes `create_ms`."""

    def __init__(self, machine: Machine, name: str, ms: float, spread: float = 0.0, create_ms: float = 5.0) -> None:
        self.machine, self.name, self.ms, self.spread, self.create_ms = machine, name, ms, spread, create_ms
        self.warm, self.runs = False, 0
        self.sessions, self.generator = 0, np.random.default_rng(len(name))

    def session(self) -> "Network":
        self.machine.work(self.create_ms)
        self.machine.order.append(self.name)
        self.sessions += 1
        self.own_ms = self.ms * float(np.exp(self.spread * self.generator.standard_normal()))
        return self

    def run(self) -> None:
        self.runs += 1
        self.machine.work(self.own_ms)


def measured(machine: Machine, first: Network, second: Network, monkeypatch: pytest.MonkeyPatch) -> Decision:
    monkeypatch.setattr("measure.timing.time", machine)
    monkeypatch.setattr("gnomon.paired.time", machine)
    stream = ((block.log_ratio(Timing()), block.seconds) for block in blocks([first, second], Timing(), 0))  # type: ignore[list-item]
    return decide(stream, compared(0.02), 60)


def drifting(now: float) -> float:
    """A machine that becomes 40 % slower within ten seconds, and then jumps to three times its speed."""
    return 1 + 0.04 * now if now < 10 else 0.5


@pytest.mark.parametrize("ms, verdict", [(2.0, "SAME"), (2.1, "SLOWER"), (1.9, "FASTER")])
def test_drift_and_sessions_of_their_own_speed_do_not_decide(
    ms: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(drifting)
    first, second = Network(machine, "first", ms, 0.02), Network(machine, "another", 2.0, 0.02)
    decision = measured(machine, first, second, monkeypatch)
    assert decision.verdict == verdict and len(decision.known.values) >= 8


def test_every_block_has_new_sessions_in_an_order_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    sides = [Network(machine, "a", 1.0), Network(machine, "b", 1.0)]
    monkeypatch.setattr("gnomon.paired.time", machine)
    monkeypatch.setattr("measure.timing.time", machine)
    found = list(islice(blocks(sides, Timing(), 0), 40))  # type: ignore[arg-type]
    assert all(block.renewed and len(block.clocks) == PAIRS for block in found)
    assert sides[0].sessions == sides[1].sessions == 40
    firsts = machine.order[::2]
    assert 10 <= firsts.count("a") <= 30 and machine.order.count("a") == 40
    assert sum(block.seconds for block in found) == pytest.approx(machine.perf_counter(), rel=0.01)


def test_sessions_that_take_seconds_to_create_stay_until_their_runs_took_twice_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    sides = [Network(machine, "a", 100.0, create_ms=2000), Network(machine, "b", 100.0, create_ms=2000)]
    monkeypatch.setattr("gnomon.paired.time", machine)
    monkeypatch.setattr("measure.timing.time", machine)
    found = list(islice(blocks(sides, Timing(), 0), 40))  # type: ignore[arg-type]
    assert 3 <= sides[0].sessions <= 6 and sum(block.renewed for block in found) == sides[0].sessions
    assert all(block.seconds < 1.1 for block in found if not block.renewed)


@pytest.mark.parametrize("ms", [0.05, 0.5])
def test_readings_of_both_networks_hold_as_many_runs_also_where_the_first_ones_were_disturbed(
    ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the first run of a reading, which takes longer, would count more in one of them: equal networks of
    0.03 ms then differed by a factor of two on a busy machine."""
    machine = Machine(lambda now: 500.0 if 0.01 <= now < 0.0101 else 1.0)  # the first run after sessions were created
    sides = [Network(machine, "a", 0.05), Network(machine, "b", ms)]
    monkeypatch.setattr("gnomon.paired.time", machine)
    monkeypatch.setattr("measure.timing.time", machine)
    (block,) = islice(blocks(sides, Timing(floor_ms=0.5), 0), 1)  # type: ignore[arg-type]
    assert [side.runs for side in sides] == [5 + 16 * PAIRS] * 2
    assert block.clocks == pytest.approx(np.tile([0.05, 0.05, ms, ms], (PAIRS, 1)))


def test_a_reference_is_warmed_up_before_each_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    sides = [Network(machine, "a", 10.0), Network(machine, "b", 1.0)]
    sides[1].warm = True
    monkeypatch.setattr("gnomon.paired.time", machine)
    monkeypatch.setattr("measure.timing.time", machine)
    (block,) = islice(blocks(sides, Timing(), 0), 1)  # type: ignore[arg-type]
    assert (sides[0].runs, sides[1].runs) == (5 + PAIRS, 5 + 2 * PAIRS) and len(block.clocks) == PAIRS


def test_a_block_of_one_disturbed_pair_counts() -> None:
    block = Block(np.array([[9.0, 2.0, 9.0, 1.0]]), 1.0, True)
    assert block.log_ratio(Timing()) == pytest.approx(np.log(2))
