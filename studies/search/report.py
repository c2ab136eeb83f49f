"""The study of searches as one page: its protocol, tables and figures, those also as files beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from datasets.files.writing import write_text
from predictors.report import Section, page
from search.figures import growth, regret_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "macs": "equation 5, MACs as proxy",
    "random": "random search",
    "evolution": "regularised evolution",
    "weighted": "equation 6, best source",
    "budget": "equation 5, best source",
    "refined": "equation 5, best source, corrected",
    "adapted": "equation 5, adapted predictor",
    "predicted": "adapted, accuracies predicted",
    "own predictor": "a predictor for each device",
}
TOLD = ["regret", "regret_half", "met", "within_5", "measurements", "seconds"]
PROTOCOL = """Space: the 15,284 cells of NAS-Bench-201 with a path from input to output. True latencies: HELP's
tables; true accuracies: CIFAR-100's of NATS. Six devices that no source is (titan_rtx_256, gold_6226, fpga, pixel2,
raspi4, eyeriss), ten budgets each (quantiles 0.05 to 0.9 of its latencies), five seeds; at most ten true measurements,
those that choose a proxy included. Regret: points of accuracy below the best cell that keeps the budget by the tables.
Intervals: 95 % over seeds.

best source: of HELP's nine source devices the one that ranks four random cells most like the target.
corrected: half of the rest go where that proxy, corrected by what was measured, promises most.
adapted predictor: fitted on 900 cells of each source; two samples of the target, then, adapted after each measurement,
the cell with the largest expected gain. This was chosen with each source device left out once (part left_out).
accuracies predicted: by a Gaussian process that knows 900 cells; all other rows know them, so lose by latency only."""


def write_report(rows: list[dict], path: Path, example: Figure) -> list[Path]:
    """The page and its figures (one of them an `example` of a search's path); parts that have not run yet are left out.
    Which files were written."""
    table = pd.DataFrame(rows)
    sections: list[Section] = [("Protocol", PROTOCOL)]
    figures = {"path": example}
    means = [row for row in rows if row.get("device") == "all"]
    sixty = [row for row in means if row["part"] == row["search"]]
    if sixty:
        sections.append(("Sixty pairs on unseen devices", _named(sixty, [*TOLD, "gap"])))
        figures["regret"] = regret_bars(sixty, NAMES, 0.3)
        sections.append(("Mean regret", figures["regret"]))
    sections.append(("gold_6226, 11 ms, adapted predictor: what was measured, in its order", example))
    for part, heading in (("left_out", "Source devices, each left out once"), ("energy", "Latency and energy budgets")):
        if chosen := [row for row in means if row["part"] == part]:
            sections.append((heading, _named(chosen, TOLD)))
    if len(fifteen := table[table["part"] == "fifteen"]):
        columns = ["accuracy", "published", "optimum", "latency_ms", "met", "good", "measurements"]
        shown = fifteen.groupby(["search", "device", "budget"], sort=False)[columns].mean().reset_index()
        sections.append(("HELP's fifteen pairs, means over five seeds", shown))
    if chosen := [row for row in rows if row["part"] == "growth"]:
        figures["growth"] = growth(chosen, NAMES)
        sections.append(("Cost as devices grow (hollow: run on fewer and multiplied)", figures["growth"]))
        sections.append(("The same as a table", pd.DataFrame(chosen).drop(columns="part").dropna(axis=1, how="all")))
    if chosen := [row for row in rows if row["part"] == "live"]:
        sections.append(("Live on this machine", pd.DataFrame(chosen).drop(columns="part")))
    written = [path]
    for name, figure in figures.items():
        written.append(path.with_name(f"{name}.png"))
        figure.savefig(written[-1], dpi=130)
    write_text(path, page("Searches under a budget", sections))
    return written


def _named(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table["search"] = table["search"].map(lambda name: NAMES.get(name, name))
    return table[["search", *[name for name in columns if name in table]]]


def read_summary(folder: Path) -> list[dict]:
    """The rows of a study that has run."""
    return json.loads((folder / "summary.json").read_text())
