"""Measured values in a .csv: columns, units, and number formats of spreadsheets."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets.files.reading import listed, read_text, shortened
from datasets.records import UNITS, InputError

FACTORS = {
    "ms": {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "fps": math.nan},  # fps: 1000 x batch / value
    "mJ": {"uJ": 1e-3, "mJ": 1.0, "J": 1e3},
}
"""Factors of the units that files may have, by the unit of the metric."""
_OTHER_NAMES = {
    "µs": "us", "μs": "us", "usec": "us", "microsecond": "us", "microseconds": "us", "nanoseconds": "ns", "nsec": "ns",
    "msec": "ms", "millisecond": "ms", "milliseconds": "ms", "sec": "s", "second": "s", "seconds": "s",
    "throughput": "fps", "images/s": "fps", "img/s": "fps", "imgs/s": "fps", "ips": "fps", "joule": "J", "joules": "J",
    "samples/s": "fps", "frames/s": "fps",
}  # fmt: skip
_VALUES = ("value", "latency", "time", "energy", "throughput", "runtime")
"""First words of headers of columns of values besides `value`."""
MOST_BYTES, MOST_ROWS = 16 * 2**20, 100_000
"""Largest size of a .csv in bytes, and largest number of its rows."""
CSV_HINT = "a .csv of measured values has the columns key (or network) and value"


class Lines(NamedTuple):
    """A table of texts.

    Attributes:
        header: names of the columns.
        rows: fields of each row, at least as many as columns in use.
        where: name of each row in messages.
        separator: what separates the fields; unless it is a comma, numbers may have decimal commas.
    """

    header: list[str]
    rows: list[list[str]]
    where: list[str]
    separator: str = ","


def read_lines(path: Path, hint: str) -> Lines:
    """The fields of a .csv: a header, then rows, separated by commas, semicolons or tabs; empty lines are left out.

    Raises:
        InputError: the file is missing, too large or no text, or has no row.
    """
    text = read_text(path, hint, MOST_BYTES).lstrip("\ufeff")
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    found = Lines([], [], [], separator)
    try:
        for fields in lines:
            if not any(field.strip() for field in fields):
                continue
            if not found.header:
                found.header.extend(field.strip() for field in fields)
                continue
            if len(found.rows) == MOST_ROWS:
                raise InputError(f"{path} has more than {MOST_ROWS:,} rows; measure fewer architectures.")
            found.rows.append([field.strip() for field in fields])
            found.where.append(f"{path}, line {lines.line_num}")
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}, is no line of a .csv ({error}).") from None
    if not found.header:
        raise InputError(f"{path} is empty; {hint}.")
    if not found.rows:
        raise InputError(f"{path} has a header only; {hint}.")
    return found


def measured_rows(
    lines: Lines, path: Path, metric: str, features: Sequence[str] | None = None, value: str = ""
) -> tuple[list[dict[str, Any]], str]:
    """The measured values of a table.

    Columns are found by name: `key` or `network`, a column of values (`value`, `value_us`, `latency [s]`, `fps`), and
    optionally `space`, `device`, `metric`, `batch` and `unit`; others are ignored.

    Args:
        lines: the table.
        path: of the file, for messages.
        metric: metric of the values, which determines the possible units.
        features: names of columns that stand for the key.
        value: name of the column of values; by default it is found.

    Returns:
        One mapping per row: texts under the names above (the network under `key`, or a list of texts under `features`),
        the value as `number`, and the row's name in messages as `where`; and the unit of the header, or ''.

    Raises:
        InputError: a column is missing or repeated, a row has too few fields or no key, or a value is no number.
    """
    columns, stated = _columns(lines.header, metric, path, features, value)
    chosen = [lines.header.index(name) for name in features or ()]
    rows: list[dict[str, Any]] = []
    for fields, where in zip(lines.rows, lines.where, strict=True):
        if len(fields) <= max(*columns.values(), *chosen, 0):
            raise InputError(f"{where} has {len(fields)} fields; its header has {len(lines.header)}.")
        row: dict[str, Any] = {name: fields[i] for name, i in columns.items()}
        if features is not None:
            row["features"] = [fields[i] for i in chosen]
        elif not row["key"]:
            raise InputError(f"{where} has no key; write the architecture there, or take the line out.")
        number = _number(row.pop("value"), row.get("metric") or metric, lines.separator, where)
        rows.append(row | {"number": number, "where": where})
    return rows, stated


def _columns(
    names: list[str], metric: str, path: Path, features: Sequence[str] | None, value: str
) -> tuple[dict[str, int], str]:
    """Positions of columns by name, and the unit in the header of the values, or ''."""
    for name in (*(features or ()), *([value] if value else [])):
        if names.count(name) != 1:
            has = f"the column {shortened(name, 60)} {names.count(name)} times" if name in names else "no such column"
            raise InputError(f"{path} has {has}; it has {listed(names)}, and needs {shortened(name, 60)} once.")
    words = [re.findall(r"[a-zµμ]+(?:/s)?", name.lower()) for name in names]
    columns = {}
    for wanted in ("key", "space", "device", "metric", "batch", "unit"):
        called = ("key", "network") if wanted == "key" else (wanted,)
        places = [i for i, name in enumerate(names) if name.lower() in called]
        if len({names[i].lower() for i in places}) > 1:
            raise InputError(f"{path} has the columns {' and '.join(called)}; keep one.")
        if len(places) > 1:
            raise InputError(f"{path} has the column {wanted} {len(places)} times; keep one.")
        if places and names[places[0]] not in (features or ()):
            columns[wanted] = places[0]
    units = {unit.lower() for known in FACTORS.values() for unit in known} | set(_OTHER_NAMES)
    free = [i for i, name in enumerate(names) if name not in (features or ()) and i not in columns.values()]
    found = [names.index(value)] if value else [i for i in free if words[i][:1] == ["value"]]
    found = found or [i for i in free if words[i] and (words[i][0] in _VALUES or set(words[i]) <= units)]
    if len(found) > 1:
        raise InputError(f"{path} has several columns of values ({listed([names[i] for i in found])}); keep one.")
    if features is not None and not found:
        raise InputError(f"{path} needs a column value, or the field `value` its name; it has {listed(names)}.")
    if features is None and ("key" not in columns or not found):
        raise InputError(
            f"{path} needs the columns key and value; it has {listed(names)}. A table of no networks is named by a "
            "YAML with its features (docs/own_data.md)."
        )
    (columns["value"],) = found
    parts, bracket = words[found[0]], re.search(r"[\[(]\s*([^\])]*?)\s*[\])]", names[found[0]])
    texts = [bracket[1]] if bracket else [word for word in parts if word in units]
    if texts[1:]:
        texts = [word for word in texts if word not in ("throughput",)]
    return columns, unit_of(
        texts[-1], metric, f"The column '{shortened(names[found[0]], 60)}' of {path}"
    ) if texts else ""


def decimal(text: str, separator: str) -> str:
    """A field with a decimal point in place of its decimal comma, which it may have unless commas separate fields."""
    is_number = separator != "," and re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", text)
    return text.replace(",", ".") if is_number else text


def _number(text: str, metric: str, separator: str, where: str) -> float:
    text = decimal(text, separator)
    try:
        number = float(text)
    except ValueError:
        hint = "; write units into the header or a column unit" if re.match(r"[\d.,]+\s*[a-zA-Zµμ/]+$", text) else ""
        raise InputError(f"{where}: '{shortened(text, 40)}' is no number{hint}.") from None
    least = 1e-12 if UNITS.get(metric) in FACTORS else -1e12
    if not least < number < 1e12:
        raise InputError(
            f"{where}: {shortened(text, 40)} is no measured value; take out what failed, and measure again."
        )
    return number


def unit_of(text: str, metric: str, where: str) -> str:
    """The unit of a text, among those that the metric may have; `where` begins the sentence of an `InputError`.

    Raises:
        InputError: it is no unit of the metric.
    """
    if text == UNITS.get(metric):
        return text
    known = FACTORS.get(UNITS.get(metric, ""), {})
    name = _OTHER_NAMES.get(text.lower(), text)
    for unit in known:
        if name.lower() == unit.lower():
            return unit
    raise InputError(
        f"{where} names the unit '{shortened(text, 40)}'; {metric} is read in {', '.join(known) or 'no unit'}."
    )


def converted(value: Any, unit: str, metric: str, batch: int) -> Any:
    """Numbers in the metric's unit, from a unit of `unit_of`, for runs of `batch` images."""
    wanted = UNITS.get(metric, "")
    return value if unit == wanted else 1000 * batch / value if unit == "fps" else value * FACTORS[wanted][unit]


def batch_of(text: str, path: Path) -> int:
    """The number of images per run in a field of a .csv.

    Raises:
        InputError: it is no whole number above zero.
    """
    if not text.isdecimal() or len(text) > 6 or int(text) < 1:
        raise InputError(f"{path} has the batch '{shortened(text, 40)}'; write a whole number of images above zero.")
    return int(text)
