"""What NetAdapt must show: `python -m tests.netadapt_check` writes runs/netadapt/summary.json.

The searches for widths and the tables that they read are here; whole runs are in netadapt_runs.py.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from datasets.cli import main
from tests.study import run_parts

OUT = Path("runs/netadapt")


def parts() -> dict[str, Callable[[], list[dict]]]:
    """All parts by their names, in the order in which they run."""
    found: dict[str, Callable[[], list[dict]]] = {}
    if importlib.util.find_spec("tests.netadapt_runs"):
        from tests.netadapt_runs import PARTS

        found |= PARTS
    return found


def check(chosen: str = "", out: Path = OUT, claims: Path | None = None) -> None:
    """Run the study.

    Args:
        chosen: parts, separated by commas, by default all; rows of the others stay as they were.
        out: folder of summary.json and claims.json.
        claims: file of what must be shown.
    """
    run_parts(parts(), chosen or ",".join(parts()), out, claims)


if __name__ == "__main__":
    main(check, prog="python -m tests.netadapt_check")
