"""From sums of layers to whole networks: three coefficients, fitted to networks that were measured whole.

A layer measured alone, run after run, finds its weights in the nearest cache, which a network's do not fit into; a
runtime does things at the borders of layers that it does not do inside of a network, or the other way round. So a
network's latency is taken as a (sum of its layers) - b (calls but one) + g (megabytes of weights). Without a
measurement a = b = 1 and g = 0, and each measured network moves them by ridge regression towards what it took.

All three keep a layer's latency bilinear between measured points, so searches in the table stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.analysis import BYTES, cut, entries, totals
from datasets.records import Architecture
from search.netadapt.channels import Groups
from search.netadapt.layer_table import CALL, LayerGrid, LayerTable, read_rows
from search.netadapt.layers import Layer, read_layer, read_network


class Coefficients(NamedTuple):
    """What a network's latency is made of.

    Attributes:
        layers: factor of the sum of its layers.
        calls: factor of what a session costs that computes nothing, for all layers but one.
        ms_per_mb: for every megabyte (10^6 bytes) of weights.
    """

    layers: float = 1.0
    calls: float = 1.0
    ms_per_mb: float = 0.0


PRIOR = Coefficients(0.3, 0.5, 0.1)
"""How far, as a standard deviation, each may be from its value without measurements."""
NOISE = 0.05
"""How far, as a share, a measured network may be from the formula."""


def fit(table: LayerTable, networks: Sequence[Architecture], ms: np.ndarray) -> Coefficients:
    """The coefficients that say best what networks [N] were measured to take [N], relatively."""
    from scipy.optimize import lsq_linear

    rows = np.array([_parts(table, network) for network in networks]) / np.asarray(ms)[:, None] / NOISE
    aim = np.full(len(rows), 1 / NOISE)
    rows, aim = np.vstack([rows, np.diag(1 / np.array(PRIOR))]), np.append(aim, np.array(Coefficients()) / PRIOR)
    return Coefficients(*map(float, lsq_linear(rows, aim, bounds=(0, np.inf)).x))


def calibrated(table: LayerTable, found: Coefficients) -> LayerTable:
    """The table whose sums are those of the formula."""
    grids = {kind: _grown(kind, grid, found) for kind, grid in table.grids.items()}
    return replace(table, grids=grids, call_ms=found.calls * table.call_ms)


def whole_networks(path: Path, groups: Groups, device: str) -> tuple[list[Architecture], np.ndarray]:
    """The networks of a table that have these groups' layers, of any widths, and their latencies in ms."""
    kinds = sorted(one.kind for one in groups.layers)
    networks, ms = [], []
    for key, value in read_rows(path, device).items():
        network = read_network(key) if key != CALL else None
        if network and sorted(read_layer(cut(network, one)).kind for one in entries(network)) == kinds:
            networks.append(network)
            ms.append(value)
    return networks, np.array(ms)


def _parts(table: LayerTable, network: Architecture) -> tuple[float, float, float]:
    layers = [read_layer(cut(network, nodes)) for nodes in entries(network)]
    kinds = np.array([table.number(one.kind) for one in layers])
    ins, outs = (np.array([getattr(one, f"channels_{side}") for one in layers]) for side in ("in", "out"))
    calls = -(len(layers) - 1) * table.call_ms
    return float(table.ms(kinds, ins, outs).sum()), calls, _megabytes(network)


def _grown(kind: str, grid: LayerGrid, found: Coefficients) -> LayerGrid:
    weights = [[_megabytes(Layer(kind, int(i), int(o) or int(i)).network()) for o in grid.outs] for i in grid.ins]
    return replace(grid, ms=found.layers * grid.ms + found.ms_per_mb * np.array(weights))


def _megabytes(network: Architecture) -> float:
    return BYTES * totals(network)["params"] / 1e6
