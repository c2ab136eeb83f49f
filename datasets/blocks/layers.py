"""Base of the spaces of single layers, one per kind, with the features of Tables I to III of "PerfNetRT:
Platform-Aware Performance Modeling for Optimized Deep Neural Networks" (Liao et al., 2020).

The paper gives each feature's name and range but not the distribution of its 25,000 layers per kind. Here wide ranges
(batch, sizes, channels) are sampled log-uniformly, so that small layers, which are common in networks, are frequent,
and narrow ones uniformly. Layers beyond the space's limits of memory or work are sampled again: the largest
convolution of the tables has 8 * 10^16 multiply-accumulates.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from datasets.architectures import texts
from datasets.networks.analysis import TOTALS
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.networks.ops import BYTES
from datasets.records import Architecture, Architectures, InputError, Op, Space

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 1024  # samples at a time for any n, so that the first layers of a seed do not depend on n
_MOST_BLOCKS = 1000  # in a row without a layer within the limits


class Feature(NamedTuple):
    """One decision: its name in texts, PerfNetRT's name, its range, whether samples are log-uniform, the words for the
    values 0, 1, ... in texts, numbers of which half of the samples are multiples, and values that half of the samples
    have."""

    name: str
    column: str
    low: int
    high: int
    log: bool = False
    words: tuple[str, ...] = ()
    multiples: tuple[int, ...] = ()
    common: tuple[int, ...] = ()

    def text(self, value: int) -> str:
        return f"{self.name}={self.words[value] if self.words else value}"

    @property
    def range(self) -> str:
        return f"{self.name}={'|'.join(self.words)}" if self.words else f"{self.name}={self.low}..{self.high}"


def choices(features: Sequence[Feature]) -> tuple[int, ...]:
    """Number of values of each feature."""
    return tuple(f.high - f.low + 1 for f in features)


BLOCKS = (8, 16, 32, 64)
"""Numbers that channels of networks are often multiples of."""

BATCH = Feature("batch", "batch_size", 1, 64, log=True)
SIZE = Feature("size", "matrix_size", 1, 512, log=True)
CHANNELS = Feature("in", "channel_input", 1, 9999, log=True)
STRIDE = Feature("stride", "strides", 1, 4)
PAD = Feature("pad", "padding", 0, 1, words=("valid", "same"))
"""Padding of TensorFlow: `same` gives size / stride outputs, rounded up, with an odd row of padding at the bottom."""
ACT = Feature("act", "activate_function", 0, 1, words=("none", "relu"))
ANY_ACT = Feature("act", "activate_function", 0, 3, words=("none", "relu", "tanh", "sigmoid"))
BIAS = Feature("bias", "bias", 0, 1)

Values = Mapping[str, Any]
"""Values of the features by their names in texts: numbers, or arrays [A]."""


class Work(NamedTuple):
    """Work of layers [A] for all images of a batch: input and output elements, parameters, multiply-accumulates, and
    operations under a window (a pooling layer has these and no multiply-accumulates)."""

    inputs: np.ndarray
    outputs: np.ndarray
    params: np.ndarray
    macs: np.ndarray
    operations: np.ndarray


@dataclass(frozen=True)
class LayerSpace(Space):
    """All layers of one kind.

    A layer has its own batch; its network is an input, the layer and, where it has one, its activation. Layers with an
    output (without padding, a kernel has to fit in its input) and within the two limits are `feasible`; `sample` gives
    only these, and `parse` reads all.

    Attributes:
        megabytes: limit on activations and weights alive at once (10^6 bytes, fp32).
        megamacs: limit on work, in 10^6 multiply-accumulates (pooling: elements under a window) per run.
        beyond_megabytes, beyond_megamacs: limits of a smaller space, whose layers are not feasible here; 0: no limit,
            and with both 0 there is no smaller space.
    """

    megabytes: int = 256
    megamacs: int = 2000
    beyond_megabytes: int = 0
    beyond_megamacs: int = 0

    kind: ClassVar[str]
    features: ClassVar[tuple[Feature, ...]]

    def __init_subclass__(cls) -> None:
        if "features" in vars(cls):
            cls.num_choices = choices(cls.features)

    def __post_init__(self) -> None:
        if self.megabytes < 1 or self.megamacs < 1:
            raise InputError(f"{self} leaves no layers; its limits have to be 1 or more.")
        smaller = [(self.megabytes, self.beyond_megabytes), (self.megamacs, self.beyond_megamacs)]
        if any(inner for _, inner in smaller) and all(inner >= limit for limit, inner in smaller if inner):
            raise InputError(f"{self} leaves no layers; one of its limits has to be larger than the one to be beyond.")

    def smaller(self) -> Self:
        """The space within the limits that this one's layers are beyond; this space if it has none."""
        limits = (self.beyond_megabytes or self.megabytes, self.beyond_megamacs or self.megamacs)
        return replace(self, megabytes=limits[0], megamacs=limits[1], beyond_megabytes=0, beyond_megamacs=0)

    @abstractmethod
    def work(self, values: Values) -> Work:
        """Work [A] of layers with these values, in closed form."""

    @abstractmethod
    def build(self, net: NetworkBuilder, values: Values) -> int:
        """Add the input and the layer; the layer's node."""

    def __str__(self) -> str:
        first, second, *others = fields(self)  # the others are left out where they have their defaults
        given = [first, second, *(f for f in others if getattr(self, f.name) != f.default)]
        return f"{self.kind}({','.join(f'{f.name}={getattr(self, f.name)}' for f in given)})"

    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read features with their names, in the order of PerfNetRT's table:
        `batch=1,in=4096,out=10,act=none,bias=1`."""
        rows = np.array([self._parse(key) for key in texts(keys)], np.int32).reshape(len(keys), len(self.features))
        archs = Architectures(self, rows - self._low())
        if (without := np.flatnonzero(self._work(archs).outputs == 0)).size:
            why = "its window does not fit in its input; write pad=same or a smaller one"
            why = why if PAD.name in [f.name for f in self.features] else "its input is too small; write a larger size"
            raise InputError(f"'{keys[without[0]]}' has no output: {why}.")
        return archs

    def format(self, archs: Architectures) -> list[str]:
        columns = zip(self.features, self._columns(archs).T.tolist(), strict=True)
        return [",".join(row) for row in zip(*([f.text(v) for v in column] for f, column in columns), strict=True)]

    def table(self, archs: Architectures) -> pd.DataFrame:
        """PerfNetRT's features, one column each: plain sizes; padding 0 valid, 1 same; activation 0 none, 1 ReLU (2
        tanh, 3 sigmoid where a space has them)."""
        import pandas as pd

        return pd.DataFrame(self._columns(archs), columns=[f.column for f in self.features])

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys of the layers; no two layers do the same work."""
        return archs.keys

    def connected(self, archs: Architectures) -> np.ndarray:
        """True for all layers [A]."""
        return np.ones(len(archs), dtype=bool)

    def feasible(self, archs: Architectures) -> np.ndarray:
        work, sums = self._work(archs), self.sums(archs)
        megabytes, megamacs = (sums["peak_bytes"] + BYTES * work.params) / 1e6, work.operations / 1e6
        found = (work.outputs > 0) & (megabytes <= self.megabytes) & (megamacs <= self.megamacs)
        if not self.beyond_megabytes and not self.beyond_megamacs:
            return found
        beyond = [need > limit for need, limit in
                  ((megabytes, self.beyond_megabytes), (megamacs, self.beyond_megamacs)) if limit]  # fmt: skip
        return found & np.any(beyond, axis=0)

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` random feasible layers, wide ranges log-uniform (repeats are possible).

        Raises:
            InputError: the limits leave hardly any layer.
        """
        low, high = (np.array([getattr(f, end) for f in self.features]) for end in ("low", "high"))
        log = np.array([f.log for f in self.features])
        kept = [np.zeros((0, len(low)), np.int32)]
        while sum(map(len, kept)) < n:
            if not any(map(len, kept[-_MOST_BLOCKS:])) and len(kept) > _MOST_BLOCKS:
                raise InputError(f"{self} leaves hardly any layers; let its limits be further apart.")
            u = rng.random((_BLOCK, len(low)))
            values = np.where(log, low * ((high + 1) / low.clip(1)) ** u, low + (high + 1 - low) * u).astype(np.int32)
            self._favour(values, rng)
            drawn = Architectures(self, values - low)
            kept.append(drawn.decisions[self.feasible(drawn)])
        return Architectures(self, np.concatenate(kept)[:n])

    def _favour(self, values: np.ndarray, rng: np.random.Generator) -> None:
        """Round half of the samples [A, n] of some features up to multiples of a random block, and set half of those of
        others to a random common value."""
        for column, f in enumerate(self.features):
            if f.multiples:
                block = rng.choice([1] * len(f.multiples) + list(f.multiples), len(values))
                values[:, column] = np.minimum(-(-values[:, column] // block) * block, f.high)
            if f.common:
                common = rng.random(len(values)) < 0.5
                values[common, column] = rng.choice(f.common, common.sum())

    def architecture(self, decisions: np.ndarray) -> Architecture:
        """One node without edges, whose attributes are the layer's features."""
        archs = Architectures(self, decisions[None])
        attrs = {f.column: int(value) for f, value in zip(self.features, self._columns(archs)[0], strict=True)}
        return Architecture(str(self), archs.keys[0], (Op(self.kind, attrs),), ())

    def expand(self, arch: Architecture) -> Network:
        values = {name: int(value[0]) for name, value in self.values(self.parse([arch.key])).items()}
        net = NetworkBuilder(values["batch"])
        x = self.build(net, values)
        if values["act"]:
            words = next(f.words for f in self.features if f.name == "act")
            net.pointwise(words[values["act"]], x)
        return net.finish(str(self), arch.key)

    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Totals in closed form, for each layer's own batch."""
        import pandas as pd

        return pd.DataFrame(self.sums(archs))

    def sums(self, archs: Architectures) -> dict[str, np.ndarray]:
        """Columns [A] of `totals`, without pandas."""
        act = (self.values(archs)["act"] > 0).astype(int)
        work = self._work(archs)
        tensors = np.maximum(work.inputs + work.outputs, act * 2 * work.outputs)
        moved = work.inputs + work.outputs + work.params + act * 2 * work.outputs
        columns = (work.macs, 2 * work.macs, work.params, BYTES * tensors, BYTES * moved, 1 + act)
        return dict(zip(TOTALS, columns, strict=True))

    def _work(self, archs: Architectures) -> Work:
        return self.work(self.values(archs))

    def _low(self) -> np.ndarray:
        return np.array([f.low for f in self.features])

    def _columns(self, archs: Architectures) -> np.ndarray:
        """Values of the features [A, n]."""
        return archs.decisions + self._low()

    def values(self, archs: Architectures) -> dict[str, np.ndarray]:
        """Values [A] of the features by their names in texts."""
        return {
            f.name: column.astype(np.int64) for f, column in zip(self.features, self._columns(archs).T, strict=True)
        }

    def _parse(self, key: str) -> list[int]:
        row = []
        for f, text in zip(self.features, key.split(","), strict=False):
            name, _, value = text.partition("=")
            if name == f.name and value in f.words:
                row.append(f.words.index(value))
            elif name == f.name and re.fullmatch("0|[1-9][0-9]{0,5}", value) and f.low <= int(value) <= f.high:
                row.append(int(value))
        if len(row) != len(self.features) or key.count(",") + 1 != len(row):
            example = ",".join(f.range for f in self.features)
            an = "an" if self.kind[0] in "aeiou" else "a"
            raise InputError(f"'{key}' is not {an} {self.kind} layer; write {example}, with a value of each range.")
        return row


class WindowLayer(LayerSpace):
    """A layer whose kernel moves over an image."""

    def canonical(self, archs: Architectures) -> list[str]:
        """Keys with pad=valid where pad=same adds no padding."""
        decisions = archs.decisions.copy()
        decisions[_padding(self.values(archs)) == 0, self.features.index(PAD)] = 0
        return self.format(Architectures(self, decisions))

    @staticmethod
    def side(values: Values) -> np.ndarray:
        """Height and width of the output; 0 where the kernel does not fit in."""
        size, kernel, stride = values["size"], values["kernel"], values["stride"]
        return np.where(values["pad"], -(-size // stride), np.maximum((size - kernel) // stride + 1, 0))

    @staticmethod
    def pads(values: Values) -> tuple[int, int, int, int]:
        """Padding at the top, left, bottom and right of one layer's input."""
        total = int(_padding(values)) * values["pad"]
        return total // 2, total // 2, total - total // 2, total - total // 2


def _padding(values: Values) -> np.ndarray:
    """Number of rows that pad=same adds."""
    size, stride = values["size"], values["stride"]
    return np.maximum((-(-size // stride) - 1) * stride + values["kernel"] - size, 0)
