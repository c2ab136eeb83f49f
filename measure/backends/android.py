"""LiteRT on an Android device by `adb`: on its CPU, its GPU, and the vendor's accelerators through NNAPI.

The measured file is the one that `litert` runs on this host. It is pushed to the device, where benchmark_model executes
it: once on a known input, whose output is fetched and compared with the numpy reference like that of every other
backend, then for timing. LETI measures phones in the same way: at least 300 runs, which are repeated if the standard
deviation exceeds a tenth of the mean, and on GPU and NPU only networks that are delegated completely.
"""

from __future__ import annotations

import math
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from measure.backends.litert import LiteRT
from measure.base import Session, Shapes
from measure.builders.tflite_session import LiteRTSession
from measure.remote import adb
from measure.remote.benchmark_model import PROGRAM, SOURCE, BenchmarkFailed, Report, command, failure, parse
from measure.timing import PROTOCOLS, Repeats, Timing


class NotDelegated(RuntimeError):
    """A delegate leaves operators of a file to the CPU."""


@dataclass
class AndroidCPU(LiteRT):
    """LiteRT with XNNPACK, its default on CPUs.

    A pair of clocks is two processes of benchmark_model in sequence, for the network and the reference, since phones
    drift with their temperature; each reports the mean of its runs. CPU time is not reported by the device, and is 0.

    Attributes:
        together: runs per process: the protocol's pairs (300 by default, as LETI requires on mobile devices) are
            distributed over processes, at least three, since a GPU takes seconds to start.
        warmup_s: seconds of untimed runs in each process, in which the processor raises its clock.
        cores: mask of cores for Android's `taskset`, like f0; empty: chosen by the system.
    """

    timing: Timing = field(default_factory=lambda: Timing(**PROTOCOLS["mobile"], by="wall"))
    together: int = 50
    warmup_s: float = 0.5
    cores: str = ""

    runtime = "android_cpu"
    kind = "mobile-cpu"
    slow_to_build = True
    remote = True
    delegate: ClassVar[str] = ""
    """benchmark_model's name of the delegate that executes the network; empty for the CPU."""

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

    def load(self, artefact: Path, shapes: Shapes = ()) -> Session:
        return AndroidSession(self, artefact, shapes)

    def flags(self) -> dict[str, str | float | bool]:
        """Flags of benchmark_model for the delegate."""
        return {}

    def benchmark(self, model: str, runs: int, **flags: str | float | bool) -> Report:
        """Run one process of benchmark_model on a file of the device.

        Raises:
            BenchmarkFailed: it crashed, gave up, or made fewer runs than requested.
            NotDelegated: the delegate leaves operators to the CPU.
            adb.AdbError: the device was disconnected.
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

    def timed(self, session: Session, reference: Session, again: Sequence[Session] = ()) -> Repeats:
        assert isinstance(session, AndroidSession) and isinstance(reference, AndroidSession)
        processes = max(3, math.ceil(self.timing.pairs / self.together))
        runs = math.ceil(self.timing.pairs / processes)
        with adb.pushed({"network": session.model, "reference": reference.model}) as folder:
            before = thermal_state()
            for rounds in range(1, self.timing.max_rounds + 1):
                reports = [
                    (self.benchmark(f"{folder}/network", runs), self.benchmark(f"{folder}/reference", runs))
                    for _ in range(processes)
                ]
                clocks = np.array([(ours.mean_ms, 0.0, theirs.mean_ms, 0.0) for ours, theirs in reports])
                repeats = Repeats(clocks, np.ones(processes, dtype=bool), rounds, "wall")
                if repeats.deviation <= self.timing.max_deviation:
                    break
            return replace(repeats, more={**summary(reports), "device_before": before, "device_after": thermal_state()})

    def versions(self) -> dict[str, str]:
        """Versions of Android, of the device, and of benchmark_model (a digest, since old ones report no version)."""
        names = ("ro.product.manufacturer", "ro.product.model", "ro.product.cpu.abi", "ro.build.version.release")
        ran = adb.shell("; ".join(f"getprop {name}" for name in names) + f"; sha256sum {PROGRAM} | cut -c 1-12")
        maker, model, abi, release, digest = [*ran.output.splitlines(), *[""] * 5][:5]
        return {"benchmark_model": digest, "android": release, "device": f"{maker} {model} ({abi})"}


@dataclass
class AndroidGPU(AndroidCPU):
    """LiteRT's GPU delegate.

    fp32 permits no loss of precision; fp16 (of the same file) and int8 do. GPUs compute int8 files in floating point.
    """

    runtime = "android_gpu"
    precisions = ("fp32", "fp16", "int8")
    computes = ("fp16",)
    kind = "mobile-gpu"
    delegate = "GPU"

    def flags(self) -> dict[str, str | float | bool]:
        return {"use_gpu": True, "gpu_precision_loss_allowed": self.precision != "fp32"}


@dataclass
class AndroidNNAPI(AndroidCPU):
    """The vendor's accelerators through Android's Neural Networks API, without NNAPI's own CPU implementation."""

    runtime = "android_nnapi"
    kind = "asic"
    delegate = "NNAPI"

    def flags(self) -> dict[str, str | float | bool]:
        return {"use_nnapi": True, "disable_nnapi_cpu": True}


class AndroidSession:
    """A session of a .tflite file on the device.

    Every `run` is a process there that reads the input from a file and writes the output to another. Processes that
    make many runs are timed instead (`AndroidCPU.timed`).
    """

    def __init__(self, backend: AndroidCPU, artefact: Path, shapes: Shapes = ()) -> None:
        self.backend = backend
        self.model = artefact.read_bytes()
        self.here = LiteRTSession.of_file(artefact, backend.kernels, shapes)

    def bind(self, inputs: Sequence[np.ndarray]) -> None:
        self.inputs = self.here.quantise(inputs)

    def run(self) -> None:
        names = [detail["name"] for detail in self.here.inputs]
        shapes = [",".join(map(str, x.shape)) for x in self.inputs]
        files = {f"x{i}": x.tobytes() for i, x in enumerate(self.inputs)}
        with adb.pushed({"network": self.model, **files}) as folder:
            values = ",".join(f"{name}:{folder}/{file}" for name, file in zip(names, files, strict=True))
            try:
                self.backend.benchmark(
                    f"{folder}/network", 1, warmup_runs=1, warmup_min_secs=0, output_filepath=f"{folder}/y",
                    input_layer=",".join(names), input_layer_shape=":".join(shapes), input_layer_value_files=values,
                )  # fmt: skip
            except NotDelegated as error:
                raise NotDelegated(f"{error}; {self.why()}") from error
            if adb.shell(f"test -f {folder}/y").code:
                raise BenchmarkFailed(f"benchmark_model left no output to check; push a newer one from {SOURCE}")
            self.y = adb.pulled(f"{folder}/y")

    def fetch(self) -> list[np.ndarray]:
        """The outputs, which benchmark_model writes one after the other."""
        outputs, at = [], 0
        for detail in self.here.outputs:
            dtype, count = np.dtype(detail["dtype"]), math.prod(detail["shape"])
            outputs.append(np.frombuffer(self.y, dtype, count, at).reshape(detail["shape"]))
            at += count * dtype.itemsize
        return self.here.dequantise(outputs)

    def why(self) -> str:
        """Sentences about the operators of this file that the delegate is known to refuse."""
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
    """Fields of a journal row: results of benchmark_model besides the means.

    Returns:
        init_ms, first_ms: medians over the network's processes; run_deviation: standard deviation of all its runs over
        their mean (LETI's criterion); memory_mb; reports: pairs of network and reference, for all processes.
    """
    ours = [network for network, _ in reports]
    mean = np.mean([report.mean_ms for report in ours])
    square = np.mean([report.std_ms**2 + (report.mean_ms - mean) ** 2 for report in ours])
    return {
        "init_ms": float(np.median([report.init_ms for report in ours])),
        "first_ms": float(np.median([report.first_ms for report in ours])),
        "run_deviation": float(np.sqrt(square) / mean),
        "memory_mb": ours[-1].memory_mb,
        "reports": [[asdict(report) for report in pair] for pair in reports],
    }


def thermal_state() -> Mapping[str, float]:
    """The battery's temperature, and Android's thermal status (since Android 10), which is 0 without throttling.

    Values that the device does not report are left out.
    """
    text = adb.shell("dumpsys battery; dumpsys thermalservice").output
    celsius = re.search(r"temperature: (\d+)", text)
    thermal = re.search(r"Thermal Status: (\d+)", text)
    found = {"battery_celsius": int(celsius[1]) / 10} if celsius else {}
    return found | ({"thermal_status": float(thermal[1])} if thermal else {})
