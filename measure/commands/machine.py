"""Commands about a machine: `doctor`, `host`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measure.commands.flags import DEVICES, OtherMachine, as_json, host_names, progress


def doctor(json: bool = False, remote: OtherMachine = OtherMachine()) -> None:
    """Show what this host can measure, how well, and how to improve it; takes a few seconds.

    Args:
        json: print JSON.
        remote: another machine to examine.
    """
    from measure.doctor import SECTIONS, as_text, diagnose

    if remote.ssh:
        with remote.reached() as there:
            findings = there.ask("doctor")
    else:
        with progress(len(SECTIONS), "section") as bar:
            findings = diagnose(bar.update)
    print(as_json(findings) if json else as_text(findings))


def host(
    name: str | None = None,
    folder: Path = DEVICES,
    kind: str = "",
    overwrite: bool = False,
    remote: OtherMachine = OtherMachine(),
) -> None:
    """Measure this machine and write its features, which device encoders read.

    Args:
        name: name of the machine and of the file, as in `run --host`; by default derived from the processor's name.
        folder: folder of the file.
        kind: kind of the device: server-cpu, desktop-cpu, mobile-cpu, embedded-cpu, ...; by default guessed from the
            processor's name.
        overwrite: replace a file that is already there.
        remote: another machine to examine.
    """
    from datasets.devices import read_device
    from measure.host import describe_host, write_host

    def describe(name: str, kind: str) -> dict[str, Any]:
        if not remote.ssh:
            return describe_host(name, kind)
        with remote.reached() as there:
            return there.ask("host", name=name, kind=kind)

    path = write_host(host_names(None, remote.ssh)[0] if name is None else name, folder, kind, overwrite, describe)
    read_device(path)
    print(path.read_text() + f"written to {path}")
