"""Many hosts at once: a campaign's rows from all that have joined a Dask scheduler (`slot` says why Dask)."""

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
from measure.bench import Prepare, Row
from measure.campaign import Journal, Task, named
from measure.remote.slot import Options, Slot, reach, release, resource
from measure.rows import sound

if TYPE_CHECKING:
    from distributed import Future


class Cluster:
    """The slots that have joined a scheduler, as one campaign sees them. Used as a context; leaving it ends its rows.

    Attributes:
        options: of all rows.
        patience: seconds to wait for a host whose workers have all gone, once no other host has work.
    """

    def __init__(self, scheduler: str, options: Options | None = None, patience: float = 60) -> None:
        self.scheduler = reach(scheduler)
        self.options = options or Options()
        self.patience = patience
        from distributed import Client

        try:
            self.client = Client(scheduler, timeout=10, set_as_default=False)
        except OSError as error:
            raise InputError(f"What answers at {scheduler} is no Dask scheduler; start `dask scheduler`.") from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def slots(self) -> Counter[str]:
        """How many workers offer each resource now."""
        workers = self.client.scheduler_info()["workers"].values()
        return Counter(name for worker in workers for name in worker["resources"])

    def check(self, backends: Sequence[Backend]) -> None:
        """Ask the hosts that backends name whether they can run them.

        Raises:
            InputError: a host has no worker, or one of another release, or a backend is not available there.
        """
        hosts = list(dict.fromkeys(backend.host for backend in backends))
        check_offers(self.slots(), hosts, self.scheduler)
        for host in hosts:
            theirs = [backend for backend in backends if backend.host == host]
            for reason in self.ask(host, Slot.unavailable, theirs).result():
                raise InputError(f"On host {host}: {reason}")

    def ask(self, host: str, what: Callable[..., Any], *arguments: Any) -> Future:
        """What a method of `Slot` will answer at a host. It takes all of a slot and, when its worker dies, another one
        of that host."""
        parcel = pickle.dumps((what, self.options, *arguments))
        return self.client.submit(_opener(), parcel, pure=False, resources={resource(host): 1})

    def measure(
        self,
        archs: Sequence[Network],
        tasks: Sequence[Task],
        journal: Journal,
        prepare: Prepare,
        metric: str = "latency_ms",
        features: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Iterator[Row]:
        """Run a campaign like `measure.campaign.run_campaign`, each task at the host of its backend, with `features` by
        host.

        A slot gets its next task when the row of the last one is on disk, so that nothing queues elsewhere. A task
        whose worker dies is measured by the next one of that host; one that outlives four workers is a failed row.

        Raises:
            InputError: what `check` refuses; or the scheduler has gone, or, for `patience` seconds, all workers of all
                hosts that have work left.
        """
        from distributed import CancelledError
        from distributed.client import ClosedClientError

        left: dict[str, deque[Task]] = {backend.host: deque() for *_, backend in tasks}
        for task in tasks:
            left[task[2].host].append(task)
        asked: dict[Future, Task] = {}
        try:
            self.check(list({backend.device().name: backend for *_, backend in tasks}.values()))
            while asked or any(left.values()):
                slots, busy = self.slots(), Counter(backend.host for *_, backend in asked.values())
                for host, queue in left.items():
                    for _ in range(min(len(queue), max(1, slots[resource(host)]) - busy[host])):
                        _, position, backend = task = queue.popleft()
                        asked[self.ask(host, Slot.measure, backend, archs[position], prepare)] = task
                for future in self._ended(asked):
                    repeat, position, backend = asked.pop(future)
                    more = (features or {}).get(backend.host, {})
                    row = sound(named(archs[position], backend, repeat, metric, more) | _answer(future))
                    journal.append(row)
                    yield row
        except (CancelledError, ClosedClientError, OSError) as error:
            raise InputError(
                f"The scheduler at {self.scheduler} has gone; start it and the workers, and run the same command "
                "again: all rows measured so far are safe."
            ) from error

    def _ended(self, asked: Mapping[Future, Task]) -> list[Future]:
        """Waits until some have ended, but for no host that nobody serves any more."""
        from distributed import wait

        alone_since = time.monotonic()
        while True:
            try:
                with self.client.as_current():
                    return list(wait(list(asked), timeout=1, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                slots, hosts = self.slots(), sorted({backend.host for *_, backend in asked.values()})
                if any(slots[resource(host)] for host in hosts):
                    alone_since = time.monotonic()
                elif time.monotonic() - alone_since > self.patience:
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
    """Whether each host offers a slot of this release.

    Raises:
        InputError: one does not.
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
    """What runs in the worker. As it is nested, it travels by value: the scheduler, which opens what it passes on,
    needs no Gnomon."""

    def opened(parcel: bytes) -> Any:
        import pickle

        from distributed import get_worker

        offer: Any = get_worker().plugins["gnomon"]
        what, *arguments = pickle.loads(parcel)
        return what(offer.slot, *arguments)

    return opened
