"""Look-up tables of single layers: LETI's exact sums (section 3.1), and the costs of a `LayerSum`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from datasets.files.checkpoint import array
from datasets.files.reading import listed
from datasets.files.table_file import read_values
from datasets.networks.analysis import check_network, totals
from datasets.networks.network import KEYED_BY_JSON, SMALLEST, Network
from datasets.networks.ops import BYTES
from datasets.networks.parts import cut, entries, label
from datasets.records import Cost, CostModel, Device, InputError, Measurements, Networks
from datasets.tabulate import rows
from predictors.base import Log, devices_of, silent
from predictors.networks.costs import Costs, best_rates
from predictors.networks.layer_kinds import IN, Layer, read_layer
from predictors.networks.layer_table import LayerTable

WIDTHS = {"session": 1.0, "call": 1.0, "conv": 0.5, "depthwise": 0.5, "dense": 0.5, "other": 0.5, "weights": 1.0}
"""Prior standard deviations of the logarithms of a device's coefficients: of `session` (ms a run) and `call` (ms a
layer), of factors of what convolutions, depthwise ones, dense and other layers take in the table, and of ms per
megabyte (10^6 bytes) of weights, which a layer alone finds in the cache. Chosen, like `ALIKE`, `MS_PER_MB`, the guess
and `noise`, by the networks of the bundled tables, each left out once."""

ALIKE = 0.2
"""That of what all these factors have in common."""

MS_PER_MB = 0.02
"""What a megabyte of weights likely costs in a network."""

LEAST = 1.1
"""What a layer takes in the table at least, in sessions that compute nothing."""

WORK = ("conv", "depthwise", "dense", "other")
"""Layers that have a factor together."""

_AT = {name: i for i, name in enumerate(WIDTHS)}


def _prior() -> np.ndarray:
    factors = np.isin(list(WIDTHS), WORK)
    return np.diag(np.square(list(WIDTHS.values()))) + ALIKE**2 * np.outer(factors, factors)


class _Rows(NamedTuple):
    """What a table holds of one device: its layers, and whole networks, with their milliseconds."""

    call_ms: float
    layers: list[tuple[Layer, float]]
    whole: dict[str, float]


@dataclass
class Tabulated(Costs, CostModel):
    """What `python -m measure run --layers true`, or `--space layers`, and `measure table` measured of single layers.

    A layer whose channels lie between those of measured ones of its kind costs what is bilinear between them.

    Attributes:
        path: of the table.
        noise: relative error of a sum that is no fault of coefficients; if it is smaller, networks count for more.
    """

    path: Path
    noise: float = 0.05

    terms: ClassVar[tuple[str, ...]] = tuple(WIDTHS)
    prior: ClassVar[np.ndarray] = _prior()
    devices: tuple[Device, ...] = field(default=(), init=False, repr=False, compare=False)
    keys_: tuple[str, ...] = field(init=False, repr=False, compare=False)  # of layers and networks [R]
    ms_: np.ndarray = field(init=False, repr=False, compare=False)  # [R, S]; 0: not measured

    # Exact sums

    def on(
        self,
        device: Device | None,
        metric: str = "latency_ms",
        less_calls: bool = False,
        unknown_ms: float | None = None,
    ) -> Cost:
        """The sum over a network's layers, exactly as they were measured, as a cost; it raises `InputError` where a
        layer is not in the table.

        Args:
            device: where; None is refused.
            metric: of the layers.
            less_calls: take out what a session costs that computes nothing, once for every layer but one.
            unknown_ms: what a layer counts that is not in the table (0: a sum is then too low); by default it is
                refused.
        """
        name, known = device.name if device else "", self.exact
        if (name, metric, SMALLEST.key) not in known:
            devices = sorted({device for device, *_ in known})
            raise InputError(f"{self.path} has no {metric} of layers on '{name}'; it knows {listed(devices)}.")

        def of(network: Network) -> float:
            layers = layers_of(network)
            costs = [known.get((name, metric, layer.key), unknown_ms) for layer in layers]
            for layer, cost in zip(layers, costs, strict=True):
                if cost is None:
                    raise InputError(f"{self.path} has no layer '{label(layer)}' of {network.key} on '{name}'.")
            calls = (len(layers) - 1) * known[name, metric, SMALLEST.key]
            return sum(cost for cost in costs if cost is not None) - (calls if less_calls else 0)

        return lambda archs: np.array([of(network) for network in Networks.of(archs)])

    @cached_property
    def exact(self) -> Mapping[tuple[str, str, str], float]:
        """What the file holds, by device, metric and key."""
        columns = (read_values(self.path)[0][name] for name in ("device", "metric", "key", "value"))
        return {(device, metric, key): value for device, metric, key, value in zip(*columns, strict=True)}

    # Costs of a `LayerSum`

    def learn(self, log: Log = silent) -> Self:
        table, devices = read_values(self.path)
        table = table[(table["space"] == KEYED_BY_JSON) & (table["metric"] == "latency_ms")]
        known = {device for device, key in zip(table["device"], table["key"], strict=True) if key == SMALLEST.key}
        if not known:
            raise InputError(
                f"{self.path} has no latency_ms of layers, or none of '{SMALLEST.key}'; measure what `python -m search "
                "layers` lists."
            )
        wide = table.pivot(index="key", columns="device", values="value").loc[table["key"].unique()]
        found = tuple(device for device in devices if device.name in known)
        self._take(found, tuple(wide.index), wide[[device.name for device in found]].fillna(0).to_numpy(float))
        return self

    def _take(self, devices: tuple[Device, ...], keys: tuple[str, ...], ms: np.ndarray) -> None:
        """Sort rows [R, S] into layers and whole networks, and forget what was made of others; devices that have no
        layers are left out."""
        self.devices, self.keys_, self.ms_ = devices, keys, ms
        for name in ("_rows", "_own", "machine"):
            vars(self).pop(name, None)
        kept = [s for s, table in enumerate(self._own) if table.grids]
        if not kept:
            raise InputError(f"{self.path} has no layers; measure what `python -m search layers` lists.")
        if len(kept) < len(devices):
            self._take(tuple(devices[s] for s in kept), keys, ms[:, kept])

    @cached_property
    def _rows(self) -> list[_Rows]:
        found = [_Rows(0.0, [], {}) for _ in self.devices]
        for key, row in zip(self.keys_, self.ms_.tolist(), strict=True):
            if key == SMALLEST.key:
                found = [one._replace(call_ms=ms) for one, ms in zip(found, row, strict=True)]
                continue
            network = check_network(Network.from_json(key))
            layer = read_layer(network) if len(entries(network)) == 1 else None
            for one, ms in zip(found, row, strict=True):
                if ms and layer:
                    one.layers.append((layer, ms))
                elif ms:
                    one.whole[key] = ms
        return found

    def table(self, s: int, coefficients: np.ndarray | None = None) -> LayerTable:
        """What layers take on a device, in a session each; its `call_ms` is what a network pays once.

        Args:
            s: the device.
            coefficients: that weigh the terms [K]; by default layers as they were measured.
        """
        if coefficients is None:
            found = self._rows[s]
            return LayerTable.of(found.layers, found.call_ms, self.devices[s].name)
        weigh = dict(zip(self.terms, coefficients.tolist(), strict=True))
        grids = {}
        for kind, grid in self._own[s].grids.items():
            weights = [[_megabytes(Layer(kind, i, o or i).network()) for o in grid.outs.tolist()]
                       for i in grid.ins.tolist()]  # fmt: skip
            ms = weigh[_work(kind)] * grid.ms + weigh["weights"] * np.array(weights)
            grids[kind] = replace(grid, ms=ms + weigh["session"] + weigh["call"])
        return LayerTable(grids, weigh["session"], self.devices[s].name)

    @cached_property
    def _own(self) -> list[LayerTable]:
        """What layers take beside a session and a call, by the devices."""
        found = []
        for table in (self.table(s) for s in range(len(self.devices))):
            least, beside = LEAST * table.call_ms, 2 * table.call_ms
            grids = {k: replace(grid, ms=np.maximum(grid.whole(), least) - beside) for k, grid in table.grids.items()}
            found.append(replace(table, grids=grids))
        return found

    def guess(self) -> np.ndarray:
        """Layers add up, less a session for each but one; a call takes as long as a session."""
        found = np.ones((len(self.devices), len(WIDTHS)))
        found[:, [_AT["session"], _AT["call"]]] = self.machine[:, 2:]
        found[:, _AT["weights"]] = MS_PER_MB
        return found

    def of(self, networks: Networks) -> list[np.ndarray]:
        return [self._terms(network) for network in networks]

    def _terms(self, network: Network) -> np.ndarray:
        layers = layers_of(network)
        read = [read_layer(one) for one in layers]
        ins, outs = (np.array([getattr(one, f"channels_{side}") for one in read], int) for side in ("in", "out"))
        found = np.zeros((len(read), len(self.devices), len(WIDTHS)))
        found[:, :, _AT["call"]] = 1
        found[:, :, _AT["weights"]] = np.array([_megabytes(one) for one in layers])[:, None]
        column = np.array([_AT[_work(one.kind)] for one in read], int)
        for s, table in enumerate(self._own):
            kinds = np.array([table.kinds.get(one.kind, -1) for one in read], int)
            fits = network.batch in (None, self.devices[s].batch)
            there = np.flatnonzero((kinds >= 0) & fits)
            there = there[table.reaches(kinds[there], ins[there], outs[there])]
            ms = np.full(len(read), np.nan)
            ms[there] = table.ms(kinds[there], ins[there], outs[there])
            found[np.arange(len(read)), s, column] = ms
        return found

    def unknown(self, network: Network, s: int) -> InputError:
        device = self.devices[s]
        if network.batch not in (None, device.batch):
            return InputError(
                f"{network.key} has a batch of {network.batch}, and layers on {device.name} were measured with "
                f"{device.batch}; give the network that batch, or measure its layers."
            )
        missing = np.isnan(self._terms(network)[:, s]).any(axis=1)
        layers = [label(one) for one, away in zip(layers_of(network), missing, strict=True) if away]
        return InputError(
            f"The table {self.path} has no layer '{layers[0]}' of {network.key} on '{device.name}', nor wider and "
            "narrower ones; measure it (`python -m measure run --layers true`, or what `python -m search layers` "
            "lists)."
        )

    def spread(self) -> np.ndarray:
        found = np.zeros((len(self.devices), len(WIDTHS)))
        found[:, [_AT[name] for name in WORK]] = self.noise
        return found

    @cached_property
    def machine(self) -> np.ndarray:  # type: ignore[override]
        found = []
        for rows_ in self._rows:
            sums = [totals(layer.network()) for layer, _ in rows_.layers]
            work = np.array([(one["macs"], one["moved_bytes"]) for one in sums], float)
            ms, session = np.array([ms for _, ms in rows_.layers]), np.array([rows_.call_ms])
            found.append([*np.maximum(best_rates(work, ms[:, None], session)[0], 1e-9), rows_.call_ms])
        return np.array(found)

    @property
    def copies(self) -> np.ndarray:  # type: ignore[override]
        """Nothing: tables of layers do not tell them."""
        return np.zeros((len(self.devices), 4))

    def whole(self, kinds: Sequence[str] | None = None) -> Measurements | None:
        """The networks that were measured whole beside the layers, and their latencies; None where there are none.

        Args:
            kinds: of layers (`layer_kinds.Layer.kind`) that networks must be made of, whatever their channels; by
                default any.
        """
        keys = list(dict.fromkeys(key for found in self._rows for key in found.whole))
        networks = [Network.from_json(key) for key in keys]
        if kinds is not None:
            alike = sorted(kinds)
            networks = [one for one in networks if sorted(read_layer(layer).kind for layer in layers_of(one)) == alike]
        if not networks:
            return None
        ms = np.array([[found.whole.get(one.key, 0.0) for found in self._rows] for one in networks])
        return Measurements(Networks(networks), self.devices, rows(ms, measured=ms > 0), Path(self.path).stem)

    def examples(self, s: int) -> Networks:
        return Networks([layer.network() for layer, _ in self._rows[s].layers[:2]])

    def state(self) -> dict[str, Any]:
        text = np.frombuffer(json.dumps(self.keys_).encode(), np.uint8)
        return {"devices": [device.to_dict() for device in self.devices], "keys": text, "ms": self.ms_}

    def restore(self, state: Any, where: str) -> None:
        devices = devices_of(state["devices"])
        keys = json.loads(array(state["keys"], None, kind="u").tobytes())
        if type(keys) is not list or not all(type(key) is str for key in keys):
            raise ValueError("keys are a list of texts")
        ms = array(state["ms"], len(keys), len(devices))
        if len(set(keys)) < len(keys) or SMALLEST.key not in keys or not devices or not (ms >= 0).all():
            raise ValueError("keys and times do not fit together")
        if not (ms[keys.index(SMALLEST.key)] > 0).all():
            raise ValueError("a device has no session")
        self._take(devices, tuple(keys), ms)
        if self.devices != devices:
            raise ValueError("a device has no layers")


def _work(kind: str) -> str:
    name, attrs = json.loads(kind)[0][1]
    if name == "conv":
        return "depthwise" if attrs.get("groups") == IN else "conv"
    return name if name in WORK else "other"


def _megabytes(network: Network) -> float:
    return BYTES * totals(network)["params"] / 1e6


def layers_of(network: Network) -> list[Network]:
    """The layers that a network is the sum of, equal ones as often as they are there."""
    return [cut(network, nodes) for nodes in entries(network)]
