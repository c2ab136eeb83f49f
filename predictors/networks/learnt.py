"""What pieces of networks cost by what predictors of single layers have learnt from tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from datasets.blocks.layers import Layer, Work
from datasets.files.checkpoint import array
from datasets.measured import Measured
from datasets.networks.collection import AnyNetwork
from datasets.networks.ops import BYTES
from datasets.records import Architectures, Device, InputError, Measurements, Networks, find_device
from encoders.layer import LayerPhysics
from predictors.base import Log, devices_of, restored, silent
from predictors.config import from_config, to_config
from predictors.limits import check_limits
from predictors.networks.calibration import calibrate
from predictors.networks.costs import Costs, best_rates
from predictors.networks.pieces import VIEWS, Piece, nearest, pieces
from predictors.regressor import Regressor
from predictors.trees import XGBoost

LAYERS = ("convolution", "pooling", "dense")
"""Kinds of layers that have tables and predictors."""

WIDTHS = {
    "session": 0.5,
    "call": 0.5,
    "convolution": 0.6,
    "stem": 0.5,
    "roofline": 1.0,
    "depthwise": 1.0,
    "wide": 1.0,
    "pooling": 0.5,
    "dense": 0.3,
    "moved": 0.7,
    "weights": 0.7,
    "smooth": 0.6,
    "tanh": 0.35,
    "stepped": 0.6,
}
"""Prior standard deviations of the logarithms of a device's coefficients, one per cost term: of `session` (ms per run)
and `call` (ms per piece); of factors of the layer predictors' latencies, of the rooflines of convolutions beside them
(a layer alone also rearranges its tensors) and of depthwise convolutions; of ms per byte that other ops move and per
byte of weights (which a layer alone finds in the cache); of ms per element of activations. Chosen, like `LIKE`,
`DEPTHWISE` and the guess, by the errors of twenty random networks, each left out once."""

LIKE = {"stem": "convolution", "wide": "depthwise", "tanh": "smooth"}
"""What is a kind of its own only as far as networks say so (its width is that of its ratio to the other): convolutions
of at most four channels, as images have; depthwise ones with windows of more than 25 elements, likely as XNNPACK has
no kernel that takes them at once; tanh."""

DEPTHWISE = 8
"""How many multiply-accumulates one of a depthwise convolution is worth: a register's worth of channels has no sum."""

COEFFICIENTS = tuple(WIDTHS)

_AT = {name: i for i, name in enumerate(COEFFICIENTS)}


def _prior() -> np.ndarray:
    """Covariance of the coefficients' logarithms [K, K]."""
    mixed = np.eye(len(WIDTHS))
    for name, other in LIKE.items():
        mixed[_AT[name], _AT[other]] = 1
    return mixed @ np.diag(np.square(list(WIDTHS.values()))) @ mixed.T


PRIOR = _prior()


def trees() -> Regressor:
    """The best of one kind in the study of layers, as configs/predictors/layer_trees.yaml has it."""
    return XGBoost(metric="exe_ms", columns=0.5, depth=5, min_child_weight=2.0, encoder=LayerPhysics(tiles=False))


@dataclass
class Learnt(Costs):
    """Predictors of single layers, and what else their tables tell of their devices.

    Attributes:
        convolution: predicts `exe_ms` of such layers; so do the others. By default boosted trees.
        pooling: maximum pooling; other pooling is priced like it.
        dense: fully connected ones.
        tables: folder of convolution, pooling and dense.parquet, which the layers are learnt from.
        held: share of each table's layers that are not learnt, for the beliefs.
        noise: relative error of a sum that is no fault of coefficients; if it is smaller, networks count for more.
        seed: of the share that is held.
        deviations: root mean square of log errors of layers that were not learnt [S, 3].
    """

    convolution: Regressor = field(default_factory=trees)
    pooling: Regressor = field(default_factory=trees)
    dense: Regressor = field(default_factory=trees)
    tables: Path = Path("datasets/bundled")
    held: float = 0.1
    noise: float = 0.1
    seed: int = 0

    terms: ClassVar[tuple[str, ...]] = COEFFICIENTS
    prior: ClassVar[np.ndarray] = PRIOR
    devices: tuple[Device, ...] = field(default=(), init=False, repr=False, compare=False)
    machine: np.ndarray = field(init=False, repr=False, compare=False)
    copies: np.ndarray = field(init=False, repr=False, compare=False)
    deviations: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_limits(self)

    @staticmethod
    def by(layer: Regressor) -> Learnt:
        """One predictor, not fitted yet, for every kind of layer."""
        tree = to_config(replace(layer, metric="exe_ms"))
        return Learnt(**{kind: from_config(tree, Regressor) for kind in LAYERS})  # type: ignore[type-abstract,arg-type]

    def learn(self, log: Log = silent) -> Self:
        return self.fit(dict(zip(LAYERS, read_tables(self.tables, LAYERS), strict=True)), log)

    def fit(self, tables: Mapping[str, Measurements], log: Log = silent) -> Self:
        """Learn what layers take on the devices that tables of all `LAYERS` share; a share `held` of each tells what
        predictors of its kind are off.

        Args:
            tables: by kind, with `exe_ms`, `pre_ms` and `post_ms`.
            log: takes progress.

        Raises:
            InputError: a table is missing, or they share no device.
        """
        if missing := [kind for kind in LAYERS if kind not in tables]:
            raise InputError(f"There is no table of {missing[0]} layers; networks are made of {', '.join(LAYERS)}.")
        first, *others = (tables[kind] for kind in LAYERS)
        names = [d.name for d in first.devices if all(d.name in {e.name for e in m.devices} for m in others)]
        if not names:
            raise InputError("The tables of layers have no device in common; measure them on the same ones.")
        self.devices, rng = tuple(first.device(name) for name in names), np.random.default_rng(self.seed)
        errors = []
        for kind in LAYERS:
            m = tables[kind].where(devices=names)
            order = rng.permutation(len(m.architectures))
            rest, learnt = (m.where(archs=part) for part in np.split(order, [max(int(self.held * len(order)), 1)]))
            self.predictor(kind).fit(learnt, log=log)
            error = np.log(self.alone(kind, rest.architectures) / self._columns(rest, "exe_ms"))
            errors.append(np.sqrt(np.nanmean(error**2, axis=0)))
            log(f"{kind}: {len(learnt.architectures)} layers, log errors of others {np.round(errors[-1], 3).tolist()}")
        self.deviations = np.nan_to_num(np.stack(errors, axis=1), nan=0.3)
        self.machine = self._machine([tables[kind] for kind in LAYERS])
        self.copies = np.hstack([self._copies([tables[kind] for kind in LAYERS], end) for end in ("pre", "post")])
        return self

    def predictor(self, kind: str) -> Regressor:
        """That of a kind of `LAYERS`."""
        return cast(Regressor, getattr(self, kind))

    def guess(self) -> np.ndarray:
        """Coefficients [S, K] before a network was measured: layers add up, a fifth of a convolution by its roofline;
        other ops and cold weights take what their bytes do at best, and a tenth of it; a smooth function takes the
        time of 20 bytes, a stepped one of 8."""
        speed, session = self.machine[:, 1], self.machine[:, 2]
        one = np.ones(len(speed))
        by_name = {"session": session, "call": session / 2, "moved": 1 / speed, "weights": 0.1 / speed}
        by_name |= {"smooth": 20 / speed, "tanh": 20 / speed, "stepped": 8 / speed}
        by_name |= {"convolution": 0.8 * one, "stem": 0.8 * one, "roofline": 0.2 * one}
        return np.stack([by_name.get(name, one) for name in COEFFICIENTS], axis=1)

    def of(self, networks: Networks) -> list[np.ndarray]:
        found = [pieces(network) for network in networks]
        terms = self.of_pieces([piece for one in found for piece in one])
        return np.split(terms, np.cumsum([len(one) for one in found])[:-1]) if found else []

    def of_pieces(self, found: Sequence[Piece]) -> np.ndarray:
        """The terms of pieces [P, S, K]."""
        costs = np.zeros((len(found), len(self.devices), len(COEFFICIENTS)))
        kinds = np.array([piece.kind for piece in found], dtype=object)
        told = np.array([(p.macs, p.moved, p.weights, p.smooth, p.tanh, p.stepped) for p in found], float)
        told = told.reshape(-1, 6)
        roofline = self.roofline(told[:, :2])
        for name, column in (("weights", 2), ("smooth", 3), ("tanh", 4), ("stepped", 5)):
            costs[:, :, _AT[name]] = told[:, column, None]
        costs[[piece.op not in VIEWS for piece in found], :, _AT["call"]] = 1
        others, heavy = kinds == "moved", (kinds == "moved") & (told[:, 0] > 0)
        costs[others, :, _AT["moved"]] = told[others, 1, None]
        costs[heavy, :, _AT["moved"]] = 0
        costs[heavy | (kinds == "convolution"), :, _AT["roofline"]] = roofline[heavy | (kinds == "convolution")]
        costs[heavy, :, _AT["convolution"]] = roofline[heavy]  # products that are no layer
        narrow = kinds == "depthwise"
        costs[narrow, :, _AT["depthwise"]] = self.roofline(told[narrow, :2] * [DEPTHWISE, 1])
        for kind in LAYERS:
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                space = cast(Layer, self.predictor(kind).space_)
                archs, asked, given = nearest(space, [found[row].layer for row in rows.tolist()])
                once, again = np.unique(archs.decisions, axis=0, return_inverse=True)  # networks repeat their layers
                ms = self.alone(kind, Architectures(space, once))[again.reshape(-1)]
                own = np.maximum(ms - self.machine[:, 2], 0.1 * ms)
                costs[rows, :, _AT[kind]] = own * self.roofline(asked) / self.roofline(given)
        stem = [piece.kind == "convolution" and piece.layer["in"] <= 4 for piece in found]
        wide = [piece.kind == "depthwise" and piece.layer["kernel"] ** 2 > 25 for piece in found]
        for name, rows in (("stem", np.flatnonzero(stem)), ("wide", np.flatnonzero(wide))):
            costs[rows, :, _AT[name]] = costs[rows, :, _AT[LIKE[name]]]
            costs[rows, :, _AT[LIKE[name]]] = 0
        return costs

    def roofline(self, work: np.ndarray) -> np.ndarray:
        """Milliseconds [A, S] that operations and bytes [A, 2] take at least."""
        return np.maximum(*self.least(work))

    def beyond(self, found: Sequence[Piece]) -> np.ndarray:
        """By roofline times [P, S], over those of the nearest layers that tables may hold; 1 for other pieces."""
        ratio = np.ones((len(found), len(self.devices)))
        for kind in LAYERS:
            rows = [row for row, piece in enumerate(found) if piece.kind == kind]
            if rows:
                space = cast(Layer, self.predictor(kind).space_)
                _, wanted, measured = nearest(space, [found[row].layer for row in rows])
                ratio[rows] = self.roofline(wanted) / self.roofline(measured)
        return ratio

    def alone(self, kind: str, archs: Architectures) -> np.ndarray:
        """What layers take in a session of their own [A, S]; at least a nanosecond, since a line may cross zero."""
        predictor = self.predictor(kind)
        columns = [predictor.column(device) for device in self.devices]
        return np.maximum(predictor.predict_all(archs)[:, columns], 1e-6)

    def _columns(self, m: Measurements, metric: str) -> np.ndarray:
        """Measured values [A, S]."""
        devices = [m.devices.index(find_device(m.devices, device.name)) for device in self.devices]
        return m.matrix(metric)[:, devices]

    def _machine(self, tables: Sequence[Measurements]) -> np.ndarray:
        """The best rates of one layer in ten, and the least that a session takes."""
        work, ms = [], []
        for m in tables:
            need = _work(m)
            work.append(np.stack([need.macs, BYTES * (need.inputs + need.outputs + need.params)], axis=1))
            ms.append(self._columns(m, "exe_ms"))
        session = np.nanquantile(np.concatenate(ms), 0.005, axis=0)
        return np.column_stack([best_rates(np.concatenate(work), np.concatenate(ms), session), session])

    def _copies(self, tables: Sequence[Measurements], end: str) -> np.ndarray:
        """Milliseconds, and milliseconds a byte, of copying a layer's input or output [S, 2]."""
        moved, ms = [], []
        for m in tables:
            need = _work(m)
            moved.append(BYTES * (need.inputs if end == "pre" else need.outputs))
            ms.append(self._columns(m, f"{end}_ms"))
        x, found = np.concatenate(moved), []
        for y in np.concatenate(ms).T:
            known = ~np.isnan(y)
            guess = np.array([np.quantile(y[known], 0.02), np.median(y[known] / x[known])])
            line = np.stack([np.ones(known.sum()), x[known]], axis=1)
            found.append(calibrate(line, y[known], guess, 9 * np.eye(2), 0.2))
        return np.array(found)

    def spread(self) -> np.ndarray:
        found = np.zeros((len(self.devices), len(COEFFICIENTS)))
        for name, column in _DEVIATIONS.items():
            found[:, _AT[name]] = self.deviations[:, column]
        return found

    def examples(self, s: int) -> Networks:
        return AnyNetwork().sample(2, np.random.default_rng(0))

    def state(self) -> dict[str, Any]:
        kinds = {kind: self.predictor(kind) for kind in LAYERS}
        return {
            "devices": [device.to_dict() for device in self.devices],
            **{name: getattr(self, name) for name in _ARRAYS},
            **{kind: {**p.metadata(), "state": p.state()} for kind, p in kinds.items()},
        }

    def restore(self, state: Any, where: str) -> None:
        self.devices = devices_of(state["devices"])
        for kind in LAYERS:
            predictor = restored(state[kind], where)
            space = predictor.space_
            if not isinstance(predictor, Regressor) or not isinstance(space, Layer) or space.kind != kind:
                raise ValueError(f"{kind} is of {space}")
            setattr(self, kind, predictor)
            for device in self.devices:
                predictor.column(device)
        for name, n in _ARRAYS.items():
            setattr(self, name, array(state[name], len(self.devices), n))
        if not (self.machine > 0).all() or not all((getattr(self, name) >= 0).all() for name in _ARRAYS):
            raise ValueError("rates, times or deviations are below zero")


_ARRAYS = {"machine": 3, "copies": 4, "deviations": 3}
_DEVIATIONS = {"convolution": 0, "stem": 0, "depthwise": 1, "wide": 1, "pooling": 1, "dense": 2}
"""Whose deviations the terms of layers have; depthwise ones have no table."""


def read_tables(folder: Path, names: Sequence[str], devices: Sequence[str] = ()) -> list[Measurements]:
    """Measured tables of a folder, by their names; of some devices only, where some are named."""
    found = [Measured(folder / f"{name}.parquet").measurements() for name in names]
    return [m.where(devices=[d.name for d in m.devices if d.name in devices]) if devices else m for m in found]


def _work(m: Measurements) -> Work:
    """What measured layers need."""
    space = cast(Layer, m.architectures.space)
    low = np.array([f.low for f in space.features])
    values = (m.architectures.decisions.astype(np.int64) + low).T
    return space.work(dict(zip([f.name for f in space.features], values, strict=True)))
