"""The study of searches as one page with its protocol, tables and figures; the figures are also files beside it."""

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
    "own predictor": "a predictor per device",
    "hybrid": "hybrid, all cells predicted",
    "hybrid_evolution": "hybrid evolution, 200 cells",
    "predicted_evolution": "evolution, only predicted, 200 cells",
    "predicted_0.5": "all cells only predicted",
    "predicted_0.9": "all cells only predicted, confidence 0.9",
}
NAMES |= {f"measured_{n}": f"evolution, {n} cells measured" for n in (50, 100, 200, 400, 800)}
HEADINGS = {
    "left_out": "Source devices, each held out once",
    "energy": "Latency and energy budgets",
    "doubts": "Hybrid searches on source devices, each held out once",
    "hybrids": "Measurements that hybrid searches save (saved: times fewer than an evolution that measures 200 cells)",
}
COLUMNS = ["regret", "regret_half", "met", "within_5", "measurements", "seconds"]
SAVINGS = ["saved", "regret_more", "saved_at_equal_regret"]
PROTOCOL = """Space: the 15,284 cells of NAS-Bench-201 with a path from input to output. True latencies: HELP's
tables; true accuracies: CIFAR-100's of NATS. Six devices that are no sources (titan_rtx_256, gold_6226, fpga, pixel2,
raspi4, eyeriss), ten budgets each (quantiles 0.05 to 0.9 of its latencies), five seeds; at most ten true measurements,
including those that choose a proxy. Regret: points of accuracy below the best cell that keeps the budget by the tables.
Intervals: 95 % over seeds.

best source: of HELP's nine source devices the one whose ranking of four random cells agrees best with the target's.
corrected: half of the other measurements have the largest expected gain by that proxy, corrected by measurements.
adapted predictor: fitted on 900 cells of each source; two samples of the target, then, adapted after each measurement,
the cell with the largest expected gain. This was chosen with each source device held out once (part left_out).
accuracies predicted: by a Gaussian process fitted to 900 cells; all other rows use true accuracies, so their regret is
due to latencies alone.

hybrid: costs are predicted by the adapted predictor, and measured where P(latency <= budget) is between 0.1 and 0.9
and the cell is better than all that keep the budget; half of the budgets, three seeds. Where nothing but ten samples
is measured, a decision that exceeds the budget has no regret and lowers the budgets kept."""


def write_report(rows: list[dict], path: Path, example: Figure) -> list[Path]:
    """Write the page and its figures, among them the `example` of a search's path, without parts that have not run yet;
    returns the written files."""
    table = pd.DataFrame(rows)
    sections: list[Section] = [("Protocol", PROTOCOL)]
    figures = {"path": example}
    means = [row for row in rows if row.get("device") == "all"]
    sixty = [row for row in means if row["part"] == row["search"]]
    if sixty:
        sections.append(("Sixty pairs on unseen devices", _named(sixty, [*COLUMNS, "gap"])))
        figures["regret"] = regret_bars(sixty, NAMES, 0.3)
        sections.append(("Mean regret", figures["regret"]))
    sections.append(("gold_6226, 11 ms, adapted predictor: measurements in order", example))
    for part, heading in HEADINGS.items():
        if chosen := [row for row in means if row["part"] == part]:
            sections.append((heading, _named(chosen, [*COLUMNS, *SAVINGS])))
    if len(fifteen := table[table["part"] == "fifteen"]):
        columns = ["accuracy", "published", "optimum", "latency_ms", "met", "good", "measurements"]
        shown = fifteen.groupby(["search", "device", "budget"], sort=False)[columns].mean().reset_index()
        sections.append(("HELP's fifteen pairs, means over five seeds", shown))
    if chosen := [row for row in rows if row["part"] == "growth"]:
        figures["growth"] = growth(chosen, NAMES)
        sections.append(("Cost over the number of devices (hollow: run on fewer and extrapolated)", figures["growth"]))
        sections.append(
            (
                "Cost over the number of devices, as a table",
                pd.DataFrame(chosen).drop(columns="part").dropna(axis=1, how="all"),
            )
        )
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
    """The rows of a study's summary.json."""
    return json.loads((folder / "summary.json").read_text())
