"""What a study is: commands that leave rows, and claims about them."""

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
    """Commands that run one after another, and the folder of the rows that they leave.

    Attributes:
        steps: what Python runs, each a script or `-m module` with its flags. Each goes on where it was stopped.
        folder: of `summary.json`, whose rows the claims are about unless they name another folder, and of
            `claims.json`.
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
    """Names of all studies, which are the folders beside this file that hold claims."""
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
    """What a study shows, what it needs and how long it takes, as its package's docstring says it."""
    return " ".join((import_module(f"studies.{name}").__doc__ or "").split())
