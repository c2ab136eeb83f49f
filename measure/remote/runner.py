"""What measures on another machine: it answers `measure.remote.machine`, one question at a time, through a pipe.

It travels as one file and needs numpy and the runtime that is measured. The end of its input ends it, whatever it does.
Rows are measured as everywhere, by a `Bench` in a process of its own, and are appended to a journal beside this file
before they are told: should the connection break at that moment, the same question gets the same answer.
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
    """What came for one network.

    Attributes:
        folder: of x.npy, expected.npy and what follows.
        artefact: name of the file that was built; empty where it is to be built here, from
        network: its JSON form, and weights.npz unless they are seeded, and network.onnx where that is measured.
    """

    folder: Path
    artefact: str = ""
    network: str = ""

    def built(self, backend: Backend, folder: Path) -> Built:
        """The network, ready to be loaded."""
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
    """A `Bench` of what was sent."""

    bench: Bench

    def __call__(self, backend: Backend, network: Sent, reference: Sent) -> Row:
        return self.bench.row(backend, partial(network.built, backend), partial(reference.built, backend))


@dataclass
class Runner:
    """Answers questions: each method with `files`, the folder of the files that came with the question, is one.

    Attributes:
        folder: where this file and its journals are.
        work: for files that nobody needs after this process.
        worker: measures.
        references: the reference network of each device.
        last: the last row of the journal.
        writing: held while a row is written to the journal, and by the end of this process.
    """

    folder: Path
    work: Path
    worker: Worker = field(default_factory=lambda: Worker(600))
    references: dict[str, Sent] = field(default_factory=dict)
    last: Message = field(default_factory=dict)
    writing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, files: Path, campaign: str, core: int | None, timeout: float, options: Message) -> Message:
        """Take this machine for a campaign, with options of its `Bench`."""
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
        """Why a backend cannot run here."""
        return read_backend(backend).unavailable(build)

    def unmetered(self, files: Path, backend: Message) -> str:
        """Why the energy of a backend is not metered here."""
        try:
            choose_meter(read_backend(backend))
        except InputError as reason:
            return str(reason)
        return ""

    def reference(self, files: Path, backend: Message, **sent: Any) -> None:
        """Keep the reference network of a backend."""
        self.references[read_backend(backend).device().name] = Sent(files, **sent)

    def measure(self, files: Path, ticket: str, content: str, backend: Message, **sent: Any) -> Row:
        """Measure one network, unless the last row of the journal is the answer to this very question."""
        answered = (self.last.get("ticket"), self.last.get("content")) == (ticket, content)
        if not answered or "error" in self.last:
            there = read_backend(backend)
            row = self.worker(there, Sent(files, **sent), self.references[there.device().name])
            self.last = {**row, "ticket": ticket, "content": content}
            with self.writing, self.journal.open("a") as journal:
                journal.write(json.dumps(self.last) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
        shutil.rmtree(files, ignore_errors=True)
        return self.last

    def host(self, files: Path, name: str, kind: str) -> Message:
        """This machine's numbers."""
        from measure.host import describe_host

        return describe_host(name, kind)

    def doctor(self, files: Path) -> Message:
        """What this machine can measure."""
        from measure.doctor import diagnose

        return diagnose()

    def end(self, status: int) -> None:
        """Leave nothing behind, whatever is being measured."""
        self.writing.acquire()  # a row that is written now is still written whole; what is killed is no row any more
        try:
            if (process := self.worker.process) is not None and process.pid:
                kill_group(process.pid)
            shutil.rmtree(self.work, ignore_errors=True)
        finally:
            os._exit(status)


def _take(lock: Path, campaign: str, patience: float = 10.0) -> IO[str]:
    """The lock of this machine: two that measure at once would measure each other.

    What a broken connection left behind of the same campaign is ended; for others it waits a little.
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
    """The last row of a journal; empty if it is torn."""
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(journal.read_bytes().splitlines()[-1]))
    return {}


QUESTIONS = ("begin", "unavailable", "unmetered", "reference", "measure", "host", "doctor")


def serve() -> None:
    """Answer until the input ends."""
    # Answers have a pipe of their own: standard output was made standard error, since runtimes print what they like.
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
    """Hand on every question; the end of the input is the end of all."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            files = Path(tempfile.mkdtemp(dir=runner.work))
            questions.put((read_message(source, files), files))
    runner.end(0)
