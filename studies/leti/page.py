"""Tables of docs/results/leti.md, made of rows of `python -m studies.leti.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.leti.tolerances import LETIS, TOLERANCES
from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/leti_check/summary.json")
OURS = ("gcn", "gp")
RUNTIMES = {"ort": "onnxruntime", "litert": "LiteRT", "openvino": "OpenVINO"}
NETWORKS = {"resnet50": "ResNet50", "nasnet_mobile": "NASNet"}
COLUMNS = ("part", "what", "device", "shots", "predictor", *TOLERANCES, *(f"sd_{name}" for name in TOLERANCES),
           "network", "backend", "sum", "ms", "sd", "error", "search", "evaluations", "seeds", "median")  # fmt: skip


def kept(rows: Rows) -> list[dict[str, Any]]:
    """What the tables need: shares over all devices, sums of layers in fp32, and searches on bundled tables."""
    chosen = [
        row
        for row in rows
        if (row["part"] == "tolerance" and row["what"] == "share" and row["device"] == "all")
        or (row["part"] == "table1" and row["what"] == "lookup" and row["backend"] in RUNTIMES)
        or row["part"] == "optimise"
    ]
    return [rounded(row, COLUMNS) for row in chosen]


def tolerances(rows: Rows) -> str:
    """Shares of test cells within tolerances with 100 labels, and within ±10 % with other numbers of labels."""
    found = {(row["predictor"], row["shots"]): row for row in rows if row["part"] == "tolerance"}
    others = sorted({shots for _, shots in found} - {100})
    lines = [
        (f"{name} ({'LETI' if name in LETIS else 'ours'})",
         *(f"{100 * found[name, 100][t]:.1f} ± {100 * found[name, 100][f'sd_{t}']:.1f} %" for t in TOLERANCES),
         *(f"{100 * found[name, n]['within_10']:.1f} %" if (name, n) in found else "–" for n in others))
        for name in (*LETIS, *OURS)
    ]  # fmt: skip
    first, *rest = others
    header = ("predictor, 100 labels", "within ±1 %", "±5 %", "±10 %", f"±10 %, {first} labels", *map(str, rest))
    return table(header, lines)


def sums(rows: Rows) -> str:
    """Networks in fp32, measured whole, as sums of their layers, and these less the cost of calls."""
    found = {(row["backend"], row["network"], row["sum"]): row for row in rows if row["part"] == "table1"}
    lines = []
    for backend, runtime in RUNTIMES.items():
        cells = [runtime]
        for network in NETWORKS:
            whole, summed, less = (found[backend, network, sum_] for sum_ in ("direct", "summed", "summed - calls"))
            cells += [f"{row['ms']:.3g} ± {row['sd']:.2g} ms" for row in (whole, summed)]
            cells += [f"{row['error']:+.1f} %" for row in (summed, less)]
        lines.append(cells)
    header = [cell for name in NETWORKS.values() for cell in (name, "sum", "error", "less calls")]
    return table(("runtime, fp32", *header), lines)


def searches(rows: Rows) -> str:
    """Accuracy of the best cell within the median latency, by the number of evaluations."""
    found = {(row["search"], row["evaluations"]): row["median"] for row in rows if row["part"] == "optimise"}
    numbers = sorted({number for _, number in found})
    lines = [
        (shown, *(f"{found[name, number]:.1f} %" for number in numbers))
        for name, shown in (("nevergrad", "Nevergrad"), ("random", "random search"))
    ]
    return table(("evaluations", *map(str, numbers)), lines)
