"""Measured tables in one file for others: a zip of the table and of its facts, which are checked when it is added."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from datasets.files.reading import existing, shortened
from datasets.files.writing import check_writable, whole_file, write_bytes
from datasets.files.zip_entry import UNREADABLE, read_entry
from datasets.records import InputError

TABLE, FACTS = "table.parquet", "facts.json"
MOST_BYTES = 256 * 2**20
"""Largest table that is read."""
PROVENANCE = ("devices", "hosts", "protocol", "versions", "dates")
"""Metadata of a table without which it is not accepted."""
_PERSONAL = re.compile(
    r"(?<![\w.])/(?:home|Users|root|tmp|var|mnt|media|data|opt)/|[A-Za-z]:\\|(?<!\w)~/|[\w.+-]+@[\w-]+\.\w|\d+\.\d+\.\d+\.\d+:\d"
)


def pack(table: Path, out: Path) -> dict[str, Any]:
    """Write a table of `python -m measure table` and its facts as one file.

    Returns:
        The facts: sha256, rows, architectures, devices, metrics, repeatability and the table's own metadata.

    Raises:
        InputError: the table is malformed, lacks its provenance, or holds a path or an address.
    """
    check_writable(out, existing(table, "`python -m measure table` writes one"))
    facts = facts_of(table, str(table))
    with whole_file(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.write(table, TABLE)
        archive.writestr(FACTS, json.dumps(facts, indent=1))
    return facts


def add(file: Path, out: Path) -> dict[str, Any]:
    """Check a file of `pack` and write its table.

    Args:
        file: file that somebody sent.
        out: path of the table, which must not exist.

    Returns:
        The facts, computed from the table.

    Raises:
        InputError: the file is damaged, its facts are not those of its table, its table is not accepted by `pack`, or
            `out` exists.
    """
    existing(file, "`python -m measure contribute` writes one")
    if out.exists():
        raise InputError(f"{shortened(out)} exists; name another file with --out, or move it away.")
    try:
        content = read_entry(file, lambda names: TABLE, MOST_BYTES)
        stated = json.loads(read_entry(file, lambda names: FACTS, 2**20))
    except (*UNREADABLE, RecursionError) as error:
        raise InputError(
            f"{shortened(file)} is no intact file of `python -m measure contribute`; let its sender write it again."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / TABLE
        table.write_bytes(content)
        facts = facts_of(table, f"The table in {shortened(file)}")
    if facts != stated:
        wrong = [name for name in facts if not isinstance(stated, dict) or stated.get(name) != facts[name]]
        raise InputError(
            f"{shortened(file)} states another {', '.join(wrong) or 'set of facts'} than its table has; let its sender"
            " write it again."
        )
    write_bytes(out, content)
    return facts


def facts_of(table: Path, name: str) -> dict[str, Any]:
    """What a table holds, where it comes from and how well it repeats.

    Args:
        table: of `python -m measure table`.
        name: name of the table in messages.

    Raises:
        InputError: as for `pack`.
    """
    from datasets.files.table_file import read_table, read_values

    read_values(table)  # refuses values that are no positive numbers
    values, meta = read_table(table)
    if missing := [part for part in PROVENANCE if not meta.get(part)]:
        raise InputError(f"{name} does not say its {', '.join(missing)}; write it with `python -m measure table`.")
    texts = [str(value) for column in values.select_dtypes(exclude="number") for value in values[column].unique()]
    for text in (*texts, json.dumps(meta)):
        if found := _PERSONAL.search(text):
            near = text[max(found.start() - 20, 0) : found.end() + 20]
            raise InputError(
                f"{name} holds a path or an address ('{near}'), which others should not see; measure again with names"
                " relative to the working folder."
            )
    repeated = values[values["repeats"] > 1] if "repeats" in values else values[:0]
    return {
        "format": 1,
        "sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "rows": len(values),
        "architectures": int(values["key"].nunique()),
        "devices": sorted(values["device"].dropna().unique()),
        "metrics": sorted(values["metric"].unique()),
        "repeated_rows": len(repeated),
        "median_cv": round(float(repeated["cv"].median()), 6) if len(repeated) and "cv" in repeated else None,
        "unreliable_devices": sorted(meta.get("unreliable", {})),
        **{part: meta[part] for part in PROVENANCE if part != "devices"},
    }


def in_words(facts: dict[str, Any]) -> str:
    """The facts as lines of a terminal."""
    repeats = "no row was measured twice, so that nothing is known of their repeatability"
    if facts["median_cv"] is not None:
        repeats = f"{facts['repeated_rows']} rows were repeated and vary by {facts['median_cv']:.1%} (median)"
    lines = [
        f"{facts['rows']} values of {facts['architectures']} architectures, metrics {', '.join(facts['metrics'])}",
        f"devices: {', '.join(facts['devices'])}",
        repeats,
    ]
    if facts["unreliable_devices"]:
        lines.append(f"unreliable: {', '.join(facts['unreliable_devices'])}; measure again while the machine is quiet")
    return "\n".join(lines)
