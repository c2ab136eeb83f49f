"""Figures of reports, as functions from tables to matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datasets.figures import fitting_size, grid, legend_columns, name_ticks, plain_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2f6db3", "#d9822b", "#888888"
COLOURS = (BLUE, ORANGE, "#3a9a5b", "#8a5bb5", "#c2453c", "#6b6f76", "#d9b52b", "#4fb3bf", "#8c5a3c", "#222222")


def scatter(predictions: pd.DataFrame, unit: str, panel: str = "device") -> Figure:
    """Measured against predicted values, one panel per value of column `panel`, with the diagonal and a band of +-10
    %."""
    devices = list(dict.fromkeys(predictions[panel]))
    figure, axes = grid(len(devices), fixed=True)
    for axis, device in zip(axes, devices, strict=False):
        part = predictions[predictions[panel] == device]
        low = part[["measured", "predicted"]].min().min()
        high = part[["measured", "predicted"]].max().max()
        line = np.array([low, high])
        axis.fill_between(line, 0.9 * line, 1.1 * line, color=GREY, alpha=0.2, lw=0, label="±10 %")
        axis.plot(line, line, color=GREY, lw=0.8)
        many = len(part) > 1000
        style = {"s": 3 if many else 10, "alpha": 0.25 if many else 0.6, "lw": 0, "rasterized": True}
        axis.scatter(part["measured"], part["predicted"], color=BLUE, **style)
        if low > 0:
            axis.set(xscale="log", yscale="log")
            plain_ticks(axis.xaxis)
            plain_ticks(axis.yaxis)
        axis.set(xlabel=f"measured, {unit}", ylabel=f"predicted, {unit}")
        axis.set_title(device, fontsize=fitting_size(str(device), 3.1))
        axis.legend(frameon=False, loc="upper left")
    return figure


def errors(predictions: pd.DataFrame) -> Figure:
    """Histograms of relative errors, one panel per device; the outermost bins hold all errors beyond 30 %."""
    devices = list(dict.fromkeys(predictions["device"]))
    figure, axes = grid(len(devices), height=2.8, fixed=True)
    bins = np.linspace(-30, 30, 61)
    for axis, device in zip(axes, devices, strict=False):
        part = predictions[predictions["device"] == device]
        error = 100 * (part["predicted"] / part["measured"] - 1)
        axis.stairs(np.histogram(error.clip(-29.9, 29.9), bins)[0], bins, color=BLUE, fill=True)
        for bound in (-10, 10):
            axis.axvline(bound, color=GREY, lw=0.8, ls="--")
        axis.set(xlabel="relative error, %", ylabel="architectures")
        axis.set_title(device, fontsize=fitting_size(str(device), 3.1))
    return figure


def device_bars(rows: pd.DataFrame) -> Figure:
    """Spearman and the share within +-10 %, one group of bars per device, one colour per predictor."""
    devices, names = list(dict.fromkeys(rows["device"])), list(dict.fromkeys(rows["predictor"]))
    bars = len(devices) * len(names)
    many = bars > 24
    inches = min(0.17 * bars, 16) + 2 if many else 5.2
    figure, axes = grid(2, width=inches, height=3.4, columns=1 if many else 2)
    width = 0.8 / len(names)
    for axis, column, title in zip(axes, ("spearman", "within_10"), ("Spearman", "share within ±10 %"), strict=True):
        for i, name in enumerate(names):
            part = rows[rows["predictor"] == name].groupby("device")[column].mean().reindex(devices)
            values = part.to_numpy(float)
            places = np.arange(len(devices)) + (i - (len(names) - 1) / 2) * width
            axis.bar(places, np.nan_to_num(values), width, label=name, color=COLOURS[i % len(COLOURS)])
            for x, value in zip(places, values, strict=True):
                text = "none" if np.isnan(value) else f"{value:.2f}"
                rotation = 90 if len(names) > 2 else 0
                axis.annotate(
                    text, (x, max(0, np.nan_to_num(value))), ha="center", va="bottom", fontsize=7, rotation=rotation
                )
        name_ticks(axis, devices, inches - 1)
        axis.set(title=title, ylim=(min(0, axis.get_ylim()[0]), 1.15))
    if len(names) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        columns = legend_columns(names, float(figure.get_figwidth()))
        figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=columns)
    return figure


def learning_curves(rows: pd.DataFrame) -> Figure:
    """Spearman and the share within +-10 % over the number of labels, one line per predictor; error bars span the
    seeds."""
    figure, axes = grid(2, width=5.2, height=3.4)
    for axis, column, title in zip(axes, ("spearman", "within_10"), ("Spearman", "share within ±10 %"), strict=True):
        for i, name in enumerate(dict.fromkeys(rows["predictor"])):
            part = rows[rows["predictor"] == name].astype({column: float})
            seeds = part.groupby(["shots", "seed"])[column].mean().unstack()
            if seeds.isna().all(axis=None):
                continue
            middle = seeds.mean(axis=1)
            reach = [middle - seeds.min(axis=1), seeds.max(axis=1) - middle]
            style = {"marker": "o", "ms": 4, "lw": 1.4, "capsize": 2, "color": COLOURS[i % len(COLOURS)]}
            axis.errorbar(middle.index, middle, yerr=reach, label=name, **style)
        axis.set(title=title, xlabel="labels, validation included", xscale="log")
        axis.set_xticks(sorted(rows["shots"].unique()), [f"{n:g}" for n in sorted(rows["shots"].unique())])
        axis.minorticks_off()
    handles, labels = axes[
        1
    ].get_legend_handles_labels()  # the right one has every predictor: a share is never undefined
    columns = legend_columns(labels, float(figure.get_figwidth()))
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=columns)
    return figure
