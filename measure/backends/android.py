"""LiteRT on an Android device behind `adb`: its CPU, its GPU, and what the vendor offers through NNAPI.

The file that is measured is the one that `litert` runs on this host. It is pushed to the device, where benchmark_model
executes it: once on a known input, whose output is fetched and compared with the numpy reference like that of every
other backend, then to be timed. LETI measures phones the same way: at least 300 runs, all over again where the standard
deviation exceeds a tenth of the mean, and on GPU and NPU only what is delegated whole.
"""

from __future__ import annotations

import math
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from measure.backends.litert import LiteRT, LiteRTSession
from measure.base import Session
from measure.builders.nhwc import to_nchw, to_nhwc
from measure.remote import adb
from measure.remote.benchmark_model import PROGRAM, SOURCE, BenchmarkFailed, Report, command, failure, parse
from measure.timing import PROTOCOLS, Repeats, Timing


class NotDelegated(RuntimeError):
    """A delegate leaves operators of a file to the CPU."""


@dataclass
class AndroidCPU(LiteRT):
    """XNNPACK, as LiteRT applies it by itself.

    A pair of clocks is two processes of benchmark_model one after the other, the network's and the reference's, since
    phones drift with their heat; each tells the mean of its runs. The device's CPU time is not told and stands as 0.

    Attributes:
        together: runs in one process: the protocol's pairs (300 by default, as LETI asks of mobile devices) are shared
            among so few processes, though never fewer than three, since a GPU takes seconds to start.
        warmup_s: seconds of runs that do not count in each process, for the clock of the processor to go up.
        threads: of the CPU.
        cores: a mask as Android's `taskset` takes it, like f0; empty: wherever the system puts them.
    """

    timing: Timing = field(default_factory=lambda: Timing(**PROTOCOLS["mobile"], by="wall"))
    together: int = 50
    warmup_s: float = 0.5
    threads: int = 1
    cores: str = ""

    runtime = "android_cpu"
    kind = "mobile-cpu"
    slow_to_build = True
    remote = True
    delegate: ClassVar[str] = ""
    """What executes the network instead of the CPU, as benchmark_model calls it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.timing = replace(self.timing, by="wall")

    def lacks(self) -> str:
        if why := adb.problem():
            return why
        try:
            if not adb.shell(f"test -x {PROGRAM}").code:
                return ""
        except adb.AdbError as error:
            return str(error)
        return f"the device has no {PROGRAM}; download {SOURCE}, `adb push` it there and `adb shell chmod +x` it"

    def load(self, artefact: Path) -> Session:
        return AndroidSession(self, artefact)

    def flags(self) -> dict[str, str | float | bool]:
        """What benchmark_model is told of the delegate."""
        return {}

    def benchmark(self, model: str, runs: int, **flags: str | float | bool) -> Report:
        """One process of benchmark_model on a file that lies on the device.

        Raises:
            BenchmarkFailed: it crashed, gave up, or made fewer runs than it was told to.
            NotDelegated: the delegate leaves operators to the CPU.
            adb.AdbError: the device went away.
        """
        line = command(
            f"taskset {shlex.quote(self.cores)}" if self.cores else "",
            **{"graph": model, "num_threads": self.threads, "num_runs": runs, "min_secs": 0,
               "warmup_runs": self.timing.warmup, "warmup_min_secs": self.warmup_s, **self.flags(), **flags},
        )  # fmt: skip
        ran = adb.shell(line, timeout=900)
        if ran.code:
            raise BenchmarkFailed(failure(ran.code, ran.output))
        report = parse(ran.output)
        if self.delegate and not report.whole:
            raise NotDelegated(f"{self.delegate} executes {report.delegated or 'none of its operators'}")
        if report.runs < runs:
            raise BenchmarkFailed(f"benchmark_model stopped after {report.runs} of {runs} runs: they take too long")
        return report

    def timed(self, session: Session, reference: Session) -> Repeats:
        assert isinstance(session, AndroidSession) and isinstance(reference, AndroidSession)
        processes = max(3, math.ceil(self.timing.pairs / self.together))
        runs = math.ceil(self.timing.pairs / processes)
        with adb.pushed({"network": session.model, "reference": reference.model}) as folder:
            before = state()
            for rounds in range(1, self.timing.max_rounds + 1):
                reports = [
                    (self.benchmark(f"{folder}/network", runs), self.benchmark(f"{folder}/reference", runs))
                    for _ in range(processes)
                ]
                clocks = np.array([(ours.mean_ms, 0.0, theirs.mean_ms, 0.0) for ours, theirs in reports])
                repeats = Repeats(clocks, np.ones(processes, dtype=bool), rounds, "wall")
                if repeats.deviation <= self.timing.max_deviation:
                    break
            return replace(repeats, more={**summary(reports), "device_before": before, "device_after": state()})

    def versions(self) -> dict[str, str]:
        """Of Android, the device, and benchmark_model (what its bytes hash to: old ones tell no version)."""
        names = ("ro.product.manufacturer", "ro.product.model", "ro.product.cpu.abi", "ro.build.version.release")
        ran = adb.shell("; ".join(f"getprop {name}" for name in names) + f"; sha256sum {PROGRAM} | cut -c 1-12")
        maker, model, abi, release, digest = [*ran.output.splitlines(), *[""] * 5][:5]
        return {"benchmark_model": digest, "android": release, "device": f"{maker} {model} ({abi})"}


@dataclass
class AndroidGPU(AndroidCPU):
    """LiteRT's GPU delegate. fp32 allows no loss of precision; fp16 (the same file) and int8 allow it, and GPUs compute
    int8 files in floating point."""

    runtime = "android_gpu"
    precisions = ("fp32", "fp16", "int8")
    kind = "mobile-gpu"
    delegate = "GPU"

    def flags(self) -> dict[str, str | float | bool]:
        return {"use_gpu": True, "gpu_precision_loss_allowed": self.precision != "fp32"}


@dataclass
class AndroidNNAPI(AndroidCPU):
    """Whatever accelerators the vendor offers through Android's Neural Networks API, without its own CPU."""

    runtime = "android_nnapi"
    kind = "asic"
    delegate = "NNAPI"

    def flags(self) -> dict[str, str | float | bool]:
        return {"use_nnapi": True, "disable_nnapi_cpu": True}


class AndroidSession:
    """A .tflite file; every `run` is a process on the device that reads the input from a file and leaves the output in
    another. What is timed are processes that make many runs (`AndroidCPU.timed`)."""

    def __init__(self, backend: AndroidCPU, artefact: Path) -> None:
        self.backend = backend
        self.model = artefact.read_bytes()
        here = LiteRT.load(backend, artefact)
        assert isinstance(here, LiteRTSession)
        self.here = here

    def bind(self, x: np.ndarray) -> None:
        self.x = self.here.quantise(to_nhwc(x))

    def run(self) -> None:
        name, shape = self.here.input["name"], ",".join(str(side) for side in self.here.input["shape"])
        with adb.pushed({"network": self.model, "x": self.x.tobytes()}) as folder:
            try:
                self.backend.benchmark(
                    f"{folder}/network", 1, warmup_runs=1, warmup_min_secs=0, output_filepath=f"{folder}/y",
                    input_layer=name, input_layer_shape=shape, input_layer_value_files=f"{name}:{folder}/x",
                )  # fmt: skip
            except NotDelegated as error:
                raise NotDelegated(f"{error}; {self.why()}") from error
            if adb.shell(f"test -f {folder}/y").code:
                raise BenchmarkFailed(f"benchmark_model left no output to check; push a newer one from {SOURCE}")
            self.y = np.frombuffer(adb.pulled(f"{folder}/y"), self.here.output["dtype"])

    def fetch(self) -> np.ndarray:
        return to_nchw(self.here.dequantise(self.y.reshape(self.here.output["shape"])))

    def why(self) -> str:
        """What the delegate is known to refuse of this file."""
        from measure.builders.delegates import refused

        delegate = self.backend.delegate.lower()
        if delegate == "nnapi":
            level = adb.shell("getprop ro.build.version.sdk").output.strip()
            delegate += str(min(30, max(27, int(level)))) if level.isdigit() else "30"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.tflite"
            path.write_bytes(self.model)
            sentences = refused(path, delegate)
        first = " ".join(sentences[:2]) or f"by what is known of {delegate}, it should execute all."
        return first + (f" And {len(sentences) - 2} more." if len(sentences) > 2 else "")


def summary(reports: list[tuple[Report, Report]]) -> dict[str, Any]:
    """Fields of a journal row: what benchmark_model tells beside the means.

    Returns:
        init_ms: median over the network's processes; run_deviation: standard deviation of all its runs over their mean
        (LETI's own criterion); memory_mb; reports: all of all processes, pairs of network and reference.
    """
    ours = [network for network, _ in reports]
    mean = np.mean([report.mean_ms for report in ours])
    square = np.mean([report.std_ms**2 + (report.mean_ms - mean) ** 2 for report in ours])
    return {
        "init_ms": float(np.median([report.init_ms for report in ours])),
        "run_deviation": float(np.sqrt(square) / mean),
        "memory_mb": ours[-1].memory_mb,
        "reports": [[asdict(report) for report in pair] for pair in reports],
    }


def state() -> Mapping[str, float]:
    """How warm the device is: the battery's temperature, and Android's thermal status (since Android 10), which is 0 as
    long as nothing is slowed down. What the device does not tell is left out."""
    text = adb.shell("dumpsys battery; dumpsys thermalservice").output
    celsius = re.search(r"temperature: (\d+)", text)
    thermal = re.search(r"Thermal Status: (\d+)", text)
    found = {"battery_celsius": int(celsius[1]) / 10} if celsius else {}
    return found | ({"thermal_status": float(thermal[1])} if thermal else {})
