"""One measuring slot: a host that has joined a Dask scheduler and measures one row at a time.

The engine is Dask's `distributed`, not Ray: it is pure Python, so that it installs wherever a runtime does (Ray has
wheels for few boards); it starts in 2.5 s and 0.2 GB where Ray takes 16 s and 1 GB; and its workers own abstract
resources, which is what a slot is. Everybody who reaches the scheduler's port can run code on all hosts: keep it in a
network that you trust.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from datasets.networks.network import Network
from datasets.records import InputError
from measure.base import Backend
from measure.bench import Bench, Prepare, Row, Worker
from measure.host import checked_name


class Measuring(Protocol):
    """What a slot measures with: `measure.bench.Worker`, or a bench on a board that this host drives."""

    def __call__(self, backend: Backend, arch: Network, prepare: Prepare, /) -> Row:
        """One row; whatever fails is a row that says why."""

    def unavailable(self, backend: Backend) -> str:
        """Why a backend cannot run where this measures, in one sentence; nothing where it can."""

    def kill(self) -> None:
        """End what is being measured, from any thread; nobody wants its row any more."""


@dataclass(frozen=True)
class Options:
    """What a campaign asks of every slot: seconds that a row may take, and the bench that measures."""

    timeout: float = 600
    bench: Bench = field(default_factory=Bench)


@dataclass
class Slot:
    """What a worker process of Dask keeps between rows.

    Attributes:
        start: makes what measures.
    """

    start: Callable[[float, Bench], Measuring] = Worker
    address: str = field(default="", init=False)
    options: Options | None = field(default=None, init=False)
    bench: Measuring | None = field(default=None, init=False)

    def measure(self, options: Options, backend: Backend, arch: Network, prepare: Prepare) -> Row:
        """One row, which also says which worker measured it."""
        return self._bench(options)(backend, arch, prepare) | {"worker": self.address}

    def unavailable(self, options: Options, backends: list[Backend]) -> list[str]:
        """The reasons why some backends cannot run here."""
        bench = self._bench(options)
        return [reason for backend in backends if (reason := bench.unavailable(backend))]

    def kill(self) -> None:
        """End what is being measured."""
        if self.bench is not None:
            self.bench.kill()

    def _bench(self, options: Options) -> Measuring:
        if self.bench is None or options != self.options:
            self.kill()
            self.bench, self.options = self.start(options.timeout, options.bench), options
        return self.bench


@cache
def release() -> str:
    """Which Gnomon and which Python: what the code hashes to, since the rows of a campaign come from one of each."""
    root = Path(__file__).resolve().parents[2]
    code = hashlib.sha256()
    for path in sorted(path for room in ("datasets", "measure") for path in (root / room).rglob("*.py")):
        code.update(path.read_bytes())
    return f"Gnomon {code.hexdigest()[:8]} on Python {'.'.join(platform.python_version_tuple()[:2])}"


def resource(host: str) -> str:
    """What one worker of a host has one of, and every row of the host takes."""
    return f"slot {checked_name(host)}: {release()}"


def serve(scheduler: str, slot: Slot, host: str, told: Callable[[str], None] = print) -> None:
    """Offer a slot to a scheduler until that ends.

    Raises:
        InputError: nobody schedules there (any more), or the host's name is none.
    """
    asyncio.run(_serve(reach(scheduler), slot, {resource(host): 1}, told))


async def _serve(scheduler: str, slot: Slot, resources: dict[str, float], told: Callable[[str], None]) -> None:
    from distributed import Worker as DaskWorker
    from distributed import WorkerPlugin

    class Offer(WorkerPlugin):
        name = "gnomon"

        def setup(self, worker: Any) -> None:
            self.slot, slot.address = slot, worker.address

        def teardown(self, worker: Any) -> None:
            slot.kill()

        def transition(self, key: Any, start: str, finish: str, **more: Any) -> None:
            if (start, finish) == ("executing", "released"):  # nobody waits for that row any more
                slot.kill()

    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "death_timeout": 60}
    async with DaskWorker(scheduler, resources=resources, plugins=(Offer(),), **options) as worker:
        told(f"{', '.join(resources)} at {worker.address} has joined {scheduler}")
        await worker.finished()
    raise InputError(f"The scheduler at {scheduler} has ended; start it and this worker again.")


def reach(scheduler: str) -> str:
    """The address of a scheduler, once somebody answers there; Dask keeps quiet from now on.

    Raises:
        InputError: nobody answers.
    """
    import dask

    # the worker shares the machine with what is measured: no profiler, and few ticks
    quiet = {"worker.profile.enabled": False, "admin.tick.interval": "1s", "admin.system-monitor.interval": "2s"}
    dask.config.set({f"distributed.{key}": value for key, value in quiet.items()})
    dask.config.set({"logging": {"distributed": "critical", "tornado": "critical"}})
    from distributed.comm import get_address_host_port

    try:
        socket.create_connection(get_address_host_port(scheduler), timeout=10).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"Nobody schedules at {scheduler}; start `dask scheduler` and name it like tcp://192.168.0.2:8786."
        ) from error
    return scheduler
