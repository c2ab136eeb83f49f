"""Operations that files write as several nodes: a product and its bias, attention, norms and functions.

Each is found by what it computes, not by one exporter's nodes: attention is a softmax between two products; a norm or a
function is a set of elementwise ops that read a single tensor, whose own results nothing else reads.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from datasets.networks.network import Network
from datasets.networks.ops import ITEM, VIEWS
from datasets.networks.ops import params as params_of

Readers = dict[int, set[int]]
"""Nodes that read each node's outputs; -1 stands for outputs of the network."""

_SCALED = ("Mul", "Div", "Add", "Where", "mul", "add")
"""What stands between a product and the softmax of its scores."""
_NORMS = {"ReduceMean": "layer_norm", "InstanceNormalization": "group_norm"}
_ROOTS = ("Sqrt", "Pow", "Reciprocal")
"""Functions that norms have, too."""
_LARGEST = 16
"""Pieces of a function or a norm."""


def written(
    network: Network, groups: Sequence[Sequence[int]], kinds: Sequence[str], readers: Readers
) -> Iterator[tuple[str, list[int]]]:
    """The operations of several pieces: the kind of the space of each, and its pieces as positions.

    Args:
        network: all ops have a `shape`.
        groups: nodes of the pieces (`datasets.networks.parts.entries`).
        kinds: of the spaces of the pieces alone.
        readers: of each node.
    """
    pieces, taken = _Pieces(network, groups, kinds, readers), set[int]()
    for find in (_linear, _attention, _function):
        for i in reversed(range(len(groups))):
            if i not in taken and (found := find(pieces, i)) and taken.isdisjoint(found[1]):
                taken |= found[1]
                yield found[0], sorted(found[1])


class _Pieces:
    """The pieces of a network as a graph of their own."""

    def __init__(self, network: Network, groups: Sequence[Sequence[int]], kinds: Sequence[str], readers: Readers):
        self.network, self.groups, self.kinds = network, groups, kinds
        self.ops = [network.ops[nodes[0]] for nodes in groups]
        self.shapes = [network.shape(nodes[-1]) for nodes in groups]
        at = {node: i for i, nodes in enumerate(groups) for node in nodes}
        self.sources = sources = network.sources()

        def root(node: int) -> int:
            return sources[node][0] if network.ops[node].kind == ITEM else node

        reads = [[root(s) for node in nodes for s in sources[node] if s not in nodes] for nodes in groups]
        self.tensors = [set(each) for each in reads]
        """Nodes whose outputs a piece reads."""
        self.before = [[at[node] for node in each if node in at] for each in reads]
        self.after = [{at.get(node, -1) for node in readers[nodes[-1]]} for nodes in groups]
        """Pieces that read a piece, and -1 for an output of the network."""

    def sole_reader(self, i: int) -> int:
        """The only piece that reads a piece; -1 if there is none."""
        return next(iter(self.after[i])) if len(self.after[i]) == 1 else -1

    def has_params(self, i: int) -> bool:
        return params_of(self.ops[i], self.in_shape(i)) > 0

    def in_shape(self, i: int) -> tuple[int, ...]:
        """Shape of the first input of a piece."""
        return self.network.shape(self.sources[self.groups[i][0]][0])

    def outside(self, own: set[int]) -> int:
        """Number of tensors that some pieces read of others."""
        made = {node for i in own for node in self.groups[i]}
        return len(set().union(*(self.tensors[i] for i in own)) - made)


def _linear(p: _Pieces, i: int) -> tuple[str, set[int]] | None:
    """A product with a weight, and the sum with its bias."""
    if p.kinds[i] != "linear" or (after := p.sole_reader(i)) < 0:
        return None
    bias = p.ops[after].kind == "Add" and len(p.before[after]) == 1 and p.has_params(after)
    return ("linear", {i, after}) if bias and len(p.tensors[after]) == 1 else None


def _attention(p: _Pieces, i: int) -> tuple[str, set[int]] | None:
    """A softmax, the products before and behind it, and what changes the forms of their inputs alone."""
    if p.kinds[i] != "softmax" or (after := p.sole_reader(i)) < 0 or p.kinds[after] != "matmul":
        return None
    own, at = {i, after}, i
    while p.kinds[at] != "matmul":
        same = [j for j in p.before[at] if p.sole_reader(j) == at and p.shapes[j] == p.shapes[at]]
        scaled = [j for j in same if p.ops[j].kind in _SCALED or p.kinds[j] == "matmul"]
        if not scaled or len(own) > _LARGEST:
            return None
        at = scaled[0]
        own.add(at)
    waiting, cached = [j for i in own for j in p.before[i]], False
    while waiting:
        j = waiting.pop()
        if j in own or not p.after[j] - {-1} <= own:
            continue
        grown = p.ops[j].kind == "Concat"
        if grown or (-1 not in p.after[j] and (p.ops[j].kind in (*VIEWS, "Expand") or _swaps(p, j))):
            own.add(j)
            cached |= grown
            waiting += p.before[j]
    return "cached_attention" if cached else "attention", own


def _swaps(p: _Pieces, i: int) -> bool:
    """Whether a piece is a transposition of the last two sides."""
    before, shape = p.in_shape(i), p.shapes[i]
    if p.ops[i].kind != "Transpose" or len(before) != len(shape) or len(shape) < 2:
        return False
    return (*before[:-2], before[-1], before[-2]) == shape


def _function(p: _Pieces, i: int) -> tuple[str, set[int]] | None:
    """A norm or a function of one tensor, from its last piece backwards."""
    if not _pointwise(p, i) or p.ops[i].kind in VIEWS:
        return None
    own, found, kind, open_ = {i}, set[int](), "", False
    waiting = [-j for j in p.before[i]]
    heapq.heapify(waiting)
    while waiting and len(own) < _LARGEST:
        j = -heapq.heappop(waiting)
        if j in own or not _pointwise(p, j) or not p.after[j] <= own:
            continue
        own.add(j)
        for source in p.before[j]:
            heapq.heappush(waiting, -source)
        if p.outside(own) > 1:
            open_ = True
        elif found and not open_:
            break  # further ops in a row before it
        elif named := _named(p, own):
            found, kind, open_ = set(own), named, False
    return (kind, found) if found else None


def _pointwise(p: _Pieces, i: int) -> bool:
    """Whether a piece may be a part of a norm or function."""
    return p.kinds[i] in ("smooth", "stepped", "elementwise") or p.ops[i].kind in (*VIEWS, *_NORMS)


def _named(p: _Pieces, own: set[int]) -> str:
    """The kind of the space of some elementwise pieces together; '' if none has it."""
    names = {op.kind for i in own for op in (p.network.ops[node] for node in p.groups[i])}
    kinds = {p.kinds[i] for i in own if p.ops[i].kind not in (*_ROOTS, *_NORMS)} - {"", "elementwise"}
    norms = {_NORMS[name] for name in names if name in _NORMS}
    if norms:
        return norms.pop() if not kinds and (names & set(_ROOTS) or "InstanceNormalization" in names) else ""
    kinds |= {"smooth"} if names & {*_ROOTS, "tanh", "sigmoid"} else set()
    kinds |= {"stepped"} if "relu6" in names else set()
    return kinds.pop() if len(kinds) == 1 else ""
