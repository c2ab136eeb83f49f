"""Flags that several commands share, and their progress bars."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.networks.sizes import Sizes
from measure.plan import Protocol

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.remote.machine import Remote

DEVICES = Path("configs/devices")
MOST_ARCHITECTURES = 500_000
"""Largest number of architectures that a command draws."""


def at_least(least: float, most: float = math.inf, **values: float | None) -> None:
    """Check the values of flags, by name; None stands for a flag that was not given.

    Raises:
        InputError: a value is less than `least`, more than `most`, infinite or not a number.
    """
    from datasets.records import InputError

    for name, value in values.items():
        if value is not None and not (least <= value <= most and math.isfinite(value)):
            end = f" and at most {most:,}" if math.isfinite(most) else ""
            raise InputError(f"--{name.replace('_', '-')} must be at least {least:g}{end}, not {value}.")


@dataclass(frozen=True)
class Subjects:
    """The networks to measure.

    Attributes:
        space: space of the architectures, with its skeleton: nasbench201 or nasbench201(cells=1,channels=16); a .yaml
            that describes one of one's own; layers: single layers, which --archs lists as `python -m search layers`
            does; networks: networks as --onnx takes them, which --archs lists.
        archs: a file of architectures instead of random ones, one per line.
        onnx: networks instead, separated by commas: .onnx, .keras, .tflite, .pt2 or .param (ncnn) files,
            SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module. A runtime that
            takes a file runs the file itself, others the network that was read from it.
        limit: number of distinct random architectures; a larger number only adds to a smaller one. Small spaces are
            taken in their own order.
        seed: seed of the random architectures.
        block: measure the space's basic block alone instead of the whole network.
        layers: measure each of their layers once and alone, for a look-up table, instead of the whole networks.
        sizes: sizes that the files of these networks leave open besides the batch.
        inputs: an .npz file with values of the network's inputs by their names, instead of drawn ones.
    """

    space: str = "nasbench201"
    archs: Path | None = None
    onnx: str | None = None
    limit: int = 20
    seed: int = 0
    block: bool = False
    layers: bool = False
    sizes: Sizes = Sizes()
    inputs: Path | None = None

    def __post_init__(self) -> None:
        from datasets.records import InputError

        at_least(1, MOST_ARCHITECTURES, limit=self.limit)
        at_least(0, seed=self.seed)
        if self.block and self.layers:
            raise InputError("A block is no layer; leave one of --subjects.block and --layers out.")
        if self.block and self.files:
            raise InputError(
                "A block is part of a search space's networks; leave --subjects.block out, or name a space."
            )
        if self.sizes != Sizes() and not self.files:
            raise InputError("--shape, --size and --trips are of networks' files; name those with --onnx.")
        self.sizes.sizes()  # one each
        if self.inputs and not self.onnx:
            raise InputError("--inputs are of a network's file; name that with --onnx.")

    @property
    def files(self) -> bool:
        """Whether networks of files are measured, and not of a space."""
        return self.onnx is not None or self.space == "networks"


MOST_THREADS = 1024
"""Largest number of threads of a backend."""


def thread_counts(text: str) -> list[int]:
    """The numbers of threads in a flag; raises `InputError` if there are none."""
    from datasets.records import InputError

    words = [word.strip() for word in str(text).split(",")]
    if not all(word.isdecimal() and len(word) < 6 and 1 <= int(word) <= MOST_THREADS for word in words):
        raise InputError(f"--threads must be numbers from 1 to {MOST_THREADS}, as in 1,2,4, not '{text}'.")
    return list(dict.fromkeys(map(int, words)))


@dataclass(frozen=True)
class RowFields:
    """What rows hold besides the latency.

    Attributes:
        phases: measure initialisation, copying in, execution and copying out separately.
        energy: also measure the energy per run, net of this host at rest (RAPL, NVML, tegrastats); some 5 s per row.
        memory: also measure the peak memory of a fresh process that loads and runs the network; seconds per row.
    """

    phases: bool = False
    energy: bool = False
    memory: bool = False


@dataclass(frozen=True)
class Process:
    """The process that measures.

    Attributes:
        core: pin the process to one processor core.
        timeout: limit of seconds per row, building included.
        threads: number of threads that compute, or several numbers separated by commas: 1,2,4. Each is a device of its
            own.
    """

    core: int | None = None
    timeout: float = 600
    threads: str = "1"

    def __post_init__(self) -> None:
        thread_counts(self.threads)
        at_least(0.001, **{"timing.timeout": self.timeout})


@dataclass(frozen=True)
class Runs(Process):
    """The number of runs, and the process that measures.

    Attributes:
        protocol: number of runs. server (more than 100) and mobile (300) are those of LETI, by default according to
            the device; quick: 31, or fewer of long runs, for thousands of networks; layer: 11 in each of up
            to three sessions, for tens of thousands of layers.
        repeats: passes over all networks, to estimate repeatability.
    """

    protocol: Protocol | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, 1000, **{"timing.repeats": self.repeats})


@dataclass(frozen=True)
class OtherMachine:
    """Another machine to measure on.

    Attributes:
        ssh: the machine, user@host[:port] or a name of ~/.ssh/config; it needs Python, numpy and the runtime. There are
            no prompts. GNOMON_SSH is the command if not `ssh`.
        python: the command there, like ~/venv/bin/python.
    """

    ssh: str | None = None
    python: str = "python3"

    def reached(self, **options: Any) -> Remote:
        """The bench on that machine; only where `ssh` is given."""
        from measure.remote.machine import Remote

        assert self.ssh
        return Remote(self.ssh, self.python, ssh=os.environ.get("GNOMON_SSH", "ssh"), **options)


@dataclass(frozen=True)
class OtherMachines(OtherMachine):
    """Another machine, or many, to measure on.

    Attributes:
        build: whether artefacts for the other machine are built here, or there with the packages installed there.
        scheduler: measure on the workers that have joined this Dask scheduler, of --host NAME or of several, separated
            by commas: tcp://192.168.0.2:8786.
    """

    build: Literal["here", "there"] = "here"
    scheduler: str | None = None


def fail_if_all(rows: int, failed: int) -> None:
    """End the command with exit status 1 if rows were measured and every one of them failed."""
    if rows and failed == rows:
        sys.exit(1)


def host_names(host: str | None, ssh: str | None = None) -> list[str]:
    """The names of machines in a flag, separated by commas; by default the name of this machine.

    Raises:
        InputError: a name is malformed, or missing for a machine that is reached by `ssh`.
    """
    from datasets.records import InputError
    from measure.host import checked_name, machine_name

    if host is not None:
        return [checked_name(name.strip()) for name in host.split(",")]
    if ssh:
        raise InputError(f"{ssh} needs a name of its own in tables; give it with --host (for `measure host`: --name).")
    return [machine_name()]


def parse_backends(
    texts: str,
    core: int | None,
    protocol: Protocol | None = None,
    here: bool = True,
    hosts: Sequence[str] = ("",),
    threads: str = "1",
) -> list[Backend]:
    """The backends that a flag names, for each of the hosts (by default this machine) and numbers of threads; with
    `here`, a backend that cannot run on this machine is refused before anything is measured."""
    from datasets.records import InputError
    from measure.backends import named_backend, split_backends
    from measure.timing import PROTOCOLS, pin

    if core is not None:
        pin(core)
    backends = []
    for name, text, count in product(hosts, split_backends(texts), thread_counts(threads)):
        backend = named_backend(text, name)
        fields = PROTOCOLS[protocol or ("mobile" if backend.remote else "server")]
        backends.append(replace(backend, timing=replace(backend.timing, **fields), threads=count))
        if here and (reason := backends[-1].unavailable()):
            raise InputError(reason)
    return backends


def one_device(text: str, timing: Process) -> Backend:
    """The only backend that the flags name.

    Raises:
        InputError: they name several.
    """
    from datasets.records import InputError

    protocol = timing.protocol if isinstance(timing, Runs) else None
    backends = parse_backends(text, timing.core, protocol, threads=timing.threads)
    if len(backends) > 1:
        raise InputError("This command measures on one device; name one --backend and one number of --threads.")
    return backends[0]


def features_of(hosts: Sequence[str], devices: Path) -> dict[str, dict[str, float]]:
    """The features of machines by name, of those that `python -m measure host` has described."""
    from datasets.devices import read_device

    paths = {name: devices / f"{name}.yaml" for name in hosts}
    return {name: dict(read_device(path).features) for name, path in paths.items() if path.is_file()}


def progress(total: int, unit: str = "row") -> Any:
    """A progress bar with the time left; disabled where the output is no terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, disable=None)


def as_json(thing: Any) -> str:
    return json.dumps(thing, indent=1)
