"""Many hosts: a real scheduler, and workers started as their users start them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from datasets.packages import not_installed
from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.backends.ort import OnnxRuntime
from measure.base import Session
from measure.campaign import Journal, distinct_sample, pending
from measure.remote.cluster import Cluster, _answer, check_offers
from measure.remote.slot import Slot, reach, release, resource, serve
from measure.subjects import whole
from measure.timing import Repeats, Timing

pytest.importorskip("distributed", reason=not_installed("distributed"))
ROOT = Path(__file__).resolve().parents[2]  # workers import this module in a thread, where conftest sets no signals

QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
TINY = NasBench201(channels=4, cells=1)


@dataclass
class Noted(OnnxRuntime):
    """Writes down who measures from when to when, and takes its time."""

    notes: str = ""
    seconds: float = 0.2

    def timed(self, session: Session, reference: Session, again: Sequence[Session] = ()) -> Repeats:
        note = {"host": self.host, "pid": os.getpid(), "worker": os.getppid(), "from": time.monotonic()}
        self._note({**note, "to": None})
        time.sleep(self.seconds)
        repeats = super().timed(session, reference, again)
        self._note({**note, "to": time.monotonic()})
        return repeats

    def _note(self, note: dict) -> None:
        with Path(self.notes).open("a") as file:
            file.write(json.dumps(note) + "\n")


@dataclass
class Absent(OnnxRuntime):
    def lacks(self) -> str:
        return f"process {os.getpid()} is unsuitable"


def notes(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(*command: str) -> subprocess.Popen:
    """A process that reports, on stderr or stdout, when it is ready."""
    # A shell's background jobs ignore SIGINT and hand that on; a person's terminal does not.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **heed)


def join(scheduler: str, host: str) -> subprocess.Popen:
    process = start(sys.executable, "-m", "measure", "worker", "--scheduler", scheduler, "--host", host)
    assert f"slot {host}: " in process.stdout.readline()
    return process


def within(seconds: float, true: Callable[[], object]) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(true())


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def schedule(folder: Path) -> tuple[subprocess.Popen, str]:
    """A scheduler that is started where no Gnomon is, and its address."""
    command = [sys.executable, "-P", "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--dashboard-address", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    return process, next(line.split()[-1] for line in process.stderr if "Scheduler at:" in line)


def said(process: subprocess.Popen) -> str:
    """What a process has written and nobody has read; its own processes may hold the pipe open after its end."""
    os.set_blocking(process.stdout.fileno(), False)
    return process.stdout.read() or ""


def end(process: subprocess.Popen) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # its own processes may hold the pipe open
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, address = schedule(tmp_path_factory.mktemp("elsewhere"))
    yield address
    end(process)


@pytest.fixture(scope="module")
def workers(scheduler: str) -> Iterator[dict[str, subprocess.Popen]]:
    processes = {host: join(scheduler, host) for host in "ab"}
    yield processes
    for process in processes.values():
        end(process)


def campaign(cluster: Cluster, path: Path, count: int, hosts: str = "ab", **options: float) -> Iterator[dict]:
    """Rows of `count` cells on every host; what is noted goes beside the journal."""
    archs, journal = distinct_sample(TINY, count, 0), Journal(path)
    with closing(journal.file):
        backends = [Noted(host=host, timing=QUICK, notes=f"{path}.notes", **options) for host in hosts]
        yield from cluster.measure(archs, pending(archs, backends, journal), journal, partial(whole, TINY))


def names(path: Path) -> Counter:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(row.get("ratio", 0) > 0 for row in rows), rows
    return Counter((row["key"], row["device"]["name"]) for row in rows)


def every_cell_once(path: Path, count: int, hosts: str = "ab") -> bool:
    keys = distinct_sample(TINY, count, 0).keys
    return names(path) == Counter((key, f"{host}_ort_fp32_1") for key in keys for host in hosts)


def test_hosts_measure_at_once_and_a_slot_one_row_at_a_time(scheduler: str, workers: dict, tmp_path: Path) -> None:
    """Two campaigns ask both hosts for rows at the same time."""
    paths = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]

    def measure(path: Path) -> None:
        with Cluster(scheduler) as cluster:
            list(campaign(cluster, path, 4))

    threads = [threading.Thread(target=measure, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    left = {host: said(worker) for host, worker in workers.items() if worker.poll() is not None}
    assert not left and not any(thread.is_alive() for thread in threads), left
    assert all(every_cell_once(path, 4) for path in paths)
    finished = [note for path in paths for note in notes(Path(f"{path}.notes")) if note["to"]]
    spans = {host: sorted((n["from"], n["to"]) for n in finished if n["host"] == host) for host in "ab"}
    assert {(n["host"], n["worker"]) for n in finished} == {(host, workers[host].pid) for host in "ab"}
    for ours in spans.values():
        assert len(ours) == 8 and all(stop <= begin for (_, stop), (begin, _) in pairwise(ours))
    assert any(begin < done and since < stop for since, done in spans["a"] for begin, stop in spans["b"])


def busy(path: Path, host: str) -> dict | None:
    """The second row or a later one of a host that is being measured now."""
    finished = [note for note in notes(Path(f"{path}.notes")) if note["host"] == host]
    return finished[-1] if len(finished) > 2 and finished[-1]["to"] is None else None


def test_a_worker_that_dies_loses_no_row_and_doubles_none(scheduler: str, workers: dict, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with ThreadPoolExecutor(1) as aside, Cluster(scheduler) as cluster:
        rows = aside.submit(list, campaign(cluster, path, 5, seconds=1))
        assert within(100, lambda: busy(path, "a"))
        doomed = busy(path, "a")
        end(workers["a"])
        assert doomed and within(20, lambda: not alive(doomed["pid"]))
        workers["a"] = join(scheduler, "a")
        done = rows.result(timeout=200)
    assert len(done) == 10 and every_cell_once(path, 5)
    assert len({row["worker"] for row in done if row["device"]["name"] == "a_ort_fp32_1"}) == 2


def test_a_worker_that_is_interrupted_leaves_its_row_to_the_next(scheduler: str, tmp_path: Path) -> None:
    path, worker = tmp_path / "journal.jsonl", join(scheduler, "d")
    with ThreadPoolExecutor(1) as aside, Cluster(scheduler) as cluster:
        rows = aside.submit(list, campaign(cluster, path, 3, "d", seconds=1))
        assert within(100, lambda: busy(path, "d"))
        worker.send_signal(signal.SIGINT)
        output, _ = worker.communicate(timeout=120)
        assert worker.returncode == 130 and output.startswith("error: Interrupted") and output.count("\n") == 1
        assert resource("d") not in cluster.slots()
        worker = join(scheduler, "d")
        assert len(rows.result(timeout=200)) == 3 and every_cell_once(path, 3, "d")
    end(worker)


def test_two_workers_of_a_host_share_its_rows_and_are_not_waited_for_when_both_have_gone(
    scheduler: str, tmp_path: Path
) -> None:
    boards = [join(scheduler, "c"), join(scheduler, "c")]
    with Cluster(scheduler, patience=0.5) as cluster:
        rows, measured = campaign(cluster, tmp_path / "journal.jsonl", 30, "c"), set()
        while len(measured) < 2:
            measured.add(next(rows)["worker"])
        for board in boards:
            end(board)
        with pytest.raises(InputError, match="No worker of host c is left at .* all rows measured so far are safe"):
            list(rows)


def test_what_kills_worker_after_worker_is_a_failed_row() -> None:
    from distributed import KilledWorker

    future: Future = Future()
    future.set_exception(KilledWorker("task", None, allowed_failures=3))
    assert _answer(future)["error"] == "Crash: 4 workers died measuring it"


def test_what_leaves_stops_measuring_and_goes_on_where_it_was(scheduler: str, workers: dict, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Cluster(scheduler) as cluster:
        rows = campaign(cluster, path, 2, "b", seconds=0.1)
        next(rows)
        rows.close()
    with Cluster(scheduler) as cluster:
        archs = distinct_sample(TINY, 1, 0)
        slow = [Noted(host="b", timing=QUICK, notes=str(tmp_path / "slow"), seconds=100)]
        journal = Journal(tmp_path / "slow.jsonl")
        future = cluster.submit("b", Slot.measure, slow[0], archs[0], partial(whole, TINY))
        assert within(100, lambda: notes(tmp_path / "slow")) and not future.done() and not journal.rows
    pid = notes(tmp_path / "slow")[0]["pid"]
    assert within(20, lambda: not alive(pid)) and alive(workers["b"].pid)
    with Cluster(scheduler) as cluster:
        assert len(list(campaign(cluster, path, 2, "b", seconds=0.1))) == 1
    assert every_cell_once(path, 2, "b")


def test_the_command_measures_on_both_hosts_and_survives_kill_nine(
    scheduler: str, workers: dict, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    command = [sys.executable, "-m", "measure", "run", "--scheduler", scheduler, "--host", "a,b", "--space", str(TINY)]
    command += ["--limit", "6", "--protocol", "quick", "--journal", str(path)]
    killed = start(*command)
    assert within(200, lambda: path.exists() and path.read_bytes().count(b"\n") >= 2)
    end(killed)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "; 12 in" in done.stdout, done.stdout + done.stderr
    assert every_cell_once(path, 6)


def test_everybody_tells_that_the_scheduler_has_gone(tmp_path: Path) -> None:
    doomed, address = schedule(tmp_path)
    worker = join(address, "a")
    with Cluster(address) as cluster:
        rows = campaign(cluster, tmp_path / "journal.jsonl", 3, "a")
        next(rows)
        end(doomed)
        with pytest.raises(InputError, match=f"The scheduler at {address} has ended; start it and the workers"):
            list(rows)
    output, _ = worker.communicate(timeout=120)
    assert output == f"error: The scheduler at {address} has ended; start it and this worker again.\n"
    assert worker.returncode == 2 and len(names(tmp_path / "journal.jsonl")) < 3


def test_a_runtime_is_asked_for_where_it_would_run(scheduler: str, workers: dict) -> None:
    sentence = f"On host a: Backend ort is not available here, because process {workers['a'].pid} is unsuitable."
    with Cluster(scheduler) as cluster, pytest.raises(InputError, match=sentence):
        cluster.check([OnnxRuntime(host="b"), Absent(host="a")])


def test_sentences(scheduler: str, workers: dict, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "measure", "run", "--scheduler", scheduler, "--journal", str(tmp_path / "j")]
    done = subprocess.run([*command, "--host", "a,other"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "No worker of host other has joined" in done.stderr
    assert "(there are a, b); run there: python -m measure worker" in done.stderr and done.stderr.count("\n") == 1
    theirs = {"slot a: Gnomon 0123abcd on Python 3.9": 1, "GPU": 2}
    with pytest.raises(InputError, match=f"a runs Gnomon 0123abcd on Python 3.9 and this is {release()}; bring both"):
        check_offers(theirs, ["a"], scheduler)
    check_offers({**theirs, resource("a"): 1}, ["a"], scheduler)
    with pytest.raises(InputError, match="joined tcp://x .there is none."):
        check_offers({}, ["a"], "tcp://x")
    for nobody in ("tcp://127.0.0.1:1", "nonsense", "127.0.0.1:port"):
        with pytest.raises(InputError, match=f"There is no scheduler at {nobody}; start `dask scheduler`"):
            reach(nobody)
    with pytest.raises(InputError, match="'a b' cannot be a name"):
        serve(scheduler, Slot(), "a b")
