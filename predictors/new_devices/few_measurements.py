"""Measurements of one device from a user's file: its columns, its unit, and whether its numbers are plausible."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.files.reading import existing, listed, read_text, shortened
from datasets.measured import Measured
from datasets.records import UNITS, Device, InputError, Measurements, Space

FACTORS = {
    "ms": {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "fps": math.nan},  # fps: 1000 x batch / value
    "mJ": {"uJ": 1e-3, "mJ": 1.0, "J": 1e3},
}
"""Units that files may have, by the unit of the metric: what values are multiplied by."""
_OTHER_NAMES = {
    "µs": "us", "μs": "us", "usec": "us", "microsecond": "us", "microseconds": "us", "nanoseconds": "ns", "nsec": "ns",
    "msec": "ms", "millisecond": "ms", "milliseconds": "ms", "sec": "s", "second": "s", "seconds": "s",
    "throughput": "fps", "images/s": "fps", "img/s": "fps", "imgs/s": "fps", "ips": "fps", "joule": "J", "joules": "J",
    "samples/s": "fps", "frames/s": "fps",
}  # fmt: skip
_VALUES = ("value", "latency", "time", "energy", "throughput", "runtime")
"""First words of the header of a column of values that is not called `value`."""
MOST_BYTES, MOST_ROWS = 16 * 2**20, 100_000
"""Of a .csv."""
FAR_CSV, FAR_TABLE = 30.0, 300.0
"""Values that many times above or below what every known device takes are asked about; a table of `python -m measure
table` is known to be in milliseconds, so it is believed for longer."""
UNKNOWN = Device("", "unknown", "desktop-cpu")
"""What a .csv says of its device: nothing."""
_HINT = "it should be a table of `python -m measure table` (.parquet), or a .csv with the columns key and value"


def read_few(path: Path, device: str, predictor: Any, unit: str = "", space: Space | None = None) -> Measurements:
    """Measurements of one device that a predictor can adapt to.

    A .csv has a line of headers; fields are separated by commas, semicolons (then decimal commas are fine) or tabs:

    - `key`: the text form of an architecture;
    - `value`: the number; the unit may stand in the header (`value_us`, `latency [s]`, `fps`), in a column `unit` or in
      the argument `unit`, and is that of the metric otherwise;
    - `device`, `metric`, `batch` (images a run), if there are such columns; others are not read.

    Several rows of one architecture are repeats of one measurement.

    Args:
        path: the file.
        device: which device of the file, or the name of a .csv's that names none.
        predictor: its `metric`, `space_` and `devices_` count.
        unit: of the values: ns, us, ms, s or fps (images a second) for latencies; uJ, mJ or J for energies.
        space: of the architectures; by default the predictor's.

    Raises:
        InputError: no such file, another space, several devices and none named, a value that is no number, a unit that
            does not fit, or values unlike those of every known device whose unit is not stated.
    """
    space, metric = space or predictor.space_, predictor.metric
    if unit:
        unit = _unit(unit, metric, "--unit")
    path = existing(path, _HINT)
    table = path.suffix.lower() != ".csv"
    m, stated = _of_table(path, device, space, metric) if table else _of_csv(path, device, space, metric)
    if unit and stated and unit != stated:
        raise InputError(f"{path} says that its values are in {stated}, --unit says {unit}; one of them is wrong.")
    unit = unit or stated
    if unit:
        m = _converted(m, unit, UNITS[metric])
    elif UNITS.get(metric) in FACTORS:
        _check_plausible(m, predictor, FAR_TABLE if table else FAR_CSV)
    return m


def _of_table(path: Path, device: str, space: Space, metric: str) -> tuple[Measurements, str]:
    m = Measured(path.absolute()).measurements()
    if m.architectures.space != space:
        raise InputError(f"{path} is of {m.architectures.space}; the predictor was fitted on {space}.")
    if metric not in (known := sorted(m.table["metric"].unique())):
        raise InputError(f"{path} has no {metric}, which the predictor predicts; it has {listed(known) or 'no rows'}.")
    m = m.where(metrics=[metric])
    if not m.devices or (m.table["device"] < 0).any():
        raise InputError(f"{path} has {metric} of no device; measure it on the new device.")
    if not device and len(m.devices) > 1:
        raise InputError(f"Name a device with --device; {path} has {listed([d.name for d in m.devices])}.")
    m = m.where(devices=[device or m.devices[0].name])
    if m.table.empty:
        raise InputError(f"{path} has no {metric} on {m.devices[0].name}: measure some architectures there.")
    return m.where(archs=np.unique(m.table["arch"])), _only(m.table.get("unit", []), "unit", metric, path)


def _of_csv(path: Path, device: str, space: Space, metric: str) -> tuple[Measurements, str]:
    import pandas as pd

    rows, stated = _rows(path, metric)
    rows = [row for row in rows if row.get("metric", metric) == metric]
    if not rows:
        raise InputError(f"{path} has no row of {metric}, which the predictor predicts.")
    names = list(dict.fromkeys(row.get("device", "") for row in rows))
    if device and names != [""] and device not in names:
        raise InputError(f"There is no device '{shortened(device)}' in {path}; it has {listed(names)}.")
    if not device and len(names) > 1:
        raise InputError(f"Name a device with --device; {path} has {listed(names)}.")
    rows = [row for row in rows if not device or names == [""] or row["device"] == device]
    batch = _only([row["batch"] for row in rows if "batch" in row], "batch", "", path) or "1"
    if not batch.isdecimal() or not 0 < int(batch) < 10**6:
        raise InputError(f"{path} has the batch '{shortened(batch, 40)}'; write a whole number of images above zero.")
    units = _only([row["unit"] for row in rows if "unit" in row], "unit", metric, path)
    if units and stated and units != stated:
        raise InputError(f"The header of {path} says {stated}, its column unit says {units}; one of them is wrong.")
    keys = list(dict.fromkeys(row["key"] for row in rows))
    place = {key: i for i, key in enumerate(keys)}
    values = pd.DataFrame({"arch": [place[row["key"]] for row in rows], "device": 0, "metric": metric})
    own = replace(UNKNOWN, name=device or names[0] or path.stem, batch=int(batch))
    return Measurements(
        parse_keys(keys, space, path), [own], values.assign(value=[row["number"] for row in rows]), path.stem
    ), stated or units


def parse_keys(keys: list[str], space: Space, where: object) -> Any:
    """Architectures of texts in a file; one that is far too long to be any raises a short `InputError`."""
    if long := next((key for key in keys if len(key) > 2000), None):
        raise InputError(f"{where} has the text {shortened(long, 60)}, which is no architecture of {space}.")
    return space.parse(keys)


def _rows(path: Path, metric: str) -> tuple[list[dict[str, Any]], str]:
    """The fields that are read of every line, with the value as `number`; and the unit that the header states."""
    text = read_text(path, _HINT, MOST_BYTES).lstrip("\ufeff")
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[dict[str, Any]] = []
    try:
        header = next((fields for fields in lines if any(field.strip() for field in fields)), None)
        if header is None:
            raise InputError(f"{path} is empty; {_HINT}.")
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
        raise InputError(f"{path} has a header only; {_HINT}.")
    return rows, stated


def _columns(header: list[str], metric: str, path: Path) -> tuple[dict[str, int], str]:
    """Where the columns that are read stand, and the unit that the header of the values states, or ''."""
    names = [name.strip() for name in header]
    words = [re.findall(r"[a-zµμ]+(?:/s)?", name.lower()) for name in names]
    columns = {}
    for wanted in ("key", "device", "metric", "batch", "unit"):
        places = [i for i, name in enumerate(names) if name.lower() == wanted]
        if len(places) > 1:
            raise InputError(f"{path} has the column {wanted} {len(places)} times; keep one.")
        if places:
            columns[wanted] = places[0]
    units = {unit.lower() for known in FACTORS.values() for unit in known} | set(_OTHER_NAMES)
    found = [i for i, told in enumerate(words) if told[:1] == ["value"]]
    found = found or [i for i, told in enumerate(words) if told and (told[0] in _VALUES or set(told) <= units)]
    if len(found) > 1:
        raise InputError(f"{path} has several columns of values ({listed([names[i] for i in found])}); keep one.")
    if "key" not in columns or not found:
        raise InputError(f"{path} needs the columns key and value; it has {listed(names)}.")
    (columns["value"],) = found
    told, bracket = words[found[0]], re.search(r"[\[(]\s*([^\])]*?)\s*[\])]", names[found[0]])
    texts = [bracket[1]] if bracket else [word for word in told if word in units]
    if texts[1:]:
        texts = [word for word in texts if word not in ("throughput",)]
    return columns, _unit(
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


def _unit(text: str, metric: str, where: str) -> str:
    """The unit that a text names, of those that the metric may have."""
    known = FACTORS.get(UNITS.get(metric, ""), {})
    name = _OTHER_NAMES.get(text.lower(), text)
    for unit in known:
        if name.lower() == unit.lower():
            return unit
    raise InputError(
        f"{where} names the unit '{shortened(text, 40)}'; {metric} is read in {', '.join(known) or 'no unit'}."
    )


def _only(texts: Any, name: str, metric: str, path: Path) -> str:
    """The only text of a column, '' where there is none; units by their usual names."""
    found = list(dict.fromkeys(str(text) for text in texts))
    if len(found) > 1:
        raise InputError(
            f"{path} has several values of {name} for one device ({listed(found)}); adapt to one at a time."
        )
    return _unit(found[0], metric, f"The column unit of {path}") if found and metric else "".join(found)


def _converted(m: Measurements, unit: str, wanted: str) -> Measurements:
    values = m.table["value"].astype(float)
    values = 1000 * m.devices[0].batch / values if unit == "fps" else values * FACTORS[wanted][unit]
    return Measurements(m.architectures, m.devices, m.table.assign(value=values), m.name)


def _check_plausible(m: Measurements, predictor: Any, far: float) -> None:
    """Ask where values are far from what every known device takes for the same architectures, or fall where they rise.

    Known devices with a larger batch are also taken at the new device's, as if time were in proportion to it.
    """
    from scipy.stats import spearmanr

    if not predictor.devices_:
        return
    archs, own = m.architectures[m.table["arch"].to_numpy()], m.table["value"].to_numpy(float)
    known = np.array([predictor.predict(archs, device) for device in predictor.devices_])
    known, wanted = np.maximum(known, 1e-12), UNITS[predictor.metric]
    ranks = [float(np.nan_to_num(spearmanr(own, row).statistic)) for row in known] if len(own) >= 8 else [0.0]
    if wanted == "ms" and max(ranks) < -0.5:
        raise InputError(
            f"The values of {m.name} fall where those of every known device rise: are they images per second? Say so "
            "with --unit fps, or --unit ms if they are milliseconds."
        )
    part = np.array([m.devices[0].batch / device.batch for device in predictor.devices_])
    times = np.median(own / known, axis=1)
    least, most = (times / np.minimum(part, 1)).min(), (times / np.maximum(part, 1)).max()
    if least > far or most < 1 / far:
        off = {unit: abs(math.log(float(np.median(times)) * factor)) for unit, factor in FACTORS[wanted].items()}
        likely = min((unit for unit in off if not math.isnan(off[unit])), key=lambda unit: off[unit])
        told = f"{least:.3g} times" if least > far else f"1/{1 / most:.3g} of"
        question = f"are they in {likely}" if likely != wanted else "are they of the same thing"
        raise InputError(
            f"The values of {m.name} are {told} what any known device takes: {question}? Say which unit they have, "
            f"--unit {likely if likely != wanted else 's'}, or --unit {wanted} if they are right."
        )
