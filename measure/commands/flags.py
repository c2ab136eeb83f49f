"""What several commands read from their flags, and how they show progress."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def remote_machine(ssh: str, python: str, **options: Any) -> Remote:
    """Another machine."""
    from measure.remote.machine import Remote

    return Remote(ssh, python, ssh=os.environ.get("GNOMON_SSH", "ssh"), **options)


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
