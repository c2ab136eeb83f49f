"""Figures of look-up tables and of searches in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.figures import GREY, grid
from predictors.networks.layer_table import LayerTable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def over_channels(table: LayerTable, kinds: Mapping[str, str]) -> Figure:
    """Latency over a layer's input channels, one line per number of output channels and one panel per layer (the
    paper's Figures 3 and 4).

    Dots are measured, lines are interpolated between them.

    Args:
        table: latencies of one device.
        kinds: kinds of layers by the titles of their panels.
    """
    from matplotlib import colormaps

    figure, axes = grid(len(kinds), 5.2, 4.0, 2)
    for axis, (title, kind) in zip(axes, kinds.items(), strict=False):
        ins, outs = table.axes(kind)
        measured = table.grids[kind].ms
        x = np.linspace(ins[0], ins[-1], 200)
        for column, out in enumerate(outs.tolist()):
            colour = colormaps["viridis"](0.9 * column / max(len(outs) - 1, 1))
            ms = table.ms(np.full(len(x), table.number(kind)), x, np.full(len(x), out))
            axis.plot(x, ms, color=colour, lw=1.2)
            axis.plot(ins, measured[:, column], ".", color=colour, ms=5, label=str(out or "as many"))
        axis.set(title=title, xlabel="channels in", ylabel="latency, ms", ylim=(0, None))
        axis.legend(title="channels out", fontsize=7, title_fontsize=7, ncols=2, frameon=False, loc="upper left")
    figure.suptitle(f"Layers on {table.device}", fontsize=11)
    return figure


def sums_against_direct(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Latencies of whole networks by a table over measured ones, one panel per device.

    Args:
        rows: device, network, direct_ms and table_ms.
    """
    import pandas as pd
    from matplotlib.ticker import LogLocator, NullFormatter

    frame = pd.DataFrame(list(rows))
    devices = list(frame["device"].unique())
    figure, axes = grid(len(devices), 4.2, 3.9, 4)
    for axis, device in zip(axes, devices, strict=False):
        for marker, (network, part) in zip("os^D", frame[frame["device"] == device].groupby("network"), strict=False):
            axis.plot(part["direct_ms"], part["table_ms"], marker, ms=4.5, alpha=0.8, label=network)
        pairs = frame[frame["device"] == device][["direct_ms", "table_ms"]].to_numpy()
        ends = np.array([0.8 * pairs.min(), 1.25 * pairs.max()])
        axis.plot(ends, ends, color=GREY, lw=1)
        axis.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, alpha=0.15, lw=0, label="within 10 %")
        axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=device)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(subs=(1, 2, 5)))
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter(NullFormatter())
        axis.set(xlabel="measured, ms", ylabel="by the table, ms")
        axis.legend(fontsize=7, frameon=False)
    return figure


def lookups(rows: pd.DataFrame) -> Figure:
    """Look-ups per proposal of each search on a logarithmic scale, one panel per network.

    Args:
        rows: network, delta, search, lookups, proposals and bound (widths per proposal of the sequential search).
    """
    networks = list(rows["network"].unique())
    figure, axes = grid(len(networks), 5.4, 3.8, 2)
    for axis, network in zip(axes, networks, strict=False):
        part = rows[rows["network"] == network]
        names, deltas = list(part["search"].unique()), list(part["delta"].unique())
        for i, name in enumerate(names):
            selected = part[part["search"] == name].set_index("delta").loc[deltas]
            x = np.arange(len(deltas)) + (i - (len(names) - 1) / 2) * 0.8 / len(names)
            axis.bar(x, selected["lookups"] / selected["proposals"], 0.75 / len(names), label=name)
        axis.set_xticks(range(len(deltas)), [f"delta {delta:g}" for delta in deltas])
        axis.set(yscale="log", title=network, ylabel="look-ups per proposal")
        axis.set_ylim(1, axis.get_ylim()[1] * 4)
        axis.legend(fontsize=7, frameon=False, ncols=3, loc="upper left")
    return figure
