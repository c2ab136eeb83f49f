"""Tables in Markdown, and pages whose tables are made anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

MARKED = re.compile(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
"""A table of a page, between two comments."""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def rounded(row: Mapping[str, Any], columns: Iterable[str], digits: int = 6) -> dict[str, Any]:
    """Those columns of a row that it has, with rounded numbers: what is kept beside a page."""
    kept = {name: row[name] for name in columns if name in row}
    return {name: round(value, digits) if isinstance(value, float) else value for name, value in kept.items()}


def filled(text: str, make: Callable[[str], str | None]) -> tuple[str, list[str]]:
    """A page with its tables made anew, and the names of those that changed.

    Args:
        text: the page in Markdown.
        make: makes the table of a name, or returns None where there are no rows; that table stays.
    """
    changed = list[str]()

    def replace(match: re.Match[str]) -> str:
        made = make(match[1])
        new = match[0] if made is None else f"<!-- table {match[1]} -->\n{made}\n<!-- end -->"
        if new != match[0]:
            changed.append(match[1])
        return new

    return MARKED.sub(replace, text), changed
