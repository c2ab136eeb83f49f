"""Prices of networks as text: one network layer by layer, or many side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from datasets.files.reading import shortened
from predictors.metrics import plain
from predictors.networks.price import Price, PricedLayer

Order = Literal["order", "cost"]
"""Rows in the network's order, or the costliest first."""

LONGEST_BLOCK = 500
"""Most layers of a block that `folded` finds."""


def details(priced: Price, sort: Order = "order", largest: int = 40) -> str:
    """A report of one network on one device.

    In the network's order, one line stands for a block of layers that is repeated; by cost, one line for all equal
    layers. Of more than `largest` lines those with the largest ms are shown.
    """
    text = [
        f"{printable(priced.network)} on {priced.device.name}, batch {priced.batch}: {plain(priced.latency_ms)} ms "
        f"({100 * priced.level:.10g} % interval {plain(priced.low)} to {plain(priced.high)})",
        f"{len(priced.pieces)} layers, session {priced.session:.2g} ms; with copies total_ms = "
        f"{plain(priced.total_ms)} (in {priced.pre:.4g}, out {priced.post:.4g})",
        f"{short(priced.macs)} MACs, {short(priced.params)} parameters; peak memory {priced.peak_mb:.4g} MB"
        + (
            "" if priced.init_ms is None else f", session created in {priced.init_ms:.3g} ms (on {priced.session_host})"
        ),
        *(f"warning: {sentence}" for sentence in priced.warnings),
        "",
        *layer_lines(priced.pieces, sort, largest),
    ]
    unknown = ", ".join(f"{count} x {kind}" for kind, count in priced.unknown.items())
    known = f"Unknown ops, priced by the bytes that they move: {unknown}" if unknown else "All ops are known."
    return "\n".join([*text, "", known])


def layer_lines(layers: Sequence[PricedLayer], sort: Order = "order", largest: int = 40) -> list[str]:
    """The table of a network's layers, and a line on those that are left out, as of `details`."""
    lines = folded(layers) if sort == "order" else alike(layers)
    shown = sorted(lines, key=lambda line: -line.ms)[:largest]
    shown = shown if sort == "cost" else [line for line in lines if line in shown][:largest]
    rows = [
        {
            "name": end_of(line.name),
            "layer": line.layer,
            "kind": line.kind,
            "ms": f"{line.ms:.4f}",
            "share": f"{100 * line.share:.1f} %",
            "flops": short(line.flops),
            "bytes": short(line.bytes),
            "bound": line.bound,
        }
        for line in shown
    ]
    text = [table(rows)]
    if rest := len(lines) - len(shown):
        others = sum(line.ms for line in lines) - sum(line.ms for line in shown)
        text.append(f"and {rest} others, {others:.4g} ms together")
    return text


def folded(layers: Sequence[PricedLayer]) -> list[PricedLayer]:
    """The layers in order, with one line per block that is repeated directly after itself, for example `12 x 14 layers:
    MatMul ... to add ...`; it has the sums of the block's times, operations and bytes."""
    numbers: dict[tuple[str, str], int] = {}
    kinds = np.array([numbers.setdefault((layer.layer, layer.kind), len(numbers)) for layer in layers])
    lines, at = list[PricedLayer](), 0
    while at < len(layers):
        length, times = _repeated(kinds[at:])
        if times > 1:
            lines.append(_sum(layers[at : at + length * times], length, times))
        else:
            lines.append(layers[at])
        at += length * times
    return lines


def _repeated(kinds: np.ndarray) -> tuple[int, int]:
    """Length and number of repeats of the block at the beginning that leaves out most layers; 1 and 1 if none is
    repeated."""
    best, times = 1, 1
    for length in range(1, min(len(kinds) // 2, LONGEST_BLOCK) + 1):
        if kinds[length] != kinds[0] or (kinds[:length] != kinds[length : 2 * length]).any():
            continue
        differs = np.flatnonzero(kinds[length:] != kinds[:-length])
        repeats = (int(differs[0]) if len(differs) else len(kinds) - length) // length + 1
        if (repeats - 1) * length > (times - 1) * best:
            best, times = length, repeats
    return best, times


def alike(layers: Sequence[PricedLayer]) -> list[PricedLayer]:
    """One line per kind and shape of layers, with the sums of their times, operations and bytes; the costliest
    first."""
    groups: dict[tuple[str, str], list[PricedLayer]] = {}
    for layer in layers:
        groups.setdefault((layer.layer, layer.kind), []).append(layer)
    lines = [_sum(group, 1, len(group)) if len(group) > 1 else group[0] for group in groups.values()]
    return sorted(lines, key=lambda line: -line.ms)


def _sum(layers: Sequence[PricedLayer], length: int, times: int) -> PricedLayer:
    """One line for layers that are `times` repeats of a block."""
    first, last = layers[0], layers[length - 1]
    ends = [line.layer.partition(" ")[0] for line in (first, last)]
    label = first.layer if length == 1 else f"{length} layers: {' ... '.join(ends)}"
    kinds, bounds = ({getattr(layer, name) for layer in layers} for name in ("kind", "bound"))
    name = f"{end_of(first.name, 20)} ... {end_of(layers[-1].name, 20)}" if first.name else ""
    return replace(
        first,
        name=name,
        layer=f"{times} x {label}",
        kind=kinds.pop() if len(kinds) == 1 else "several",
        bound=bounds.pop() if len(bounds) == 1 else "both",
        ms=sum(layer.ms for layer in layers),
        share=sum(layer.share for layer in layers),
        flops=sum(layer.flops for layer in layers),
        bytes=sum(layer.bytes for layer in layers),
    )


def comparison(rows: Sequence[Mapping[str, Any]], level: float, sort: Order = "order") -> str:
    """A table of prices (`commands.pricing` makes the rows), with their notes below."""
    lines, rows = [], sorted(rows, key=lambda row: row["value"]) if sort == "cost" else rows
    numbers, notes = footnotes([row["notes"] for row in rows])
    for row, own in zip(rows, numbers, strict=True):
        unit = row["unit"] or row["metric"]
        line = {"network": end_of(row["network"]), "device": row["device"] or "none"}
        line |= {name: str(value) for name, value in row["sizes"].items()} | {"batch": str(row["batch"])}
        line[unit] = plain(row["value"])
        if row["low"] is not None:
            line |= {f"{100 * level:.10g} % from": plain(row["low"]), "to": plain(row["high"])}
        if "images_per_s" in row:
            line["images/s"] = plain(row["images_per_s"])
        if "images_ms" in row:
            line |= {"batches": f"{row['batches']:,}", f"ms of {row['images']:,} images": plain(row["images_ms"])}
        if "best" in row:
            line["best"] = "*" if row["best"] else ""
        line |= {"MACs": short(row["macs"]), "params": short(row["params"]), "peak MB": plain(row["peak_mb"], 3)}
        if row.get("init_ms") is not None:
            line["init ms"] = plain(row["init_ms"], 3)
        lines.append(line | {"notes": own})
    return "\n".join([table(lines), *notes])


def footnotes(rows: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The notes of rows of a table: their numbers, for a column of it, and the lines below the table that say them."""
    notes: dict[str, int] = {}
    found = [sorted(notes.setdefault(note, len(notes) + 1) for note in row) for row in rows]
    return [", ".join(map(str, own)) for own in found], [
        f"{number}: {printable(note, 1500)}" for note, number in notes.items()
    ]


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of texts under their names, aligned to the right; columns that are empty in all rows are left out."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)]
    width = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in names}
    lines = [{name: name for name in names}, *rows]
    return "\n".join("  ".join(line.get(name, "").rjust(width[name]) for name in names).rstrip() for line in lines)


def short(value: float) -> str:
    """1.2 M, in powers of a thousand."""
    power = min(int(math.log10(value) // 3), 4) if value >= 1 else 0
    return f"{value / 1000**power:.3g} {['', 'k', 'M', 'G', 'T'][power]}".strip()


def printable(text: str, most: int = 60) -> str:
    """A name from a file in one line, without control characters."""
    return "".join(character if character.isprintable() else "?" for character in shortened(text, most))


def end_of(name: str, most: int = 44) -> str:
    """The end of a node's name, which differs from those of others, in at most `most` characters."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= most else f"...{name[3 - most :]}"
