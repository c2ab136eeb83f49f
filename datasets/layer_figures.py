"""Figures of tables of single layers: their times against their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.figures import fitting_size, grid, plain_ticks, quantity
from datasets.records import Measurements, Networks
from datasets.spaces import parse_space

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def layers_against_work(m: Measurements, metric: str) -> Figure:
    """Values of single layers or operations against their multiply-accumulates (bytes moved where some have none), one
    panel per device.

    Colours are the words of the layer's last feature that has words, such as the function or the form.
    """
    space, measured = m.architectures.space, m.matrix(metric)
    totals = space.totals(m.architectures)
    by_macs = bool((totals["macs"] > 0).all())
    work, all_ = totals["macs" if by_macs else "moved_bytes"].to_numpy(), np.ones(len(totals), bool)
    groups = {"": all_}
    if isinstance(space, LayerSpace) and (worded := [f for f in space.features if f.words]):
        values = space.values(m.architectures)[worded[-1].name]
        groups = {word: values == i for i, word in enumerate(worded[-1].words)}
    figure, axes = grid(len(m.devices))
    for device, column, axis in zip(m.devices, measured.T, axes, strict=False):
        for word, rows in groups.items():
            known = rows & (column > 0) & (work > 0)
            axis.loglog(work[known], column[known], ".", ms=2.5, alpha=0.5, label=word)
        axis.set(xlabel="multiply-accumulates" if by_macs else "bytes moved", ylabel=quantity(metric))
        axis.set_title(device.name, fontsize=min(9, fitting_size(device.name, 3.2)))
        plain_ticks(axis.yaxis)
    if len(groups) > 1:
        axes[0].legend(fontsize=6, frameon=False, markerscale=3)
    figure.suptitle(f"{m.name}: {len(m.architectures):,} layers", x=0.01, ha="left")
    return figure


def of_layers(m: Measurements) -> bool:
    """Whether a table is of single layers or operations, in one space or in several."""
    if isinstance(m.architectures, Networks):
        names = {network.space for network in m.architectures.networks}
        return all("(" in name and isinstance(parse_space(name), LayerSpace) for name in names)
    return isinstance(m.architectures.space, LayerSpace)
