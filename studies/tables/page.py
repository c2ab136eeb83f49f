"""Tables of datasets/bundled/README.md that the study of the tables writes: `python -m studies.tables.page`.

Each stands between two comments, `<!-- table NAME -->` and `<!-- end -->`, and is made of the rows of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.files.reading import read_json, read_text
from datasets.files.writing import write_text
from datasets.records import InputError
from studies.markdown import filled as fill
from studies.markdown import table
from studies.study import ROOT
from studies.tables.kernels import PRECISIONS, WORK

PAGE = ROOT / "datasets" / "bundled" / "README.md"
SUMMARY = ROOT / "runs" / "tables" / "summary.json"
Rows = Sequence[dict[str, Any]]
"""Rows of the study."""
HINT = "it is the page of the bundled tables"
UNREPEATED = ("init_ms", "first_ms", "peak_mb")
"""Metrics with one reading per row, which are not judged by their repeats."""


def counts(rows: Rows) -> str:
    """Numbers of devices, values and architectures of each table."""
    found = []
    for whole in sorted((row for row in rows if "architectures" in row), key=lambda row: row["table"]):
        values = sum(row.get("values", 0) for row in rows if row["table"] == whole["table"])
        numbers = whole["devices"] or "none", f"{values:,}", f"{whole['architectures']:,}"
        found.append((f"`{whole['table']}.parquet`", *numbers))
    return table(("file", "devices", "values", "architectures"), found)


def repeatability(rows: Rows) -> str:
    """Coefficients of variation over each table's own repeats."""
    found = [
        (f"`{row['table']}`" + (f", `{row['metric']}`" if row["metric"] != "latency_ms" else ""), f"`{row['device']}`",
         row["cells"], *(f"{row[name]:.2f}" for name in _SHOWN))
        for row in rows if row["metric"] not in UNREPEATED
    ]  # fmt: skip
    header = ("table", "device", "architectures", "corrected: median", "worst", "raw: median", "worst")
    return table(header, found)


_SHOWN = ("corrected_median", "corrected_worst", "raw_median", "raw_worst")


def precision(rows: Rows) -> str:
    """Times in int8 and bf16 over those in fp32, by family of networks or kind of layers."""
    return _ratios(rows, "share that is slower", "slower")


def threads(rows: Rows) -> str:
    """Times on two threads over those on one, by family of networks or kind of layers."""
    return _ratios(rows, "speed-up", "speed_up")


def _ratios(rows: Rows, last: str, column: str) -> str:
    found = [
        (f"`{row['device']}`", f"{row['by']}: {row['group']}", row["cells"], f"{row['ratio']:.2f}",
         f"{row['p10']:.2f} to {row['p90']:.2f}", f"{row[column]:.2f}")
        for row in rows
    ]  # fmt: skip
    return table(("device", "group", "cells", "median ratio", "tenth to ninetieth percentile", last), found)


def runtimes(rows: Rows) -> str:
    """Times on other runtimes over those on onnxruntime, of all networks and of families with several."""
    return _ratios([row for row in rows if row["group"] == "all" or row["cells"] > 1], "share that is slower", "slower")


def sizes(rows: Rows) -> str:
    """Times of networks in other sizes over those in their own."""
    found = [
        (row["runtime"], f"{row['what']} {row['size']}", row["networks"], f"{row['time']:.2f}", f"{row['work']:.2f}",
         f"{row['quotient']:.2f}", f"{row['p10']:.2f} to {row['p90']:.2f}", f"{100 * row['error']:.0f} %")
        for row in rows
    ]  # fmt: skip
    header = ("runtime", "size", "networks", "time: median ratio", "multiply-accumulates", "time per operation",
              "tenth to ninetieth percentile", "error of the predicted ratio")  # fmt: skip
    return table(header, found)


def sums(rows: Rows) -> str:
    """Sums of single operations over whole networks."""
    found = []
    for row in rows:
        if "family" in row:
            pairs = [
                (f"{row[kind]:.2f}", f"{100 * row[f'{kind}_error']:.0f} %") for kind in ("uncorrected", "corrected")
            ]
            found.append((f"`{row['device']}`", row["family"], row["networks"], *pairs[0], *pairs[1]))
    header = ("device", "family", "networks", "uncorrected: median", "mean error", "corrected: median", "mean error")
    return table(header, found)


def kernels(rows: Rows) -> str:
    """Milliseconds of kernels by what they do, in fp32 and in int8."""
    us = {(row["network"], row["runtime"], row["work"], row["precision"]): row["us"] for row in rows}
    found = []
    for network, runtime in dict.fromkeys((row["network"], row["runtime"]) for row in rows):
        pairs = [[us.get((network, runtime, work, p), 0) / 1000 for p in PRECISIONS] for work in ("all", *WORK)]
        found.append((network, runtime, *(f"{a:.2f} / {b:.2f}" for a, b in pairs)))
    return table(("network", "runtime", "all", *WORK), found)


TABLES: dict[str, Callable[[Rows], str]] = {
    "counts": counts, "repeatability": repeatability, "precision": precision, "threads": threads, "runtimes": runtimes,
    "sizes": sizes, "sums": sums, "kernels": kernels,
}  # fmt: skip
"""Makers of tables by name, which is that of a part of the study."""


def filled(text: str, rows: Rows) -> tuple[str, list[str]]:
    """A page with its tables made of rows, and the names of those that changed; tables of parts without rows stay.

    Raises:
        InputError: the page names a table that there is not.
    """

    def make(name: str) -> str | None:
        if name not in TABLES:
            raise InputError(f"The page has a table '{name}'; there are {', '.join(TABLES)}.")
        own = [row for row in rows if row.get("part") == name]
        return TABLES[name](own) if own else None

    return fill(text, make)


def agrees(rows: Rows, page: Path = PAGE) -> list[dict]:
    """One row: the number of tables of the page that rows would change, measured ones left out."""
    _, changed = filled(read_text(page, HINT), [row for row in rows if row["part"] != "kernels"])
    return [{"changed": len(changed), "tables": ",".join(changed)}]


def write(summary: Path = SUMMARY, page: Path = PAGE) -> None:
    """Write the tables of a page.

    Args:
        summary: rows of the study.
        page: a file in Markdown; what is not between the comments stays as it is.
    """
    text, changed = filled(read_text(page, HINT), read_json(summary, "`python -m studies.tables.study` writes it"))
    write_text(page, text)
    print(f"{page}: {', '.join(changed) or 'nothing'} changed")


if __name__ == "__main__":
    main(write, prog="python -m studies.tables.page")
