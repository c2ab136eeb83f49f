"""Commands in processes that are forked from one which has imported torch, lightning and torch-geometric before.

A fresh interpreter takes seconds for that, and the tests run hundreds of commands. A fork is a process of its own, too,
with its own memory, files, environment and exit status; it imports all modules of the project itself.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "torch", "lightning",
    "torch_geometric.nn", "xgboost", "onnx", "jsonargparse", "yaml", "tqdm", "matplotlib",
)  # fmt: skip


class Forks:
    """The process that commands are forked from; it starts with the first command and ends with this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ours: socket.socket | None = None

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` (a script, or `-m` and a module) from the root.

        Raises:
            subprocess.TimeoutExpired: it takes longer, and is killed.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            ours = self._started()
            request = json.dumps({"arguments": list(arguments), "environment": dict(environment)}).encode()
            socket.send_fds(ours, [len(request).to_bytes(8, "little")], [out.fileno(), err.fileno()])
            ours.sendall(request)
            child = int.from_bytes(_received(ours, 8), "little")
            ours.settimeout(timeout)
            try:
                status = int.from_bytes(_received(ours, 8), "little", signed=True)
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                ours.settimeout(None)
                _received(ours, 8)
                raise subprocess.TimeoutExpired(list(arguments), timeout, _text(out), _text(err)) from None
            ours.settimeout(None)
            return subprocess.CompletedProcess(list(arguments), status, _text(out), _text(err))

    def _started(self) -> socket.socket:
        if self._ours is None:
            self._ours, theirs = socket.socketpair()
            command = [sys.executable, "-m", "tests.forking", str(theirs.fileno())]
            subprocess.Popen(command, cwd=self.root, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            theirs.close()
        return self._ours


def _text(file: io.BufferedRandom) -> str:
    """What was written to a file, with the line breaks of `subprocess` in text mode."""
    file.seek(0)
    return io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8").read()


def _received(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise EOFError("The other process has ended.")
        found += part
    return found


def _serve(connection: socket.socket) -> None:
    """Fork a process for every request until the connection ends; only forks leave this function by `SystemExit`."""
    for name in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):  # it comes with an extra
            importlib.import_module(name)
    while True:
        head, files, _, _ = socket.recv_fds(connection, 8, 2)
        if not head:
            return
        request = json.loads(_received(connection, int.from_bytes(head, "little")))
        child = os.fork()
        if child == 0:
            connection.close()
            _become(request["arguments"], request["environment"], files)
        for file in files:
            os.close(file)
        connection.sendall(child.to_bytes(8, "little"))
        _, status = os.waitpid(child, 0)
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "little", signed=True))


def _become(arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[int]) -> NoReturn:
    """Run a command as this process, and end it as an interpreter ends, but for the libraries' own destructors, which
    wait for threads that a fork does not have."""
    for file, stream in zip(files, (1, 2), strict=True):
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        if arguments[0] == "-m":
            sys.argv = list(arguments[1:])
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = list(arguments), str(Path(arguments[0]).resolve().parent)
            runpy.run_path(arguments[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
