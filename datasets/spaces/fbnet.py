"""FBNet: chains of 22 blocks in a fixed macro-architecture, with one of nine blocks at each position.

The space is of "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search" (Wu et
al., CVPR 2019): a 3x3 stem, seven stages of inverted residual blocks (Table 1), a 1x1 convolution, pooling and a
classifier. A block `k5_e6` is a 1x1 convolution to six times its input channels, a depthwise 5x5 and a linear 1x1,
with a residual where shapes allow; `_g2` groups both 1x1 convolutions in two and shuffles the channels after the
first (Figure 3). A `skip` is the identity; where stride or channels change it is a 1x1 convolution with batch norm and
ReLU, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.architectures import texts
from datasets.blocks.chain import Chain, block_totals, chain_graph, chain_totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd

OPS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
"""Ops in the order of the op numbers of HW-NAS-Bench and HELP."""
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
"""(channels, blocks, stride of the first block)."""
_BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
"""(kernel, expansion, groups) of each op but skip."""
_SKIP = OPS.index("skip")
_STEM = 16
_OUT = [channels for channels, blocks, _ in STAGES for _ in range(blocks)]
_WIDTHS = list(zip([_STEM, *_OUT], _OUT, strict=False))
"""(input, output channels) of each position."""
_BOUNDS = [0, *accumulate(blocks for _, blocks, _ in STAGES)]
_KINDS = ("input", "output", "skip_connect", *(f"{op}:{a}-{b}" for a, b in dict.fromkeys(_WIDTHS)
          for op in OPS if op != "skip" or a != b))  # fmt: skip
_KIND_OF = np.array([[_KINDS.index("skip_connect" if op == "skip" and a == b else f"{op}:{a}-{b}") for op in OPS]
                     for a, b in _WIDTHS], np.int16)  # fmt: skip


@dataclass(frozen=True)
class FBNet(Chain):
    """All 9^22 chains in one macro-architecture.

    Attributes:
        image: height and width of the RGB input.
        classes: number of classes.
        head: channels of the last 1x1 convolution: 1984 in the authors' FBNet-B and -C, 1504 in FBNet-A.
        reduction: ratio of the image's side to that of the last features: 32, or 8 where the stem and the second stage
            have stride 1, for images of 32 pixels.
    """

    image: int = 224
    classes: int = 1000
    head: int = 1984
    reduction: int = 32

    num_choices: ClassVar[tuple[int, ...]] = (len(OPS),) * len(_OUT)
    kinds: ClassVar[tuple[str, ...]] = _KINDS

    def __post_init__(self) -> None:
        if self.reduction not in (8, 32):
            raise InputError(f"FBNet reduces its image by 8 or 32, not by {self.reduction}.")

    def __str__(self) -> str:
        return f"fbnet(image={self.image},classes={self.classes},head={self.head},reduction={self.reduction})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read stages separated by `|` with blocks separated by commas: `k3_e1|k3_e6,skip,k3_e1,k3_e1|...`."""
        return Architectures(
            self, np.array([_parse(key) for key in texts(keys)], np.int8).reshape(len(keys), len(_OUT))
        )

    def format(self, archs: Architectures) -> list[str]:
        return [_text(row, keep=True) for row in archs.decisions.tolist()]

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys without skips that are the identity, whose position in a stage has no effect."""
        return [_text(row, keep=False) for row in archs.decisions.tolist()]

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """A chain of 24 nodes: input, the 22 blocks, output.

        A block's kind names its op and its input and output channels, since an op's work differs
        between stages; a skip that is the identity is `skip_connect` everywhere.
        """
        return chain_graph(_KIND_OF[np.arange(len(_OUT)), archs.decisions])

    def expand(self, arch: Architecture) -> Network:
        net = NetworkBuilder()
        x = self._stem(net, net.add("input", (3, self.image, self.image)))
        for op, channels, stride in zip(_parse(arch.key), _OUT, self._strides(), strict=True):
            x = _block(net, x, op, channels, stride)
        self._head(net, x)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, vectorised: the input of a position does not depend on the blocks before it."""
        ends, blocks = _parts(self)
        chosen = blocks[np.arange(len(_OUT)), archs.decisions]
        return chain_totals(np.concatenate([np.broadcast_to(ends, (len(archs), *ends.shape)), chosen], axis=1))

    def _strides(self) -> list[int]:
        """Stride of each position."""
        strides = [stride if i == 0 else 1 for _, blocks, stride in STAGES for i in range(blocks)]
        return strides if self.reduction == 32 else [1, 1, *strides[2:]]

    def _stem(self, net: NetworkBuilder, x: int) -> int:
        return net.conv_bn(x, _STEM, 3, stride=2 if self.reduction == 32 else 1, act="relu")

    def _head(self, net: NetworkBuilder, x: int) -> int:
        x = net.conv_bn(x, self.head, 1, act="relu")
        return net.add("dense", (self.classes,), net.add("global_avg_pool", (self.head,), x))


def _block(net: NetworkBuilder, x: int, op: int, channels: int, stride: int) -> int:
    same = stride == 1 and net.shape(x)[0] == channels
    if op == _SKIP:
        return x if same else net.conv_bn(x, channels, 1, stride, act="relu")
    kernel, expansion, groups = _BLOCKS[op]
    hidden = net.shape(x)[0] * expansion
    y = net.conv_bn(x, hidden, 1, groups=groups, act="relu")
    if groups > 1:
        y = net.pointwise("shuffle", y, groups=groups)
    y = net.conv_bn(y, hidden, kernel, stride, groups=hidden, act="relu")
    y = net.conv_bn(y, channels, 1, groups=groups)
    return net.pointwise("add", x, y) if same else y


@cache
def _parts(space: FBNet) -> tuple[np.ndarray, np.ndarray]:
    """Totals of stem and head [2, 6] and of each op at each position [22, 9, 6]."""
    net = NetworkBuilder()
    x = net.add("input", (3, space.image, space.image))
    ends = [block_totals(net.shape(x), space._stem)]
    x = space._stem(net, x)
    blocks = np.zeros((len(_OUT), len(OPS), ends[0].size), np.int64)
    for place, (channels, stride) in enumerate(zip(_OUT, space._strides(), strict=True)):
        for op in range(len(OPS)):
            blocks[place, op] = block_totals(net.shape(x), partial(_block, op=op, channels=channels, stride=stride))
        x = _block(net, x, 0, channels, stride)
    ends.append(block_totals(net.shape(x), space._head))
    return np.array(ends), blocks


def _text(row: list[int], keep: bool) -> str:
    names = [OPS[op] if keep or op != _SKIP or a != b else "" for op, (a, b) in zip(row, _WIDTHS, strict=True)]
    return "|".join(",".join(filter(None, names[start:end])) for start, end in pairwise(_BOUNDS))


def _parse(key: str) -> list[int]:
    stages = [stage.split(",") for stage in key.split("|")]
    if [0, *accumulate(map(len, stages))] != _BOUNDS:
        raise InputError(
            f"'{key}' is not an FBNet network; write seven stages of 1, 4, 4, 4, 4, 4 and 1 blocks: k3_e1|k3_e6,skip..."
        )
    names = [name for stage in stages for name in stage]
    if unknown := [name for name in names if name not in OPS]:
        raise InputError(f"'{unknown[0]}' in '{key}' is not a block of FBNet; its blocks are {', '.join(OPS)}.")
    return [OPS.index(name) for name in names]
