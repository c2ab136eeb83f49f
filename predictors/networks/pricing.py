"""What networks cost, for `predict --network`: one in detail, or several, on several devices, batches and sizes."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.networks.sizes import MOST_CURVE, Sizes
from datasets.records import UNITS, Device, InputError, Networks, find_device

if TYPE_CHECKING:
    from datasets.networks.network import Network
    from predictors.networks.price import Price

JSON_FORMAT = 1
"""Version of the form of `--json`; it grows when a key is renamed or removed, not when one is added."""


@dataclass(frozen=True)
class Shown:
    """How prices of networks are shown.

    Attributes:
        images: number of images to run in batches, for the time of all of them; 0: none.
        sort: rows of a network's layers, or of a table: in order, or the costliest first.
        json: whether to print JSON.
    """

    images: int = 0
    sort: Literal["order", "cost"] = "order"
    json: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.images < 10**12:
            raise InputError(f"--images {self.images} must be a number of images, 1 or more.")


@dataclass(frozen=True)
class Wanted:
    """What to price.

    Attributes:
        names: of networks.
        devices: names of devices, separated by commas; '': all.
        batches: samples per run; None: the network's own.
        sizes: free sizes.
        level: probability of intervals; None: 0.9 where the predictor has intervals.
        out: picture to write.
    """

    names: tuple[str, ...]
    devices: str = ""
    batches: tuple[int | None, ...] = (None,)
    sizes: Sizes = Sizes()
    level: float | None = None
    out: Path | None = None

    @property
    def chance(self) -> float:
        """Probability of intervals."""
        return 0.9 if self.level is None else self.level


def batches_of(text: str | int | None) -> tuple[int | None, ...]:
    """Batches of a text such as 1,4,16; raises `InputError` for anything but whole numbers from 1 on."""
    if text is None:
        return (None,)
    parts = [part.strip() for part in str(text).split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) for part in parts):
        raise InputError(f"A batch has 1 or more images, as in 4 or 1,4,16, not --batch {text}.")
    if len(parts) > MOST_CURVE:
        raise InputError(f"--batch names {len(parts):,} batches; name at most {MOST_CURVE:,}.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def names_of(text: str) -> tuple[str, ...]:
    """Names of networks, each once; the command line joins several words by line breaks, and commas divide them too."""
    from datasets.networks.reading import is_file, split_names

    parts = [part for part in text.split("\n") if part.strip()]
    return tuple(dict.fromkeys(name for part in parts for name in ([part] if is_file(part) else split_names(part))))


def check_request(predictor: Any, file: str, wanted: Wanted) -> None:
    """Raise `InputError` where a predictor, fitted or not, has no such devices or predicts no networks."""
    _devices(predictor, wanted.devices)
    _check_networks(predictor, file)


def predict_networks(predictor: Any, file: str, wanted: Wanted, shown: Shown = Shown()) -> None:
    """Print what networks cost on devices.

    A network that cannot be priced does not keep the others from being printed: its sentence goes to stderr, and the
    exit status is 2 in the end.

    Args:
        predictor: of networks.
        file: its name, for messages.
        wanted: what to price.
        shown: how to show it.

    Raises:
        InputError: the only network that was named cannot be priced, or the request does not fit the predictor.
    """
    from predictors.base import Uncertain
    from predictors.networks.layer_sum import LayerSum
    from predictors.networks.price_report import comparison
    from predictors.unsupported import of_another_machine

    devices = _devices(predictor, wanted.devices)
    _check_networks(predictor, file)
    if wanted.level is not None and not isinstance(predictor, Uncertain):
        raise InputError(f"{file} has no intervals; leave --level out.")
    points = len(wanted.names) * len(wanted.batches) * len(devices) * len(list(wanted.sizes.each()))
    if wanted.out is not None and not isinstance(predictor, LayerSum):
        raise InputError(f"{file} is no sum of layers, so none can be drawn; omit --out.")
    if wanted.out is not None and points > 1:
        raise InputError(
            "--out draws the layers of one network on one device; name one --network, --device, --batch and --size, "
            "or omit --out."
        )
    rows, faults = list[dict[str, Any]](), list[tuple[str, str]]()
    for name in wanted.names:
        try:
            for network, sizes in _networks(name, wanted, not rows or points == 1):
                for place, device in enumerate(devices):
                    rows.append(_row(predictor, name, network, sizes, device, wanted, shown.images) | {"place": place})
        except InputError as error:
            if len(wanted.names) == 1 and not shown.json:
                raise
            faults.append((name, str(error)))
    rows.sort(key=lambda row: (wanted.names.index(row["network"]), row["place"]))
    _mark_best(rows)
    notes = of_another_machine(predictor, file, devices)
    if shown.json:
        print(json.dumps(_document(predictor, rows, faults, notes, wanted), indent=1, allow_nan=False))
    elif points == 1 and rows and not shown.images:
        _print_one(rows[0], wanted, shown)
    elif rows:
        print(comparison(rows, wanted.chance, shown.sort))
    for note in notes if rows and not shown.json else ():
        print(f"note: {note}", file=sys.stderr)
    for name, sentence in faults:
        print(f"error: {sentence if name in sentence else f'{name}: {sentence}'}", file=sys.stderr)
    if faults:
        sys.exit(2)


def _print_one(row: dict[str, Any], wanted: Wanted, shown: Shown) -> None:
    """Print the price of one network on one device: layer by layer, or in one line where the predictor knows none."""
    from datasets.figures import write_figure
    from predictors.metrics import plain
    from predictors.networks.price_report import details

    priced: Price | None = row["price"]
    if priced is None:
        interval = ""
        if row["low"] is not None:
            interval = f" ({100 * wanted.chance:g} % interval {plain(row['low'])} to {plain(row['high'])})"
        where = f"{row['key']} on {row['device'] or 'no device'}, batch {row['batch']}"
        print(f"{where}: {plain(row['value'])} {row['unit']}".rstrip() + interval)
        for note in row["notes"]:
            print(f"warning: {note}", file=sys.stderr)
        return
    if wanted.out is not None:
        from predictors.networks.price_figure import draw

        write_figure(draw(priced), wanted.out)  # before the text, whose reader may close the pipe
    print(details(priced, shown.sort))
    if wanted.out is not None:
        print(f"drawn: {wanted.out}")


def _devices(predictor: Any, names: str) -> list[Device | None]:
    """The named devices, or all of a predictor; None stands for that of a predictor of no device."""
    known = predictor.devices_
    if not names:
        return list(known) or [None]
    return [find_device(known, name) for name in dict.fromkeys(names.split(","))]


def _check_networks(predictor: Any, file: str) -> None:
    from datasets.networks.collection import AnyNetwork

    if not isinstance(predictor.space_, AnyNetwork):
        raise InputError(
            f"{file} predicts architectures of {predictor.space_}; name one with --arch, or a file that "
            "`python -m predictors layerwise --out FILE` wrote."
        )


def _networks(name: str, wanted: Wanted, notes: bool) -> Iterator[tuple[Network, dict[str, int]]]:
    """The network of a name in each of the sizes and batches, with its sizes if there are several."""
    from predictors.networks.price import read_network

    several = len(list(wanted.sizes.each())) > 1
    for sizes in wanted.sizes.each():
        for batch in wanted.batches:
            yield read_network(name, batch, sizes, notes=notes), sizes.sizes() if several else {}
            notes = False


def _row(
    predictor: Any,
    name: str,
    network: Network,
    sizes: dict[str, int],
    device: Device | None,
    wanted: Wanted,
    images: int,
) -> dict[str, Any]:
    """The price of a network on a device, for tables and JSON."""
    from datasets.networks.analysis import totals
    from predictors.networks.layer_sum import LayerSum
    from predictors.networks.price import peak_mb, price

    row: dict[str, Any] = {"network": name, "key": network.key, "device": device.name if device else None}
    row |= {"sizes": sizes, "metric": predictor.metric, "unit": UNITS.get(predictor.metric, "")}
    if isinstance(predictor, LayerSum):
        priced = price(predictor, network, device, wanted.chance)
        row |= {"price": priced, **priced.record(), "value": priced.latency_ms}
        batch_ms: float | None = priced.total_ms
    else:
        batch = network.batch or (device.batch if device else 1)
        row |= _whole(predictor, network, device, wanted) | {"price": None, "batch": batch}
        row |= {name: totals(network)[name] for name in ("macs", "params")} | {"peak_mb": peak_mb(network)}
        batch_ms = row["value"] if row["unit"] == "ms" else None
    if batch_ms is not None and batch_ms > 0 and (images or len(wanted.batches) > 1):
        row["images_per_s"] = 1000 * row["batch"] / batch_ms
    if batch_ms is not None and images:  # PerfNetRT, equation 2, whose last batch is a whole one
        batches = math.ceil(images / row["batch"])
        row |= {"images": images, "batches": batches, "images_ms": batches * batch_ms}
    return row


def _whole(predictor: Any, network: Network, device: Device | None, wanted: Wanted) -> dict[str, Any]:
    """The prediction for a network by a predictor that knows no layers."""
    from predictors.base import Uncertain
    from predictors.unsupported import unsupported

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
    `params`, `peak_mb` (10^6 bytes), `notes`; of sums of layers also `pre_ms`, `session_ms`, `post_ms`, `total_ms`,
    `init_ms`, `unknown` (ops without a model) and `layers`; with several batches `images_per_s` and `best`; with
    `--images` also `images`, `batches` and `images_ms`. `errors` has the networks that could not be priced.
    """
    left_out = ("price", "value", "metric", "unit", "place")
    return {
        "format": JSON_FORMAT,
        "metric": predictor.metric,
        "unit": UNITS.get(predictor.metric, ""),
        "level": wanted.chance,
        "prices": [{key: value for key, value in row.items() if key not in left_out} for row in rows],
        "notes": list(notes),
        "errors": [{"network": name, "error": sentence} for name, sentence in faults],
    }
