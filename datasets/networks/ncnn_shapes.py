"""ncnn's layers that change shapes: reshaped, reordered, cut, padded, resized and reduced tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from datasets.networks.ncnn_graph import Blob
from datasets.networks.ncnn_products import Products
from datasets.networks.ncnn_text import DEFAULT, Layer

_REDUCTIONS = """ReduceSum ReduceL1 ReduceSumSquare ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp"""
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Orders of the axes (c, h, w) by the parameter of a Permute."""


class Shapes(Products):
    """Reads layers that change shapes."""

    def _read_flatten(self, layer: Layer, x: Blob) -> Blob:
        return Blob((math.prod(x.shape),), x.node, x.name)

    def _read_reshape(self, layer: Layer, x: Blob) -> Blob:
        values = [layer.number(key, DEFAULT) for key in (2, 11, 1, 0)]
        sides = [value for value in values if value != DEFAULT]
        if not sides:
            raise layer.fault("has no size that is a number; ncnn's expressions of sizes are not read")
        own = x.shape[len(x.shape) - len(sides) :] if len(x.shape) >= len(sides) else x.shape
        sides = [own[i] if side == 0 and i < len(own) else side for i, side in enumerate(sides)]
        total, rest = math.prod(x.shape), math.prod(side for side in sides if side != -1)
        if sides.count(-1) == 1 and rest > 0:
            sides[sides.index(-1)] = total // rest
        if math.prod(sides) != total or min(sides) < 1:
            raise layer.fault(f"makes {by(sides)} of {by(x.shape)}, which has {total:,} numbers")
        return Blob(tuple(sides), x.node, x.name)

    def _read_squeeze(self, layer: Layer, x: Blob) -> Blob:
        keys = (2, 1, 0) if len(x.shape) < 4 else (2, 11, 1, 0)
        named = {axis for axis, key in enumerate(keys[-len(x.shape) :]) if layer.number(key)}
        axes = {axis % len(x.shape) for axis in layer.integers(3)} or named
        shape = tuple(side for axis, side in enumerate(x.shape) if axis not in axes or side != 1)
        return Blob(shape or (1,), x.node, x.name)

    def _read_expanddims(self, layer: Layer, x: Blob) -> Blob:
        axes, sides = layer.integers(3), list(x.shape)
        named = [axis for axis, key in enumerate((2, 1, 0)[-len(sides) - 1 :]) if layer.number(key)]
        for axis in sorted(axis % (len(sides) + len(axes)) for axis in axes) or named:
            sides.insert(axis, 1)
        return Blob(tuple(sides), x.node, x.name)

    def _read_permute(self, layer: Layer, x: Blob) -> Blob:
        order, rank = layer.number(0, 0, 0), len(x.shape)
        orders = {1: ((0,),), 2: ((0, 1), (1, 0)), 3: _ORDERS}.get(rank, ())
        if order >= len(orders):
            raise layer.fault(f"has the order {order} for a tensor of {rank} dimensions, which is not read")
        if order == 0:
            return x
        return self.foreign(layer, "Transpose", [tuple(x.shape[axis] for axis in orders[order])], [x])[0]

    def _read_shufflechannel(self, layer: Layer, x: Blob) -> Blob:
        channels, groups = self._image(layer, x)[0], layer.number(0, 1, 1)
        if channels % groups:
            raise layer.fault(f"divides {channels} channels into {groups} groups")
        return self.like(layer, "shuffle", x, groups=channels // groups if layer.number(1) else groups)

    def _read_slice(self, layer: Layer, x: Blob) -> list[Blob]:
        axis, parts, ends = self._axis(layer, x, 1), layer.integers(0), layer.integers(2)
        side, count = x.shape[axis], len(layer.outputs)
        if ends:
            places = [0, *(end + side if end < 0 else end for end in ends), side]
            parts = tuple(b - a for a, b in pairwise(places))
        if len(parts) != count:
            raise layer.fault(f"has {len(parts)} sizes for {count} outputs")
        sizes, rest = list[int](), side
        for i, part in enumerate(parts):
            sizes.append(rest // (count - i) if part == DEFAULT else part)
            rest -= sizes[-1]
        if rest < 0:
            raise layer.fault(f"takes {sum(sizes):,} of a dimension of {side:,}")
        return self.foreign(layer, "Split", [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes], [x])

    def _join_crop(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        x, sides = blobs[0], list(blobs[0].shape)
        if starts := layer.integers(9):
            ends, axes = layer.integers(10), layer.integers(11) or tuple(range(len(starts)))
            if not len(starts) == len(ends) == len(axes) or any(not -len(sides) <= a < len(sides) for a in axes):
                raise layer.fault("does not have a beginning and an end for each of its axes")
            for axis, start, end in zip(axes, starts, ends, strict=True):
                side = x.shape[axis]
                end = side if end == DEFAULT else end + side if end < 0 else min(end, side)
                sides[axis] = end - (start + side if start < 0 else start)
        elif len(blobs) > 1:
            sides = [*(sides[:1] if len(sides) > len(blobs[1].shape) else []), *blobs[1].shape]
        else:
            keys = ((2, 5, 8), (1, 4, 7), (0, 3, 6))[-len(sides) :]
            for i, (start, size, end) in enumerate(keys):
                cut = layer.number(start, 0, 0) + layer.number(end, 0, 0)
                size = layer.number(size)
                sides[i] = size if size > 0 else sides[i] - cut
        if any(side > own for side, own in zip(sides, x.shape, strict=False)):
            raise layer.fault(f"takes {by(sides)} out of {by(x.shape)}")
        moved = 4 * math.prod(sides) if min(sides) > 0 else 0
        return self.foreign(layer, "Slice", [tuple(sides)], [x], read_bytes=moved)[0]

    def _read_padding(self, layer: Layer, x: Blob) -> Blob:
        top, bottom, left, right = (layer.number(key) for key in range(4))
        front, behind = layer.number(7), layer.number(8)
        added = ((front + behind), top + bottom, left + right)[-len(x.shape) :]
        if len(x.shape) > 3:
            raise layer.fault(f"pads a tensor of {len(x.shape)} dimensions, which is not read")
        shape = tuple(side + more for side, more in zip(x.shape, added, strict=True))
        pad = (top, left, bottom, right)
        if len(shape) == 3 and not front and not behind and not layer.number(4) and not layer.real(5):
            return Blob(shape, self.put(layer, "pad", shape, [self.node(layer, x)], pad=pad))
        return self.foreign(layer, "Pad", [shape], [x], layer.number(6, 0, 0))[0]

    def _join_interp(self, layer: Layer, blobs: Sequence[Blob]) -> Blob:
        shape = blobs[0].shape
        channels, height, width = (*shape, 1, 1)[:3] if len(shape) == 1 else (1, *shape)[-3:]
        if len(blobs) > 1:
            sides = (1, *blobs[1].shape)[-2:]
        else:
            fixed, scales = (layer.number(3, 0, 0), layer.number(4, 0, 0)), (layer.real(1, 1), layer.real(2, 1))
            sides = tuple(
                out or int(side * scale) for side, out, scale in zip((height, width), fixed, scales, strict=True)
            )
        out = (*shape[:1], sides[1]) if len(shape) == 2 else (channels, *sides)
        return self.foreign(layer, "Resize", [out], blobs[:1])[0]

    def _read_pixelshuffle(self, layer: Layer, x: Blob) -> Blob:
        (channels, height, width), r = self._image(layer, x), layer.number(0, 1, 1)
        if channels % (r * r):
            raise layer.fault(f"makes squares of {r} x {r} of {channels} channels")
        return self.foreign(layer, "DepthToSpace", [(channels // (r * r), height * r, width * r)], [x])[0]

    def _read_reorg(self, layer: Layer, x: Blob) -> Blob:
        (channels, height, width), r = self._image(layer, x), layer.number(0, 1, 1)
        return self.foreign(layer, "SpaceToDepth", [(channels * r * r, height // r, width // r)], [x])[0]

    def _read_tile(self, layer: Layer, x: Blob) -> Blob:
        repeats = layer.integers(2)
        if not repeats:
            axis = self._axis(layer, x, 0)
            repeats = tuple(layer.number(1, 1, 1) if i == axis else 1 for i in range(len(x.shape)))
        rank = max(len(repeats), len(x.shape))
        padded = [(1,) * (rank - len(some)) + tuple(some) for some in (x.shape, repeats)]
        return self.foreign(layer, "Tile", [tuple(a * b for a, b in zip(*padded, strict=True))], [x])[0]

    def _read_reduction(self, layer: Layer, x: Blob) -> Blob:
        kind, rank, keep = self._named(layer, _REDUCTIONS), len(x.shape), layer.number(4)
        axes = range(rank) if layer.number(1, 1) else {axis % rank for axis in layer.integers(3)}
        if kind == "ReduceMean" and rank == 3 and set(axes) == {1, 2}:
            y = self.put(layer, "global_avg_pool", (x.shape[0], 1, 1), [self.node(layer, x)])
            return Blob((x.shape[0], 1, 1) if keep else x.shape[:1], y)
        kept = [1 if axis in axes else side for axis, side in enumerate(x.shape) if keep or axis not in axes]
        return self.foreign(layer, kind, [tuple(kept) or (1,)], [x])[0]

    def _axis(self, layer: Layer, x: Blob, key: int) -> int:
        axis, rank = layer.number(key), len(x.shape)
        if not -rank <= axis < rank:
            raise layer.fault(f"works along axis {axis} of a tensor of {rank} dimensions")
        return axis % rank

    def _named(self, layer: Layer, names: str) -> str:
        """The name, among several, of the operation whose number is a layer's parameter 0."""
        number, known = layer.number(0, 0, 0), names.split()
        if number >= len(known):
            raise layer.fault(f"has the operation {number}, which is not known")
        return known[number]


def by(shape: Sequence[int]) -> str:
    """A shape for a sentence, as 3x224x224."""
    return "x".join(map(str, shape))
