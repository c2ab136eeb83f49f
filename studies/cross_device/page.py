"""Tables of docs/results/new_devices.md, made of rows of `python -m predictors transfer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from studies.markdown import table

Rows = Sequence[Mapping[str, Any]]
SUMMARIES = {"new_devices": Path("runs/nasflat/summary.json"), "whole_tables": Path("runs/nasflat_whole/summary.json")}
NAMES = {
    "conditioned": "Conditioned",
    "all_sources": "the same with all sources always",
    "physics_only": "the same without any source",
    "finetunedgcn": "a fine-tuned GCN",
    "helpmeta": "HELP's method as written here",
    "nasflat": "NASFLAT's method as written here",
    "sourceridge": "source trees + ridge",
    "adaproxy": "AdaProxy",
    "nearestdevice": "nearest device",
    "ownline": "linear in FLOPs",
}
"""Predictors by their names in rows, in the order of the tables."""
PUBLISHED = {
    "ND": 0.962, "FD": 0.961, "F1": 0.577, "F2": 0.809, "F3": 0.871, "F4": 0.814, "FA": 0.734, "N1": 0.893, "N2": 0.967,
    "N3": 0.857, "N4": 0.962, "NA": 0.959,
}  # fmt: skip
"""Spearman of NASFLAT with 20 samples as published, by set of devices; on ND that of its own code, on all cells."""


def kept(rows: Rows) -> list[dict[str, Any]]:
    """Means over targets, seeds and draws on all architectures, by predictor, number of samples and set of devices, and
    the mean over targets of the worst draw."""
    found = defaultdict[tuple, list](list)
    for row in rows:
        if row["part"] == "score" and row["cells"] == "all" and row["sampler"] == "random":
            found[row["predictor"], row["shots"], row["device_set"]].append(row)
    return [
        {"predictor": predictor, "samples": shots, "set": device_set, "spearman": round(_mean(part, "spearman"), 4),
         "worst": round(min(_mean(draw, "spearman") for draw in _draws(part)), 4), "draws": len(_draws(part)),
         "within_10": round(_mean(part, "within_10"), 4)}
        for (predictor, shots, device_set), part in found.items()
    ]  # fmt: skip


def new_devices(rows: Rows) -> str:
    """Rank correlations by set of devices, then shares within ±10 %."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    found = {(row["predictor"], row["samples"], row["set"]): row for row in rows}
    lines = []
    for samples in sorted({row["samples"] for row in rows}, reverse=True):
        for name in (name for name in NAMES if any(key[:2] == (name, samples) for key in found)):
            own = [found.get((name, samples, each)) for each in sets]
            lines.append((NAMES[name], samples, *(f"{row['spearman']:.3f}" if row else "–" for row in own)))
            if name == "conditioned" and samples:
                lines.append(("– its worst draw", samples, *(f"{row['worst']:.3f}" if row else "–" for row in own)))
                shares = (f"{100 * row['within_10']:.1f} %" if row else "–" for row in own)
                lines.append(("– within ±10 %", samples, *shares))
    if any(name in PUBLISHED for name in sets):
        published = (f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else "–" for name in sets)
        lines.append(("NASFLAT as published (ND: its code, whole space)", 20, *published))
    return table(("Spearman", "samples", *sets), lines)


def _draws(rows: Rows) -> list[Rows]:
    """Rows of each draw of samples."""
    found = defaultdict[tuple, list](list)
    for row in rows:
        found[row["seed"], row["draw"]].append(row)
    return list(found.values())


def _mean(rows: Rows, column: str) -> float:
    """Mean over targets of means over seeds and draws."""
    found = defaultdict[str, list[float]](list)
    for row in rows:
        found[row["device"]].append(float("nan") if row[column] is None else row[column])
    return mean(mean(values) for values in found.values())
