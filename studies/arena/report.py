"""The page and the pictures of the arena: `python -m studies.arena.report` writes docs/results/arena.md and a picture
of each table beside it, from runs/arena/summary.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from datasets.cli import main
from datasets.figures import DARK, GREY, new_figure, write_figure
from datasets.files.reading import read_json
from datasets.files.writing import write_text
from datasets.records import InputError
from predictors.figures import COLOURS
from studies.study import ROOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 1000.0
"""Largest error in a picture, in percent."""
MOST_DEVICES = 9
"""Most devices that have a column each."""
TITLES = {
    "timm": "timm: image networks, ms an image, two desktop CPUs and three GPUs",
    "networks": "Public networks of many kinds, one core of an EPYC of Zen 4 (genoa), three runtimes",
    "hosts": "Public networks on genoa, and on milan (Zen 3) in fp32, in int8 and on two threads",
    "convnet+zoo": "Random and published convolutional networks, one core of an EPYC of Zen 3 (milan), eleven runtimes",
    "ncnn-processors": "ncnn: 35 networks, eight of them in int8, on processors in several settings",
    "ncnn-complete": "ncnn: the part of the table without holes, machines left out",
    "ncnn-gpus": "ncnn: networks on GPUs",
    "ai-hub": "AI Hub: models by name on Qualcomm's chips, float, three runtimes",
    "ai-hub-graphs": "AI Hub: models whose graphs are known",
    "accel-nasbench": "Accel-NASBench: milliseconds per image of one in five networks",
}
HEADINGS = {
    "families": "Families of networks held out",
    "random": "Networks held out at random, for comparison: it flatters",
    "devices": "Devices left out",
}
SCORES = {
    "median": "median", "within_5": "within 5 %", "within_10": "within 10 %", "spearman": "Spearman",
    "coverage": "coverage of 90 %", "width": "half width", "cpu_s": "CPU-s",
}  # fmt: skip


def markdown(table: pd.DataFrame) -> str:
    """A table as lines of Markdown; the index is the first column."""
    cells = [[str(table.index.name or ""), *map(str, table.columns)]]
    cells += [[str(name), *map(_shown, row)] for name, row in zip(table.index, table.to_numpy(object), strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|---" + "|---:" * len(table.columns) + "|", *lines[1:]])


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else f"{value:.2f}" if abs(float(str(value))) < 1 else f"{value:.1f}"


def held_out_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Errors (MAPE, in percent) by predictor and device, and means of the other scores over devices."""
    mean = rows.groupby("predictor", sort=False)[["mape", *SCORES]].mean()
    for share in ("within_5", "within_10"):
        mean[share] = [f"{100 * value:.0f}" for value in mean[share]]  # in percent, as errors and coverage
    devices = list(dict.fromkeys(rows["device"]))
    each = rows.pivot(index="predictor", columns="device", values="mape")[devices].rename(columns=_short)
    found = each.loc[mean.index] if len(devices) <= MOST_DEVICES else pd.DataFrame(index=mean.index)
    found = found.join(mean.rename(columns=SCORES | {"mape": "mean"}))
    return found.sort_values("mean")


def _short(device: str) -> str:
    return device.replace("_compiled_fp32", "").replace("_eager_amp", "").removesuffix("_1")


def left_out_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Errors (MAPE, in percent; means over devices and draws) by predictor and number of measured networks; CPU-s."""
    rows = rows.assign(predictor=rows["predictor"] + rows["sampler"].map({"own": ", chosen"}).fillna(""))
    names = list(dict.fromkeys(rows["predictor"]))
    found = rows.pivot_table(index="predictor", columns="samples", values="mape", sort=False)
    found = found[sorted(found.columns)].rename(columns=lambda n: f"{n:.0f} network{'' if n == 1 else 's'}")
    more = rows[rows["samples"] == 10].groupby("predictor")[["spearman", "coverage", "width"]].mean()
    more = more.add_prefix("10: ").join(rows.groupby("predictor")["cpu_s"].first().rename("CPU-s"))
    return found.join(more).loc[names]


def picture(rows: pd.DataFrame) -> Figure:
    """Errors of predictors where families are held out, and by number of measured networks of a device left out."""
    parts = [protocol for protocol in ("families", "devices") if (rows["protocol"] == protocol).any()]
    figure = new_figure(5.2 * len(parts), 3.8)
    for axis, protocol in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        part = rows[rows["protocol"] == protocol]
        (_bars if protocol == "families" else _curves)(axis, part)
        axis.set_title(HEADINGS[protocol], fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(axis: Axes, rows: pd.DataFrame) -> None:
    """One bar for each predictor, its mean over devices, and a point for each device."""
    mean = rows.groupby("predictor")["mape"].mean().sort_values(ascending=False)
    axis.barh(range(len(mean)), mean, color="#c9d8ea")
    for place, name in enumerate(mean.index):
        each = rows[rows["predictor"] == name]["mape"]
        axis.scatter(each, [place] * len(each), s=10, color=DARK, zorder=3)
        axis.annotate(f"{mean[name]:.1f}", (mean[name], place), xytext=(3, 5), textcoords="offset points", fontsize=7)
    axis.set_yticks(range(len(mean)), list(mean.index), fontsize=8)
    axis.set_xlim(0, min(float(rows["mape"].max()), 4 * float(mean.median())) * 1.05)
    axis.set_xlabel("mean absolute relative error, %; points are devices")


def _curves(axis: Axes, rows: pd.DataFrame) -> None:
    """One line for each predictor with random samples."""
    rows = rows[rows["sampler"] != "own"]
    numbers = sorted(set(rows["samples"]))
    for colour, (name, part) in zip(COLOURS * 3, rows.groupby("predictor", sort=False), strict=False):
        mean = part.groupby("samples")["mape"].mean()
        axis.plot([numbers.index(n) for n in mean.index], mean, marker="o", ms=3, lw=1.3, color=colour, label=name)
    axis.set_xticks(range(len(numbers)), [f"{number:.0f}" for number in numbers])
    axis.set_yscale("log")
    axis.set_ylim(top=min(axis.get_ylim()[1], MOST))  # lines with few samples may be off by any factor
    axis.yaxis.set_major_formatter("{x:.0f}")
    axis.yaxis.set_minor_formatter("{x:.0f}")
    axis.tick_params(axis="y", which="both", labelsize=7)
    axis.set(xlabel="networks measured on the device, random ones", ylabel="mean absolute relative error, %")
    axis.grid(axis="y", lw=0.3, color=GREY)
    axis.legend(fontsize=7, frameon=False)


def section(name: str, rows: pd.DataFrame) -> str:
    """The part of the page on a table."""
    minutes = rows.groupby(["protocol", "predictor"])["cpu_s"].first().sum() / 60
    found = [f"## {TITLES.get(name, name)}", f"![errors of predictors](arena_{name}.png)",
             f"Its rows took {minutes:.1f} CPU-minutes."]  # fmt: skip
    for protocol, heading in HEADINGS.items():
        own = rows[rows["protocol"] == protocol]
        if own.empty:
            continue
        devices, networks = own["device"].nunique(), int(own.groupby("device")["n"].max().median())
        about = f"{devices} devices, {networks} networks scored on the median device. Errors are MAPE in percent"
        make = left_out_table if protocol == "devices" else held_out_table
        found += [f"### {heading}", f"{about}.", markdown(make(own))]
    return "\n\n".join(found)


INTRODUCTION = """# Results of the arena

`make study NAME=arena` writes this page. [The arena](../arena.md) explains tables, protocols and predictors. All errors
are of networks that a predictor was not fitted to. Coverage and half width (in percent of the prediction, medians) are
those of 90 % intervals. Where a device was left out, `network_macs` and `network_line` are fitted to its samples alone;
"chosen" samples are the predictor's choice, others are random. All but Spearman and CPU-seconds is in percent."""


def kept_sections(page: Path, tables: Sequence[str]) -> dict[str, str]:
    """Sections of a page that is there, by table, but for those of some tables."""
    text = page.read_text() if page.is_file() else ""
    parts = {part.partition("\n")[0]: part.strip() for part in text.split("\n## ")[1:]}
    return {name: f"## {parts[TITLES[name]]}" for name in TITLES if TITLES[name] in parts and name not in tables}


def report(summary: Path = Path("runs/arena/summary.json"), out: Path = ROOT / "docs" / "results") -> None:
    """Write the page and the pictures; sections of tables without rows stay as they are.

    Args:
        summary: rows of `python -m studies.arena.study`.
        out: folder of arena.md and its pictures.
    """
    rows = pd.DataFrame(_rows(read_json(summary, "run `python -m studies.arena.study`"), summary))
    rows = rows[rows["protocol"].notna()]
    found = kept_sections(out / "arena.md", list(rows["table"]))
    for name in dict.fromkeys(rows["table"]):
        part = rows[rows["table"] == name]
        write_figure(picture(part), out / f"arena_{name}.png")
        found[name] = section(name, part)
    ordered = [found[name] for name in [*TITLES, *sorted(set(found) - set(TITLES))] if name in found]
    write_text(out / "arena.md", "\n\n".join([INTRODUCTION, *ordered]) + "\n")
    print(f"report: {out / 'arena.md'}")


def _rows(found: object, where: Path) -> Sequence[dict]:
    columns = {"table", "protocol", "predictor", "device", "mape", "cpu_min"}
    if not isinstance(found, list) or not columns <= {name for row in found for name in row}:
        raise InputError(f"{where} has no rows of the arena; run `python -m studies.arena.study`.")
    return found


if __name__ == "__main__":
    main(report, prog="python -m studies.arena.report")
