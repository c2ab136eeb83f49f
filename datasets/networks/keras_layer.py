"""A layer of a Keras configuration, with checked access to its fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datasets.files.reading import shortened
from datasets.records import InputError

LARGEST = 2**20
"""Most channels, and longest side or kernel."""
MOST_ELEMENTS = 2**40
"""Most elements of a tensor."""

Arrays = Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]]
"""The weights of a layer, whose shapes are given."""


@dataclass(frozen=True)
class Tensor:
    """A node, and whether its (channels, height, width) count as one row of features."""

    node: int
    flat: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        kind: its class.
        name: its own.
        fields: of its configuration.
        model: what the model is called in sentences.
        arrays: gives its weights, if they are read.
    """

    kind: str
    name: str
    fields: Mapping[str, Any]
    model: str
    arrays: Arrays | None = None

    def fault(self, what: str) -> InputError:
        """A sentence on what is wrong with it."""
        name, kind = shortened(self.name, 60), shortened(self.kind, 60)
        return InputError(f"The layer '{name}' ({kind}) of {self.model} {what}; export it to ONNX.")

    def number(self, field: str, default: int | None = None, low: int = 1, high: int = LARGEST) -> int:
        """An integer in range."""
        return self._checked(field, self.fields.get(field, default), low, high)

    def _checked(self, field: str, value: Any, low: int, high: int = LARGEST) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(f"has no {field} from {low} to {high:,}")
        return value

    def numbers(self, field: str, rank: int, default: int | None = None, low: int = 1) -> tuple[int, ...]:
        """One integer for each of `rank` sides, or one for all."""
        value = self.fields.get(field)
        value = default if value is None else value
        several = value if isinstance(value, list) else [value] * rank
        if len(several) != rank:
            raise self.fault(f"has no {field} for {rank} sides")
        return tuple(self._checked(field, part, low) for part in several)

    def pairs(self, field: str, rank: int) -> list[tuple[int, int]]:
        """Two integers, before and behind, for each of `rank` sides; one number for both, or for all."""
        value = self.fields.get(field)
        value = [value] if rank == 1 and (not isinstance(value, list) or len(value) == 2) else value
        sides = value if isinstance(value, list) else [value] * rank
        pairs = [side if isinstance(side, list) else [side, side] for side in sides]
        if len(pairs) != rank or any(len(side) != 2 for side in pairs):
            raise self.fault(f"has no {2 * rank} sides")
        first, last = ([self._checked(field, side[i], 0) for side in pairs] for i in (0, 1))
        return list(zip(first, last, strict=True))

    def flag(self, field: str, default: bool = True) -> int:
        """1 where something is switched on, else 0."""
        return int(self.fields.get(field, default) is not False)

    def axes(self, field: str, rank: int, default: Any = -1) -> list[int]:
        """Axes of a tensor of this rank, which is counted without the batch, from 0."""
        value = self.fields.get(field, default)
        found = value if isinstance(value, list) else [value]
        if not found or not all(isinstance(axis, int) and axis and -rank <= axis <= rank for axis in found):
            raise self.fault(f"has an {field} that is none of its input's")
        return [axis % (rank + 1) - 1 for axis in found]

    def axis(self, field: str, rank: int) -> int:
        """One axis, from 0."""
        found = self.axes(field, rank)
        if len(found) != 1:
            raise self.fault(f"has not one {field}")
        return found[0]

    def padding(self) -> str:
        """`same`, `valid` or `causal`."""
        padding = self.fields.get("padding", "valid")
        if padding not in ("same", "valid", "causal"):
            raise self.fault("has an unknown padding")
        return padding

    def of(self, **fields: Any) -> Layer:
        """The layer with other fields."""
        return replace(self, fields={**self.fields, **fields})

    def read(self, *shapes: tuple[int, ...]) -> list[np.ndarray] | None:
        """Its weights of these shapes, None if they are not read."""
        if self.arrays is None:
            return None
        found = self.arrays(shapes)
        if [value.shape for value in found] != list(shapes):
            raise self.fault("has weights of other shapes than its configuration says")
        return found


def out_sides(sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
              padding: str) -> tuple[int, ...]:  # fmt: skip
    """Sides of what a kernel leaves, by Keras's paddings."""
    zipped = zip(sides, kernel, stride, dilation, strict=True)
    if padding == "valid":
        return tuple((side - (k - 1) * d - 1) // s + 1 for side, k, s, d in zipped)
    return tuple(-(-side // s) for side, _, s, _ in zipped)


def same_pad(sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """TensorFlow's padding "same" as (top, left, bottom, right): an odd row or column comes last."""
    zipped = zip(sides, kernel, stride, dilation, strict=True)
    rows, columns = (max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0) for side, k, s, d in zipped)
    return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2


def collapsed(values: Sequence[int]) -> Any:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Numpy's rule; raises a ValueError where the shapes do not fit."""
    return np.broadcast_shapes(*shapes) if all(math.prod(s) <= MOST_ELEMENTS for s in shapes) else shapes[0]
