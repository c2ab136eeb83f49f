"""How the commands of campaigns turn pending rows into measured ones, and show them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from measure.commands.flags import progress

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.bench import Bench
    from measure.campaign import Chosen, Journal
    from measure.drift import References
    from measure.remote.machine import Remote
    from measure.rows import Row

    Measurer = Callable[..., Iterator[Row]]  # called like `run_campaign` and `Cluster.measure`

SHOWN = 20
"""Largest number of rows in the table at the end, and of those that a terminal shows one by one."""


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
    memory: bool = False,
) -> tuple[int, int]:
    """Measure the rows that the journal lacks, with progress; returns the numbers of measured and of failed rows.

    Each row is printed as it is measured, where they are few or the output is no terminal.
    """
    from measure.campaign import pending
    from measure.drift import References
    from measure.shown import row_text

    archs, prepare = chosen
    tasks = pending(archs, backends, log, repeats, retry, metric, energy, memory)
    references, rows, failed, unstable = References(log.rows), [], 0, 0
    with progress(len(tasks)) as bar:
        for row in measure(archs, tasks, log, prepare, metric=metric):
            failed += "error" in row
            unstable += not row.get("stable", True)
            rows.append(row)
            references.add(row)
            bar.set_postfix(failed=failed, unstable=unstable)
            bar.update()
            if bar.disable:
                print(row_text(row, references), flush=True)
            elif len(tasks) <= SHOWN:
                bar.write(row_text(row, references))
    _conclude(rows, references, log, f"{failed} failed, {unstable} unstable")
    return len(rows), failed


def _conclude(rows: Sequence[Row], references: References, log: Journal, counts: str) -> None:
    """Print what was measured as a table, and what of it should be measured again."""
    from measure.drift import unreliable_devices, without_replaced
    from measure.rows import is_timed
    from measure.shown import rows_text

    if timed := [row for row in rows if is_timed(row)]:
        print(f"The last {SHOWN} rows:" if len(timed) > SHOWN else "", rows_text(timed[-SHOWN:], references), sep="\n")
        print("ms: the ratio to the reference network, times its usual time on the device; raw: as timed.")
    print(f"{len(rows)} rows measured ({counts}); {len(log.rows)} in {log.path}.")
    kept, notes = without_replaced(log.rows), list[str]()
    doubtful, again = unreliable_devices(kept), "--retry true measures them again, best while the machine is quiet."
    for name in sorted({row["device"]["name"] for row in rows}):
        stable: dict[str, bool] = {}
        for row in (row for row in kept if is_timed(row) and row["device"]["name"] == name):
            stable[row["key"]] = stable.get(row["key"], False) or row["stable"]
        if count := [*stable.values()].count(False):
            notes.append(
                f"{name}: {count} of {len(stable)} architectures in the journal have no stable row (runs vary by more "
                f"than a tenth), and `measure table` leaves them out; {again} On a machine that is always busy, "
                "`measure table --unstable true` keeps them."
            )
        if name in doubtful:
            notes.append(f"{name}: of the journal, {doubtful[name]}; {again}")
    if any("error" in row for row in rows):
        notes.append("Failed rows say why in their field 'error'; --retry measures them again.")
    if unmetered := sum("error" in row.get("energy", {}) for row in rows):
        notes.append(
            f"{unmetered} rows have no energy and say why in their field 'energy'; --retry measures them again."
        )
    if peakless := sum("error" in row.get("memory", {}) for row in rows):
        notes.append(f"{peakless} rows have no peak memory and say why in their field 'memory'.")
    for note in notes:
        print(note, file=sys.stderr)


def check_machine(log: Journal, backends: list[Backend], host: Row) -> None:
    """Refuse a journal that holds rows of another machine under these devices' names, before anything is measured."""
    from measure.rows import machine_of

    for backend in backends:
        if not backend.remote:
            log.machines.check(backend.device().name, machine_of({"host": host}))
