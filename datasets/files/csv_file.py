"""Measured values in a .csv: columns, units, and number formats of spreadsheets."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

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


def read_rows(path: Path, metric: str, hint: str = CSV_HINT) -> tuple[list[dict[str, Any]], str]:
    """The rows of a .csv of measured values.

    The file begins with a header; fields are separated by commas, semicolons (with decimal commas allowed) or tabs.
    Columns are found by name: `key` or `network`, a column of values (`value`, `value_us`, `latency [s]`, `fps`), and
    optionally `space`, `device`, `metric`, `batch` and `unit`; others are ignored.

    Args:
        path: the file.
        metric: metric of the values, which determines the possible units.
        hint: description of the expected file; it ends the sentence of an `InputError`.

    Returns:
        One mapping per line: texts under the names above (the network under `key`), and the value as `number`; and the
        unit of the header, or ''.

    Raises:
        InputError: a column is missing or repeated, a line has too few fields or no key, or a value is no number.
    """
    text = read_text(path, hint, MOST_BYTES).lstrip("\ufeff")
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[dict[str, Any]] = []
    try:
        header = next((fields for fields in lines if any(field.strip() for field in fields)), None)
        if header is None:
            raise InputError(f"{path} is empty; {hint}.")
        columns, stated = _columns(header, metric, path)
        for fields in lines:
            if not any(field.strip() for field in fields):
                continue
            if len(rows) == MOST_ROWS:
                raise InputError(f"{path} has more than {MOST_ROWS:,} rows; measure fewer architectures.")
            where = f"{path}, line {lines.line_num}"
            if len(fields) <= max(columns.values()):
                raise InputError(f"{where} has {len(fields)} fields; its header has {len(header)}.")
            row: dict[str, Any] = {name: fields[i].strip() for name, i in columns.items()}
            if not row["key"]:
                raise InputError(f"{where} has no key; write the architecture there, or take the line out.")
            rows.append(row | {"number": _number(row.pop("value"), separator, where)})
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}, is no line of a .csv ({error}).") from None
    if not rows:
        raise InputError(f"{path} has a header only; {hint}.")
    return rows, stated


def _columns(header: list[str], metric: str, path: Path) -> tuple[dict[str, int], str]:
    """Positions of columns by name, and the unit in the header of the values, or ''."""
    names = [name.strip() for name in header]
    words = [re.findall(r"[a-zµμ]+(?:/s)?", name.lower()) for name in names]
    columns = {}
    for wanted in ("key", "space", "device", "metric", "batch", "unit"):
        called = ("key", "network") if wanted == "key" else (wanted,)
        places = [i for i, name in enumerate(names) if name.lower() in called]
        if len({names[i].lower() for i in places}) > 1:
            raise InputError(f"{path} has the columns {' and '.join(called)}; keep one.")
        if len(places) > 1:
            raise InputError(f"{path} has the column {wanted} {len(places)} times; keep one.")
        if places:
            columns[wanted] = places[0]
    units = {unit.lower() for known in FACTORS.values() for unit in known} | set(_OTHER_NAMES)
    found = [i for i, parts in enumerate(words) if parts[:1] == ["value"]]
    found = found or [i for i, parts in enumerate(words) if parts and (parts[0] in _VALUES or set(parts) <= units)]
    if len(found) > 1:
        raise InputError(f"{path} has several columns of values ({listed([names[i] for i in found])}); keep one.")
    if "key" not in columns or not found:
        raise InputError(f"{path} needs the columns key and value; it has {listed(names)}.")
    (columns["value"],) = found
    parts, bracket = words[found[0]], re.search(r"[\[(]\s*([^\])]*?)\s*[\])]", names[found[0]])
    texts = [bracket[1]] if bracket else [word for word in parts if word in units]
    if texts[1:]:
        texts = [word for word in texts if word not in ("throughput",)]
    return columns, unit_of(
        texts[-1], metric, f"The column '{shortened(names[found[0]], 60)}' of {path}"
    ) if texts else ""


def _number(text: str, separator: str, where: str) -> float:
    text = text.replace(",", ".") if separator != "," and "." not in text else text
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{where}: '{shortened(text, 40)}' is no number.") from None
    if not 1e-12 < number < 1e12:
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
