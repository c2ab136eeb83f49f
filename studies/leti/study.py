"""LETI's study beside its sweeps (studies/leti/sweep.yaml and leti_gcn.yaml): `python -m studies.leti.study` writes
runs/leti_check/summary.json, one row a finding, its figures and study.html.

The parts `table1` and `live` measure, and go on where they stopped; all others read bundled tables and finished runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.cli import main
from datasets.figures import spearman
from datasets.files.writing import write_text
from datasets.measured import Measured
from datasets.records import Architectures, InputError, Measurements, Networks
from datasets.spaces import parse_space
from measure.blackbox import Live, Objective, draw, minimise, parameters
from measure.lookup import label
from predictors.networks.tabulated import Tabulated, layers_of
from studies.measure.study import lookup
from studies.parts import run_parts
from studies.study import ROOT

BUNDLED = ROOT / "datasets" / "bundled"
LETIS = ("flops", "better_flops", "xgboost_flat")
"""LETI's three predictors; the others are ours."""
TOLERANCES = ("within_1", "within_5", "within_10")
SEARCHES = {"nevergrad": minimise, "random": draw}


# Table 2: accuracy at a tolerance


def scores(runs: Path) -> pd.DataFrame:
    """Rows of all runs of the study, validation and test."""
    from predictors.compare import read_runs

    return pd.DataFrame([row for rows in read_runs(runs).values() for row in rows if row["cells"] == "all"])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def tolerance(runs: Path) -> list[dict]:
    """Shares within +-1, 5 and 10 % on the test cells, a device and over all: means and standard deviations over seeds.
    Then how far ours (whichever leads by validation) is ahead of the best of LETI's three (by the test itself)."""
    from predictors.compare import ranking

    table = scores(runs)
    tests = table[table["set"] == "test"].astype(dict.fromkeys(TOLERANCES, float))
    by = ["predictor", "shots", "seed", "device"]
    shares = tests.groupby(by)[list(TOLERANCES)].mean().reset_index()
    whole = shares.groupby(by[:-1])[list(TOLERANCES)].mean().reset_index().assign(device="all")
    shares = pd.concat([whole, shares], ignore_index=True)
    means: dict[tuple[str, int, str], pd.Series] = {}
    rows: list[dict] = []
    for (device, _, name), part in shares.groupby(["device", "shots", "predictor"]):
        shots = int(part["shots"].iloc[0])
        told = {"what": "share", "device": device, "shots": shots, "predictor": name, "seeds": len(part)}
        mean, sd = part[list(TOLERANCES)].mean(), part[list(TOLERANCES)].std().add_prefix("sd_")
        rows.append({**told, **mean, **sd})
        means[str(device), shots, str(name)] = mean
    for device, shots in sorted({key[:2] for key in means}):
        here = {name: mean for (d, n, name), mean in means.items() if (d, n) == (device, shots)}
        leaders = ranking(_rows(table[table["shots"] == shots]))["predictor"]
        best = next(name for name in leaders if name not in LETIS)
        row = {"what": "margin", "device": device, "shots": shots, "predictor": best}
        for t in TOLERANCES:
            row[f"margin_{t}"] = here[best][t] - max(here[name][t] for name in LETIS if name in here)
        rows.append(row)
    return rows


# Table 1: look-up tables


def bundled_sums(cells: int) -> list[dict]:
    """Bundled cells as sums of their layers: ratio of the sum to the whole, and how alike both rank. Then why: by how
    much each kind of layer must be multiplied for the sums to fit the whole best (1: it takes as long as alone)."""
    from scipy.optimize import nnls

    path, m = BUNDLED / "lookup" / "nasbench201.parquet", Measured().measurements()
    few, rows = m.architectures[:cells], []
    layers = [layers_of(network) for network in Networks.of(few)]
    prices = Tabulated(path)
    flops = few.space.totals(few)["flops"].to_numpy(float)
    for device, whole in zip(m.devices, m.matrix("latency_ms")[:cells].T, strict=True):
        if device.name not in {name for name, *_ in prices.exact}:
            continue
        ms = [{one.key: prices.exact.get((device.name, "latency_ms", one.key)) for one in part} for part in layers]
        parts = list(zip(layers, ms, strict=True))
        missing = sorted({label(one) for part, by in parts for one in part if by[one.key] is None})
        kinds = sorted({kind(label(one)) for part in layers for one in part})
        summed = np.zeros((len(few), len(kinds)))
        for row, (part, by) in enumerate(parts):
            for one in part:
                summed[row, kinds.index(kind(label(one)))] += by[one.key] or 0.0
        known = np.isfinite(whole)
        ratio = summed.sum(1)[known] / whole[known]
        rank = spearman(np.column_stack([summed.sum(1), flops, whole]))[2]
        about = {"device": device.name, "cells": int(known.sum())}
        rows.append(
            {"what": "sum", **about, "median_ratio": float(np.median(ratio)), "p10": float(np.percentile(ratio, 10)),
             "p90": float(np.percentile(ratio, 90)), "within_10": float((abs(ratio - 1) <= 0.1).mean()),
             "spearman": float(rank[0]), "flops_spearman": float(rank[1]), "not_in_table": ", ".join(missing)}
        )  # fmt: skip
        factors, _ = nnls(summed[known] / whole[known, None], np.ones(known.sum()))
        left = abs(summed[known] @ factors / whole[known] - 1)
        shares = summed.sum(0) / summed.sum()
        for name, factor, share in zip(kinds, factors, shares, strict=True):
            told = {"layer": name, "factor": float(factor), "share_of_sum": float(share)}
            rows.append({"what": "factor", **about, **told, "median_error": float(np.median(left))})
    return rows


def kind(name: str) -> str:
    """What sort of layer of a NAS-Bench-201 network a label names; what no cell decides is of the skeleton."""
    ops, _, window = name.partition(" ")
    sorts = {"conv 3/1": "conv 3x3", "conv 1/1": "conv 1x1", "avg_pool 3/1": "avg_pool", "add": "add", "relu": "relu"}
    first = ops.partition("+")[0]
    return sorts.get(first, sorts.get(f"{first} {window.partition(' ')[0]}", "skeleton"))


# Nevergrad


def optimise(evaluations: int, seeds: int, percentile: float = 50) -> list[dict]:
    """Nevergrad against random search for the most accurate cell within a latency budget, on the bundled tables: an
    architecture that was not measured stands for the measured one that differs in the fewest decisions."""
    accuracy, latency = (Measured(BUNDLED / f"{name}.parquet").measurements() for name in ("accuracy", "nasbench201"))
    cells, quality = accuracy.architectures, accuracy.matrix("accuracy_digits")[:, 0]
    ms = Measured().on(latency.devices[0])(cells)
    budget = float(np.percentile(ms, percentile))

    def nearest(archs: Architectures) -> np.ndarray:
        return (cells.decisions[None] != archs.decisions[:, None]).sum(axis=2).argmin(axis=1)

    def within(archs: Architectures) -> np.ndarray:
        return ms[nearest(archs)]

    rows: list[dict[str, Any]] = []
    for name, search in SEARCHES.items():
        found = np.empty((seeds, evaluations))
        for seed in range(seeds):
            told: list[float] = []
            objective = Objective(cells.space, within, budget, quality=lambda archs: quality[nearest(archs)])
            search(objective, evaluations, seed, told.append)
            found[seed] = -np.minimum.accumulate(told)
        for spent in sorted({evaluations // 8, evaluations // 4, evaluations // 2, evaluations} - {0}):
            best = found[:, spent - 1]
            rows.append(
                {"search": name, "evaluations": spent, "seeds": seeds, "device": latency.devices[0].name,
                 "budget_ms": budget, "median": float(np.median(best)), "worst": float(best.min()),
                 "best_there_is": float(quality[ms <= budget].max())}
            )  # fmt: skip
    ahead = {row["evaluations"]: row["median"] for row in rows if row["search"] == "random"}
    for row in rows:
        row["points_ahead_of_random"] = row["median"] - ahead[row["evaluations"]]
    return rows


def live(out: Path, space: str, budget_ms: float, evaluations: int) -> list[dict]:
    """Both searches once on this machine, live, for the most parameters within a budget."""
    from measure.backends import parse_backend
    from measure.bench import Worker
    from measure.campaign import Journal

    where, rows = parse_space(space), []
    for name, search in SEARCHES.items():
        with Worker(600) as bench:
            cost = Live(where, parse_backend("ort", "host"), Journal(out / f"live_{name}.jsonl"), bench)
            objective = Objective(where, cost, budget_ms)
            search(objective, evaluations, 0)
            if (best := objective.best()) is None:
                raise InputError(f"No cell of {evaluations} keeps {budget_ms} ms; say --budget-ms.")
            cell = where.parse([best])
            rows.append(
                {"search": name, "budget_ms": budget_ms, "evaluations": evaluations, "cells": len(objective.evaluated),
                 "best": best, "ms": float(cost(cell)[0]), "parameters": float(parameters(cell)[0])}
            )  # fmt: skip
    return rows


# Scoring the whole space


def score(runs: Path, out: Path, sizes: tuple[int, ...] = (10_000, 100_000, 423_624)) -> list[dict]:
    """`python -m predictors score` with the exported GCN in processes of their own: seconds, cells a second and peak
    memory, start-up, texts and writing included."""
    exported = sorted(file for file in runs.glob("gcn-*/predictor.onnx"))
    if not exported:
        raise InputError(f"There is no GCN in {runs}; run train.py --sweep studies/leti/sweep_gcn.yaml.")
    rows = []
    for cells in sizes:
        command = [sys.executable, "-m", "predictors", "score", exported[0], out / "scores.parquet", "--limit", cells]
        start = time.monotonic()
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise InputError(f"Scoring ended with status {process.returncode}.")
        seconds = used.ru_utime + used.ru_stime
        row = {"cells": cells, "cpu_s": seconds, "wall_s": time.monotonic() - start, "cells_per_cpu_s": cells / seconds}
        rows.append(row | {"peak_mib": used.ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)})
    for row in rows:
        row["peak_over_first"] = row["peak_mib"] / rows[0]["peak_mib"]
    (out / "scores.parquet").unlink()
    return rows


# The report


def predictions(runs: Path, shots: int, seed: int, device: str) -> Iterator[pd.DataFrame]:
    """What every predictor of the study said of the test cells in one draw, on one device."""
    from predictors.compare import read_runs

    for run, rows in read_runs(runs).items():
        if (rows[0]["shots"], rows[0]["seed"]) == (shots, seed):
            table = pd.read_parquet(run / "predictions.parquet").query("set == 'test'")
            yield table[table["device"] == device].assign(predictor=rows[0]["predictor"])


def report(runs: Path, out: Path, shots: int = 100) -> list[dict]:
    """study.html, and its figures as PNG files."""
    import json

    from datasets.figures import distributions
    from predictors.figures import learning_curves, scatter
    from predictors.linear import BetterFlops
    from predictors.report import Section, page
    from studies.leti.figures import over_total, trade_off

    small: Measurements = Measured(BUNDLED / "nasbench101_small.parquet").measurements()
    accuracy, cells = (Measured(BUNDLED / f"{name}.parquet").measurements() for name in ("accuracy", "nasbench201"))
    fitted = BetterFlops().fit(small)
    thresholds = {d.name: 1e6 * float(t) for d, t in zip(small.devices, fitted.thresholds_, strict=True)}
    table = scores(runs)
    tests = table[table["set"] == "test"]
    order = [*LETIS, *sorted(set(tests["predictor"]) - set(LETIS))]
    tests = tests.set_index("predictor").loc[order].reset_index()
    figures = {"latency_distribution": ("Latencies (LETI, Figures 3 and 5)", distributions(small, "latency_ms"))}
    figures["latency_over_flops"] = ("Latency over FLOPs (Figures 4 and 6)", over_total(small, "flops"))
    title = "Latency over peak memory, cut where Better FLOPs cuts when it sees all cells (Figure 13)"
    figures["latency_over_memory"] = (title, over_total(small, "peak_bytes", thresholds=thresholds))
    for device in (cells.devices[0].name, "xeon_litert_int8_1"):
        title = f"Accuracy over latency, the front and its best cells, {device} (Figures 7 to 9)"
        figures[f"trade_off_{device}"] = (title, trade_off(cells, device, accuracy, "accuracy_digits"))
    for device in (one.name for one in small.devices):
        by = {part["predictor"].iloc[0]: part for part in predictions(runs, shots, 0, device)}
        drawn = pd.concat([by[name] for name in order if name in by])
        title = f"Measured against predicted, {shots} labels, {device} (Figures 10 to 12)"
        figures[f"predicted_{device}"] = (title, scatter(drawn, "ms", "predictor"))
    figures["learning_curves"] = ("Learning curves, test cells, means over devices", learning_curves(tests))
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, (_, figure) in figures.items():
        figure.savefig(out / "figures" / f"{name}.png", dpi=130, bbox_inches="tight")
    found = pd.DataFrame(json.loads((out / "summary.json").read_text()))
    titles = {
        "tolerance": "Accuracy at a tolerance (Table 2), then how far our best is ahead of LETI's",
        "table1": "Networks as sums of their layers (Table 1)",
        "bundled_sums": "Cells as sums of their layers, and by what kinds of layers differ in and out of a network",
        "optimise": "Nevergrad against random search on bundled tables",
        "live": "Nevergrad against random search, live",
        "score": "Scoring NAS-Bench-101 with the exported GCN",
    }
    sections: list[Section] = []
    for part, title in titles.items():
        if part in set(found["part"]):
            rows = found[found["part"] == part].fillna({"what": ""})
            for what in rows["what"].unique():
                shown = rows[rows["what"] == what].dropna(axis=1, how="all").drop(columns=["part", "what"])
                sections.append((f"{title}{what and f': {what}'}", shown))
    sections += list(figures.values())
    write_text(out / "study.html", page("LETI's study", sections))
    print(f"report: {out / 'study.html'}")
    return [{"figures": len(figures), "tables": len(sections) - len(figures)}]


def check(
    out: Path = Path("runs/leti_check"),
    part: str = "tolerance,bundled_sums,table1,optimise,live,score,report",
    runs: Path = Path("runs/leti"),
    networks: str = "resnet50,nasnet_mobile",
    backends: str = "ort,litert,openvino,ort:int8,litert:int8",
    passes: int = 3,
    protocol: str = "quick",
    cells: int = 100,
    evaluations: int = 200,
    seeds: int = 20,
    space: str = "nasbench101(channels=16,cells=1)",
    budget_ms: float = 0.6,
    live_evaluations: int = 30,
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of journals, figures, study.html and summary.json; rows of parts that are not run stay as they are.
        part: which, separated by commas.
        runs: the sweeps' folder.
        networks: of the zoo, direct against summed.
        backends: of the same; those that cannot run here are left out.
        passes: how often layers and networks are measured.
        protocol: how many runs each, as in `python -m measure run`.
        cells: bundled cells that are priced by the bundled look-up table.
        evaluations: of a search on bundled tables.
        seeds: of the same.
        space: of the live search.
        budget_ms: of the same.
        live_evaluations: of the same.
    """
    parts = {
        "tolerance": lambda: tolerance(runs),
        "bundled_sums": lambda: bundled_sums(cells),
        "table1": lambda: lookup(out, networks, backends, "--timing.repeats", passes, "--protocol", protocol),
        "optimise": lambda: optimise(evaluations, seeds),
        "live": lambda: live(out, space, budget_ms, live_evaluations),
        "score": lambda: score(runs, out),
        "report": lambda: report(runs, out),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(check, prog="python -m studies.leti.study")
