"""The study of the bundled tables: `python -m studies.tables.study` writes runs/tables/summary.json, one row per
finding. Only the part `again` measures, and it continues where it was stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.figures import spearman
from datasets.files.reading import read_json
from datasets.files.table_file import read_table
from datasets.files.writing import write_text
from datasets.measured import Measured
from datasets.networks.network import of_key
from datasets.networks.parts import label
from datasets.records import InputError
from measure.campaign import read_journal
from measure.host import cpu_model
from measure.plan import read_plan
from measure.table import differences, repeatability, to_accuracies
from predictors.networks.operations import OPERATIONS
from predictors.networks.shipped import load
from predictors.networks.tabulated import Tabulated
from studies.parts import run_parts
from studies.study import ROOT
from studies.tables.kernels import kernels
from studies.tables.page import agrees
from studies.tables.ratios import by_precision, by_runtime, by_size, by_threads
from studies.tables.sums import sums

BUNDLED = ROOT / "datasets" / "bundled"
ACCURACY = BUNDLED / "accuracy.parquet"
PLANS = ROOT / "configs" / "campaigns"
UNCERTAIN = ("init_ms", "first_ms")
"""Metrics with one reading per row, so without a median; they are shown and not judged."""


def tables() -> list[Path]:
    return sorted(BUNDLED.glob("*.parquet"))


def counts(out: Path) -> list[dict]:
    """Number of architectures of each table, device, metric and space."""
    rows: list[dict] = []
    for path in tables():
        m = Measured(path).measurements()
        rows.append({"table": path.stem, "architectures": len(m.architectures), "devices": len(m.devices)})
        table, devices = read_table(path)[0].fillna({"device": ""}), {device.name: device for device in m.devices}
        for (device, metric, space), values in table.groupby(["device", "metric", "space"])["value"]:
            row = {"table": path.stem, "device": device, "metric": metric, "space": space, "values": len(values)}
            row |= {name: getattr(devices[str(device)], name) for name in ("runtime", "precision") if device}
            rows.append(row)
    return [*rows, *least_counts(rows)]


def least_counts(rows: list[dict]) -> list[dict]:
    """Least number of architectures with a stable time in fp32, of all tables of operations, on each runtime."""
    counted = {(row["table"], row["runtime"]): row["values"] for row in rows
               if row.get("metric") == "latency_ms" and row.get("precision") == "fp32"}  # fmt: skip
    return [{"table": "operations", "kinds": sum((kind, runtime) in counted for kind in OPERATIONS),
             "runtime": runtime, "least": min(counted.get((kind, runtime), 0) for kind in OPERATIONS)}
            for runtime in ("ort", "openvino")]  # fmt: skip


def describe(out: Path) -> list[dict]:
    """`python -m datasets describe bundled`: exit status, and number of figures."""
    command = [sys.executable, "-m", "datasets", "describe", "bundled", "--out", str(out / "figures")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    write_text(out / "describe.txt", done.stdout)
    print(done.stdout, done.stderr, file=sys.stderr)
    figures = len(list((out / "figures").rglob("*.png")))
    return [{"status": done.returncode, "tables": done.stdout.count("fingerprint"), "figures": figures}]


def repeatabilities(out: Path) -> list[dict]:
    """Coefficients of variation over each table's own repeats, in percent."""
    rows = []
    for path in tables():
        table, meta = read_table(path)
        runtimes = {device["name"]: device["runtime"] for device in meta["devices"]}
        if path != ACCURACY and (table["repeats"] > 1).any():
            found = repeatability(table).to_dict("records")
            rows += [{"table": path.stem, "runtime": runtimes[row["device"]], **row} for row in found]
    return rows


def ranks(out: Path) -> list[dict]:
    """Spearman's rank correlation of NAS-Bench-101's small skeleton with the full one, per device, over common
    cells."""
    small, full = (read_table(BUNDLED / f"{name}.parquet")[0] for name in ("nasbench101_small", "nasbench101"))
    merged = small.merge(full, on=["key", "device", "metric"], suffixes=("_small", "_full"))
    columns = ["value_small", "value_full"]
    return [
        {"device": device, "cells": len(pair), "spearman": spearman(pair[columns].to_numpy())[0, 1]}
        for device, pair in merged.groupby("device")
    ]


def layers(out: Path) -> list[dict]:
    """Latency in us of each layer of the look-up table, and, over the first 100 cells, the median ratio and the rank
    correlation of sums of layers to whole networks."""
    file = BUNDLED / "lookup" / "nasbench201.parquet"
    table, m = read_table(file)[0], Measured().measurements()
    table["layer"] = [label(of_key(key)) for key in table["key"]]
    rows = [
        {"layer": row.layer, "device": row.device, "us": 1000 * ms}
        for row, ms in zip(table.itertuples(), table["value"].astype(float), strict=True)
    ]
    cells = m.architectures[:100]
    for device, whole in zip(m.devices, m.matrix("latency_ms")[:100].T, strict=True):
        try:
            summed = Tabulated(file).on(device)(cells)
        except InputError as error:  # a layer could not be measured there
            print(error, file=sys.stderr)
            continue
        rho = spearman(np.column_stack([summed, whole]))[0, 1]
        rows.append({"device": device.name, "sum_over_whole": np.nanmedian(summed / whole), "spearman": rho})
    return rows


def accuracies(out: Path) -> list[dict]:
    """Accuracies of cells, and the rank correlation of two seeds."""
    table, meta = read_table(ACCURACY)
    seeds = meta["seed_spearman"]
    row = {"cells": len(table), "best": table["value"].nlargest(10).mean(), "worst": table["value"].min()}
    return [{**row, "seed_spearman": seeds["spearman"], "seed_cells": seeds["cells"], "sd": table["sd"].median()}]


def trained_again(out: Path, limit: int) -> dict:
    """The first cells of the table of accuracies trained anew with seed 0, compared with the table's values of that
    seed: they agree if the median difference is at most the median standard deviation between seeds."""
    file = out / "again" / ACCURACY.name
    command = [sys.executable, "-m", "measure", "accuracy", "--limit", limit, "--journal", file.with_suffix(".jsonl")]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    values, _ = to_accuracies(read_journal(file.with_suffix(".jsonl")))
    table, _ = read_table(ACCURACY)
    merged = table.merge(values, on="key", suffixes=("", "_again"))
    difference, stated = (merged["seed_0"] - merged["seed_0_again"]).abs(), table["sd"].median()
    found = {"cells": len(merged), "median": difference.median(), "worst": difference.max(), "stated": stated}
    agrees = float(difference.median() <= stated)
    return {"table": ACCURACY.stem, "metric": "accuracy_digits", **found, "agrees": agrees, "judged": True}


def again(out: Path, limit: int, core: int | None) -> list[dict]:
    """The first architectures of each table measured anew by the table's own command, compared with the table: a device
    and metric agree if the median difference is at most twice the table's coefficient of variation. Tables of another
    processor are not judged here: their `agrees` is NaN."""
    rows = [trained_again(out, limit)] if ACCURACY.is_file() else []
    for path in tables():
        if path == ACCURACY:
            continue
        table, meta = read_table(path)
        if (cpu := cpu_model()) not in (measured := {host["cpu"] for host in meta["hosts"]}):
            why = f"measured on {', '.join(sorted(measured))}; this is {cpu}"
            rows.append({"table": path.stem, "agrees": np.nan, "judged": True, "why": why})
            continue
        plan, file = PLANS / f"{path.stem}.yaml", out / "again" / path.name
        if not plan.is_file():
            why = "there is no plan of it: python -m studies.tables.networks measures it"
            rows.append({"table": path.stem, "agrees": np.nan, "judged": True, "why": why})
            continue
        host = meta["devices"][0]["name"].partition("_")[0]
        command = [sys.executable, "-m", "measure", "campaign", "--plan", plan, "--out", file, "--host", host]
        command += ["--journal", file.with_suffix(".jsonl"), "--limit", limit]
        pinned = core is not None and all(part.threads == 1 for part in read_plan(plan).parts)
        command += ["--core", core] if pinned else []
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found = differences(table, meta, *read_table(file))
        found["agrees"] = (found["median"] <= 2 * found["stated"]).astype(float)
        found["judged"] = ~found["metric"].isin(UNCERTAIN)
        rows += [{"table": path.stem, **row} for row in found.to_dict("records")]
    return rows


def sizes() -> list[dict]:
    """Public networks in other sizes, and what the pricer of the repository predicts of them."""
    pricer = load()
    devices = {device.name: device for device in pricer.devices_}
    return by_size(BUNDLED / "sizes_milan.parquet", lambda networks, name: pricer.predict(networks, devices[name]))


def train(out: Path) -> list[dict]:
    """Duration of `make train` where everything is installed."""
    start = time.monotonic()
    done = subprocess.run(["make", "train"], cwd=ROOT, stdout=subprocess.DEVNULL)
    return [{"status": done.returncode, "minutes": (time.monotonic() - start) / 60}]


def check(
    out: Path = Path("runs/tables"),
    part: str = "counts,describe,repeatability,layers,accuracy,ranks,precision,threads,runtimes,sizes,sums,kernels,"
    "page,again,train",
    limit: int = 20,
    core: int | None = None,
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of journals and of summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
        limit: number of architectures of each table that are measured again.
        core: processor core on which they are measured.
    """
    parts = {
        "counts": lambda: counts(out),
        "describe": lambda: describe(out),
        "repeatability": lambda: repeatabilities(out),
        "layers": lambda: layers(out),
        "accuracy": lambda: accuracies(out),
        "ranks": lambda: ranks(out),
        "precision": lambda: by_precision(BUNDLED),
        "threads": lambda: by_threads(BUNDLED),
        "runtimes": lambda: by_runtime(BUNDLED / "runtimes_milan.parquet"),
        "sizes": sizes,
        "sums": lambda: sums(BUNDLED),
        "kernels": kernels,
        "page": lambda: agrees(read_json(out / "summary.json", "run the other parts first")),
        "again": lambda: again(out, limit, core),
        "train": lambda: train(out),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.tables.study")
