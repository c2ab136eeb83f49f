"""`benchmark_model`, LiteRT's own benchmark for Android: its command line and its report.

Flags and report are documented by its sources, read on 20 November 2026 in the repository tensorflow/tensorflow:
tensorflow/lite/tools/benchmark/{README.md,benchmark_model.cc,benchmark_tflite_model.cc} and
tensorflow/lite/tools/delegates/README.md. Newer versions write `INFO: ` before every line and percentiles after the
standard deviation. Times are microseconds with six digits.
"""

from __future__ import annotations

import math
import re
import signal
from dataclasses import dataclass

PROGRAM = "/data/local/tmp/benchmark_model"
SOURCE = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
    "android_aarch64_benchmark_model"
)


class BenchmarkFailed(RuntimeError):
    """benchmark_model crashed, gave up or gave no usable report; the text says which."""


@dataclass(frozen=True)
class Report:
    """The report of one process of benchmark_model.

    Attributes:
        runs: number of timed runs.
        mean_ms, min_ms, max_ms, std_ms: wall times of the timed runs.
        init_ms: time to load the file and to apply the delegate.
        first_ms: time of the first run of the warm-up.
        memory_mb: growth of the process in MiB (None if the system does not report it).
        whole: whether one delegate executes all operators.
        delegated: the share that the delegate executes, in words; empty if none was requested.
    """

    runs: int
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float
    init_ms: float
    first_ms: float
    memory_mb: float | None
    whole: bool
    delegated: str


def command(before: str = "", **flags: str | float | bool) -> str:
    """The command line, after the command `before`."""
    options = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()]
    return " ".join([*([before] if before else []), PROGRAM, *options])


def failure(code: int, text: str) -> str:
    """Why a process failed, in words, from its exit status and its output."""
    if code > 128 and code - 128 in set(signal.Signals):
        return f"benchmark_model crashed with {signal.Signals(code - 128).name}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") or "Failed to" in line]
    why = " / ".join((errors or lines)[-3:])
    return f"benchmark_model ended with exit status {code}: {why or 'it gives no reason'}"


_NUMBER = r"([-+.\w]+)"
_TIMES = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
    rf"Inference \(avg\): {_NUMBER}\s*\n"
)
_COUNT = re.compile(r"\bcount=(\d+)([^\n]*)\n")
_MEMORY = re.compile(rf"emory footprint [^\n]*\(MB\): init={_NUMBER} overall={_NUMBER}\s*\n")


def parse(text: str) -> Report:
    """Read a report.

    Raises:
        BenchmarkFailed: the report is incomplete, or contradicts itself.
    """
    times, counts, memory = _TIMES.search(text), _COUNT.findall(text), _MEMORY.search(text)
    if times is None or len(counts) < 2:
        raise BenchmarkFailed("benchmark_model's report breaks off before its timings")
    init, first, _, mean = (_microseconds(number) for number in times.groups())
    runs, statistics = int(counts[-1][0]), dict(re.findall(rf"(\w+)={_NUMBER}", counts[-1][1]))
    if "avg" not in statistics:  # all runs took the same time
        statistics |= dict.fromkeys(("min", "max", "avg"), statistics.get("curr", "")) | {"std": "0"}
    low, high, again, std = (_microseconds(statistics.get(name, "")) for name in ("min", "max", "avg", "std"))
    if runs < 1 or not math.isclose(again, mean, rel_tol=1e-4) or not low * (1 - 1e-4) <= mean <= high * (1 + 1e-4):
        raise BenchmarkFailed("benchmark_model's report contradicts itself: its mean is not that of its runs")
    grown = float(memory[2]) if memory and _is_number(memory[2]) else None
    return Report(runs, mean, low, high, std, init, first, grown, *delegation(text))


def _microseconds(number: str) -> float:
    """Milliseconds of a time in a report."""
    if not _is_number(number) or float(number) < 0:
        raise BenchmarkFailed(f"benchmark_model's report holds '{number}' where a time should stand")
    return float(number) / 1000


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text) is not None


def delegation(text: str) -> tuple[bool, str]:
    """Whether the requested delegate executes the whole file, and its share in words.

    Only explicitly applied delegates are reported, not the XNNPACK delegate that LiteRT applies by default.
    """
    whole = re.search(r"pplied \w+ delegate, and the model graph will be completely executed", text)
    part = re.search(r"pplied \w+ delegate, and the model graph will be partially executed .* w/ (\d+) delegate", text)
    nodes = re.search(r"Replacing (\d+) out of (\d+) node", text)
    if whole:
        return True, "all of its operators"
    if part:
        much = f"{nodes[1]} of its {nodes[2]} operators" if nodes else "some of its operators"
        return False, f"{much}, in {part[1]} delegate kernels"
    if re.search(r"Though \w+ delegate is explicitly applied, the model graph will not be executed", text):
        return False, "none of its operators"
    return False, ""
