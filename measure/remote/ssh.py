"""A runner on another machine, started by the system's `ssh` with the user's keys, aliases and jumps.

There is a single connection. Some lines of Python on the command line look for the runner's file, whose name is a
digest of its content, request it if it is missing, and execute it.
"""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import io
import os
import re
import shlex
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datasets.records import InputError
from measure.remote.messages import read_message, write_message

ROOT = Path(__file__).parents[2]
OLDEST = (3, 11)
MARK = "gnomon runner: "

OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15",
           "-o", "ServerAliveCountMax=4", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none")  # fmt: skip
"""There are no prompts, and a connection without a response for a minute counts as broken."""

START = """
import os, sys
def report(text):
    os.write(1, ("\\n{mark}" + text + "\\n").encode())
if sys.version_info < {oldest}:
    report("old %d.%d" % sys.version_info[:2])
    sys.exit(3)
import hashlib, importlib.util
if importlib.util.find_spec("numpy") is None:
    report("numpy")
    sys.exit(3)
folder = os.path.expanduser({folder!r})
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, {name!r})
if os.path.exists(path) and hashlib.sha256(open(path, "rb").read()).hexdigest() in path:
    report("here")
else:
    open(path + ".%d" % os.getpid(), "wb").close()
    report("send")
    data = b""
    while len(data) < {size}:
        data += os.read(0, {size} - len(data)) or sys.exit(3)
    with open(path + ".%d" % os.getpid(), "wb") as file:
        file.write(data)
    os.replace(path + ".%d" % os.getpid(), path)
for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(pool, "1")
answers = os.dup(1)
os.set_inheritable(answers, True)
os.dup2(2, 1)
os.execv(sys.executable, [sys.executable, path, str(answers)])
"""


def ours(start: Path) -> set[Path]:
    """Files of this project that a file imports, at once or later, directly or indirectly."""
    discovered = (file for folder in ("backends", "meters") for file in (ROOT / "measure" / folder).glob("*.py"))
    found, new = set[Path](), {start, *discovered}
    while new:
        path = new.pop()
        found.add(path)
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not _for_type_checkers(node)]
        # what functions of a package itself import, such as `measure.objective`, no module inside of it needs
        for node in tree.body if path.name == "__init__.py" else ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
            for parts in (name.split(".") for name in names):
                if parts[0] in ("datasets", "measure"):
                    files = [ROOT.joinpath(*parts).with_suffix(".py")]
                    files += [ROOT.joinpath(*parts[: n + 1], "__init__.py") for n in range(len(parts))]
                    new |= {file for file in files if file.is_file()} - found
    return found


def _for_type_checkers(node: ast.stmt) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`, which is never executed."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def packed() -> bytes:
    """The runner as one file that Python runs (a zip); equal sources give equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(ours(ROOT / "measure" / "remote" / "runner.py")):
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(ROOT).as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED
            )
        main = "from measure.remote.runner import serve\n\nif __name__ == '__main__':\n    serve()\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return file.getvalue()


def destination(address: str) -> list[str]:
    """The arguments of ssh for `user@host:port`.

    Raises:
        InputError: the address is malformed.
    """
    parts = re.fullmatch(r"([^\s:-][^\s:]*)(?::(\d{1,5}))?", address)
    if parts is None:
        raise InputError(f"'{address}' is no address of a machine; write user@host or user@host:port.")
    return [*(["-p", parts[2]] if parts[2] else []), "--", parts[1]]


class Broken(ConnectionError):
    """A connection ended before its answer arrived; the text says how."""


class Connection:
    """A runner that answers questions.

    Args:
        address: `user@host`, `user@host:port` or a name of the user's configuration of ssh.
        ssh: the command, with options.
        python: the command there, which its shell expands: `~/venv/bin/python` is possible.
        folder: folder of runners and journals there.
        patience: limit of seconds for its start.

    Raises:
        InputError: the machine cannot be reached, or cannot run the runner.
    """

    def __init__(self, address: str, ssh: str, python: str, folder: str, patience: float = 120.0) -> None:
        runner = packed()
        name = f"{hashlib.sha256(runner).hexdigest()}.pyz"
        start = START.format(mark=MARK, oldest=OLDEST, folder=folder, name=name, size=len(runner))
        code = f"import base64;exec(base64.b64decode('{base64.b64encode(start.encode()).decode()}'))"
        command = [*shlex.split(ssh), *OPTIONS, *destination(address), f'{python} -c "{code}"']
        self.address, self.python, self.patience = address, python, patience
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
                start_new_session=True,  # no terminal for prompts; Ctrl-C is for the campaign, which then ends this
            )
        except OSError as error:
            raise InputError(f"{command[0]} cannot be run ({error.strerror}); install OpenSSH's client.") from error
        assert self.process.stdin and self.process.stdout
        self.to, self.back = self.process.stdin, self.process.stdout
        try:
            self._start(runner)
        except BaseException:
            self.close()
            raise

    def _start(self, runner: bytes) -> None:
        try:
            with self._within(self.patience):
                word = self._first_word()
                if word == "send":
                    self.to.write(runner)
                    self.to.flush()
        except (OSError, EOFError) as error:
            raise InputError(explain_no_start(self.address, self.python, self.patience, *self._end())) from error
        need = f"{self.python} on {self.address}"
        if word == "numpy":
            raise InputError(
                f"{need} has no numpy; install numpy and the runtime there, or name another --remote.python."
            )
        if word.startswith("old"):
            oldest = ".".join(map(str, OLDEST))
            raise InputError(
                f"{need} is Python {word[4:]}, but {oldest} or later is needed; name another --remote.python."
            )

    def _first_word(self) -> str:
        """The first word of the starting lines of Python, after any output of the login shell."""
        while line := self.back.readline():
            if line.startswith(MARK.encode()):
                return line.decode().strip().removeprefix(MARK)
        raise EOFError

    def ask(self, question: str, patience: float, files: Mapping[str, Path] | None = None, **arguments: Any) -> Any:
        """The answer of the runner.

        Raises:
            InputError: the runner refuses the question.
            Broken: the connection ended before, or there was no answer within `patience` seconds.
        """
        try:
            write_message(self.to, {"ask": question, **arguments}, files)
            with self._within(patience):
                answer = read_message(self.back)
        except (OSError, EOFError) as error:
            raise Broken(explain_end(self.address, patience, *self._end())) from error
        if "refused" in answer:
            raise InputError(f"{self.address}: {answer['refused']}")
        return answer.get("answer")

    def close(self) -> None:
        """End the runner, by the end of its input."""
        for stream in (self.to, self.back):
            with suppress(OSError):
                stream.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _end(self) -> tuple[int | None, str]:
        """The exit status of ssh (None if it was killed here), and the last lines on standard error."""
        self.close()
        self.stderr.seek(0)
        lines = [line.strip() for line in self.stderr.read().decode(errors="replace").splitlines()]
        return None if self.late else self.process.returncode, "\n".join([line for line in lines if line][-20:])

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Break the connection after a limit of seconds."""
        self.late = False

        def end() -> None:
            self.late = True
            self.process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def explain_no_start(address: str, python: str, patience: float, status: int | None, output: str) -> str:
    """A sentence about a runner that did not start, from the exit status and the output of ssh."""
    last = output.splitlines()[-1].rstrip(".") if output else f"ssh ended with status {status}"
    if status is None:
        return f"{address} has not started a runner within {patience:g} s; see whether `ssh {address}` works."
    if "IDENTIFICATION HAS CHANGED" in output:
        return f"{address} shows another host key than before; if that is right, `ssh-keygen -R` forgets the old one."
    if "Host key verification failed" in output:
        return f"ssh does not know the host key of {address}; run ssh by hand once and accept it."
    if status == 255 and "Permission denied" in output:
        return f"{address} accepts none of your keys; put one there with ssh-copy-id, or name it in ~/.ssh/config."
    if status == 255:
        return f"{address} cannot be reached: {last}."
    if status in (126, 127):
        return f"There is no {python} on {address}; install Python there, or name another with --remote.python."
    return f"No runner starts on {address}: {last}."


def explain_end(address: str, patience: float, status: int | None, output: str) -> str:
    """A sentence about a runner that ended, from the exit status and the output of ssh."""
    last = f": {output.splitlines()[-1].rstrip('.')}" if output else ""
    if status is None:
        return f"{address}: no answer within {patience:g} s."
    if status == 255:
        return f"{address}: the connection broke{last}."
    return f"{address}: the runner ended with status {status}{last}."
