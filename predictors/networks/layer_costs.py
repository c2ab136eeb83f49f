"""What pieces of networks cost by what layers alone take: the sums that `predictors.networks.layer_sum` weighs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from datasets.blocks.layers import Layer, Work
from datasets.files.checkpoint import array
from datasets.networks.ops import BYTES
from datasets.records import Architectures, Device, InputError, Measurements, find_device
from predictors.base import Log, devices_of, restored, silent
from predictors.networks.calibration import calibrate
from predictors.networks.pieces import VIEWS, Piece, nearest
from predictors.regressor import Regressor

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


@dataclass
class LayerCosts:
    """Layer predictors of S devices and what else their tables tell of them.

    Attributes:
        predictors: of `exe_ms`, by the names of `LAYERS`.
        devices: theirs.
        machine: macs a ms and bytes a ms at best, ms of a session that computes nothing [S, 3].
        copies: of the input: ms, ms a byte; of the output: ms, ms a byte [S, 4].
        deviations: root mean square of log errors of layers that were not learnt [S, 3].
    """

    predictors: Mapping[str, Regressor]
    devices: tuple[Device, ...] = ()
    machine: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    copies: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    deviations: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))

    def fit(self, tables: Mapping[str, Measurements], held: float, seed: int, log: Log = silent) -> LayerCosts:
        """Learn tables of layers; a share `held` of each tells what predictors of its kind are off."""
        if missing := [kind for kind in LAYERS if kind not in tables]:
            raise InputError(f"There is no table of {missing[0]} layers; networks are made of {', '.join(LAYERS)}.")
        first, *others = (tables[kind] for kind in LAYERS)
        names = [d.name for d in first.devices if all(d.name in {e.name for e in m.devices} for m in others)]
        if not names:
            raise InputError("The tables of layers have no device in common; measure them on the same ones.")
        self.devices, rng = tuple(first.device(name) for name in names), np.random.default_rng(seed)
        errors = []
        for kind in LAYERS:
            m = tables[kind].where(devices=names)
            order = rng.permutation(len(m.architectures))
            rest, learnt = (m.where(archs=part) for part in np.split(order, [max(int(held * len(order)), 1)]))
            self.predictors[kind].fit(learnt, log=log)
            error = np.log(self.alone(kind, rest.architectures) / self._columns(rest, "exe_ms"))
            errors.append(np.sqrt(np.nanmean(error**2, axis=0)))
            log(f"{kind}: {len(learnt.architectures)} layers, log errors of others {np.round(errors[-1], 3).tolist()}")
        self.deviations = np.nan_to_num(np.stack(errors, axis=1), nan=0.3)
        self.machine = self._machine([tables[kind] for kind in LAYERS])
        self.copies = np.hstack([self._copies([tables[kind] for kind in LAYERS], end) for end in ("pre", "post")])
        return self

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

    def of(self, found: Sequence[Piece]) -> np.ndarray:
        """What the coefficients multiply, of pieces [P, S, K]; nothing in the column `session`."""
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
                space = cast(Layer, self.predictors[kind].space_)
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

    def least(self, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds [A, S] that operations take at least, and bytes, of [A, 2]."""
        computing, moving = np.moveaxis(work[:, None] / self.machine[None, :, :2], 2, 0)
        return computing, moving

    def beyond(self, found: Sequence[Piece]) -> np.ndarray:
        """Roofline times [P, S] of pieces over those of the nearest layers that tables may hold; 1 for other pieces."""
        ratio = np.ones((len(found), len(self.devices)))
        for kind in LAYERS:
            rows = [row for row, piece in enumerate(found) if piece.kind == kind]
            if rows:
                space = cast(Layer, self.predictors[kind].space_)
                _, wanted, measured = nearest(space, [found[row].layer for row in rows])
                ratio[rows] = self.roofline(wanted) / self.roofline(measured)
        return ratio

    def alone(self, kind: str, archs: Architectures) -> np.ndarray:
        """What layers take in a session of their own [A, S]; at least a nanosecond, since a line may cross zero."""
        predictor = self.predictors[kind]
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
        rates = np.concatenate(work)[:, None] / np.maximum(np.concatenate(ms) - session, 1e-9)[..., None]  # [A, S, 2]
        slow = np.concatenate(ms) > 10 * session  # a tiny layer's rate is noise
        rates = np.where((slow & np.isfinite(rates[..., 0]))[..., None], rates, np.nan)
        return np.column_stack([np.nanquantile(rates, 0.9, axis=0), session])

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

    def state(self) -> dict[str, Any]:
        """Everything, as plain containers and arrays."""
        return {
            "devices": [device.to_dict() for device in self.devices],
            **{name: getattr(self, name) for name in _ARRAYS},
            **{kind: {**p.metadata(), "state": p.state()} for kind, p in self.predictors.items()},
        }

    @staticmethod
    def restored(state: Mapping[str, Any], where: str) -> LayerCosts:
        """What `state` gave; what does not fit together raises an InputError, ValueError, KeyError or TypeError."""
        devices = devices_of(state["devices"])
        predictors: dict[str, Regressor] = {}
        for kind in LAYERS:
            predictor = restored(state[kind], where)
            space = predictor.space_
            if not isinstance(predictor, Regressor) or not isinstance(space, Layer) or space.kind != kind:
                raise ValueError(f"{kind} is of {space}")
            predictors[kind] = predictor
            for device in devices:
                predictor.column(device)
        arrays = {name: array(state[name], len(devices), n) for name, n in _ARRAYS.items()}
        if not (arrays["machine"] > 0).all() or not all((values >= 0).all() for values in arrays.values()):
            raise ValueError("rates, times or deviations are below zero")
        return LayerCosts(predictors, devices, **arrays)


_ARRAYS = {"machine": 3, "copies": 4, "deviations": 3}


def _work(m: Measurements) -> Work:
    """What measured layers need."""
    space = cast(Layer, m.architectures.space)
    low = np.array([f.low for f in space.features])
    values = (m.architectures.decisions.astype(np.int64) + low).T
    return space.work(dict(zip([f.name for f in space.features], values, strict=True)))
