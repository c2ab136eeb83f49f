"""Many hosts at once: measures the rows of a campaign on all hosts that have joined a Dask scheduler (see `slot`)."""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from datasets.networks.network import Network
from datasets.records import InputError
from measure.base import Backend
from measure.bench import Row
from measure.campaign import Journal, PendingRow, identifying_fields
from measure.remote.slot import Options, Slot, reach, release, resource
from measure.rows import sound
from measure.subjects import Prepare

if TYPE_CHECKING:
    from distributed import Future


class Cluster:
    """The slots of a scheduler for one campaign; a context manager that ends running rows on exit.

    Attributes:
        options: options of all rows.
        patience: seconds to wait for a host without workers, once no other host has work.
    """

    def __init__(self, scheduler: str, options: Options | None = None, patience: float = 60) -> None:
        self.scheduler = reach(scheduler)
        self.options = options or Options()
        self.patience = patience
        from distributed import Client

        try:
            self.client = Client(scheduler, timeout=10, set_as_default=False)
        except OSError as error:
            raise InputError(f"The server at {scheduler} is no Dask scheduler; start `dask scheduler`.") from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def slots(self) -> Counter[str]:
        """Number of workers that offer each resource now."""
        workers = self.client.scheduler_info()["workers"].values()
        return Counter(name for worker in workers for name in worker["resources"])

    def check(self, backends: Sequence[Backend]) -> None:
        """Check that the hosts of backends can run them.

        Raises:
            InputError: a host has no worker, or one of another release, or a backend is not available there.
        """
        hosts = list(dict.fromkeys(backend.host for backend in backends))
        check_offers(self.slots(), hosts, self.scheduler)
        for host in hosts:
            theirs = [backend for backend in backends if backend.host == host]
            for reason in self.submit(host, Slot.unavailable, theirs).result():
                raise InputError(f"On host {host}: {reason}")

    def submit(self, host: str, method: Callable[..., Any], *arguments: Any) -> Future:
        """Call a method of `Slot` on a host. It occupies a slot; if its worker dies, another one is used."""
        parcel = pickle.dumps((method, self.options, *arguments))
        return self.client.submit(_opener(), parcel, pure=False, resources={resource(host): 1})

    def measure(
        self,
        archs: Sequence[Network],
        tasks: Sequence[PendingRow],
        journal: Journal,
        prepare: Prepare,
        metric: str = "latency_ms",
        features: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Iterator[Row]:
        """Run a campaign like `measure.campaign.run_campaign`, each pending row on the host of its backend.

        A slot gets its next row when the last one is on disk, so that nothing is queued elsewhere. If a worker dies,
        its row is measured by the next worker of that host; after four dead workers it is a failed row.

        Raises:
            InputError: a backend that `check` refuses; or the scheduler has ended; or all workers of the hosts that
                have work left were missing for `patience` seconds.
        """
        from distributed import CancelledError
        from distributed.client import ClosedClientError

        left: dict[str, deque[PendingRow]] = {backend.host: deque() for *_, backend in tasks}
        for task in tasks:
            left[task[2].host].append(task)
        running: dict[Future, PendingRow] = {}
        try:
            self.check(list({backend.device().name: backend for *_, backend in tasks}.values()))
            while running or any(left.values()):
                slots, busy = self.slots(), Counter(backend.host for *_, backend in running.values())
                for host, queue in left.items():
                    for _ in range(min(len(queue), max(1, slots[resource(host)]) - busy[host])):
                        _, position, backend = task = queue.popleft()
                        running[self.submit(host, Slot.measure, backend, archs[position], prepare)] = task
                for future in self._ended(running):
                    repeat, position, backend = running.pop(future)
                    more = (features or {}).get(backend.host, {})
                    row = sound(identifying_fields(archs[position], backend, repeat, metric, more) | _answer(future))
                    journal.append(row)
                    yield row
        except (CancelledError, ClosedClientError, OSError) as error:
            raise InputError(
                f"The scheduler at {self.scheduler} has ended; start it and the workers, and run the same command "
                "again: all rows measured so far are safe."
            ) from error

    def _ended(self, running: Mapping[Future, PendingRow]) -> list[Future]:
        """Wait until some rows have ended, with an error if no worker of their hosts is left."""
        from distributed import wait

        missing_since = time.monotonic()
        while True:
            try:
                with self.client.as_current():
                    return list(wait(list(running), timeout=1, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                slots, hosts = self.slots(), sorted({backend.host for *_, backend in running.values()})
                if any(slots[resource(host)] for host in hosts):
                    missing_since = time.monotonic()
                elif time.monotonic() - missing_since > self.patience:
                    raise InputError(
                        f"No worker of host {', '.join(hosts)} is left at {self.scheduler}; "
                        "start one there and run the same command again: all rows measured so far are safe."
                    ) from None


def _answer(future: Future) -> Row:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return {"date": date, "error": f"Crash: {error.allowed_failures + 1} workers died measuring it"}


def check_offers(slots: Mapping[str, int], hosts: Sequence[str], scheduler: str) -> None:
    """Check that each host offers a slot of this release.

    Raises:
        InputError: a host does not.
    """
    offers = [name.removeprefix("slot ").split(": ", 1) for name in slots if name.startswith("slot ")]
    for host in hosts:
        theirs = [version for name, version in offers if name == host]
        if theirs and resource(host) not in slots:
            raise InputError(f"Host {host} runs {theirs[0]} and this is {release()}; bring both to the same.")
        if not theirs:
            there = f"there are {', '.join(sorted({name for name, _ in offers}))}" if offers else "there is none"
            raise InputError(
                f"No worker of host {host} has joined {scheduler} ({there}); run there: "
                f"python -m measure worker --scheduler {scheduler} --host {host}"
            )


def _opener() -> Callable[[bytes], Any]:
    """The function that runs in the worker.

    It is nested so that it is pickled by value: the scheduler, which unpickles it, then needs no Gnomon.
    """

    def opened(parcel: bytes) -> Any:
        import pickle

        from distributed import get_worker

        offer: Any = get_worker().plugins["gnomon"]
        method, *arguments = pickle.loads(parcel)
        return method(offer.slot, *arguments)

    return opened
