"""Runtimes held out in turn: errors of PerfNetRT's sums before and after adaptation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.records import Architectures, Device
from predictors.networks.calibration import Calibration
from predictors.networks.layer_sum import LayerSum
from studies.perfnetrt.inputs import Inputs, measured_on
from studies.perfnetrt.network_errors import score_rows


class CachedLayerSum(LayerSum):
    """A sum of layers that keeps the cost terms of each network for all predictors made from it."""

    sums_: dict[str, tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def like(predictor: LayerSum) -> CachedLayerSum:
        new = CachedLayerSum()
        vars(new).update(vars(predictor), sums_={})
        return new

    def costs(self, archs: Architectures) -> tuple[np.ndarray, list[np.ndarray]]:
        keys = [f"{archs.space} {key}" for key in archs.keys]
        new = [i for i, key in enumerate(keys) if key not in self.sums_]
        if new:
            whole, parts = super().costs(archs[np.array(new)])
            self.sums_.update((keys[i], found) for i, found in zip(new, zip(whole, parts, strict=True), strict=True))
        found = [self.sums_[key] for key in keys]
        return np.array([whole for whole, _ in found]), [part for _, part in found]

    def with_devices(self, devices: Sequence[Device], calibrations: Sequence[Calibration]) -> LayerSum:
        new = super().with_devices(devices, calibrations)
        vars(new)["sums_"] = self.sums_
        return new


def adapted(inputs: Inputs) -> list[dict]:
    """Each runtime held out in turn: errors of the other runtimes' predictor, of it adapted by `few` networks (taken by
    `choose`), and of a predictor with the runtime's own layers and as many networks, where its layers were measured."""
    random, zoos = inputs.networks
    full, rows = CachedLayerSum.like(inputs.predictor), []
    for device in random.devices:
        pool, zoo = (measured_on(m, device.name) for m in (random, zoos))
        others = _without(full, device.name)
        chosen = others.choose(pool.architectures, inputs.few, np.random.default_rng(0))
        picked = np.isin(pool.architectures.keys, chosen.keys)
        samples = pool.where(archs=np.flatnonzero(picked))
        tests = [("convnet", pool.where(archs=np.flatnonzero(~picked))), ("zoo", zoo)]
        new = others.adapt(samples)
        sources = [c.source for c in others.calibrations_]
        source = others.devices_[sources.index(new.calibrations_[0].source)]
        methods = {"unadapted": (others, source), "adapted": (new, device)}
        if device.name in {d.name for d in full.devices_}:
            methods["fully trained"] = (full.calibrated(samples), device)
        scores = {}
        for method, (predictor, known) in methods.items():
            found = [(m.matrix("latency_ms")[:, 0], predictor.predict(m.architectures, known)) for _, m in tests]
            scores[method] = score_rows(device.name, method, [name for name, _ in tests], found)
        for i, row in enumerate(scores["adapted"]):
            row["share_of_unadapted"] = row["mape"] / scores["unadapted"][i]["mape"]
            if "fully trained" in scores:
                row["share_of_full"] = row["mape"] / scores["fully trained"][i]["mape"]
        rows += [{**row, "from": source.name, "few": inputs.few} for part in scores.values() for row in part]
    return rows


def _without(predictor: LayerSum, device: str) -> LayerSum:
    """A predictor of all its devices but one."""
    keep = [d for d, known in enumerate(predictor.devices_) if known.name != device]
    return predictor.with_devices([predictor.devices_[d] for d in keep], [predictor.calibrations_[d] for d in keep])
