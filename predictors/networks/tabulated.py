"""`Tabulated`: look-up tables of single layers, as exact sums (LETI, section 3.1) and as costs of a `LayerSum`."""

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
from datasets.networks.parts import cut, entries, label
from datasets.records import Cost, CostModel, Device, InputError, Measurements, Networks
from datasets.tabulate import rows
from predictors.base import Log, devices_of, silent
from predictors.networks.costs import Costs, best_rates
from predictors.networks.layer_kinds import WORK_GROUPS, SizedLayer, megabytes, read_layer, work_group
from predictors.networks.layer_table import LayerTable

WIDTHS = {"session": 1.0, "call": 1.0, "conv": 0.5, "depthwise": 0.5, "dense": 0.5, "other": 0.5, "weights": 1.0}
"""Prior standard deviations of the logarithms of a device's coefficients: of `session` (ms per run) and `call` (ms per
layer), of factors of the latencies of convolutions, depthwise ones, dense and other layers, and of ms per megabyte
(10^6 bytes) of weights, which a layer alone finds in the cache. Chosen, like `COMMON`, `MS_PER_MB`, the guess and
`noise`, by the networks of the bundled tables, each left out once."""

COMMON = 0.2
"""Prior standard deviation of the logarithm of a factor that all layers have in common."""

MS_PER_MB = 0.02
"""Prior median of the ms per megabyte of weights."""

LEAST = 1.1
"""Floor of the latencies of layers, as a multiple of that of an empty session (`call_ms`)."""

_AT = {name: i for i, name in enumerate(WIDTHS)}
"""Column of each term."""


def _prior() -> np.ndarray:
    factors = np.isin(list(WIDTHS), WORK_GROUPS)
    return np.diag(np.square(list(WIDTHS.values()))) + COMMON**2 * np.outer(factors, factors)


class _Rows(NamedTuple):
    """Ms of an empty session, of layers and of whole networks on one device."""

    call_ms: float
    layers: list[tuple[SizedLayer, float]]
    whole: dict[str, float]


@dataclass
class Tabulated(Costs, CostModel):
    """Costs from a table of single layers, as `measure run --layers true` and `measure table` write it.

    Layers whose channels lie between those of measured layers of their kind are interpolated bilinearly.

    Attributes:
        path: of the table.
        noise: relative error of sums with exact coefficients; the smaller it is, the more weight networks have.
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
        """Sum of the measured values of a network's layers, as a cost; a layer that is not in the table raises
        `InputError`.

        Args:
            device: device of the layers; None is refused.
            metric: metric of the layers.
            less_calls: subtract the cost of an empty session for every layer but one.
            unknown_ms: value of layers that are not in the table (0 underestimates the sum); by default they are
                refused.
        """
        name, known = device.name if device else "", self.exact
        if (name, metric, SMALLEST.key) not in known:
            devices = sorted({device for device, *_ in known})
            raise InputError(f"{self.path} has no {metric} of layers on '{name}'; it has {listed(devices)}.")

        def total(network: Network) -> float:
            layers = layers_of(network)
            costs = [known.get((name, metric, layer.key), unknown_ms) for layer in layers]
            for layer, cost in zip(layers, costs, strict=True):
                if cost is None:
                    raise InputError(f"{self.path} has no layer '{label(layer)}' of {network.key} on '{name}'.")
            calls = (len(layers) - 1) * known[name, metric, SMALLEST.key]
            return sum(cost for cost in costs if cost is not None) - (calls if less_calls else 0)

        return lambda archs: np.array([total(network) for network in Networks.of(archs)])

    @cached_property
    def exact(self) -> Mapping[tuple[str, str, str], float]:
        """Values of the file by device, metric and key."""
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
        self._set_rows(found, tuple(wide.index), wide[[device.name for device in found]].fillna(0).to_numpy(float))
        return self

    def _set_rows(self, devices: tuple[Device, ...], keys: tuple[str, ...], ms: np.ndarray) -> None:
        """Set the rows [R, S], drop cached results of earlier ones, and leave out devices without layers."""
        self.devices, self.keys_, self.ms_ = devices, keys, ms
        for name in ("_rows", "_bare", "machine"):
            vars(self).pop(name, None)
        kept = [s for s, table in enumerate(self._bare) if table.grids]
        if not kept:
            raise InputError(f"{self.path} has no layers; measure what `python -m search layers` lists.")
        if len(kept) < len(devices):
            self._set_rows(tuple(devices[s] for s in kept), keys, ms[:, kept])

    @cached_property
    def _rows(self) -> list[_Rows]:
        """Rows of each device, divided into layers and whole networks."""
        found = [_Rows(0.0, [], {}) for _ in self.devices]
        for key, row in zip(self.keys_, self.ms_.tolist(), strict=True):
            if key == SMALLEST.key:
                found = [device._replace(call_ms=ms) for device, ms in zip(found, row, strict=True)]
                continue
            network = check_network(Network.from_json(key))
            layer = read_layer(network) if len(entries(network)) == 1 else None
            for device, ms in zip(found, row, strict=True):
                if ms and layer:
                    device.layers.append((layer, ms))
                elif ms:
                    device.whole[key] = ms
        return found

    def table(self, s: int, coefficients: np.ndarray | None = None) -> LayerTable:
        """Table of the ms of layers, in a session each, on a device; `call_ms` counts once per network.

        Args:
            s: index of the device.
            coefficients: weights of the terms [K]; by default the measured latencies are used.
        """
        if coefficients is None:
            found = self._rows[s]
            return LayerTable.of(found.layers, found.call_ms, self.devices[s].name)
        weigh = dict(zip(self.terms, coefficients.tolist(), strict=True))
        grids = {}
        for kind, grid in self._bare[s].grids.items():
            weights = [[megabytes(SizedLayer(kind, i, o or i).network()) for o in grid.outs.tolist()]
                       for i in grid.ins.tolist()]  # fmt: skip
            ms = weigh[work_group(kind)] * grid.ms + weigh["weights"] * np.array(weights)
            grids[kind] = replace(grid, ms=ms + weigh["session"] + weigh["call"])
        return LayerTable(grids, weigh["session"], self.devices[s].name)

    @cached_property
    def _bare(self) -> list[LayerTable]:
        """Tables of the ms of layers without session and call, by device."""
        found = []
        for table in (self.table(s) for s in range(len(self.devices))):
            least, twice = LEAST * table.call_ms, 2 * table.call_ms
            grids = {k: replace(grid, ms=np.maximum(grid.whole(), least) - twice) for k, grid in table.grids.items()}
            found.append(replace(table, grids=grids))
        return found

    def guess(self) -> np.ndarray:
        """Prior medians [S, K]: layers add up, less a session for each but one; a call takes as long as a session."""
        found = np.ones((len(self.devices), len(WIDTHS)))
        found[:, [_AT["session"], _AT["call"]]] = self.machine[:, 2:]
        found[:, _AT["weights"]] = MS_PER_MB
        return found

    def network_terms(self, networks: Networks) -> list[np.ndarray]:
        return [self._terms(network) for network in networks]

    def _terms(self, network: Network) -> np.ndarray:
        """Terms of the layers of a network [P, S, K]."""
        layers = layers_of(network)
        read = [read_layer(layer) for layer in layers]
        ins, outs = (np.array([getattr(layer, f"channels_{side}") for layer in read], int) for side in ("in", "out"))
        found = np.zeros((len(read), len(self.devices), len(WIDTHS)))
        found[:, :, _AT["call"]] = 1
        found[:, :, _AT["weights"]] = np.array([megabytes(layer) for layer in layers])[:, None]
        column = np.array([_AT[work_group(layer.kind)] for layer in read], int)
        for s, table in enumerate(self._bare):
            kinds = np.array([table.kinds.get(layer.kind, -1) for layer in read], int)
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
        layers = [label(layer) for layer, lacks in zip(layers_of(network), missing, strict=True) if lacks]
        return InputError(
            f"The table {self.path} has no layer '{layers[0]}' of {network.key} on '{device.name}', nor wider and "
            "narrower ones; measure it (`python -m measure run --layers true`, or what `python -m search layers` "
            "lists)."
        )

    def spread(self) -> np.ndarray:
        found = np.zeros((len(self.devices), len(WIDTHS)))
        found[:, [_AT[name] for name in WORK_GROUPS]] = self.noise
        return found

    @cached_property
    def machine(self) -> np.ndarray:  # type: ignore[override]
        found = []
        for rows_ in self._rows:
            sums = [totals(layer.network()) for layer, _ in rows_.layers]
            work = np.array([(total["macs"], total["moved_bytes"]) for total in sums], float)
            ms, session = np.array([ms for _, ms in rows_.layers]), np.array([rows_.call_ms])
            found.append([*np.maximum(best_rates(work, ms[:, None], session)[0], 1e-9), rows_.call_ms])
        return np.array(found)

    @property
    def copies(self) -> np.ndarray:  # type: ignore[override]
        """Zeros: tables of layers have no copies."""
        return np.zeros((len(self.devices), 4))

    def whole(self, kinds: Sequence[str] | None = None) -> Measurements | None:
        """Whole networks of the table and their latencies; None where there are none.

        Args:
            kinds: only networks made of exactly these kinds of layers (`layer_kinds.SizedLayer.kind`), with any
                channels; by default all.
        """
        keys = list(dict.fromkeys(key for device in self._rows for key in device.whole))
        networks = [Network.from_json(key) for key in keys]
        if kinds is not None:
            made = [sorted(read_layer(layer).kind for layer in layers_of(network)) for network in networks]
            networks = [network for network, own in zip(networks, made, strict=True) if own == sorted(kinds)]
        if not networks:
            return None
        ms = np.array([[device.whole.get(network.key, 0.0) for device in self._rows] for network in networks])
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
        self._set_rows(devices, tuple(keys), ms)
        if self.devices != devices:
            raise ValueError("a device has no layers")


def layers_of(network: Network) -> list[Network]:
    """Layers of a network in order, with repeats."""
    return [cut(network, nodes) for nodes in entries(network)]
