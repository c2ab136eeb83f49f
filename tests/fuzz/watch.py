"""One command in this process, and what is wrong with how it ended.

Right is: exit code 0 or 1, or 2 with one sentence on stderr; predictions are numbers; no more than 10 CPU seconds and
1 GiB; nothing written outside of the working folder, no input changed, no module imported that only a file names, no
process started.
"""

import os
import re
import resource
import runpy
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.fuzz.family import Command
from tests.fuzz.mutations import SENTINEL

SECONDS = 10.0
"""Of the processor, for one command."""
BYTES = 2**30
"""That a command may need beyond what the process had."""
LONGEST = 2000
"""Characters of a sentence on stderr."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit status; -1 where an exception left it.
        kind: of the fault, alike for all cases of one cause; empty where there is none.
        details: of the fault: a traceback, or what stood on stderr.
    """

    code: int
    kind: str = ""
    details: str = ""


@dataclass
class Watch:
    """Runs commands whose output goes to files of `folder`.

    Attributes:
        folder: what commands may write into, at any depth.
    """

    folder: Path
    touched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.out, self.err = self.folder / "stdout", self.folder / "stderr"
        for stream, path in ((1, self.out), (2, self.err)):
            handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND)
            os.dup2(handle, stream)
            os.close(handle)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        (self.folder / f"{SENTINEL}.py").write_text(f"raise SystemExit('{SENTINEL} was imported')\n")
        sys.path.append(str(self.folder))
        sys.addaudithook(self._audit)

    def run(self, command: Command, folder: Path, rewrites: tuple[str, ...] = ()) -> Ended:
        """Run a command in a folder, some of whose files it may replace."""
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        os.chdir(folder)
        sys.stdout.flush()
        sys.stderr.flush()  # what was said before is forgotten
        os.truncate(self.out, 0)
        os.truncate(self.err, 0)
        Path("/proc/self/clear_refs").write_text("5")  # the highest resident size so far is forgotten
        self.touched.clear()
        had, started = _resident("VmRSS"), time.process_time()
        code, error = _called(command)
        seconds, grown = time.process_time() - started, _resident("VmHWM") - had
        os.chdir(self.folder)
        printed = self.err.read_bytes().decode(errors="replace")
        if self.touched:
            return Ended(code, self.touched[0], "\n".join(self.touched[:20]) + "\n" + printed)
        if error is not None:
            return Ended(-1, _where(error), "".join(traceback.format_exception(error))[-20_000:])
        if grown > BYTES:
            return Ended(code, "needed more than 1 GiB", f"{grown / 2**30:.2f} GiB\n{printed}")
        if seconds > SECONDS:
            return Ended(code, f"took more than {SECONDS:.0f} CPU seconds", f"{seconds:.1f} s\n{printed}")
        kept = {path: content for path, content in before.items() if path.name not in rewrites}
        if changed := [path.name for path, content in kept.items() if not _holds(path, content)]:
            return Ended(code, f"changed its input {changed[0]}", printed)
        answer = self.out.read_bytes().decode(errors="replace")
        if code == 0 and command[1:2] == ["predict"] and re.search(r"\b(nan|inf)\b", answer):
            return Ended(code, "answered with no number", answer[:2000])
        return Ended(code, _fault_on_stderr(code, printed), printed[:20_000])

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                return
            self._written(path)
        elif event == "import":
            if arguments[0] == SENTINEL:
                self.touched.append(f"imported what a file names: {arguments[0]}")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"):
            for path in arguments[: 2 if event == "os.rename" else 1]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._written(path)
        elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"):
            if arguments[0] == "uname":  # how `platform` asks for the processor
                return
            self.touched += [f"{event} by {_caller()}", repr(arguments)[:500]]

    def _written(self, path: Any) -> None:
        place = os.path.realpath(os.fsdecode(path))
        if not place.startswith((str(self.folder), "/dev/null", "/dev/shm", "/proc/")):
            self.touched += [f"wrote outside of its folder by {_caller()}", place]


def _called(command: Command) -> tuple[int, BaseException | None]:
    program, *arguments = command
    kept = sys.argv
    sys.modules.pop(f"{program}.__main__", None)  # runpy warns where somebody imported it
    sys.argv = [program, *arguments]
    try:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        return 0, None
    except SystemExit as end:
        if isinstance(end.code, str):
            return -1, end
        return end.code or 0, None
    except BaseException as error:
        return -1, error
    finally:
        sys.argv = kept
        sys.stdout.flush()
        sys.stderr.flush()


def _fault_on_stderr(code: int, told: str) -> str:
    if "Traceback (most recent" in told:
        return "traceback on stderr"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    lines = [line for line in told.splitlines() if line.strip() and not re.search(CHATTER, line)]
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"not one sentence on stderr: {_stem(lines)}"
    if (longest := max((len(line) for line in lines), default=0)) > LONGEST:
        return f"a sentence of {longest} characters: {lines[0][:40]}"
    return ""


CHATTER = r" is left out: |\d+it/s|\d+%\|"
"""Lines beside the sentence: runtimes that a campaign leaves out, progress."""


def _stem(lines: list[str]) -> str:
    return re.sub(r"\d+", "#", re.sub(r"/\S+", "/...", lines[0]))[:60] if lines else "nothing at all"


def _where(error: BaseException) -> str:
    """The type of an exception and the innermost line of ours that it came through."""
    seen, at, name = error.__traceback__, "", ""
    while seen is not None:
        file = seen.tb_frame.f_code.co_filename
        if file.startswith(str(ROOT)) and ".venv" not in file and "/fuzz/" not in file:
            at, name = str(Path(file).relative_to(ROOT)), seen.tb_frame.f_code.co_name
        seen = seen.tb_next
    return f"{type(error).__name__} in {at}:{name}"


def _caller() -> str:
    frame, found = sys._getframe(2), "?"
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(str(ROOT)) and ".venv" not in file and "/fuzz/" not in file:
            found = f"{Path(file).relative_to(ROOT)}:{frame.f_code.co_name}"
            break
        frame = frame.f_back
    return found


def _resident(kind: str) -> int:
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
