"""Rows of journals: what they must hold, and which machine they come from."""

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

PHASES = ("init_ms", "pre_ms", "post_ms", "total_ms")
"""Beside `exe_ms`, which is what such a row is named by; phones report `init_ms` beside `latency_ms`."""

ENERGY = "energy_mj"

_POSITIVE = ("ratio", "raw_ms", "reference_ms")
_ABOUT = {"date": str, "host": dict, "protocol": dict, "versions": dict}
_KINDS: Mapping[type, str] = {str: "text", dict: "a mapping", list: "a list", bool: "true or false"}


def identity(row: Row) -> tuple[str, str, str | None, int, str]:
    """Space, key, device, repeat and metric: what a row is a measurement of."""
    return row["space"], row["key"], device_name(row), row["repeat"], row.get("metric", "latency_ms")


def device_name(row: Row) -> str | None:
    """Name of the device that a row is about; none of what belongs to none."""
    return row["device"] and row["device"]["name"]


def check_row(row: Any, where: str) -> Row:
    """A row of a journal, with the metric that old rows leave out.

    Every row has space, key, device (None: of none), and repeat. A failed one has the text `error`. One of no device
    has a finite `value`. All others have positive finite ratio, raw_ms and reference_ms, a deviation, four quantiles,
    and whether they are `stable`; phases and energy, where they were measured, are positive, too. A row of a file holds
    its `network` as JSON.

    Args:
        row: what stood in the journal.
        where: it begins the sentence of an `InputError`.

    Raises:
        InputError: the first field that is missing or not as above, or that `device_of` refuses.
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
    for name in ("energy", "phases"):
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
    for name, kind in _ABOUT.items():
        _typed(row, name, kind, where)
    if device is None:
        _number(row, "value", where)
        return row
    device_of(device, f"{where}: field 'device'")
    _typed(row, "stable", bool, where)
    for name in (*_POSITIVE, *(name for name in (*PHASES, ENERGY) if name in row)):
        _number(row, name, where, above=0)
    _number(row, "deviation", where)
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
    if ENERGY in row:
        _typed(row, "energy", dict, where)
        _number(row["energy"], "spread", f"{where}: field 'energy'")
    return row


@lru_cache(1000)  # repeats, and rows of other devices, hold it too
def _check_network(text: str) -> None:
    check_network(Network.from_json(text, key="of a row"))


def _typed(row: Row, name: str, kind: type, where: str) -> None:
    if name not in row:
        raise InputError(f"{where} has no field '{name}'; delete that line and measure it again.")
    if not isinstance(row[name], kind):
        raise InputError(f"{where}: field '{name}' must be {_KINDS[kind]}, not {shortened(repr(row[name]), 60)}.")


def _number(row: Row, name: str, where: str, above: float | None = None, whole: bool = False) -> None:
    """A finite number of 0 or more; more than `above`, where that is given."""
    if name not in row:
        raise InputError(f"{where} has no field '{name}'; delete that line and measure it again.")
    value = row[name]
    right = is_finite(value) and (value >= 0 if above is None else value > above)
    if not right or (whole and not isinstance(value, int)):
        kind = "a whole number of 0 or more" if whole else "0 or more" if above is None else "a positive number"
        raise InputError(f"{where}: field '{name}' must be {kind}, not {shortened(repr(value), 60)}.")


def sound(row: Row) -> Row:
    """A row that was just measured; a failed one in its place, where a journal would not take its numbers (a clock
    that read 0, a meter that reported NaN)."""
    try:
        return check_row(row, "the measurement")
    except InputError as error:
        fields = ("space", "key", "device", "repeat", "metric", "date", "host", "protocol", "versions", "ticket")
        return {**{name: row[name] for name in fields if name in row}, "error": f"Unusable: {error}"}


def distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows without those that stand there twice: a journal appended to itself holds no repeats."""
    seen = set()
    for row in rows:
        numbers = [row.get(name) for name in ("date", "ratio", "raw_ms", "value", "stable", "error")]
        if (known := (identity(row), repr(numbers))) not in seen:
            seen.add(known)
            yield row


class Machines:
    """Which machine and which configuration stands behind each device name of a journal.

    Two rows come from one machine unless a field that both record differs: architecture, system, processor, memory
    (`measure.host.machine`), GPU, phone. On which cores a process was pinned does not count.
    """

    def __init__(self, path: object) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}

    def add(self, row: Row) -> None:
        """Take a row in; failed ones and those of no device do not count.

        Raises:
            InputError: rows of this device name come from another machine, or describe the device otherwise.
        """
        if row["device"] is not None and "error" not in row:
            self.check(device_name(row) or "", machine_of(row) | _configuration(row["device"]))

    def check(self, device: str, machine: Mapping[str, Any]) -> None:
        """Whether rows of a machine may stand under this device name; from now on others may not.

        Raises:
            InputError: they may not.
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
_CONFIGURATION = ("kind", "runtime", "precision", "batch")


def machine_of(row: Row) -> dict[str, Any]:
    """What a measured row records of the machine that it ran on: of a phone, not of the computer beside it."""
    versions = row.get("versions", {})
    if phone := versions.get("device"):
        return {"phone": phone}
    host = row.get("host", {})
    gpu = {"gpu": versions["gpu"]} if "gpu" in versions else {}
    return {name: host[name] for name in _HOST if name in host} | gpu


def _configuration(device: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"runtime": "", "precision": "fp32", "batch": 1}
    return {name: device.get(name, defaults.get(name)) for name in _CONFIGURATION}
