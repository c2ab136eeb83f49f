"""The nodes that onnxruntime makes of a network: ops fused with each other, and copies between its two layouts.

Convolutions and pools read and write channels in blocks of `BLOCK`, padded to whole ones. Other nodes keep that layout
if they support it; for the rest a tensor is copied back, once for all of them. Which nodes do was seen in the graphs
that onnxruntime 1.31 writes for networks of every kind (`optimized_model_filepath`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.networks.network import Network
from datasets.networks.ops import ITEM, tensor_bytes
from datasets.networks.parts import entries
from datasets.records import Op
from encoders.pieces import converts

BLOCK = 16
"""Channels of a block on processors with AVX-512; others have 8."""

_FUSED = ("relu", "relu6", "sigmoid", "tanh", "hsigmoid", "hswish")
"""Activations that become part of the convolution before them; of others onnxruntime makes nodes of their own."""
_BLOCKED = ("bn", "relu", "sigmoid", "tanh")
"""Nodes of one input that work on blocked channels."""
_SUMS = ("add", "Add")
_SAME_SHAPE = (*_SUMS, "mul", "Mul", "Sum")
"""Nodes that work on blocked channels if their inputs have one shape."""
_CONCAT = ("concat", "Concat")
_FROM_INTEGERS, _TO_INTEGERS = "DequantizeLinear", "QuantizeLinear"


@dataclass
class Step:
    """One node of onnxruntime's graph.

    Attributes:
        kind: kind of its first op; `add` for a convolution that adds to another tensor; `reorder` for a copy.
        reads, writes: numbers of tensors.
    """

    kind: str
    reads: list[int]
    writes: list[int]


class Lowered:
    """The steps of a network, and the tensors between them.

    Attributes:
        steps: in the network's order.
        shape, size: shape without the batch, and bytes, of every tensor: first those of the network's ops.
        ends: tensors that are outputs of the network.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self.shape = [tuple(op.attrs["shape"]) for op in network.ops]
        self.size = [tensor_bytes(op, batch) for op in network.ops]
        self.ends = {port.node for port in network.outputs}
        self.floats = [op.attrs.get("dtype", "float32") == "float32" for op in network.ops]
        self.steps: list[Step] = []
        self.position: dict[int, int] = {}  # tensor -> number of the step that writes it
        self.blocked: dict[int, int] = {}  # op -> tensor of its output in blocks
        self.single: dict[int, bool] = {}  # blocked tensor -> whether one step without an activation makes it for one
        inputs, items, stands = network.sources(), dict[int, list[int]](), self._quantised(network)
        self.readers = Counter(stands.get(source, source) for sources in inputs for source in set(sources))
        for node, op in enumerate(network.ops):
            if op.kind == ITEM:
                items.setdefault(inputs[node][0], []).append(node)
        for group in fused(network):
            own, out = set(group), stands.get(group[-1], group[-1])
            reads = [stands.get(node, node) for first in group for node in inputs[first] if node not in own]
            if reads and out not in reads:
                bare = all(network.ops[node].kind == "bn" for node in group[1:])
                self._add(network.ops[group[0]], reads, [out, *items.get(group[-1], ())], bare)

    def _quantised(self, network: Network) -> dict[int, int]:
        """Tensors that stand for others: a dequantised one is its integers, and what is only quantised again is that.

        Onnxruntime runs an op between the two on the integers, and neither of the two.
        """
        inputs, found = network.sources(), dict[int, int]()
        after: dict[int, list[int]] = {}
        for node, sources in enumerate(inputs):
            for source in sources:
                after.setdefault(source, []).append(node)
        for node, op in enumerate(network.ops):
            if op.kind == _FROM_INTEGERS and inputs[node] and node not in self.ends:
                found[node] = found.get(inputs[node][0], inputs[node][0])
            elif inputs[node] and node not in self.ends and len(after.get(node, ())) == 1:
                (reader,) = after[node]
                if network.ops[reader].kind == _TO_INTEGERS:
                    found[node] = reader
        return found

    def _add(self, op: Op, reads: list[int], writes: list[int], bare: bool) -> None:
        out = writes[0]
        floats = all(self.floats[node] for node in (*reads[:1], out))
        if floats and converts(op, self.shape[reads[0]], BLOCK):
            few = op.kind == "conv" and op.attrs.get("groups", 1) == 1 and self.shape[reads[0]][0] < BLOCK
            reads = [self._plain(reads[0]) if few else self._in_blocks(reads[0]), *reads[1:]]
        elif self._keeps(op.kind, reads):
            reads = [self.blocked[node] for node in reads]
            if op.kind in _SUMS and self._summed(reads, out):
                return
        else:
            self._append(Step(op.kind, [self._plain(node) for node in reads], writes))
            return
        if len(self.shape[out]) == 3:
            target = self.blocked[out] = self._padded(out)
            self.single[target] = bare and self.readers[out] == 1
        else:
            target = out
        self._append(Step(op.kind, reads, [target, *writes[1:]]))
        if out in self.ends:
            self._plain(out)

    def _keeps(self, kind: str, reads: Sequence[int]) -> bool:
        """Whether a node works on the blocked tensors that its inputs are."""
        if not all(node in self.blocked for node in reads):
            return False
        if kind in _CONCAT:
            return all(self.shape[node][0] % BLOCK == 0 for node in reads)
        return kind in _BLOCKED or (kind in _SAME_SHAPE and len(reads) > 1 and len({self.shape[n] for n in reads}) == 1)

    def _summed(self, reads: Sequence[int], out: int) -> bool:
        """Make an addition a part of the last convolution before it, if nothing else reads that one."""
        for tensor in sorted(reads, key=lambda tensor: -self.position[tensor]):
            step = self.steps[self.position[tensor]]
            if step.kind == "conv" and self.single[tensor]:
                step.kind, step.reads = "add", [*step.reads, *(other for other in reads if other != tensor)]
                self.blocked[out], self.single[tensor] = tensor, False
                if out in self.ends:
                    self._plain(out)
                return True
        return False

    def _append(self, step: Step) -> None:
        self.position.update(dict.fromkeys(step.writes, len(self.steps)))
        self.steps.append(step)

    def _padded(self, node: int) -> int:
        """A new tensor for an op's output in whole blocks of channels."""
        channels, *sides = self.shape[node]
        self.shape.append((-(-channels // BLOCK) * BLOCK, *sides))
        self.size.append(self.size[node] * self.shape[-1][0] // max(channels, 1))
        return len(self.size) - 1

    def _in_blocks(self, node: int) -> int:
        if node not in self.blocked:
            self.blocked[node] = self._padded(node)
            self._append(Step("reorder", [node], [self.blocked[node]]))
        return self.blocked[node]

    def _plain(self, node: int) -> int:
        if node in self.blocked and node not in self.position:
            self._append(Step("reorder", [self.blocked[node]], [node]))
        return node


def fused(network: Network) -> list[list[int]]:
    """Groups of ops that run as one: a convolution or product, the batch norms after it, and one activation."""
    found = []
    for group in entries(network):
        kinds, start = [network.ops[node].kind for node in group], 0
        while start < len(group):
            end = start + 1
            if kinds[start] in ("conv", "dense"):
                while end < len(group) and kinds[end] == "bn":
                    end += 1
                end += end < len(group) and kinds[end] in _FUSED
            found.append(group[start:end])
            start = end
    return found
