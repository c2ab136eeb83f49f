"""`OperationCosts`: what single operations of networks cost, by predictors that are fitted to their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from datasets.blocks.operations import Operation as OperationSpace
from datasets.files.checkpoint import array
from datasets.networks.analysis import totals
from datasets.networks.network import Network
from datasets.records import Device, InputError, Measurements, Networks
from encoders.operation import OperationFeatures, working
from predictors.base import Log, restored, silent
from predictors.config import from_config, to_config
from predictors.networks.operations import OPERATIONS, Operation, operations
from predictors.networks.pieces import Piece
from predictors.regressor import Regressor
from predictors.trees import XGBoost

TERMS = {"matmul": "product", "linear": "product", "attention": "product", "cached_attention": "product",
         "recurrent": "product", "grouped_convolution": "product", "transposed_convolution": "product",
         "depthwise_convolution": "depthwise", "average_pooling": "pooling"}  # fmt: skip
"""Cost terms of operations with multiply-accumulates and of poolings; those of the others are `OTHER`."""
OTHER = "operation"
FEWEST = 5
"""Least number of operations of a table."""
TREES = 250
"""Largest number of boosted trees: a table of operations has a tenth of the rows of one of layers, and a saved file the
trees of all kinds."""


def operation_trees() -> Regressor:
    """Default predictor of operations: boosted trees on their sizes and work."""
    return XGBoost("latency_ms", columns=0.5, depth=5, min_child_weight=2.0, encoder=OperationFeatures(), trees=TREES)


def like(layer: Regressor) -> Regressor:
    """A predictor of layers as one of operations; the default one if it encodes nothing itself."""
    if "encoder" not in [f.name for f in fields(layer) if f.init]:
        return operation_trees()
    made: Any = from_config(to_config(layer), Regressor)  # type: ignore[type-abstract]
    fewer = {"trees": min(made.trees // 4, TREES)} if hasattr(made, "trees") else {}
    return replace(made, metric="latency_ms", encoder=OperationFeatures(), **fewer)


class Machine(Protocol):
    """What is known of devices without tables of operations: fields and a method of `learnt.Learnt`."""

    devices: tuple[Device, ...]
    machine: np.ndarray

    def roofline(self, work: np.ndarray) -> np.ndarray: ...


class OperationCosts:
    """Predictors of single operations, one per kind with a table, each of the devices of its table.

    Attributes:
        predictors: by kind.
        extents: least and largest multiply-accumulates and bytes of the operations that each was fitted to [2, 2].
        deviations: root mean squares of log errors of held-out operations, by kind and name of device.
    """

    def __init__(self) -> None:
        self.predictors: dict[str, Regressor] = {}
        self.extents: dict[str, np.ndarray] = {}
        self.deviations: dict[str, dict[str, float]] = {}

    def fit(
        self, tables: Mapping[str, Measurements], template: Regressor, held: float, seed: int, log: Log = silent
    ) -> None:
        """Fit a copy of a predictor to each table; a share `held` of its operations estimates errors.

        Raises:
            InputError: a table holds other things than its operations.
        """
        for kind, m in tables.items():
            space = m.architectures.space
            if not isinstance(space, OperationSpace) or space.kind != kind:
                raise InputError(
                    f"The table of {kind} operations is of {space}; give a folder whose {kind}.parquet is."
                )
            if len(m.architectures) < FEWEST:
                raise InputError(
                    f"The table of {kind} operations has {len(m.architectures)}; measure {FEWEST} or more of them."
                )
            networks = Networks.of(m.architectures)
            of_networks = Measurements(networks, m.devices, m.table, m.name)
            order = np.random.default_rng(seed).permutation(len(networks))
            parts = np.split(order, [max(int(held * len(order)), 1)])
            held_out, train = (of_networks.where(archs=part) for part in parts)
            kinds = sorted({network.ops[node].kind for network in networks for node in working(network)})
            made: Any = from_config(to_config(template), Regressor)  # type: ignore[type-abstract]
            made = replace(made, encoder=OperationFeatures(tuple(kinds)))
            self.predictors[kind] = made.fit(train, log=log)
            work = np.array([_work(network) for network in networks], float)
            self.extents[kind] = np.stack([work.min(axis=0), work.max(axis=0)])
            y = held_out.matrix(made.metric)
            error = np.log(np.maximum(made.predict_all(held_out.architectures), 1e-6) / y)
            found = np.nan_to_num(np.sqrt(np.nanmean(error**2, axis=0)), nan=0.3)
            self.deviations[kind] = {d.name: float(e) for d, e in zip(made.devices_, found, strict=True)}
            log(f"{kind}: {len(train.architectures)} operations, log errors of others {found.round(3).tolist()}")

    def ms(self, found: Sequence[Operation], devices: Sequence[Device]) -> np.ndarray:
        """Ms of operations in sessions of their own [P, S]; NaN where a device has no table of their kind."""
        ms = np.full((len(found), len(devices)), np.nan)
        for kind, predictor in self.predictors.items():
            rows = [i for i, operation in enumerate(found) if operation.kind == kind]
            known = {device.name: column for column, device in enumerate(predictor.devices_)}
            if rows:
                each = np.maximum(predictor.predict_all(Networks(found[row].network for row in rows)), 1e-6)
                for s, device in enumerate(devices):
                    if device.name in known:
                        ms[rows, s] = each[:, known[device.name]]
        return ms

    def set_terms(
        self,
        networks: Sequence[Network],
        parts: Sequence[Sequence[Piece]],
        terms: Sequence[np.ndarray],
        at: Mapping[str, int],
        machine: Machine,
    ) -> None:
        """Replace the terms [P, S, K] of the pieces of operations on devices with tables of their kinds.

        Pieces of one operation share its ms by the bytes that they move. Weights, which an operation alone finds in the
        cache, and activations that runtimes fold into an op keep their own terms.

        Args:
            networks, parts: networks and their pieces.
            terms: of the pieces of each, as without tables of operations.
            at: column of each term.
            machine: of the devices.
        """
        found = [(number, operation) for number, network in enumerate(networks)
                 for operation in operations(network) if operation.kind in self.predictors]  # fmt: skip
        if not found:
            return
        alike = [_alike(operation) for _, operation in found]  # networks repeat operations, and so do their layers
        distinct = dict(zip(alike, (operation for _, operation in found), strict=True))
        alone = self.ms(list(distinct.values()), machine.devices)
        own = np.maximum(alone - machine.machine[:, 2], 0.1 * alone) * self.beyond(list(distinct.values()), machine)
        of = dict(zip(distinct, own, strict=True))
        folded, weights = (np.isin(list(at), names) for names in (("smooth", "tanh", "stepped"), ("weights",)))
        for (number, operation), key in zip(found, alike, strict=True):
            rows, term, ms = list(operation.rows), TERMS.get(operation.kind, OTHER), of[key]
            if term == "depthwise" and parts[number][rows[0]].layer.get("kernel", 1) ** 2 > 25:
                term = "wide"
            moved = np.array([parts[number][row].moved for row in rows], float) + 1e-9
            share = operation.times * moved / moved.sum()
            for s in np.flatnonzero(~np.isnan(ms)).tolist():
                terms[number][rows, s] *= weights | (folded & operation.folded)
                terms[number][rows, s, at[term]] = ms[s] * share
                terms[number][rows, s, at["call"]] = share

    def set_beyond(self, network: Network, ratios: np.ndarray, machine: Machine) -> None:
        """Set the ratios [P, S] of the pieces of operations on devices with tables of their kinds to those of
        `beyond`."""
        found = [operation for operation in operations(network) if operation.kind in self.predictors]
        known = ~np.isnan(self.ms(found, machine.devices))
        for operation, own, there in zip(found, self.beyond(found, machine), known, strict=True):
            for row in operation.rows:
                ratios[row, there] = own[there]

    def beyond(self, found: Sequence[Operation], machine: Machine) -> np.ndarray:
        """Roofline times of operations over those of the nearest within the extents of their tables [P, S]."""
        work = np.array([_work(operation.network) for operation in found], float).reshape(-1, 2)
        nearest = work.copy()
        for i, operation in enumerate(found):
            if operation.kind in self.extents:
                nearest[i] = work[i].clip(*self.extents[operation.kind])
        return machine.roofline(work) / np.maximum(machine.roofline(nearest), 1e-12)

    def spread(self, term: str, device: Device) -> float:
        """Root mean square of the log errors of the kinds of operations of a term on a device; 0 for none."""
        errors = [own[device.name] for kind, own in self.deviations.items()
                  if TERMS.get(kind, OTHER) == term and device.name in own]  # fmt: skip
        return float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0

    def state(self) -> dict[str, Any]:
        """Learnt parameters as plain containers and arrays, by kind."""
        return {
            kind: {**p.metadata(), "state": p.state(), "extents": self.extents[kind],
                   "deviations": self.deviations[kind]}
            for kind, p in self.predictors.items()
        }  # fmt: skip

    def restore(self, state: Any, where: str) -> None:
        """Set the learnt parameters from `state()`; raises one of `checkpoint.DAMAGE` where they do not fit."""
        for kind, own in state.items():
            predictor = restored(own, where)
            if kind not in OPERATIONS or not isinstance(predictor, Regressor):
                raise ValueError(f"{kind} is no kind of operations")
            if not isinstance(getattr(predictor, "encoder", None), OperationFeatures):
                raise ValueError(f"{kind} has other features than those of operations")
            extents, deviations = array(own["extents"], 2, 2), dict(own["deviations"])
            errors = [deviations[device.name] for device in predictor.devices_]
            if not (extents >= 0).all() or not all(type(e) is float and 0 <= e < np.inf for e in errors):
                raise ValueError("extents or errors are below zero")
            self.predictors[kind], self.extents[kind], self.deviations[kind] = predictor, extents, deviations


def _alike(operation: Operation) -> tuple[object, ...]:
    """What operations of one time have in common: all but the names of their outputs."""
    alone = operation.network
    return operation.kind, repr(alone.ops), alone.edges, alone.batch, tuple(port.node for port in alone.outputs)


def _work(network: Network) -> tuple[int, int]:
    """Multiply-accumulates and bytes moved."""
    found = totals(network)
    return found["macs"], found["moved_bytes"]
