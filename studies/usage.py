"""CPU seconds and peak memory of a command that runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from datasets.records import InputError

_LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([process.returncode, used.ru_utime + used.ru_stime, peak]))
"""


class Usage(NamedTuple):
    """What a command took: seconds, CPU seconds, and peak memory in bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def usage(command: Sequence[object], cwd: object = None) -> Usage:
    """Run a command of Python (`-m MODULE ...`) and say what it took.

    A small process starts it: Linux counts the memory of the process that starts another as the peak of that one.

    Raises:
        InputError: the command fails.
    """
    start = time.monotonic()
    words = [sys.executable, "-S", "-c", _LAUNCHER, sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=str(cwd) if cwd else None, stdout=subprocess.PIPE, text=True, check=True)
    status, cpu_s, peak = json.loads(done.stdout)
    if status:
        raise InputError(f"'python {' '.join(map(str, command))}' ended with status {status}.")
    return Usage(time.monotonic() - start, cpu_s, peak)
