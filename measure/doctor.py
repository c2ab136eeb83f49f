"""Findings about this host: what it can measure, how well, and how to improve it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.packages import version_of
from measure.base import Backend, reference_network
from measure.host import CPUFREQ, clock_ghz, cpu_model
from measure.meters import meter_classes
from measure.power import Meter, Trace, stretch
from measure.remote import adb

Finding = dict[str, str]
"""Fields `what`, `found` and `todo`, the recommended action, which is empty if there is none."""

GOVERNOR = CPUFREQ / "scaling_governor"
TURBO = (Path("/sys/devices/system/cpu/intel_pstate/no_turbo"), Path("/sys/devices/system/cpu/cpufreq/boost"))


SECTIONS: dict[str, Callable[[], list[Finding]]] = {
    "machine": lambda: [_processor(), _cores(), _clock(), _governor(), _turbo(), _load(), _memory()],
    "clocks": lambda: [_clock_cost("wall", time.perf_counter_ns), _clock_cost("CPU", time.process_time_ns)],
    "noise": lambda: [noise_floor()],
    "energy": lambda: [_meter(cls()) for cls in meter_classes().values()],
    "devices": lambda: [_gpus(), _android()],
    "runtimes": lambda: _runtimes(),
}
"""What is examined, by section."""


def diagnose(done: Callable[[], object] = lambda: None) -> dict[str, list[Finding]]:
    """Findings by section; takes about three seconds, most of them for the noise floor.

    Args:
        done: called after each section.
    """
    found = dict[str, list[Finding]]()
    for section, examine in SECTIONS.items():
        found[section] = examine()
        done()
    return found


def _finding(what: str, found: str, todo: str = "") -> Finding:
    return {"what": what, "found": found, "todo": todo}


def _processor() -> Finding:
    return _finding("processor", f"{cpu_model()}, {platform.machine()}, {platform.system()} {platform.release()}")


def _cores() -> Finding:
    if not hasattr(os, "sched_getaffinity"):
        return _finding("cores", f"{os.cpu_count()}; this system cannot pin a process to one")
    allowed = sorted(os.sched_getaffinity(0))
    numbers = ", ".join(map(str, allowed))
    found = f"{os.cpu_count()}; this process may use {'core' if len(allowed) == 1 else 'cores'} {numbers}"
    return _finding("cores", found, f"pin a campaign with --core {allowed[-1]}" if len(allowed) > 1 else "")


def _clock() -> Finding:
    clock = clock_ghz()
    return _finding("clock", "the system does not report it" if clock is None else f"{clock[0]:.3g} GHz ({clock[1]})")


def _governor() -> Finding:
    if not GOVERNOR.exists():
        return _finding("governor", "not available here, because there is no cpufreq (virtual machines have none)")
    governor = GOVERNOR.read_text().strip()
    return _finding(
        "governor", governor, "" if governor == "performance" else "sudo cpupower frequency-set -g performance"
    )


def _turbo() -> Finding:
    for path in TURBO:
        if path.exists():
            on = (path.read_text().strip() == "1") != (path.name == "no_turbo")
            off = f"for less drift: echo {int(path.name == 'no_turbo')} | sudo tee {path}"
            return _finding("turbo", "on" if on else "off", off if on else "")
    return _finding("turbo", "the system does not report it")


def _load() -> Finding:
    load = os.getloadavg()[0]
    busy = load > 0.5 * (os.cpu_count() or 1)
    return _finding(
        "load", f"{load:.2f} over the last minute", "stop what else runs, or expect unstable rows" if busy else ""
    )


def _memory() -> Finding:
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    sizes = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in lines}
    if "MemAvailable" not in sizes:
        return _finding("memory", "the system does not report it")
    return _finding("memory", f"{sizes['MemAvailable']:.1f} of {sizes['MemTotal']:.1f} GiB free")


def _clock_cost(name: str, clock: Callable[[], int], reads: int = 20_000) -> Finding:
    """The smallest step between two readings, and the cost of one reading."""
    ticks = np.array([clock() for _ in range(reads)])
    steps = np.diff(ticks)
    cost = (ticks[-1] - ticks[0]) / (reads - 1)
    step = int(steps[steps > 0].min())
    coarse = "runs below 0.1 ms need loops around them" if step > 1000 else ""
    return _finding(name, f"steps of {step} ns, {cost:.0f} ns per reading", coarse)


def noise_floor(blocks: int = 8, pairs: int = 31) -> Finding:
    """Variation of medians of `pairs` runs of the reference network on onnxruntime, over `blocks` a quarter of a second
    apart.

    Corrected: relative to a second copy of the network in the same pairs; raw: of its milliseconds.
    """
    from measure.backends.ort import OnnxRuntime

    backend = OnnxRuntime()
    if why := backend.unavailable():
        return _finding("onnxruntime", why)
    session, reference = (backend.session(reference_network()) for _ in range(2))
    timing = replace(backend.timing, max_rounds=1, pairs=pairs)
    medians = []
    for _ in range(blocks):
        repeats = timing(session.run, reference.run)
        medians.append((repeats.raw_ms, repeats.ratio))
        time.sleep(0.2)
    raw, corrected = 100 * np.std(medians, axis=0, ddof=1) / np.mean(medians, axis=0)
    ms = np.mean(medians, axis=0)[0]
    found = f"{ms:.3f} ms, varies by {raw:.1f} % raw, {corrected:.1f} % corrected ({blocks} medians of {pairs} runs)"
    return _finding(
        "onnxruntime",
        found,
        "" if corrected < 2.5 else "pin with --core, stop other work, repeat with --timing.repeats 3",
    )


def _meter(meter: Meter) -> Finding:
    if why := meter.unavailable():
        return _finding(meter.name, why.removeprefix(f"Meter {meter.name} is "))
    with Trace(meter) as trace:
        joules, seconds, *_ = stretch(trace, lambda: time.sleep(meter.interval), seconds=0.5)
    return _finding(meter.name, f"available: {joules / seconds:.1f} W now ({meter.scope})")


def _output(*command: str) -> str | None:
    """The output of a command; None if it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _gpus() -> Finding:
    gpus = _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader")
    if gpus:
        return _finding("GPUs", gpus.replace("\n", "; "))
    todo = "where there is one: install NVIDIA's driver, then the CUDA builds of torch and onnxruntime"
    return _finding("GPUs", "none, because nvidia-smi is not here or finds no GPU", todo)


def _android() -> Finding:
    if why := adb.problem():
        reason, _, todo = why.partition("; ")
        return _finding("Android", f"not available here, because {reason}", todo)
    return _finding("Android", "; ".join(f"{serial} {state}" for serial, state in adb.devices().items()))


def _runtimes() -> list[Finding]:
    from measure.backends import backend_classes

    findings = []
    for name, cls in sorted(backend_classes().items()):
        if why := cls().unavailable():
            found, _, todo = why.removeprefix(f"Backend {name} is ").removesuffix(".").partition("; ")
            todo = todo or "install what it needs, or measure on a machine that has it"
            findings.append(_finding(name, f"{found}.", todo))
        else:
            versions = ", ".join(f"{package} {version}" for package, version in _versions(cls()).items())
            findings.append(_finding(name, f"available: {', '.join(cls.precisions)} ({versions})"))
    return findings


def _versions(backend: Backend) -> Mapping[str, str]:
    """Versions of a backend's packages, without importing those of CPUs: TensorFlow and torch take seconds."""
    known = {package: version_of(package) for package in backend.packages}
    return known if backend.kind == "server-cpu" and known and all(known.values()) else backend.versions()


def as_text(sections: dict[str, list[Finding]]) -> str:
    """The findings as aligned text, with recommended actions below them."""
    width = max(len(finding["what"]) for findings in sections.values() for finding in findings)
    lines: list[Any] = []
    for section, findings in sections.items():
        lines += ["", section]
        for finding in findings:
            lines.append(f"  {finding['what']:<{width}}  {finding['found']}")
            lines += [f"  {'':<{width}}  -> {finding['todo']}"] if finding["todo"] else []
    return "\n".join(lines[1:])
