"""Studies: commands that write rows, and claims about the rows."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from datasets.files.reading import listed
from datasets.records import InputError

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ROOT / "studies"


@dataclass(frozen=True)
class Study:
    """Commands that run one after another, and the folder of the rows that they write.

    Attributes:
        steps: arguments of Python, each a script or `-m module` with its flags. A stopped step continues.
        folder: folder of `summary.json`, whose rows the claims are checked against unless they name another folder,
            and of `claims.json`.
    """

    steps: tuple[str, ...]
    folder: Path

    def run(self) -> None:
        """Run the steps until one fails.

        Raises:
            SystemExit: with the exit status of the step that failed.
        """
        for number, step in enumerate(self.steps, 1):
            print(f"[{number}/{len(self.steps)}] python {step}", flush=True)
            if status := subprocess.run([sys.executable, *shlex.split(step)], cwd=ROOT).returncode:
                raise SystemExit(status if status > 0 else 128 - status)


def names() -> list[str]:
    """Names of all studies, which are the folders beside this file with claims."""
    return sorted(path.parent.name for path in STUDIES.glob("*/claims.yaml"))


def find(name: str) -> Study:
    """The study of a name.

    Raises:
        InputError: there is none.
    """
    if name not in names():
        raise InputError(f"There is no study '{name}'; there are {listed(names())}.")
    found = import_module(f"studies.{name}").STUDY
    assert isinstance(found, Study)
    return found


def about(name: str) -> str:
    """Description of a study from its package's docstring: results, requirements and duration."""
    return " ".join((import_module(f"studies.{name}").__doc__ or "").split())
