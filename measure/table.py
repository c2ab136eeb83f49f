"""From journals to tables: drift-corrected milliseconds, and how repeatable they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.records import InputError
from measure.campaign import Row


def to_table(rows: list[Row]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Columns of a measured table and what goes with it.

    A device's reference time is the median over all its rows; value = ratio x that time, so every cell is told as if
    it had run at the moment when the machine had its median speed. Failed and unstable rows are left out and counted;
    repeats become their median.

    Returns:
        The table (space, key, device, metric, value, p10, p25, p75, p90, raw_ms: all ms; spread: standard deviation
        of the ratios over their mean; repeats) and the metadata (devices, reference_ms, protocol, versions, hosts,
        left_out).
    """
    good = [row for row in rows if row.get("stable")]
    if not good:
        raise InputError(f"None of the {len(rows)} rows of the journal is a stable measurement; nothing to tabulate.")
    frame = pd.DataFrame(
        {
            **{name: [row[name] for row in good] for name in ("space", "key", "metric", "ratio", "raw_ms")},
            "device": [row["device"]["name"] for row in good],
            "reference_ms": [row["reference_ms"] for row in good],
            "spread": [row["deviation"] for row in good],
            "date": [row["date"] for row in good],
        }
    )
    anchor = frame.groupby("device")["reference_ms"].median()
    scale = frame["device"].map(anchor)
    frame["value"] = frame["ratio"] * scale
    quantiles = np.array([row["quantiles"] for row in good]) * scale.to_numpy()[:, None]
    frame[["p10", "p25", "p75", "p90"]] = quantiles
    columns = ["value", "spread", "p10", "p25", "p75", "p90", "raw_ms"]
    groups = frame.groupby(["space", "key", "device", "metric"], sort=False)
    table = groups[columns].median().join(groups.size().rename("repeats")).reset_index()
    meta = {
        "devices": list({row["device"]["name"]: row["device"] for row in good}.values()),
        "reference_ms": anchor.to_dict(),
        "protocol": _distinct(row["protocol"] for row in good),
        "versions": _distinct(row["versions"] for row in good),
        "hosts": _distinct(row["host"] for row in good),
        "dates": [min(frame["date"]), max(frame["date"])],
        "left_out": {
            "failed": sum("error" in row for row in rows),
            "unstable": sum("error" not in row and not row["stable"] for row in rows),
        },
    }
    return table, meta


def _distinct(items: Any) -> list[dict]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(item, sort_keys=True) for item in items)]


def write_table(table: pd.DataFrame, meta: dict[str, Any], path: Path) -> None:
    """Write Parquet with the metadata in the schema, under the key `gnomon`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = pa.Table.from_pandas(table, preserve_index=False)
    data = data.replace_schema_metadata({b"gnomon": json.dumps({"format": 1, **meta}).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data, path, compression="zstd")


def repeatability(rows: list[Row]) -> pd.DataFrame:
    """Coefficient of variation of the repeats' medians over cells, in percent, one row a device.

    Columns: cells, repeats, and the median and worst over cells for the corrected (ratio) and the raw milliseconds.
    """
    good = [row for row in rows if row.get("stable")]
    frame = pd.DataFrame(
        {
            "device": [row["device"]["name"] for row in good],
            "key": [row["key"] for row in good],
            "ratio": [row["ratio"] for row in good],
            "raw": [row["raw_ms"] for row in good],
        }
    )
    out = []
    for device, part in frame.groupby("device", sort=False):
        groups = part.groupby("key")
        counts = groups.size()
        enough = counts[counts > 1].index
        if enough.empty:
            raise InputError(f"No cell of {device} was measured twice; run the campaign with --repeats 3.")
        line: dict[str, Any] = {"device": device, "cells": len(enough), "repeats": int(counts[enough].min())}
        for name in ("ratio", "raw"):
            cv = 100 * (groups[name].std() / groups[name].mean())[enough]
            line |= {f"{name}_cv_median": cv.median(), f"{name}_cv_worst": cv.max()}
        out.append(line)
    return pd.DataFrame(out)
