"""Peak memory of a network on a runtime: of a fresh process that loads and runs it, less that of the smallest network.

A runtime's libraries, the interpreter and numpy take tens to hundreds of MB before there is a network; the process of
`networks.network.SMALLEST`, one ReLU of one number, has all of them too. What stays is what the network adds: its
weights, once or several times while they are converted, its activations, and what the runtime keeps per op. It is
repeatable to some 0.3 MB, which is what a network of a few kilobytes measures, and that of large networks to some per
cent: whether the allocator keeps or returns what loading frees depends on what the process freed before.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from datasets.records import InputError
from measure.base import Backend, Built
from measure.child_build import ChildFailed, call_in_child

RUNS = 3
"""Runs before the memory is read: runtimes plan memory in the first one and take it in the second."""

LEAST_MB = 0.01
"""Peak that is reported where a network takes no more than the smallest one within the repeatability."""


class Stages(NamedTuple):
    """MB (10^6 bytes) of a process: the peak until the network was loaded, what it held then, and the peak at the end.

    `init_cpu_ms` is the CPU time of a second `load` in the same process, when the runtime's own start is over.
    """

    loading: float
    loaded: float
    peak: float
    init_cpu_ms: float


def peak_row(built: Stages, smallest: Stages) -> dict[str, object]:
    """The fields `peak_mb` and `memory` of a row, in MB above the process of the smallest network."""
    above = [round(max(LEAST_MB, a - b), 3) for a, b in zip(built[:3], smallest[:3], strict=True)]
    return {"peak_mb": above[2], "memory": {"loading_mb": above[0], "loaded_mb": above[1], "process_mb": built.peak}}


def measure_peak(backend: Backend, build: Callable[[Path], Built], timeout: float = 300.0) -> Stages:
    """Build a network here, and load and run it in a fresh process.

    Args:
        backend: backend of this host; on a GPU it is the memory of the host that is measured.
        build: writes the artefact into a folder.
        timeout: limit of seconds of the fresh process.

    Raises:
        InputError: this host does not report the peak memory of processes, or the network does not run on it.
        ChildFailed: the process crashed, took too long or raised.
    """
    if reason := unmeasurable(backend):
        raise InputError(reason)
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        try:
            return call_in_child(partial(_stages, backend, built), timeout)
        except ChildFailed as error:
            raise ChildFailed(f"The process for the peak memory on {backend.runtime} {error}.") from None


def unmeasurable(backend: Backend) -> str:
    """Why the peak memory on a backend cannot be measured, in one sentence; empty if it can."""
    if backend.remote:
        return f"Backend {backend.runtime} runs on another device, which reports no peak memory; leave --memory out."
    if sys.platform != "linux":
        return "Peak memory is read from /proc/self/status, which only Linux has; leave --memory out."
    return ""


def _stages(backend: Backend, built: Built) -> Stages:
    from measure.timing import clock

    backend.versions()  # which imports the runtime
    session = backend.opened(built)
    loading, loaded = _status("VmHWM"), _status("VmRSS")
    session.bind(built.inputs)
    for _ in range(RUNS):
        session.run()
    session.fetch()
    peak = _status("VmHWM")
    _, init_cpu_ms = clock(lambda: backend.opened(built))
    return Stages(loading, loaded, peak, init_cpu_ms)


def _status(name: str) -> float:
    """A field of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise InputError(f"/proc/self/status of this kernel has no {name}; leave --memory out.")
