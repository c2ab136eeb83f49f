"""The process that measures on another machine: it answers questions of `measure.remote.machine` through a pipe.

It is sent as one file and needs numpy and the runtime to measure. It ends with its input, whatever it is doing. Rows
are measured by a `Bench` in a child process, and are appended to a journal next to this file before they are sent: if
the connection breaks at that moment, a repeated question gets the same answer.
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
from measure.remote.messages import Message, read_backend, read_message, write_message
from measure.timing import pin


@dataclass(frozen=True)
class Sent:
    """The received files of one network.

    Attributes:
        folder: folder of x.npy, expected.npy and the files below.
        artefact: name of the built file; empty if it has to be built here, from
        network: JSON form of the network, with weights.npz unless they are seeded, and network.onnx if it is measured.
    """

    folder: Path
    artefact: str = ""
    network: str = ""

    def built(self, backend: Backend, folder: Path) -> Built:
        """The built network."""
        x, expected = (np.load(self.folder / f"{name}.npy") for name in ("x", "expected"))
        if self.artefact:
            return Built(self.folder / self.artefact, x, expected)
        network = Network.from_json(self.network)
        file, sent = self.folder / "network.onnx", self.folder / "weights.npz"
        weights = read_weights(sent) if sent.exists() else None
        model = with_weights(Model(network, weights, file if file.exists() else None))
        return Built(backend.for_network(network).artefact(model, folder), x, expected)


@dataclass
class SentBench:
    """A `Bench` of networks that were sent."""

    bench: Bench

    def __call__(self, backend: Backend, network: Sent, reference: Sent) -> Row:
        return self.bench.row(backend, partial(network.built, backend), partial(reference.built, backend))


@dataclass
class Runner:
    """Answers questions: its methods with the argument `files`, the folder of the files of a question.

    Attributes:
        folder: folder of this file and of its journals.
        work: folder of temporary files.
        worker: measures rows.
        references: the reference network of each device.
        last: the last row of the journal.
        writing: lock that is held while a row is written to the journal, and while this process ends.
    """

    folder: Path
    work: Path
    worker: Worker = field(default_factory=lambda: Worker(600))
    references: dict[str, Sent] = field(default_factory=dict)
    last: Message = field(default_factory=dict)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, files: Path, campaign: str, core: int | None, timeout: float, options: Message) -> Message:
        """Reserve this machine for a campaign, with options of its `Bench`; returns a description of the host."""
        self.lock = _take(self.folder / "lock", campaign)
        for left in self.folder.glob("work-*"):
            if left != self.work:
                shutil.rmtree(left, ignore_errors=True)
        if core is not None:
            pin(core)
        self.worker = Worker(timeout, SentBench(Bench(**options)))
        self.journal = self.folder / f"{campaign}.jsonl"
        if self.journal.exists():
            self.last = _last(self.journal)
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
        """Measure one network, unless the last row of the journal already answers this question."""
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
        """The features of this machine."""
        from measure.host import describe_host

        return describe_host(name, kind)

    def doctor(self, files: Path) -> Message:
        """The findings of `doctor` on this machine."""
        from measure.doctor import diagnose

        return diagnose()

    def end(self, status: int) -> None:
        """End this process and what it measures, and remove its temporary files."""
        self.writing.acquire()  # a row that is being written is completed
        try:
            if (process := self.worker.process) is not None and process.pid:
                kill_group(process.pid)
            shutil.rmtree(self.work, ignore_errors=True)
        finally:
            os._exit(status)


def _take(lock: Path, campaign: str, patience: float = 10.0) -> IO[str]:
    """Take the lock of this machine, since simultaneous measurements would disturb each other.

    A process that a broken connection of the same campaign left behind is killed; others are waited for.
    """
    file = lock.open("a+")
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            pid, _, other = file.read().partition(" ")
            if other == campaign:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            elif time.monotonic() > end:
                raise InputError(f"Something else is being measured there (process {pid}); wait for its end.") from None
            time.sleep(0.1)
    file.truncate(0)
    file.write(f"{os.getpid()} {campaign}")
    file.flush()
    return file


def _last(journal: Path) -> Message:
    """The last row of a journal; empty if it is incomplete."""
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(journal.read_bytes().splitlines()[-1]))
    return {}


QUESTIONS = ("begin", "unavailable", "unmetered", "reference", "measure", "host", "doctor")


def serve() -> None:
    """Answer questions until the input ends."""
    # Answers have their own pipe: standard output was redirected to standard error, since runtimes print to it.
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(int(sys.argv[1]), "wb")
    os.set_inheritable(sink.fileno(), False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    folder = Path(sys.argv[0]).resolve().parent
    runner = Runner(folder, Path(tempfile.mkdtemp(prefix="work-", dir=folder)))
    questions: queue.Queue[tuple[Message, Path]] = queue.Queue()
    threading.Thread(target=_listen, args=(source, questions, runner), daemon=True).start()
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


def _listen(source: IO[bytes], questions: queue.Queue[tuple[Message, Path]], runner: Runner) -> None:
    """Queue every question; the end of the input ends the process."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            files = Path(tempfile.mkdtemp(dir=runner.work))
            questions.put((read_message(source, files), files))
    runner.end(0)
