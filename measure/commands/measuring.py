"""How the commands of campaigns turn pending rows into measured ones, and show them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from measure.commands.flags import progress

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.bench import Bench, Row
    from measure.campaign import Chosen, Journal
    from measure.remote.machine import Remote

    Measurer = Callable[..., Iterator[Row]]  # called like `run_campaign` and `Cluster.measure`


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
    """Measure the rows that the journal lacks, with progress; returns the numbers of measured and of failed rows."""
    from measure.campaign import pending

    archs, prepare = chosen
    tasks = pending(archs, backends, log, repeats, retry, metric, energy, memory)
    failed = unstable = unmetered = 0
    with progress(len(tasks)) as bar:
        for row in measure(archs, tasks, log, prepare, metric=metric):
            failed += "error" in row
            unstable += not row.get("stable", True)
            unmetered += "error" in row.get("energy", {})
            bar.set_postfix(failed=failed, unstable=unstable)
            _show(bar, row)
    print(f"{len(tasks)} rows measured ({failed} failed, {unstable} unstable); {len(log.rows)} in {log.path}.")
    if failed:
        print("Failed rows say why in their field 'error'; --retry measures them again.", file=sys.stderr)
    if peakless := sum("error" in row.get("memory", {}) for row in log.rows):
        print(f"{peakless} rows have no peak memory and say why in their field 'memory'.", file=sys.stderr)
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


def _show(bar: Any, row: dict[str, Any]) -> None:
    bar.update()
    if bar.disable:
        result = row.get("error") or f"{row['raw_ms']:.3f} ms, {row['ratio']:.3f} x reference"
        result += f", {row['energy_mj']:.4g} mJ" if "energy_mj" in row else ""
        result += f", {row['peak_mb']:.4g} MB" if "peak_mb" in row else ""
        print(f"{row['key']} on {row['device']['name']}: {result}", flush=True)
