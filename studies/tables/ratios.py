"""Ratios of times on one machine: of int8 to fp32, two threads to one and a runtime to onnxruntime, by family of
networks and kind of layers; and of networks in other sizes (batches, images, sequences) to the same in their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.files.table_file import read_table
from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.records import Networks

METRICS = ("latency_ms", "exe_ms")
DURATIONS = {"below 0.1 ms": (0.0, 0.1), "0.1 to 1 ms": (0.1, 1.0), "1 ms and more": (1.0, np.inf)}
"""Groups of layers by their time on the device that is compared with."""


def every_value(tables: Path) -> tuple[pd.DataFrame, dict[str, dict]]:
    """Times of one table, or of all tables of a folder, and their devices by name.

    Returns:
        Columns table, by (family of networks that have one, else space), group (the name of that family, or of that
        space), space, key, device, metric and value in ms; and the fields of each device.
    """
    frames, devices = [], dict[str, dict]()
    for path in [tables] if tables.is_file() else sorted(tables.glob("*.parquet")):
        table, meta = read_table(path)
        table = table[table["metric"].isin(METRICS) & table["device"].notna()]
        kind = table["space"].str.replace(r"\(.*", "", regex=True)
        named = "family" in table
        groups = {"by": "family" if named else "space", "group": table["family"] if named else kind}
        frames.append(table.assign(table=path.stem, **groups))
        devices |= {device["name"]: device for device in meta["devices"]}
    names = ["table", "by", "group", "space", "key", "device", "metric", "value"]
    return pd.concat([frame[names] for frame in frames]), devices


def ratios(values: pd.DataFrame, device: dict, base: dict) -> list[dict]:
    """Times on one device over those on another: of one table where it has both, since a table was measured at one
    speed of the machine; else of any two.

    Returns:
        One row per family or space that both measured, one of all families and of all spaces (`group` all), and one
        per group of `DURATIONS` of what is in spaces: number of cells, median ratio, tenth and ninetieth percentile,
        and the share above one.
    """
    columns = ["by", "group", "space", "key", "metric"]
    own, other = (values[values["device"] == each["name"]] for each in (device, base))
    shared = own["table"].isin(set(other["table"]))
    anywhere = other.groupby(columns, sort=False)["value"].median().reset_index()
    pairs = [own[shared].merge(other, on=["table", *columns]), own[~shared].merge(anywhere, on=columns)]
    both = pd.concat(pairs).groupby(columns, sort=False)[["value_x", "value_y"]].median()
    ratio = both["value_x"] / both["value_y"]
    about = {name: device[name] for name in ("runtime", "precision", "batch", "threads") if name in device}
    groups = {(by, "all"): found for by, found in ratio.groupby("by")}
    groups |= dict(list(ratio.groupby(["by", "group"])))
    layers = both[both.index.get_level_values("by") == "space"]["value_y"]
    for name, (least, most) in DURATIONS.items():
        if len(found := ratio[layers[(least <= layers) & (layers < most)].index]):
            groups["duration", name] = found
    return [
        {"device": device["name"], "base": base["name"], **about, "by": by, "group": group, "cells": len(found),
         "ratio": found.median(), "p10": found.quantile(0.1), "p90": found.quantile(0.9),
         "slower": float(np.mean(found > 1))}
        for (by, group), found in groups.items()
    ]  # fmt: skip


def by_precision(tables: Path) -> list[dict]:
    """int8 and bf16 over fp32 on the same machine, runtime, batch and number of threads."""
    return _against(tables, lambda name: re.sub("_(int8|bf16|fp16)_", "_fp32_", name))


def by_threads(tables: Path) -> list[dict]:
    """Several threads over one on the same machine, runtime, precision and batch; `speed_up` is one over `ratio`."""
    rows = _against(tables, lambda name: re.sub("_t[0-9]+$", "", name))
    return [{**row, "speed_up": 1 / row["ratio"]} for row in rows]


def _against(tables: Path, base: Callable[[str], str]) -> list[dict]:
    """Ratios of all devices whose names differ from those that `base` gives, to the devices of these names."""
    values, devices = every_value(tables)
    pairs = [(device, devices.get(base(name))) for name, device in devices.items() if base(name) != name]
    return [row for device, other in pairs if other for row in ratios(values, device, other)]


def by_runtime(table: Path) -> list[dict]:
    """The runtimes of a table over onnxruntime, by family of networks."""
    values, devices = every_value(table)
    (base,) = (device for device in devices.values() if device["runtime"] == "ort")
    return [row for device in devices.values() if device is not base for row in ratios(values, device, base)]


Price = Callable[[Networks, str], np.ndarray]
"""Predicts ms of networks on the device of a name."""


def by_size(table: Path, price: Price) -> list[dict]:
    """Times of networks in other sizes over those in their own, beside the same ratio of multiply-accumulates.

    Args:
        table: file whose column `name` has NETWORK__batch4, NETWORK__side160 or NETWORK__sequence64 beside NETWORK.
        price: predicts times of networks, each at its own batch, on the device of their own size.

    Returns:
        One row per runtime, kind of size and size: number of networks, median ratios of times and of
        multiply-accumulates, the median of their quotient with its tenth and ninetieth percentile (1 where time grows
        as work does), and the mean error of the ratio of predicted times.
    """
    values, meta = read_table(table)
    graphs = values.dropna(subset="network").drop_duplicates("key").set_index("key")["network"]  # once in a table
    networks = [Network.from_json(text) for text in graphs]
    macs = dict(zip(graphs.index, (float(totals(network)["macs"]) for network in networks), strict=True))
    values = values[values["metric"] == "latency_ms"].copy()
    values["runtime"] = values["device"].map({device["name"]: device["runtime"] for device in meta["devices"]})
    values["macs"] = values["key"].map(macs)
    values[["name", "size"]] = values["name"].str.split("__", expand=True).fillna("")
    for name in (values.loc[values["size"] == "", "device"]).unique():
        (runtime,) = values.loc[values["device"] == name, "runtime"].unique()
        ms = dict(zip(graphs.index, price(Networks(networks), name), strict=True))
        values.loc[values["runtime"] == runtime, "predicted"] = values["key"].map(ms)
    own = values[values["size"] == ""][["runtime", "name", "value", "macs", "predicted"]]
    both = values[values["size"] != ""].merge(own, on=["runtime", "name"], suffixes=("", "_own"))
    both[["what", "number"]] = both["size"].str.extract(r"([a-z]+)(\d+)")
    time, work, predicted = (both[name] / both[f"{name}_own"] for name in ("value", "macs", "predicted"))
    both = both.assign(time=time, work=work, quotient=time / work, error=(predicted / time - 1).abs())
    return [
        {"runtime": runtime, "what": what, "size": number, "networks": len(part), "time": part["time"].median(),
         "work": part["work"].median(), "quotient": part["quotient"].median(), "p10": part["quotient"].quantile(0.1),
         "p90": part["quotient"].quantile(0.9), "error": part["error"].mean()}
        for (runtime, what, number), part in
        both.astype({"number": int}).groupby(["runtime", "what", "number"], sort=True)
    ]  # fmt: skip
