"""The timing protocol: pairs with the reference, unstable rounds, disturbed pairs, budgets of time."""

import os
from itertools import cycle

import numpy as np
import pytest

from datasets.records import InputError
from measure.timing import PROTOCOLS, Repeats, Timing, pin


class Machine:
    """A machine whose clocks move only while a session runs on it, so that nothing here depends on a real one."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def perf_counter_ns(self) -> float:
        return 1e6 * self.wall

    def process_time_ns(self) -> float:
        return 1e6 * self.cpu

    def process_time(self) -> float:
        return self.cpu / 1e3


class Clockwork:
    """A session whose runs take the given milliseconds of CPU time in turn, and further ones of wall time."""

    def __init__(self, machine: Machine, *cpu_ms: float, waits_ms: float | tuple[float, ...] = 0.0) -> None:
        self.machine, self.runs = machine, 0
        self.cpu_ms, self.waits_ms = cycle(cpu_ms), cycle(np.atleast_1d(waits_ms).tolist())

    def run(self) -> None:
        cpu = next(self.cpu_ms)
        self.machine.cpu += cpu
        self.machine.wall += cpu + next(self.waits_ms)
        self.runs += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    clocks = Machine()
    monkeypatch.setattr("measure.timing.time", clocks)
    return clocks


def test_timing_pairs_every_run_and_reports_the_ratio(machine: Machine) -> None:
    network, reference = Clockwork(machine, 2.0), Clockwork(machine, 1.0)
    repeats = Timing(warmup=2, pairs=11)(network.run, reference.run)
    assert repeats.clocks == pytest.approx(np.tile([2.0, 2.0, 1.0, 1.0], (11, 1)))
    before = 2 + 3  # warm-up, and finding out how many runs make one reading: one
    assert network.runs == before + 11 and reference.runs == before + 2 * 11  # each time once untimed
    assert repeats.ratio == pytest.approx(2.0) and repeats.kept.all() and repeats.rounds == 1


def test_further_sessions_of_a_network_are_timed_one_after_another_and_count_as_much(machine: Machine) -> None:
    sessions, reference = [Clockwork(machine, ms) for ms in (2.0, 2.2, 2.6)], Clockwork(machine, 1.0)
    first, *again = (session.run for session in sessions)
    repeats = Timing(warmup=2, pairs=11, max_deviation=0.2)(first, reference.run, again)
    assert repeats.clocks[:, 1] == pytest.approx(np.repeat([2.0, 2.2, 2.6], 11)) and repeats.ratio == pytest.approx(2.2)
    assert [session.runs for session in sessions] == [2 + 3 + 11, 1 + 11, 1 + 11]  # the others are warm after one run


def test_short_runs_are_repeated_inside_one_reading(machine: Machine) -> None:
    network, reference = Clockwork(machine, 0.2), Clockwork(machine, 1.0)
    repeats = Timing(warmup=0, pairs=3, floor_ms=0.5)(network.run, reference.run)
    assert repeats.clocks[:, 0] == pytest.approx(0.2)
    assert network.runs == 1 + 2 + 3 * 4 + 3 * 4


def test_a_long_run_is_not_repeated_to_find_out_that_it_is_long(machine: Machine) -> None:
    network = Clockwork(machine, 300.0)
    assert Timing(warmup=1, floor_ms=0.5).calls_a_reading(network.run) == 1 and network.runs == 1 + 1


def test_an_unstable_round_is_repeated_up_to_the_bound(machine: Machine) -> None:
    wild, reference = Clockwork(machine, 0.6, 6.0), Clockwork(machine, 0.6)
    repeats = Timing(warmup=0, pairs=10, max_rounds=3)(wild.run, reference.run)
    assert repeats.rounds == 3 and repeats.deviation > 0.1
    calm = Timing(warmup=0, pairs=10, max_rounds=3, max_deviation=2.0)(wild.run, reference.run)
    assert calm.rounds == 1


def test_preempted_pairs_are_dropped() -> None:
    timing = Timing(pairs=4)
    clocks = np.array([[1.0, 1.0, 0.5, 0.5], [3.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.9, 0.5], [1.01, 1.0, 0.5, 0.5]])
    kept = timing.undisturbed(clocks[:, [0, 2]], clocks[:, [1, 3]])
    assert kept.tolist() == [True, False, False, True]
    repeats = Repeats(clocks, kept, 1)
    assert repeats.ratio == 2.0 and repeats.raw_ms == pytest.approx(1.005)


def test_preempted_pairs_are_measured_again_up_to_twice_as_many(machine: Machine) -> None:
    timing, reference = Timing(warmup=0, pairs=6, max_rounds=1, floor_ms=0), Clockwork(machine, 1.0)
    seldom = timing(Clockwork(machine, 1.0, waits_ms=(0, 0, 0.5)).run, reference.run)
    assert seldom.kept.sum() == 6 < len(seldom.clocks) <= 12
    always = timing(Clockwork(machine, 1.0, waits_ms=0.5).run, reference.run)
    assert len(always.clocks) == 12 and always.kept.all()


def test_a_cold_network_runs_once_before_its_reference_twice(machine: Machine) -> None:
    calls: list[str] = []
    session = Clockwork(machine, 1.0)

    def network() -> None:
        calls.append("network")
        session.run()

    def reference() -> None:
        calls.append("reference")
        session.run()

    Timing(warmup=0, pairs=2, max_rounds=1, flush_mb=1)(network, reference)
    calls = calls[-6:]  # after what finds out how many runs make one reading
    assert calls == 2 * ["network", "reference", "reference"]


def test_by_the_wall_clock_waiting_counts_and_drops_no_pair(machine: Machine) -> None:
    network, reference = Clockwork(machine, 0.1, waits_ms=3.9), Clockwork(machine, 0.1, waits_ms=1.9)
    repeats = Timing(warmup=0, pairs=4, max_rounds=1, by="wall")(network.run, reference.run)
    assert repeats.kept.all() and repeats.ratio == pytest.approx(2.0)


def test_a_budget_makes_long_runs_fewer_but_never_less_than_a_third(machine: Machine) -> None:
    ten_ms, timing = Clockwork(machine, 10.0).run, Timing(pairs=30, budget_s=0.3)
    assert timing.affordable(Clockwork(machine, 1.0).run) == 30
    assert timing.affordable(ten_ms, ten_ms) == 15
    assert timing.affordable(*[ten_ms] * 10) == 10 and Timing(pairs=30).affordable(ten_ms) == 30
    assert len(Timing(warmup=0, pairs=31, max_rounds=1, budget_s=0.1)(ten_ms, ten_ms).clocks) == 11


def test_protocols_run_as_often_as_leti_requires() -> None:
    assert PROTOCOLS["server"]["pairs"] > 100 and PROTOCOLS["mobile"]["pairs"] >= 300


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_a_core_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(InputError, match="Core 4096 is not one that this process may use; name one of"):
        pin(4096)


def test_single_runs_each_have_a_reading_and_their_number_is_known_before(machine: Machine) -> None:
    timing, network = Timing(single_runs=100, single_s=1), Clockwork(machine, 0.01, 0.01, 0.01, 5.0)
    ms = timing.one_by_one(network.run, 0.01)
    assert len(ms) == network.runs == 100 and sorted(set(ms.round(6))) == [0.01, 5.0]  # no tail is averaged away
    assert len(timing.one_by_one(network.run, 20.0)) == 50 and len(timing.one_by_one(network.run, 1e5)) == 1
    assert not len(Timing(flush_mb=1).one_by_one(network.run, 1.0))
    assert not len(Timing(single_runs=0).one_by_one(network.run, 1.0))


def test_where_most_pairs_are_interrupted_the_reference_time_is_that_of_the_cpu(machine: Machine) -> None:
    timing, reference = Timing(warmup=0, pairs=6, max_rounds=1, floor_ms=0), Clockwork(machine, 1.0, waits_ms=1.6)
    loaded = timing(Clockwork(machine, 2.0).run, reference.run)
    assert loaded.interrupted == 1 and loaded.kept.all() and loaded.ratio == pytest.approx(2)
    assert loaded.reference_ms == pytest.approx(1.0)  # and not 2.6
    seldom = timing(Clockwork(machine, 2.0).run, Clockwork(machine, 1.0, waits_ms=(0, 0, 0.5)).run)
    assert 0 < seldom.interrupted < 0.5 and seldom.reference_ms == pytest.approx(1.0)
    by_wall = Timing(warmup=0, pairs=6, max_rounds=1, by="wall")(Clockwork(machine, 2.0).run, reference.run)
    assert by_wall.interrupted == 0 and by_wall.reference_ms == pytest.approx(2.6)


@pytest.mark.parametrize("ms", [0.05, 0.2, 2.0])
def test_the_bench_counts_all_runs_of_the_protocol_also_of_short_ones(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ms: float
) -> None:
    bench = pytest.importorskip("tests.bench")  # which needs every package
    monkeypatch.setattr(bench, "time", machine)
    row = bench.harness(Timing(), Clockwork(machine, ms).run)
    assert row["ratio"] == pytest.approx(1) and row["per_s"] == pytest.approx(1e3 / ms)
    assert row["alternative_per_s"] == pytest.approx(1e3 / ms)
