"""Tables of pages, made from rows that are committed beside the pages: `python -m studies.pages`.

A table stands between two comments, `<!-- table NAME -->` and `<!-- end -->`. Its rows are in docs/results/rows,
which is written from the summary of the command that measured them, where a summary is there; what stands between the
comments before was written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.cli import main
from datasets.files.reading import read_json, read_text
from datasets.files.writing import write_text
from datasets.records import InputError
from studies.cross_device import page as cross_device
from studies.decide import page as decide
from studies.files import page as files
from studies.graph_network import page as graph_network
from studies.help_900 import page as help_900
from studies.leti import page as leti
from studies.markdown import filled, table
from studies.measure import page as measure
from studies.netadapt import page as netadapt
from studies.optimizer import page as optimizer
from studies.peers import page as peers
from studies.perfnetrt import layers_page as layers
from studies.perfnetrt import page as perfnetrt
from studies.search import page as search
from studies.study import ROOT

Rows = Sequence[Mapping[str, Any]]
Make = Callable[[Rows], str]
"""A function that makes a table of rows."""

RESULTS = ROOT / "docs" / "results"


def ranked(rows: Rows) -> list[dict[str, Any]]:
    """Lines of a comparison of runs, ranked by validation: predictor, scores and CPU-seconds of the fit."""
    from predictors.ranking import ranking

    columns = ["predictor", "val_spearman", *(name for name, _ in SCORES), "fit_cpu_s"]
    return json.loads(ranking([dict(row) for row in rows])[columns].to_json(orient="records", double_precision=6))


SCORES = (("spearman", "{:.3f}"), ("kendall", "{:.3f}"), ("mape", "{:.1%}"), ("within_5", "{:.1%}"),
          ("within_10", "{:.1%}"))  # fmt: skip
"""Scores of a line and how they are written; errors and shares are fractions in rows and percent on pages."""


def make_train(rows: Rows) -> str:
    """Scores of the predictors of `make train`."""
    header = ("predictor", "validation Spearman", "Spearman", "Kendall", "MAPE", "within ±5 %", "within ±10 %",
              "fit, CPU-s")  # fmt: skip
    return table(header, [(row["predictor"], *_line(row, ("val_spearman", "{:.3f}"), *SCORES)) for row in rows])


def make_train_short(rows: Rows) -> str:
    """Some scores of the best predictors of `make train`, and of the line in FLOPs."""
    some = [row for row in rows if row["predictor"] in ("graph_net_small", "gcn", "gp", "xgboost", "flops")]
    header = ("predictor", "Spearman", "within ±5 %", "within ±10 %", "fit, CPU-s")
    return table(header, [(row["predictor"], *_line(row, SCORES[0], *SCORES[3:])) for row in some])


def _line(row: Mapping[str, Any], *scores: tuple[str, str]) -> list[str]:
    """Cells of scores, then the CPU-seconds; a dash where a score is undefined."""
    cells = ["–" if row[name] is None else form.format(row[name]).replace("%", " %").replace("  ", " ")
             for name, form in scores]  # fmt: skip
    return [*cells, f"{row['fit_cpu_s']:.1f}"]


def speed(rows: Rows) -> str:
    """Items per CPU-second of ours, and how many times as many as of the alternative."""
    found = [(row["what"], _digits(row["per_s"], 4), row["alternative"], _digits(row["ratio"], 2)) for row in rows]
    return table(("what", "per CPU-second", "alternative", "ratio"), found)


def benchmarks(runs: Rows) -> str:
    """Ratios of each run of the bench, the newest first: one column per run, named by its date and processor."""
    newest = list(reversed(runs))
    names = dict.fromkeys(name for run in newest for name in run["ratios"])
    rows = [
        (name, *(_digits(run["ratios"][name], 2) if name in run["ratios"] else "" for run in newest)) for name in names
    ]
    return table(("what", *(f"{run['date']}, {run['processor']}" for run in newest)), rows)


def _digits(value: float, digits: int) -> str:
    """A number rounded to significant digits, with commas and without an exponent."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.{digits}g}"


SOURCES: dict[str, tuple[Path, Callable[[Rows], Rows]]] = {
    "make_train": (Path("runs/bundled/summary.json"), ranked),
    "speed": (Path("runs/bench/summary.json"), lambda rows: rows),
    "networks": (perfnetrt.SUMMARY, perfnetrt.kept),
    "graph_network": (graph_network.SUMMARY, graph_network.kept),
    "layers": (perfnetrt.SUMMARY, layers.kept),
    **{name: (summary, cross_device.kept) for name, summary in cross_device.SUMMARIES.items()},
    **{name: (summary, help_900.kept) for name, summary in help_900.SUMMARIES.items()},
    **{study.__name__.split(".")[1]: (study.SUMMARY, study.kept)
       for study in (decide, files, leti, measure, netadapt, optimizer, peers, search)},
}  # fmt: skip
"""Rows by name: the summary that they are of, and what is kept of it."""
TABLES: dict[str, tuple[str, Make]] = {
    "make_train": ("make_train", make_train), "make_train_short": ("make_train", make_train_short),
    "speed": ("speed", speed), "benchmarks": ("benchmarks", benchmarks),
    "network_errors": ("networks", perfnetrt.network_errors),
    "correcting_networks": ("networks", perfnetrt.correcting_networks),
    "devices_left_out": ("networks", perfnetrt.devices_left_out),
    "choices_on_hosts": ("decide", decide.choices_on_hosts),
    "machine_left_out": ("graph_network", graph_network.machine_left_out),
    "single_layers": ("graph_network", graph_network.single_layers),
    **{name: ("layers", make) for name, make in layers.TABLES.items()},
    "help_900": ("help_900", help_900.scores), "help_900_fbnet": ("help_900_fbnet", help_900.scores),
    "help_curves": ("help_curves", help_900.curves),
    "file_memory": ("files", files.memory), "measuring": ("measure", measure.measuring),
    "leti_tolerances": ("leti", leti.tolerances), "leti_sums": ("leti", leti.sums),
    "leti_searches": ("leti", leti.searches),
    "adapted": ("netadapt", netadapt.adapted), "adapted_even": ("netadapt", netadapt.adapted_even),
    "adaptations": ("netadapt", netadapt.whole), "adapted_runtimes": ("netadapt", netadapt.runtimes),
    "width_searches": ("netadapt", netadapt.searching), "layer_tables": ("netadapt", netadapt.tables),
    "new_devices": ("new_devices", cross_device.new_devices),
    "whole_tables": ("whole_tables", cross_device.new_devices),
    "peers": ("peers", peers.peers), "optimizer": ("optimizer", optimizer.optimizer),
    "searches": ("search", search.searches), "hybrid_searches": ("search", search.hybrid_searches),
}  # fmt: skip
"""Tables by name: their rows, and what makes them."""


def pages() -> list[Path]:
    """Pages that have tables of `TABLES`: the front page and those of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def from_rows(name: str) -> str | None:
    """The table of a name, made of the committed rows; None where they are not there yet, so that the table stays.

    Raises:
        InputError: there is no such table.
    """
    if name not in TABLES:
        raise InputError(f"A page has a table '{name}'; there are {', '.join(TABLES)}.")
    rows, make = TABLES[name]
    path = RESULTS / "rows" / f"{rows}.json"
    return make(read_json(path, "`python -m studies.pages` writes it")) if path.is_file() else None


def write() -> None:
    """Write rows of which there are summaries, and the tables of all pages; what is not between comments stays."""
    for name, (summary, kept) in SOURCES.items():
        if (ROOT / summary).is_file() and (rows := kept(read_json(ROOT / summary, "it is a summary"))):
            write_text(RESULTS / "rows" / f"{name}.json", json.dumps(rows, indent=1) + "\n")
    for page in pages():
        text, changed = filled(read_text(page, "it is a page"), from_rows)
        if changed:
            write_text(page, text)
            print(f"{page.relative_to(ROOT)}: {', '.join(changed)} changed")


if __name__ == "__main__":
    main(write, prog="python -m studies.pages")
