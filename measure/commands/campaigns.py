"""Commands that measure many networks: `run`, `campaign`, `worker`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure.commands.flags import (
    DEVICES,
    MOST_ARCHITECTURES,
    OtherMachines,
    Process,
    RowFields,
    Runs,
    Subjects,
    at_least,
    fail_if_all,
    features_of,
    host_names,
    parse_backends,
)
from measure.commands.measuring import check_machine, measure_pending, measurer
from measure.commands.tables import table

if TYPE_CHECKING:
    from measure.campaign import Chosen


def run(
    subjects: Subjects = Subjects(),
    backend: str = "ort",
    timing: Runs = Runs(),
    row: RowFields = RowFields(),
    journal: Path = Path("runs/measure/journal.jsonl"),
    retry: bool = False,
    host: str | None = None,
    devices: Path = DEVICES,
    remote: OtherMachines = OtherMachines(),
) -> None:
    """Measure architectures on runtimes of this host, of another (--ssh) or of many (--scheduler).

    Printed are ms at the machine's usual speed, raw ones, and bounds that 90 % and 99 % of single runs keep (99 %
    confidence), where their number allows one. A run that was interrupted is continued by the same command.

    Args:
        subjects: the networks to measure.
        backend: runtimes, separated by commas, each name[:precision[:batch]]: ort,ort:int8,eager:fp32:16. Those with
            settings take them in parentheses: ort(optimization=basic,execution=parallel).
        timing: number of runs, and the process that measures.
        row: what rows hold besides the latency.
        journal: file that rows are appended to; rows that it contains are not measured again.
        retry: measure failed, unstable and unreliable rows again.
        host: name of the machine in device names; by default derived from the processor's name.
        devices: folder of the files that `host` wrote; the machine's features are read from its NAME.yaml.
        remote: another machine, or many, to measure on.
    """
    from datasets.records import InputError
    from measure.bench import Bench, this_host
    from measure.campaign import Journal
    from measure.meters import choose_meter
    from measure.network_files import moved_devices
    from measure.peak import unmeasurable

    core, timeout, ssh, scheduler = timing.core, timing.timeout, remote.ssh, remote.scheduler
    phases, energy = row.phases, row.energy
    hosts = host_names(host, ssh)
    if subjects.block and phases:
        raise InputError("A block is measured as a whole; leave one of --subjects.block and --phases out.")
    if subjects.block and energy:
        raise InputError("The energy is that of whole networks; leave one of --subjects.block and --energy out.")
    if row.memory and (ssh or subjects.block):
        raise InputError("The peak memory is that of whole networks on this host; leave --memory, or --ssh, out.")
    if remote.build == "there" and not ssh:
        raise InputError("--remote.build there needs another machine; name it with --ssh.")
    if ssh and scheduler:
        raise InputError("A machine is reached by --ssh or by a --scheduler; leave one out.")
    if scheduler is None and len(hosts) > 1:
        raise InputError("Several hosts are reached by way of a --scheduler; name it, or one host.")
    if scheduler is not None and (core is not None or subjects.files):
        raise InputError(
            "With --scheduler, --core is an option of `measure worker`, and files (--onnx) are not measured."
        )
    chosen = _chosen(subjects)
    here = not ssh and scheduler is None
    backends = parse_backends(backend, core if here else None, timing.protocol, here, hosts, timing.threads)
    for note in moved_devices(chosen[0], backends):
        print(note, file=sys.stderr)
    if phases and (without := [backend.runtime for backend in backends if backend.remote]):
        raise InputError(f"Backend {without[0]} runs on another device, which reports no phases; leave --phases out.")
    for named in backends if energy and here else ():
        choose_meter(named)
    if row.memory and (reason := next(filter(None, map(unmeasurable, backends)), "")):
        raise InputError(reason)
    metric = "block_ms" if subjects.block else "exe_ms" if phases else "latency_ms"
    log, features = Journal(journal), features_of(hosts, devices)
    there = {"build": remote.build, "core": core, "timeout": timeout, "phases": phases, "energy": energy}
    remote_bench = remote.reached(**there, journal=log) if ssh else None
    with measurer(Bench(phases, energy, row.memory), features, timeout, scheduler, remote_bench) as measure:
        if remote_bench:
            remote_bench.check(backends)
        if scheduler is None:
            check_machine(log, backends, remote_bench.host if remote_bench else this_host())
        pending = measure, chosen, backends, log, metric, timing.repeats, retry
        measured, failed = measure_pending(*pending, energy, row.memory)
    fail_if_all(measured, failed)


def _chosen(subjects: Subjects) -> Chosen:
    """The subjects that the flags select, and the function that prepares them."""
    from datasets.files.reading import read_words
    from datasets.networks.reading import split_names
    from datasets.records import InputError
    from measure.campaign import networks, of_space
    from measure.lookup import layers_of, listed_layers

    listed = subjects.space == "layers" and subjects.onnx is None
    if subjects.onnx is not None:
        names = split_names(subjects.onnx)
        if subjects.inputs and len(names) > 1:
            raise InputError("--inputs are of one network; name one with --onnx.")
        chosen = networks(names, modules=True, sizes=subjects.sizes, inputs=subjects.inputs)
    elif listed:
        return listed_layers(subjects.archs)
    elif subjects.space == "networks":
        if subjects.archs is None:
            raise InputError("Name a file of networks, one per line, with --archs, or networks with --onnx.")
        chosen = networks(read_words(subjects.archs, "it should hold one network per line"), sizes=subjects.sizes)
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
    """Measure a whole table (hours), and write it. A run that was interrupted is continued by the same command.

    Runtimes of the plan that cannot run here are reported and left out.

    Args:
        plan: a file of configs/campaigns: the contents of the table.
        out: the Parquet file to write.
        journal: file of the rows, as in `run`; by default runs/tables/<name of the table>.jsonl.
        limit: largest number of architectures per part, each measured once.
        timing: the process that measures.
        host: name of this machine in device names, as in `run`.
        devices: folder of the files that `host` wrote, as in `run`.
        retry: measure failed, unstable and unreliable rows again.
    """
    from datasets.records import InputError
    from measure.bench import Bench, this_host
    from measure.campaign import Journal, of_space
    from measure.lookup import layers_of
    from measure.plan import read_plan

    if len(hosts := host_names(host)) > 1:
        raise InputError("A campaign measures on this host; name one --host, or use `run` with a --scheduler.")
    at_least(1, MOST_ARCHITECTURES, limit=limit)
    read = read_plan(plan)
    most, stages = max(part.threads for part in read.parts), list(read.stages(limit))
    if most > 1 and timing.threads != "1":
        raise InputError(f"{plan} has its own numbers of threads; leave --timing.threads out.")
    if most > 1 and timing.core is not None:
        raise InputError(f"{plan} computes on {most} threads, which need a core each; leave --timing.core out.")
    if most > 1:
        print(f"{plan} computes on {most} threads; let nothing else run on their cores meanwhile.", file=sys.stderr)
    journal = journal or Path("runs/tables") / f"{out.stem}.jsonl"
    log, absent, measured, failed = Journal(journal), set[str](), 0, 0
    for part, number, passes in stages:
        chosen = of_space(part.space, number, None, part.seed, False)
        chosen = layers_of(chosen) if part.layers else chosen
        threads = str(part.threads) if part.threads > 1 else timing.threads
        named = parse_backends(part.backend, timing.core, part.protocol, False, hosts, threads)
        for candidate in named:
            name, reason = candidate.device().name, candidate.unavailable()
            if reason and name not in absent:
                print(f"{name} is left out: {reason}", file=sys.stderr)
                absent.add(name)
        backends = [backend for backend in named if backend.device().name not in absent]
        check_machine(log, backends, this_host())
        with measurer(Bench(part.phases), features_of(hosts, devices), timing.timeout) as measure:
            metric = "exe_ms" if part.phases else "latency_ms"
            now = measure_pending(measure, chosen, backends, log, metric, passes, retry)
        measured, failed = measured + now[0], failed + now[1]
    if log.rows and all("error" in row for row in log.rows):
        sys.exit(1)  # which leaves nothing to make a table of
    table(journal, out)
    fail_if_all(measured, failed)


def worker(scheduler: str, host: str | None = None, core: int | None = None) -> None:
    """Offer this host to `run --scheduler` until the scheduler ends, one row at a time.

    Args:
        scheduler: the address that `dask scheduler` prints, like tcp://192.168.0.2:8786. Run that on a machine that all
            hosts reach, in a private network: whoever reaches it can run code on all of them.
        host: name of this machine in device names, as in `run`; workers of the same name are equal boards and share
            its rows.
        core: pin this process to one processor core.
    """
    from measure.host import checked_name, machine_name
    from measure.remote.slot import Slot, serve
    from measure.timing import pin

    name = machine_name() if host is None else checked_name(host)
    if core is not None:
        pin(core)
    serve(scheduler, Slot(), name)
