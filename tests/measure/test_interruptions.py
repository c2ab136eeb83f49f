"""Journals survive what ends a campaign: `kill -9`, Ctrl-C, a full disk, a second writer."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.records import InputError
from datasets.spaces.nasbench201 import NasBench201
from measure.campaign import Journal, read_journal
from studies.measure.study import kill_campaign
from tests.conftest import ROOT, run

TINY = NasBench201(channels=4, cells=1)


def test_a_torn_line_is_cut_off_and_whole_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    row = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "metric": "latency_ms", "error": "it failed"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row)[:17])
    journal = Journal(path)
    assert journal.rows == [row]
    journal.append({**row, "repeat": 1})
    assert [r["repeat"] for r in read_journal(path)] == [0, 1]


def test_a_foreign_file_or_a_second_writer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(InputError, match="line 1 is not a row of a journal"):
        Journal(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "hello\n"
    first = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(InputError, match="Another process is writing"):
        Journal(tmp_path / "journal.jsonl")
    first.file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    row = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "metric": "latency_ms", "error": "it failed"}
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(row)
    with Path("/dev/full").open("ab", buffering=0) as full:
        journal.file, whole = full, journal.file
        with pytest.raises(
            InputError, match="No space left on device. Make room .* the 1 rows measured so far are safe"
        ):
            journal.append(row)
        journal.file = whole
    journal.append(row)
    assert read_journal(journal.path) == [row, row]


def test_a_campaign_whose_disk_fills_up_keeps_whole_rows_and_goes_on(tmp_path: Path) -> None:
    """Files may not grow beyond a limit: the system's own error in the middle of a row."""
    path = tmp_path / "journal.jsonl"
    command = ("-m", "measure", "run", "--space", str(TINY), "--limit", "4", "--journal", path)
    size = 2_000_000  # what a journal full of earlier rows leaves room for: two rows and a half
    earlier = {"space": "s", "key": "k", "device": {"name": "d"}, "repeat": 0, "error": "x" * (size - 13_000)}
    path.write_text(json.dumps(earlier) + "\n")
    done = run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert done.returncode == 2 and "error: Cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
    saved = read_journal(path)
    assert 1 < len(saved) < 5 and path.read_bytes().endswith(b"\n")
    assert run(*command).returncode == 0
    assert read_journal(path)[: len(saved)] == saved and len(read_journal(path)) == 5


def test_kill_nine_loses_doubles_and_tears_nothing(tmp_path: Path) -> None:
    """A real campaign, killed at random moments, then run to its end; `python -m studies.measure.study` kills more."""
    result = kill_campaign(tmp_path / "journal.jsonl", kills=3, cells=12)
    assert result["kills"] == 3 and result["rows"] >= 12
    assert result["lost"] == result["doubled"] == result["torn"] == 0


def test_ctrl_c_stops_in_words_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    command = [sys.executable, "-m", "measure", "run", "--space", str(TINY), "--limit", "20", "--journal", str(path)]
    # A shell's background jobs ignore SIGINT and hand that on; a person's terminal does not.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **heed)
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.endswith("error: Interrupted; run the same command again to go on.\n")
    measured = len(read_journal(path))
    assert 0 < measured < 20
    assert f"{20 - measured} rows measured (0 failed" in run(*command[1:]).stdout
