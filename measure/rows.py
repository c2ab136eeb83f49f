"""Rows of journals: their required fields, and the machine that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from datasets.files.reading import shortened
from datasets.files.table_file import device_of, is_finite
from datasets.networks.analysis import check_network
from datasets.networks.network import Network
from datasets.records import InputError

Row = dict[str, Any]

PHASES = ("init_ms", "first_ms", "pre_ms", "post_ms", "total_ms")
"""Times of a row that are metrics of their own: creating a session and its first run, which all new rows have, and the
phases beside `exe_ms`, which is then the metric of the row."""

ENERGY = "energy_mj"
PEAK = "peak_mb"

_POSITIVE = ("ratio", "raw_ms", "reference_ms")
_PROVENANCE = {"date": str, "host": dict, "protocol": dict, "versions": dict}
_KINDS: Mapping[type, str] = {str: "text", dict: "a mapping", list: "a list", bool: "true or false"}


def identity(row: Row) -> tuple[str, str, str | None, int, str]:
    """Space, key, device, repeat and metric, which identify a row."""
    return row["space"], row["key"], device_name(row), row["repeat"], row.get("metric", "latency_ms")


def device_name(row: Row) -> str | None:
    """Name of a row's device; None for rows of no device."""
    return row["device"] and row["device"]["name"]


def is_timed(row: Row) -> bool:
    """Whether a row contains milliseconds: it did not fail, and has a device."""
    return "error" not in row and row["device"] is not None


def check_row(row: Any, where: str) -> Row:
    """Check a row of a journal, and add the metric that old rows leave out.

    Every row has space, key, device (None if it has no device) and repeat. Failed rows have the text `error`. Rows of
    no device have a finite `value`. All others have positive finite ratio, raw_ms and reference_ms, a deviation, four
    quantiles and the flag `stable`; measured phases, energies and peaks of memory are positive as well, and signs of
    other work (`measure.drift`) and percentiles of single runs are numbers where the row has them. Rows of files
    contain their `network` as JSON.

    Args:
        row: a parsed line of the journal.
        where: the file and line, which begin the sentence of an `InputError`.

    Raises:
        InputError: names the first field that is missing, malformed, or refused by `device_of`.
    """
    if not isinstance(row, dict) or not {"space", "key", "device"} <= row.keys():
        raise InputError(f"{where} is not a row of a journal; is it the right file?")
    row = {"metric": "latency_ms", **row}
    for name in ("space", "key", "metric"):
        _typed(row, name, str, where)
    _number(row, "repeat", where, whole=True)
    failed, device = "error" in row, row["device"]
    if device is not None and (not isinstance(device, dict) or not isinstance(device.get("name"), str)):
        raise InputError(f"{where}: field 'device' must be a description of a device or null.")
    if "ticket" in row and not re.fullmatch(r"\w+-\d{1,12}", str(row["ticket"])):
        raise InputError(f"{where}: field 'ticket' is damaged; delete that line and measure it again.")
    for name in ("energy", "memory", "phases"):
        if name in row:
            _typed(row, name, dict, where)
    if "network" in row:
        _typed(row, "network", str, where)
        try:
            _check_network(row["network"])
        except InputError as error:
            raise InputError(f"{where}: field 'network': {error}") from None
    if failed:
        _typed(row, "error", str, where)
        return row
    for name, kind in _PROVENANCE.items():
        _typed(row, name, kind, where)
    if device is None:
        _number(row, "value", where)
        return row
    device_of(device, f"{where}: field 'device'")
    _typed(row, "stable", bool, where)
    for name in (*_POSITIVE, *(name for name in (*PHASES, ENERGY, PEAK) if name in row)):
        _number(row, name, where, above=0)
    for name in ("deviation", *(name for name in ("interrupted", "load", "processors") if name in row)):
        _number(row, name, where)
    _typed(row, "quantiles", list, where)
    if len(row["quantiles"]) != 4:
        raise InputError(f"{where}: field 'quantiles' must hold four numbers, not {len(row['quantiles'])}.")
    for quantile in row["quantiles"]:
        _number({"quantiles": quantile}, "quantiles", where, above=0)
    for phase in row.get("phases", {}).values():
        if isinstance(phase, dict) and "ratio" in phase:
            _number(phase, "ratio", f"{where}: field 'phases'", above=0)
        elif not isinstance(phase, dict):
            raise InputError(f"{where}: field 'phases' must hold mappings, not {shortened(repr(phase), 60)}.")
    if "single_runs" in row:
        _typed(row, "single_runs", dict, where)
        for name in row["single_runs"]:
            _number(row["single_runs"], name, f"{where}: field 'single_runs'")
    if ENERGY in row:
        _typed(row, "energy", dict, where)
        _number(row["energy"], "spread", f"{where}: field 'energy'")
    return row


@lru_cache(1000)  # repeats and rows of other devices contain the same text
def _check_network(text: str) -> None:
    check_network(Network.from_json(text, key="of a row"))


def _typed(row: Row, name: str, kind: type, where: str) -> None:
    if name not in row:
        raise InputError(f"{where} has no field '{name}'; delete that line and measure it again.")
    if not isinstance(row[name], kind):
        raise InputError(f"{where}: field '{name}' must be {_KINDS[kind]}, not {shortened(repr(row[name]), 60)}.")


def _number(row: Row, name: str, where: str, above: float | None = None, whole: bool = False) -> None:
    """Check that a field is a finite number of 0 or more, or greater than `above` if that is given."""
    if name not in row:
        raise InputError(f"{where} has no field '{name}'; delete that line and measure it again.")
    value = row[name]
    right = is_finite(value) and (value >= 0 if above is None else value > above)
    if not right or (whole and not isinstance(value, int)):
        kind = "a whole number of 0 or more" if whole else "0 or more" if above is None else "a positive number"
        raise InputError(f"{where}: field '{name}' must be {kind}, not {shortened(repr(value), 60)}.")


def sound(row: Row) -> Row:
    """The measured row, or a failed row in its place if a journal would refuse its numbers.

    Examples are a clock that read 0 and a meter that reported NaN.
    """
    try:
        return check_row(row, "the measurement")
    except InputError as error:
        fields = ("space", "key", "device", "repeat", "metric", "date", "host", "protocol", "versions", "ticket")
        return {**{name: row[name] for name in fields if name in row}, "error": f"Unusable: {error}"}


def distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows without duplicates: a journal that was appended to itself contains no repeats."""
    seen = set()
    for row in rows:
        numbers = [row.get(name) for name in ("date", "ratio", "raw_ms", "value", "stable", "error")]
        if (known := (identity(row), repr(numbers))) not in seen:
            seen.add(known)
            yield row


class Machines:
    """The machine and the configuration of each device name of a journal.

    Two rows come from the same machine unless a field that both record differs: architecture, system, processor, memory
    (`measure.host.machine`), GPU or phone. The cores that a process was pinned to are not compared.
    """

    def __init__(self, path: object) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}

    def add(self, row: Row) -> None:
        """Add a row; failed rows and rows of no device are ignored.

        Raises:
            InputError: rows of this device name come from another machine, or describe the device otherwise.
        """
        if row["device"] is not None and "error" not in row:
            self.check(device_name(row) or "", machine_of(row) | _configuration(row["device"]))

    def check(self, device: str, machine: Mapping[str, Any]) -> None:
        """Check a machine against the device name, and bind the name to it.

        Raises:
            InputError: the name belongs to another machine or configuration.
        """
        known = self.known.setdefault(device, {})
        for name, value in machine.items():
            if known.setdefault(name, value) == value:
                continue
            if name in _CONFIGURATION:
                raise InputError(
                    f"{self.path} describes the device '{shortened(device, 60)}' with the {name} "
                    f"{shortened(value, 60)} and with {shortened(known[name], 60)}; correct one."
                )
            raise InputError(
                f"{self.path} holds rows of another machine under the device name '{shortened(device, 60)}': its "
                f"{name} is {shortened(known[name], 60)}, not {shortened(value, 60)}; keep a journal for each "
                "machine, and name each one with --host."
            )


_HOST = ("machine", "system", "cpu", "vendor", "family", "model", "stepping", "flags", "memory_gib")
_CONFIGURATION = ("kind", "runtime", "precision", "batch", "threads")


def machine_of(row: Row) -> dict[str, Any]:
    """The fields of a row that identify the machine that ran the network: for phones, the phone and not the host."""
    versions = row.get("versions", {})
    if phone := versions.get("device"):
        return {"phone": phone}
    host = row.get("host", {})
    gpu = {"gpu": versions["gpu"]} if "gpu" in versions else {}
    return {name: host[name] for name in _HOST if name in host} | gpu


def _configuration(device: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"runtime": "", "precision": "fp32", "batch": 1, "threads": 1}
    return {name: device.get(name, defaults.get(name)) for name in _CONFIGURATION}
