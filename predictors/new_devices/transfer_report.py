"""Table, figure and HTML page of a cross-device study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from datasets.files.writing import write_text
from datasets.records import InputError
from predictors.compare import with_settings
from predictors.ranking import settings_of
from predictors.rows import SCORES, Columns, is_integer, is_text, one_of, run_files
from predictors.rows import read_rows as read_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDED: Columns = {
    **SCORES,
    **dict.fromkeys(("device_set", "sampler", "left_out"), is_text),
    **dict.fromkeys(("draw", "sources", "source_cells"), is_integer),
    "shared_family": one_of(True, False),
}
"""Required columns of a row."""
WEIGHED = ("all_sources", "physics_only", "nearestdevice")
"""Rows that `Conditioned` weighs: the same regression with all sources, without any, and the nearest source device."""
SHOWN = ("spearman", "kendall", "mape", "within_5", "within_10", "coverage", "width_spearman")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of all complete runs of a study, with the settings that differ between runs of one predictor.

    Raises:
        InputError: there is no run, or a file is damaged.
    """
    files = run_files(folder, "python -m predictors transfer --sweep FILE")
    remedy = "delete this run and run its sweep again"
    runs = with_settings({file.parent: read_file(file, NEEDED, remedy) for file in files}, ("predictor",), remedy)
    rows = [row for part in runs.values() for row in part]
    if not any(row["cells"] == "all" for row in rows):
        raise InputError(f"No run in {folder} has rows of all cells; {remedy}.")
    return rows


def gather(folder: Path) -> pd.DataFrame:
    """Write summary.json and report.html of a study.

    Returns:
        Mean Spearman: one line per predictor, settings that differ, sampler and number of samples, one column per
        device set. Draws have equal weight within a target, targets within a set.
    """
    from datasets.figures import write_figure
    from predictors.report import page

    rows = read_rows(folder)
    table = pd.DataFrame(rows)
    compared, held = margins(table), tails(table)
    summary = [*({"part": "score", **row} for row in rows), *compared, *held]
    write_text(folder / "summary.json", json.dumps(summary, indent=1, default=float))
    names = [name for name in SHOWN if name in table]
    table[names] = table[names].astype(float)
    every = table[table["cells"] == "all"]
    line = ["predictor", *_differing(every), "sampler", "shots"]
    wide = every.groupby([*line, "device_set"], sort=False, dropna=False)["spearman"].mean().unstack("device_set")
    wide = wide[list(dict.fromkeys(every["device_set"]))]
    detail = every.groupby([*line, "device_set", "device", "shared_family"], sort=False, dropna=False)
    spread = detail["spearman"].agg(["mean", "std", "min", "count"])
    means = detail[[name for name in names if name != "spearman"]].mean()
    devices = spread.join(means).reset_index()
    connected = table[table["cells"] == "connected"].groupby([*line, "device_set"], sort=False, dropna=False)
    paths = connected[names].mean().reset_index()
    sections: list[Any] = [
        ("Mean Spearman over targets, draws and seeds, all architectures but the samples", wide.reset_index().round(3)),
        ("The same with 95 % intervals over draws", with_intervals(every)),
        ("Mean Spearman with the largest number of samples that all predictors have", lambda: figure(every)),
        ("Every target: mean, deviation and worst Spearman over draws and seeds; means of the rest", devices.round(3)),
    ]
    if len(paths):
        sections.append(("Only cells with a path from input to output", paths.round(3)))
    harm = pd.DataFrame([row for row in compared if row["part"] == "harm"])
    if len(harm):
        title = "Above the best of all sources, none and the nearest device: difference of Spearman, 95 % interval"
        sections.append((title, harm.drop(columns="part").round(4)))
    if held:
        sections.append(("How often 90 % intervals hold", pd.DataFrame(held).drop(columns="part").round(3)))
    left = every.groupby("device_set", sort=False)[["left_out", "sources", "source_cells"]].first().reset_index()
    sections.append(("Devices of the sets that no table here has", left))
    write_text(folder / "report.html", page("Predicting new devices from a few measurements", sections))
    write_figure(figure(every), folder / "figure.png")
    return wide


def _differing(rows: pd.DataFrame) -> list[str]:
    """Columns of settings, and of the sources where several numbers of them were tried on one set."""
    tried = rows.groupby(["predictor", "device_set"])[["sources", "source_cells"]].nunique().max()
    shown = [name for name in settings_of(rows.columns) if not name.startswith("samples.")]
    return shown + list(tried.index[tried > 1])


def margins(table: pd.DataFrame, ours: str = "conditioned") -> list[dict[str, Any]]:
    """Difference of mean Spearman between predictor `ours` and the best other one, one row per device set and number of
    samples; each pair is compared on the targets, seeds and draws that both have. Rows of part `margin` compare it with
    all others; those of part `harm` with `WEIGHED`, with a 95 % interval over draws (columns low and high), for each
    set where all of them are; set `mean` compares means over these sets, `least` has the least difference of a set."""
    every = table[(table["cells"] == "all") & (table["sampler"] != "fixed")].astype({"spearman": float})
    rows, complete = [], list[dict[str, Any]]()
    for (device_set, shots), part in every.groupby(["device_set", "shots"], sort=False):
        wide = part.groupby(["device", "seed", "draw", "predictor"])["spearman"].mean().unstack("predictor")
        if ours not in wide:
            continue
        about = {"device_set": device_set, "shots": shots}
        above = wide.drop(columns=ours).rsub(wide[ours], axis=0)
        means = above.mean().dropna()
        if len(means):
            worst = {"best_other": means.idxmin(), "margin_spearman": float(means.min())}
            rows.append({"part": "margin", **about, **worst})
        if shots and set(WEIGHED) <= set(means.index):
            name = str(means[list(WEIGHED)].idxmin())
            mean, half = interval(above[name].groupby(["seed", "draw"]).mean())
            ends = {"low": mean - half, "high": mean + half} if half is not None else {}
            complete.append(
                {"part": "harm", **about, "best_other": name, "margin_spearman": mean, **ends, **means[list(WEIGHED)]}
            )
    for shots in dict.fromkeys(row["shots"] for row in complete):
        sets = [row for row in complete if row["shots"] == shots]
        least, over = min(sets, key=lambda row: row["margin_spearman"]), pd.DataFrame(sets)[list(WEIGHED)].mean()
        about = {"part": "harm", "shots": shots}
        rows.append({**about, "device_set": "mean", "best_other": over.idxmin(), "margin_spearman": float(over.min())})
        rows.append({**least, **about, "device_set": "least"})
    return rows + complete


def interval(values: pd.Series) -> tuple[float, float | None]:
    """Mean of values, and half of the width of its 95 % interval (Student's t; None for one value)."""
    from scipy.special import stdtrit

    n = len(values)
    return float(values.mean()), float(stdtrit(n - 1, 0.975) * values.std() / n**0.5) if n > 1 else None


def tails(table: pd.DataFrame) -> list[dict[str, Any]]:
    """How often 90 % intervals hold, one row per predictor, sampler and number of samples over all targets, seeds and
    draws of the device sets: mean coverage, least coverage, and shares of draws with less than 70 and 60 % inside."""
    if "coverage" not in table:
        return []
    every = table[table["cells"] == "all"].astype({"coverage": float}).dropna(subset=["coverage"])
    rows = []
    for (predictor, sampler, shots), part in every.groupby(["predictor", "sampler", "shots"], sort=False):
        inside = part["coverage"]
        row = {"part": "tails", "predictor": predictor, "sampler": sampler, "shots": shots, "draws": len(inside)}
        row |= {"mean_coverage": inside.mean(), "least_coverage": inside.min()}
        rows.append(row | {"below_70": (inside < 0.7).mean(), "below_60": (inside < 0.6).mean()})
    return rows


def with_intervals(every: pd.DataFrame) -> pd.DataFrame:
    """Mean Spearman and half of its 95 % interval over draws as text, in the layout of the table that `gather`
    returns."""
    line = ["predictor", "sampler", "shots"]
    draws = every.groupby([*line, "device_set", "seed", "draw"], sort=False)["spearman"].mean()
    texts = {}
    for key, part in draws.groupby([*line, "device_set"], sort=False):
        mean, half = interval(part)
        texts[key] = f"{mean:.3f}" + (f" ± {half:.3f}" if half is not None else "")
    wide = pd.Series(texts).rename_axis([*line, "device_set"]).unstack("device_set")
    return wide[list(dict.fromkeys(every["device_set"]))].reset_index()


def figure(rows: pd.DataFrame) -> Figure:
    """Dots: mean Spearman per predictor and device set; thin lines reach from the worst to the best draw."""
    from datasets.figures import grid
    from predictors.figures import COLOURS

    sets, names = list(dict.fromkeys(rows["device_set"])), list(dict.fromkeys(rows["predictor"]))
    common = set.intersection(*(set(rows[rows["predictor"] == name]["shots"]) for name in names))
    shots = max(common) if common else rows["shots"].max()
    many = len(sets) > 14
    picture, (axis, *_) = grid(1, width=max(6.0, (0.3 if many else 0.8) * len(sets) + 2), height=5.5 if many else 4.0)
    for i, name in enumerate(names):
        part = rows[(rows["predictor"] == name) & (rows["shots"] == shots)]
        draws = part.groupby(["device_set", "seed", "draw"])["spearman"].mean().groupby("device_set")
        middle, low, high = (draws.agg(how).reindex(sets) for how in ("mean", "min", "max"))
        places = [j + (i - (len(names) - 1) / 2) * 0.7 / len(names) for j in range(len(sets))]
        style = {"fmt": "o", "ms": 4, "lw": 0.8, "color": COLOURS[i % len(COLOURS)], "label": name}
        axis.errorbar(places, middle, yerr=[middle - low, high - middle], **style)
    axis.set_xticks(range(len(sets)), sets, rotation=90 if many else 0)
    axis.set(
        ylabel="Spearman", title=f"{shots} samples of the new device; the lines reach from the worst to the best draw"
    )
    axis.grid(axis="y", alpha=0.3)
    picture.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=min(4, len(names)))
    return picture
