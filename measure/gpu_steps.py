"""PerfNetRT's six steps of an inference on an NVIDIA GPU (its section III-A), by CUDA events and torch.profiler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from measure.base import Session
from measure.timing import clock


def measure_steps(session: Session, inputs: Sequence[np.ndarray], init_ms: float, runs: int = 101) -> dict[str, float]:
    """Mean milliseconds of the six steps; needs torch with CUDA for a session of any runtime.

    Returns:
        initialization: `init_ms` without the engine. trt_engine_op: reading TensorRT's engine (0 without one).
        memcpy_h2d, memcpy_d2h: the copies, by the GPU's own times. inference: `run` between two CUDA events, which
        includes the gaps between kernels; kernels: sum of their own times. return_value: duration of `fetch` without
        its copy.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    inference, fetched = [], []
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(runs):
            session.bind(inputs)
            begin.record()
            session.run()
            end.record()
            end.synchronize()
            inference.append(begin.elapsed_time(end))
            fetched.append(clock(session.fetch)[0])
    on_gpu = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    engine = getattr(session, "engine_ms", 0.0)
    return steps(on_gpu, runs, init_ms - engine, engine, float(np.mean(inference)), float(np.mean(fetched)))


def steps(
    on_gpu: Iterable[Any], runs: int, initialization: float, engine: float, inference: float, fetch: float
) -> dict[str, float]:
    """The steps, from the profiler's events on the GPU (microseconds over all runs) and from clocks (ms per run)."""
    spent = {"memcpy_h2d": 0.0, "memcpy_d2h": 0.0, "kernels": 0.0}
    for event in on_gpu:
        copies = [name for name, text in _COPIES.items() if text in event.name]
        spent[copies[0] if copies else "kernels"] += event.time_range.elapsed_us() / 1000 / runs
    return {
        "initialization": initialization,
        "trt_engine_op": engine,
        "inference": inference,
        "return_value": fetch - spent["memcpy_d2h"],
        **spent,
    }


_COPIES = {"memcpy_h2d": "Memcpy HtoD", "memcpy_d2h": "Memcpy DtoH"}
