"""LETI's study without its sweeps (studies/leti/sweep.yaml and sweep_gcn.yaml): `python -m studies.leti.study` writes
runs/leti_check/summary.json, one row per finding, its figures and study.html.

The study repeats "LETI: Latency Estimation Tool and Investigation of Neural Networks Inference on Mobile GPU"
(Ponomarev et al., 2020). The parts `table1` and `live` measure, and continue where they were stopped; all others read
bundled tables and finished runs.
"""

from __future__ import annotations

from pathlib import Path

from datasets.cli import main
from datasets.records import InputError
from studies.leti.report import report
from studies.leti.searches import live, optimise
from studies.leti.sums import bundled_sums
from studies.leti.tolerances import tolerance
from studies.measure.study import lookup
from studies.parts import run_parts
from studies.study import ROOT
from studies.usage import usage


def score(runs: Path, out: Path, sizes: tuple[int, ...] = (10_000, 100_000, 423_624)) -> list[dict]:
    """`python -m predictors score` with the exported GCN in separate processes: seconds, cells per second and peak
    memory, including start-up, texts and writing."""
    exported = sorted(file for file in runs.glob("gcn-*/predictor.onnx"))
    if not exported:
        raise InputError(f"There is no GCN in {runs}; run train.py --sweep studies/leti/sweep_gcn.yaml.")
    rows = []
    for cells in sizes:
        command = ["-m", "predictors", "score", exported[0], out / "scores.parquet", "--limit", cells]
        used = usage(command, ROOT)
        row = {"cells": cells, "cpu_s": used.cpu_s, "wall_s": used.wall_s, "cells_per_cpu_s": cells / used.cpu_s}
        rows.append(row | {"peak_mib": used.peak_bytes / 2**20})
    for row in rows:
        row["peak_over_first"] = row["peak_mib"] / rows[0]["peak_mib"]
    (out / "scores.parquet").unlink()
    return rows


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
        out: folder of journals, figures, study.html and summary.json; rows of parts that are not run are kept.
        part: names of parts, separated by commas.
        runs: folder of the sweeps.
        networks: networks of the zoo that are measured whole and as sums of layers.
        backends: backends that measure them; those that cannot run here are skipped.
        passes: number of measurements of each layer and network.
        protocol: protocol of a measurement (`python -m measure run --protocol`).
        cells: number of bundled cells that are priced by the bundled look-up table.
        evaluations: number of evaluations of a search on bundled tables.
        seeds: number of searches on bundled tables.
        space: space of the live search.
        budget_ms: latency budget of the live search in ms.
        live_evaluations: number of evaluations of the live search.
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
