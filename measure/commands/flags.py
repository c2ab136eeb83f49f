"""What several commands read from their flags, and how they show progress."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from measure.plan import Protocol

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.remote.machine import Remote

DEVICES = Path("configs/devices")
MOST_ARCHITECTURES = 500_000
"""Most architectures that a command draws."""


def at_least(least: float, most: float = math.inf, **values: float | None) -> None:
    """Check numbers that flags give, by the flags' names; None is not given.

    Raises:
        InputError: one is less than `least`, more than `most`, infinite or no number.
    """
    from datasets.records import InputError

    for name, value in values.items():
        if value is not None and not (least <= value <= most and math.isfinite(value)):
            end = f" and at most {most:,}" if math.isfinite(most) else ""
            raise InputError(f"--{name.replace('_', '-')} must be at least {least:g}{end}, not {value}.")


@dataclass(frozen=True)
class Subjects:
    """What is measured.

    Attributes:
        space: space of the architectures, with its skeleton: nasbench201 or nasbench201(cells=1,channels=16); layers:
            single layers, which --archs lists as `python -m search layers` does; networks: networks as --onnx takes
            them, which --archs lists.
        archs: a file of architectures instead of random ones, one a line.
        onnx: networks instead, separated by commas: .onnx, .keras or .tflite files, SPACE:ARCHITECTURE as
            zoo:resnet18, or torch:MODULE:CALLABLE, which imports that module.
        limit: how many distinct random architectures; a larger number only adds to a smaller one. A small space is
            taken in its own order.
        seed: of the random architectures.
        block: measure the space's basic block alone instead of the whole network.
        layers: measure their layers, each alone and once, instead of the whole networks: a look-up table.
    """

    space: str = "nasbench201"
    archs: Path | None = None
    onnx: str | None = None
    limit: int = 20
    seed: int = 0
    block: bool = False
    layers: bool = False

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

    @property
    def files(self) -> bool:
        """Whether networks of files are measured, and not of a space."""
        return self.onnx is not None or self.space == "networks"


@dataclass(frozen=True)
class Process:
    """The process that measures.

    Attributes:
        core: pin what measures to one processor core.
        timeout: seconds that one row may take, building included.
    """

    core: int | None = None
    timeout: float = 600

    def __post_init__(self) -> None:
        at_least(0.001, **{"timing.timeout": self.timeout})


@dataclass(frozen=True)
class Runs(Process):
    """How often everything is run, and in which process.

    Attributes:
        protocol: as many runs as LETI asks for, on servers (more than 100) or on mobile devices (300), by default
            according to the device; quick: 31, or fewer of long runs, for thousands of networks; layer: 11, for tens of
            thousands of layers.
        repeats: passes over everything, for judging repeatability.
    """

    protocol: Protocol | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, 1000, **{"timing.repeats": self.repeats})


@dataclass(frozen=True)
class OtherMachine:
    """Another machine instead of this one.

    Attributes:
        ssh: user@host[:port] or a name of ~/.ssh/config; it needs Python, numpy and the runtime. Nothing is asked at a
            prompt. GNOMON_SSH is the command if not `ssh`.
        python: the command there, like ~/venv/bin/python.
    """

    ssh: str | None = None
    python: str = "python3"

    def reached(self, **options: Any) -> Remote:
        """The machine; it may be reached only where `ssh` is given."""
        from measure.remote.machine import Remote

        assert self.ssh
        return Remote(self.ssh, self.python, ssh=os.environ.get("GNOMON_SSH", "ssh"), **options)


@dataclass(frozen=True)
class OtherMachines(OtherMachine):
    """Another machine instead of this one, or many.

    Attributes:
        build: whether artefacts for another machine are built here, or there by what is installed there.
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
    """The names of machines that a flag gives, separated by commas; by default the one of this machine.

    Raises:
        InputError: a name cannot be one, or none is given for a machine that is reached by `ssh`.
    """
    from datasets.records import InputError
    from measure.host import checked_name, machine_name

    if host is not None:
        return [checked_name(name.strip()) for name in host.split(",")]
    if ssh:
        raise InputError(f"{ssh} needs a name of its own in tables; say --host (or, for `measure host`, --name).")
    return [machine_name()]


def parse_backends(
    texts: str,
    core: int | None,
    protocol: Protocol | None = None,
    here: bool = True,
    hosts: Sequence[str] = ("",),
) -> list[Backend]:
    """The runtimes that a flag names, on every one of the hosts (by default this machine); where they are to run
    `here`, one that cannot is refused before anything is measured."""
    from measure.backends import named_backend, parse_backend
    from measure.timing import PROTOCOLS, pin

    if core is not None:
        pin(core)
    parse = parse_backend if here else named_backend
    backends = [parse(text.strip(), name) for name in hosts for text in texts.split(",")]
    chosen = [PROTOCOLS[protocol or ("mobile" if one.remote else "server")] for one in backends]
    return [replace(one, timing=replace(one.timing, **given)) for one, given in zip(backends, chosen, strict=True)]


def features_of(hosts: Sequence[str], devices: Path) -> dict[str, dict[str, float]]:
    """The numbers of machines by their names, where `python -m measure host` has written them."""
    from datasets.devices import read_device

    paths = {name: devices / f"{name}.yaml" for name in hosts}
    return {name: dict(read_device(path).features) for name, path in paths.items() if path.is_file()}


def progress(total: int) -> Any:
    """Progress with the time left; rows are told line by line instead where nobody looks at a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit="row", disable=None)


def as_json(thing: Any) -> str:
    return json.dumps(thing, indent=1)
