"""Random convolutional networks that differ from each other and from the zoo, for testing predictions of networks.

A network has a stem, up to five stages of equal blocks, and a head; kinds of blocks, widths, depths, kernels, strides
or pooling, the activation and the classifier's layers are decisions. A stage reduces its image first (`max3`: pooling
of size 3 with stride 2; `s2`: the stride of its first block; `s1`: not) and then has 0 to 4 blocks of one kind and
width:

- plain, biased: one convolution, with batch norm, or with a bias instead (VGG);
- basic, bottleneck: residual blocks of two 3x3 convolutions, or of 1x1 to a quarter of the width, 3x3 and 1x1 (ResNet);
- separable: a depthwise and a 1x1 convolution (MobileNetV1);
- inverted, excited: residual blocks of a 1x1 convolution to four times the input's width, a depthwise and a linear 1x1
  one (V2), with squeeze-and-excitation (V3);
- fire: 1x1 to a quarter, then 1x1 and 3x3 in parallel, with biases (SqueezeNet);
- branched: 1x1; 1x1 and 3x3; pooling and 1x1, in parallel (Inception).

The kernel may be 5x5 or 7x7 instead of 3x3. A stage without blocks does not exist; its other decisions are in texts
but have no effect. For images up to 512 pixels, all ungrouped convolutions, maximum poolings and dense layers are
layers of PerfNetRT's tables (`datasets.blocks.layers`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from datasets.architectures import Architecture, Architectures, InputError, texts
from datasets.blocks.chain import Chain, chain_graph, chain_totals
from datasets.blocks.convnet_blocks import BLOCKS, HEADS, Part, avg_pool, classifier, conv_bn, hidden, max_pool
from datasets.networks.analysis import TOTALS, totals
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network

if TYPE_CHECKING:
    import pandas as pd

STAGES, DEPTH = 5, 4
"""Largest number of stages, and of blocks per stage."""
WIDTHS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""Four widths per octave, so that random ones are log-uniform."""
LEAST_MACS = 1_000_000

_WIDTH, _HIDDEN = tuple(f"w{n}" for n in WIDTHS), ("d0", "d128", "d512", "d2048")
_STEM = (("k3s1", "k3s2", "k4s4", "k5s2", "k7s2"), _WIDTH, ("relu", "relu6", "hswish", "silu", "tanh"))
_POOLS = {"max2": (max_pool, (2, 2)), "max3": (max_pool, (3, 2)), "avg2": (avg_pool, (2, 2))}
_STAGE = (("s1", "s2", *_POOLS), tuple(BLOCKS), ("k3", "k5", "k7"), _WIDTH,
          tuple(f"x{n}" for n in range(DEPTH + 1)))  # fmt: skip
_HEAD = (tuple(HEADS), _HIDDEN, _HIDDEN)
_WORDS = (*_STEM, *_STAGE * STAGES, *_HEAD)
"""Words for the values of each decision; `d0` and `x0` are absent layers."""
_WIDTHS_AT = [place for place, words in enumerate(_WORDS) if words is _WIDTH]
_SKIP = "skip_connect"
_KINDS = ("input", "output", _SKIP, *dict.fromkeys(word for words in (*_STEM, _STAGE[0], *_HEAD) for word in words),
          *(f"{block}_{kernel}" for block in BLOCKS for kernel in _STAGE[2]))  # fmt: skip
_KIND_OF = {kind: number for number, kind in enumerate(_KINDS)}
_DRAWS = 32  # samples at a time for any n, so that the first networks of a seed do not depend on n
_NODES = len(_STEM) + STAGES * (2 + DEPTH) + len(_HEAD)


@dataclass(frozen=True)
class ConvNet(Chain):
    """All networks of this module; those of one to `megamacs` million multiply-accumulates are `feasible`, and `parse`
    reads all.

    Attributes:
        image: height and width of the RGB input.
        classes: number of classes.
        megamacs: limit on work, in 10^6 multiply-accumulates per image.
    """

    image: int = 128
    classes: int = 100
    megamacs: int = 800

    num_choices: ClassVar[tuple[int, ...]] = tuple(map(len, _WORDS))
    kinds: ClassVar[tuple[str, ...]] = _KINDS

    def __post_init__(self) -> None:
        if min(self.image, self.classes, self.megamacs) < 1:
            raise InputError(f"{self} leaves no networks; its image, classes and megamacs have to be 1 or more.")

    def __str__(self) -> str:
        return f"convnet(image={self.image},classes={self.classes},megamacs={self.megamacs})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read stem, five stages (reduction, block, kernel, width, depth) and head (hidden dense layers):
        `k3s2_w32_relu|s1_plain_k3_w64_x1|...|gap_d0_d0`."""
        return Architectures(
            self, np.array([_parse(key) for key in texts(keys)], np.int8).reshape(len(keys), len(_WORDS))
        )

    def format(self, archs: Architectures) -> list[str]:
        return [_text(*_parts(row)) for row in archs.decisions.tolist()]

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys without absent stages and layers, whose position has no effect."""
        return [_text(*_existing(row)) for row in archs.decisions.tolist()]

    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """A chain of 38 nodes: input, the stem's kernel, width and activation, every stage's reduction, width and four
        blocks, the head's pooling and two hidden layers, output; what does not exist is `skip_connect`."""
        kinds = [[_KIND_OF[name] for name in _nodes(row)] for row in archs.decisions.tolist()]
        return chain_graph(np.array(kinds, int).reshape(len(archs), _NODES))

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` feasible networks (repeats are possible): the widths of one lie within an octave of a width that is drawn
        first, so that work is spread over two decades; all else is drawn uniformly."""
        kept, found, drawn = [np.zeros((0, len(_WORDS)), np.int8)], 0, 0
        while found < n:
            if drawn >= 3200 * (found + 1):
                raise InputError(f"Hardly any network of {self} has the work it asks for; give it other limits.")
            drawn += _DRAWS
            decisions = super().sample(_DRAWS, rng).decisions.copy()
            around = rng.integers(len(WIDTHS), size=(_DRAWS, 1)) + rng.integers(-4, 5, (_DRAWS, len(_WIDTHS_AT)))
            decisions[:, _WIDTHS_AT] = around.clip(0, len(WIDTHS) - 1)
            kept.append(decisions[self.feasible(Architectures(self, decisions))])
            found += len(kept[-1])
        return Architectures(self, np.concatenate(kept)[:n])

    def feasible(self, archs: Architectures) -> np.ndarray:
        macs = self.totals(archs)["macs"].to_numpy()
        return (macs >= LEAST_MACS) & (macs <= 1e6 * self.megamacs)

    def expand(self, arch: Architecture) -> Network:
        net, row = NetworkBuilder(), _parse(arch.key)
        x, (_, _, act) = net.add("input", (3, self.image, self.image)), _parts(row)[0]
        for part, numbers in self._chain(row):
            x = part(net, x, act, *numbers)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals as sums over the parts of the chain, each computed once per input shape."""
        parts = np.zeros((len(archs), 2 + STAGES * (1 + DEPTH) + len(_HEAD), len(TOTALS)), np.int64)
        for i, row in enumerate(archs.decisions.tolist()):
            shape: tuple[int, ...] = (3, self.image, self.image)
            for j, (part, numbers) in enumerate(self._chain(row)):
                parts[i, j], shape = _count(part, numbers, shape)
        return chain_totals(parts)

    def _chain(self, row: list[int]) -> list[tuple[Part, tuple[int, ...]]]:
        """The parts between input and output with their numbers."""
        (stem, width, _), *stages, (head, *dense) = _existing(row)
        chain: list[tuple[Part, tuple[int, ...]]] = [(conv_bn, (_number(width), int(stem[1]), int(stem[3])))]
        for reduction, block, kernel, width, depth in stages:
            if reduction in _POOLS:
                chain.append(_POOLS[reduction])
            for stride in (2 if reduction == "s2" else 1, *[1] * (_number(depth) - 1)):
                chain.append((BLOCKS[block], (_number(width), _number(kernel), stride)))
        chain += [(HEADS[head], ()), *((hidden, (_number(width),)) for width in dense)]
        return [*chain, (classifier, (self.classes,))]


@cache
def _count(part: Part, numbers: tuple[int, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Totals [6] of a part with this input shape, and its output shape; they do not depend on the activation."""
    net = NetworkBuilder()
    x = part(net, net.add("input", shape), "relu", *numbers)
    return np.array(list(totals(net.finish("", "")).values())), net.shape(x)


def _number(word: str) -> int:
    return int(word[1:])


def _parts(row: list[int]) -> list[list[str]]:
    """Words of the stem, of each stage and of the head."""
    words = [choices[choice] for choices, choice in zip(_WORDS, row, strict=True)]
    bounds = range(len(_STEM), len(words) - len(_HEAD), len(_STAGE))
    return [words[: len(_STEM)], *(words[i : i + len(_STAGE)] for i in bounds), words[-len(_HEAD) :]]


def _existing(row: list[int]) -> list[list[str]]:
    """`_parts` without absent stages and layers."""
    stem, *stages, head = _parts(row)
    return [stem, *(stage for stage in stages if stage[-1] != "x0"), [word for word in head if word != "d0"]]


def _nodes(row: list[int]) -> list[str]:
    """Kinds of a graph's nodes between input and output."""
    stem, *stages, head = _parts(row)
    nodes = [*stem]
    for reduction, block, kernel, width, depth in stages:
        blocks = [f"{block}_{kernel}"] * _number(depth)
        nodes += [*([reduction, width] if blocks else [_SKIP] * 2), *blocks, *[_SKIP] * (DEPTH - len(blocks))]
    return nodes + [_SKIP if word == "d0" else word for word in head]


def _text(*parts: list[str]) -> str:
    return "|".join("_".join(words) for words in parts)


def _parse(key: str) -> list[int]:
    words = re.split("[|_]", key)
    if len(words) == len(_WORDS) and all(word in known for word, known in zip(words, _WORDS, strict=True)):
        row = [known.index(word) for word, known in zip(words, _WORDS, strict=True)]
        if _text(*_parts(row)) == key:
            return row
    raise InputError(
        f"'{key}' is not a convnet network; write a stem, five stages and a head, such as "
        f"{_text(*([words[1] for words in part] for part in (_STEM, *[_STAGE] * STAGES, _HEAD)))}."
    )
