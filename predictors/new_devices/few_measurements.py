"""Measurements of one device from a user's file, with checks of columns, units and plausible values."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.blocks.decisions import choice
from datasets.columns import Columns
from datasets.files.csv_file import FACTORS, batch_of, converted, decimal, measured_rows, read_lines, unit_of
from datasets.files.reading import listed, shortened
from datasets.networks.collection import AnyNetwork
from datasets.networks.reading import architectures_of, read_architectures
from datasets.opening import open_measurements
from datasets.own_table import named_in_row
from datasets.records import UNITS, Architectures, Device, InputError, Measurements, Networks, Space

FAR_CSV, FAR_TABLE = 30.0, 300.0
"""Values this many times above or below those of all known devices are refused unless their unit is stated; tables of
`python -m measure table` are in milliseconds, so their factor is larger."""
UNKNOWN = Device("", "unknown", "desktop-cpu")
"""Device of a .csv file, which holds none of its properties."""
_HINT = "it should be a table of `python -m measure table` (.parquet), or a .csv with the columns key and value"


def read_measurements(path: Path | str, device: str, predictor: Any, unit: str = "", space: str = "") -> Measurements:
    """Read measurements of one device that a predictor is to be adapted to.

    Args:
        path: a .csv (`datasets.files.csv_file`), with or without a device column, or any text that
            `open_measurements` accepts. Several rows of an architecture are repeats.
        device: name of the device in the file, or for a .csv without devices.
        predictor: its `metric`, `space_` and `devices_` are used.
        unit: unit of the values: ns, us, ms, s or fps (images per second) for latencies; uJ, mJ or J for energies; by
            default that of the file, else that of the metric.
        space: text form of the space of keys of a .csv that name none, for a predictor of networks.

    Raises:
        InputError: the file is missing, has another space, several devices of which none is named, a value that is no
            number, a unit that does not fit, or implausible values without a unit.
    """
    metric, wrong = predictor.metric, ""
    if unit:
        unit = unit_of(unit, metric, "--unit")
    written = Path(path).suffix.lower() == ".csv" and "," not in str(path)
    if written:
        m, stated = _from_csv(Path(path), device, predictor.space_, metric, space)
    else:
        m, stated = _from_table(path, device, predictor.space_, metric)
    if unit and stated and unit != stated:
        raise InputError(f"{path} says that its values are in {stated}, --unit says {unit}; one of them is wrong.")
    if unit and not written and not stated and unit != UNITS.get(metric):
        with suppress(InputError):
            _check_plausible(m, predictor, FAR_TABLE)
            wrong = f"{shortened(path)} has plausible values in {UNITS[metric]}, as tables do; leave --unit {unit} out."
    if wrong:
        raise InputError(wrong)
    unit = unit or stated
    if unit:
        values = converted(m.table["value"].astype(float), unit, metric, m.devices[0].batch)
        m = Measurements(m.architectures, m.devices, m.table.assign(value=values), m.name)
    elif UNITS.get(metric) in FACTORS:
        _check_plausible(m, predictor, FAR_CSV if written else FAR_TABLE)
    return m


def _from_table(path: Path | str, device: str, space: Space, metric: str) -> tuple[Measurements, str]:
    m = open_measurements(path)
    if isinstance(space, AnyNetwork):
        rows, have = m.table, set(m.table["metric"])
        if (
            metric == "latency_ms" and metric not in have and "exe_ms" in have
        ):  # the metric of runs that were measured in phases
            rows = rows[rows["metric"] == "exe_ms"].assign(metric=metric)
        m = Measurements(Networks.of(m.architectures), m.devices, rows, m.name)
    elif isinstance(space, Columns) and isinstance(m.architectures.space, Columns):
        m = Measurements(space.parse(m.architectures.keys), m.devices, m.table, m.name)
    elif m.architectures.space != space:
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


def _from_csv(path: Path, device: str, space: Space, metric: str, keyed: str) -> tuple[Measurements, str]:
    import pandas as pd

    lines, names = read_lines(path, _HINT), [c.name for c in space.columns] if isinstance(space, Columns) else None
    features = None if "key" in lines.header else names
    rows, stated = measured_rows(lines, path, metric, features)
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
    units = _only([row["unit"] for row in rows if "unit" in row], "unit", metric, path)
    if units and stated and units != stated:
        raise InputError(f"The header of {path} says {stated}, its column unit says {units}; one of them is wrong.")
    free = isinstance(space, AnyNetwork)
    if features is not None:
        assert isinstance(space, Columns)
        texts = [[choice(decimal(text, lines.separator)) for text in row["features"]] for row in rows]
        archs = space.of_texts(texts, [row["where"] for row in rows])
        rows = [row | {"key": key} for row, key in zip(rows, archs.keys, strict=True)]
    keys = [named_in_row(row, keyed, path) if free else (str(space), row["key"]) for row in rows]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    archs = Networks.of(architectures_of(list(place))) if free else parse_keys([key for _, key in place], space, path)
    values = pd.DataFrame({"arch": [place[key] for key in keys], "device": 0, "metric": metric})
    own = replace(UNKNOWN, name=device or names[0] or path.stem, batch=batch_of(batch, path))
    return Measurements(archs, [own], values.assign(value=[row["number"] for row in rows]), path.stem), stated or units


def parse_keys(keys: list[str], space: Space, where: object, keyed: str = "") -> Architectures:
    """Parse texts as architectures of a space; a very long text raises a short `InputError`. For the space of all
    networks, texts without a space are keys of the space `keyed`."""
    if isinstance(space, AnyNetwork):
        return Networks.of(read_architectures(keys, keyed))
    if long := next((key for key in keys if len(key) > 2000), None):
        raise InputError(f"{where} has the text {shortened(long, 60)}, which is no architecture of {space}.")
    return space.parse(keys)


def _only(texts: Any, name: str, metric: str, path: Path | str) -> str:
    """The only value of a column, '' where it is empty; units by their usual names."""
    found = list(dict.fromkeys(str(text) for text in texts))
    if len(found) > 1:
        raise InputError(
            f"{path} has several values of {name} for one device ({listed(found)}); adapt to one at a time."
        )
    return unit_of(found[0], metric, f"The column unit of {path}") if found and metric else "".join(found)


def _check_plausible(m: Measurements, predictor: Any, far: float) -> None:
    """Raise `InputError` where values are far from those of all known devices, or fall where theirs rise.

    Known devices with a larger batch are also scaled to the new device's, as if time were proportional to it.
    """
    from scipy.stats import spearmanr

    if not predictor.devices_:
        return
    archs, own = m.architectures[m.table["arch"].to_numpy()], m.table["value"].to_numpy(float)
    known = np.array([predictor.predict(archs, device) for device in predictor.devices_])
    known, expected = np.maximum(known, 1e-12), UNITS[predictor.metric]
    varied = len(own) >= 8 and np.ptp(own) > 0
    ranks = [float(np.nan_to_num(spearmanr(own, row).statistic)) for row in known if np.ptp(row) > 0 and varied]
    if expected == "ms" and max(ranks, default=0.0) < -0.5:
        raise InputError(
            f"The values of {m.name} fall where those of every known device rise: are they images per second? Say so "
            "with --unit fps, or --unit ms if they are milliseconds."
        )
    part = np.array([m.devices[0].batch / device.batch for device in predictor.devices_])
    times = np.median(own / known, axis=1)
    least, most = (times / np.minimum(part, 1)).min(), (times / np.maximum(part, 1)).max()
    if least > far or most < 1 / far:
        errors = {unit: abs(math.log(float(np.median(times)) * factor)) for unit, factor in FACTORS[expected].items()}
        likely = min((unit for unit in errors if not math.isnan(errors[unit])), key=lambda unit: errors[unit])
        ratio = f"{least:.3g} times" if least > far else f"1/{1 / most:.3g} of"
        question = f"are they in {likely}" if likely != expected else "are they of the same thing"
        raise InputError(
            f"The values of {m.name} are {ratio} what any known device takes: {question}? Say which unit they have, "
            f"--unit {likely if likely != expected else 's'}, or --unit {expected} if they are right."
        )
