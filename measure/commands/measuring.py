"""How the commands of campaigns turn pending rows into measured ones, and show them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from measure.commands.flags import progress
from measure.commands.shown import row_text, rows_text

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.bench import Bench
    from measure.campaign import Chosen, Journal
    from measure.remote.machine import Remote
    from measure.rows import Row

    Measurer = Callable[..., Iterator[Row]]  # called like `run_campaign` and `Cluster.measure`

SHOWN = 20
"""Largest number of rows in the table at the end, and of rows that a terminal shows one by one."""


@contextmanager
def measurer(
    bench: Bench,
    features: Mapping[str, Mapping[str, float]],
    timeout: float,
    scheduler: str | None = None,
    remote: Remote | None = None,
) -> Iterator[Measurer]:
    """The function that measures pending rows: in a child process, on another machine, or on a scheduler's hosts."""
    from measure.bench import Worker
    from measure.campaign import run_campaign

    if scheduler is None:
        with remote or Worker(timeout, bench) as measuring:
            yield partial(run_campaign, bench=measuring, features=features)
        return
    from measure.remote.cluster import Cluster
    from measure.remote.slot import Options

    with Cluster(scheduler, Options(timeout, bench)) as cluster:
        yield partial(cluster.measure, features=features)


def measure_pending(
    measure: Measurer,
    chosen: Chosen,
    backends: list[Backend],
    log: Journal,
    metric: str,
    repeats: int,
    retry: bool,
    energy: bool = False,
) -> tuple[int, int]:
    """Measure the rows that the journal lacks, with progress; returns the numbers of measured and of failed rows.

    Each row is printed as it is measured, where few are or the output is no terminal, and some of them in a table at
    the end.
    """
    from measure.campaign import pending
    from measure.drift import References, unreliable_devices, without_replaced
    from measure.rows import Row, is_timed

    archs, prepare = chosen
    tasks = pending(archs, backends, log, repeats, retry, metric, energy)
    failed = unstable = unmetered = 0
    references, rows = References(log.rows), list[Row]()
    with progress(len(tasks)) as bar:
        for row in measure(archs, tasks, log, prepare, metric=metric):
            failed += "error" in row
            unstable += not row.get("stable", True)
            unmetered += "error" in row.get("energy", {})
            rows.append(row)
            references.add(row)
            bar.set_postfix(failed=failed, unstable=unstable)
            bar.update()
            if bar.disable:
                print(row_text(row, references), flush=True)
            elif len(tasks) <= SHOWN:
                bar.write(row_text(row, references))
    if timed := [row for row in rows if is_timed(row)]:
        print(rows_text(timed[-SHOWN:], references))
    print(f"{len(tasks)} rows measured ({failed} failed, {unstable} unstable); {len(log.rows)} in {log.path}.")
    devices, doubtful = {row["device"]["name"] for row in rows}, unreliable_devices(without_replaced(log.rows))
    for device in devices & doubtful.keys():
        print(f"{device}: {doubtful[device]}; --retry true measures them again, best while the machine is quiet.",
              file=sys.stderr)  # fmt: skip
    if failed:
        print("Failed rows say why in their field 'error'; --retry measures them again.", file=sys.stderr)
    if unmetered:
        print(f"{unmetered} rows have no energy and say why in their field 'energy'; --retry measures them again.",
              file=sys.stderr)  # fmt: skip
    return len(tasks), failed


def check_machine(log: Journal, backends: list[Backend], host: Row) -> None:
    """Refuse a journal that holds rows of another machine under these devices' names, before anything is measured."""
    from measure.rows import machine_of

    for backend in backends:
        if not backend.remote:
            log.machines.check(backend.device().name, machine_of({"host": host}))
