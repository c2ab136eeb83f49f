"""Boosted trees that devices share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datasets.records import Device, Measurements
from datasets.spaces.convolution import Convolution
from encoders.layer import LayerPhysics
from predictors.compact_trees import CompactTrees
from predictors.trees import XGBoost


@pytest.fixture(scope="module")
def measured() -> Measurements:
    """300 convolutions on one machine, the largest 60 of them on another, three times as fast, and on a runtime of its
    own."""
    archs = Convolution(megamacs=400).sample(300, np.random.default_rng(0))
    ms = np.exp(LayerPhysics(tiles=False)(archs)[:, :6].mean(axis=1).astype(float))
    large = ms >= np.sort(ms)[-60]
    devices = [Device(name, name, "cpu", runtime=name[-1]) for name in ("slow_a", "fast_a", "other_b")]
    each = ((ms, ms > 0), (ms / 3, large), (ms**1.5, large))
    rows = [(arch, device, "latency_ms", values[arch])
            for device, (values, known) in enumerate(each) for arch in np.flatnonzero(known)]  # fmt: skip
    return Measurements(archs, devices, pd.DataFrame(rows, columns=["arch", "device", "metric", "value"]), "made")


@pytest.mark.parametrize("kind", [XGBoost, CompactTrees])
def test_a_device_with_few_measurements_profits_from_those_of_the_same_runtime(
    measured: Measurements, kind: type[XGBoost]
) -> None:
    """Small layers were measured on the slow machine only; the fast one is a third of it there too."""

    def error(shared: bool) -> np.ndarray:
        fitted = kind(trees=200, shared=shared, encoder=LayerPhysics(tiles=False)).fit(measured)
        found = fitted.predict_all(measured.architectures)
        slow = measured.matrix("latency_ms")[:, 0]
        return np.array([np.abs(np.log(found[:, 0] / slow)).mean(), np.abs(np.log(3 * found[:, 1] / slow)).mean()])

    alone, together = error(False), error(True)
    assert together[1] < alone[1] / 2 and together[0] < 1.2 * alone[0]


def test_devices_of_other_runtimes_share_no_trees(measured: Measurements) -> None:
    fitted = XGBoost(trees=5, shared=True, encoder=LayerPhysics(tiles=False)).fit(measured)
    assert len(fitted.boosters_) == 4 and (fitted.gains_ > 0).tolist() == [[True, True, False]]
    one = measured.where(devices=["other_b"])
    plain, same = (XGBoost(trees=5, shared=s, encoder=LayerPhysics(tiles=False)).fit(one) for s in (False, True))
    np.testing.assert_array_equal(plain.predict_all(one.architectures), same.predict_all(one.architectures))


@pytest.mark.parametrize("kind", [XGBoost, CompactTrees])
def test_one_tree_is_shared_and_one_is_a_device_s_own(measured: Measurements, kind: type[XGBoost]) -> None:
    fitted = kind(trees=1, shared=True, encoder=LayerPhysics(tiles=False)).fit(measured)
    assert np.isfinite(fitted.predict_all(measured.architectures)).all()
