"""The look-up table: latencies of layers over their channels in and out, measured on a grid and interpolated between.

A session that computes nothing costs something too, and a network pays for it once where its layers alone paid each:
so a network's latency is the sum over its layers, less what all sessions but one cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.reading import listed
from datasets.files.table_file import read_values
from datasets.networks.network import Network
from datasets.networks.parts import entries
from datasets.records import InputError
from search.netadapt.layers import Layer, read_layer

if TYPE_CHECKING:
    import pandas as pd

CALL = "one number"
"""What tables call a session that computes nothing."""


@dataclass(frozen=True)
class LayerGrid:
    """What was measured of one kind of layer.

    Attributes:
        ins, outs: channels, ascending [I] and [O]; a kind with as many out as in has the one `outs` 0.
        ms: latencies [I, O]; NaN where nothing was measured.
    """

    ins: np.ndarray
    outs: np.ndarray
    ms: np.ndarray

    def whole(self) -> np.ndarray:
        """Latencies without holes [I, O].

        Between two measured neighbours of its row or column a hole is what a line says, the mean of both where both
        say something. What lies beyond them is what a + b in + c out + d in out says, fitted to all relatively.
        """
        holes = np.isnan(self.ms)
        if not holes.any():
            return self.ms
        rows = np.array([_bridged(self.outs, row) for row in self.ms])
        columns = np.array([_bridged(self.ins, column) for column in self.ms.T]).T
        both = np.stack([rows, columns])
        known = ~np.isnan(both)
        inside = np.where(known, both, 0).sum(0) / np.maximum(known.sum(0), 1)
        return np.where(holes, np.where(known.any(0), inside, self._surface()), self.ms)

    def _surface(self) -> np.ndarray:
        i, o = np.meshgrid(self.ins / self.ins.max(), self.outs / max(self.outs.max(), 1), indexing="ij")
        terms = np.stack([np.ones_like(i), i, o, i * o], axis=-1)
        there = ~np.isnan(self.ms)
        weights = 1 / self.ms[there]
        found = np.linalg.lstsq(terms[there] * weights[:, None], np.ones(there.sum()), rcond=None)[0]
        return np.maximum(terms @ found, np.nanmin(self.ms) / 2)


@dataclass
class LayerTable:
    """Latencies of layers on one device.

    Attributes:
        grids: by kinds of layers.
        call_ms: of a session that computes nothing.
        device: where it was measured.
        whole: what whole networks took there in ms, by their texts.
    """

    grids: Mapping[str, LayerGrid]
    call_ms: float = 0.0
    device: str = ""
    whole: Mapping[str, float] = field(default_factory=dict)
    kinds: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.kinds = {kind: number for number, kind in enumerate(self.grids)}

    @classmethod
    def of(cls, measured: Iterable[tuple[Layer, float]], call_ms: float = 0.0, device: str = "") -> LayerTable:
        """From layers and their latencies in ms; of equal layers the last counts."""
        found: dict[str, dict[tuple[int, int], float]] = {}
        for one, ms in measured:
            found.setdefault(one.kind, {})[one.channels_in, 0 if one.narrow else one.channels_out] = ms
        return cls({kind: _grid(points) for kind, points in found.items()}, call_ms, device)

    @classmethod
    def read(cls, path: Path, device: str | None = None, metric: str = "latency_ms") -> LayerTable:
        """From a table that `python -m measure run --space layers` and `measure table` made.

        Args:
            path: the Parquet file.
            device: by default the only one.
            metric: of the latencies.
        """
        table = read_values(path)
        device = device or _device(table, path)
        rows = _rows(table, device, metric, path)
        networks = {key: Network.from_json(key) for key in rows if key != CALL}
        layers = {key: network for key, network in networks.items() if len(entries(network)) == 1}
        if CALL not in rows or not layers:
            raise InputError(f"{path} has no layers, or no '{CALL}'; measure what `python -m search layers` lists.")
        measured = [(read_layer(network), rows[key]) for key, network in layers.items()]
        found = cls.of(measured, rows[CALL], device)
        found.whole = {key: rows[key] for key in networks if key not in layers}
        return found

    def number(self, kind: str) -> int:
        """The kind's number, for `ms`."""
        if kind not in self.kinds:
            raise InputError(
                f"The table of '{self.device}' has no layer {kind}; measure `python -m search layers` of it."
            )
        return self.kinds[kind]

    def axes(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The channels in and out between which the kind's latencies are straight."""
        grid = list(self.grids.values())[self.number(kind)]
        return grid.ins, grid.outs

    def ms(self, kinds: np.ndarray, channels_in: np.ndarray, channels_out: np.ndarray) -> np.ndarray:
        """Latencies [N] of layers by their kinds' numbers and channels [N], bilinear between what was measured.

        Raises:
            InputError: a layer is narrower or wider than any that was measured.
        """
        packed = self._packed
        row, down = packed.ins.place(kinds, channels_in)
        column, right = packed.outs.place(kinds, np.where(packed.narrow[kinds], 0, channels_out))
        if len(kinds) and max(np.abs(down - 0.5).max(), np.abs(right - 0.5).max()) > 0.5:
            worst = int(np.argmax(np.maximum(np.abs(down - 0.5), np.abs(right - 0.5))))
            raise InputError(
                f"The table of '{self.device}' does not reach a layer of {channels_in[worst]} to "
                f"{channels_out[worst]} channels: {list(self.grids)[kinds[worst]]}."
            )
        at = packed.start[kinds] + row * packed.width[kinds] + column
        below = at + packed.below[kinds]
        beside = packed.beside[kinds]
        upper, lower = packed.values[at], packed.values[below]
        upper = upper + (packed.values[at + beside] - upper) * right
        lower = lower + (packed.values[below + beside] - lower) * right
        return upper + (lower - upper) * down

    @cached_property
    def _packed(self) -> _Packed:
        return _Packed(list(self.grids.values()))


class _Packed:
    """All grids as flat arrays, so that layers of all kinds are read at once."""

    def __init__(self, grids: Sequence[LayerGrid]) -> None:
        self.values = np.concatenate([grid.whole().ravel() for grid in grids])
        self.start = np.cumsum([0, *(grid.ms.size for grid in grids)])[:-1]
        self.width = np.array([len(grid.outs) for grid in grids])
        self.narrow = np.array([grid.outs[-1] == 0 for grid in grids])
        self.ins, self.outs = _Axes([grid.ins for grid in grids]), _Axes([grid.outs for grid in grids])
        self.beside = (self.width > 1).astype(int)
        self.below = np.where([len(grid.ins) > 1 for grid in grids], self.width, 0)


class _Axes:
    """One side of all grids, one after another; a search in all at once takes them for one long axis."""

    apart = 1e7  # more than any number of channels

    def __init__(self, axes: Sequence[np.ndarray]) -> None:
        sizes = np.array([len(axis) for axis in axes])
        self.first = np.cumsum([0, *sizes])[:-1]
        self.last = self.first + np.maximum(sizes - 2, 0)
        self.points = np.concatenate(axes).astype(float)
        self.long = self.points + self.apart * np.repeat(np.arange(len(axes)), sizes)
        gaps = np.append(np.diff(self.points), 1)
        gaps[self.first[sizes == 1]] = 1e-9  # an axis of one point reaches that point only
        self.gaps = gaps

    def place(self, kinds: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The point before each number of channels, and how far on it is towards the next, from 0 to 1."""
        at = np.searchsorted(self.long, channels + self.apart * kinds, side="right") - 1
        at = np.minimum(np.maximum(at, self.first[kinds]), self.last[kinds])
        return at - self.first[kinds], (channels - self.points[at]) / self.gaps[at]


def _grid(points: Mapping[tuple[int, int], float]) -> LayerGrid:
    ins, outs = (np.array(sorted(set(side))) for side in zip(*points, strict=True))
    ms = np.full((len(ins), len(outs)), np.nan)
    for (i, o), value in points.items():
        ms[np.searchsorted(ins, i), np.searchsorted(outs, o)] = value
    return LayerGrid(ins, outs, ms)


def _bridged(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    there = ~np.isnan(y)
    return np.interp(x, x[there], y[there], left=np.nan, right=np.nan) if there.any() else y


def _rows(table: pd.DataFrame, device: str, metric: str, path: Path) -> dict[str, float]:
    chosen = table[(table["space"] == "layers") & (table["device"] == device) & (table["metric"] == metric)]
    if chosen.empty:
        raise InputError(f"{path} has no {metric} of layers on '{device}'; it knows {listed(_devices(table))}.")
    return dict(zip(chosen["key"], chosen["value"].astype(float), strict=True))


def devices_of(path: Path) -> list[str]:
    """The devices of a table, sorted by their names; raises `InputError` where it cannot be read."""
    return _devices(read_values(path))


def _devices(table: pd.DataFrame) -> list[str]:
    return sorted(table["device"].dropna().unique())


def _device(table: pd.DataFrame, path: Path) -> str:
    known = _devices(table)
    if len(known) != 1:
        raise InputError(f"{path} is of {len(known)} devices; name one of them: {listed(known) or 'there is none'}.")
    return known[0]
