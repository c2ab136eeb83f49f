"""NAS-Bench-101 (Ying et al., ICML 2019): cells of up to seven vertices and nine edges, one of three ops a vertex.

The network is theirs: a 3x3 stem, three stacks of three cells, a 2x2 max pool and twice the channels between stacks,
global pooling and a classifier. In a cell, what feeds the output is concatenated and shares its channels, the first
ones taking one more where they do not divide; every other vertex is as wide as the widest that reads it. A vertex adds
up what it reads: of other vertices as many channels as it has itself, of the input a 1x1 projection. The output adds a
projected input too. Every convolution is followed by batch norm and ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datasets import dags
from datasets.analysis import BYTES, TOTALS, alive, totals
from datasets.network import Network, block_totals
from datasets.records import Architecture, Architectures, InputError, Op, Space
from datasets.spaces import parse_space

if TYPE_CHECKING:
    import pandas as pd

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The benchmark's names, in its order; decision 1 is the first, and 0 a vertex that is not used."""
_SHORT = tuple(op.split("-")[0] for op in OPS)
_POOL = 2
_BITS, _INNER, _OUT = len(dags.PAIRS), dags.VERTICES - 2, dags.VERTICES - 1
_CONFIG = {"stem_filter_size": "channels", "num_stacks": "stacks", "num_modules_per_stack": "cells",
           "image_size": "image", "num_labels": "classes"}  # fmt: skip
"""Names of the skeleton's fields in the benchmark's configuration; the size of the image is ours."""


@dataclass(frozen=True)
class NasBench101(Space):
    """All cells whose vertices all lie on paths from input to output, in one skeleton: 423,624 and their isomorphs.

    The 26 decisions are the bits of the upper triangle of the adjacency matrix, column by column, and the ops of the
    five vertices between input and output. They are not free: `Architectures` refuses what is not a cell.

    Attributes:
        channels: of the stem and the first stack; five at least, since five vertices may feed the output.
        stacks: of cells, each with twice the channels and half the height and width of the one before.
        cells: a stack.
        image: height and width of the RGB input.
        classes: of the classifier.
    """

    channels: int = 128
    stacks: int = 3
    cells: int = 3
    image: int = 32
    classes: int = 10

    num_choices: ClassVar[tuple[int, ...]] = (2,) * _BITS + (1 + len(OPS),) * _INNER
    kinds: ClassVar[tuple[str, ...]] = ("none", *OPS, "input", "output")

    def __post_init__(self) -> None:
        if self.channels < _INNER or min(self.stacks, self.cells, self.image, self.classes) < 1:
            raise InputError(f"{self} is no skeleton: it takes {_INNER} channels and one of everything else at least.")

    def __str__(self) -> str:
        return (
            f"nasbench101(channels={self.channels},stacks={self.stacks},cells={self.cells},image={self.image},"
            f"classes={self.classes})"
        )

    def parse(self, keys: Sequence[str]) -> Architectures:
        """The ops of the vertices between input and output, and what these and the output read.

        In `conv3x3+maxpool3x3:0.01.2`, vertex 1 is a convolution of the input, vertex 2 pools the sum of both, and the
        output is vertex 2.
        """
        rows = np.array([(*_parse_sources(key), *_parse_ops(key)) for key in keys], np.int64)
        matrices, ops = rows.reshape(len(keys), 1 + _INNER)[:, 0], rows.reshape(len(keys), 1 + _INNER)[:, 1:]
        return Architectures(self, _decisions(matrices, ops))

    def format(self, archs: Architectures) -> list[str]:
        matrices, ops = _numbers(archs.decisions)
        sources = {matrix: ".".join("".join(map(str, reads)) for reads in _sources(matrix)) for matrix in set(matrices)}
        return []

    def valid(self, decisions: np.ndarray) -> np.ndarray:
        matrices, ops = _numbers(decisions)
        used = np.arange(_INNER) < dags.size(matrices)[:, None] - 2
        return dags.valid(matrices) & ((ops > 0) == used).all(1)
