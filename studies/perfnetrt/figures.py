"""Figures of PerfNetRT's study on networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def draw_networks(drawn: dict, path: Path) -> None:
    """Predicted against measured latencies, one column per device and one row per method."""
    from matplotlib.figure import Figure

    devices, methods = (list(dict.fromkeys(key[i] for key in drawn)) for i in (0, 1))
    figure = Figure(figsize=(4 * len(devices), 3.6 * len(methods)), layout="constrained")
    axes = figure.subplots(len(methods), len(devices), squeeze=False)
    for i, method in enumerate(methods):
        for j, device in enumerate(devices):
            axis, sets = axes[i][j], drawn[device, method]
            ends = [min(min(y.min(), p.min()) for y, p in sets), max(max(y.max(), p.max()) for y, p in sets)]
            axis.fill_between(ends, np.multiply(0.9, ends), np.multiply(1.1, ends), color="#888888", alpha=0.25, lw=0)
            for (y, p), colour, name in zip(sets, ("#2f6db3", "#d9822b"), ("random", "zoo"), strict=True):
                axis.scatter(y, p, s=14, color=colour, label=name, lw=0)
            off = np.concatenate([np.abs(p / y - 1) for y, p in sets]).mean()
            axis.set(xscale="log", yscale="log", title=f"{device}\n{method}: {100 * off:.1f} % off",
                     xlabel="measured, ms", ylabel="predicted, ms")  # fmt: skip
            axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def draw_figure4(rows: list[dict], path: Path) -> None:
    """PerfNetRT's Figure 4: one panel per network and runtime, with three curves of milliseconds over batches."""
    from matplotlib.figure import Figure

    devices, nets = (list(dict.fromkeys(row[name] for row in rows)) for name in ("device", "network"))
    figure = Figure(figsize=(4.4 * len(nets), 3 * len(devices)), layout="constrained")
    axes = figure.subplots(len(devices), len(nets), squeeze=False)
    curves = {
        "predicted_ms": ("predicted", "#2f6db3", "o-"),
        "measured_ms": ("measured, optimised", "#d9822b", "s-"),
        "unoptimised_ms": ("measured, not optimised (eager PyTorch)", "#888888", "^--"),
    }
    for i, device in enumerate(devices):
        for j, net in enumerate(nets):
            part = [row for row in rows if (row["device"], row["network"]) == (device, net)]
            part.sort(key=lambda row: row["batch"])
            batches = [row["batch"] for row in part]
            for column, (name, colour, style) in curves.items():
                values = [row.get(column, np.nan) for row in part]
                axes[i][j].plot(batches, values, style, color=colour, label=name, markersize=4)
            off = np.mean([row["error"] for row in part])
            axes[i][j].set(xscale="log", yscale="log", xlabel="batch", ylabel="ms")
            axes[i][j].set_xticks(batches, batches)
            axes[i][j].minorticks_off()
            axes[i][j].set_title(f"{net} on {device}: {100 * off:.1f} % off", fontsize=10)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)
