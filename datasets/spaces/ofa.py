"""Once-for-All's MobileNetV3 space of width 1.0 with elastic kernel, expansion, depth and resolution.

The space is of "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (Cai et al., ICLR 2020).

Five stages of two to four inverted residual blocks, each with a kernel of 3, 5 or 7 and an expansion of 3, 4 or 6,
between a fixed stem with its first block and a fixed head; widths, strides, activations and the stages with
squeeze-and-excitation are those of the authors' network. A block beyond its stage's depth does not exist; its
decisions are in texts but have no effect. h-swish and h-sigmoid are one op each, as in runtimes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.architectures import texts
from datasets.blocks.chain import Chain, block_totals, chain_graph, chain_totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd

KERNELS = (3, 5, 7)
EXPANDS = (3, 4, 6)
DEPTHS = (2, 3, 4)
RESOLUTIONS = tuple(range(128, 225, 4))
"""Resolutions of the training."""
STAGES = ((24, 2, "relu", False), (40, 2, "relu", True), (80, 2, "hswish", False), (112, 1, "hswish", True),
          (160, 2, "hswish", True))  # fmt: skip
"""(channels, stride of the first block, activation, squeeze-and-excitation)."""
_STEM, _EXPAND, _LAST = 16, 960, 1280
_PLACES = [(stage, block) for stage in range(len(STAGES)) for block in range(max(DEPTHS))]
_BLOCK = re.compile(r"k([357])e([346])")
_WIDTHS = list(zip([_STEM, *(STAGES[s][0] for s, _ in _PLACES)], (STAGES[s][0] for s, _ in _PLACES), strict=False))
"""(input, output channels) of each position."""
_KINDS = ("input", "output", "skip_connect", *(f"r{r}" for r in RESOLUTIONS), *(f"k{k}e{e}:{a}-{b}"
          for a, b in dict.fromkeys(_WIDTHS) for k in KERNELS for e in EXPANDS))  # fmt: skip
_KIND_OF = np.array([[[_KINDS.index(f"k{k}e{e}:{a}-{b}") for e in EXPANDS] for k in KERNELS] for a, b in _WIDTHS])


@dataclass(frozen=True)
class OFA(Chain):
    """All sub-networks of OFA-MobileNetV3.

    Decisions: 20 kernels, 20 expansions (four per stage), five depths and the resolution, as positions in the constants
    above.

    Attributes:
        classes: number of classes.
    """

    classes: int = 1000

    num_choices: ClassVar[tuple[int, ...]] = (
        *(len(KERNELS),) * len(_PLACES), *(len(EXPANDS),) * len(_PLACES), *(len(DEPTHS),) * len(STAGES),
        len(RESOLUTIONS))  # fmt: skip
    kinds: ClassVar[tuple[str, ...]] = _KINDS

    def __str__(self) -> str:
        return f"ofa(classes={self.classes})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read resolution and stages: `r224|k3e6,k5e4;k7e3,k3e3|...`; blocks after a `;` are beyond the depth."""
        rows = np.array([_parse(key) for key in texts(keys)], np.int8).reshape(len(keys), len(self.num_choices))
        return Architectures(self, rows)

    def format(self, archs: Architectures) -> list[str]:
        return [_text(row, keep=True) for row in archs.decisions.tolist()]

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys without absent blocks."""
        return [_text(row, keep=False) for row in archs.decisions.tolist()]

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """A chain of 23 nodes: input, resolution, 20 blocks, output.

        A block's kind names its kernel, expansion, input and output channels; one beyond its stage's depth is
        `skip_connect`.
        """
        kernels, expands, exists, resolution = _columns(archs.decisions)
        blocks = np.where(exists, _KIND_OF[np.arange(len(_PLACES)), kernels, expands], _KINDS.index("skip_connect"))
        return chain_graph(np.concatenate([resolution[:, None] + _KINDS.index("r128"), blocks], axis=1))

    def expand(self, arch: Architecture) -> Network:
        (kernels,), (expands,), (exists,), (resolution,) = _columns(np.array([_parse(arch.key)]))
        net = NetworkBuilder()
        side = RESOLUTIONS[resolution]
        x = _stem(net, net.add("input", (3, side, side)))
        for place in np.flatnonzero(exists).tolist():
            x = _block(net, x, place, KERNELS[kernels[place]], EXPANDS[expands[place]])
        self._head(net, x)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, vectorised: a block's input depends on its position and on the resolution alone."""
        kernels, expands, exists, resolution = _columns(archs.decisions)
        sides, which = np.unique(resolution, return_inverse=True)
        parts = [_parts(self, RESOLUTIONS[side]) for side in sides] or [_parts(self, RESOLUTIONS[0])]
        ends, blocks = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        chosen = blocks[which[:, None], np.arange(len(_PLACES)), kernels, expands] * exists[..., None]
        return chain_totals(np.concatenate([ends[which], chosen], axis=1))

    def _head(self, net: NetworkBuilder, x: int) -> int:
        x = net.conv_bn(x, _EXPAND, 1, act="hswish")
        x = net.conv(net.add("global_avg_pool", (_EXPAND, 1, 1), x), _LAST, 1)
        return net.add("dense", (self.classes,), net.pointwise("hswish", x))


def _columns(decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kernels, expansions [A, 20], whether a block exists [A, 20] and resolutions [A]; all but the third are
    positions."""
    n = len(_PLACES)
    depths = np.array(DEPTHS)[decisions[:, 2 * n : -1]]
    exists = np.arange(max(DEPTHS)) < depths[:, :, None]
    return decisions[:, :n], decisions[:, n : 2 * n], exists.reshape(len(decisions), n), decisions[:, -1]


def _stem(net: NetworkBuilder, x: int) -> int:
    """Append the first convolution and the first block, which is fixed and has no expansion."""
    x = net.conv_bn(x, _STEM, 3, stride=2, act="hswish")
    y = net.conv_bn(x, _STEM, 3, groups=_STEM, act="relu")
    return net.pointwise("add", net.conv_bn(y, _STEM, 1), x)


def _block(net: NetworkBuilder, x: int, place: int, kernel: int, expand: int) -> int:
    stage, block = _PLACES[place]
    channels, stride, act, squeeze = STAGES[stage]
    hidden = net.shape(x)[0] * expand
    y = net.conv_bn(x, hidden, 1, act=act)
    y = net.conv_bn(y, hidden, kernel, 1 if block else stride, groups=hidden, act=act)
    if squeeze:
        gate = net.add("global_avg_pool", (hidden, 1, 1), y)
        gate = net.pointwise("relu", net.conv(gate, _squeezed(hidden), 1, bias=1))
        y = net.pointwise("mul", y, net.pointwise("hsigmoid", net.conv(gate, hidden, 1, bias=1)))
    y = net.conv_bn(y, channels, 1)
    return net.pointwise("add", y, x) if block else y  # the fourth stage begins without a stride, but with new channels


def _squeezed(channels: int) -> int:
    """A quarter of the channels, rounded to a multiple of eight but not below nine tenths of it (MobileNet's rule)."""
    quarter = channels // 4
    rounded = max(8, (quarter + 4) // 8 * 8)
    return rounded + 8 * (rounded < 0.9 * quarter)


@cache
def _parts(space: OFA, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Totals at one resolution: stem and head [2, 6], and blocks by position, kernel and expansion [20, 3, 3, 6]."""
    net = NetworkBuilder()
    x = net.add("input", (3, side, side))
    ends = [block_totals(net.shape(x), _stem)]
    x = _stem(net, x)
    blocks = np.zeros((len(_PLACES), len(KERNELS), len(EXPANDS), ends[0].size), np.int64)
    for place, (_, block) in enumerate(_PLACES):
        if block > 1:  # equal to the previous block
            blocks[place] = blocks[place - 1]
            continue
        for i, kernel in enumerate(KERNELS):
            for j, expand in enumerate(EXPANDS):
                build = partial(_block, place=place, kernel=kernel, expand=expand)
                blocks[place, i, j] = block_totals(net.shape(x), build)
        x = _block(net, x, place, KERNELS[0], EXPANDS[0])
    ends.append(block_totals(net.shape(x), space._head))
    return np.array(ends), blocks


def _text(row: list[int], keep: bool) -> str:
    n, most = len(_PLACES), max(DEPTHS)
    blocks = [f"k{KERNELS[k]}e{EXPANDS[e]}" for k, e in zip(row[:n], row[n : 2 * n], strict=True)]
    parts = [f"r{RESOLUTIONS[row[-1]]}"]
    for stage, choice in enumerate(row[2 * n : -1]):
        names, depth = blocks[most * stage : most * (stage + 1)], DEPTHS[choice]
        absent = f";{','.join(names[depth:])}" if keep and depth < most else ""
        parts.append(",".join(names[:depth]) + absent)
    return "|".join(parts)


def _parse(key: str) -> list[int]:
    resolution, *stages = key.split("|")
    pairs, depths = [], []
    for stage in stages:
        present, semicolon, absent = stage.partition(";")
        names = [*present.split(","), *(absent.split(",") if semicolon else [])]
        matches = [match for name in names if (match := _BLOCK.fullmatch(name))]
        if len(matches) == len(names) == max(DEPTHS):
            depths.append(present.count(",") + 1)
            pairs += [(int(kernel), int(expand)) for kernel, expand in (match.groups() for match in matches)]
    whole = len(stages) == len(depths) == len(STAGES) and set(depths) <= set(DEPTHS)
    if not whole or resolution not in {f"r{r}" for r in RESOLUTIONS}:
        raise InputError(
            f"'{key}' is not an OFA network; write a resolution from r128 to r224 in steps of four and five stages of "
            "four blocks, those beyond its depth of 2 to 4 after a semicolon: r224|k3e6,k5e4;k7e3,k3e3|..."
        )
    kernels, expands = [KERNELS.index(k) for k, _ in pairs], [EXPANDS.index(e) for _, e in pairs]
    return [*kernels, *expands, *(DEPTHS.index(d) for d in depths), RESOLUTIONS.index(int(resolution[1:]))]
