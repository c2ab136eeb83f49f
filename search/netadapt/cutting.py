"""A network's weights with fewer channels: the filters of largest magnitude stay, and following layers are cut too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from datasets.networks.model import Weights
from search.netadapt.channels import Groups, Widths


def cut_weights(groups: Groups, weights: Weights, widths: Sequence[int] | Widths) -> Weights:
    """The weights of `groups.resized(widths)`.

    Args:
        groups: of the network at its full widths.
        weights: of the network at any widths that are no smaller; they are not changed.
        widths: number of channels that stay in each group [G].
    """
    return slice_weights(groups, weights, strongest(groups, weights, widths))


def strongest(groups: Groups, weights: Weights, widths: Sequence[int] | Widths) -> list[np.ndarray]:
    """The channels of each group that stay, ascending: those whose filters have the largest L2 norm, over all
    convolutions and dense layers whose output is the group's (section 3.3 of NetAdapt's paper; several where residual
    branches are added)."""
    kept = []
    for group, width in enumerate(widths):
        squares = sum(np.square(w, dtype=float).sum(tuple(range(1, w.ndim))) for w in _filters(groups, weights, group))
        kept.append(np.sort(np.argsort(-squares, kind="stable")[: int(width)]))
    return kept


def slice_weights(groups: Groups, weights: Weights, kept: Sequence[np.ndarray]) -> Weights:
    """Weights of the `kept` channels of each group alone."""
    inputs = groups.network.sources()

    def channels(node: int) -> np.ndarray | slice:
        group = groups.of_node[node]
        return kept[group] if group < len(groups) else slice(None)

    cut: Weights = {}
    for node, named in weights.items():
        out = channels(node)
        cut[node] = {name: value[out] for name, value in named.items()}
        if "weight" in named and not _follows(groups, node):
            (source, *_) = inputs[node]
            columns, shape = channels(source), groups.network.ops[source].attrs["shape"]
            if groups.network.ops[node].kind == "dense" and isinstance(columns, np.ndarray):
                area = math.prod(shape[1:])  # a flattened image has this number of features per channel
                columns = (columns[:, None] * area + np.arange(area)).ravel()
            cut[node]["weight"] = cut[node]["weight"][:, columns]
        cut[node] = {name: np.ascontiguousarray(value) for name, value in cut[node].items()}
    return cut


def _filters(groups: Groups, weights: Weights, group: int) -> list[np.ndarray]:
    return [
        named["weight"]
        for node, named in weights.items()
        if groups.of_node[node] == group and "weight" in named and not _follows(groups, node)
    ]


def _follows(groups: Groups, node: int) -> bool:
    """Whether a node is a depthwise convolution, whose filters belong to the channels of its input (other grouped
    convolutions are never cut)."""
    return groups.network.ops[node].attrs.get("groups", 1) > 1
