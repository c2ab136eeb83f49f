"""`Learnt`: costs of pieces of networks from predictors of single layers, fitted to tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.files.checkpoint import array
from datasets.networks.collection import AnyNetwork
from datasets.networks.ops import BYTES
from datasets.records import Architectures, Device, InputError, Measurements, Networks, find_device
from encoders.layer import LayerPhysics
from predictors.base import Log, devices_of, restored, silent
from predictors.config import from_config, to_config
from predictors.limits import check_limits
from predictors.networks.calibration import calibrate
from predictors.networks.coefficients import AT as _AT
from predictors.networks.coefficients import COEFFICIENTS, LIKE, PRIOR
from predictors.networks.costs import Costs, best_rates
from predictors.networks.operation_costs import OTHER, TERMS, OperationCosts, like, operation_trees
from predictors.networks.operations import OPERATIONS
from predictors.networks.pieces import VIEWS, Piece, nearest, pieces
from predictors.networks.table_files import layer_tables, reach, within, work_of
from predictors.regressor import Regressor
from predictors.trees import XGBoost

LAYERS = ("convolution", "pooling", "dense")
"""Kinds of layers that have tables and predictors."""

DEPTHWISE = 8
"""Relative cost of a multiply-accumulate in depthwise convolutions, which do not sum over channels."""


def trees() -> Regressor:
    """Default predictor of layers: the boosted trees of configs/predictors/layer_trees.yaml."""
    features = LayerPhysics(tiles=False)
    return XGBoost("exe_ms", columns=0.5, depth=5, min_child_weight=2.0, shared=True, encoder=features)


@dataclass
class Learnt(Costs):
    """Costs from predictors of single layers, and from rates of devices that their tables show.

    Attributes:
        convolution: predictor of `exe_ms` of convolutions; by default boosted trees.
        pooling: of maximum pooling layers, which stand for all pooling.
        dense: of fully connected layers.
        tables: folder of convolution, pooling and dense.parquet, which the predictors are fitted to, and of tables of
            single operations (`operations.OPERATIONS`), where there are any.
        held: share of each table that is held out, to estimate errors.
        noise: relative error of sums with exact coefficients; the smaller it is, the more weight networks have.
        seed: seed of the draw of held-out layers.
        operation: predictor of `latency_ms` of each kind of single operation with a table; by default boosted trees.
        operations: these predictors, fitted.
        deviations: root mean square of log errors of held-out layers [S, 3].
        wide: 1 where layers beyond the limits of the smaller tables were measured, else 0 [S, 3].
    """

    convolution: Regressor = field(default_factory=trees)
    pooling: Regressor = field(default_factory=trees)
    dense: Regressor = field(default_factory=trees)
    tables: Path = Path("datasets/bundled")
    held: float = 0.1
    noise: float = 0.1
    seed: int = 0
    operation: Regressor = field(default_factory=operation_trees)

    terms: ClassVar[tuple[str, ...]] = COEFFICIENTS
    prior: ClassVar[np.ndarray] = PRIOR
    added: ClassVar[tuple[str, ...]] = ("product", "operation")
    operations = OperationCosts()
    devices: tuple[Device, ...] = field(default=(), init=False, repr=False, compare=False)
    machine: np.ndarray = field(init=False, repr=False, compare=False)
    copies: np.ndarray = field(init=False, repr=False, compare=False)
    deviations: np.ndarray = field(init=False, repr=False, compare=False)
    wide: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_limits(self)

    @staticmethod
    def with_layer(layer: Regressor) -> Learnt:
        """Costs with an unfitted copy of one predictor for each kind of layer and operation."""
        tree = to_config(replace(layer, metric="exe_ms"))
        made: dict[str, Any] = {kind: from_config(tree, Regressor) for kind in LAYERS}  # type: ignore[type-abstract]
        return Learnt(**made, operation=like(layer))

    def learn(self, log: Log = silent) -> Self:
        return self.fit(layer_tables(self.tables, LAYERS, OPERATIONS), log)

    def fit(self, tables: Mapping[str, Measurements], log: Log = silent) -> Self:
        """Fit to the tables of all `LAYERS`, on the devices that they share, and to those of operations; a share `held`
        of each estimates errors.

        Args:
            tables: by kind, of layers with `exe_ms`, `pre_ms` and `post_ms`, of operations with `latency_ms`.
            log: receives progress.

        Raises:
            InputError: a table is missing, or they share no device.
        """
        if missing := [kind for kind in LAYERS if kind not in tables]:
            raise InputError(f"There is no table of {missing[0]} layers; networks are made of {', '.join(LAYERS)}.")
        for kind in LAYERS:
            space = tables[kind].architectures.space
            if not isinstance(space, LayerSpace) or space.kind != kind:
                raise InputError(f"The table of {kind} layers is of {space}; give a folder whose {kind}.parquet is.")
        first, *others = (tables[kind] for kind in LAYERS)
        names = [d.name for d in first.devices if all(d.name in {e.name for e in m.devices} for m in others)]
        if not names:
            raise InputError("The tables of layers have no device in common; measure them on the same ones.")
        self.devices, rng = tuple(first.device(name) for name in names), np.random.default_rng(self.seed)
        errors = []
        for kind in LAYERS:
            m = tables[kind].where(devices=names)
            order = rng.permutation(len(m.architectures))
            held_out, train = (m.where(archs=part) for part in np.split(order, [max(int(self.held * len(order)), 1)]))
            self.predictor(kind).fit(train, log=log)
            error = np.log(self.alone(kind, held_out.architectures) / self._columns(held_out, "exe_ms"))
            errors.append(np.sqrt(np.nanmean(error**2, axis=0)))
            log(f"{kind}: {len(train.architectures)} layers, log errors of others {np.round(errors[-1], 3).tolist()}")
        self.deviations = np.nan_to_num(np.stack(errors, axis=1), nan=0.3)
        self.wide = np.stack([reach(tables[kind], self._columns(tables[kind], "exe_ms")) for kind in LAYERS], axis=1)
        self.machine = self._machine([tables[kind] for kind in LAYERS])
        self.copies = np.hstack([self._copies([tables[kind] for kind in LAYERS], end) for end in ("pre", "post")])
        self.operations = OperationCosts()
        self.operations.fit({kind: tables[kind] for kind in OPERATIONS if kind in tables}, self.operation, self.held,
                            self.seed, log)  # fmt: skip
        return self

    def predictor(self, kind: str) -> Regressor:
        """Predictor of a kind of `LAYERS`."""
        return cast(Regressor, getattr(self, kind))

    def guess(self) -> np.ndarray:
        """Prior medians [S, K] of the coefficients: layers count fully, a fifth of convolutions as roofline; other
        ops move bytes at the best rate, cold weights at ten times it; an element of a smooth function counts as 20
        bytes, of a stepped one as 8."""
        speed, session = self.machine[:, 1], self.machine[:, 2]
        ones = np.ones(len(speed))
        by_name = {"session": session, "call": session / 2, "moved": 1 / speed, "weights": 0.1 / speed}
        by_name |= {"smooth": 20 / speed, "tanh": 20 / speed, "stepped": 8 / speed}
        by_name |= {"convolution": 0.8 * ones, "stem": 0.8 * ones, "roofline": 0.2 * ones}
        return np.stack([by_name.get(name, ones) for name in COEFFICIENTS], axis=1)

    def network_terms(self, networks: Networks) -> list[np.ndarray]:
        found = [pieces(network) for network in networks]
        terms = self.piece_terms([piece for parts in found for piece in parts])
        each = np.split(terms, np.cumsum([len(parts) for parts in found])[:-1]) if found else []
        self.operations.set_terms(networks.networks, found, each, _AT, self)
        return each

    def piece_terms(self, found: Sequence[Piece]) -> np.ndarray:
        """Terms of pieces [P, S, K]."""
        costs = np.zeros((len(found), len(self.devices), len(COEFFICIENTS)))
        kinds = np.array([piece.kind for piece in found], dtype=object)
        work = np.array([(p.macs, p.moved, p.weights, p.smooth, p.tanh, p.stepped) for p in found], float)
        work = work.reshape(-1, 6)
        roofline = self.roofline(work[:, :2])
        for name, column in (("weights", 2), ("smooth", 3), ("tanh", 4), ("stepped", 5)):
            costs[:, :, _AT[name]] = work[:, column, None]
        costs[[piece.op not in VIEWS for piece in found], :, _AT["call"]] = 1
        others, heavy = kinds == "moved", (kinds == "moved") & (work[:, 0] > 0)
        costs[others, :, _AT["moved"]] = work[others, 1, None]
        costs[heavy, :, _AT["moved"]] = 0
        costs[heavy | (kinds == "convolution"), :, _AT["roofline"]] = roofline[heavy | (kinds == "convolution")]
        costs[heavy, :, _AT["convolution"]] = roofline[heavy]  # matrix products without a layer table
        narrow = kinds == "depthwise"
        costs[narrow, :, _AT["depthwise"]] = self.roofline(work[narrow, :2] * [DEPTHWISE, 1])
        for kind in LAYERS:
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                space, layers = self.predictor(kind).space_, [found[row].layer for row in rows.tolist()]
                for limits, columns in within(space, self.wide[:, LAYERS.index(kind)]):
                    archs, wanted, measured = nearest(limits, layers)
                    unique, inverse = np.unique(archs.decisions, axis=0, return_inverse=True)  # layers often repeat
                    ms = self.alone(kind, Architectures(space, unique))[inverse.reshape(-1)]
                    own = np.maximum(ms - self.machine[:, 2], 0.1 * ms)
                    scaled = own * self.roofline(wanted) / self.roofline(measured)
                    costs[rows[:, None], columns, _AT[kind]] = scaled[:, columns]
        stem = [piece.kind == "convolution" and piece.layer["in"] <= 4 for piece in found]
        wide = [piece.kind == "depthwise" and piece.layer["kernel"] ** 2 > 25 for piece in found]
        for name, rows in (("stem", np.flatnonzero(stem)), ("wide", np.flatnonzero(wide))):
            costs[rows, :, _AT[name]] = costs[rows, :, _AT[LIKE[name]]]
            costs[rows, :, _AT[LIKE[name]]] = 0
        return costs

    def roofline(self, work: np.ndarray) -> np.ndarray:
        """Roofline ms [A, S] of MACs and bytes [A, 2]."""
        return np.maximum(*self.least(work))

    def beyond(self, networks: Networks) -> list[np.ndarray]:
        """Roofline times of pieces over those of the nearest layers, or operations, that tables may hold [P, S] of each
        network; 1 for other pieces."""
        each = [self._beyond(pieces(network)) for network in networks]
        for network, ratios in zip(networks.networks, each, strict=True):
            self.operations.set_beyond(network, ratios, self)
        return each

    def _beyond(self, found: Sequence[Piece]) -> np.ndarray:
        """Ratios [P, S] of layers; 1 for other pieces."""
        ratio = np.ones((len(found), len(self.devices)))
        for kind in LAYERS:
            rows = np.flatnonzero([piece.kind == kind for piece in found])
            space = self.predictor(kind).space_
            for limits, columns in within(space, self.wide[:, LAYERS.index(kind)]) if len(rows) else ():
                _, wanted, measured = nearest(limits, [found[row].layer for row in rows.tolist()])
                ratio[rows[:, None], columns] = (self.roofline(wanted) / self.roofline(measured))[:, columns]
        return ratio

    def alone(self, kind: str, archs: Architectures) -> np.ndarray:
        """Ms of layers in sessions of their own [A, S]; at least 1e-6, since linear predictors may be negative."""
        predictor = self.predictor(kind)
        columns = [predictor.column(device) for device in self.devices]
        return np.maximum(predictor.predict_all(archs)[:, columns], 1e-6)

    def _columns(self, m: Measurements, metric: str) -> np.ndarray:
        """Measured values [A, S]."""
        devices = [m.devices.index(find_device(m.devices, device.name)) for device in self.devices]
        return m.matrix(metric)[:, devices]

    def _machine(self, tables: Sequence[Measurements]) -> np.ndarray:
        """Field `machine`: best rates of layers, and the least ms of a session [S, 3]."""
        work, ms = [], []
        for m in tables:
            layers = work_of(m)
            work.append(np.stack([layers.macs, BYTES * (layers.inputs + layers.outputs + layers.params)], axis=1))
            ms.append(self._columns(m, "exe_ms"))
        session = np.nanquantile(np.concatenate(ms), 0.005, axis=0)
        return np.column_stack([best_rates(np.concatenate(work), np.concatenate(ms), session), session])

    def _copies(self, tables: Sequence[Measurements], end: str) -> np.ndarray:
        """Ms, and ms per byte, of copying a layer's input (`pre`) or output (`post`) [S, 2]."""
        moved, ms = [], []
        for m in tables:
            layers = work_of(m)
            moved.append(BYTES * (layers.inputs if end == "pre" else layers.outputs))
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
        for name in {*TERMS.values(), OTHER}:
            own = np.array([self.operations.spread(name, device) for device in self.devices])
            found[:, _AT[name]] = np.where(own > 0, own, found[:, _AT[name]])
        return found

    def examples(self, s: int) -> Networks:
        return AnyNetwork().sample(2, np.random.default_rng(0))

    def state(self) -> dict[str, Any]:
        kinds = {kind: self.predictor(kind) for kind in LAYERS}
        return {
            "devices": [device.to_dict() for device in self.devices],
            **{name: getattr(self, name) for name in _ARRAYS},
            **{kind: {**p.metadata(), "state": p.state()} for kind, p in kinds.items()},
            "operations": self.operations.state(),
        }

    def restore(self, state: Any, where: str) -> None:
        self.devices = devices_of(state["devices"])
        for kind in LAYERS:
            predictor = restored(state[kind], where)
            space = predictor.space_
            if not isinstance(predictor, Regressor) or not isinstance(space, LayerSpace) or space.kind != kind:
                raise ValueError(f"{kind} is of {space}")
            setattr(self, kind, predictor)
            for device in self.devices:
                predictor.column(device)
        for name, n in _ARRAYS.items():
            absent = np.ones((len(self.devices), n)) if name == "wide" else None  # in older files
            setattr(self, name, array(state.get(name, absent), len(self.devices), n))
        if not np.isin(self.wide, (0, 1)).all():
            raise ValueError("`wide` is neither 0 nor 1")
        if not (self.machine > 0).all() or not all((getattr(self, name) >= 0).all() for name in _ARRAYS):
            raise ValueError("rates, times or deviations are below zero")
        self.operations = OperationCosts()
        self.operations.restore(state.get("operations", {}), where)  # older files have none


_ARRAYS = {"machine": 3, "copies": 4, "deviations": 3, "wide": 3}
_DEVIATIONS = {"convolution": 0, "stem": 0, "depthwise": 1, "wide": 1, "pooling": 1, "dense": 2}
"""Column of `deviations` per term of layers; depthwise ones have no table."""
