"""Base of the spaces of single operations, each of which is a small ONNX graph.

`expand` reads that graph as `networks.onnx_file` reads a user's file, so kinds, shapes and counts of an operation are
those that it has in files. Runtimes that run ONNX files measure the file itself, which `spaces.save_operation` writes;
others do not run operations.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datasets.blocks.layers import BLOCKS, Feature, LayerSpace, Values, Work
from datasets.blocks.operation_graph import OperationGraph, Size
from datasets.networks.analysis import TOTALS
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures


def size(name: str, low: int, high: int, rounded: bool = False, common: tuple[int, ...] = ()) -> Feature:
    """A feature that is a number and sampled log-uniformly; if `rounded`, half of the samples are multiples of 8, 16,
    32 or 64, as channels of networks often are; half of the samples are `common` numbers, if there are any."""
    return Feature(name, name, low, high, log=True, multiples=BLOCKS if rounded else (), common=common)


def choice(name: str, *words: str) -> Feature:
    """A feature that is one of some words, sampled uniformly."""
    return Feature(name, name, 0, len(words) - 1, words=words)


BATCH = size("batch", 1, 64, common=(1,))
"""Samples per run; half of the operations have one, as most networks that are measured."""


@dataclass(frozen=True)
class Operation(LayerSpace):
    """All operations of one kind. A subclass has `kind`, `features` with the batch among them, and `write`.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on multiply-accumulates per run (10^6), or on elements that nodes write if these are more.
    """

    @abstractmethod
    def write(self, graph: OperationGraph, values: dict[str, Any]) -> None:
        """Add inputs, weights and nodes to a graph.

        Args:
            graph: an empty one.
            values: per feature a word, or sizes: ints of one operation, or arrays [A] of operations whose words are
                equal. Nodes may therefore depend on words, and not on sizes.
        """

    def build(self, net: NetworkBuilder, values: Values) -> int:
        raise NotImplementedError("Operations are read from their files, see `expand`.")

    def graph_of(self, key: str) -> OperationGraph:
        """The graph of an operation by its text; raises `InputError` if the text is malformed."""
        columns = self.values(self.parse([key]))
        return self._written({name: int(column[0]) for name, column in columns.items()})

    def expand(self, arch: Architecture) -> Network:
        return _network(self, arch.key)

    def work(self, values: Values) -> Work:
        def count(graph: OperationGraph) -> dict[str, Size]:
            ins, outs = (sum(tensor.elements for tensor in ends) for ends in (graph.inputs, graph.ends))
            written = sum(tensor.elements for node in graph.nodes if node.kind for tensor in node.outputs)
            macs = sum(node.macs for node in graph.nodes)
            operations = np.maximum(np.maximum(macs, written), sum(node.operations for node in graph.nodes))
            return dict(zip(Work._fields, (ins, outs, graph.params, macs, operations), strict=True))

        return Work(**self._counted(values, count, Work._fields))

    def sums(self, archs: Architectures) -> dict[str, np.ndarray]:
        return self._counted(self.values(archs), OperationGraph.totals, TOTALS)

    def _written(self, values: Values) -> OperationGraph:
        words = {f.name: f.words[int(np.min(values[f.name]))] for f in self.features if f.words}
        graph = OperationGraph()
        self.write(graph, {**values, **words})
        return graph

    def _counted(
        self, values: Values, count: Callable[[OperationGraph], dict[str, Size]], names: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Counts [A] of operations, group by group of equal words."""
        columns = {name: np.atleast_1d(column) for name, column in values.items()}
        words = [columns[f.name] for f in self.features if f.words]
        rows = len(next(iter(columns.values())))
        found = {name: np.zeros(rows, np.int64) for name in names}
        code = np.zeros(rows, np.int64)
        for column in words:
            code = code * 64 + column
        for value in np.unique(code):
            (group,) = np.nonzero(code == value)
            counts = count(self._written({name: column[group] for name, column in columns.items()}))
            for name in names:
                found[name][group] = counts[name]
        return found


@lru_cache(maxsize=1024)
def _network(space: Operation, key: str) -> Network:
    """The network of an operation, read from its file."""
    from datasets.networks.onnx_file import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = space.graph_of(key).save(Path(folder) / "operation.onnx", numbers=False)
        return replace(read_onnx(file).network, space=str(space), key=key)
