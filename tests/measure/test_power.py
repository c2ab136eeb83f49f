"""Energy: meters of which the truth is known (a made-up sysfs, a scripted tegrastats, a made-up NVML)."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.backends import backend_classes
from measure.backends.ort import OnnxRuntime
from measure.backends.torch_cuda import Cuda
from measure.base import reference_network
from measure.bench import Bench
from measure.campaign import Journal, distinct_sample, pending, read_journal, run_campaign
from measure.meters import choose_meter
from measure.meters.nvml import Nvml
from measure.meters.rapl import Rapl
from measure.meters.tegrastats import Tegrastats, watts
from measure.power import Meter, Trace, Unmetered, difference, integral, measure_energy
from measure.table import to_table
from measure.timing import Timing
from tests.conftest import run
from tests.doubles.journal_rows import latency_row

TINY = NasBench201(channels=4, cells=1)
ORT = OnnxRuntime(timing=Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0))
CUDA = Cuda()
IDLE_W, BUSY_W = 5.0, 20.0
"""Power that the made-up meters report: 5 W always, and 20 W more while the metered work uses the processor."""
CLOSE = 0.25
"""Accepted relative error: under a busy machine the threads that make up and read the counters wake late."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the made-up meter asks Linux what CPU time a thread took")


def cpu() -> float:
    """Seconds that the main thread has computed; threads that only look at it do not count."""
    return time.clock_gettime(time.pthread_getcpuclockid(threading.main_thread().ident))


def truth() -> float:
    return IDLE_W * time.perf_counter() + BUSY_W * cpu()


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def millijoules(run: Callable[[], object], meter: Meter, seconds: float = 0.9, rounds: int = 3) -> tuple[dict, float]:
    """The measured energy per run and the true one, in mJ: the power under load times the CPU time that runs took."""
    spent: list[float] = []

    def clocked() -> None:
        before = time.thread_time()
        run()
        spent.append(time.thread_time() - before)

    result = measure_energy(clocked, meter, seconds, rounds)
    return result, 1000 * BUSY_W * float(np.mean(spent))


# Meters that are not here


@pytest.mark.parametrize(
    "meter, reason",
    [
        (Rapl(folder=Path("/nowhere")), "/nowhere has no energy counter of a package"),
        (Nvml(driver="libnothing.so.1"), "libnothing.so.1, which NVIDIA's driver brings, cannot be loaded"),
        (Tegrastats(command="no-such-tegrastats"), "the command no-such-tegrastats of NVIDIA's Jetson boards"),
        (Tegrastats(command="true"), "the command true has ended"),
        (Tegrastats(command="echo"), "tegrastats names no power rail"),
    ],
)
def test_what_a_host_lacks_is_one_sentence(meter: Meter, reason: str) -> None:
    assert meter.unavailable().startswith(f"Meter {meter.name} is not available here, because {reason}")
    with pytest.raises(Unmetered, match=reason):
        measure_energy(lambda: None, meter)


# Integration


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float], float, float]:
    """A power that is linear between readings at uneven times, and two moments within them."""
    gaps = draw(st.lists(st.floats(1e-3, 10), min_size=1, max_size=20))
    powers = draw(st.lists(st.floats(0, 1000), min_size=len(gaps) + 1, max_size=len(gaps) + 1))
    times = list(itertools.accumulate(gaps, initial=draw(st.floats(0, 1000))))
    start, end = sorted(draw(st.lists(st.floats(times[0], times[-1]), min_size=2, max_size=2)))
    return times, powers, start, end


@given(curves())
def test_power_is_integrated_as_it_should_be(curve: tuple[list[float], list[float], float, float]) -> None:
    """Between readings the exact integral of a line: its value in the middle, times the length."""
    times, powers, start, end = curve
    exact, counter = 0.0, [0.0]
    for (t0, t1), (p0, p1) in zip(itertools.pairwise(times), itertools.pairwise(powers), strict=True):
        a, b = max(t0, start), min(t1, end)
        if a < b:
            exact += (b - a) * (p0 + (p1 - p0) * ((a + b) / 2 - t0) / (t1 - t0))
        counter.append(counter[-1] + (t1 - t0) * (p0 + p1) / 2)
    close = {"rel": 1e-6, "abs": 1e-6}
    assert integral(times, powers, start, end) == pytest.approx(exact, **close)
    middle = (start + end) / 2
    parts = integral(times, powers, start, middle) + integral(times, powers, middle, end)
    assert parts == pytest.approx(exact, **close)
    assert difference(times, counter, times[0], times[-1]) == pytest.approx(
        integral(times, powers, times[0], times[-1]), **close
    )
    assert difference(times, counter, start, end) >= -1e-6


# RAPL


def zones(folder: Path, top: int) -> Callable[..., None]:
    """Two packages that share joules and begin again at `top` microjoules, in the middle of which they stand, and zones
    that must not be added; the function writes the joules so far, of all zones or some."""
    shares = {"intel-rapl:0": 0.75, "intel-rapl:1": 0.25}
    names = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1-die-0", "intel-rapl:0:0": "core",
             "intel-rapl:2": "psys", "intel-rapl-mmio:0": "package-0", "dtpm": "dtpm"}  # fmt: skip
    for zone, name in names.items():
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{top}\n")
    (folder / "intel-rapl").mkdir()

    def write(joules: float, which: Iterable[str] = names) -> None:
        for zone in which:
            (folder / "next").write_text(f"{int(shares.get(zone, 5.0) * 1e6 * joules + top / 2) % top}\n")
            (folder / "next").rename(folder / zone / "energy_uj")  # whoever reads sees one or the other, never half

    write(0)
    return write


def test_counters_of_packages_are_added_and_may_begin_again(tmp_path: Path) -> None:
    write, rapl = zones(tmp_path, top=2_000_000), Rapl(tmp_path)
    assert [zone.name for zone in rapl.zones()] == ["intel-rapl:0", "intel-rapl:1"]
    with rapl.open() as read:
        assert read() == 0
        for joules in np.cumsum(np.random.default_rng(0).uniform(0, 2.6, 40)):  # the range is 2 J of 0.75 of them
            write(joules)
            assert read() == pytest.approx(joules, abs=1e-4)


@contextmanager
def sysfs(folder: Path, joules: Callable[[], float] = truth) -> Iterator[Rapl]:
    """The packages' counters, which a thread moves on every 5 ms until the context ends."""
    write, begin, done = zones(folder, top=10_000_000), joules(), threading.Event()

    def go_on() -> None:
        while not done.wait(0.005):
            write(joules() - begin, ("intel-rapl:0", "intel-rapl:1"))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield Rapl(folder)
    finally:
        done.set()
        thread.join()


def test_counters_that_only_root_may_read_are_result_how_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sysfs(tmp_path) as rapl:
        read = Path.read_text

        def refuse(path: Path) -> str:
            if path.name == "energy_uj":
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(Path, "read_text", refuse)
        assert f"only root may read its counters (`sudo chmod a+r {tmp_path}/*/energy_uj`" in rapl.unavailable()


@linux
def test_the_energy_of_a_network_is_what_it_took(tmp_path: Path) -> None:
    """onnxruntime's own work: power goes with CPU time, so that a network twice as long takes twice the energy."""
    run = ORT.session(reference_network()).run
    with sysfs(tmp_path) as rapl:
        once, expected = millijoules(run, rapl, seconds=2)
        twice, expected_twice = millijoules(lambda: (run(), run()), rapl, seconds=2)
    assert once["energy_mj"] == pytest.approx(expected, rel=CLOSE)
    assert twice["energy_mj"] == pytest.approx(expected_twice, rel=CLOSE)
    assert twice["energy_mj"] / once["energy_mj"] == pytest.approx(expected_twice / expected, rel=CLOSE)
    result = once["energy"]
    assert result["meter"] == "RAPL" and result["scope"] == "processor packages" and len(result["rounds_mj"]) == 3
    assert IDLE_W <= result["idle_watts"] < 0.5 * BUSY_W and result["busy_watts"] > result["idle_watts"] + 1
    assert result["gross_mj"] == pytest.approx(1000 * result["busy_watts"] * result["seconds"] / result["runs"])
    assert result["gross_mj"] > np.median(result["rounds_mj"]) == once["energy_mj"] > 0
    assert result["seconds"] >= 2 and result["updates"] >= 20 and 0 <= result["spread"] < 0.5


@linux
def test_a_counter_that_moves_seldom_is_read_for_longer(tmp_path: Path) -> None:
    """Ten times a second, as some GPUs' do: 20 new readings (of two packages that move one after the other) take longer
    than requested, and the energy is that from one of them to another."""
    moved = [(0.0, truth())]

    def joules() -> float:
        if (now := time.perf_counter()) > moved[-1][0] + 0.1:
            moved.append((now, truth()))
        return moved[-1][1]

    with sysfs(tmp_path, joules) as rapl:
        result, expected = millijoules(lambda: spin(0.002), rapl, seconds=0.3)
    assert result["energy_mj"] == pytest.approx(expected, rel=2 * CLOSE)  # its thread may wake late by a tick
    assert 20 <= result["energy"]["updates"] <= 30 and result["energy"]["seconds"] > 3 * 0.3


@linux
def test_what_is_not_more_than_rest_is_no_energy(tmp_path: Path) -> None:
    why = "no more under load than at rest .*; stop what else runs there"
    with sysfs(tmp_path, lambda: 30 * time.perf_counter() - 10 * cpu()) as rapl, pytest.raises(Unmetered, match=why):
        measure_energy(lambda: spin(0.002), rapl, seconds=0.6)


def test_a_counter_that_stands_still_ends_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measure.power.PATIENCE", 0.5)
    zones(tmp_path, top=1_000_000)
    with pytest.raises(Unmetered, match="it has reported nothing new for 0.5 s"):
        measure_energy(lambda: None, Rapl(tmp_path))


def test_a_counter_that_goes_away_ends_the_measurement(tmp_path: Path) -> None:
    zones(tmp_path, top=1_000_000)
    with Trace(Rapl(tmp_path)) as trace:
        shutil.rmtree(tmp_path / "intel-rapl:1")
        with pytest.raises(Unmetered, match="No such file or directory: .*intel-rapl:1/energy_uj"):
            while True:
                trace.check()


# tegrastats


@pytest.mark.parametrize(
    "line, expected",
    [
        ("RAM 1766/3964MB (lfb 197x4MB) SWAP 0/2048MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [24%@1224,15%@1224] "
         "EMC_FREQ 0% GR3D_FREQ 0% PLL@21C PMIC@100C AO@33.5C POM_5V_IN 2545/2547 POM_5V_GPU 0/0 POM_5V_CPU 549/529",
         2.545),
        ("11-20-2026 10:00:00 RAM 3107/7620MB (lfb 2x2MB) CPU [0%@729,off] GR3D_FREQ 0% cpu@46C tj@47.2C "
         "VDD_IN 4160mW/4200mW VDD_CPU_GPU_CV 480mW/480mW VDD_SOC 1320mW/1320mW\n", 4.16),
        ("RAM 1/8MB VDD_SYS_GPU 152/152 VDD_SYS_SOC 687/687 VDD_4V0_WIFI 0/0 VDD_IN 3056/3000 VDD_SYS_CPU 152/152",
         3.056),
        ("RAM 1903/15692MB (lfb 3251x4MB) CPU [1%@1190] Tboard@32C PMIC@100C GPU 0/0 CPU 216/216 SOC 864/864 CV 0/0 "
         "VDDRQ 144/144 SYS5V 1889/1889", 3.113),
        ("RAM 2/30MB GPU@51.0C VDD_GPU_SOC 4000mW/3900mW VDD_CPU_CV 800mW/800mW VIN_SYS_5V0 3500mW/3400mW", 8.3),
    ],
    ids=["Nano", "Orin Nano", "TX2", "AGX Xavier", "AGX Orin"],
)  # fmt: skip
def test_the_power_of_a_board_is_read_from_a_line(line: str, expected: float) -> None:
    assert watts(line) == pytest.approx(expected)


SCRIPT = """#!{python}
import os, sys, time
interval = int(sys.argv[sys.argv.index("--interval") + 1]) / 1000
def cpu():  # of the threads of who asks
    tasks = f"/proc/{{os.getppid()}}/task"
    return sum(int(open(f"{{tasks}}/{{task}}/schedstat").read().split()[0]) for task in os.listdir(tasks)) / 1e9
then, before = time.perf_counter(), cpu()
while True:
    time.sleep(interval)
    now, spent = time.perf_counter(), cpu()
    mw = 1000 * ({idle} + {busy} * (spent - before) / (now - then))
    print(f"RAM 1766/3964MB (lfb 197x4MB) CPU [24%@1224,off] VDD_IN {{mw:.0f}}mW/9999mW VDD_SOC 7mW/7mW", flush=True)
    then, before = now, spent
"""


@pytest.fixture
def tegrastats(tmp_path: Path) -> Path:
    """A command that prints the power of who started it, as Jetson's does."""
    path = tmp_path / "bin" / "tegrastats"
    path.parent.mkdir()
    path.write_text(SCRIPT.format(python=sys.executable, idle=IDLE_W, busy=BUSY_W))
    path.chmod(0o755)
    return path


@linux
def test_the_energy_by_lines_of_power(tegrastats: Path) -> None:
    meter = Tegrastats(command=str(tegrastats), interval=0.03)
    result, expected = millijoules(lambda: spin(0.002), meter)
    assert result["energy_mj"] == pytest.approx(expected, rel=CLOSE)
    assert result["energy"]["updates"] >= 20 and result["energy"]["idle_watts"] == pytest.approx(IDLE_W, rel=0.2)


# NVML


LIBRARY = """
#include <time.h>
static double now(int clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double joules(void) { return IDLE * now(CLOCK_MONOTONIC) + BUSY * now(CLOCK_PROCESS_CPUTIME_ID); }
int nvmlInit_v2(void) { return INIT; }
const char *nvmlErrorString(int code) { return "Driver Not Loaded"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = BOARDS; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **board) { *board = (void *)(long)(index + 1); return 0; }
#ifdef COUNTS
int nvmlDeviceGetTotalEnergyConsumption(void *board, unsigned long long *mj) {
    if (COUNTS < (long)board) return 3;
    *mj = 1000 * joules() / BOARDS;
    return 0;
}
#endif
int nvmlDeviceGetPowerUsage(void *board, unsigned *mw) {
    static double then[9], before[9], watts[9];
    long i = (long)board;
    double t = now(CLOCK_MONOTONIC), j = joules();
    if (t > then[i] + 0.01) { watts[i] = (j - before[i]) / (t - then[i]) / BOARDS; then[i] = t; before[i] = j; }
    *mw = 1000 * watts[i];
    return 0;
}
"""


def made_up_nvml(folder: Path, **defines: float) -> Nvml:
    """Boards that share the power, in a library built for it; `COUNTS` of them count energy, without it none can."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler to build a made-up NVML with")
    path = folder / "libnvidia-ml.so.1"
    defines = {"INIT": 0, "BOARDS": 2, "IDLE": IDLE_W, "BUSY": BUSY_W, **defines}
    options = ["-shared", "-fPIC", *(f"-D{name}={value}" for name, value in defines.items())]
    subprocess.run([compiler, *options, "-o", path, "-x", "c", "-"], input=LIBRARY, text=True, check=True)
    return Nvml(driver=str(path), interval=0.03)


@pytest.mark.parametrize("defines", [{"COUNTS": 2}, {"COUNTS": 1}, {}], ids=["counters", "one counter", "old driver"])
def test_the_energy_of_gpus(defines: dict[str, int], tmp_path: Path) -> None:
    """Counted where every board counts, otherwise by their power, which lags behind by a second."""
    nvml = made_up_nvml(tmp_path, **defines)
    assert nvml.unavailable() == "" and len(nvml.boards) == 2
    assert nvml.counts == (defines == {"COUNTS": 2}) and (nvml.settle > 1) != nvml.counts
    result, expected = millijoules(lambda: spin(0.002), nvml, rounds=3 if nvml.counts else 2)
    assert result["energy_mj"] == pytest.approx(expected, rel=CLOSE)
    assert result["energy"]["idle_watts"] == pytest.approx(IDLE_W, rel=0.2)


def test_a_gpu_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(Unmetered, match="nvmlInit_v2 of .*libnvidia-ml.so.1 reports 'Driver Not Loaded'"):
        measure_energy(lambda: None, made_up_nvml(tmp_path, INIT=9))
    assert "NVIDIA's driver finds no GPU" in made_up_nvml(tmp_path / "none", BOARDS=0).unavailable()


# Rows, tables, commands


def test_a_gpu_and_a_processor_have_meters_of_their_own_and_share_the_board_s(monkeypatch: pytest.MonkeyPatch) -> None:
    here: set[str] = set()

    def unavailable(meter: Meter) -> str:
        return "" if meter.name in here else f"Meter {meter.name} is not available here, because it is not, alas."

    monkeypatch.setattr(Meter, "unavailable", unavailable)
    with pytest.raises(InputError, match="^No meter reads the energy of a CPU here: not RAPL, because it is not, alas; "
                       "not tegrastats, because it is not, alas; leave --energy out.$"):  # fmt: skip
        choose_meter(ORT)
    with pytest.raises(InputError, match="of a GPU here: not NVML, .*; not tegrastats, "):
        choose_meter(CUDA)
    here.add("tegrastats")
    assert isinstance(choose_meter(CUDA), Tegrastats) and isinstance(choose_meter(ORT), Tegrastats)
    phone = next(cls() for cls in backend_classes().values() if cls.remote)
    with pytest.raises(InputError, match="runs on another device, which reports no energy; leave --energy out"):
        choose_meter(phone)
    here |= {"NVML", "RAPL"}
    assert isinstance(choose_meter(CUDA), Nvml) and isinstance(choose_meter(ORT), Rapl)


@linux
def test_rows_tell_energies_and_tables_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "journal.jsonl")
    tasks = pending(archs, [ORT], journal, energy=True)
    (tmp_path / "sysfs").mkdir()
    with sysfs(tmp_path / "sysfs") as rapl:
        monkeypatch.setattr("measure.meters.choose_meter", lambda backend: rapl)
        (result,) = run_campaign(archs, tasks, journal, bench=Bench(phases=True, energy=True))
    assert result["exe_ms"] > 0 and result["energy_mj"] > 0 and json.loads(json.dumps(result)) == result
    assert pending(archs, [ORT], journal, energy=True) == []

    slow = latency_row("b", 2.0, 2 * result["reference_ms"], energy_mj=7.5, energy={"spread": 0.25})
    failed = latency_row("c", 1.0, result["reference_ms"], energy={"error": "it has reported nothing for 5 s"})
    values, _ = to_table([*read_journal(journal.path), slow, failed])
    values = values.set_index(["key", "metric"])
    assert len(values) == 6 + 4 and values["value"][archs.keys[0], "energy_mj"] == result["energy_mj"]
    assert values["value"]["b", "energy_mj"] == 7.5  # milliseconds are those at median speed, joules as they were
    assert values["spread"]["b", "energy_mj"] == 0.25 and np.isnan(values["raw_ms"]["b", "energy_mj"])


def test_without_energy_a_row_tells_its_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measure.meters.choose_meter", lambda backend: Rapl(tmp_path))
    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "journal.jsonl")
    (result,) = run_campaign(archs, pending(archs, [ORT], journal), journal)
    assert "energy" not in result and pending(archs, [ORT], journal) == []
    (result,) = run_campaign(archs, pending(archs, [ORT], journal, energy=True), journal, bench=Bench(energy=True))
    assert "error" not in result and result["raw_ms"] > 0 and "energy_mj" not in result
    assert result["energy"] == {"error": f"{tmp_path} has no energy counter of a package (virtual machines have none)"}
    result |= {"stable": True, "interrupted": 0.0, "load": 0.0}  # a quiet machine
    journal.rows[0] |= {"reference_ms": result["reference_ms"]}
    assert pending(archs, [ORT], journal, energy=True) == pending(archs, [ORT], journal, retry=True) == []
    assert len(pending(archs, [ORT], journal, energy=True, retry=True)) == 1


@linux
def test_the_command_meters_or_refuses(tegrastats: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    command = ("-m", "measure", "run", "--space", str(TINY), "--limit", 1, "--energy", "true", "--journal", journal)
    try:
        name = choose_meter(ORT).name
    except InputError as reason:
        done = run(*command)
        assert done.returncode == 2 and str(reason) in done.stderr and not journal.exists()
        name = "tegrastats"
    done = run(*command, env={"PATH": f"{tegrastats.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0 and "1 rows measured (0 failed" in done.stdout, done.stderr
    (result,) = read_journal(journal)
    assert result["energy"]["meter"] == name and result["energy_mj"] > 0 and " mJ" in done.stdout
    done = run(*command, "--subjects.block", "true")
    assert done.returncode == 2 and "leave one of --subjects.block and --energy out" in done.stderr
