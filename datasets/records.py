"""The vocabulary: an `Architecture` runs on a `Device`, and `Measurements` say what was measured.

Only the standard library and numpy are imported here (tables are pandas', but a `--help` should not wait for it), so
that everybody, a Raspberry Pi that measures included, may import it.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class InputError(ValueError):
    """A fault in what the user gave us; its text is the one sentence that the user sees, and says what to do."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation; `attrs` holds what its kind needs (a shaped op: its output `shape`, kernel, stride, ...)."""

    kind: str
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A directed acyclic graph of ops in topological order: a cell, a layer or a whole network.

    Attributes:
        space: text form of the space it belongs to.
        key: its text form within that space.
        ops: the nodes; every edge goes from a lower to a higher index.
        edges: (source, target, port): the output of `source` is input number `port` of `target`.
    """

    space: str
    key: str
    ops: tuple[Op, ...]
    edges: tuple[tuple[int, int, int], ...]

    def inputs(self) -> list[list[int]]:
        """The sources of every op, in the order of their ports."""
        sources: list[list[tuple[int, int]]] = [[] for _ in self.ops]
        for source, target, port in self.edges:
            sources[target].append((port, source))
        return [[source for _, source in sorted(ports)] for ports in sources]


class Space(ABC):
    """A codec between texts, integer decisions and graphs; it knows the skeleton that cells are stacked in.

    `str(space)` is its text form (it stands in the `space` column of every row) and `datasets.spaces.parse_space`
    reads it back. Spaces compare by value.
    """

    num_choices: ClassVar[tuple[int, ...]]
    """How many values each decision takes."""
    kinds: ClassVar[tuple[str, ...]]
    """Names of the node kinds of `graph`."""

    @abstractmethod
    def parse(self, keys: Sequence[str]) -> Architectures:
        """Read texts; a malformed one raises `InputError`."""

    @abstractmethod
    def format(self, archs: Architectures) -> list[str]:
        """Texts that `parse` reads back to the same decisions."""

    @abstractmethod
    def canonical(self, archs: Architectures) -> list[str]:
        """Texts that are equal where two architectures do the same work on paths that reach the output."""

    @abstractmethod
    def connected(self, archs: Architectures) -> np.ndarray:
        """Whether a path of ops leads from input to output [A]; without one the output is a constant."""

    @abstractmethod
    def graph(self, archs: Architectures) -> tuple[np.ndarray, np.ndarray]:
        """Unsized cell graphs with ops on nodes: kinds [A, N] (indices into `kinds`), adjacency [A, N, N] (bool,
        row = source)."""

    @abstractmethod
    def expand(self, arch: Architecture) -> Architecture:
        """The whole network with the shape of every op, batch dimension left out."""

    @abstractmethod
    def totals(self, archs: Architectures) -> pd.DataFrame:
        """Physical totals of the expanded networks at batch 1, the columns of `datasets.analysis.totals`."""

    @abstractmethod
    def architecture(self, decisions: np.ndarray) -> Architecture:
        """The `Architecture` view of one row of decisions."""

    def all(self) -> Architectures:
        """Every architecture of the space, last decision fastest; a space too large to list raises `InputError`."""
        if (size := math.prod(self.num_choices)) > 10_000_000:
            raise InputError(f"{self} has {size:.0e} architectures, too many to list: sample some.")
        grids = np.meshgrid(*[np.arange(n, dtype=np.int8) for n in self.num_choices], indexing="ij")
        return Architectures(self, np.stack([g.ravel() for g in grids], axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Architectures:
        """`n` architectures, each decision drawn uniformly (repeats are possible)."""
        return Architectures(self, rng.integers(0, self.num_choices, (n, len(self.num_choices)), dtype=np.int8))

    def mutate(self, archs: Architectures, rng: np.random.Generator) -> Architectures:
        """Each architecture with one decision, chosen at random, changed to another value."""
        decisions = archs.decisions.copy()
        rows, columns = np.arange(len(archs)), rng.integers(0, len(self.num_choices), len(archs))
        choices = np.asarray(self.num_choices)[columns]
        shift = rng.integers(1, choices)  # never 0: something must change
        decisions[rows, columns] = (decisions[rows, columns] + shift) % choices
        return Architectures(self, decisions)

    def neighbours(self, arch: Architectures) -> Architectures:
        """All architectures that differ from the only one of `arch` in exactly one decision."""
        (row,) = arch.decisions
        rows = []
        for i, choices in enumerate(self.num_choices):
            others = [value for value in range(choices) if value != row[i]]
            block = np.repeat(row[None], len(others), axis=0)
            block[:, i] = others
            rows.append(block)
        return Architectures(self, np.concatenate(rows))


class Architectures(Sequence[Architecture]):
    """Many architectures of one space as integer decisions [A, n]; items are views made only when asked for."""

    def __init__(self, space: Space, decisions: np.ndarray) -> None:
        decisions = np.array(decisions, dtype=np.int8)
        choices = np.asarray(space.num_choices)
        if decisions.ndim != 2 or decisions.shape[1] != len(choices):
            raise InputError(f"{space} takes {len(choices)} decisions a row, not an array of shape {decisions.shape}.")
        if ((decisions < 0) | (decisions >= choices)).any():
            raise InputError(f"A decision is out of range: {space} has {tuple(choices.tolist())} choices.")
        decisions.setflags(write=False)
        self.space = space
        self.decisions = decisions

    def __len__(self) -> int:
        return len(self.decisions)

    @overload
    def __getitem__(self, index: int) -> Architecture: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int]) -> Architectures: ...
    def __getitem__(self, index: Any) -> Architecture | Architectures:
        if isinstance(index, int | np.integer):
            return self.space.architecture(self.decisions[index])
        return Architectures(self.space, self.decisions[index])

    def __iter__(self) -> Iterator[Architecture]:
        return (self.space.architecture(row) for row in self.decisions)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Architectures)
            and self.space == other.space
            and np.array_equal(self.decisions, other.decisions)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} architectures of {self.space}>"

    @property
    def keys(self) -> list[str]:
        """Their text forms."""
        return self.space.format(self)


@dataclass(frozen=True)
class Device:
    """Hardware x runtime x precision x batch, as the field's tables name them (`1080ti_32`).

    Attributes:
        name: unique within a table.
        family: devices of one family rank networks alike; splits by device never separate them.
        kind: gpu, server-cpu, mobile-cpu, asic, fpga, ...
        runtime: what executes the network (onnxruntime, pytorch-eager, ...); empty where nobody recorded it.
        precision: fp32, int8, ...
        batch: images a run; latencies are per run, not per image.
        features: numbers that device encoders read (cores, clock, bandwidth, ...).
    """

    name: str
    family: str
    kind: str
    runtime: str = ""
    precision: str = "fp32"
    batch: int = 1
    features: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary; `Device(**d)` reads it back."""
        return {**asdict(self), "features": dict(self.features)}


UNITS = {
    "latency_ms": "ms",
    "energy_mj": "mJ",
    "accuracy_cifar10": "%",
    "accuracy_cifar100": "%",
    "accuracy_imagenet16_120": "%",
}
"""Unit of every metric we know; a name that is not here is taken to have none."""


class Measurements:
    """What was measured, columnar and immutable.

    Attributes:
        architectures: the A distinct architectures.
        devices: the D devices.
        table: one row a measurement: `arch` and `device` (positions; device -1 = belongs to none), `metric`, `value`
            in the metric's unit, and whatever else the source recorded (`spread`, quantiles, ...).
        name: what the data set is called in reports.
    """

    def __init__(self, architectures: Architectures, devices: Sequence[Device], table: pd.DataFrame, name: str) -> None:
        for column in ("arch", "device", "metric", "value"):
            if column not in table.columns:
                raise InputError(f"{name}: the table has no column '{column}'; it has {list(table.columns)}.")
        bad = ~np.isfinite(table["value"].to_numpy(float))
        physical = table["metric"].isin([metric for metric, unit in UNITS.items() if unit != "%"]).to_numpy()
        bad |= physical & ~(table["value"].to_numpy(float) > 0)
        if bad.any():
            first = table[bad].iloc[0]
            raise InputError(
                f"{name}: {bad.sum()} of {len(table)} values are missing, infinite, zero or negative "
                f"(first: {first['metric']} = {first['value']} in row {table.index[bad][0]}); "
                "drop these rows or mark them as failed measurements."
            )
        for column, size in (("arch", len(architectures)), ("device", len(devices))):
            if len(table) and not table[column].between(-1 if column == "device" else 0, size - 1).all():
                raise InputError(f"{name}: column '{column}' points outside the {size} known ones.")
        self.architectures = architectures
        self.devices = tuple(devices)
        self.table = table
        self.name = name

    def __repr__(self) -> str:
        archs, devices = len(self.architectures), len(self.devices)
        return f"<{self.name}: {len(self.table)} values, {archs} architectures, {devices} devices>"

    def matrix(self, metric: str) -> np.ndarray:
        """Values [A, D] of a metric, NaN where nothing was measured; a metric of no device is one column."""
        rows = self.table[self.table["metric"] == metric]
        if rows.empty:
            raise InputError(f"{self.name} has no metric '{metric}'; it has {sorted(self.table['metric'].unique())}.")
        columns = rows["device"].to_numpy()
        deviceless = (columns < 0).all()
        out = np.full((len(self.architectures), 1 if deviceless else len(self.devices)), np.nan)
        out[rows["arch"].to_numpy(), np.maximum(columns, 0)] = rows["value"].to_numpy(float)
        return out

    def device(self, name: str) -> Device:
        """The device of that name; an unknown one raises `InputError` with the known names."""
        return find_device(self.devices, name)

    def where(
        self,
        *,
        archs: np.ndarray | None = None,
        devices: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Measurements:
        """The part about these architectures (positions), devices (names) and metrics; positions are made anew."""
        table, architectures, kept = self.table, self.architectures, self.devices
        if metrics is not None:
            table = table[table["metric"].isin(list(metrics))]
        if devices is not None:
            kept = tuple(self.device(name) for name in devices)
            table = _renumber(table, "device", [self.devices.index(device) for device in kept], len(self.devices))
        if archs is not None:
            archs = np.asarray(archs)
            architectures = architectures[archs]
            table = _renumber(table, "arch", archs, len(self.architectures))
        return Measurements(architectures, kept, table, self.name)

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when an architecture, a device or a value does."""
        digest = hashlib.sha256(str(self.architectures.space).encode())
        digest.update(self.architectures.decisions.tobytes())
        digest.update(repr([device.name for device in self.devices]).encode())
        rows = self.table.sort_values(["arch", "device", "metric"])
        digest.update("".join(rows["metric"]).encode())
        for column, kind in (("arch", np.int64), ("device", np.int64), ("value", np.float64)):
            digest.update(np.ascontiguousarray(rows[column].to_numpy(kind)).tobytes())
        return digest.hexdigest()[:16]


def _renumber(table: pd.DataFrame, column: str, positions: Sequence[int] | np.ndarray, size: int) -> pd.DataFrame:
    """Keep the rows at `positions` of `column` (and those of no device) and count them from 0 in that order."""
    new = np.full(size + 1, -2)
    new[np.asarray(positions, dtype=int)] = np.arange(len(positions))
    new[-1] = -1  # position -1: belongs to no device
    numbers = new[table[column].to_numpy()]
    return table[numbers > -2].assign(**{column: numbers[numbers > -2]}).reset_index(drop=True)


def find_device(devices: Sequence[Device], name: str) -> Device:
    """The device of that name among these; an unknown one raises `InputError` with the known names."""
    for device in devices:
        if device.name == name:
            return device
    raise InputError(f"There is no device '{name}' here; known are: {', '.join(d.name for d in devices)}.")


Cost = Callable[[Architectures], np.ndarray]
"""Numbers [A] for architectures: a table of measurements, a predictor and a live device all give one."""


class CostModel(ABC):
    """Whatever can say what an architecture costs on a device."""

    @abstractmethod
    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The cost on one device, in the metric's unit."""
