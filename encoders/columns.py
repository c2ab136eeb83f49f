"""Rows of named decisions and numbers as vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.blocks.decisions import NamedDecisions
from datasets.records import Architectures, InputError, Space
from encoders.base import VectorEncoder
from encoders.cell import CellOneHot

MOST = 1000
"""Largest length of a vector."""


@dataclass
class ColumnVector(VectorEncoder):
    """Numbers as they are, and decisions one-hot; of spaces without named columns all decisions one-hot.

    Attributes:
        log: replace numbers above zero by their logarithms, and others by 0.
        ordinal: append the numbers of decisions whose choices are numbers, such as widths.
    """

    log: bool = False
    ordinal: bool = True

    def num_features(self, space: Space) -> int:
        if not isinstance(space, NamedDecisions):
            return CellOneHot().num_features(space)
        size = sum(len(column.choices) for column in space.columns) + len(self._numbers(space))
        if size > MOST:
            raise InputError(
                f"The columns of this table are {size:,} numbers one-hot, more than {MOST:,}; make decisions with many "
                "choices features instead."
            )
        return size

    def __call__(self, archs: Architectures) -> np.ndarray:
        space = archs.space
        if not isinstance(space, NamedDecisions):
            return CellOneHot()(archs)
        out = np.zeros((len(archs), self.num_features(space)), np.float32)
        start, values = 0, space.values(archs)
        for i, column in enumerate(space.columns):
            if column.choices:
                out[np.arange(len(archs)), start + archs.decisions[:, i]] = 1
                start += len(column.choices)
        for place, name in enumerate(self._numbers(space), start):
            out[:, place] = np.log(np.where(values[name] > 0, values[name], 1)) if self.log else values[name]
        return out

    def _numbers(self, space: NamedDecisions) -> list[str]:
        """Names of the columns whose numbers are features."""
        return [c.name for c in space.columns if c.numeric and (self.ordinal or not c.choices)]
