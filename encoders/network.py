"""Whole networks as graphs of what runtimes run as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from datasets.networks.network import Network
from datasets.networks.ops import ITEM, VOCABULARY, macs, pair, params, tensor_bytes
from datasets.networks.parts import entries
from datasets.records import Architectures, InputError, Networks, Space
from encoders.base import GraphBatch, GraphEncoder

KINDS = (*sorted(VOCABULARY - {"input", "zero"}), "other")
"""Kinds of nodes; an op that the vocabulary lacks is `other`."""
NUMBERS = ("macs", "params", "bytes_out", "bytes_in", "kernel", "stride", "nodes")
"""Features of a node beside its kind."""


@dataclass
class NetworkGraph(GraphEncoder):
    """Graphs of networks of any kinds, and of architectures of spaces without graphs of their own.

    A node is an op with the batch norms and activations that are folded into it: its kind one-hot, logarithms (base
    ten) of its multiply-accumulates, parameters, bytes written and bytes read for one sample or the network's fixed
    batch, of its kernel and its stride, and of the number of nodes of its network.

    Attributes:
        nodes: number of nodes that all graphs are padded to; larger networks are refused.
        global_node: add a first node with edges to all others, for read-out.
    """

    nodes: int = 128
    global_node: bool = True

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(nodes=64)]

    def num_features(self, space: Space) -> int:
        if space.kinds:
            raise InputError(f"Cells of {space} have graphs of their own; choose the encoder encoders.cell.CellGraph.")
        if not 1 <= self.nodes <= 1024:
            raise InputError(f"Graphs have 1 to 1,024 nodes, not {self.nodes:,}.")
        return len(KINDS) + len(NUMBERS) + self.global_node

    def __call__(self, archs: Architectures) -> GraphBatch:
        size, g = self.num_features(archs.space), int(self.global_node)
        nodes = np.zeros((len(archs), self.nodes + g, size), np.float32)
        edges = np.zeros((len(archs), self.nodes + g, self.nodes + g), np.float32)
        mask = np.zeros((len(archs), self.nodes + g), np.float32)
        for i, network in enumerate(Networks.of(archs).networks):
            features, adjacency = _graph(network, self.nodes)
            n = len(features) + g
            nodes[i, g:n, g:], edges[i, g:n, g:n], mask[i, :n] = features, adjacency, 1
            if g:
                nodes[i, 0, 0], edges[i, 0] = 1, mask[i]
        return GraphBatch(nodes, edges, mask)


def _graph(network: Network, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, F] and adjacency [n, n] of a network."""
    groups, sources = entries(network), network.sources()
    if not 0 < len(groups) <= most:
        raise InputError(
            f"{network.key[:100]} has {len(groups)} nodes, and graphs at most {most}; raise encoder.nodes."
        )
    node_of = {op: node for node, group in enumerate(groups) for op in group}
    features, adjacency = np.zeros((len(groups), len(KINDS) + len(NUMBERS))), np.zeros((len(groups), len(groups)))
    for node, group in enumerate(groups):
        op, last = network.ops[group[0]], network.ops[group[-1]]
        read = [origin for op_ in group for origin in sources[op_]]
        batch = 1 if op.attrs.get("whole") else network.batch or 1
        work = sum(macs(network.ops[i], network.shape(sources[i][0]) if sources[i] else ()) for i in group)
        held = sum(params(network.ops[i], network.shape(sources[i][0]) if sources[i] else ()) for i in group)
        written = tensor_bytes(last, network.batch or 1)
        taken = sum(tensor_bytes(network.ops[i], network.batch or 1) for i in read if i not in group)
        kernel, stride = (math.prod(pair(op.attrs.get(name, 1))) for name in ("kernel", "stride"))
        features[node, KINDS.index(op.kind) if op.kind in KINDS else len(KINDS) - 1] = 1
        numbers = (batch * work, held, written, taken, kernel, stride, len(groups))
        features[node, len(KINDS) :] = np.log10(1 + np.array(numbers, float))
        for origin in read:
            while network.ops[origin].kind == ITEM and sources[origin]:
                origin = sources[origin][0]
            if origin in node_of and node_of[origin] != node:
                adjacency[node_of[origin], node] = 1
    return features, adjacency
