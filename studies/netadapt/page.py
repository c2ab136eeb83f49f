"""Tables of docs/results/netadapt.md, made of rows of `python -m studies.netadapt.study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.markdown import rounded, table

Rows = Sequence[Mapping[str, Any]]
SUMMARY = Path("runs/netadapt/summary.json")
NETWORKS = {"alexnet": "AlexNet", "mobilenet_v1": "MobileNetV1"}
RUNTIMES = {"ort": "onnxruntime", "litert": "LiteRT", "openvino": "OpenVINO"}
SEARCHES = ("exact", "binary 4", "binary 16")


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Rows of the tables, without widths."""
    chosen = (
        row
        for row in rows
        if (row["part"] in ("seeds", "even") and row["what"] == "mean")
        or (row["part"] == "whole" and row["what"] == "run")
        or (row["part"] == "matrix" and "reduction" in row)
        or (row["part"] == "search" and row["table"] == "measured" and row["delta"] != "worst")
        or (row["part"] == "tables" and row["space"] == "all")
    )
    return [rounded(row, [name for name in row if name not in ("widths", "ms")]) for row in chosen]


def adapted(rows: Rows) -> str:
    """Accuracy of a ResNet-8 narrowed to budgets, beside widths that are all scaled alike."""
    return _compared([row for row in rows if row["part"] == "seeds"])


def adapted_even(rows: Rows) -> str:
    """Accuracy of a ResNet-8 with equal widths in all stages, narrowed to budgets."""
    return _compared([row for row in rows if row["part"] == "even"])


def _compared(rows: Rows) -> str:
    lines = [
        (f"{row['budget']:.2f}", f"{row['promised']:.3f}", f"{row['share']:.3f}", f"{row['away']:.1f} %",
         f"{row['accuracy']:.1f} %", f"{row['uniform']:.1f} %",
         f"{row['better']:+.1f} ± {row['better_half']:.1f}")
        for row in rows
    ]  # fmt: skip
    header = ("budget", "by the table", "measured", "largest error", "adapted", "uniform", "difference, points")
    return table(header, lines)


def whole(rows: Rows) -> str:
    """Iterations and seconds of adaptations to half of the latency."""
    lines = [
        (NETWORKS[row["network"]], row["delta"], row["iterations"], f"{row['seconds'] / row['iterations']:.1f}")
        for row in rows
        if row["part"] == "whole"
    ]
    return table(("network", "delta", "iterations", "seconds each"), lines)


def runtimes(rows: Rows) -> str:
    """Reduction of the latency of AlexNet adapted for one runtime, measured on all."""
    found = {(row["measured_on"], row["adapted_for"]): row["reduction"] for row in rows if row["part"] == "matrix"}
    lines = [
        (shown, *(f"{found[runtime, other]:.0f} %" for other in RUNTIMES))
        for runtime, shown in RUNTIMES.items()
    ]  # fmt: skip
    return table(("measured on", *(f"for {name}" for name in RUNTIMES.values())), lines)


def searching(rows: Rows) -> str:
    """How many times fewer look-ups and less time than the sequential search, by the measured table."""
    found = {(row["network"], row["delta"], row["search"]): row for row in rows if row["part"] == "search"}
    lines = []
    for network, delta in dict.fromkeys(key[:2] for key in found):
        own = [found[network, delta, search] for search in SEARCHES]
        lines.append((f"{NETWORKS[network]}, {delta}", f"{own[0]['bound']:.1f}",
                      *(f"{row['fewer_lookups']:.3g} / {row['faster']:.2g}" for row in own)))  # fmt: skip
    header = ("network, delta", "bound", *(f"{search}: look-ups / time, times less" for search in SEARCHES))
    return table(header, lines)


def tables(rows: Rows) -> str:
    """Errors of tables, and of sums of layers, on whole networks that did not fit them."""
    (row,) = (row for row in rows if row["part"] == "tables")
    shown = {"error": "fitted tables", "sum_error": "sums of layers"}
    lines = [(name, *(f"{row[f'{what}_{key}']:.1f} %" for what in ("median", "p90", "worst")))
             for key, name in shown.items()]  # fmt: skip
    return table((f"{row['networks']} whole networks", "median error", "nine in ten within", "worst"), lines)
