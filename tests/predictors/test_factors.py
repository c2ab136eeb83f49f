"""Devices learnt from others: low-rank factors, a scaled device, and a normal distribution of networks and devices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.blocks.decisions import Column
from datasets.columns import Columns
from datasets.files.reading import read_yaml
from datasets.networks.collection import AnyNetwork
from datasets.records import Architectures, Device, InputError, Measurements
from predictors.base import Adaptable, Predictor
from predictors.config import from_config
from predictors.new_devices.factors import Factors, LogCombination, ScaledDevice
from predictors.new_devices.interpolation import Interpolation, completed
from predictors.new_devices.matrix_gaussian import MatrixGaussian
from predictors.new_devices.proxies import NearestDevice
from tests.conftest import ROOT

KINDS = [Factors, MatrixGaussian, ScaledDevice]
DEVICES = 13


@pytest.fixture(scope="module")
def table() -> Measurements:
    """Times of 30 networks on twelve devices and a new one, of two factors of networks and of devices; a fifth of the
    source devices' times is missing."""
    rng = np.random.default_rng(0)
    archs = AnyNetwork().sample(30, rng)
    size = np.log([sum(np.prod(op.attrs["shape"]) for op in network.ops) for network in archs])
    factors = np.column_stack([np.ones(30), size - size.mean(), rng.normal(0, 1, 30)])
    devices = np.column_stack([rng.normal(2, 1, DEVICES), 1 + rng.normal(0, 0.2, DEVICES), rng.normal(0, 0.2, DEVICES)])
    ms = np.exp(factors @ devices.T + rng.normal(0, 0.01, (30, DEVICES)))
    arch, device = np.nonzero((rng.random(ms.shape) > 0.2) | (np.arange(DEVICES) == DEVICES - 1))
    rows = {"arch": arch, "device": device, "metric": "latency_ms", "value": ms[arch, device]}
    described = [Device(f"d{i}", f"family_{i}", "mobile-cpu", threads=1 + i % 4) for i in range(DEVICES)]
    return Measurements(archs, described, pd.DataFrame(rows), "factors")


@pytest.fixture(scope="module")
def sources(table: Measurements) -> Measurements:
    return table.where(devices=[f"d{i}" for i in range(DEVICES - 1)])


@pytest.fixture(scope="module")
def new(table: Measurements) -> Measurements:
    return table.where(devices=[f"d{DEVICES - 1}"])


def mape(predictor: Predictor, m: Measurements, rows: slice = slice(None)) -> float:
    predicted = predictor.predict_all(m.architectures)[:, 0]
    return float(np.abs(predicted / m.matrix("latency_ms")[:, 0] - 1)[rows].mean())


def test_two_factors_are_found_in_a_table_with_holes(sources: Measurements, new: Measurements) -> None:
    few = new.where(archs=np.arange(6))
    errors = {rank: mape(Factors(rank=rank).fit(sources).adapt(few), new, slice(6, None)) for rank in (1, 3)}
    assert errors[3] < 0.06 < 0.1 < errors[1]


def test_missing_times_are_completed(sources: Measurements) -> None:
    rng = np.random.default_rng(1)
    whole = rng.normal(0, 1, (40, 2)) @ rng.normal(0, 1, (2, 25)) + 3 * rng.normal(0, 1, (40, 1))
    holed = np.where(rng.random(whole.shape) < 0.2, np.nan, whole)
    filled, known = completed(holed), ~np.isnan(holed)
    np.testing.assert_array_equal(filled[known], holed[known])
    assert np.abs(filled - whole)[~known].mean() < 0.25 * np.abs(whole).mean()
    assert completed(whole) is whole


def test_known_networks_are_repeated_and_others_interpolated(sources: Measurements) -> None:
    y, archs = sources.matrix("latency_ms"), sources.architectures
    predictor = Interpolation().fit(sources.where(archs=np.arange(25)))
    predicted, known = predictor.predict_all(archs), ~np.isnan(y)
    known[25:] = False
    np.testing.assert_allclose(predicted[known], y[known], rtol=1e-3)
    spread = predictor.variance(predictor.encode(archs))
    assert (spread[:25] == 0).all() and (spread[25:] > 0).all()


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.__name__)
def test_one_network_brings_a_device_to_its_speed(cls: type, sources: Measurements, new: Measurements) -> None:
    predictor: LogCombination = cls().fit(sources)
    one = new.where(archs=np.arange(1))
    slow = Measurements(one.architectures, one.devices, one.table.assign(value=50 * one.table["value"]), "slow")
    ratio = predictor.adapt(slow).predict_all(new.architectures) / predictor.adapt(one).predict_all(new.architectures)
    assert (ratio > 3).all()


def test_the_scaled_device_is_a_source_times_a_factor(sources: Measurements) -> None:
    twin = sources.where(devices=["d3"])
    copy = [replace(twin.devices[0], name="twin", family="twins")]
    twin = Measurements(twin.architectures, copy, twin.table.assign(value=7 * twin.table["value"]), "twin")
    predictor = ScaledDevice().fit(sources)
    adapted = predictor.adapt(twin.where(archs=np.flatnonzero(~np.isnan(twin.matrix("latency_ms")[:, 0]))[:3]))
    expected = 7 * predictor.predict_all(sources.architectures)[:, 3]
    np.testing.assert_allclose(adapted.predict_all(sources.architectures)[:, 0], expected, rtol=1e-6)


def test_the_nearest_device_and_a_line_predict_whole_networks(sources: Measurements, new: Measurements) -> None:
    predictor = NearestDevice(source=Interpolation()).fit(sources)
    assert mape(predictor.adapt(new.where(archs=np.arange(10))), new, slice(10, None)) < 0.4


def test_the_line_of_the_nearest_device_has_a_bounded_slope(sources: Measurements, new: Measurements) -> None:
    """Two networks of nearly equal times on one device may be far from each other on another."""
    predictor = NearestDevice(source=Interpolation()).fit(sources)
    known = predictor.predict_all(new.architectures)
    spread = np.log(known.max(axis=0) / known.min(axis=0)).max()
    pairs = [sorted(np.argsort(known[:, 0])[i : i + 2]) for i in range(len(known) - 1)]
    for samples in [*pairs, [0], [5]]:
        predicted = predictor.adapt(new.where(archs=np.array(samples))).predict_all(new.architectures)[:, 0]
        assert np.log(predicted.max() / predicted.min()) < 3 * spread + 0.01


def test_the_intervals_of_the_normal_distribution_hold_and_narrow(table: Measurements) -> None:
    inside, widths = np.zeros((DEVICES, 3)), np.zeros((DEVICES, 3))
    for i, device in enumerate(table.devices):
        matrix = MatrixGaussian().fit(table.where(devices=[d.name for d in table.devices if d is not device]))
        new = table.where(devices=[device.name])
        y, known = new.matrix("latency_ms")[:, 0], np.flatnonzero(~np.isnan(new.matrix("latency_ms")[:, 0]))
        for j, count in enumerate((1, 3, 10)):
            few = new.where(archs=np.random.default_rng(i).permutation(known)[:count])
            low, high = matrix.adapt(few).belief(new.architectures).interval(0.9)
            inside[i, j], widths[i, j] = ((low < y) & (y < high))[known].mean(), np.log(high / low).mean()
    assert (inside.mean(axis=0) > 0.8).all(), inside.mean(axis=0)
    assert (np.diff(widths.mean(axis=0)) < 0).all()


def test_a_device_resembles_those_of_its_kind_and_threads(sources: Measurements) -> None:
    """Devices of four threads are four times as fast as those of one."""
    speed = np.array([device.threads for device in sources.devices])[sources.table["device"]]
    m = Measurements(sources.architectures, sources.devices,
                     sources.table.assign(value=sources.table["arch"] % 7 + 8.0 / speed), "threads")  # fmt: skip
    predictor = MatrixGaussian(relative=False).fit(m)
    slow, fast = (predictor.adapt(None, Device("new", "new", "mobile-cpu", threads=n)) for n in (1, 4))
    assert (slow.predict_all(m.architectures) > 1.1 * fast.predict_all(m.architectures)).mean() > 0.8
    other = predictor.adapt(None, Device("new", "new", "gpu", threads=4))
    widths = [np.log(np.divide(*one.belief(m.architectures).interval(0.9))).mean() for one in (other, fast)]
    assert widths[0] < widths[1] < 0, "the interval of a device that resembles no other has to be wider"


def test_predictions_that_minimise_relative_errors_are_lower(sources: Measurements, new: Measurements) -> None:
    few = new.where(archs=np.arange(2))
    low, middle = (MatrixGaussian(relative=on).fit(sources).adapt(few) for on in (True, False))
    assert (low.predict_all(new.architectures) < middle.predict_all(new.architectures)).all()
    beliefs = [one.belief(new.architectures).location for one in (low, middle)]
    np.testing.assert_allclose(*beliefs, err_msg="the distributions are the same")


def test_saved_ones_have_the_same_distributions_and_learn_further_devices(
    sources: Measurements, new: Measurements, tmp_path: Path
) -> None:
    few, predictor = new.where(archs=np.arange(5)), MatrixGaussian().fit(sources)
    adapted = predictor.adapt(few)
    for name, each in (("sources", predictor), ("adapted", adapted)):
        each.save(tmp_path / f"{name}.pt")
    again, learnt = (Predictor.load(tmp_path / f"{name}.pt") for name in ("adapted", "sources"))
    assert isinstance(again, MatrixGaussian) and isinstance(learnt, MatrixGaussian)
    for other in (again, learnt.adapt(few), adapted.adapt(few)):
        for mine, its in zip(adapted.belief(new.architectures).interval(0.9),
                             other.belief(new.architectures).interval(0.9), strict=True):  # fmt: skip
            np.testing.assert_allclose(mine, its, rtol=1e-6)
    with pytest.raises(InputError, match="was adapted to d12; published numbers need the one of its source devices"):
        again.adapt(None, new.devices[0])


def test_it_chooses_networks_that_say_more_than_random_ones(sources: Measurements, new: Measurements) -> None:
    predictor = MatrixGaussian().fit(sources)

    def error(archs: Architectures) -> float:
        positions = new.architectures.positions(archs)
        return mape(predictor.adapt(new.where(archs=positions)), new)

    rng = np.random.default_rng(0)
    own = error(predictor.choose(new.architectures, 4, rng))
    random = replace(predictor, informative=False)
    drawn = [error(random.choose(new.architectures, 4, np.random.default_rng(i))) for i in range(10)]
    assert own < np.mean(drawn)


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.__name__)
def test_networks_without_graphs_are_known_by_name(cls: type, sources: Measurements, new: Measurements) -> None:
    """Rows of a table of names: known names are predicted; others are no rows of that table."""
    names = [f"model_{i}" for i in range(30)]
    archs = Architectures(Columns((Column("network", tuple(names)),)), np.arange(30)[:, None])
    by_name = [Measurements(archs, m.devices, m.table, "names") for m in (sources, new)]
    adapted = cls().fit(by_name[0]).adapt(by_name[1].where(archs=np.arange(6)))
    assert mape(adapted, by_name[1], slice(6, None)) < 0.4
    with pytest.raises(InputError):
        archs.space.parse(["network=another"])


def test_one_source_device_has_no_factors(sources: Measurements, new: Measurements) -> None:
    predictor = Factors().fit(sources.where(devices=["d0"]))
    with pytest.raises(InputError, match="at least two source devices"):
        predictor.adapt(new.where(archs=np.arange(5)))
    adapted = MatrixGaussian().fit(sources.where(devices=["d0"])).adapt(new.where(archs=np.arange(5)))
    assert np.isfinite(adapted.predict_all(new.architectures)).all()


@pytest.mark.parametrize("name", ["factors", "matrix_gaussian", "network_nearest", "scaled_device"])
def test_the_configurations_of_the_arena_learn_new_devices(name: str) -> None:
    predictor = from_config(read_yaml(ROOT / "configs/predictors" / f"{name}.yaml", ""), Predictor)  # type: ignore[type-abstract]
    assert isinstance(predictor, Adaptable)
