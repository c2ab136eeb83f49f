"""From sums of layers to whole networks: a few coefficients, fitted to networks that were measured whole.

A layer measured alone, run after run, finds its weights in the nearest cache, which a network's do not fit into; a
runtime does things at the borders of layers that it does not do inside of a network, or the other way round. So a
network's latency is taken as what its layers take, times a factor for each of `WORK`, less what calls cost, times
another, and so many ms for every megabyte of weights. Without a measurement the factors are 1 and the last is 0, and
measured networks move them by the fit that sums of learnt layers have too (`predictors.networks.calibration`).

All that keeps a layer's latency bilinear between measured points, so searches in the table stay what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.networks.ops import BYTES
from datasets.networks.parts import cut, entries
from predictors.networks.calibration import calibrate as weigh
from search.netadapt.channels import Groups
from search.netadapt.layer_table import LayerGrid, LayerTable
from search.netadapt.layers import IN, Layer, read_layer

WORK = ("conv", "depthwise", "dense", "other")
"""Layers that have a factor together."""
GUESS = np.array([*[1.0] * len(WORK), 1.0, 0.05])
"""What coefficients are likely before a network was measured: factors of `WORK` and of calls, ms per megabyte."""
PRIOR = np.diag(np.square([*[0.5] * len(WORK), 1.0, 2.0]))
"""Covariance of their logarithms. Chosen, like `GUESS`, by networks of the bundled tables, each left out once."""
NOISE = 0.05
"""How far, as a share, a measured network may be from the formula; of those further away the most count less."""


@dataclass(frozen=True)
class Coefficients:
    """What a network's latency is made of.

    Attributes:
        layers: factors of what layers take, by `WORK`.
        calls: factor of what a session costs that computes nothing, for all layers but one.
        ms_per_mb: for every megabyte (10^6 bytes) of weights.
    """

    layers: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(WORK, 1.0))
    calls: float = 1.0
    ms_per_mb: float = 0.0


def fit(table: LayerTable, networks: Sequence[Network], ms: np.ndarray) -> Coefficients:
    """The coefficients that say best what networks [N] were measured to take [N], relatively."""
    costs = np.array([parts(table, network) for network in networks])
    *layers, calls, ms_per_mb = weigh(costs, np.asarray(ms), GUESS, PRIOR, NOISE).tolist()
    return Coefficients(dict(zip(WORK, layers, strict=True)), calls, ms_per_mb)


def calibrate(table: LayerTable, groups: Groups) -> LayerTable:
    """The table for networks of these groups, by what it holds of them; as it is where that is nothing."""
    networks, ms = whole_networks(table, groups)
    return calibrated(table, fit(table, networks, ms)) if networks else table


def calibrated(table: LayerTable, found: Coefficients) -> LayerTable:
    """The table whose sums are those of the formula."""
    grids = {kind: _grown(kind, grid, found) for kind, grid in table.grids.items()}
    return replace(table, grids=grids, call_ms=found.calls * table.call_ms, whole={})


def whole_networks(table: LayerTable, groups: Groups) -> tuple[list[Network], np.ndarray]:
    """The measured networks that have these groups' layers, of any widths, and their latencies in ms."""
    kinds = sorted(one.kind for one in groups.layers)
    networks, ms = [], []
    for key, value in table.whole.items():
        network = Network.from_json(key)
        layers = entries(network)
        if len(layers) == len(kinds) and sorted(read_layer(cut(network, one)).kind for one in layers) == kinds:
            networks.append(network)
            ms.append(value)
    return networks, np.array(ms)


def parts(table: LayerTable, network: Network) -> list[float]:
    """What the coefficients are for, of one network."""
    layers = [read_layer(cut(network, nodes)) for nodes in entries(network)]
    kinds = np.array([table.number(one.kind) for one in layers])
    ins, outs = (np.array([getattr(one, f"channels_{side}") for one in layers]) for side in ("in", "out"))
    ms, work = table.ms(kinds, ins, outs), np.array([_work(one.kind) for one in layers])
    calls = -(len(layers) - 1) * table.call_ms
    return [*(float(ms[work == name].sum()) for name in WORK), calls, _megabytes(network)]


def _work(kind: str) -> str:
    name, attrs = json.loads(kind)[0][1]
    if name == "conv":
        return "depthwise" if attrs.get("groups") == IN else "conv"
    return name if name in WORK else "other"


def _grown(kind: str, grid: LayerGrid, found: Coefficients) -> LayerGrid:
    weights = [[_megabytes(Layer(kind, int(i), int(o) or int(i)).network()) for o in grid.outs] for i in grid.ins]
    return replace(grid, ms=found.layers[_work(kind)] * grid.ms + found.ms_per_mb * np.array(weights))


def _megabytes(network: Network) -> float:
    return BYTES * totals(network)["params"] / 1e6
