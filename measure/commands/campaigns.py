"""What is measured, where: `run`, `campaign`, `worker`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.commands.flags import (
    DEVICES,
    MOST_ARCHITECTURES,
    OtherMachines,
    Process,
    Runs,
    Subjects,
    at_least,
    fail_if_all,
    features_of,
    host_names,
    parse_backends,
    progress,
)
from measure.commands.tables import table

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.bench import Bench, Row
    from measure.campaign import Chosen, Journal
    from measure.remote.machine import Remote

    Measurer = Callable[..., Iterator[Row]]  # as `run_campaign` and `Cluster.measure` are called


def run(
    subjects: Subjects = Subjects(),
    backend: str = "ort",
    timing: Runs = Runs(),
    phases: bool = False,
    energy: bool = False,
    journal: Path = Path("runs/measure/journal.jsonl"),
    retry: bool = False,
    host: str | None = None,
    devices: Path = DEVICES,
    remote: OtherMachines = OtherMachines(),
) -> None:
    """Measure architectures on runtimes of this host, of another (--ssh) or of many (--scheduler).

    Stopped at any moment, it goes on where it was.

    Args:
        subjects: what is measured.
        backend: runtimes, separated by commas, each name[:precision[:batch]]: ort,ort:int8,eager:fp32:16.
        timing: how often, and in which process.
        phases: measure initialisation, copying in, execution and copying out one by one.
        energy: meter also what one run takes, net of this host at rest (RAPL, NVML, tegrastats); some 5 s a row.
        journal: file that rows are appended to; what stands in it is not measured again.
        retry: measure failed and unstable rows again.
        host: name of the machine in the devices' names; by default it is made from the processor's.
        devices: folder of what `host` wrote: the machine's numbers are those of its NAME.yaml.
        remote: another machine instead, or many.
    """
    from datasets.records import InputError
    from measure.bench import Bench, this_host
    from measure.campaign import Journal
    from measure.meters import choose_meter

    core, timeout, ssh, scheduler = timing.core, timing.timeout, remote.ssh, remote.scheduler
    hosts = host_names(host, ssh)
    if subjects.block and phases:
        raise InputError("A block is measured as a whole; leave one of --subjects.block and --phases out.")
    if subjects.block and energy:
        raise InputError("The energy is that of whole networks; leave one of --subjects.block and --energy out.")
    if remote.build == "there" and not ssh:
        raise InputError("--remote.build there asks for another machine; name it with --ssh.")
    if ssh and scheduler:
        raise InputError("A machine is reached by --ssh or by a --scheduler; leave one out.")
    if scheduler is None and len(hosts) > 1:
        raise InputError("Several hosts are reached by way of a --scheduler; name it, or one host.")
    if scheduler is not None and (core is not None or subjects.files):
        raise InputError("With --scheduler, --core is said to `measure worker`, and files (--onnx) are not measured.")
    chosen = _chosen(subjects)
    here = not ssh and scheduler is None
    backends = parse_backends(backend, core if here else None, timing.protocol, here, hosts)
    if phases and (without := [one.runtime for one in backends if one.remote]):
        raise InputError(f"Backend {without[0]} runs on another device, which tells no phases; leave --phases out.")
    for one in backends if energy and here else ():
        choose_meter(one)
    metric = "block_ms" if subjects.block else "exe_ms" if phases else "latency_ms"
    log, features = Journal(journal), features_of(hosts, devices)
    there = {"build": remote.build, "core": core, "timeout": timeout, "phases": phases, "energy": energy}
    remote_bench = remote.reached(**there, journal=log) if ssh else None
    with _measurer(Bench(phases, energy), features, timeout, scheduler, remote_bench) as measurer:
        if remote_bench:
            remote_bench.check(backends)
        if scheduler is None:
            _check_machine(log, backends, remote_bench.host if remote_bench else this_host())
        measured, failed = _measure(measurer, chosen, backends, log, metric, timing.repeats, retry, energy)
    fail_if_all(measured, failed)


def _chosen(subjects: Subjects) -> Chosen:
    """What the flags choose, and how it becomes networks."""
    from datasets.files.reading import read_words
    from datasets.networks.reading import split_names
    from datasets.records import InputError
    from measure.campaign import networks, of_space
    from measure.lookup import layers_of, listed_layers

    listed = subjects.space == "layers" and not subjects.onnx
    if subjects.onnx:
        chosen = networks(split_names(subjects.onnx), modules=True, sizes=subjects.sizes)
    elif listed:
        return listed_layers(subjects.archs)
    elif subjects.space == "networks":
        if subjects.archs is None:
            raise InputError("Name a file of networks, one a line, with --archs, or networks with --onnx.")
        chosen = networks(read_words(subjects.archs, "it should hold one network a line"), sizes=subjects.sizes)
    else:
        chosen = of_space(subjects.space, subjects.limit, subjects.archs, subjects.seed, subjects.block)
    return layers_of(chosen) if subjects.layers else chosen


def campaign(
    plan: Path,
    out: Path,
    journal: Path | None = None,
    limit: int | None = None,
    timing: Process = Process(),
    host: str | None = None,
    devices: Path = DEVICES,
    retry: bool = False,
) -> None:
    """Measure a whole table (hours), and write it. Stopped at any moment, it goes on where it was.

    Runtimes of the plan that cannot run here are told and left out.

    Args:
        plan: a file of configs/campaigns: what the table holds.
        out: the Parquet file to write.
        journal: as in `run`; by default runs/tables/<name of the table>.jsonl.
        limit: so many architectures of each part only, once.
        timing: in which process.
        host: name of this machine in the devices' names, as in `run`.
        devices: as in `run`.
        retry: measure failed and unstable rows again.
    """
    from datasets.records import InputError
    from measure.bench import Bench, this_host
    from measure.campaign import Journal, of_space
    from measure.lookup import layers_of
    from measure.plan import read_plan

    if len(hosts := host_names(host)) > 1:
        raise InputError("A campaign measures on this host; name one --host, or use `run` with a --scheduler.")
    at_least(1, MOST_ARCHITECTURES, limit=limit)
    stages = list(read_plan(plan).stages(limit))
    journal = journal or Path("runs/tables") / f"{out.stem}.jsonl"
    log, absent, measured, failed = Journal(journal), set[str](), 0, 0
    for part, number, passes in stages:
        chosen = of_space(part.space, number, None, part.seed, False)
        chosen = layers_of(chosen) if part.layers else chosen
        named = parse_backends(part.backend, timing.core, part.protocol, False, hosts)
        for one in named:
            name, reason = one.device().name, one.unavailable()
            if reason and name not in absent:
                print(f"{name} is left out: {reason}", file=sys.stderr)
                absent.add(name)
        backends = [one for one in named if one.device().name not in absent]
        _check_machine(log, backends, this_host())
        with _measurer(Bench(part.phases), features_of(hosts, devices), timing.timeout) as measurer:
            metric = "exe_ms" if part.phases else "latency_ms"
            now = _measure(measurer, chosen, backends, log, metric, passes, retry)
        measured, failed = measured + now[0], failed + now[1]
    if log.rows and all("error" in row for row in log.rows):
        sys.exit(1)  # which leaves nothing to make a table of
    table(journal, out)
    fail_if_all(measured, failed)


def worker(scheduler: str, host: str | None = None, core: int | None = None) -> None:
    """Offer this host to `run --scheduler` until the scheduler ends, one row at a time.

    Args:
        scheduler: the address that `dask scheduler` tells, like tcp://192.168.0.2:8786. Run that on a machine that all
            hosts reach, in a network that you trust: whoever reaches it can run code on all of them.
        host: name of this machine in the devices' names, as in `run`; two workers of one name are two equal boards and
            share its rows.
        core: pin this process to one processor core.
    """
    from measure.host import checked_name, machine_name
    from measure.remote.slot import Slot, serve
    from measure.timing import pin

    name = machine_name() if host is None else checked_name(host)
    if core is not None:
        pin(core)
    serve(scheduler, Slot(), name)


@contextmanager
def _measurer(
    bench: Bench,
    features: Mapping[str, Mapping[str, float]],
    timeout: float,
    scheduler: str | None = None,
    remote: Remote | None = None,
) -> Iterator[Measurer]:
    """What turns tasks into rows: a process of its own here, another machine, or the hosts of a scheduler."""
    from measure.bench import Worker
    from measure.campaign import run_campaign

    if scheduler is None:
        with remote or Worker(timeout, bench) as one:
            yield partial(run_campaign, bench=one, features=features)
        return
    from measure.remote.cluster import Cluster
    from measure.remote.slot import Options

    with Cluster(scheduler, Options(timeout, bench)) as cluster:
        yield partial(cluster.measure, features=features)


def _measure(
    measurer: Measurer,
    chosen: Chosen,
    backends: list[Backend],
    log: Journal,
    metric: str,
    repeats: int,
    retry: bool,
    energy: bool = False,
) -> tuple[int, int]:
    """Measure what the journal lacks, with progress; returns how many rows that were and how many of them failed."""
    from measure.campaign import pending

    archs, prepare = chosen
    tasks = pending(archs, backends, log, repeats, retry, metric, energy)
    failed = unstable = unmetered = 0
    with progress(len(tasks)) as bar:
        for row in measurer(archs, tasks, log, prepare, metric=metric):
            failed += "error" in row
            unstable += not row.get("stable", True)
            unmetered += "error" in row.get("energy", {})
            bar.set_postfix(failed=failed, unstable=unstable)
            _tell(bar, row)
    print(f"{len(tasks)} rows measured ({failed} failed, {unstable} unstable); {len(log.rows)} in {log.path}.")
    if failed:
        print("Failed rows say why in their field 'error'; --retry measures them again.", file=sys.stderr)
    if unmetered:
        print(f"{unmetered} rows have no energy and say why in their field 'energy'; --retry measures them again.",
              file=sys.stderr)  # fmt: skip
    return len(tasks), failed


def _check_machine(log: Journal, backends: list[Backend], host: Row) -> None:
    """Refuse a journal that holds rows of another machine under these devices' names, before anything is measured."""
    from measure.rows import machine_of

    for backend in backends:
        if not backend.remote:
            log.machines.check(backend.device().name, machine_of({"host": host}))


def _tell(bar: Any, row: dict[str, Any]) -> None:
    bar.update()
    if bar.disable:
        told = row.get("error") or f"{row['raw_ms']:.3f} ms, {row['ratio']:.3f} x reference"
        told += f", {row['energy_mj']:.4g} mJ" if "energy_mj" in row else ""
        print(f"{row['key']} on {row['device']['name']}: {told}", flush=True)
