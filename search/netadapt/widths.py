"""Searches for a width: the number of channels of one group with which a network keeps a latency limit.

All search for the largest width below the group's current one, a multiple of its step, whose network keeps the limit.
One look-up is one entry (layer, channels in, channels out) that is read from the table or interpolated in it; entries
read at once count one by one.

- `Sequential`: NetAdapt's own. Width after width, each time with the sum over the whole network.
- `Binary`: Figure 5 of "Assessing the performance of an architecture-aware optimization tool for neural networks"
  (Marichal et al.). It halves the list of widths until `threshold` are left and tries those in order; on a table that
  is not monotone it may find a smaller width than the largest one, or none.
- `Exact`: ours. Between two grid points a layer's latency is linear in the channels of one side, so the network's
  latency is piecewise linear: the piece that meets the limit, and the width there, follow from the grid points. Only
  the layers that touch the group are looked up, at these points, and stay valid until a layer's other side changes. It
  finds the largest width on any table, monotone or not, with the latency that the table gives it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datasets.records import InputError
from predictors.networks.layer_table import LayerTable
from search.netadapt.channels import Groups, Widths

SLACK = 1 + 1e-9
"""Factor of a limit that allows for the rounding of sums."""


BLOCK = 4
"""Number of pieces that `Exact` looks up at once, four times as many each time that they do not reach the limit: one
would need the fewest look-ups, all pieces the fewest calls."""


class Narrowed(NamedTuple):
    """A width, the network's latency with it in ms, and the numbers of look-ups and of tried widths."""

    width: int
    latency_ms: float
    lookups: int
    tried: int


@dataclass
class PricedNetwork:
    """A network's latency by a table, for any widths of its groups.

    Attributes:
        groups: of the network.
        table: of a device (`LayerSum.table`).
        factor: multiplies the sum, such as the ratio of the whole network's measured latency to it.
        lookups: number of entries that were looked up.
    """

    groups: Groups
    table: LayerTable
    factor: float = 1.0
    lookups: int = field(default=0, init=False)
    kinds: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        layers = self.groups.layers
        self.kinds = np.array([self.table.number(layer.kind) for layer in layers])
        self.inputs = np.array([layer.in_group for layer in layers])
        self.outputs = np.array([layer.out_group for layer in layers])

    def layers_ms(self, widths: np.ndarray, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Latencies [B, M] in ms of some layers in networks of widths [B, G]."""
        return self.read(self.groups.channels(widths), which)

    def read(self, channels: np.ndarray, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Latencies [B, M] in ms of some layers in networks of channels [B, G + F] (`Groups.channels`)."""
        ins, outs = channels[:, self.inputs[which]], channels[:, self.outputs[which]]
        self.lookups += ins.size
        kinds = np.tile(self.kinds[which], len(ins))
        return self.factor * self.table.ms(kinds, ins.ravel(), outs.ravel()).reshape(ins.shape)

    @property
    def calls_ms(self) -> float:
        """Time in ms of all sessions but one, which the sum of layers counts too often."""
        return self.factor * (len(self.kinds) - 1) * self.table.call_ms

    def latency_ms(self, widths: Widths) -> float:
        """Latency in ms of the network with widths [G]."""
        return float(self.latencies_ms(np.asarray(widths)[None])[0])

    def latencies_ms(self, widths: np.ndarray) -> np.ndarray:
        """Latencies [B] in ms of networks of widths [B, G]."""
        return self.layers_ms(widths).sum(1) - self.calls_ms


@dataclass
class WidthSearch(ABC):
    """Finds the largest width of a group within a limit.

    Attributes:
        priced: the network and its table.
        conv: step of convolutions' channels, and their smallest width.
        dense: step of dense layers' features, and their smallest number.
        tried: number of widths that all calls tried together.
    """

    priced: PricedNetwork
    conv: int = 8
    dense: int = 64
    tried: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.steps = self.priced.groups.steps(self.conv, self.dense)
        if min(self.conv, self.dense) < 1:
            raise InputError(f"Steps of {self.conv} and {self.dense} channels lead nowhere; give 1 or more.")

    def candidates(self, width: int, group: int) -> np.ndarray:
        """Multiples of the group's step below a width, descending."""
        step = int(self.steps[group])
        return np.arange((width - 1) // step, 0, -1) * step

    def __call__(self, widths: Widths, group: int, limit_ms: float) -> Narrowed | None:
        """The largest width of a group with which the network keeps a limit, its other widths [G] unchanged; None where
        this search finds none."""
        before = self.priced.lookups
        found, tried = self.find(np.asarray(widths), group, limit_ms * SLACK)
        self.tried += tried
        return found and Narrowed(*found, self.priced.lookups - before, tried)

    @abstractmethod
    def find(self, widths: Widths, group: int, limit_ms: float) -> tuple[tuple[int, float] | None, int]:
        """The width and its latency in ms, or None; and the number of widths that were tried."""

    def latency_ms(self, widths: Widths, group: int, width: int) -> float:
        """Latency in ms of the network with one width changed; all layers are looked up."""
        changed = widths.copy()
        changed[group] = width
        return self.priced.latency_ms(changed)


@dataclass
class Sequential(WidthSearch):
    """Tries all widths from the widest down."""

    def find(self, widths: Widths, group: int, limit_ms: float) -> tuple[tuple[int, float] | None, int]:
        return self.first(self.candidates(int(widths[group]), group), widths, group, limit_ms)

    def first(
        self, among: np.ndarray, widths: Widths, group: int, limit_ms: float
    ) -> tuple[tuple[int, float] | None, int]:
        """The first of the widths `among` that keeps the limit."""
        for tried, width in enumerate(among.tolist(), 1):
            if (ms := self.latency_ms(widths, group, width)) <= limit_ms:
                return (width, ms), tried
        return None, len(among)


@dataclass
class Binary(Sequential):
    """Halves the list of widths, then tries the rest from the widest down.

    Attributes:
        threshold: number of widths at which halving ends.
    """

    threshold: int = 16

    def find(self, widths: Widths, group: int, limit_ms: float) -> tuple[tuple[int, float] | None, int]:
        among = self.candidates(int(widths[group]), group)
        left, right, halvings = 0, len(among) - 1, 0
        while right - left > max(self.threshold, 1):
            middle = (left + right) // 2
            halvings += 1
            if self.latency_ms(widths, group, int(among[middle])) <= limit_ms:
                right = middle
            else:
                left = middle
        found, tried = self.first(among[left : right + 1], widths, group, limit_ms)
        return found, tried + halvings


@dataclass
class Exact(WidthSearch):
    """Solves piece after piece of the piecewise linear latency, from the widest down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        groups = self.priced.groups
        self._touching = [np.array(layers) for layers in groups.touching]
        self._others = [[self._other(layer, group) for layer in at] for group, at in enumerate(groups.touching)]
        self._points = [self._turns(group) for group in range(len(groups))]
        self._curves: dict[
            tuple[int, ...], np.ndarray
        ] = {}  # group, layer, other side's channels -> latencies [points], NaN: unread
        self._chains: dict[tuple[int, ...], list[float]] = {}  # group, all other sides' channels -> their sum
        self._least: dict[tuple[int, ...], tuple[int, float]] = {}  # the lowest point of a chain up to a piece
        self._seen = np.zeros((0,), int)  # channels that `_ms` were read with
        self._ms = np.zeros(len(groups.layers))

    def find(self, widths: Widths, group: int, limit_ms: float) -> tuple[tuple[int, float] | None, int]:
        channels, step = self._read(widths), int(self.steps[group])
        rest = float(self._ms.sum() - self._ms[self._touching[group]].sum()) - self.priced.calls_ms
        sides = [int(channels[other]) if other >= 0 else 0 for other in self._others[group]]
        highest = (int(widths[group]) - 1) // step * step
        return self._along((group, *sides), channels, highest, step, limit_ms - rest, rest)

    def _along(
        self, key: tuple[int, ...], channels: np.ndarray, highest: int, step: int, limit_ms: float, rest: float
    ) -> tuple[tuple[int, float] | None, int]:
        """Search the chain of a group and the other sides of its layers, looked up as far as needed."""
        points = self._points[key[0]]
        chain = self._chains.setdefault(key, [math.nan] * len(points))
        first, block = max(bisect_left(points, highest), 1) - 1, BLOCK
        known, least = self._least.get(key, (-1, 0.0))
        if not highest or (first <= known and least > limit_ms):
            return None, 0
        for piece in range(first, -1, -1):
            if math.isnan(chain[piece] + chain[piece + 1]):
                self._extend(chain, channels, key, range(max(piece - block + 1, 0), piece + 2))
                block *= 4
            ends = (points[piece], points[piece + 1]), (chain[piece], chain[piece + 1])
            if found := _widest(*ends, highest, step, limit_ms):
                return (found[0], rest + found[1]), 1
        self._least[key] = first, min(chain[: first + 2])
        return None, 0

    def _other(self, layer: int, group: int) -> int:
        """Position of the channels on a layer's other side; -1: both sides are the group's."""
        found = self.priced.groups.layers[layer]
        other = found.in_group if found.out_group == group else found.out_group
        return -1 if other == group else other

    def _turns(self, group: int) -> list[int]:
        """Widths between which the latency of all layers that touch a group is linear, ascending."""
        groups, step = self.priced.groups, int(self.steps[group])
        size = int(groups.sizes[group])
        found = {min(step, size), size}
        for layer in (groups.layers[position] for position in groups.touching[group]):
            ins, outs = self.priced.table.axes(layer.kind)
            if layer.in_group == group:
                found.update(ins.tolist())
            if layer.out_group == group:
                found.update(outs.tolist())
            if (
                layer.in_group == layer.out_group and outs[-1] > 0
            ):  # both sides move at once: no line between two points
                found.update(range(step, size, step))
        return sorted(width for width in found if min(step, size) <= width <= size)

    def _read(self, widths: Widths) -> np.ndarray:
        """The channels of these widths; layers whose channels have changed since the last call are looked up."""
        channels = self.priced.groups.channels(widths)
        if not len(self._seen):
            self._seen, self._ms = channels, self.priced.read(channels[None])[0]
        elif (new := channels != self._seen).any():
            stale = np.flatnonzero(new[self.priced.inputs] | new[self.priced.outputs])
            self._seen, self._ms[stale] = channels, self.priced.read(channels[None], stale)[0]
        return channels

    def _extend(self, chain: list[float], channels: np.ndarray, key: tuple[int, ...], at: Sequence[int]) -> None:
        """Look up missing latencies of the layers that touch a group, at some of its points."""
        group, *sides = key
        points, touching = self._points[group], self._touching[group]
        curves = [
            self._curves.setdefault((group, layer, side), np.full(len(points), np.nan))
            for layer, side in zip(touching.tolist(), sides, strict=True)
        ]
        unread = np.isnan(np.array([curve[at[0] : at[-1] + 1] for curve in curves]))  # [layers, points]
        rows, which = np.flatnonzero(unread.any(0)) + at[0], np.flatnonzero(unread.any(1))
        if len(which):
            changed = np.repeat(channels[None], len(rows), axis=0)
            changed[:, group] = [points[row] for row in rows]
            for layer, column in zip(which, self.priced.read(changed, touching[which]).T, strict=True):
                curves[layer][rows] = column
        chain[at[0] : at[-1] + 1] = np.sum([curve[at[0] : at[-1] + 1] for curve in curves], axis=0).tolist()


def _widest(
    ends: tuple[int, int], heights: tuple[float, float], highest: int, step: int, limit_ms: float
) -> tuple[int, float] | None:
    """The largest multiple of a step, at most `highest`, at which a linear piece keeps a limit, and its latency
    there."""
    (low, end), (at_low, at_end) = ends, heights
    up, slope = float(min(end, highest)), (at_end - at_low) / (end - low)
    if at_low + slope * (up - low) > limit_ms:
        if at_low > limit_ms:
            return None
        up = min(up, low + (limit_ms - at_low) / slope)  # it rises, and crosses the limit on the way
    width = int(up / step + 1e-9) * step
    if (ms := at_low + slope * (width - low)) > limit_ms:  # by rounding
        width, ms = width - step, ms - slope * step
    return (width, ms) if width >= max(low, 1) else None
