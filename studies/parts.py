"""Parts of studies: each returns rows, and one summary holds the rows of all parts."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from datasets.files.writing import write_text
from datasets.records import InputError


def run_parts(parts: Mapping[str, Callable[[], list[dict]]], chosen: str, out: Path) -> None:
    """Run the chosen parts (names, separated by commas) and write their rows to summary.json, where rows of other parts
    are kept.

    Raises:
        InputError: there is no part of that name.
    """
    if unknown := set(chosen.split(",")) - set(parts):
        raise InputError(f"There is no part {sorted(unknown)}; parts are {', '.join(parts)}.")
    out.mkdir(parents=True, exist_ok=True)
    summary = out / "summary.json"
    rows = json.loads(summary.read_text()) if summary.exists() else []
    for name in chosen.split(","):
        rows = [row for row in rows if row["part"] != name]
        for row in parts[name]():
            rows.append({"part": name, **row})
            print(json.dumps(rows[-1], default=float), flush=True)
        write_text(summary, json.dumps(rows, indent=1, default=float))
