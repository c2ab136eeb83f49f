"""The look-up table: latencies of layers over their channels in and out, measured on a grid and interpolated between.

A session that computes nothing costs something too, and a network pays for it once where its layers alone paid each:
so a network's latency is the sum over its layers, less what all sessions but one cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from datasets.records import InputError
from predictors.networks.layer_kinds import Layer

APART = 10**7
"""More than any number of channels."""
MOST_POINTS = 2**21
"""Most points of all grids together."""


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
    """

    grids: Mapping[str, LayerGrid]
    call_ms: float = 0.0
    device: str = ""
    kinds: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.kinds = {kind: number for number, kind in enumerate(self.grids)}

    @classmethod
    def of(cls, measured: Iterable[tuple[Layer, float]], call_ms: float = 0.0, device: str = "") -> LayerTable:
        """From layers and their latencies in ms; of equal layers the last counts.

        Raises:
            InputError: a layer has `APART` channels or more, or the grids have more points than `MOST_POINTS`.
        """
        found: dict[str, dict[tuple[int, int], float]] = {}
        for one, ms in measured:
            found.setdefault(one.kind, {})[one.channels_in, 0 if one.narrow else one.channels_out] = ms
        sides = {kind: [set(side) for side in zip(*points, strict=True)] for kind, points in found.items()}
        if (
            any(max(side) >= APART for both in sides.values() for side in both)
            or sum(len(ins) * len(outs) for ins, outs in sides.values()) > MOST_POINTS
        ):
            raise InputError(
                f"The table of '{device}' has layers of {APART:,} channels, or grids of more than {MOST_POINTS:,} "
                "points; measure fewer numbers of channels."
            )
        return cls({kind: _grid(points) for kind, points in found.items()}, call_ms, device)

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
        at, down, right = packed.place(kinds, channels_in, channels_out)
        if len(kinds) and not (there := _inside(down, right)).all():
            worst = int(np.argmin(there))
            raise InputError(
                f"The table of '{self.device}' does not reach a layer of {channels_in[worst]} to "
                f"{channels_out[worst]} channels: {list(self.grids)[kinds[worst]]}."
            )
        below = at + packed.below[kinds]
        beside = packed.beside[kinds]
        upper, lower = packed.values[at], packed.values[below]
        upper = upper + (packed.values[at + beside] - upper) * right
        lower = lower + (packed.values[below + beside] - lower) * right
        return upper + (lower - upper) * down

    def reaches(self, kinds: np.ndarray, channels_in: np.ndarray, channels_out: np.ndarray) -> np.ndarray:
        """Whether layers [N] are no narrower and no wider than what was measured [N]."""
        return _inside(*self._packed.place(kinds, channels_in, channels_out)[1:])

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

    def place(
        self, kinds: np.ndarray, channels_in: np.ndarray, channels_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The value before each layer on both sides, and how far down and to the right of it the layer is, 0 to 1."""
        row, down = self.ins.place(kinds, channels_in)
        column, right = self.outs.place(kinds, np.where(self.narrow[kinds], 0, channels_out))
        return self.start[kinds] + row * self.width[kinds] + column, down, right


class _Axes:
    """One side of all grids, one after another; a search in all at once takes them for one long axis."""

    def __init__(self, axes: Sequence[np.ndarray]) -> None:
        sizes = np.array([len(axis) for axis in axes])
        self.first = np.cumsum([0, *sizes])[:-1]
        self.last = self.first + np.maximum(sizes - 2, 0)
        self.points = np.concatenate(axes).astype(float)
        self.long = self.points + APART * np.repeat(np.arange(len(axes)), sizes)
        gaps = np.append(np.diff(self.points), 1)
        gaps[self.first[sizes == 1]] = 1e-9  # an axis of one point reaches that point only
        self.gaps = gaps

    def place(self, kinds: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The point before each number of channels, and how far on it is towards the next, from 0 to 1."""
        at = np.searchsorted(self.long, channels + APART * kinds, side="right") - 1
        at = np.minimum(np.maximum(at, self.first[kinds]), self.last[kinds])
        return at - self.first[kinds], (channels - self.points[at]) / self.gaps[at]


def _inside(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether both shares are from 0 to 1."""
    return np.maximum(np.abs(down - 0.5), np.abs(right - 0.5)) <= 0.5


def _grid(points: Mapping[tuple[int, int], float]) -> LayerGrid:
    ins, outs = (np.array(sorted(set(side))) for side in zip(*points, strict=True))
    ms = np.full((len(ins), len(outs)), np.nan)
    for (i, o), value in points.items():
        ms[np.searchsorted(ins, i), np.searchsorted(outs, o)] = value
    return LayerGrid(ins, outs, ms)


def _bridged(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    there = ~np.isnan(y)
    return np.interp(x, x[there], y[there], left=np.nan, right=np.nan) if there.any() else y
