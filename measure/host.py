"""This machine as a device: its features for device encoders, each with its source."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.files.writing import check_writable, write_text
from datasets.machine import cpu_model, cpuinfo
from datasets.machine import machine as machine
from datasets.machine import machine_name as machine_name
from datasets.machine import name_of as name_of
from datasets.records import InputError

SourcedNumber = tuple[float, str]
"""A number and its source."""

CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def checked_name(name: str) -> str:
    """The name of a machine, part of the names of devices and files; raises `InputError` if it is malformed."""
    if not re.fullmatch(r"[\w.-]{1,100}", name) or name.strip(".") == "":
        raise InputError(f"{shortened(repr(name), 60)} cannot be a name; use letters, digits, '.', '-' and '_'.")
    return name


def kind_of(model: str) -> str:
    """The kind of device, guessed from a processor's name."""
    if re.search(r"xeon|epyc|opteron|ampere|graviton|neoverse|power\d", model, re.IGNORECASE):
        return "server-cpu"
    if re.search(r"raspberry|jetson|cortex|bcm2", model, re.IGNORECASE):
        return "embedded-cpu"
    return "desktop-cpu"


def cores() -> SourcedNumber:
    """Number of logical processors of the machine, including those that this process may not use."""
    return float(os.cpu_count() or 1), "read: logical processors that the system has"


def clock_ghz() -> SourcedNumber | None:
    """The highest clock that the system reports, in GHz."""
    top = CPUFREQ / "cpuinfo_max_freq"
    if top.exists():
        return int(top.read_text()) / 1e6, f"read: {top}"
    if named := re.search(r"@ ([\d.]+) ?GHz", cpu_model()):
        return float(named[1]), "read: the processor's name (nominal, without turbo)"
    if now := cpuinfo("cpu MHz"):
        return float(now) / 1000, "read: cpu MHz of /proc/cpuinfo (of this moment; there is no cpufreq)"
    return None


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor says that it computes in bf16: AVX-512's or AMX's instructions, or Arm's."""
    if not cpuinfo.is_file():
        return False
    return re.search(r"^(flags|Features)\s*:.*\b(avx512_bf16|amx_bf16|bf16)\b", cpuinfo.read_text(), re.M) is not None


def best_seconds(work: Callable[[], object], rounds: int = 7) -> float:
    """The least CPU time in seconds of several rounds after a warm-up, which is that of an undisturbed machine."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def peak_gflops(size: int = 1024) -> SourcedNumber:
    """fp32 Gflop/s of all cores: that of numpy's matrix product on one thread, times the number of cores."""
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    single = 2 * size**3 / best_seconds(lambda: a @ a) / 1e9
    how = f"numpy's fp32 product of {size}x{size} matrices on one thread, best of 7: {single:.4g}, times the cores"
    return single * cores()[0], f"measured: {how}"


def memory_gbs(megabytes: int = 256) -> SourcedNumber:
    """Memory bandwidth in 10^9 bytes per second, read and written, of a copy that is too large for caches."""
    source, target = np.ones(megabytes << 17), np.ones(megabytes << 17)
    rate = 2 * source.nbytes / best_seconds(lambda: np.copyto(target, source)) / 1e9
    return rate, f"measured: a copy of {megabytes} MiB on one thread, bytes read plus bytes written, best of 7"


def describe_host(name: str, kind: str = "") -> dict[str, Any]:
    """Name, family, kind and features of this machine, with their sources, in the form that `read_device` reads."""
    model = cpu_model()
    family = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    numbers = {"cores": cores(), "clock_ghz": clock_ghz(), "memory_gbs": memory_gbs(), "peak_gflops": peak_gflops()}
    known = {key: number for key, number in numbers.items() if number is not None}
    return {
        "name": name,
        "family": family,
        "kind": kind or kind_of(model),
        "source": f"python -m measure host, on {model}, {platform.system()} {platform.machine()}",
        "features": {key: float(f"{value:.4g}") for key, (value, _) in known.items()},
        "how": {key: how for key, (_, how) in known.items()},
    }


def write_host(
    name: str,
    folder: Path,
    kind: str = "",
    overwrite: bool = False,
    describe: Callable[[str, str], dict[str, Any]] = describe_host,
) -> Path:
    """Measure this machine (or the one that `describe` measures) and write `<folder>/<name>.yaml`.

    Raises:
        InputError: the name is malformed, the file exists, or the folder cannot be written.
    """
    import yaml

    path = folder / f"{checked_name(name)}.yaml"
    if path.exists() and not overwrite:
        raise InputError(f"{path} is already there; choose another --name or give --overwrite true.")
    check_writable(path)  # before what takes seconds
    write_text(path, yaml.safe_dump(describe(name, kind), sort_keys=False, width=120))
    return path
