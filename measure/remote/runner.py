"""The process that measures on another machine: it answers questions of `measure.remote.machine` through a pipe.

A question is a message with the name of a method of `Runner`, the method's arguments, and files. This program is sent
as one file, and needs only numpy and the runtime that is measured. It ends as soon as its input is closed, even during
a measurement. A `Bench` in a child process measures rows. They are appended to a journal next to this file before they
are sent: if the connection breaks at that moment, a repeated question gets the same answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from datasets.networks.model import Model, read_weights
from datasets.networks.network import Network
from datasets.records import InputError
from measure.base import Backend, Built, with_weights
from measure.bench import Bench, Row, Worker, kill_group, this_host
from measure.meters import choose_meter
from measure.outputs import Expected
from measure.remote.messages import Message, read_backend, read_message, write_message
from measure.timing import pin


@dataclass(frozen=True)
class Sent:
    """A network that was received: the file to run, or what it is built from.

    Attributes:
        folder: folder of the received files: inputs.npz, expected.npz, and those below.
        artefact: name of the file to run; empty if it has to be built here.
        network: JSON form of the network to build. The folder also contains weights.npz unless the weights are random
            ones from a seed.
        source: name of the file to convert, instead of weights.
        shapes: of the inputs of this file.
        own, notes: those of `Built`.
        varying, steps, noise: those of `Expected`.
    """

    folder: Path
    artefact: str = ""
    network: str = ""
    source: str = ""
    shapes: Sequence[Sequence[int]] = ()
    own: bool = False
    notes: Sequence[str] = ()
    varying: Sequence[int] = ()
    steps: Sequence[float] = ()
    noise: Sequence[float] = ()

    def built(self, backend: Backend, folder: Path) -> Built:
        """The network as a file to run, built in `folder` if it was not sent."""
        inputs, arrays = (_arrays(self.folder / f"{name}.npz") for name in ("inputs", "expected"))
        expected = Expected(arrays, tuple(self.varying), tuple(self.steps), tuple(self.noise))
        artefact = self.folder / self.artefact if self.artefact else self._build(backend, folder)
        return Built(artefact, inputs, expected, self.own, tuple(self.notes))

    def _build(self, backend: Backend, folder: Path) -> Path:
        network, npz = Network.from_json(self.network), self.folder / "weights.npz"
        source = self.folder / self.source if self.source else None
        weights = read_weights(npz) if npz.exists() else None
        model = Model(network, weights, source, shapes=tuple(map(tuple, self.shapes)))
        return backend.for_network(network).artefact(model if source else with_weights(model), folder)


def _arrays(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


@dataclass
class SentBench:
    """A `Bench` that measures received networks; it is called in the child process."""

    bench: Bench

    def __call__(self, backend: Backend, network: Sent, reference: Sent) -> Row:
        build_reference = partial(reference.built, backend.for_reference())
        return self.bench.row(backend, partial(network.built, backend), build_reference)


@dataclass
class Runner:
    """Answers questions, one per method in `QUESTIONS`; the argument `files` is the folder of the received files.

    Attributes:
        folder: folder of this program and of its journals.
        work: folder of temporary files.
        worker: child process that measures rows.
        references: reference network of each device, by the name of the device.
        last: last row of the journal.
        writing: lock that is held while a row is written to the journal, and while this process ends.
    """

    folder: Path
    work: Path
    worker: Worker = field(default_factory=lambda: Worker(600))
    references: dict[str, Sent] = field(default_factory=dict)
    last: Message = field(default_factory=dict)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, files: Path, campaign: str, core: int | None, timeout: float, options: Message) -> Message:
        """Reserve this machine for a campaign, with the options of its `Bench`, and return a description of the host.

        Args:
            files: not used.
            campaign: identifier of a series of measurements; its journal is continued if there is one.
            core: processor core to run on; None: any.
            timeout: largest number of seconds per row.
            options: arguments of `Bench`.
        """
        self.lock = _take_lock(self.folder / "lock", campaign)
        for leftover in self.folder.glob("work-*"):
            if leftover != self.work:
                shutil.rmtree(leftover, ignore_errors=True)
        if core is not None:
            pin(core)
        self.worker = Worker(timeout, SentBench(Bench(**options)))
        self.journal = self.folder / f"{campaign}.jsonl"
        if self.journal.exists():
            self.last = _last_row(self.journal)
        return this_host()

    def unavailable(self, files: Path, backend: Message, build: bool) -> str:
        """Why a backend cannot run here; empty if it can."""
        return read_backend(backend).unavailable(build)

    def unmetered(self, files: Path, backend: Message) -> str:
        """Why the energy of a backend cannot be measured here; empty if it can."""
        try:
            choose_meter(read_backend(backend))
        except InputError as reason:
            return str(reason)
        return ""

    def reference(self, files: Path, backend: Message, **sent: Any) -> None:
        """Keep the reference network of a backend."""
        self.references[read_backend(backend).device().name] = Sent(files, **sent)

    def measure(self, files: Path, ticket: str, content: str, backend: Message, **sent: Any) -> Row:
        """Measure one network, unless the last row of the journal already answers this question.

        Args:
            files: folder of the network's files; it is removed.
            ticket: number of the row in its campaign.
            content: digest of the network and of how it is measured.
            backend: description of the backend.
            sent: further fields of `Sent`.
        """
        answered = (self.last.get("ticket"), self.last.get("content")) == (ticket, content)
        if not answered or "error" in self.last:
            device = read_backend(backend)
            row = self.worker(device, Sent(files, **sent), self.references[device.device().name])
            self.last = {**row, "ticket": ticket, "content": content}
            with self.writing, self.journal.open("a") as journal:
                journal.write(json.dumps(self.last) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
        shutil.rmtree(files, ignore_errors=True)
        return self.last

    def host(self, files: Path, name: str, kind: str) -> Message:
        """Specifications of this machine as a device."""
        from measure.host import describe_host

        return describe_host(name, kind)

    def doctor(self, files: Path) -> Message:
        """Findings of `python -m measure doctor` on this machine."""
        from measure.doctor import diagnose

        return diagnose()

    def end(self, status: int) -> None:
        """End this process and its child process, and remove its temporary files."""
        self.writing.acquire()  # waits until a row that is being written is complete
        try:
            if (process := self.worker.process) is not None and process.pid:
                kill_group(process.pid)
            shutil.rmtree(self.work, ignore_errors=True)
        finally:
            os._exit(status)


def _take_lock(lock: Path, campaign: str, patience: float = 10.0) -> IO[str]:
    """Lock this machine, since simultaneous measurements would disturb each other.

    If a process of the same campaign holds the lock, its connection broke, and it is killed. A process of another
    campaign is waited for.

    Args:
        lock: file of the lock; it contains the process and the campaign that hold it.
        campaign: identifier of the campaign that needs the lock.
        patience: seconds to wait for another campaign.

    Raises:
        InputError: another campaign still measures after that time.
    """
    file = lock.open("a+")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            pid, _, holder = file.read().partition(" ")
            if holder == campaign:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            elif time.monotonic() > deadline:
                raise InputError(f"Something else is being measured there (process {pid}); wait for its end.") from None
            time.sleep(0.1)
    file.truncate(0)
    file.write(f"{os.getpid()} {campaign}")
    file.flush()
    return file


def _last_row(journal: Path) -> Message:
    """The last row of a journal; empty if the row is incomplete or there is none."""
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(journal.read_bytes().splitlines()[-1]))
    return {}


QUESTIONS = ("begin", "unavailable", "unmetered", "reference", "measure", "host", "doctor")
"""Methods of `Runner` that another machine may call."""


def serve() -> None:
    """Answer questions until the input ends."""
    # Answers have their own pipe, the first argument of this program. Standard output is redirected to standard error
    # by its caller, since runtimes print to it.
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(int(sys.argv[1]), "wb")
    os.set_inheritable(sink.fileno(), False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    folder = Path(sys.argv[0]).resolve().parent
    runner = Runner(folder, Path(tempfile.mkdtemp(prefix="work-", dir=folder)))
    questions: queue.Queue[tuple[Message, Path]] = queue.Queue()
    threading.Thread(target=_queue_questions, args=(source, questions, runner), daemon=True).start()
    try:
        while True:
            question, files = questions.get()
            try:
                name = question.pop("ask", "")
                if name not in QUESTIONS:
                    raise InputError("this runner has no such question; use one Gnomon on both machines.")
                answer = {"answer": getattr(runner, name)(files, **question)}
            except InputError as error:
                answer = {"refused": str(error)}
            write_message(sink, answer)
    except Exception:
        traceback.print_exc()
        runner.end(1)


def _queue_questions(source: IO[bytes], questions: queue.Queue[tuple[Message, Path]], runner: Runner) -> None:
    """Queue every question that arrives, and end the process when the input is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            files = Path(tempfile.mkdtemp(dir=runner.work))
            questions.put((read_message(source, files), files))
    runner.end(0)
