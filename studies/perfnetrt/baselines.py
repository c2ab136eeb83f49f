"""Baselines that PerfNetRT is compared with on networks: a look-up table of layers and a roofline."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from datasets.blocks.layers import LayerSpace
from datasets.records import Architectures, Device, Measurements
from predictors.networks.layer_sum import LayerSum
from predictors.networks.learnt import Learnt


def costs_of(predictor: LayerSum) -> Learnt:
    """The predictors of layers whose costs are summed."""
    assert isinstance(predictor.layers, Learnt)
    return predictor.layers


class Nearest:
    """A look-up table of layers: the time of the measured layer that is nearest in the logarithms of the features,
    times the ratio of both layers' roofline times."""

    def __init__(self, m: Measurements, layers: Learnt) -> None:
        self.space_, self.devices_, self.layers = m.architectures.space, m.devices, layers
        self.known = self._features(m.architectures)
        self.work, self.ms = self._work(m.architectures), m.matrix("exe_ms")

    def column(self, device: Device) -> int:
        return [d.name for d in self.devices_].index(device.name)

    def predict_all(self, archs: Architectures) -> np.ndarray:
        from scipy.spatial import cKDTree

        x, work, found = self._features(archs), self._work(archs), np.empty((len(archs), len(self.devices_)))
        for d, device in enumerate(self.devices_):
            s = [known.name for known in self.layers.devices].index(device.name)
            rows = np.flatnonzero(~np.isnan(self.ms[:, d]))
            at = rows[cKDTree(self.known[rows]).query(x)[1]]
            wanted, measured = (self.layers.roofline(w)[:, s] for w in (work, self.work[at]))
            found[:, d] = self.ms[at, d] * wanted / measured
        return found

    def _features(self, archs: Architectures) -> np.ndarray:
        assert isinstance(archs.space, LayerSpace)
        low = np.array([f.low for f in archs.space.features])
        return np.log1p(archs.decisions + low)

    def _work(self, archs: Architectures) -> np.ndarray:
        return archs.space.totals(archs)[["macs", "moved_bytes"]].to_numpy(float)


class Roofline(Nearest):
    """The longer of computing and moving at rates fitted to the layers (least absolute log error), plus a session."""

    def __init__(self, m: Measurements, layers: Learnt) -> None:
        from scipy.optimize import minimize

        super().__init__(m, layers)
        self.rates = np.empty((len(m.devices), 2))
        for d, device in enumerate(m.devices):
            s = [known.name for known in layers.devices].index(device.name)
            rows = ~np.isnan(self.ms[:, d])
            work, log_ms, session = self.work[rows], np.log(self.ms[rows, d]), layers.machine[s, 2]

            start = np.log(layers.machine[s, :2])
            self.rates[d] = np.exp(minimize(_roofline_error, start, (work, log_ms, session), method="Nelder-Mead").x)

    def predict_all(self, archs: Architectures) -> np.ndarray:
        sessions = {d.name: self.layers.machine[s, 2] for s, d in enumerate(self.layers.devices)}
        session = np.array([sessions[d.name] for d in self.devices_])
        return session + (self._work(archs)[:, None] / self.rates).max(axis=2)


def _roofline_error(log_rates: np.ndarray, work: np.ndarray, log_ms: np.ndarray, session: float) -> float:
    """Mean absolute log error of layers by rates of computing and moving [2]."""
    return float(np.abs(np.log(session + (work / np.exp(log_rates)).max(axis=1)) - log_ms).mean())


def baseline(predictor: LayerSum, layers: Mapping[str, Measurements], model: type[Nearest]) -> LayerSum:
    """The sum of layers with another model of layers, fitted to their measurements per kind."""
    own = costs_of(predictor)
    names = [d.name for d in own.devices]
    models = {kind: model(m.where(devices=names), own) for kind, m in layers.items()}
    return LayerSum.summing(_with(own, models))


def _with(own: Learnt, models: Mapping[str, Nearest]) -> Learnt:
    """Costs with other models of layers in place of the fitted ones."""
    new = Learnt()
    vars(new).update({**vars(own), **models})
    return new
