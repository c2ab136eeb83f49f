"""Measuring over ssh, against a real sshd on this machine whose Python has numpy and onnxruntime only."""

import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import measure.remote.ssh
from datasets.devices import read_device
from datasets.networks.model import Model
from datasets.networks.network import Network
from datasets.records import Architecture, InputError
from datasets.spaces.linear import Linear
from datasets.spaces.nasbench201 import NasBench201
from measure.backends.ort import OnnxRuntime
from measure.backends.ov import OpenVino
from measure.backends.trt import TensorRt
from measure.base import make_input, reference_network
from measure.builders.onnx_graph import build_onnx
from measure.builders.weights import make_weights
from measure.campaign import Journal, distinct_sample, networks, pending, run_campaign
from measure.meters import choose_meter
from measure.remote.machine import Remote
from measure.remote.messages import read_message, write_message
from measure.remote.runner import Sent, _take_lock
from measure.remote.ssh import destination, explain_end, explain_no_start, packed
from measure.subjects import shaped
from measure.timing import Timing
from tests.conftest import run

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(not SSHD, reason="sshd is not installed (Debian: openssh-server)")
QUICK = Timing(warmup=1, pairs=5, max_rounds=1, max_deviation=100.0)
TINY = NasBench201(channels=4, cells=1)
ORT = OnnxRuntime(timing=QUICK, host="there")

ONLY_NUMPY_AND_ONNXRUNTIME = """
import os, sys
os.write(1, b"this Python talks on standard output")
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {"__main__", "datasets", "measure", "numpy", "onnxruntime", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
sys.meta_path.insert(0, Absent())
"""


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@dataclass
class There:
    """A machine: how to reach it, and where it keeps what it is sent."""

    process: subprocess.Popen
    ssh: str
    python: str
    folder: Path
    address: str

    def remote(self, **options) -> Remote:
        options = {"python": self.python, "ssh": self.ssh, "folder": str(self.folder), "core": 0, **options}
        return Remote(self.address, **options)

    def runner(self) -> int:
        return int((self.folder / "lock").read_text().split()[0])

    def cut(self) -> None:
        """End every connection, as a network does that goes away."""
        for child in children(self.process.pid):
            os.kill(child, signal.SIGKILL)

    def rows(self) -> list[dict]:
        return [json.loads(line) for path in self.folder.glob("*.jsonl") for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    folder = tmp_path_factory.mktemp("sshd")
    for key in ("host", "mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd separates privileges
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shutil.copy(folder / "mine.pub", folder / "keys")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/keys\nStrictModes no\n"
        f"UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nMaxStartups 100\n"
    )
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/mine\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder}/known\nGlobalKnownHostsFile none\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(ONLY_NUMPY_AND_ONNXRUNTIME)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\necho Welcome to the lab.\nHOME={folder} PYTHONPATH={folder}/site exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield There(process, f"ssh -F {folder}/ssh_config", str(python), folder, f"127.0.0.1:{port}")
    process.terminate()
    process.wait(10)


@pytest.fixture
def there(machine: There, tmp_path: Path) -> There:
    """The machine with an empty cache that only this test knows."""
    return replace(machine, folder=tmp_path / "cache")


def gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        path = Path(f"/proc/{pid}/stat")
        if not path.exists() or path.read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


# Campaigns


@needs_sshd
def test_a_campaign_there_agrees_with_one_here(there: There, tmp_path: Path) -> None:
    archs = distinct_sample(NasBench201(cells=1), 3, seed=0)
    timing = Timing(pairs=31, max_rounds=2)
    backends = [OnnxRuntime(precision, timing=timing, host="there") for precision in ("fp32", "int8")]
    journal = Journal(tmp_path / "journal.jsonl")
    with there.remote(journal=journal) as bench:
        bench.check(backends)
        rows = list(run_campaign(archs, pending(archs, backends, journal), journal, bench=bench))
        assert bench.connection.process.poll() is None  # one connection for all
        runner = there.runner()
    assert gone(runner) and not list(there.folder.glob("work-*")) and len(list(there.folder.glob("*.pyz"))) == 1
    assert [row["ticket"].partition("-")[2] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [{k: row[k] for k in own} for row, own in zip(rows, there.rows(), strict=True)] == there.rows()
    local = Journal(tmp_path / "local.jsonl")
    for row, here in zip(rows, run_campaign(archs, pending(archs, backends, local), local), strict=True):
        assert "error" not in row, row
        assert row["ratio"] == pytest.approx(here["ratio"], rel=0.3)
        assert row["host"] == {**here["host"], "cores": [0]} and row["versions"] == here["versions"]
        assert set(row) == {*here, "ticket", "content"}
    assert pending(archs, backends, journal) == []


@needs_sshd
def test_what_is_built_there_is_the_same_network_and_a_file_is_measured_itself(there: There, tmp_path: Path) -> None:
    network, path = TINY.expand(distinct_sample(TINY, 1, 0)[0]), tmp_path / "net.onnx"
    onnx.save(build_onnx(network, make_weights(network, seed=5)), path)
    archs, prepare = networks([str(path)])
    whole_journal = Journal(tmp_path / "journal.jsonl")
    with there.remote(build="there", python=sys.executable, phases=True) as bench:
        bench.check([ORT])
        (row,) = run_campaign(archs, pending(archs, [ORT], whole_journal), whole_journal, prepare, bench)
        assert row["exe_ms"] > 0 and "error" not in row
        other = tmp_path / "other"
        other.mkdir()
        weights = make_weights(network, seed=5)
        package = bench._package(ORT, Model(network, weights), other)
    built = Sent(other, **json.loads(json.dumps(package.description))).built(ORT, tmp_path)
    session = ORT.loaded(lambda folder: built).session  # checked against what seed 5 gives
    assert np.linalg.norm(session.fetch()[0] - ORT.session(network).fetch()[0]) > 0.01
    with there.remote(build="there") as bench, pytest.raises(InputError, match="ort is not available on 127.* onnx is"):
        bench.check([ORT])


@needs_sshd
@pytest.mark.parametrize("build", ["here", "there"])
def test_an_operation_s_file_is_measured_there(build: str, there: There, tmp_path: Path) -> None:
    space = Linear()
    archs, journal = space.parse(["batch=2,rows=3,inner=8,columns=4,bias=yes"]), Journal(tmp_path / "journal.jsonl")
    with there.remote(build=build, python=sys.executable) as bench:
        (row,) = run_campaign(archs, pending(archs, [ORT], journal), journal, bench=bench)
    assert row["raw_ms"] > 0 and row["space"] == str(space)


@needs_sshd
def test_a_machine_meters_its_own_energy_or_says_why_not(there: There, tmp_path: Path) -> None:
    """The other machine is this one, and so are its meters."""
    archs, journal = distinct_sample(TINY, 1, 0), Journal(tmp_path / "journal.jsonl")
    with there.remote(energy=True) as bench:
        try:
            choose_meter(ORT)
            bench.check([ORT])
        except InputError as reason:
            with pytest.raises(InputError, match=re.escape(f"{there.address}: {reason}")):
                bench.check([ORT])
        (row,) = run_campaign(archs, pending(archs, [ORT], journal, energy=True), journal, bench=bench)
    assert row["raw_ms"] > 0 and ("energy_mj" in row) != ("error" in row["energy"])


@needs_sshd
@pytest.mark.parametrize("lost", ["connection", "process"])
def test_a_row_whose_answer_is_lost_is_brought_back(
    lost: str, there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks when the second row is finished there; or all of this process ends then."""
    archs, journal = distinct_sample(TINY, 3, 0), Journal(tmp_path / "journal.jsonl")
    answers = []

    def once_lost(stream: io.BufferedReader, folder: Path | None = None) -> dict:
        answer = read_message(stream, folder)
        if "ratio" in (answer.get("answer") or {}):
            answers.append(answer)
            if len(answers) == 2:
                there.cut()
                raise EOFError if lost == "connection" else KeyboardInterrupt
        return answer

    monkeypatch.setattr(measure.remote.ssh, "read_message", once_lost)
    rows = run_campaign(archs, pending(archs, [ORT], journal), journal, bench=(first := there.remote(journal=journal)))
    if lost == "process":
        with pytest.raises(KeyboardInterrupt), first:
            list(rows)
        journal.file.close()
        journal = Journal(journal.path)
        assert len(journal.rows) == 1 and len(there.rows()) == 2
        with there.remote(journal=journal) as bench:
            list(run_campaign(archs, pending(archs, [ORT], journal), journal, bench=bench))
    else:
        with first:
            list(rows)
    assert [row["key"] for row in journal.rows] == archs.keys and not any("error" in row for row in journal.rows)
    assert [row["ticket"] for row in journal.rows] == [row["ticket"] for row in there.rows()]
    assert journal.rows[1]["clocks"] == answers[1]["answer"]["clocks"]  # not measured again


@needs_sshd
def test_a_connection_that_breaks_in_the_middle_of_a_row_is_made_again(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs, journal, cuts = distinct_sample(TINY, 2, 0), Journal(tmp_path / "journal.jsonl"), []

    def cut_behind(stream: io.BufferedWriter, message: dict, files: dict | None = None) -> None:
        write_message(stream, message, files)
        if message["ask"] == "measure" and len(cuts) < 1:
            cuts.append(there.runner())
            there.cut()

    monkeypatch.setattr(measure.remote.ssh, "write_message", cut_behind)
    with there.remote(journal=journal) as bench:
        list(run_campaign(archs, pending(archs, [ORT], journal), journal, bench=bench))
    assert gone(cuts[0]) and len(journal.rows) == 2 and not any("error" in row for row in journal.rows)


@needs_sshd
def test_what_kills_the_runner_twice_or_takes_too_long_is_a_failed_row(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs, journal = distinct_sample(TINY, 2, 0), Journal(tmp_path / "journal.jsonl")
    killed = []

    def kill_before(stream: io.BufferedWriter, message: dict, files: dict | None = None) -> None:
        if message["ask"] == "measure" and len(killed) < 2:
            killed.append(there.runner())
            os.kill(killed[-1], signal.SIGKILL)
            assert gone(killed[-1])
        write_message(stream, message, files)

    monkeypatch.setattr(measure.remote.ssh, "write_message", kill_before)
    with there.remote(journal=journal) as bench:
        first, second = run_campaign(archs, pending(archs, [ORT], journal), journal, bench=bench)
    assert first["error"].startswith("Crash: 127.0.0.1:") and "error" not in second and len(set(killed)) == 2
    assert first["host"] == second["host"] and first["protocol"] == second["protocol"]
    with there.remote(timeout=0.05) as bench:
        assert bench(ORT, reference_network(), shaped)["error"].startswith("Timeout: not measured within")
    with there.remote() as bench:
        row = bench(ORT, Architecture("made-up", "wrong", (), ()), lambda a, b: 1 / 0)
    assert row["error"] == "ZeroDivisionError: division by zero"


@needs_sshd
def test_the_end_of_the_connection_ends_what_is_being_measured(there: There) -> None:
    endless = replace(ORT, timing=replace(QUICK, pairs=10_000_000))
    runners, workers = list[int](), list[int]()

    def cut_twice() -> None:
        while len(runners) < 2:
            measuring = bench.sent and (runner := there.runner()) not in runners
            if measuring and (started := children(runner)):
                runners.append(runner)
                workers.extend(started)
                there.cut()
            time.sleep(0.05)

    with there.remote() as bench:
        (thread := threading.Thread(target=cut_twice)).start()
        row = bench(endless, reference_network(), shaped)
        thread.join()
    assert row["error"].startswith("Crash: 127.0.0.1:") and "the connection broke" in row["error"]
    assert len(workers) >= 2 and all(gone(pid) for pid in runners + workers)


# Sentences


@needs_sshd
def test_why_nothing_can_be_measured_there_is_one_sentence(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    config = there.ssh.split()[-1]
    folder = Path(config).parent
    faults = {
        "does not know the host key of 127": {"ssh": f"{there.ssh} -o UserKnownHostsFile={folder}/empty"},
        "accepts none of your keys": {"ssh": f"ssh -i {folder}/other -o IdentityFile={folder}/other -F /dev/null "
                                             f"-o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known"},
        "There is no no-such-python on 127": {"python": "no-such-python"},
        "has no numpy; install numpy and the runtime there": {"python": f"{sys.executable} -S"},
        "No runner starts on 127.*Error": {"folder": "/dev/null/cache"},
        "no-such-ssh cannot be run .No such file": {"ssh": "no-such-ssh"},
        "Core 4321 is not one that this process may use": {"core": 4321},
    }  # fmt: skip
    for sentence, options in faults.items():
        with pytest.raises(InputError, match=sentence), there.remote(**options):
            pass
    with pytest.raises(InputError, match="127.0.0.1:1 cannot be reached: .*refused.$"):
        replace(there, address="127.0.0.1:1").remote().check([ORT])
    with there.remote() as bench:
        with pytest.raises(InputError, match="Backend openvino is not available on 127.* openvino is not installed"):
            bench.check([OpenVino()])
        with pytest.raises(
            InputError, match="Give --remote.build there: backend tensorrt cannot be built here, because "
        ):
            bench.check([TensorRt()])
    monkeypatch.setattr(measure.remote.ssh, "OLDEST", (99, 1))
    with pytest.raises(InputError, match=r"is Python 3\.\d+, but 99.1 or later is needed"), there.remote():
        pass


def test_ways_that_ssh_ends() -> None:
    changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."
    assert "another host key than before" in explain_no_start("pi", "python3", 1, 255, changed)
    assert explain_no_start("pi", "python3", 1, 255, "ssh: Could not resolve hostname pi") == (
        "pi cannot be reached: ssh: Could not resolve hostname pi."
    )
    assert "has not started a runner within 9 s" in explain_no_start("pi", "python3", 9, None, "")
    assert explain_no_start("pi", "python3", 1, 1, "") == "No runner starts on pi: ssh ended with status 1."
    assert explain_end("pi", 1, 137, "Killed") == "pi: the runner ended with status 137: Killed."
    assert explain_end("pi", 1, 255, "") == "pi: the connection broke."


def test_addresses() -> None:
    assert destination("me@pi:2222") == ["-p", "2222", "--", "me@pi"] and destination("pi") == ["--", "pi"]
    for wrong in ("", "-oProxyCommand=x", "a b", "pi:x", "me@pi:"):
        with pytest.raises(InputError, match="is no address of a machine; write user@host or user@host:port"):
            destination(wrong)


def test_a_machine_is_taken_by_one_campaign(tmp_path: Path) -> None:
    mine = _take_lock(tmp_path / "lock", "one")
    with pytest.raises(InputError, match=f"Something else is being measured there .process {os.getpid()}."):
        _take_lock(tmp_path / "lock", "two", patience=0.2)
    mine.close()
    _take_lock(tmp_path / "lock", "two", patience=0.2).close()


# Messages


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False))), st.data())
def test_messages_arrive_whole_or_not_at_all(message: dict, data: st.DataObject) -> None:
    stream = io.BytesIO()
    write_message(stream, message)
    sent = stream.getvalue()
    assert read_message(io.BytesIO(sent)) == message
    with pytest.raises(EOFError):
        read_message(io.BytesIO(sent[: data.draw(st.integers(0, len(sent) - 1))]))


def test_networks_and_files_arrive_as_they_were(tmp_path: Path) -> None:
    network = reference_network()
    assert Network.from_json(network.to_json(), network.space, network.key) == network
    assert make_input(Network.from_json(network.to_json()), 2).shape == (2, *network.ops[0].attrs["shape"])
    (tmp_path / "a").write_bytes(b"\0" * 3_000_000)
    (tmp_path / "got").mkdir()
    stream = io.BytesIO()
    write_message(stream, {"ask": "x"}, {"b": tmp_path / "a"})
    stream.seek(0)
    assert read_message(stream, tmp_path / "got") == {"ask": "x"}
    assert (tmp_path / "got" / "b").read_bytes() == (tmp_path / "a").read_bytes()
    stream.seek(0)
    with pytest.raises(EOFError):
        read_message(stream)  # no machine sends us files


# Commands


@needs_sshd
def test_commands(there: There, tmp_path: Path) -> None:
    ssh = ("--ssh", there.address, "--remote.python", there.python)
    env = {"GNOMON_SSH": there.ssh}
    command = ("-m", "measure", "run", *ssh, "--host", "lab", "--space", str(TINY), "--limit", "2",
               "--protocol", "quick", "--core", "0", "--journal", tmp_path / "journal.jsonl")  # fmt: skip
    done = run(*command, env=env)
    assert done.returncode == 0 and "2 rows measured (0 failed" in done.stdout, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert {row["device"]["name"] for row in rows} == {"lab_ort_fp32_1"} and rows[0]["host"]["cores"] == [0]
    done = run("-m", "measure", "host", *ssh, "--name", "lab", "--folder", tmp_path, env=env)
    assert done.returncode == 0 and read_device(tmp_path / "lab.yaml").features["peak_gflops"] > 0, done.stderr
    done = run("-m", "measure", "doctor", *ssh, "--json", "true", env=env)
    found = {finding["what"]: finding["found"] for finding in json.loads(done.stdout)["runtimes"]}
    assert found["eager"] == "not available here, because the package torch is not installed."
    done = run(*command[:7], env=env)
    assert done.returncode == 2 and "needs a name of its own in tables; give it with --host" in done.stderr
    done = run("-m", "measure", "run", "--remote.build", "there")
    assert done.returncode == 2 and "needs another machine; name it with --ssh" in done.stderr


def test_a_message_that_claims_too_much_or_leaves_its_folder_is_none(tmp_path: Path) -> None:
    def framed(sizes: object, message: object = None) -> io.BytesIO:
        header = json.dumps({"message": message or {"ask": "x"}, "files": sizes}).encode()
        return io.BytesIO(struct.pack(">I", len(header)) + header + b"content")

    assert read_message(framed({"x.npy": 7}), tmp_path) == {"ask": "x"}
    assert (tmp_path / "x.npy").read_bytes() == b"content"
    for wrong in (
        {"../x": 7},
        {"/x": 7},
        {"": 7},
        {"..": 7},
        {"x": -1},
        {"x": "7"},
        {"x": 1e400},
        {"x": 1 << 40},
        [3],
    ):
        with pytest.raises(EOFError):
            read_message(framed(wrong), tmp_path)
    for content in (b"", b"garbage on stdin", struct.pack(">I", 1 << 31), struct.pack(">I", 9) + b"[" * 9):
        with pytest.raises(EOFError):
            read_message(io.BytesIO(content), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]


def test_the_runner_is_small() -> None:
    assert len(packed()) < 220_000
