"""What networks cost, for `predict --network`: one in detail, or several, on several devices, batches and sizes."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.records import UNITS, Device, InputError, Networks
from predictors.base import Uncertain
from predictors.metrics import plain
from predictors.networks.layer_sum import LayerSum
from predictors.networks.piece_times import PieceTimes, piece_times
from predictors.networks.price import Price, price, read_noted
from predictors.networks.price_report import comparison, details, layer_lines, printable
from predictors.networks.price_request import Shown, Wanted, check_request
from predictors.networks.session import session_cost
from predictors.unsupported import doubts, of_another_machine, unsupported

JSON_FORMAT = 1
"""Version of the form of `--json`; it grows when a key is renamed or removed, not when one is added."""

MOST_ROWS = 10_000
"""Most prices of one command."""


def predict_networks(predictor: Any, file: str, wanted: Wanted, shown: Shown = Shown()) -> None:
    """Print what networks cost on devices.

    A network that cannot be priced does not keep the others from being printed: its sentence goes to stderr, and the
    exit status is 2 in the end.

    Args:
        predictor: predictor of networks.
        file: its name, for messages.
        wanted: what to price.
        shown: how to show it.

    Raises:
        InputError: the only network that was named cannot be priced, or the request does not fit the predictor.
    """
    devices = check_request(predictor, file, wanted)
    if wanted.level is not None and not isinstance(predictor, Uncertain):
        raise InputError(f"{file} has no intervals; leave --level out.")
    points = len(wanted.names) * len(wanted.batches) * len(devices) * len(list(wanted.sizes.each()))
    if points > MOST_ROWS:
        raise InputError(
            f"These are {points:,} prices; name fewer networks, devices, batches or sizes ({MOST_ROWS:,})."
        )
    if wanted.out is not None and not isinstance(predictor, LayerSum):
        raise InputError(f"{file} is no sum of layers, so none can be drawn; omit --out.")
    if wanted.out is not None and points > 1:
        raise InputError(
            "--out draws the layers of one network on one device; name one --network, --device, --batch and --size, "
            "or omit --out."
        )
    rows, faults = _rows(predictor, devices, wanted, shown.images)
    if not rows and not shown.json and len(wanted.names) == 1:
        raise InputError(faults[0][1])
    notes = [*of_another_machine(predictor, file, devices), *doubts(predictor)]
    if wanted.out is not None and rows:  # before the text, whose reader may close the pipe
        from datasets.figures import write_figure
        from predictors.networks.price_figure import draw

        write_figure(draw(rows[0]["price"]), wanted.out)
    if shown.json:
        print(json.dumps(_document(predictor, rows, faults, notes, wanted), indent=1, allow_nan=False))
    elif points == 1 and rows and not shown.images:
        _print_one(rows[0], wanted, shown)
    elif rows:
        print(comparison(rows, wanted.chance, shown.sort))
        if hosts := sorted({row["session_host"] for row in rows} - {""}):
            notes = [*notes, f"peak memory and creation of sessions are those of {', '.join(hosts)}."]
    for note in notes if rows and not shown.json else ():
        print(f"note: {note}", file=sys.stderr)
    for name, sentence in faults:
        print(f"error: {printable(sentence if name in sentence else f'{name}: {sentence}', 1500)}", file=sys.stderr)
    if faults:
        sys.exit(2)


def _rows(
    predictor: Any, devices: Sequence[Device | None], wanted: Wanted, images: int
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Prices of all networks in all sizes and batches on all devices, by network and device; and names of networks that
    cannot be priced, each with the reason."""
    rows, faults, choices = list[dict[str, Any]](), dict[tuple[str, str], None](), list(wanted.sizes.each())
    for name, sizes, batch in itertools.product(wanted.names, choices, wanted.batches):
        try:
            network, notes, file = read_noted(name, batch, sizes)
        except InputError as error:
            faults[name, str(error)] = None
            continue
        named = sizes.sizes() if len(choices) > 1 else {}
        for place, device in enumerate(devices):
            try:
                row = _row(predictor, name, network, device, wanted, images, file)
            except InputError as error:
                faults[name, str(error)] = None
            else:
                row |= {"sizes": named, "assumed": notes, "notes": [*notes, *row["notes"]]}
                rows.append(row | {"place": (wanted.names.index(name), place)})
    rows.sort(key=lambda row: row["place"])
    _mark_best(rows)
    return rows, list(faults)


def _print_one(row: dict[str, Any], wanted: Wanted, shown: Shown) -> None:
    """Print the price of one network on one device, layer by layer where the predictor knows layers."""
    for note in row["assumed"]:
        print(f"note: {note}", file=sys.stderr)
    priced: Price | None = row["price"]
    if priced is None:
        interval = ""
        if row["low"] is not None:
            interval = f" ({100 * wanted.chance:.10g} % interval {plain(row['low'])} to {plain(row['high'])})"
        where = f"{row['key']} on {row['device'] or 'no device'}, batch {row['batch']}"
        print(f"{where}: {plain(row['value'])} {row['unit']}".rstrip() + interval)
        for note in row["notes"][len(row["assumed"]) :]:
            print(f"warning: {note}", file=sys.stderr)
        times: PieceTimes | None = row["pieces"]
        if times is not None:
            print(f"{len(times.layers)} layers, session {times.session_ms:.2g} ms\n")
            print("\n".join(layer_lines(times.layers, shown.sort)))
        return
    print(details(priced, shown.sort))
    if wanted.out is not None:
        print(f"drawn: {wanted.out}")


def _row(
    predictor: Any,
    name: str,
    network: Network,
    device: Device | None,
    wanted: Wanted,
    images: int,
    file: Path | None,
) -> dict[str, Any]:
    """The price of a network on a device, for tables and JSON."""
    row: dict[str, Any] = {"network": name, "key": network.key, "device": device.name if device else None}
    row |= {"metric": predictor.metric, "unit": UNITS.get(predictor.metric, "")}
    if isinstance(predictor, LayerSum) and predictor.metric == "latency_ms":
        priced = price(predictor, network, device, wanted.chance, file)
        row |= {"price": priced, **priced.record(), "value": priced.latency_ms}
        batch_ms: float | None = priced.total_ms
    else:
        batch = network.batch or (device.batch if device else 1)
        row |= _whole(predictor, network, device, wanted) | {"price": None, "pieces": None, "batch": batch}
        creation = session_cost(network, device, file)
        row |= {name: totals(network)[name] for name in ("macs", "params")}
        row |= {"peak_mb": creation.peak_mb, "init_ms": creation.init_ms, "session_host": creation.host}
        row["notes"] = [*row["notes"], *creation.notes]
        batch_ms = row["value"] if row["unit"] == "ms" else None
        if times := piece_times(predictor, network, device, row["value"]):
            row |= {"pieces": times, "session_ms": times.session_ms, "layers": [asdict(own) for own in times.layers]}
    if batch_ms is not None and batch_ms > 0 and (images or len(wanted.batches) > 1):
        row["images_per_s"] = 1000 * row["batch"] / batch_ms
    if batch_ms is not None and images:  # PerfNetRT, equation 2, whose last batch is a whole one
        batches = math.ceil(images / row["batch"])
        row |= {"images": images, "batches": batches, "images_ms": batches * batch_ms}
    return row


def _whole(predictor: Any, network: Network, device: Device | None, wanted: Wanted) -> dict[str, Any]:
    """The prediction for a network as a whole."""
    found = Networks([network])
    (value,) = values = predictor.predict(found, device)
    notes = unsupported(predictor, values, UNITS.get(predictor.metric, ""))
    low = high = None
    if isinstance(predictor, Uncertain):
        low, high = (float(end[0]) for end in predictor.belief(found, device).interval(wanted.chance))
    return {predictor.metric: float(value), "value": float(value), "low": low, "high": high, "notes": notes}


def _mark_best(rows: Sequence[dict[str, Any]]) -> None:
    """Mark the batch with most images per second, or with the least time for all images, among several batches of one
    network on one device."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if "images_per_s" in row:
            groups.setdefault((row["network"], row["device"], *row["sizes"].items()), []).append(row)
    for group in groups.values():
        best = min(group, key=lambda row: row.get("images_ms", -row["images_per_s"]))
        for row in group if len(group) > 1 else ():
            row["best"] = row is best


def _document(
    predictor: Any,
    rows: Sequence[dict[str, Any]],
    faults: Sequence[tuple[str, str]],
    notes: Sequence[str],
    wanted: Wanted,
) -> dict[str, Any]:
    """The content of `--json`.

    `prices` has one object per network, size, batch and device: `network` (as named), `key`, `device`, `sizes`,
    `batch`, the predicted metric (`latency_ms`) with `low` and `high` (null for predictors without intervals), `macs`,
    `params`, `peak_mb` (10^6 bytes), `init_ms` (null where it is unknown), `session_host` (where coefficients of these
    two were measured), `notes`; of sums of layers and of graph networks also `session_ms` and `layers`, of the former
    `pre_ms`, `post_ms`, `total_ms` and `unknown` (ops without a model); with several batches `images_per_s` and `best`;
    with `--images` also `images`, `batches` and `images_ms`. `errors` has the networks that could not be priced.
    """
    left_out = ("price", "pieces", "value", "metric", "unit", "place", "assumed")
    return {
        "format": JSON_FORMAT,
        "metric": predictor.metric,
        "unit": UNITS.get(predictor.metric, ""),
        "level": wanted.chance,
        "prices": [{key: _finite(value) for key, value in row.items() if key not in left_out} for row in rows],
        "notes": list(notes),
        "errors": [{"network": name, "error": sentence} for name, sentence in faults],
    }


def _finite(value: Any) -> Any:
    """The value; None for a number that is infinite, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
