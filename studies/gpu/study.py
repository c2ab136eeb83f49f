"""A prepared campaign on an NVIDIA GPU: `python -m studies.gpu.study` writes runs/gpu/summary.json, gpu.parquet and the
journal of both, from which another run continues.

Nothing is installed: runtimes that cannot run here are listed with the reason. Each stage has its seconds, so that
eight minutes have some of everything; what a stage lacks is measured by the next run. `--cpu true` rehearses on
runtimes of a CPU. PyTorch is needed; jsonargparse, which reads the flags, is not.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.cli import main
from studies.parts import run_parts

if TYPE_CHECKING:
    from measure.base import Backend
    from measure.bench import Measure
    from measure.campaign import Journal

ON_CPU = {"cuda": "eager", "cuda_graphs": "", "cuda_compiled": "", "keras_gpu": "keras", "ort_cuda": "ort",
          "ort_tensorrt": "", "tensorrt": ""}  # fmt: skip
"""Runtimes of a GPU, and those of a CPU that stand in for them in a rehearsal; '' where none does."""

LIMIT = 90
"""Largest number of seconds per row."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Stage:
    """Architectures of one space on some runtimes.

    Attributes:
        name: of the stage in summary.json.
        space: of the architectures.
        limit: number of architectures.
        runtimes: those of `ON_CPU`.
        seconds: share of the eight minutes.
        batches: batches of the networks; layers have their own.
        energy: whether the energy of a run is measured, too.
    """

    name: str
    space: str
    limit: int
    runtimes: tuple[str, ...]
    seconds: float
    batches: tuple[int, ...] = (1,)
    energy: bool = False


_PLAIN, _OTHERS = ("cuda", "cuda_graphs"), ("ort_cuda", "ort_tensorrt", "tensorrt", "keras_gpu")
STAGES = (
    Stage("cells", "nasbench201", 100, _PLAIN, 90),
    Stage("layers", "convolution(megabytes=128,megamacs=400)", 100, _PLAIN[:1], 40),
    Stage("layers", "pooling(megabytes=128,megamacs=50)", 100, _PLAIN[:1], 30),
    Stage("layers", "dense(megabytes=128,megamacs=400)", 100, _PLAIN[:1], 30),
    Stage("networks", "zoo", 9, _PLAIN, 70, energy=True),
    Stage("figure4", "zoo", 3, _PLAIN, 80, BATCHES),
    Stage("networks", "convnet", 31, _PLAIN, 40),
    Stage("networks", "zoo", 9, ("cuda_compiled",), 30),
    Stage("networks", "convnet", 31, ("cuda_compiled",), 20),
    Stage("networks", "zoo", 9, _OTHERS, 20),
    Stage("networks", "convnet", 31, _OTHERS, 15),
)


def backends_of(stage: Stage, host: str, cpu: bool) -> list[Backend]:
    """The backends of a stage, also those that cannot run here."""
    from measure.backends import named_backend
    from measure.timing import PROTOCOLS

    fields = {**PROTOCOLS["layer"], "sessions": 1}
    names = [name for name in (ON_CPU[runtime] if cpu else runtime for runtime in stage.runtimes) if name]
    found = [named_backend(f"{name}:fp32:{batch}", host) for name, batch in product(names, stage.batches)]
    return [replace(backend, timing=replace(backend.timing, **fields)) for backend in found]


def measured(stage: Stage, backends: list[Backend], log: Journal, bench: Measure, end: float) -> Iterator[dict]:
    """Measure rows of a stage that the journal lacks, until a time of `time.monotonic`."""
    from measure.campaign import of_space, pending, run_campaign

    archs, prepare = of_space(stage.space, stage.limit, None, 0, False)
    tasks = pending(archs, backends, log, metric="exe_ms", energy=stage.energy)
    rows = run_campaign(archs, tasks, log, prepare, bench, "exe_ms")
    while time.monotonic() < end and (row := next(rows, None)):
        yield row


def campaign(out: Path, host: str, seconds: float, cpu: bool, stages: list[Stage]) -> list[dict]:
    """Run the stages; one row per stage and device with its numbers of rows, and one per runtime that never ran."""
    from measure.bench import Bench, Worker
    from measure.campaign import Journal
    from measure.table import to_table, write_table

    log, rows, never = Journal(out / "gpu.jsonl"), dict[tuple[str, str, str], Counter[str]](), dict[str, str]()
    scale, end = seconds / sum(stage.seconds for stage in stages), time.monotonic()
    with Worker(LIMIT, Bench(phases=True)) as plain, Worker(LIMIT, Bench(phases=True, energy=True)) as metered:
        for stage in stages:
            end += scale * stage.seconds
            reasons = {backend.runtime: backend.unavailable() for backend in backends_of(stage, host, cpu)}
            never |= {runtime: reason for runtime, reason in reasons.items() if reason}
            backends = [backend for backend in backends_of(stage, host, cpu) if not reasons[backend.runtime]]
            for row in measured(stage, backends, log, metered if stage.energy else plain, end):
                found = row.get("error") or f"{row['exe_ms']:.4g} ms"
                print(stage.name, row["device"]["name"], row["key"], found, flush=True)
    for stage in stages:
        for row in _rows_of(stage, log.rows, host, cpu):
            counts = rows.setdefault((stage.name, row["device"]["name"], row["device"]["runtime"]), Counter())
            counts["failed" if "error" in row else "rows"] += 1
            counts["with_energy"] += "energy_mj" in row
    if any("error" not in row for row in log.rows):
        write_table(*to_table(log.rows, unstable=True), out / "gpu.parquet")
    names = ("stage", "device", "runtime")
    measured_rows = [{**dict(zip(names, group, strict=True)), **counts} for group, counts in rows.items()]
    return measured_rows + [{"stage": "never run", "runtime": runtime, "why": why} for runtime, why in never.items()]


def _rows_of(stage: Stage, rows: list[dict], host: str, cpu: bool) -> list[dict]:
    """The last row of each network of a stage on each of its devices."""
    from datasets.spaces import parse_space

    devices, space = {backend.device().name for backend in backends_of(stage, host, cpu)}, str(parse_space(stage.space))
    found = [row for row in rows if row["space"] == space and row["device"]["name"] in devices]
    return list({(row["key"], row["device"]["name"]): row for row in found}.values())


def run(
    out: Path = Path("runs/gpu"),
    host: str | None = None,
    seconds: float = 450,
    cpu: bool = False,
    few: int = 0,
    stages: str = "cells,layers,figure4,networks",
) -> None:
    """Measure on the first NVIDIA GPU, with phases and, of published networks, energy.

    Args:
        out: folder of the journal, the table and summary.json.
        host: name of this machine in device names; by default derived from its processor.
        seconds: duration of all stages together; building tables and starting take some more.
        cpu: rehearse on runtimes of a CPU.
        few: largest number of architectures, and of batches, per stage; 0: all.
        stages: names of stages, separated by commas.
    """
    from measure.commands.flags import at_least, host_names

    at_least(1, 36_000, seconds=seconds)
    at_least(0, few=few)
    out.mkdir(parents=True, exist_ok=True)
    chosen = [stage for stage in STAGES if stage.name in stages.split(",")]
    if few:
        chosen = [replace(s, limit=min(few, s.limit), batches=s.batches[:few]) for s in chosen]
    (name,) = host_names(host)
    run_parts({"gpu": lambda: campaign(out, name, seconds, cpu, chosen)}, "gpu", out)
    if not any(row.get("rows") for row in json.loads((out / "summary.json").read_text())):
        sys.exit(1)


if __name__ == "__main__":
    if importlib.util.find_spec("jsonargparse"):
        main(run, prog="python -m studies.gpu.study")
    else:
        run()
