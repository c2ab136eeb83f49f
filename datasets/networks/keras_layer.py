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
"""Largest number of channels, side or kernel."""
MOST_ELEMENTS = 2**40
"""Largest number of elements of a tensor."""

Arrays = Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]]
"""Function that returns the weights of a layer for their shapes."""


@dataclass(frozen=True)
class Tensor:
    """A node, and whether its (channels, height, width) are one flat row of features."""

    node: int
    flat: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer of a configuration.

    Attributes:
        kind: class of the layer.
        name: name of the layer.
        fields: of its configuration.
        model: name of the model in messages.
        arrays: returns its weights; None if they are not read.
    """

    kind: str
    name: str
    fields: Mapping[str, Any]
    model: str
    arrays: Arrays | None = None

    def fault(self, what: str) -> InputError:
        """An error of the layer, `what` it has or is."""
        name, kind = shortened(self.name, 60), shortened(self.kind, 60)
        return InputError(f"The layer '{name}' ({kind}) of {self.model} {what}; export it to ONNX.")

    def number(self, field: str, default: int | None = None, low: int = 1, high: int = LARGEST) -> int:
        """A field that is an integer in range."""
        return self._checked(field, self.fields.get(field, default), low, high)

    def _checked(self, field: str, value: Any, low: int, high: int = LARGEST) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(f"has no {field} from {low} to {high:,}")
        return value

    def numbers(self, field: str, rank: int, default: int | None = None, low: int = 1) -> tuple[int, ...]:
        """A field with one integer per side, or one for all `rank` sides."""
        value = self.fields.get(field)
        value = default if value is None else value
        several = value if isinstance(value, list) else [value] * rank
        if len(several) != rank:
            raise self.fault(f"has no {field} for {rank} sides")
        return tuple(self._checked(field, part, low) for part in several)

    def pairs(self, field: str, rank: int) -> list[tuple[int, int]]:
        """A field with two integers, before and behind, for each of `rank` sides; one number for both, or for all."""
        value = self.fields.get(field)
        value = [value] if rank == 1 and (not isinstance(value, list) or len(value) == 2) else value
        sides = value if isinstance(value, list) else [value] * rank
        pairs = [side if isinstance(side, list) else [side, side] for side in sides]
        if len(pairs) != rank or any(len(side) != 2 for side in pairs):
            raise self.fault(f"has no {2 * rank} sides")
        first, last = ([self._checked(field, side[i], 0) for side in pairs] for i in (0, 1))
        return list(zip(first, last, strict=True))

    def flag(self, field: str, default: bool = True) -> int:
        """A boolean field as 1 or 0."""
        return int(self.fields.get(field, default) is not False)

    def axes(self, field: str, rank: int, default: Any = -1) -> list[int]:
        """A field of axes of a tensor of `rank` axes without the batch, counted from 0."""
        value = self.fields.get(field, default)
        found = value if isinstance(value, list) else [value]
        if not found or not all(isinstance(axis, int) and axis and -rank <= axis <= rank for axis in found):
            raise self.fault(f"has an {field} that is none of its input's")
        return [axis % (rank + 1) - 1 for axis in found]

    def axis(self, field: str, rank: int) -> int:
        """A field of one axis, counted from 0."""
        found = self.axes(field, rank)
        if len(found) != 1:
            raise self.fault(f"has not one {field}")
        return found[0]

    def padding(self) -> str:
        """The padding: `same`, `valid` or `causal`."""
        padding = self.fields.get("padding", "valid")
        if padding not in ("same", "valid", "causal"):
            raise self.fault("has an unknown padding")
        return padding

    def of(self, **fields: Any) -> Layer:
        """The layer with other fields."""
        return replace(self, fields={**self.fields, **fields})

    def read(self, *shapes: tuple[int, ...]) -> list[np.ndarray] | None:
        """The weights of the layer, of these shapes; None if they are not read."""
        if self.arrays is None:
            return None
        found = self.arrays(shapes)
        if [value.shape for value in found] != list(shapes):
            raise self.fault("has weights of other shapes than in its configuration")
        return found


def out_sides(sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
              padding: str) -> tuple[int, ...]:  # fmt: skip
    """Output sides of a convolution or pooling with one of Keras's paddings."""
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
    """One number if all are equal, else all of them."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by numpy's rule; raises a ValueError if the shapes do not fit."""
    return np.broadcast_shapes(*shapes) if all(math.prod(s) <= MOST_ELEMENTS for s in shapes) else shapes[0]
