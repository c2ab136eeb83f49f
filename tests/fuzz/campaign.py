"""Cases of families in processes of their own, so that a crash is a finding like any other."""

import faulthandler
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.family import Command, Family, Files
from tests.fuzz.watch import BYTES, SECONDS, Watch

WARM = (
    "pandas pyarrow.parquet scipy.stats sklearn.linear_model xgboost torch lightning onnxruntime matplotlib.figure "
    "jsonargparse"
)
"""Modules that are imported once, before processes fork; some write caches of their own the first time."""
EXAMPLES = 3
"""Findings of one kind that are kept; further ones are only counted."""
REGRESSIONS = Path(__file__).parent / "regressions"
"""Inputs that were found once: a folder a family, a folder an input."""
FRESH = 300
"""Cases after which a process is replaced, so that what libraries keep does not add up."""


@dataclass
class Campaign:
    """Runs cases and keeps what was found.

    Attributes:
        seed: of all cases; one is reproduced by its family, seed and number.
        folder: that commands write into; it is removed and made again.
        findings: folder of what was found; none: nothing is written.
        counts: cases by family.
        found: findings by family and kind.
    """

    seed: int
    folder: Path
    findings: Path | None = None
    say: Callable[[str], None] = print
    counts: Counter[str] = field(default_factory=Counter)
    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in WARM.split():
            __import__(name)
        self.folder = self.folder.resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        places = dict.fromkeys(
            ("TMPDIR", "MPLCONFIGDIR", "KERAS_HOME", "TORCHINDUCTOR_CACHE_DIR"), str(self.folder / "tmp")
        )
        os.environ |= {**places, "TF_CPP_MIN_LOG_LEVEL": "3", "GNOMON_DATA": "public"}
        tempfile.tempdir = str(self.folder / "tmp")
        sys.dont_write_bytecode = True

    def run(self, family: Family, numbers: Sequence[int]) -> None:
        """Run these cases of a family; a process that dies is replaced by one that goes on with the next case."""
        left = list(numbers)
        while left:
            batch, left = left[:FRESH], left[FRESH:]
            done = self._batch(family, batch)
            left = batch[done:] + left

    def _batch(self, family: Family, numbers: Sequence[int]) -> int:
        """How many of the cases a process came to."""
        journal = self.folder / "journal.jsonl"
        journal.unlink(missing_ok=True)
        sys.stdout.flush()
        if not (child := os.fork()):
            _child(family, self.seed, numbers, self.folder, journal)
        status = _wait(child, journal)
        rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        begun = [row["begun"] for row in rows if "begun" in row]
        if not begun:
            self.say(f"{family.name} cannot make its inputs:\n{(self.folder / 'trace').read_text()}")
            self.found[family.name, "cannot make its inputs"] += 1
            return len(numbers)
        for row in rows:
            if "code" in row:
                self.answered[family.name, row["code"]] += 1
                if row["kind"]:
                    self._keep(family, row["number"], row["kind"], row["details"])
        if rows[-1] == {"begun": begun[-1]}:  # it did not come back
            self._keep(family, begun[-1], _died(status), (self.folder / "trace").read_text()[-20_000:])
        self.counts[family.name] += len(begun)
        return len(begun)

    def _keep(self, family: Family, number: int, kind: str, details: str) -> None:
        self.found[family.name, kind] += 1
        nth = self.found[family.name, kind]
        if nth == 1:
            self.say(f"  {family.name} {number}: {kind}")
        if self.findings is None or nth > EXAMPLES:
            return
        place = self.findings / f"{family.name}-{self.seed}-{number}"
        files, command = case(family, self.seed, number, self.folder)
        write(files, place)
        again = f"python -m tests.fuzz --family {family.name} --seed {self.seed} --case {number}"
        (place / "command.txt").write_text(f"{kind}\n{' '.join(map(repr, command))}\n{again}\n")
        (place / "traceback.txt").write_text(details)


def case(family: Family, seed: int, number: int, folder: Path) -> tuple[Files, Command]:
    """A damaged input and the command that reads it; the same for the same numbers. -1, -2, ... are those that
    were found once, then valid inputs, as they are."""
    valid = _made(family, folder)
    rng = Random(f"{family.name} {seed} {number}")
    if number < 0:
        files = _unchanged(valid, family, -number - 1)
    else:
        files = chosen = rng.choice(valid)
        with suppress(
            ValueError, RecursionError
        ):  # what was found once may be too damaged to be edited: it is tried again
            files = family.mutate(chosen, rng)
    command = family.attack(_place(folder, number), folder / "beside", rng)
    return files, [_filled(argument, files) for argument in command]


def _filled(argument: str, files: Files) -> str:
    """A part of a command line, with the text of a file where it says @file."""
    for name in files:
        argument = argument.replace(f"@{name}", os.fsdecode(files[name])) if "@" in argument else argument
    return argument


def regressions(family: Family) -> list[Path]:
    """Folders of the inputs that were found once."""
    return sorted((REGRESSIONS / family.name).glob("*/"))


def _unchanged(valid: Sequence[Files], family: Family, number: int) -> Files:
    found = regressions(family)
    if number >= len(found):
        return valid[(number - len(found)) % len(valid)]
    files = [path for path in found[number].rglob("*") if path.is_file()]
    return {str(path.relative_to(found[number])): path.read_bytes() for path in files}


def write(files: Files, folder: Path) -> None:
    """Files of a case, in a folder of its own."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)


_INPUTS: dict[tuple[str, Path], Sequence[Files]] = {}


def _made(family: Family, folder: Path) -> Sequence[Files]:
    key = family.name, folder
    if key not in _INPUTS:
        (folder / "beside").mkdir(exist_ok=True)
        _INPUTS[key] = family.make(folder / "beside")
    return _INPUTS[key]


def _place(folder: Path, number: int) -> Path:
    return folder / "deep" / "er" / "cases" / str(number)


def _child(family: Family, seed: int, numbers: Sequence[int], folder: Path, journal: Path) -> None:
    """Run cases, and leave without what the parent would do at its end."""
    trace = (folder / "trace").open("w")
    try:
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGUSR1, trace)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        watch = Watch(folder)
        _made(family, folder)
        with journal.open("a", buffering=1) as log:
            for number in numbers:
                files, command = case(family, seed, number, folder)
                place = _place(folder, number)
                shutil.rmtree(place, ignore_errors=True)
                write(files, place)
                log.write(json.dumps({"begun": number}) + "\n")
                ended = watch.run(command, place, family.rewrites)
                row = {"number": number, "code": ended.code, "kind": ended.kind, "details": ended.details}
                log.write(json.dumps(row) + "\n")
                shutil.rmtree(place, ignore_errors=True)
                if _resident(os.getpid()) > 3 * BYTES:
                    break  # what libraries kept; the next process goes on
        os._exit(0)
    except BaseException:
        trace.write(traceback.format_exc())
        trace.flush()
        os._exit(70)


def _wait(child: int, journal: Path) -> int:
    """Wait for a process; stop it where one case takes far too long or too much."""
    seen, spent_at, began, stop = -1, 0.0, time.monotonic(), 0
    least = _resident(child)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status if not stop else -stop
        size = journal.stat().st_size if journal.exists() else 0
        spent, resident = _spent(child), _resident(child)
        if size != seen:
            seen, spent_at, began, least = size, spent, time.monotonic(), resident
        if seen > 0 and resident - least > 1.5 * BYTES:
            stop = 2
        elif seen > 0 and (spent - spent_at > 2 * SECONDS or time.monotonic() - began > 30 * SECONDS):
            stop = 1
        if stop:
            os.kill(child, signal.SIGUSR1)
            time.sleep(0.5)
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def _died(status: int) -> str:
    if status < 0:
        return (f"took more than {SECONDS:.0f} CPU seconds", "needed more than 1 GiB")[-status - 1]
    if os.WIFSIGNALED(status):
        return f"crashed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended its process with {os.WEXITSTATUS(status)}"


def _spent(process: int) -> float:
    """CPU seconds of a process."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
