"""One measurement and its journal row: in this process (`Bench`), or in a child process (`Worker`)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from datasets.networks.network import SMALLEST, Network
from datasets.records import InputError
from measure.base import Backend, Built, Loaded, Session, reference_network
from measure.host import machine
from measure.outputs import Expected
from measure.peak import Stages, measure_peak, peak_row
from measure.percentiles import percentiles
from measure.rows import Row
from measure.silence import children_ignore_interrupts
from measure.subjects import Prepare, Subject, network_of
from measure.timing import Repeats

Measure = Callable[[Backend, Subject, Prepare], Row]
"""A function that measures a subject and gives fields of its row: `Bench`, `Worker` or `remote.machine.Remote`."""

Build = Callable[[Path], Built]
"""A function that builds one network into a folder."""


@dataclass
class Bench:
    """Measures in this process; keeps one reference session per device.

    Attributes:
        phases: whether the phases of an inference are measured as well.
        energy: whether the energy per run is measured as well. If that fails the row still has the latency, and its
            field `energy` has the reason.
        memory: whether the peak memory of a fresh process is measured as well; its field is `memory`.
    """

    phases: bool = False
    energy: bool = False
    memory: bool = False
    references: dict[str, Session] = field(default_factory=dict, init=False, repr=False)
    smallest: dict[str, Stages] = field(default_factory=dict, init=False, repr=False)
    last: tuple[tuple[Network, int, str], Expected] | None = field(default=None, init=False, repr=False)

    def __call__(self, backend: Backend, subject: Subject, prepare: Prepare) -> Row:
        """The measured fields of a row; those of a failed measurement have an `error`."""

        found = Row()

        def build(folder: Path) -> Built:
            model = prepare(subject, backend.batch)
            found.update(network_of(subject, model))
            return backend.built(model, folder, remember=partial(self._expected, model.network, backend.batch))

        row = self.row(backend, build, partial(backend.for_reference().built, reference_network())) | found
        return row | (self._memory(backend, build) if self.memory and "error" not in row else {})

    def _expected(self, network: Network, batch: int, suffix: str, compute: Callable[[], Expected]) -> Expected:
        """The outputs that a network has to compute; those of the last one are kept for the other runtimes."""
        what = network, batch, suffix
        if self.last is None or self.last[0] != what:
            self.last = what, compute()
        return self.last[1]

    def _memory(self, backend: Backend, build: Build) -> Row:
        """The fields `peak_mb` and `memory`; where the fresh process fails only the latter, with the reason."""
        name = backend.device().name
        try:
            if name not in self.smallest:
                self.smallest[name] = measure_peak(backend, partial(backend.for_reference().built, SMALLEST))
            return peak_row(measure_peak(backend, build), self.smallest[name])
        except Exception as error:
            return {"memory": {"error": f"{type(error).__name__}: {error}"}}

    def row(self, backend: Backend, build: Build, build_reference: Build) -> Row:
        """Measure the network that `build` gives; called directly where it was built elsewhere."""
        row = provenance(backend)
        try:
            row["versions"] = {"python": platform.python_version(), **backend.versions()}
            name = backend.device().name
            if name not in self.references:
                self.references[name] = backend.loaded(build_reference).session
            network = backend.loaded(build, backend.timing.sessions)
            row |= {"notes": list(network.notes)} if network.notes else {}
            switches = _switches()
            if self.phases:
                from measure.phases import measure_phases

                repeats, more = measure_phases(backend, network, self.references[name])
                row |= more
            else:
                repeats = backend.timed(network.session, self.references[name], network.again)
            if not backend.remote:  # where this host's clock and load say nothing
                row |= _beside(backend, network, repeats, _switches() - switches)
            if self.energy:
                row |= _energy(backend, network.session)
        except Exception as error:
            return {**row, "error": f"{type(error).__name__}: {error}"}
        return {
            **row,
            "ratio": repeats.ratio,
            "deviation": repeats.deviation,
            "quantiles": np.quantile(repeats.ratios, [0.1, 0.25, 0.75, 0.9]).tolist(),
            "raw_ms": repeats.raw_ms,
            "reference_ms": repeats.reference_ms,
            "stable": repeats.deviation <= backend.timing.max_deviation,
            "rounds": repeats.rounds,
            "dropped": int((~repeats.kept).sum()),
            "load": os.getloadavg()[0],
            "clocks": np.round(repeats.clocks, 5).tolist(),
            **repeats.more,
        }


def _beside(backend: Backend, network: Loaded, repeats: Repeats, switches: int) -> Row:
    """The fields of a row on interruptions, on the first run, and on single runs.

    By the wall clock the share of interrupted pairs is at most the number of involuntary context switches a pair.
    """
    interrupted = repeats.interrupted
    if repeats.by == "wall":
        interrupted = min(1.0, switches / (repeats.rounds * len(repeats.clocks)))
    found = {
        "processors": os.cpu_count() or 1,
        "interrupted": round(interrupted, 4),
        "init_ms": network.init_ms,
        "first_ms": network.first_ms,
    }
    single = backend.timing.one_by_one(network.session.run, repeats.raw_ms)
    return found | ({"single_runs": percentiles(single)} if len(single) else {})


def _switches() -> int:
    """Involuntary context switches of this process so far, of all of its threads."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _energy(backend: Backend, session: Session) -> Row:
    """The fields `energy_mj` and `energy`; without a meter only the latter, with the reason."""
    from measure.meters import choose_meter
    from measure.power import Unmetered, measure_energy

    try:
        return measure_energy(session.run, choose_meter(backend))
    except (InputError, Unmetered) as error:
        return {"energy": {"error": str(error)}}


def provenance(backend: Backend) -> Row:
    """Date, host and protocol of a row, known before anything runs."""
    return {**date_and_host(), "protocol": backend.timing.to_dict()}


def date_and_host() -> Row:
    """Date and host of a row."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "host": this_host()}


def this_host() -> Row:
    """The machine that this process runs on, and the cores that it may use."""
    host: Row = dict(machine())
    if hasattr(os, "sched_getaffinity"):
        host["cores"] = sorted(os.sched_getaffinity(0))
    return host


class Worker:
    """A `Bench` in a child process: a crash or a hang of a runtime costs one row, not the campaign.

    The child ends with this process, however this one ends. Use it as a context manager.

    Attributes:
        timeout: limit of seconds per row; then the child is killed, and the next row gets a new one.
        bench: the bench in the child process.
    """

    def __init__(self, timeout: float, bench: Callable[..., Row] | None = None) -> None:
        self.timeout = timeout
        self.bench = bench or Bench()
        self.process: Any = None
        self.threads: int | None = None  # that a runtime of the child cannot change any more
        self.pipe: Connection

    def __call__(self, backend: Backend, *arguments: Any) -> Row:
        """Measure like `Bench`; a crash or a timeout is also a failed row."""
        if backend.fixed_threads and self.threads not in (None, backend.threads):
            self._stop()
        try:
            if self.process is None:
                self._start()
            self.threads = backend.threads if backend.fixed_threads else self.threads
            self.pipe.send((backend, *arguments))
            if self.pipe.poll(self.timeout):
                return self.pipe.recv()
            why = f"Timeout: not measured within {self.timeout:g} s"
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            why = f"Crash: the process that measured ended with {how}"
        self._stop()
        return {**provenance(backend), "error": why}

    def unavailable(self, backend: Backend) -> str:
        """Why a backend cannot run here, in one sentence; empty if it can."""
        return backend.unavailable()

    def kill(self) -> None:
        """End the running measurement, from any thread; its row becomes a crash."""
        process = self.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                kill_group(process.pid)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share the journal's lock and loaded runtimes
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, os.getpid(), self.bench))
        with children_ignore_interrupts():
            self.process.start()
        far_end.close()

    def _stop(self) -> None:
        if self.process is None:
            return
        if self.process.is_alive():
            kill_group(self.process.pid)
        self.process.join()
        self.pipe.close()
        self.process = self.threads = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


def kill_group(pid: int) -> None:
    """Kill a process with its group; a process that has just started leads none yet, and is killed alone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)


def _serve(pipe: Connection, parent: int, bench: Callable[..., Row]) -> None:
    """Measure in a worker's process until the pipe closes."""
    os.setsid()  # Ctrl-C is for the campaign, which then ends this one
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with the campaign, even by kill -9
    while os.getppid() == parent:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(bench(*task))
