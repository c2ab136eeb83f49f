"""Tables of `python -m measure table` with descriptions of their devices."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.architectures import InputError
from datasets.files.parquet_file import damaged, read_parquet
from datasets.files.reading import shortened
from datasets.records import Device

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("space", "key", "device", "metric")
"""Columns that identify the measured quantity of a row."""

_NUMBERS = ("repeats", "cv", "raw_cv", "spread", "sd", "raw_ms", "p10", "p25", "p75", "p90")
"""Columns of numbers that a table may lack."""

_HINT = "`python -m measure table --out FILE` writes one"


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table of `python -m measure table` and its metadata.

    Returns:
        The columns space, key, device (missing for rows without one), metric (texts), value (numbers), and other
        columns of texts and numbers; rows of one space, key, device and metric are merged by `merge_rows`. The
        metadata: `devices` (dictionaries of fields of `Device`) and others.

    Raises:
        InputError: the file is missing, no Parquet, too large, has no metadata, lacks a column, or a column, a value
            or a device is malformed.
    """
    table, meta = read_parquet(path, IDENTITY, ("value",), _HINT, others=True)
    _check_keys(table, path)
    if texts := [name for name in _NUMBERS if name in table and table[name].dtype.kind not in "iuf"]:
        raise InputError(f"{path}: column '{texts[0]}' must hold numbers; leave it out, or write the table again.")
    return merge_rows(table), _read_meta(meta, path)


def read_values(path: Path) -> tuple[pd.DataFrame, list[Device]]:
    """The columns space, key, device, metric and value of a table with or without metadata, and its devices ordered by
    name; devices without a description have a name only.

    Raises:
        InputError: the file is malformed as for `read_table`, or a value is not finite or not positive.
    """
    table, meta = read_parquet(path, IDENTITY, ("value",), _HINT)
    _check_keys(table, path)
    values = table["value"].to_numpy(float)
    if (bad := ~((values > 0) & (values < math.inf))).any():
        row = int(bad.argmax())
        raise InputError(
            f"{path}, row {row}: value {values[row]} of {shortened(table['key'].iloc[row], 60)} is not a positive "
            "number; leave that row out."
        )
    described = _read_meta(meta, path)["devices"] if b"gnomon" in meta else []
    known = {device["name"]: Device(**device) for device in described}
    names = sorted(table["device"].dropna().unique())
    return merge_rows(table), [known.get(name) or Device(name, name, "unknown") for name in names]


def _check_keys(table: pd.DataFrame, path: Path) -> None:
    for name in ("space", "key", "metric"):
        if (missing := table[name].isna()).any():
            raise InputError(
                f"{path}, row {int(missing.to_numpy().argmax())}: '{name}' is missing; leave that row out."
            )


def merge_rows(table: pd.DataFrame) -> pd.DataFrame:
    """One row per space, key, device and metric: duplicates are dropped, numbers of other rows become their median
    (`repeats`: their sum), and texts the first one."""
    if not table.duplicated(list(IDENTITY)).any():
        return table
    groups = table.drop_duplicates().groupby(list(IDENTITY), sort=False, dropna=False)
    merged, numbers = groups.first(), groups.median(numeric_only=True)
    merged[numbers.columns] = numbers
    if "repeats" in table:
        merged["repeats"] = groups["repeats"].sum()
    return merged.reset_index()[list(table.columns)]


def _read_meta(held: Mapping[bytes, bytes], path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(held[b"gnomon"])
    except (KeyError, ValueError, RecursionError) as error:
        raise damaged(path, error, _HINT) from None
    devices = meta.get("devices") if isinstance(meta, dict) else None
    if not isinstance(devices, list):
        raise damaged(path, ValueError("its metadata has no list of devices"), _HINT)
    names = [device_of(device, f"{path}, device {number}").name for number, device in enumerate(devices)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} describes the device {shortened(twice[0], 60)} twice; leave one description out.")
    if meta.get("reference_ms") is not None:
        check_numbers(meta["reference_ms"], "reference_ms", str(path), positive=True)
    return meta


def device_of(content: Any, where: str) -> Device:
    """The device that a dictionary of a table, a journal or a LETI file describes.

    Args:
        content: fields of `Device`.
        where: beginning of the sentence of an `InputError`.

    Raises:
        InputError: a field is missing, unknown or of another type, or the name ends with another batch than `batch`.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must be a description of a device, not {shortened(repr(content), 60)}.")
    known = {"name": str, "family": str, "kind": str, "runtime": str, "precision": str, "batch": int, "features": dict,
             "threads": int}  # fmt: skip
    if unknown := [name for name in content if name not in known]:
        raise InputError(f"{where} has an unknown field '{shortened(unknown[0], 60)}'; known are {', '.join(known)}.")
    for name, kind in known.items():
        value = content.get(name)
        if name not in content and name in ("name", "family", "kind"):
            raise InputError(f"{where} has no field '{name}'.")
        if name in content and (not isinstance(value, kind) or isinstance(value, bool)):
            raise InputError(f"{where}: field '{name}' must be a {_KINDS[kind]}, not {shortened(repr(value), 60)}.")
    check_numbers(content.get("features", {}), "features", where)
    device = Device(**content)
    if not device.name or device.batch < 1 or device.threads < 1:
        raise InputError(f"{where}: a device has a name, a batch of 1 or more and 1 or more threads.")
    setup = rf"{re.escape(device.runtime)}_{re.escape(device.precision)}"
    named = re.fullmatch(rf".*_{setup}_(\d{{1,9}})(?:_t(\d{{1,9}}))?", device.name)
    numbers = [int(number or 1) for number in named.groups()] if device.runtime and named else []
    for number, name in zip(numbers, ("batch", "threads"), strict=False):
        if number != (value := getattr(device, name)):
            raise InputError(
                f"{where}: '{shortened(device.name, 60)}' is of {name} {number} by its name and of {name} "
                f"{value} by its field '{name}'; correct one."
            )
    return device


_KINDS: Mapping[type, str] = {str: "text", int: "whole number", dict: "mapping"}


def check_numbers(content: Any, name: str, where: str, positive: bool = False) -> None:
    """Check that a field is a mapping of texts to finite numbers, optionally positive ones.

    Raises:
        InputError: it is none.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: field '{name}' must be a mapping of numbers, not {shortened(repr(content), 60)}.")
    for key, value in content.items():
        if not is_finite(value) or (positive and value <= 0):
            kind = "a positive number" if positive else "a finite number"
            raise InputError(f"{where}: '{shortened(key, 60)}' of '{name}' must be {kind}, not {shortened(value, 60)}.")


def is_finite(value: Any) -> bool:
    """Whether a value from JSON is a finite number within the range of floats, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
