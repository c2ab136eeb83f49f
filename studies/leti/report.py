"""LETI's study as one page: tables of its rows, and its figures as files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from datasets.figures import distributions
from datasets.files.writing import write_text
from datasets.measured import Measured
from datasets.records import Measurements
from predictors.compare import read_runs
from predictors.figures import learning_curves, scatter
from predictors.linear import BetterFlops
from predictors.report import Section, page
from studies.leti.figures import over_total, trade_off
from studies.leti.sums import BUNDLED
from studies.leti.tolerances import LETIS, scores


def predictions(runs: Path, shots: int, seed: int, device: str) -> Iterator[pd.DataFrame]:
    """Each predictor's predictions of the test cells of one seed, on one device."""
    for run, rows in read_runs(runs).items():
        if (rows[0]["shots"], rows[0]["seed"]) == (shots, seed):
            table = pd.read_parquet(run / "predictions.parquet").query("set == 'test'")
            yield table[table["device"] == device].assign(predictor=rows[0]["predictor"])


def report(runs: Path, out: Path, shots: int = 100) -> list[dict]:
    """Write study.html, and its figures as PNG files."""
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
    title = "Latency over peak memory, cut where Better FLOPs cuts when fitted to all cells (Figure 13)"
    figures["latency_over_memory"] = (title, over_total(small, "peak_bytes", thresholds=thresholds))
    for device in (cells.devices[0].name, "xeon_litert_int8_1"):
        title = f"Accuracy over latency, the front and its best cells, {device} (Figures 7 to 9)"
        figures[f"trade_off_{device}"] = (title, trade_off(cells, device, accuracy, "accuracy_digits"))
    for device in (known.name for known in small.devices):
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
        "tolerance": "Accuracy at a tolerance (Table 2), and the margin of our best over LETI's",
        "table1": "Networks as sums of their layers (Table 1)",
        "bundled_sums": "Cells as sums of their layers, and factors of kinds of layers within a network",
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
