"""`LayerTable`: latencies of layers over input and output channels, measured on a grid and interpolated bilinearly.

Each layer alone includes the cost of a session, a network has it once: the latency of a network is the sum over its
layers less the cost of all sessions but one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from datasets.records import InputError
from predictors.networks.layer_kinds import Layer

OFFSET = 10**7
"""Offset between the axes of grids, larger than any number of channels."""
MOST_POINTS = 2**21
"""Largest number of points of all grids together."""


@dataclass(frozen=True)
class LayerGrid:
    """Measured latencies of one kind of layer.

    Attributes:
        ins, outs: channels, ascending [I] and [O]; `outs` is [0] for kinds with equally many input and output channels.
        ms: latencies [I, O]; NaN where nothing was measured.
    """

    ins: np.ndarray
    outs: np.ndarray
    ms: np.ndarray

    def whole(self) -> np.ndarray:
        """Latencies [I, O] without missing values.

        Between measured points of a row or column, values are interpolated linearly (averaged where both exist); others
        come from a + b in + c out + d in out, fitted to relative errors of all points.
        """
        holes = np.isnan(self.ms)
        if not holes.any():
            return self.ms
        rows = np.array([_interpolated(self.outs, row) for row in self.ms])
        columns = np.array([_interpolated(self.ins, column) for column in self.ms.T]).T
        lines = np.stack([rows, columns])
        known = ~np.isnan(lines)
        inside = np.where(known, lines, 0).sum(0) / np.maximum(known.sum(0), 1)
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
        grids: by kind of layer.
        call_ms: latency of an empty session.
        device: name of the device, for error messages.
    """

    grids: Mapping[str, LayerGrid]
    call_ms: float = 0.0
    device: str = ""
    kinds: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.kinds = {kind: number for number, kind in enumerate(self.grids)}

    @classmethod
    def of(cls, measured: Iterable[tuple[Layer, float]], call_ms: float = 0.0, device: str = "") -> LayerTable:
        """Build a table from layers and their latencies in ms; of equal layers the last one counts.

        Raises:
            InputError: a layer has `OFFSET` channels or more, or the grids have more points than `MOST_POINTS`.
        """
        found: dict[str, dict[tuple[int, int], float]] = {}
        for layer, ms in measured:
            found.setdefault(layer.kind, {})[layer.channels_in, 0 if layer.narrow else layer.channels_out] = ms
        sides = {kind: [set(side) for side in zip(*points, strict=True)] for kind, points in found.items()}
        if (
            any(max(ins | outs) >= OFFSET for ins, outs in sides.values())
            or sum(len(ins) * len(outs) for ins, outs in sides.values()) > MOST_POINTS
        ):
            raise InputError(
                f"The table of '{device}' has layers of {OFFSET:,} channels, or grids of more than {MOST_POINTS:,} "
                "points; measure fewer numbers of channels."
            )
        return cls({kind: _grid(points) for kind, points in found.items()}, call_ms, device)

    def number(self, kind: str) -> int:
        """Index of a kind, for `ms`; an unknown kind raises `InputError`."""
        if kind not in self.kinds:
            raise InputError(
                f"The table of '{self.device}' has no layer {kind}; measure `python -m search layers` of it."
            )
        return self.kinds[kind]

    def axes(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Input and output channels of a kind's grid; latencies are linear between them."""
        grid = list(self.grids.values())[self.number(kind)]
        return grid.ins, grid.outs

    def ms(self, kinds: np.ndarray, channels_in: np.ndarray, channels_out: np.ndarray) -> np.ndarray:
        """Latencies [N] of layers from indices of kinds and channels [N], interpolated bilinearly.

        Raises:
            InputError: a layer lies outside of the measured range.
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
        """Whether layers [N] lie within the measured range."""
        return _inside(*self._packed.place(kinds, channels_in, channels_out)[1:])

    @cached_property
    def _packed(self) -> _Packed:
        return _Packed(list(self.grids.values()))


class _Packed:
    """All grids as flat arrays, to look up layers of all kinds at once."""

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
        """Index of the grid point before each layer, and the layer's distances from it along both axes, 0 to 1."""
        row, down = self.ins.place(kinds, channels_in)
        column, right = self.outs.place(kinds, np.where(self.narrow[kinds], 0, channels_out))
        return self.start[kinds] + row * self.width[kinds] + column, down, right


class _Axes:
    """One axis of all grids, concatenated with offsets so that one search finds positions in all of them."""

    def __init__(self, axes: Sequence[np.ndarray]) -> None:
        sizes = np.array([len(axis) for axis in axes])
        self.first = np.cumsum([0, *sizes])[:-1]
        self.last = self.first + np.maximum(sizes - 2, 0)
        self.points = np.concatenate(axes).astype(float)
        self.long = self.points + OFFSET * np.repeat(np.arange(len(axes)), sizes)
        gaps = np.append(np.diff(self.points), 1)
        gaps[self.first[sizes == 1]] = 1e-9  # an axis of one point holds that point only
        self.gaps = gaps

    def place(self, kinds: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index of the point before each number of channels, and the distance from it to the next, 0 to 1."""
        at = np.searchsorted(self.long, channels + OFFSET * kinds, side="right") - 1
        at = np.minimum(np.maximum(at, self.first[kinds]), self.last[kinds])
        return at - self.first[kinds], (channels - self.points[at]) / self.gaps[at]


def _inside(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether both distances are from 0 to 1."""
    return np.maximum(np.abs(down - 0.5), np.abs(right - 0.5)) <= 0.5


def _grid(points: Mapping[tuple[int, int], float]) -> LayerGrid:
    ins, outs = (np.array(sorted(set(side))) for side in zip(*points, strict=True))
    ms = np.full((len(ins), len(outs)), np.nan)
    for (i, o), value in points.items():
        ms[np.searchsorted(ins, i), np.searchsorted(outs, o)] = value
    return LayerGrid(ins, outs, ms)


def _interpolated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    there = ~np.isnan(y)
    return np.interp(x, x[there], y[there], left=np.nan, right=np.nan) if there.any() else y
