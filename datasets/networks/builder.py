"""Networks built op by op."""

from __future__ import annotations

from typing import Any

from datasets.architectures import Op
from datasets.networks.network import Network
from datasets.networks.ops import window


class NetworkBuilder:
    """Collects ops in execution order; every method that adds ops returns the index of the last one.

    Args:
        batch: samples per run if the network fixes it, else None.

    Attributes:
        name: name, in the file that is read, of the node whose ops are being added.
    """

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch
        self.name = ""
        self.ops: list[Op] = []
        self.edges: list[tuple[int, int, int]] = []

    def shape(self, node: int) -> tuple[int, ...]:
        """Output shape of a node, without the batch dimension."""
        return self.ops[node].attrs["shape"]

    def add(self, kind: str, shape: tuple[int, ...], *inputs: int, **attrs: Any) -> int:
        """Add an op of any kind.

        Args:
            kind: for example one of `datasets.networks.ops`.
            shape: of the output, without the batch dimension.
            inputs: nodes, in the order of the op's ports.
            attrs: further attributes.
        """
        self.ops.append(Op(kind, {"shape": shape, **attrs}, self.name))
        node = len(self.ops) - 1
        self.edges += [(source, node, port) for port, source in enumerate(inputs)]
        return node

    def conv(
        self, x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, bias: int = 0, pad: Any = None
    ) -> int:
        """Add a convolution; by default an odd kernel is padded such that stride 1 keeps height and width and stride 2
        halves them, rounded up."""
        pad = kernel // 2 if pad is None else pad
        return self._windowed("conv", x, channels, kernel=kernel, stride=stride, pad=pad, groups=groups, bias=bias)

    def pool(self, kind: str, x: int, kernel: int, stride: int, pad: Any = 0) -> int:
        """Add a `max_pool` or `avg_pool`."""
        return self._windowed(kind, x, self.shape(x)[0], kernel=kernel, stride=stride, pad=pad)

    def _windowed(self, kind: str, x: int, channels: int, **attrs: Any) -> int:
        height, width = window(Op(kind, attrs), self.shape(x))
        return self.add(kind, (channels, height, width), x, **attrs)

    def concat(self, *inputs: int) -> int:
        """Add a concatenation along the channels."""
        _, height, width = self.shape(inputs[0])
        return self.add("concat", (sum(self.shape(x)[0] for x in inputs), height, width), *inputs)

    def pointwise(self, kind: str, *inputs: int, **attrs: Any) -> int:
        """Add an op whose output has the shape of its first input."""
        return self.add(kind, self.shape(inputs[0]), *inputs, **attrs)

    def conv_bn(
        self,
        x: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: str | None = None,
        pad: Any = None,
    ) -> int:
        """Add a convolution, a batch norm and, unless `act` is None, an activation."""
        x = self.pointwise("bn", self.conv(x, channels, kernel, stride, groups, pad=pad))
        return x if act is None else self.pointwise(act, x)

    def finish(self, space: str, key: str, output: int | None = None) -> Network:
        """The network of all ops, or of those up to the node `output`, which then is its output."""
        end = len(self.ops) if output is None else output + 1
        edges = tuple(edge for edge in self.edges if edge[1] < end)
        return Network(space, key, tuple(self.ops[:end]), edges, self.batch)


def same(shape: tuple[int, ...], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's padding "same" of an input (channels, height, width) as (top, left, bottom, right): output sides are
    input sides / stride, rounded up, and an odd row or column is at the end."""
    rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in shape[1:])
    return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2
