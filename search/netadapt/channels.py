"""Groups of channels whose numbers have to be equal, and the network with other widths.

A convolution or a dense layer has output channels of its own. Batch norms, activations, poolings and depthwise
convolutions keep those of their input; an addition ties the channels of its inputs. Tied channels are one group, which
has one width. The channels of the network's input and output are fixed, and so are those that are concatenated,
shuffled or sliced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from datasets.networks.network import Network
from datasets.networks.ops import FOLDED
from datasets.networks.parts import cut, entries
from datasets.records import InputError, Op
from predictors.networks.layer_kinds import Layer, read_layer

Widths = np.ndarray
"""Channels of every group [G], integers."""

FOLLOWERS = frozenset((*FOLDED, "max_pool", "avg_pool", "global_avg_pool", "pad", "softmax"))
"""Ops whose output has the channels of their only input."""


@dataclass(frozen=True)
class PricedLayer:
    """A layer whose latency is read from a table.

    Attributes:
        nodes: positions in the network.
        kind: the layer without its channels (`predictors.networks.layer_kinds`).
        in_group, out_group: positions of its input's and output's channels in `Groups.channels`.
    """

    nodes: tuple[int, ...]
    kind: str
    in_group: int
    out_group: int


@dataclass(frozen=True)
class Groups:
    """The groups of a network that may be narrowed, in order of first appearance.

    Attributes:
        network: the network with all shapes.
        names: each group's first convolution (`conv1`) or dense layer (`dense1`).
        sizes: widths [G] in the network.
        fixed: widths [F] of all other channels.
        of_node: the group of each node's output; G and above are positions in `fixed`.
        layers: layers in the network's order.
    """

    network: Network
    names: tuple[str, ...]
    sizes: Widths
    fixed: np.ndarray
    of_node: tuple[int, ...]
    layers: tuple[PricedLayer, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def channels(self, widths: np.ndarray) -> np.ndarray:
        """Widths [..., G] followed by the fixed ones: [..., G + F]."""
        widths = np.asarray(widths)
        if widths.ndim == 1:
            return np.concatenate([widths, self.fixed])
        return np.concatenate([widths, np.broadcast_to(self.fixed, (*widths.shape[:-1], len(self.fixed)))], axis=-1)

    @cached_property
    def touching(self) -> tuple[tuple[int, ...], ...]:
        """Positions in `layers` of the layers whose input or output channels are each group's."""
        return tuple(
            tuple(i for i, layer in enumerate(self.layers) if group in (layer.in_group, layer.out_group))
            for group in range(len(self))
        )

    def steps(self, conv: int = 8, dense: int = 64) -> np.ndarray:
        """Step [G] of each group's width."""
        return np.array([dense if name.startswith("dense") else conv for name in self.names])

    def widths(self, by_name: Mapping[str, int]) -> Widths:
        """Widths [G] from widths by group name; groups that are not named keep their size."""
        if unknown := set(by_name) - set(self.names):
            raise InputError(f"There is no group '{min(unknown)}'; the network's are {', '.join(self.names)}.")
        return np.array([by_name.get(name, size) for name, size in zip(self.names, self.sizes, strict=True)])

    def named(self, widths: Sequence[int] | Widths) -> dict[str, int]:
        """Widths [G] as a dictionary by group name."""
        return dict(zip(self.names, map(int, widths), strict=True))

    def resized(self, widths: Sequence[int] | Widths) -> Network:
        """The network with other widths [G], which its key ends with.

        Raises:
            InputError: a width is not between 1 and the network's own.
        """
        wanted = np.asarray(widths)
        if wanted.shape != self.sizes.shape or (wanted < 1).any() or (wanted > self.sizes).any():
            raise InputError(f"Widths {wanted.tolist()} of {self.network.key} must be 1 to {self.sizes.tolist()}.")
        channels = self.channels(wanted)
        ops = tuple(
            _resized(op, int(channels[group])) for op, group in zip(self.network.ops, self.of_node, strict=True)
        )
        key = self.network.key if (wanted == self.sizes).all() else f"{self.network.key}:{'-'.join(map(str, wanted))}"
        return replace(self.network, key=key, ops=ops)

    def priced(self, widths: Sequence[int] | Widths) -> list[Layer]:
        """The layers of the network with other widths."""
        channels = self.channels(np.asarray(widths))
        return [
            Layer(layer.kind, int(channels[layer.in_group]), int(channels[layer.out_group])) for layer in self.layers
        ]


def find_groups(network: Network) -> Groups:
    """The groups of a network with all shapes, of a space (`Space.expand`) or a file (`read_onnx`)."""
    parents = list(range(len(network.ops)))
    fixed, inputs = set[int](), network.sources()

    def root(node: int) -> int:
        while parents[node] != node:
            node = parents[node] = parents[parents[node]]
        return node

    for node, (op, sources) in enumerate(zip(network.ops, inputs, strict=True)):
        if op.kind in FOLLOWERS or op.kind in ("add", "mul") or _depthwise(network, node, sources):
            same = [s for s in sources if _width(network, s) == _width(network, node)]
            for source in same:
                parents[root(node)] = root(source)
            fixed.update(set(sources) - set(same))  # broadcast, such as one number that is added to all
        elif op.kind == "input" or op.kind not in ("conv", "dense", "zero") or op.attrs.get("groups", 1) > 1:
            fixed.update((node, *sources))
    fixed.add(len(network.ops) - 1)
    names = _producers(network, inputs)
    keeps = {root(node) for node in fixed} | ({root(n) for n in range(len(parents))} - {root(n) for n in names})
    roots = list(dict.fromkeys(root(node) for node in names if root(node) not in keeps))
    first = {root(node): name for node, name in reversed(names.items())}
    others = sorted(keeps)
    position = {node: i for i, node in enumerate((*roots, *others))}
    of_node = tuple(position[root(node)] for node in range(len(parents)))
    return Groups(
        network,
        tuple(first[node] for node in roots),
        np.array([_width(network, node) for node in roots], dtype=int),
        np.array([_width(network, node) for node in others], dtype=int),
        of_node,
        tuple(_priced(network, nodes, inputs[nodes[0]][0], of_node) for nodes in entries(network)),
    )


def _producers(network: Network, inputs: Sequence[Sequence[int]]) -> dict[int, str]:
    """Names of the convolutions and dense layers with output channels of their own, by node."""
    names, counts = dict[int, str](), {"conv": 0, "dense": 0}
    for node, op in enumerate(network.ops):
        if op.kind in counts and not _depthwise(network, node, inputs[node]):
            counts[op.kind] += 1
            names[node] = f"{op.kind}{counts[op.kind]}"
    return names


def _priced(network: Network, nodes: list[int], source: int, of_node: Sequence[int]) -> PricedLayer:
    return PricedLayer(tuple(nodes), read_layer(cut(network, nodes)).kind, of_node[source], of_node[nodes[-1]])


def _width(network: Network, node: int) -> int:
    return network.ops[node].attrs["shape"][0]


def _depthwise(network: Network, node: int, sources: Sequence[int]) -> bool:
    op = network.ops[node]
    return op.kind == "conv" and op.attrs.get("groups", 1) == _width(network, node) == _width(network, sources[0]) > 1


def _resized(op: Op, channels: int) -> Op:
    attrs = {**op.attrs, "shape": (channels, *op.attrs["shape"][1:])}
    if op.kind == "conv" and op.attrs.get("groups", 1) == op.attrs["shape"][0] > 1:
        attrs["groups"] = channels
    return Op(op.kind, attrs)
