"""A slot: a host that has joined a Dask scheduler and measures one row at a time.

Dask's `distributed` is used instead of Ray since it is pure Python, so that it can be installed on any board (Ray has
wheels for few); it starts in 2.5 s with 0.2 GB where Ray takes 16 s and 1 GB; and its workers have abstract resources,
which represent slots. Everybody who reaches the scheduler's port can run code on all hosts: keep it in a private
network.
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
from measure.bench import Bench, Row, Worker
from measure.host import checked_name
from measure.subjects import Prepare


class Measuring(Protocol):
    """The bench of a slot: `measure.bench.Worker`, or a bench on a board that this host controls."""

    def __call__(self, backend: Backend, arch: Network, prepare: Prepare, /) -> Row:
        """Measure one row; a failed one has an `error`."""

    def unavailable(self, backend: Backend) -> str:
        """Why a backend cannot run on this bench, in one sentence; empty if it can."""

    def kill(self) -> None:
        """End the running measurement, from any thread; its row is no longer needed."""


@dataclass(frozen=True)
class Options:
    """Options of a campaign for every slot: limit of seconds per row, and the bench."""

    timeout: float = 600
    bench: Bench = field(default_factory=Bench)


@dataclass
class Slot:
    """The state of a Dask worker between rows.

    Attributes:
        start: creates the bench.
    """

    start: Callable[[float, Bench], Measuring] = Worker
    address: str = field(default="", init=False)
    options: Options | None = field(default=None, init=False)
    bench: Measuring | None = field(default=None, init=False)

    def measure(self, options: Options, backend: Backend, arch: Network, prepare: Prepare) -> Row:
        """Measure one row, with the address of this worker."""
        return self._bench(options)(backend, arch, prepare) | {"worker": self.address}

    def unavailable(self, options: Options, backends: list[Backend]) -> list[str]:
        """The reasons why backends cannot run here, of those that cannot."""
        bench = self._bench(options)
        return [reason for backend in backends if (reason := bench.unavailable(backend))]

    def kill(self) -> None:
        """End the running measurement."""
        if self.bench is not None:
            self.bench.kill()

    def _bench(self, options: Options) -> Measuring:
        if self.bench is None or options != self.options:
            self.kill()
            self.bench, self.options = self.start(options.timeout, options.bench), options
        return self.bench


@cache
def release() -> str:
    """The release of Gnomon (a digest of its code) and of Python, which have to agree within a campaign."""
    root = Path(__file__).resolve().parents[2]
    code = hashlib.sha256()
    for path in sorted(path for room in ("datasets", "measure") for path in (root / room).rglob("*.py")):
        code.update(path.read_bytes())
    return f"Gnomon {code.hexdigest()[:8]} on Python {'.'.join(platform.python_version_tuple()[:2])}"


def resource(host: str) -> str:
    """The Dask resource of a host: each of its workers has one, and each of its rows occupies one."""
    return f"slot {checked_name(host)}: {release()}"


def serve(scheduler: str, slot: Slot, host: str, log: Callable[[str], None] = print) -> None:
    """Offer a slot to a scheduler until that ends.

    Raises:
        InputError: there is no scheduler, it has ended, or the host's name is malformed.
    """
    asyncio.run(_serve(reach(scheduler), slot, {resource(host): 1}, log))


async def _serve(scheduler: str, slot: Slot, resources: dict[str, float], log: Callable[[str], None]) -> None:
    from distributed import Worker as DaskWorker
    from distributed import WorkerPlugin

    class Offer(WorkerPlugin):
        name = "gnomon"

        def setup(self, worker: Any) -> None:
            self.slot, slot.address = slot, worker.address

        def teardown(self, worker: Any) -> None:
            slot.kill()

        def transition(self, key: Any, start: str, finish: str, **more: Any) -> None:
            if (start, finish) == ("executing", "released"):  # the row is no longer needed
                slot.kill()

    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "death_timeout": 60}
    async with DaskWorker(scheduler, resources=resources, plugins=(Offer(),), **options) as worker:
        log(f"{', '.join(resources)} at {worker.address} has joined {scheduler}")
        await worker.finished()
    raise InputError(f"The scheduler at {scheduler} has ended; start it and this worker again.")


def reach(scheduler: str) -> str:
    """Check that a scheduler can be reached, silence Dask, and return the address.

    Raises:
        InputError: nothing answers at the address.
    """
    import dask

    # the worker shares the machine with the measurements: no profiler, and rare ticks
    quiet = {"worker.profile.enabled": False, "admin.tick.interval": "1s", "admin.system-monitor.interval": "2s"}
    dask.config.set({f"distributed.{key}": value for key, value in quiet.items()})
    dask.config.set({"logging": {"distributed": "critical", "tornado": "critical"}})
    from distributed.comm import get_address_host_port

    try:
        socket.create_connection(get_address_host_port(scheduler), timeout=10).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no scheduler at {scheduler}; start `dask scheduler` and name it like tcp://192.168.0.2:8786."
        ) from error
    return scheduler
