"""Tables of docs/results/networks.md, made of rows of `python -m studies.perfnetrt.networks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/perfnetrt/summary.json")
DEVICES = {"milan_ort_fp32_1": "onnxruntime", "milan_litert_fp32_1": "LiteRT", "milan_openvino_fp32_1": "OpenVINO"}
"""Devices with many random networks, and their names on the page."""
COLUMNS = ("part", "device", "method", "set", "drawn", "labels", "chosen", "mape", "mape_sd", "mape_worst", "spearman")
"""Columns of the tables; others of the summary are not kept beside the page."""


def kept(rows: Rows) -> list[dict[str, Any]]:
    """What the tables need of a summary: errors of networks on `DEVICES`."""
    return [
        rounded(row, COLUMNS)
        for row in rows
        if row["part"] in ("networks", "partitions", "adapted") and "mape" in row and row["device"] in DEVICES
    ]


def network_errors(rows: Rows) -> str:
    """Errors of whole networks, over partitions and of the first twenty that correct."""
    found = []
    for device, name in DEVICES.items():
        ours, looked_up, roofline = (
            _one(rows, part="partitions", device=device, method=method, set="both", drawn=20)
            for method in ("layerwise", "look-up table", "roofline")
        )
        by_set = ", ".join(
            _percent(_one(rows, part="partitions", device=device, method="layerwise", set=one, drawn=20))
            for one in ("convnet", "zoo")
        )
        first = {
            method: _one(rows, part="networks", device=device, method=method, set="both")
            for method in ("layerwise", "look-up table", "roofline", "layerwise, as is")
        }
        both = ", ".join(
            _percent(_one(rows, part="networks", device=device, method="layerwise", set=one))
            for one in ("convnet", "zoo")
        )
        found.append((
            name, f"**{_spread(ours)}** ({by_set})", f"{100 * ours['mape_worst']:.1f} %",
            _spread(looked_up), _spread(roofline), f"{_percent(first['layerwise'])} ({both})",
            f"{first['layerwise']['spearman']:.3f}", *(_percent(row) for row in list(first.values())[1:]),
        ))  # fmt: skip
    header = (
        "runtime (fp32)", "error of ours: all (random, zoo)", "worst", "layers from a look-up table",
        "from a roofline", "first 20 correct: all (random, zoo)", "rank correlation", "look-up table", "roofline",
        "uncorrected",
    )  # fmt: skip
    return table(header, found)


def correcting_networks(rows: Rows) -> str:
    """Errors by the number of networks that correct."""
    numbers = (5, 10, 20, 31)
    found = []
    for device, name in DEVICES.items():
        about = {"part": "partitions", "device": device, "method": "layerwise", "set": "13 convnet"}
        cells = [_one(rows, **about, labels=number) for number in numbers] + [_one(rows, **about, chosen=20)]
        found.append((name, *map(_percent, cells)))
    header = ("networks that correct, 13 random tests", *map(str, numbers), "20 that the predictor chose of 31")
    return table(header, found)


def devices_left_out(rows: Rows) -> str:
    """Errors of devices whose layers are not learnt."""
    methods = {"unadapted": "unadapted", "adapted": "adapted from 20 networks",
               "fully trained": "its own layers and the same 20"}  # fmt: skip
    found = [
        (f"`milan`, {name}",
         *(_percent(_one(rows, part="adapted", device=device, method=m, set="both")) for m in methods))
        for device, name in DEVICES.items()
    ]  # fmt: skip
    return table(("held out", *methods.values()), found)


def _one(rows: Iterable[Mapping[str, Any]], **where: object) -> Mapping[str, Any]:
    (row,) = (row for row in rows if all(row.get(name) == value for name, value in where.items()))
    return row


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['mape']:.1f} %"


def _spread(row: Mapping[str, Any]) -> str:
    return f"{100 * row['mape']:.1f} ± {100 * row['mape_sd']:.1f} %"
