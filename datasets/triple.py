"""LETI's parametrisation of a network in the format of NAS-Bench-101: adjacency matrix, list of layers, configuration
(section 1.1 of "LETI: Latency Estimation Tool and Investigation of Neural Networks Inference on Mobile GPU", Ponomarev
et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.blocks import dags
from datasets.files.reading import shortened
from datasets.records import Architecture, Architectures, InputError
from datasets.spaces import parse_space
from datasets.spaces.nasbench101 import OPS, NasBench101

_CONFIG = {
    "stem_filter_size": "channels",
    "num_stacks": "stacks",
    "num_modules_per_stack": "cells",
    "image_size": "image",
    "num_labels": "classes",
}
"""Names of the skeleton's fields in the benchmark's configuration; the size of the image is ours."""


def from_triple(matrix: Any, layers: Sequence[str], config: Mapping[str, int]) -> Architectures:
    """The cell of LETI's parametrisation, pruned by the benchmark's rule.

    Args:
        matrix: adjacency [V, V] of zeros and ones, upper triangular: row x, column y is the edge from x to y.
        layers: `input`, ops by the benchmark's names, `output` [V].
        config: the skeleton by the benchmark's names: stem_filter_size, num_stacks, num_modules_per_stack, num_labels,
            and image_size; missing ones have the benchmark's values.

    Raises:
        InputError: it is malformed, has no path from input to output, or is too large after pruning.
    """
    if unknown := sorted(set(config) - set(_CONFIG)):
        raise InputError(f"The configuration has no '{shortened(unknown[0], 60)}'; it may name {', '.join(_CONFIG)}.")
    if wrong := [name for name, value in config.items() if not isinstance(value, int) or isinstance(value, bool)]:
        raise InputError(
            f"'{wrong[0]}' of the configuration must be a whole number, not {shortened(repr(config[wrong[0]]), 60)}."
        )
    space = NasBench101(**{_CONFIG[name]: value for name, value in config.items()})
    edges, layers = prune(matrix, layers)
    if len(edges) > dags.VERTICES or edges.sum() > dags.MAX_EDGES:
        raise InputError(
            f"The pruned cell has {len(edges)} vertices and {edges.sum()} edges; NAS-Bench-101 has at most "
            f"{dags.VERTICES} and {dags.MAX_EDGES}."
        )
    ops = [1 + OPS.index(layer) for layer in layers[1:-1]]
    return Architectures(space, space.from_squares([(edges, ops)]))


def to_triple(arch: Architecture) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Adjacency matrix [V, V] (int8), layers [V] and configuration of a cell, the inverse of `from_triple`."""
    matrix = np.zeros((len(arch.ops), len(arch.ops)), np.int8)
    for source, target, _ in arch.edges:
        matrix[source, target] = 1
    space = parse_space(arch.space)
    return matrix, [op.kind for op in arch.ops], {name: getattr(space, field) for name, field in _CONFIG.items()}


def prune(matrix: Any, layers: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Adjacency [V', V'] (bool) and layers [V'] without vertices on no path from input to output.

    Raises:
        InputError: they are malformed, or there is no such path.
    """
    try:
        numbers = np.array(matrix, dtype=float)
    except (TypeError, ValueError, OverflowError):  # not numbers, or rows of different lengths
        numbers = np.full(1, np.nan)
    edges = numbers > 0
    if numbers.ndim != 2 or len(set(numbers.shape)) != 1 or (edges != numbers).any() or np.tril(edges).any():
        raise InputError("The adjacency matrix must be square, of zeros and ones, all ones above its diagonal.")
    if len(layers) != len(edges) or len(layers) < 2 or (layers[0], layers[-1]) != ("input", "output"):
        raise InputError(f"There must be {len(edges)} layers, one a row of the matrix, from 'input' to 'output'.")
    if unknown := [layer for layer in layers[1:-1] if layer not in OPS]:
        raise InputError(f"'{shortened(unknown[0], 60)}' is not an op of NAS-Bench-101; its ops are {', '.join(OPS)}.")
    paths = np.linalg.matrix_power(edges | np.eye(len(edges), dtype=bool), len(edges))
    if not paths[0, -1]:
        raise InputError("No path leads from input to output of this cell; add edges that make one.")
    kept = np.flatnonzero(paths[0] & paths[:, -1]).tolist()
    return edges[np.ix_(kept, kept)], [layers[vertex] for vertex in kept]
