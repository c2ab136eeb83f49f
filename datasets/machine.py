"""This machine: its processor's name, and fields that identify it."""

from __future__ import annotations

import hashlib
import math
import platform
import re
from functools import cache
from pathlib import Path


def cpuinfo(field: str) -> str:
    """The first value of a field of /proc/cpuinfo, empty if there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    values = [line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == field]
    return values[0] if values else ""


def cpu_model() -> str:
    """The processor's name by Linux, elsewhere by Python's `platform`."""
    board = Path("/proc/device-tree/model")  # a Raspberry Pi's cpuinfo names no model
    names = (cpuinfo("model name"), board.read_text().strip("\0") if board.exists() else "", platform.processor())
    return next((name for name in names if name), platform.machine())


NAMES_OF_FIELDS = {
    "vendor": ("vendor_id", "CPU implementer"),
    "family": ("cpu family", "CPU architecture"),
    "model": ("model", "CPU part"),
    "stepping": ("stepping", "CPU revision"),
}
"""Fields that identify a processor, by their names in /proc/cpuinfo on x86 and on Arm."""


PROCESSORS = {"milan": ("AuthenticAMD", "25", "1"), "genoa": ("AuthenticAMD", "25", "17")}
"""Vendor, family and model of the processors of machines of the bundled tables, by name of the machine."""


@cache
def machine() -> dict[str, str | float]:
    """Fields that identify this machine, independent of how processes are pinned.

    They are architecture, operating system, processor (name, vendor, family, model, stepping, a digest of its flags)
    and memory in GiB; those that the system does not report are left out. Memory is rounded up to a quarter of a power
    of two, since the kernel reserves a varying amount of it.
    """
    path = Path("/proc/meminfo")
    found = re.search(r"MemTotal: *(\d+) kB", path.read_text()) if path.exists() else None
    memory = int(found[1]) / 2**20 if found else 0.0
    step = 2.0 ** (math.floor(math.log2(memory)) - 2) if memory else 1.0
    flags = " ".join(sorted((cpuinfo("flags") or cpuinfo("Features")).split()))
    read = {name: next(filter(None, map(cpuinfo, fields)), "") for name, fields in NAMES_OF_FIELDS.items()}
    known: dict[str, str | float] = {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": cpu_model(),
        **read,
        "flags": hashlib.sha256(flags.encode()).hexdigest()[:12] if flags else "",
        "memory_gib": math.ceil(memory / step) * step,
    }
    return {name: value for name, value in known.items() if value}


@cache
def machine_name() -> str:
    """A short name of this machine for tables, from its processor's name: `epyc-7b13`, `xeon-platinum-8481c`.

    If that name has no number, the processor's family and model are appended (`epyc-25-17`).
    """
    return name_of(cpu_model(), cpuinfo("cpu family"), cpuinfo("model"))


def bundled_twin() -> str:
    """Name of the machine of the bundled tables that has the processor of this one; empty if there is none."""
    own = tuple(machine().get(name) for name in ("vendor", "family", "model"))
    return next((name for name, processor in PROCESSORS.items() if processor == own), "")


def name_of(model: str, family: str = "", number: str = "") -> str:
    """The short name of a processor; `family` and `number` (model) are fields of /proc/cpuinfo."""
    model = re.sub(r"\((r|tm|c)\)|@.*|\bwith .*|\b\d+(th|rd|nd|st) gen\b|\b\S+-core\b", " ", model.lower())
    words = re.findall(r"[a-z0-9]+", re.sub(r"\b(amd|intel|cpu|processor|apu|rev [\d.]+)\b", " ", model))
    if not re.search(r"\d", " ".join(words)):
        words += re.findall(r"[a-z0-9]+", f"{family} {number}".lower())
    return "-".join(words)[:40].strip("-") or "host"
