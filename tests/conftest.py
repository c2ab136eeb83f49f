"""What all tests share: one thread, and small measurements that were made up from physical totals."""

import os

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[pool] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import importlib
import inspect
import json
import pkgutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.packages import EXTRAS, absent, not_installed
from datasets.records import Architectures, Device, Measurements
from datasets.spaces.nasbench201 import NasBench201
from tests.forking import Forks

ROOT = Path(__file__).resolve().parent.parent

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", type=Path, help="write a summary.json with one row a test, for a study's claims")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that two processes end together."""
    items.sort(key=lambda item: item.path.name not in LONG)
    functions = Counter(getattr(item, "function", None) for item in items)
    for function, count in functions.items():
        if count > MOST_ITEMS and hasattr(function, "hypothesis"):
            raise pytest.UsageError(
                f"{function.__qualname__} has {count} sets of parameters; Hypothesis nests its settings for each and "
                f"recurses too deeply beyond some 900. Loop over them inside of the test, or have {MOST_ITEMS} at most."
            )


MOST_ITEMS = 400
"""Most sets of parameters of a test of properties."""


LONG = (
    "test_predictors.py",
    "test_backends.py",
    "test_adaptable.py",
    "test_spaces.py",
    "test_sweeps.py",
    "test_commands.py",
    "test_campaign.py",
    "test_datasets.py",
    "test_tables.py",
    "test_arena.py",
)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or not report.passed:
        _ROWS[report.nodeid] = {"test": report.nodeid, "passed": float(report.passed), "seconds": report.duration}


def pytest_sessionfinish(session: pytest.Session) -> None:
    if path := session.config.getoption("--rows"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(_ROWS.values()), indent=1))


_ROWS: dict[str, dict] = {}


def needs(*packages: str) -> None:
    """Skip the test, or the file of tests, where a package is not installed, and say what installs it."""
    for package in absent(packages):
        pytest.skip(not_installed(package), allow_module_level=True)


def implementations(package: str, kind: type) -> list[type]:
    """Every concrete dataclass of a kind that a package defines: what the contract tests run on."""
    module = importlib.import_module(package)
    names = [m.name for m in pkgutil.walk_packages(module.__path__, f"{package}.") if not m.name.endswith("__main__")]
    found = {}
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            continue  # what needs an extra that is not installed here
        for cls in vars(module).values():
            if inspect.isclass(cls) and issubclass(cls, kind) and is_dataclass(cls):
                found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    for name, cls in found.items():
        if inspect.isabstract(cls) and not cls.__subclasses__():  # it would not be tested, and nobody would notice
            raise TypeError(f"{name} lacks {', '.join(sorted(cls.__abstractmethods__))}")
    return [found[name] for name in sorted(found) if not inspect.isabstract(found[name])]


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    """A command in a process of its own, from the project's root. It is forked (`tests.forking`) unless it has options
    of `subprocess.run` or of Python, such as `-c`, or other variables that Python reads."""
    changed = options.pop("env", {})
    environment, words = {**os.environ, **changed}, [str(word) for word in arguments]
    plain = not options and (words[0] == "-m" or not words[0].startswith("-"))
    if plain and sys.platform == "linux" and not any(name.startswith("PYTHON") for name in changed):
        return FORKS.run(words, environment, TIMEOUT)
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT, **options}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, **options)


TIMEOUT = 240
FORKS = Forks(ROOT)


def made_up(archs: Architectures, num_devices: int = 2, seed: int = 0) -> Measurements:
    """Latencies that are a sum over physical totals, different mixtures on each device, with 1 % of noise."""
    rng = np.random.default_rng(seed)
    totals = archs.space.totals(archs)
    rows = []
    for d in range(num_devices):
        ms = 0.5 + totals["macs"] / 1e8 * (1 + d) + totals["kernels"] / 200 + totals["moved_bytes"] / 1e8
        noise = np.exp(0.01 * rng.standard_normal(len(archs)))
        rows.append(pd.DataFrame({"arch": range(len(archs)), "device": d, "metric": "latency_ms", "value": ms * noise}))
    told = [{"peak_gflops": 200.0 / (1 + d), "memory_gbs": 100.0} for d in range(num_devices)]
    devices = [Device(f"toy_{d}", f"family_{d}", "server-cpu", features=told[d]) for d in range(num_devices)]
    return Measurements(archs, devices, pd.concat(rows, ignore_index=True), "made-up")


@pytest.fixture(scope="session")
def space() -> NasBench201:
    return NasBench201()


@pytest.fixture(scope="session")
def measurements(space: NasBench201) -> Measurements:
    return made_up(space.sample(200, np.random.default_rng(0)))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of downloaded public files; tests that need one of them skip where it is not."""
    from datasets.public.fetch import data_folder

    return data_folder()
