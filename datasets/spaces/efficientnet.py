"""The space of Accel-NASBench: networks in the form of EfficientNet-B0.

The space is of "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS" (Ahmad et al., DAC 2024). Seven
stages of inverted residual blocks between the stem and the head of EfficientNet-B0, with its widths and strides; each
stage chooses its expansion, kernel, number of blocks and whether its blocks have squeeze-and-excitation, whose width is
a quarter of the block's input channels. Parameters equal the published ones of all 5,125 networks; published MACs count
four operations per number that a batch norm makes, and one per number that a pooling reads or makes.
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
from datasets.files.reading import shortened
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Architecture, Architectures, InputError

if TYPE_CHECKING:
    import pandas as pd

EXPANDS = (1, 4, 6)
KERNELS = (3, 5)
DEPTHS = (1, 2, 3, 4)
"""Numbers of blocks; only the sixth stage may have four."""
STAGES = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
"""(channels, stride of the first block)."""
_STEM, _HEAD = 32, 1280
_DEEPEST = [4 if stage == 5 else 3 for stage in range(len(STAGES))]
_PLACES = [(stage, block) for stage, deepest in enumerate(_DEEPEST) for block in range(deepest)]
_INPUTS = [(_STEM, *(c for c, _ in STAGES))[s] if not block else STAGES[s][0] for s, block in _PLACES]
"""Input channels of each position."""
_WIDTHS = [(width, STAGES[stage][0]) for width, (stage, _) in zip(_INPUTS, _PLACES, strict=True)]
_STAGE = re.compile(r"e([146])k([35])l([1234])(s?)")
_KINDS = ("input", "output", "skip_connect", *(f"e{e}k{k}{'s' * s}:{a}-{b}" for a, b in dict.fromkeys(_WIDTHS)
          for e in EXPANDS for k in KERNELS for s in (0, 1)))  # fmt: skip
_KIND_OF = np.array([[[[_KINDS.index(f"e{e}k{k}{'s' * s}:{a}-{b}") for s in (0, 1)] for k in KERNELS] for e in EXPANDS]
                     for a, b in _WIDTHS])  # fmt: skip


@dataclass(frozen=True)
class EfficientNet(Chain):
    """All networks of the space.

    Decisions: per stage the expansion, kernel and number of blocks, as positions in the constants above, and whether it
    has squeeze-and-excitation.

    Attributes:
        image: height and width of the input.
        classes: number of classes.
    """

    image: int = 224
    classes: int = 1000

    num_choices: ClassVar[tuple[int, ...]] = tuple(
        number for deepest in _DEEPEST for number in (len(EXPANDS), len(KERNELS), deepest, 2)
    )
    kinds: ClassVar[tuple[str, ...]] = _KINDS

    def __str__(self) -> str:
        return f"efficientnet(image={self.image},classes={self.classes})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read seven stages, `s` for squeeze-and-excitation: `e1k3l1s|e6k3l2s|e6k5l2|...`."""
        rows = np.array([_parse(key) for key in texts(keys)], np.int8).reshape(len(keys), len(self.num_choices))
        return Architectures(self, rows)

    def format(self, archs: Architectures) -> list[str]:
        return ["|".join(_stage_text(*stage) for stage in row) for row in archs.decisions.reshape(-1, 7, 4).tolist()]

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys, since every decision has an effect."""
        return archs.keys

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """A chain of 24 nodes: input, 22 blocks, output.

        A block's kind names its expansion, kernel, squeeze-and-excitation, input and output channels; one beyond its
        stage's number of blocks is `skip_connect`.
        """
        expands, kernels, squeezes, exists = _columns(archs.decisions)
        kinds = _KIND_OF[np.arange(len(_PLACES)), expands, kernels, squeezes]
        return chain_graph(np.where(exists, kinds, _KINDS.index("skip_connect")))

    def expand(self, arch: Architecture) -> Network:
        (expands,), (kernels,), (squeezes,), (exists,) = _columns(np.array([_parse(arch.key)]))
        net = NetworkBuilder()
        x = self._stem(net, net.add("input", (3, self.image, self.image)))
        for place in np.flatnonzero(exists).tolist():
            x = _block(net, x, place, EXPANDS[expands[place]], KERNELS[kernels[place]], bool(squeezes[place]))
        self._head(net, x)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals, vectorised: a block's input depends on its position alone."""
        expands, kernels, squeezes, exists = _columns(archs.decisions)
        ends, blocks = _parts(self)
        chosen = blocks[np.arange(len(_PLACES)), expands, kernels, squeezes] * exists[..., None]
        return chain_totals(np.concatenate([np.broadcast_to(ends, (len(archs), *ends.shape)), chosen], axis=1))

    def _stem(self, net: NetworkBuilder, x: int) -> int:
        return net.conv_bn(x, _STEM, 3, stride=2, act="silu")

    def _head(self, net: NetworkBuilder, x: int) -> int:
        x = net.conv_bn(x, _HEAD, 1, act="silu")
        return net.add("dense", (self.classes,), net.add("global_avg_pool", (_HEAD,), x))


def _columns(decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Expansions, kernels and squeezes of the positions [A, 22], as positions in their choices, and whether a block
    exists [A, 22]."""
    stage, block = np.array(_PLACES).T
    expands, kernels, depths, squeezes = np.moveaxis(decisions.reshape(-1, len(STAGES), 4)[:, stage], 2, 0)
    return expands, kernels, squeezes, block < np.array(DEPTHS)[depths]


def _block(net: NetworkBuilder, x: int, place: int, expand: int, kernel: int, squeeze: bool) -> int:
    stage, block = _PLACES[place]
    channels, stride = STAGES[stage]
    width = net.shape(x)[0]
    hidden = width * expand
    y = net.conv_bn(x, hidden, 1, act="silu") if expand > 1 else x
    y = net.conv_bn(y, hidden, kernel, 1 if block else stride, groups=hidden, act="silu")
    if squeeze:
        gate = net.conv(net.add("global_avg_pool", (hidden, 1, 1), y), width // 4, 1, bias=1)
        gate = net.conv(net.pointwise("silu", gate), hidden, 1, bias=1)
        y = net.pointwise("mul", y, net.pointwise("sigmoid", gate))
    y = net.conv_bn(y, channels, 1)
    return net.pointwise("add", y, x) if block else y  # the first block of a stage changes the number of channels


@cache
def _parts(space: EfficientNet) -> tuple[np.ndarray, np.ndarray]:
    """Totals of stem and head [2, 6], and of blocks by position, expansion, kernel and squeeze [22, 3, 2, 2, 6]."""
    net = NetworkBuilder()
    x = net.add("input", (3, space.image, space.image))
    ends = [block_totals(net.shape(x), space._stem)]
    x = space._stem(net, x)
    blocks = np.zeros((len(_PLACES), len(EXPANDS), len(KERNELS), 2, ends[0].size), np.int64)
    for place, (_, block) in enumerate(_PLACES):
        if block > 1:  # equal to the previous block
            blocks[place] = blocks[place - 1]
            continue
        for i, j, squeeze in np.ndindex(len(EXPANDS), len(KERNELS), 2):
            build = partial(_block, place=place, expand=EXPANDS[i], kernel=KERNELS[j], squeeze=bool(squeeze))
            blocks[place, i, j, squeeze] = block_totals(net.shape(x), build)
        x = _block(net, x, place, EXPANDS[0], KERNELS[0], squeeze=False)
    ends.append(block_totals(net.shape(x), space._head))
    return np.array(ends), blocks


def _stage_text(expand: int, kernel: int, depth: int, squeeze: int) -> str:
    return f"e{EXPANDS[expand]}k{KERNELS[kernel]}l{DEPTHS[depth]}{'s' * squeeze}"


def _parse(key: str) -> list[int]:
    stages = [match.groups() for text in key.split("|") if (match := _STAGE.fullmatch(text))]
    depths = [int(depth) for _, _, depth, _ in stages]
    if len(stages) != len(STAGES) or key.count("|") != 6 or any(a > b for a, b in zip(depths, _DEEPEST, strict=True)):
        raise InputError(
            f"'{shortened(key, 100)}' is not an EfficientNet network; write seven stages of expansion (1, 4, 6), "
            "kernel (3, 5) and 1 to 3 blocks (the sixth up to 4), with s for squeeze-and-excitation: e1k3l1s|e6k3l2|..."
        )
    rows = [(EXPANDS.index(int(e)), KERNELS.index(int(k)), int(d) - 1, len(s)) for e, k, d, s in stages]
    return [number for row in rows for number in row]
