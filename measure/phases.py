"""The phases of an inference (PerfNetRT, section III), defined by the calls of a session, so equal on every runtime.

- init: loading the artefact. PerfNetRT counts it as preprocessing, so both are reported: `pre_ms` without it and
  `init_pre_ms` with it.
- pre: `bind`, the input is copied in (to the GPU, if the network runs there); exe: `run`; post: `fetch`, the output
  is copied out.
- total: the three in a row, timed as one. The difference between it and the phases' sum is reported as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from measure.base import Backend, Loaded, Session
from measure.gpu_steps import measure_steps
from measure.timing import Repeats, clock, garbage_kept, repeated


def clock_ns(readings: int = 1001) -> dict[str, float]:
    """Resolution and overhead of this machine's clocks, in nanoseconds.

    Returns:
        wall_step, cpu_step: smallest nonzero difference between two readings; wall_overhead, cpu_overhead: median
        duration of an empty call, which is part of every reading.
    """
    empty = np.array([clock(lambda: None) for _ in range(readings)])
    wall, cpu = (np.median(empty, axis=0) * 1e6).tolist()
    return {
        "wall_step": _step(time.perf_counter_ns, readings),
        "cpu_step": _step(time.process_time_ns, readings),
        "wall_overhead": wall,
        "cpu_overhead": cpu,
    }


def _step(read: Callable[[], int], readings: int) -> int:
    times = [read()]
    while len(times) < readings or times[-1] == times[0]:
        times.append(read())
    steps = np.diff(times)
    return int(steps[steps > 0].min())


def measure_phases(backend: Backend, network: Loaded, reference: Session) -> tuple[Repeats, dict[str, Any]]:
    """Time each phase of a loaded network: `run` against the reference, like `Timing`, and fields of a journal row.

    A round reads the clocks for every phase, for the three in a row, and for a run of the reference after each of these
    two, so that all are measured at the same speed of the machine and with the caches that the reference leaves. There
    are as many rounds as the protocol has pairs, of each session of the network one after another; if the ratios of
    `run` are unstable, they are repeated. A session of
    this backend has to be loaded before (the reference is one): the first loads the runtime, which is not part of init.

    Returns:
        init_ms (one wall time); pre_ms, exe_ms, post_ms, total_ms: medians of wall times; init_pre_ms: init + pre.
        phases: for pre, exe, post, total and the two references the median and mean wall and CPU ms, the median
        ratio to the reference, and the number of calls per reading of the clock. sum_error: median of (pre + exe +
        post) / total - 1 over rounds; it and total only if the protocol times phases `in_a_row`. clock_ns: result of
        `clock_ns`. On a GPU also gpu_steps_ms: result of `gpu_steps`.
    """
    tick, timing = clock_ns(), backend.timing
    calls, *others = (
        _calls(session, network.inputs, reference, timing.in_a_row) for session in (network.session, *network.again)
    )
    floor_ms = 100 * max(tick["wall_step"], tick["cpu_step"]) / 1e6
    with garbage_kept():
        known = {call: timing.calls_a_reading(call, floor_ms) for call in set(calls.values())}
        counts = np.array([known[call] for call in calls.values()])
        batches, *more = (
            {name: repeated(call, count) for (name, call), count in zip(each.items(), counts, strict=True)}
            for each in (calls, *others)
        )
        pairs = timing.affordable(*batches.values(), reference.run, reference.run)
        for batch in (batch for each in more for batch in each.values()):
            batch()  # a warm-up
        for rounds in range(1, timing.max_rounds + 1):
            clocks = np.concatenate([_read(each, reference, pairs) for each in (batches, *more)])
            kept = timing.undisturbed(clocks[..., 0], clocks[..., 1])
            interrupted = timing.interrupted(clocks[..., 0], clocks[..., 1])
            clocks /= counts[:, None]
            exe, reference_clocks = (clocks[:, list(calls).index(name)] for name in ("exe", "reference"))
            repeats = Repeats(np.hstack([exe, reference_clocks]), kept, rounds, timing.by, interrupted)
            if repeats.deviation <= timing.max_deviation:
                break
    times = dict(zip(calls, np.moveaxis(clocks[kept], 1, 0), strict=True))  # each [rounds, 2]
    by = ("wall", "cpu").index(timing.by)
    phases = {
        name: {
            "median_ms": float(np.median(t[:, 0])),
            "mean_ms": float(t[:, 0].mean()),
            "cpu_median_ms": float(np.median(t[:, 1])),
            "cpu_mean_ms": float(t[:, 1].mean()),
            "ratio": float(np.median(t[:, by] / times["reference"][:, by])),
            "calls": int(count),
        }
        for (name, t), count in zip(times.items(), counts, strict=True)
    }
    medians = {f"{name}_ms": phases[name]["median_ms"] for name in calls if not name.startswith("reference")}
    if timing.in_a_row:
        parts = times["pre"] + times["exe"] + times["post"]
        medians["sum_error"] = float(np.median(parts[:, by] / times["total"][:, by])) - 1
    return repeats, {
        "init_ms": network.init_ms,
        "init_cpu_ms": network.init_cpu_ms,
        "init_pre_ms": network.init_ms + medians["pre_ms"],
        **medians,
        "phases": phases,
        "clock_ns": tick,
        **({"gpu_steps_ms": measure_steps(network.session, network.inputs, network.init_ms, pairs)}
           if backend.kind == "gpu" else {}),
    }  # fmt: skip


def _calls(
    session: Session, inputs: Sequence[np.ndarray], reference: Session, in_a_row: bool
) -> dict[str, Callable[[], object]]:
    """The calls of one session that are timed, by name."""

    def bind() -> None:
        session.bind(inputs)

    def total() -> None:
        session.bind(inputs)
        session.run()
        session.fetch()

    calls: dict[str, Callable[[], object]] = {"pre": bind, "exe": session.run, "post": session.fetch}
    calls["reference"] = reference.run
    return calls | ({"total": total, "reference_again": reference.run} if in_a_row else {})


def _read(batches: Mapping[str, Callable[[], object]], reference: Session, rounds: int) -> np.ndarray:
    """Wall and CPU ms [rounds, calls, 2]."""
    clocks = []
    for _ in range(rounds):
        readings = []
        for name, batch in batches.items():
            if name.startswith("reference"):
                reference.run()  # after a large network its caches are cold
            readings.append(clock(batch))
        clocks.append(readings)
    return np.array(clocks)
