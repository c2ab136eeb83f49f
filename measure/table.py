"""Tables of journals: drift-corrected milliseconds and accuracies, and their repeatability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.files.writing import whole_file
from datasets.records import InputError
from measure.drift import References, unreliable_devices, without_replaced
from measure.rows import ENERGY, PEAK, PHASES, Row, device_name, distinct, identity, is_timed


def to_table(rows: list[Row], unstable: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The columns and the metadata of a measured table.

    value = ratio x the device's reference time (`measure.drift`): the latency at the machine's median speed. Failed and
    unstable rows are left out (with `unstable`, unstable rows are used for cells without a stable one), and counted
    unless the cell was measured by another row; so are unreliable rows of cells that have reliable ones. Repeats become
    their median; duplicate rows count once. Phases of a row, the creation of its session and its first run are metrics
    of their own, without spread. So is the energy, uncorrected: net of rest measured beside it, in mJ, with the spread
    of its rounds; and the peak memory, in MB.

    Returns:
        The table (space, key, device, metric; value, p10, p25, p75, p90, raw_ms: ms; spread: standard deviation of the
        ratios over their mean; repeats; cv and raw_cv: coefficient of variation of value and raw_ms over repeats; where
        rows have single runs, single_count, single_median, single_p90, single_p99, single_p90_bound, single_p99_bound:
        their percentiles in raw ms by `measure.percentiles`, of repeats the median and the largest bound; where files
        were measured, network: the JSON form of the network, in the first row of each key)
        and the metadata (devices, reference_ms, unreliable: by device that has unreliable rows, a sentence on them,
        unstable: number of unstable rows in it, protocol, versions, hosts, dates, left_out).
    """
    rows = without_replaced(list(distinct(rows)))
    timed = [row for row in rows if is_timed(row)]
    stable = [row for row in timed if row.get("stable")]
    if unstable:
        known = {identity(row) for row in stable}
        stable += [row for row in timed if row.get("stable") is False and identity(row) not in known]
    if not stable:
        raise InputError(
            f"None of the {len(rows)} rows of the journal is a stable measurement: measure again with --retry true "
            "while the machine is quiet, or keep unstable ones with --unstable true."
        )
    measured = {identity(row) for row in stable}
    left = {identity(row): row for row in rows if identity(row) not in measured}.values()
    good = [part for row in stable for part in (row, *_phases(row), *_energy(row), *_peak(row))]
    frame = pd.DataFrame(
        {
            **{name: [row[name] for row in good] for name in ("space", "key", "metric", "ratio", "raw_ms")},
            "device": [row["device"]["name"] for row in good],
            "reference_ms": [row["reference_ms"] for row in good],
            "spread": [row["deviation"] for row in good],
            "date": [row["date"] for row in good],
        }
    )
    references = References(stable)
    anchor = {name: references.ms(name) for name in frame["device"].unique()}
    scale = frame["device"].map(anchor).where(~frame["metric"].isin([ENERGY, PEAK]), 1.0)
    frame["value"] = frame["ratio"] * scale
    quantiles = np.array([row["quantiles"] for row in good]) * scale.to_numpy()[:, None]
    frame[["p10", "p25", "p75", "p90"]] = quantiles
    columns, bounds = ["value", "spread", "p10", "p25", "p75", "p90", "raw_ms"], list[str]()
    if any("single_runs" in row for row in good):
        frame = frame.join(
            pd.DataFrame([row.get("single_runs", {}) for row in good], columns=SINGLE).add_prefix("single_")
        )
        columns += [f"single_{name}" for name in SINGLE if not name.endswith("bound")]
        bounds = [f"single_{name}" for name in SINGLE if name.endswith("bound")]
    groups = frame.groupby(["space", "key", "device", "metric"], sort=False)
    table = groups[columns].median()
    table[bounds] = groups[bounds].max()
    table["repeats"] = groups.size()
    table["cv"] = groups["value"].std() / groups["value"].mean()
    table["raw_cv"] = groups["raw_ms"].std() / groups["raw_ms"].mean()
    table = table.reset_index()
    if networks := {(row["space"], row["key"]): row["network"] for row in reversed(good) if "network" in row}:
        keys = pd.Series(zip(table["space"], table["key"], strict=True))
        table["network"] = keys.map(networks).where(~keys.duplicated())
    meta = {
        "devices": list({row["device"]["name"]: row["device"] for row in good}.values()),
        "reference_ms": anchor,
        "unreliable": unreliable_devices(stable),
        "unstable": sum(not row["stable"] for row in stable),
        "protocol": _distinct(row["protocol"] for row in good),
        "versions": _distinct(row["versions"] for row in good),
        "hosts": _distinct(row["host"] for row in good),
        "dates": [min(frame["date"]), max(frame["date"])],
        "left_out": {
            "failed": sum("error" in row for row in left),
            "unstable": sum("error" not in row for row in left),
        },
    }
    return table, meta


def quiet_rows(rows: list[Row], limit: float) -> list[Row]:
    """Rows that were measured while the machine was fast.

    Their reference took at most `limit` times its time in the fastest tenth of the device's rows. Of cells without such
    a row, the row with the fastest reference is kept. Other work on a shared machine slows networks and the reference
    differently, so that ratios of hours with and without it do not compare.
    """
    good = pd.DataFrame(
        [(device_name(row), row["space"], row["key"], row["metric"], row["reference_ms"]) for row in rows
         if is_timed(row)], columns=["device", "space", "key", "metric", "ms"])  # fmt: skip
    slow = good["ms"] / good.groupby("device")["ms"].transform(lambda ms: ms.quantile(0.1))
    least = slow.groupby([good[name] for name in ("device", "space", "key", "metric")]).transform("min")
    kept = iter((slow <= np.maximum(least, limit)).tolist())
    return [row for row in rows if not is_timed(row) or next(kept)]


SINGLE = ("count", "median", "p90", "p99", "p90_bound", "p99_bound")
UNKNOWN = {"deviation": np.nan, "quantiles": [np.nan] * 4, "single_runs": {}}


def _phases(row: Row) -> list[Row]:
    return [
        {**row, **UNKNOWN, "metric": name, "raw_ms": row[name],
         "ratio": row.get("phases", {}).get(name.removesuffix("_ms"), {}).get("ratio", row[name] / row["reference_ms"])}
        for name in PHASES if name in row
    ]  # fmt: skip


def _energy(row: Row) -> list[Row]:
    if ENERGY not in row:
        return []
    energy = {"metric": ENERGY, "ratio": row[ENERGY], "raw_ms": np.nan, "deviation": row["energy"]["spread"]}
    return [{**row, **UNKNOWN, **energy}]


def _peak(row: Row) -> list[Row]:
    return [{**row, **UNKNOWN, "metric": PEAK, "ratio": row[PEAK], "raw_ms": np.nan}] if PEAK in row else []


def to_accuracies(rows: list[Row]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The columns and the metadata of a table of accuracies, which have no device.

    Returns:
        The table (space, key, device: none, metric; value: percent, the mean over the seeds; repeats: number of seeds;
        sd: standard deviation over them; seed_0, seed_1, ...: accuracy per seed, missing if not trained) and the
        metadata (no devices; protocol, versions, hosts, dates, left_out; seed_spearman: see `seed_spearman`).
    """
    rows = list(distinct(rows))
    good = [row for row in rows if row["device"] is None and "error" not in row]
    if not good or any(row["device"] is not None for row in rows):
        raise InputError(
            f"The {len(rows)} rows of the journal are no accuracies, or not only; keep a journal for each."
        )
    frame = pd.DataFrame({name: [row[name] for row in good] for name in ("space", "key", "metric", "repeat", "value")})
    seeds = frame.pivot_table("value", ["space", "key", "metric"], "repeat", sort=False).sort_index(axis=1)
    seeds.columns = [f"seed_{seed}" for seed in seeds.columns]
    summary = {"value": seeds.mean(axis=1), "repeats": seeds.count(axis=1), "sd": seeds.std(axis=1)}
    table = pd.concat([pd.DataFrame(summary), seeds], axis=1).reset_index()
    table.insert(2, "device", pd.Series([None] * len(table), dtype=object))
    meta = {
        "devices": [],
        **{name: _distinct(row[name] for row in good) for name in ("protocol", "versions")},
        "hosts": _distinct(row["host"] for row in good),
        "dates": [min(row["date"] for row in good), max(row["date"] for row in good)],
        "left_out": {"failed": len(rows) - len(good), "unstable": 0},
        "seed_spearman": seed_spearman(table),
    }
    return table, meta


def seed_spearman(table: pd.DataFrame) -> dict[str, float]:
    """Rank correlation of accuracies between seeds 0 and 1, over the `cells` trained with both; empty below three."""
    if "seed_1" not in table or (common := table.dropna(subset=["seed_0", "seed_1"])).shape[0] < 3:
        return {}
    return {"spearman": common["seed_0"].rank().corr(common["seed_1"].rank()), "cells": len(common)}


def _distinct(items: Any) -> list[dict]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(item, sort_keys=True) for item in items)]


def write_table(table: pd.DataFrame, meta: dict[str, Any], path: Path) -> None:
    """Write Parquet with the metadata in the schema, under the key `gnomon`; values are stored in fp32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = table.astype({name: np.float32 for name, kind in table.dtypes.items() if kind == np.float64})
    data = pa.Table.from_pandas(table.astype({"repeats": np.int16}), preserve_index=False)
    data = data.replace_schema_metadata({b"gnomon": json.dumps({"format": 1, **meta}).encode()})
    with whole_file(path) as part:
        pq.write_table(data, part, compression="zstd", compression_level=19, write_page_checksum=True)


def differences(
    table: pd.DataFrame, meta: dict[str, Any], again: pd.DataFrame, again_meta: dict[str, Any]
) -> pd.DataFrame:
    """Differences between a table and a second measurement, one row per device and metric that both have.

    Values are compared as multiples of the reference's time in their own campaign, so that the machine's speed on
    either day cancels. Columns: cells; median and worst difference in percent of the table's; stated: the table's own
    repeatability (median coefficient of variation over its repeats, percent).
    """
    merged = table.merge(again, on=["space", "key", "device", "metric"], suffixes=("", "_again"))
    then, now = (merged["device"].map(data["reference_ms"]) for data in (meta, again_meta))
    ratio = (merged["value_again"] / now) / (merged["value"] / then)
    groups = (100 * (ratio - 1).abs()).groupby([merged["device"], merged["metric"]], sort=False)
    columns = {"cells": groups.size(), "median": groups.median(), "worst": groups.max()}
    stated = repeatability(table).set_index(["device", "metric"])["corrected_median"]
    return pd.DataFrame(columns).join(stated.rename("stated")).reset_index()


def repeatability(table: pd.DataFrame) -> pd.DataFrame:
    """Coefficient of variation of the medians of repeats, in percent, one row per device and metric.

    Columns: cells that were measured more than once, largest number of repeats, and the median and the worst over these
    cells, for drift-corrected and for raw milliseconds.
    """
    if any(name not in table or table[name].dtype.kind not in "iuf" for name in ("repeats", "cv", "raw_cv")):
        raise InputError(
            "This is no table of milliseconds; of accuracies, `python -m measure table` reports how seeds agree."
        )
    repeated = table[table["repeats"] > 1]
    if repeated.empty:
        raise InputError("No architecture was measured twice; run the campaign with --timing.repeats 3.")
    groups = repeated.groupby(["device", "metric"], sort=False)
    columns = {
        "cells": groups.size(),
        "repeats": groups["repeats"].max(),
        "corrected_median": 100 * groups["cv"].median(),
        "corrected_worst": 100 * groups["cv"].max(),
        "raw_median": 100 * groups["raw_cv"].median(),
        "raw_worst": 100 * groups["raw_cv"].max(),
    }
    return pd.DataFrame(columns).reset_index()
