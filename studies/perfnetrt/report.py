"""PerfNetRT's study of layers as one page: Tables IV and V beside ours, learning curves, held-out GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from datasets.figures import grid
from datasets.files.writing import write_text
from predictors.figures import COLOURS
from predictors.report import Section, page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ["predictor", "mae", "mape", "rmse", "r2", "chosen"]


def write_report(rows: list[dict], path: Path) -> list[dict]:
    """Write the page and its two figures beside it, without parts that have not run yet; rows name the files."""
    table = pd.DataFrame(rows)
    test = table[(table["part"] == "gpus") | (table["set"] == "test" if "set" in table else False)]
    parts = dict(list(test.groupby("part")))
    sections: list[Section] = []
    if "layers" in parts:
        for (layer, phase), group in parts["layers"].groupby(["layer", "phase"], sort=False):
            sections.append((f"{layer}, {phase} (Tables IV and V)", group[["device", *COLUMNS]]))
    if "training" in parts:
        sections.append(("PerfNetRT's training, exe_ms", parts["training"][["layer", "device", *COLUMNS]]))
    if "curves" in parts:
        sections.append(("Learning curves, exe_ms", learning_curves(parts["curves"])))
    if "public" in parts:
        sections.append(("Convolutions on a GTX 1080 Ti, forward only", parts["public"][[*COLUMNS, "labels"]]))
    if "gpus" in parts:
        sections.append(("GPUs that were left out", held_out_figure(parts["gpus"])))
        wide = parts["gpus"].pivot_table(index=["table", "gpu", "nearest"], columns="predictor", values="mape")
        sections.append(("Their MAPE", wide.reset_index()))
    written = [path]
    for heading, content in sections:
        if not (isinstance(content, str | pd.DataFrame) or callable(content)):
            written.append(path.with_name(f"{heading.split(',')[0].replace(' ', '_').lower()}.png"))
            content.savefig(written[-1], dpi=110)
    write_text(path, page("PerfNetRT: single layers", sections))
    return [{"file": str(file)} for file in written]


def learning_curves(rows: pd.DataFrame) -> Figure:
    """Test MAPE over the number of training layers, one panel per layer type and device."""
    panels = list(rows.groupby(["layer", "device"], sort=False))
    figure, axes = grid(len(panels), width=3.8, height=2.9, columns=3)
    names = list(dict.fromkeys(rows["predictor"]))
    for axis, ((layer, device), part) in zip(axes, panels, strict=True):
        for i, name in enumerate(names):
            line = part[part["predictor"] == name].sort_values("labels")
            axis.plot(line["labels"], 100 * line["mape"], "o-", ms=4, lw=1.4, label=name, color=COLOURS[i])
        axis.set(title=f"{layer}, {device}", xlabel="layers, validation included", xscale="log", yscale="log")
        axis.set_ylabel("MAPE on the test set, %")
        sizes = sorted(part["labels"].unique())
        axis.set_xticks(sizes, [f"{n:g}" for n in sizes])
        ticks = [t for t in (5, 10, 20, 50, 100, 200, 500) if t <= 100 * part["mape"].max()]
        axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=len(labels))
    return figure


def held_out_figure(rows: pd.DataFrame) -> Figure:
    """MAPE on each held-out GPU, one panel per table and one colour per predictor."""
    panels, names = list(rows.groupby("table", sort=False)), list(dict.fromkeys(rows["predictor"]))
    figure, axes = grid(len(panels), width=4.2, height=3.2, columns=3)
    for axis, (table, part) in zip(axes, panels, strict=True):
        wide = part.pivot(index="gpu", columns="predictor", values="mape")[names]
        for i, name in enumerate(names):
            places = [place + 0.27 * (i - 1) for place in range(len(wide))]
            bars = axis.bar(places, 100 * wide[name], 0.25, label=name, color=COLOURS[i])
            axis.bar_label(bars, fmt="%.0f", fontsize=7)
        axis.set_xticks(range(len(wide)), wide.index)
        axis.set(title=str(table), ylabel="MAPE, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=len(labels))
    return figure
